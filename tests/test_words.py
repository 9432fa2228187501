"""Docstrings begin with a noun or a verb, and public functions are described in one line or show an example.

"Of the intervals." lacks the noun that it belongs to.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

CHECKED = ("benchmarks", "experiments", "pipelines", "src")
"""Files and folders whose docstrings are checked."""

NOUNLESS = re.compile(r"(Of|That|Those|As) ", re.IGNORECASE)
OF_WITHOUT_ITS_NOUN = re.compile(r"(?:^|[.:;] )Of [^.]*")
"""A sentence, anywhere in a docstring, that begins with "Of"."""
OF_PEOPLE = re.compile(r"\b(hears?|heard|hearing|speaks?|spoke|spoken|speakers?)\b", re.IGNORECASE)
"""Words for what people do: a tensor is read, projected, predicted."""
SECTION = re.compile(r"\s*(Args|Attributes):$")
ENTRY = re.compile(r"\s*[\w, *]+: (?P<text>.*)")


def files() -> list[Path]:
    """Python files that are checked, relative to the root."""
    found = [
        file for name in CHECKED for file in ((ROOT / name).rglob("*.py") if (ROOT / name).is_dir() else [ROOT / name])
    ]
    return sorted(file.relative_to(ROOT) for file in found)


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every bare string: docstrings of modules, classes and functions, and those of attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def openings(text: str) -> Iterator[str]:
    """The beginning of a docstring, and those of the entries in its sections Args and Attributes."""
    yield text.strip()
    inside, indent = False, 0
    for line in text.splitlines():
        depth = len(line) - len(line.lstrip())
        if SECTION.match(line):
            inside, indent = True, depth + 4
        elif line.strip() and depth < indent:
            inside = False
        elif inside and depth == indent and (entry := ENTRY.match(line)):
            yield entry["text"]


@pytest.mark.parametrize("file", files(), ids=str)
def test_docstrings_begin_with_a_noun_or_a_verb(file):
    tree = ast.parse((ROOT / file).read_text())
    nounless = [
        f"{file}:{line}: {opening.splitlines()[0]}"
        for line, text in docstrings(tree)
        for opening in openings(text)
        if NOUNLESS.match(opening)
    ]
    nounless += [f"{file}:{line}: {found}" for line, text in docstrings(tree)
                 for found in OF_WITHOUT_ITS_NOUN.findall(" ".join(text.split()))]  # fmt: skip
    assert nounless == []


@pytest.mark.parametrize("file", [file for file in files() if file.parts[0] == "src"], ids=str)
def test_tensors_are_read_and_do_not_speak(file):
    lines = (ROOT / file).read_text().splitlines()
    assert [f"{file}:{number}: {line}" for number, line in enumerate(lines, 1) if OF_PEOPLE.search(line)] == []


def test_every_kind_of_docstring_is_read():
    source = '''
"""Of a module."""
x = 1
"""That is an attribute."""
def f(a, b):
    """Those of a function.

    Args:
        a, b: of both.
            that is a continuation
        c: a noun, of course.

    Raises:
        E: of no concern.
    """
'''
    found = [opening for _, text in docstrings(ast.parse(source)) for opening in openings(text)]
    matches = sorted(opening.splitlines()[0] for opening in found if NOUNLESS.match(opening))
    assert matches == ["Of a module.", "That is an attribute.", "Those of a function.", "of both."]


def lacks_example(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function has no docstring, or one of several lines without an example."""
    text = ast.get_docstring(function)
    return not text or ("\n" in text and ">>>" not in text and "Example" not in text)


def without_example(tree: ast.Module) -> list[str]:
    """Names of the public functions of a module that lack an example."""
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [node.name for node in functions if not node.name.startswith("_") and lacks_example(node)]


@pytest.mark.parametrize("file", [file for file in files() if file.parts[0] == "src"], ids=str)
def test_public_functions_are_one_line_or_show_an_example(file):
    assert without_example(ast.parse((ROOT / file).read_text())) == []


def test_a_function_without_an_example_is_found():
    source = '''
def bare(): ...
async def long():
    """Several lines.

    No worked case.
    """
def short():
    """One line."""
def shown():
    """Several lines.

    >>> shown()
    """
def in_prose():
    """Several lines.

    Example: `in_prose()` is None.
    """
def _private(): ...
'''
    assert without_example(ast.parse(source)) == ["bare", "long"]
