"""The harness from end to end on a tiny network, a single round: that everything is measured, never how fast."""

import json

import pytest
import torch

from benchmarks import measure
from benchmarks.arms import BARE, ITERATIONS, build, explicit
from benchmarks.bars import ratio
from benchmarks.many_tasks import KINDS, InTurn, OnePass, adapters, one_pass
from benchmarks.networks import QUICK, Case
from benchmarks.page import page
from benchmarks.run import main, parts


@pytest.fixture(scope="module")
def quick(tmp_path_factory) -> tuple[dict, str]:
    """The JSON file of `--quick`, and what was printed."""
    out = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        printed: list[str] = []
        patch.setattr(
            "rich.console.Console.print", lambda self, *what, **how: printed.extend(map(str, map(plain, what)))
        )
        assert main(["--quick", "--out", str(out)]) == 0
    (file,) = out.iterdir()
    return json.loads(file.read_text()), "\n".join(printed)


def plain(shown: object) -> object:
    columns = getattr(shown, "columns", None)
    return shown if columns is None else "\n".join(str(cell) for column in columns for cell in column.cells)


def test_the_file_names_hardware_versions_threads_date_and_commit(quick):
    found, _ = quick
    assert found["hardware"]["cpu"]
    assert found["hardware"]["torch_threads"] == torch.get_num_threads()
    assert torch.__version__.startswith(found["versions"]["torch"])
    assert found["date"].startswith("20")
    assert "commit" in found


def test_every_arm_is_measured_or_skipped_with_a_reason(quick):
    found, _ = quick
    section = found["sections"][0]
    measured = {row["arm"]: row for row in section["arms"]}
    arms = measured.keys() | section["skipped"].keys()
    assert {
        BARE,
        *map(explicit, ITERATIONS),
        "implicit",
        "explicit T=∞, folded",
        "full-space loop T=5",
    } <= measured.keys()
    assert {"reentrant T=5", "reentrant T=5, late taps", "LoRA, peft, not merged", "static concatenation"} <= arms
    assert all(section["skipped"].values())
    assert measured[BARE]["ratio"] == {"median": 1.0, "p25": 1.0, "p75": 1.0}
    for row in measured.values():
        assert 0 < row["ms"]["p25"] <= row["ms"]["median"] <= row["ms"]["p75"]
        assert row["held_mb"] > row["peak_mb"] > 0


def test_every_bar_is_judged(quick):
    found, printed = quick
    verdicts = [verdict for section in found["sections"] for verdict in section["verdicts"]]
    assert len(verdicts) >= 5
    for verdict in verdicts:
        assert verdict["met"] == (verdict["missed_by"] == 0) == (verdict["value"]["median"] <= verdict["most"])
        assert verdict["figure"] in printed
    for section in found["sections"]:
        missed = {v["figure"] for v in section["verdicts"] if not v["met"] and not v["figure"].startswith("memory")}
        assert section["profiles"].keys() == missed


def test_the_table_shows_every_arm_and_says_why_one_is_skipped(quick):
    found, printed = quick
    for section in found["sections"]:
        assert section["title"] in printed
        for name in [row["arm"] for row in section["arms"]] + list(section["skipped"]):
            assert name in printed
        for reason in section["skipped"].values():
            assert reason in printed


@pytest.mark.parametrize("arguments", [["--fast"], ["--only", "alexnet"], ["--only"], ["--qui"]])
def test_what_is_not_known_is_refused_in_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_the_parts_of_a_full_run():
    names = parts(quick=False).keys()
    assert {f"{n}-{b}" for n in ("resnet50", "efficientnet_b0", "vit_b_16") for b in (1, 8)} | {
        "training",
        "loop",
    } <= names
    assert ("vit_b_16-64" in names) == torch.cuda.is_available()


@torch.no_grad()
def test_arms_run_in_the_precision_of_a_gpu():
    case = Case("resnet18", 2, side=32, rank=4, dtype=torch.bfloat16)
    x = case.images()
    arms, _ = build(case, case.backbone(), x)
    for name, arm in arms.items():
        answer = arm(x)
        assert answer.dtype == torch.bfloat16, name
        assert torch.isfinite(answer).all(), name
        assert name == BARE or not torch.equal(answer, arms[BARE](x)), name


def test_a_bar_that_is_missed_is_profiled_and_one_without_its_arms_is_not_judged():
    models = {
        "many": torch.nn.Sequential(*(torch.nn.Linear(256, 256) for _ in range(20))),
        "one": torch.nn.Linear(256, 256),
    }
    models = {name: model.eval() for name, model in models.items()}
    x = torch.randn(64, 256)
    seconds = measure.timed(models, x, budget=0)
    bars = [ratio("many", "one", -1.0), ratio("many", "none", 1.0)]
    verdicts, profiles = measure.judged(bars, seconds, models, x)
    assert [verdict.figure for verdict in verdicts] == ["many / one"]
    assert list(profiles) == ["many / one"]
    assert {operation.name: operation.calls for operation in profiles["many / one"]}["aten::addmm"] == 19


def test_the_page_shows_every_arm_and_every_verdict(quick):
    found, _ = quick
    text = page(found)
    for section in found["sections"]:
        assert f"## {section['title']}" in text
        assert all(f"| {arm['arm']} |" in text for arm in section["arms"])
        assert all(f"| {verdict['figure']} |" in text for verdict in section["verdicts"])
    later = found | {"commit": "of another day", "sections": [found["sections"][0] | {"title": "a part alone"}]}
    assert page(found, later).startswith(text)
    assert "From a run of its own, commit of another day" in page(found, later)


def test_many_tasks_give_what_a_pass_each_gives(quick):
    found, _ = quick
    (section,) = (s for s in found["sections"] if s["title"].startswith("many tasks"))
    assert {row["arm"] for row in section["arms"]} >= {one_pass(2, kind) for kind in KINDS}
    case = QUICK
    x, backbone = case.images(), case.backbone()
    for kind in ("explicit T=5", "direct on means"):
        model = adapters(case, backbone, x, 3, **KINDS[kind])
        together, each = OnePass(model)(x), InTurn(model, list(model.adapters))(x)
        assert [output.shape[1] for output in together.values()] == [2, 3, 4]
        for name, output in each.items():
            torch.testing.assert_close(together[name], output.detach(), rtol=1e-4, atol=1e-4)
