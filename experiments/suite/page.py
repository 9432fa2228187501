"""docs/results/suite.md, written from the files of results: the table of every case, and its bars judged."""

import json
from pathlib import Path
from textwrap import fill

from dynaxx.evaluation import cell, gained, number, significant, titled, unit_of_gain
from dynaxx.evaluation.arms import BASELINE
from dynaxx.files import write_text
from dynaxx.selection import PAIRS
from experiments.markdown import markdown
from experiments.suite.bars import WHY, Judged, judged
from experiments.suite.cases import CASES
from experiments.suite.results import CASE, FOLDER, CaseResults, read_case
from experiments.suite.standing import ArmStanding, Standing, standing

ROOT = Path(__file__).parents[2]
PAGE, README = ROOT / "docs" / "results" / "suite.md", ROOT / "README.md"
BEGIN, END = "<!-- suite: written by `python -m experiments.page` -->", "<!-- end of suite -->"
"""Between these lines stands the table of the README."""
TOLD = {
    "digits-100": "scanned digits, 100 labels",
    "digits-600": "scanned digits, 600 labels",
    "sediment": "grain size of sand and gravel",
    "landcover": "land cover from the air, 21 classes",
    "polyps-100": "polyps, 100 labelled images",
    "tiles": "defects of tiles, without labels",
    "birds": "26 species of birds",
}
"""Cases of the README's table, by what they are."""

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
    write_text(page, "\n".join([HEAD, _bars(verdicts), _advice() + "\n", *sections]).rstrip() + "\n")


def write_readme(folder: Path = FOLDER, readme: Path = README) -> None:
    """Write the table of the README, between its two lines.

    >>> write_readme()  # doctest: +SKIP
    """
    rows = []
    for case, told in TOLD.items():
        results = read_case(case, folder)
        if results is None or BASELINE not in results.fits or not (now := standing(results)).readings:
            continue
        gain, best = now.best.over_probe.difference, now.best
        values = [gained(value, now.metric, unit=False) for value in (gain.estimate, gain.low, gain.high)]
        rows.append(
            [
                f"{told}, {titled(now.metric)}",
                cell(now.probe.value, now.metric),
                f"{best.arm} {cell(best.value, now.metric)}".replace("_", "\\_"),
                f"{values[0]} [{values[1]}, {values[2]}]",
                "yes" if best.over_probe.better else "no",
                len(best.seeds),
            ]
        )
    text = readme.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{readme}: has no lines {BEGIN!r} and {END!r}, between which the table is written")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    header = ["task", "last layer", "best reading on validation", "gain", "proven", "seeds"]
    write_text(readme, f"{before}{BEGIN}\n{markdown(header, rows).rstrip()}\n{END}{after}")


def _advice() -> str:
    """What `advise` would have said about each task, from all others."""
    content = json.loads(PAIRS.read_text())
    said = {one["name"]: one for one in content.get("said", [])}
    rows = []
    for pair in content["left_out"]:
        one = said.get(pair["pair"])
        rows.append(
            [
                pair["pair"],
                f"{pair['estimate']:+.1f} [{pair['low']:+.1f}, {pair['high']:+.1f}]",
                f"{pair['measured']:+.1f}",
                one["verdict"] if one else "",
                ("yes" if one["gained"] else "no") if one else "",
            ]
        )
    rows += [
        [name, "", "", "iterate" if one["iterate"] else one["verdict"], "yes" if one["gained"] else "no"]
        for name, one in said.items()
        if name not in {pair["pair"] for pair in content["left_out"]}
    ]
    about = (
        "`dynaxx advise` on 500 images before anything is trained, its forecast fitted to all other tasks. Points of a "
        "score, or per cent of an error (sediment). Networks on CIFAR-10, and on digits where none is named, are the "
        "small ones of [when-it-pays](when-it-pays.md). `python -m experiments.suite.advice` measures anew."
    )
    header = ["task, network", "expected gain, 80 %", "measured", "advice", "gain proven"]
    return "\n".join(
        ["## What `advise` would have said\n", fill(about, 120, break_on_hyphens=False) + "\n", markdown(header, rows)]
    )


def _bars(verdicts: dict[str, list[Judged]]) -> str:
    rows = [
        [f"[{name}](#{name})", one.bar, one.found, "met" if one.met else "**missed**"]
        for name, found in verdicts.items()
        for one in found
    ]
    missed = [name for name, found in verdicts.items() if name in WHY and not all(one.met for one in found)]
    why = [f"- {fill(f'{name}: {WHY[name]}', 118, subsequent_indent='  ')}" for name in missed]
    table = markdown(["case", "bar", "found", ""], rows)
    return "\n".join(["## Bars\n", table, *["", *why] * bool(why), ""]) if rows else ""


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
            ["arm", titled(now.metric), "on validation", f"gain over the probe, {unit_of_gain(now.metric)}", "proven",
             *measures, "live parameters", "training s", "seeds", "chosen"],
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
        cell(arm.validation, now.metric),
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
