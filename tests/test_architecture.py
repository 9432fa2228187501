"""The rules of docs/architecture.md: arrows run one way, packages are entered by their index, the core stays small."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import yaml
from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
LIBRARY, PROGRAMS = "dynaxx", ("pipelines", "experiments", "benchmarks")
RESONANCE = SOURCE / LIBRARY / "resonance"
HEADING = "## Inner modules that may be imported by name"


def name_of(file: Path, root: Path) -> str:
    """Dotted name of a module; an index is called like its package."""
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def python_files() -> list[tuple[str, Path]]:
    """Dotted name and file of all modules."""
    folders = [(SOURCE / LIBRARY, SOURCE), *((ROOT / program, ROOT) for program in PROGRAMS)]
    return [(name_of(file, root), file) for folder, root in folders for file in sorted(folder.rglob("*.py"))]


INDEX = {name: file for name, file in python_files() if file.name == "__init__.py"}
"""Package → its index."""
INNER = {name for name, file in python_files() if name.startswith(f"{LIBRARY}.") and file.name != "__init__.py"}


def imports(file: Path) -> Iterator[tuple[str, str | None]]:
    """Module and name of each import, on all levels of the file; the name is None in `import module`."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            assert node.module is not None
            yield from ((node.module, alias.name) for alias in node.names)


def in_index(package: str, name: str) -> bool:
    """Whether the index of the package binds the name, so that it is not taken for the module of that name."""
    if package not in INDEX:
        return False
    tree = ast.parse(INDEX[package].read_text())
    return any(
        (alias.asname or alias.name) == name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    )


def inside(module: str, package: str) -> bool:
    """Whether the module may import the inner modules of the package by name.

    It may if it lies below the package's folder, or if the package is a room of the module's own package.
    """
    own = module if module in INDEX else module.rpartition(".")[0]
    room = package.count(".") > 1 and own == package.rpartition(".")[0]
    return f"{module}.".startswith(f"{package}.") or room


def imported_by_name() -> dict[str, list[str]]:
    """Inner module → the modules outside its package that import it by name.

    What lies directly in src/dynaxx is no inner module: the library's own folder is the package of no module.
    """
    found: dict[str, list[str]] = {}
    for module, file in python_files():
        for target, name in imports(file):
            if name is not None and f"{target}.{name}" in INNER and not in_index(target, name):
                target = f"{target}.{name}"
            package = target.rpartition(".")[0]
            if target in INNER and package != LIBRARY and not inside(module, package):
                found.setdefault(target, []).append(module)
    return found


def listed() -> list[str]:
    """The modules in the list of docs/architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    section = text[text.index(HEADING) + len(HEADING) :].split("\n## ")[0]
    return re.findall(r"^- `([\w.]+)`$", section, re.MULTILINE)


def top_level_modules(statement: str) -> set[str]:
    """Names of the packages that a fresh interpreter has loaded after the statement, without the standard library."""
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(out.stdout.split()) - set(sys.stdlib_module_names)


def test_the_contracts_of_the_linter_are_kept(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True)
    assert status == 0, capsys.readouterr().out


def test_no_modules_import_each_other_in_a_circle(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    graph = grimp.build_graph(LIBRARY, *PROGRAMS, exclude_type_checking_imports=False, cache_dir=None)
    assert graph.modules >= INNER | set(INDEX)
    # a circle raises CycleError, which names it
    TopologicalSorter({m: graph.find_modules_directly_imported_by(m) for m in graph.modules}).prepare()


def test_inner_modules_are_imported_by_name_only_where_the_page_lists_them():
    by_name = imported_by_name()
    assert {module: users for module, users in by_name.items() if module not in listed()} == {}


def test_every_listed_module_exists_is_listed_once_and_is_imported_by_name():
    names = listed()
    assert names == sorted(set(names))
    assert [name for name in names if name not in imported_by_name()] == []


def test_the_formula_fits_in_few_files():
    files = sorted(RESONANCE.rglob("*.py"))
    assert len(files) <= 15
    assert sum(len(file.read_text().splitlines()) for file in files) <= 1250


def test_the_library_loads_torch_and_safetensors_alone():
    every_name = "import dynaxx; [getattr(dynaxx, name) for name in dynaxx.__all__]"
    assert top_level_modules(every_name) - top_level_modules("import torch, safetensors") == {LIBRARY}


def test_the_formula_imports_torch_and_the_mathematics_below_it():
    allowed = {f"{LIBRARY}.{part}" for part in ("resonance", "fixed_point", "grid", "config", "errors")}
    for file in RESONANCE.glob("*.py"):
        for module, name in imports(file):
            parts = [*module.split("."), *([name] if name else [])]
            if parts[0] == LIBRARY:
                assert ".".join(parts[:2]) in allowed, f"{file.name}: {module}"
            else:
                assert parts[0] == "torch" or parts[0] in sys.stdlib_module_names, f"{file.name}: {module}"


def test_a_stage_that_depends_on_the_formula_depends_on_the_whole_core():
    core = {
        f"src/dynaxx/{part}"
        for part in ("backbone", "config.py", "errors.py", "fixed_point", "grid", "model", "resonance")
    }
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    depends = {name: core & set(stage["deps"]) for name, stage in stages.items()}
    assert {name: sorted(core - found) for name, found in depends.items() if found and found != core} == {}
    assert all((ROOT / part).exists() for part in core)
