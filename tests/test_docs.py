"""The pages are short where they should be, their links lead somewhere, and their code runs."""

import re
import unicodedata
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from support.nets import PLAIN_TAPS, Plain, images
from torch import nn

from dynaxx import config, wrap_with_resonance
from dynaxx.fixed_point import STEPS, iterate, picard
from dynaxx.resonance import gates

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
CODE = ("src", "pipelines", "experiments", "benchmarks", "tests")


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return "\n".join(line for line in text.splitlines() if not line.startswith("    "))


def anchors(page: Path) -> set[str]:
    """The fragments by which GitHub links to the page's headings."""
    found: set[str] = set()
    for title in re.findall(r"^#+ +(.+?)\s*$", prose(page), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
        kept = "".join(c for c in words if c in " -_" or unicodedata.category(c)[0] in "LN")
        slug = kept.replace(" ", "-")
        number = next(n for n in range(len(found) + 1) if (f"{slug}-{n}" if n else slug) not in found)
        found.add(f"{slug}-{number}" if number else slug)
    return found


def links(page: Path) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if not re.match(r"[a-z]+:", link)]


def test_the_readme_is_read_in_a_few_minutes():
    text = README.read_text()
    assert len(text.splitlines()) <= 130
    assert len(text.split()) <= 1400


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in links(page):
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not fragment or fragment in anchors(target), link


def test_every_page_is_reached_from_the_index():
    index = ROOT / "docs" / "index.md"
    reached = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    assert set(PAGES) - {index} <= reached


def files_of_code() -> list[Path]:
    endings = {".py", ".j2"}
    return [file for part in CODE for file in (ROOT / part).rglob("*") if file.suffix in endings]


def test_code_refers_to_pages_that_exist():
    design = "DESIGN" + " §"
    for file in files_of_code():
        text = file.read_text()
        assert design not in text, file
        for path, fragment in re.findall(r"\b(docs/[\w/-]+\.md)(?:#([\w-]+))?", text):
            page = ROOT / path
            assert page.exists(), f"{file}: {path}"
            assert not fragment or fragment in anchors(page), f"{file}: {path}#{fragment}"


def test_the_code_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # it saves an adapter
    torch.manual_seed(0)
    (block,) = python_blocks(README)
    after: dict[str, object] = {}
    exec(compile(block, str(README), "exec"), after)
    model = after["model"]
    assert isinstance(model, nn.Module)
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 10)


def test_the_training_loop_of_the_guide_learns():
    block = next(block for block in python_blocks(ROOT / "docs" / "guide.md") if "model.penalty" in block)
    torch.manual_seed(0)
    model = wrap_with_resonance(Plain(), PLAIN_TAPS, example_input=images(), rank=4, num_classes=3)
    batch = images(batch=6), torch.arange(6) % 3
    model.fit_statistics([batch])
    optimizer = torch.optim.Adam(model.trainable_parameters(), 0.05)
    losses = []

    def cross_entropy(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        losses.append(nn.functional.cross_entropy(logits, y))
        return losses[-1]

    given = {"model": model, "loader": [batch] * 5, "optimizer": optimizer, "cross_entropy": cross_entropy}
    exec(compile(block, "guide.md", "exec"), given)
    assert losses[-1] < losses[0]


def test_the_monitor_of_the_guide_tells_noise_from_what_it_knows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # it saves an adapter
    block = next(block for block in python_blocks(ROOT / "docs" / "guide.md") if "fit_disagreement" in block)
    torch.manual_seed(0)
    layers = {f"layer{n}": nn.Conv2d(3 if n == 1 else 6, 6, 3, padding=1) for n in (1, 2, 3, 4)}
    backbone = nn.Sequential(OrderedDict(layers | {"pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten()}))
    backbone.add_module("answer", nn.Linear(6, 2))

    def wrap(*args: object, **options: object) -> nn.Module:
        return wrap_with_resonance(*args, rank=2, example_input=images(28), **options)

    def smooth(count: int) -> torch.Tensor:
        return nn.functional.interpolate(torch.randn(count, 3, 4, 4), size=(28, 28), mode="bilinear")

    given = {"backbone": backbone, "loader": [smooth(50)] * 2, "validation_loader": [smooth(40)]}
    given |= {"images": torch.cat([smooth(5), torch.randn(5, 3, 28, 28)]), "wrap_with_resonance": wrap}
    exec(compile(block, "guide.md", "exec"), given)
    assert given["found"].is_unusual[5:].all()
    assert not given["found"].is_unusual[:5].all()


@pytest.fixture
def examples() -> dict[str, type]:
    """What the examples of docs/architecture.md define."""
    defined: dict[str, type] = {}
    for block in python_blocks(ROOT / "docs" / "architecture.md"):
        exec(block, defined)
    return defined


def test_the_example_of_a_gate_works(examples, monkeypatch):
    monkeypatch.setitem(gates.GATES, "source", examples["SourceGate"])
    monkeypatch.setitem(gates.G_MAX, "source", 2.0)
    monkeypatch.setattr(config, "GATES", (*config.GATES, "source"))
    torch.manual_seed(0)
    backbone = Plain()
    model = wrap_with_resonance(backbone, PLAIN_TAPS, example_input=images(), rank=4, gate="source", num_classes=3)
    model.fit_statistics([images()])
    model.train()
    optimizer = torch.optim.SGD(model.trainable_parameters(), 0.1)
    for _ in range(3):  # U = 0 at first: gradients reach the inner couplings after one step, all gates after two
        optimizer.zero_grad()
        model(images()).sum().backward()
        optimizer.step()
    gate = next(module for module in model.modules() if isinstance(module, examples["SourceGate"]))
    assert all(weight.grad.abs().sum() > 0 for weight in gate.weight)
    assert model.stability().kappa > 0


def test_the_example_of_a_solver_ends_at_the_same_point(examples, monkeypatch):
    monkeypatch.setitem(STEPS, "heavy_ball", examples["heavy_ball"])
    monkeypatch.setattr(config, "SOLVERS", (*config.SOLVERS, "heavy_ball"))
    p = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def update(c: torch.Tensor) -> torch.Tensor:
        return torch.tanh(p + 0.5 * c)

    ends = [
        iterate(update, update(0 * p), 100, 0.9, step(update(0 * p), 0.9)) for step in (picard, examples["heavy_ball"])
    ]
    torch.testing.assert_close(*ends, rtol=0, atol=1e-12)
    torch.manual_seed(0)
    wrap_with_resonance(Plain(), PLAIN_TAPS, example_input=images(), rank=4, solver="heavy_ball", num_classes=3)(
        images()
    )
