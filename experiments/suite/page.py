"""docs/results/suite.md, written from the files of results: the table of every case, and its bars judged."""

from pathlib import Path
from textwrap import fill

from dynaxx.evaluation import cell, gained, number, significant, titled, unit_of_gain
from dynaxx.evaluation.arms import BASELINE
from dynaxx.files import write_text
from experiments.analysis.tables import markdown
from experiments.suite.bars import Judged, judged
from experiments.suite.cases import CASES
from experiments.suite.results import CASE, FOLDER, CaseResults, read_case
from experiments.suite.standing import ArmStanding, Standing, standing

PAGE = Path(__file__).parents[2] / "docs" / "results" / "suite.md"

HEAD = """# The suite

Every reading of the layers of one frozen network, and its rivals, on real tasks. `python -m experiments.page` writes
this page from the files in `experiments/results/suite`, one a fit; `make suite DATA=FOLDER` makes the fits.

- EfficientNet-Lite0, trained on ImageNet and frozen; its weights come with a package.
- Learning rates and epochs were chosen for each arm on validation, with a seed that is not tested. The best reading is
  the one that is best on validation.
- A gain is the mean over the seeds that both arms have, with a 95 % interval over test samples, or over their groups.
  It is **proven** where no permutation test, over samples or over seeds, contradicts.
- Training seconds are those of the fit alone, on the machine that is named: without reading the layers, which happens
  once for all arms and seeds, and of `implicit` without its teacher.
"""


def write_page(folder: Path = FOLDER, page: Path = PAGE) -> None:
    """Write the page from the results in `folder`.

    >>> write_page()  # doctest: +SKIP
    """
    names = [name for name in CASES if (folder / name / CASE).exists()]
    names += sorted(path.parent.name for path in folder.glob(f"*/{CASE}") if path.parent.name not in CASES)
    read = {name: results for name in names if (results := read_case(name, folder)) and BASELINE in results.fits}
    if not read:
        return
    sections = [_section(name, results) for name, results in read.items()]
    verdicts = {name: judged(name, results) for name, results in read.items()}
    write_text(page, "\n".join([HEAD, _bars(verdicts), *sections]).rstrip() + "\n")


def _bars(verdicts: dict[str, list[Judged]]) -> str:
    rows = [
        [f"[{name}](#{name})", one.bar, one.found, "met" if one.met else "**missed**"]
        for name, found in verdicts.items()
        for one in found
    ]
    return "## Bars\n\n" + markdown(["case", "bar", "found", ""], rows) + "\n" if rows else ""


def _section(name: str, results: CaseResults) -> str:
    now, about = standing(results), results.about
    groups = len(set(about["groups"]))
    of = f" in {groups} groups" if groups else ""
    machines = dict.fromkeys(_machine(fit.hardware) for some in results.fits.values() for fit in some.values())
    measures = [key for key in now.probe.measures if key != now.metric.name]
    facts = (
        f"{about['train']} samples to train, {about['validation']} to choose by, {about['test']}{of} to test; taps "
        f"{', '.join(f'`{tap}`' for tap in about['taps'])}. Fitted on {'; '.join(machines)}."
    )
    lines = [
        f"## {name}\n",
        fill(facts, 120, break_long_words=False) + "\n",
        markdown(
            ["arm", titled(now.metric), f"gain over the probe, {unit_of_gain(now.metric)}", "proven", *measures,
             "live parameters", "training s", "seeds", "chosen"],
            [_row(arm, now, measures, results) for arm in now.arms.values()],
        ),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _row(arm: ArmStanding, now: Standing, measures: list[str], results: CaseResults) -> list[object]:
    gain, name = arm.over_probe.difference, arm.arm
    settings = results.fits[name][arm.seeds[0]].settings
    told = [gained(value, now.metric, unit=False) for value in (gain.estimate, gain.low, gain.high)]
    return [
        f"**{name}**" if now.readings and arm is now.best else name,
        f"{cell(arm.value, now.metric)} ± {cell(arm.deviation, now.metric)}",
        "" if name == BASELINE else f"{told[0]} [{told[1]}, {told[2]}]",
        "" if name == BASELINE else ("yes" if arm.over_probe.better else arm.over_probe.contradicted or "no"),
        *(number(arm.measures[key]) for key in measures),
        f"{arm.live:,}",
        significant(arm.seconds),
        len(arm.seeds),
        ", ".join(f"{key} {value:g}" for key, value in settings.items()),
    ]


def _machine(hardware: dict[str, object]) -> str:
    return f"{hardware['gpu'] or hardware['cpu']}, {hardware['cores']} cores, torch {hardware['torch']}"
