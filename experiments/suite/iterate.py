"""docs/results/when-to-iterate.md: how far information travels, in the loop and in every single pass.

Written from the files of results of the cases `lines` and `click`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import numpy as np
import torch
from torch import Tensor

from dynaxx.evaluation.arms import EXPLICIT
from dynaxx.evaluation.statistics import Comparison, Scores
from dynaxx.files import write_text
from dynaxx.tasks import Metric
from experiments.markdown import markdown
from experiments.suite.cases import CASES, COMPONENTS, LENGTHS, ONE_PASS
from experiments.suite.results import FOLDER, CaseResults, read_case, scores_elsewhere

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "results" / "when-to-iterate.md"
PICTURE = DOCS / "images" / "iou-against-length.svg"

HEAD = """# When to iterate

Written by `python -m experiments.page` from the files in `experiments/results/suite`; `make suite` makes them.

T iterations reach T positions with one set of weights. A single pass has to be built for one reach. Two tasks show what
that is worth, both with a click as a source, on blocks 0 and 1 of EfficientNet-Lite0. Every single pass has as many
parameters as the loop and all that the loop has: the same layers, the click read again in every layer, gates per
position, the same activation, images and epochs.

- `conv_2`, `conv_4`, `conv_8`: so many 3×3 convolutions. `conv_dilated`: eight, dilated by 1, 2, 4, 8 twice. `unet`:
  three resolutions with skips.
- Values are IoU in per cent on test images, means over seeds. A difference has a 95 % interval over images, or slices.
"""


@dataclass(frozen=True)
class Found:
    """Scores of arms on the same samples: arm → seed → (N,)."""

    scores: Mapping[str, Mapping[int, Tensor]]
    groups: Sequence[str] = ()

    def value(self, arm: str) -> float:
        """Mean over seeds and samples, in per cent."""
        return 100 * float(np.mean([float(values.mean()) for values in self.scores[arm].values()]))

    def best_pass(self) -> str | None:
        """The single pass with the best mean; None without any."""
        known = [arm for arm in self.scores if arm.partition(",")[0] in ONE_PASS]
        return max(known, key=self.value) if known else None

    def difference(self, a: str, b: str) -> str:
        """Gain of `a` over `b` on the seeds of both, in points, with its interval."""
        seeds = [seed for seed in self.scores[a] if seed in self.scores[b]]
        first, second = (
            Scores.joined([Scores.of(self.scores[arm][seed].double().numpy()[None]) for seed in seeds])
            for arm in (a, b)
        )
        found = Comparison.measure(a, b, first, second, Metric("iou"), tuple(self.groups), resamples=10_000).difference
        return f"{100 * found.estimate:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"

    def beside(self, other: "Found", told: str) -> "Found":
        """These scores, and those of another condition on the same samples, whose arms are told apart."""
        return Found(dict(self.scores) | {f"{arm}, {told}": some for arm, some in other.scores.items()}, self.groups)

    def where(self, keep: Tensor) -> "Found":
        """The same on some of the samples."""
        groups = [group for group, kept in zip(self.groups, keep.tolist(), strict=True) if kept] if self.groups else ()
        return Found({arm: {s: v[keep] for s, v in some.items()} for arm, some in self.scores.items()}, groups)


def write_iterate_page(folder: Path = FOLDER, page: Path = PAGE, picture: Path = PICTURE) -> None:
    """Write the page and its picture; nothing where no line has been traced.

    >>> write_iterate_page()  # doctest: +SKIP
    """
    lines, click = read_case("lines", folder), read_case("click", folder)
    parts = [HEAD]
    if lines is not None and EXPLICIT in lines.fits:
        parts.append(_lines(lines, folder, page, picture))
    if click is not None and EXPLICIT in click.fits:
        parts.append(_click(click, folder))
    if len(parts) > 1:
        write_text(page, "\n".join(parts).rstrip() + "\n")


def at_home(results: CaseResults) -> Found:
    """The case's own test samples."""
    scores = {
        arm: {seed: torch.from_numpy(one.values[0]) for seed, one in some.items()}
        for arm, some in results.scores.items()
    }
    return Found(scores, results.about["groups"])


def elsewhere(name: str, results: CaseResults, folder: Path, place: str, T: int) -> Found:
    """Other samples that a case was tested on; loops with T iterations."""
    scores: dict[str, dict[int, Tensor]] = {}
    for arm, fits in results.fits.items():
        for seed in fits:
            kept = scores_elsewhere(folder / name / arm / f"seed-{seed}.safetensors")
            values = kept.get(f"{place}, T={T}", kept.get(place))
            if values is not None:
                scores.setdefault(arm, {})[seed] = values
    return Found(scores, results.about["elsewhere"][place]["groups"])


def _lines(results: CaseResults, folder: Path, page: Path, picture: Path) -> str:
    tanh = read_case("lines-tanh", folder)

    def at(length: int, T: int) -> Found:
        found = elsewhere("lines", results, folder, f"length {length}", T)
        if tanh is None:
            return found
        return found.beside(elsewhere("lines-tanh", tanh, folder, f"length {length}", T), "tanh")

    enough = {length: at(length, max(8, length * 3 // 2)) for length in LENGTHS}
    shown = [f"{arm}{of}" for of in ("", ", tanh") for arm in (EXPLICIT, *ONE_PASS)]
    arms = [arm for arm in shown if all(arm in one.scores for one in enough.values())]
    drawn = {arm: {length: one.value(arm) for length, one in enough.items()} for arm in arms}
    draw(_better(drawn), picture)
    rows = [
        [
            f"**{arm}**" if arm == EXPLICIT else arm,
            len(enough[LENGTHS[0]].scores[arm]),
            *(f"{drawn[arm][n]:.1f}" for n in LENGTHS),
        ]
        for arm in arms
    ]
    if EXPLICIT in arms:
        for told, factor in (("T=32 whatever the length", None), ("T three times the length", 3)):
            values = [f"{at(n, factor * n if factor else 32).value(EXPLICIT):.1f}" for n in LENGTHS]
            rows.append([f"explicit, {told}", len(results.fits[EXPLICIT]), *values])
    ahead: list[object] = ["explicit over the best single pass", ""]
    for one in enough.values():
        best = one.best_pass()
        ahead.append(f"{one.difference(EXPLICIT, best)} ({best})" if best else "")
    about = (
        "A line is to be traced from a click at its end, among three that look alike. The dial is its length, in steps "
        "of the grid, 32 × 32. All arms were trained on lines of 4 to 32 steps; 64 steps were never trained on. The "
        "loop was trained with T from 16 to 40, and is tested with once and a half the length. All arms were also "
        "trained with tanh in place of GELU; the best single pass is the best of all rows. A threshold and a connected "
        "component would solve it: it is made to show reach, and nothing else."
    )
    told = f"![IoU against length]({_link(page, picture)})"
    header = ["arm", "seeds", *(f"{length} steps" for length in LENGTHS)]
    return "\n".join(["## Lines to trace\n", fill(about, 120) + "\n", told + "\n", markdown(header, [*rows, ahead])])


def _better(drawn: Mapping[str, Mapping[int, float]]) -> dict[str, Mapping[int, float]]:
    """The loop, and every single pass with the activation that suits it better."""
    kept: dict[str, Mapping[int, float]] = {}
    for arm in (EXPLICIT, *ONE_PASS):
        ways = [name for name in drawn if name.partition(",")[0] == arm]
        if ways:
            best = max(ways, key=lambda name: sum(drawn[name].values()))
            kept[best] = drawn[best]
    return kept


def _link(page: Path, picture: Path) -> str:
    return str(Path("..") / "images" / picture.name) if page == PAGE else picture.name


def _click(results: CaseResults, folder: Path) -> str:
    own = at_home(results)
    T = 24
    here, larger = (there for there in CASES["click"].elsewhere)
    arms = [
        arm for arm in (EXPLICIT, "direct", "explicit_T1", "concat_probe", *ONE_PASS, COMPONENTS) if arm in own.scores
    ]
    wide = {T: elsewhere("click", results, folder, larger.name, T) for T in larger.iterations}
    areas = torch.tensor(results.about["elsewhere"][larger.name]["areas"])
    large = areas > areas.median()
    one = wide[T]
    rows = [
        [
            f"**{arm}**" if arm == EXPLICIT else arm,
            len(own.scores[arm]),
            f"{own.value(arm):.1f}",
            *([f"{one.value(arm):.1f}", f"{one.where(large).value(arm):.1f}"] if arm in one.scores else ["", ""]),
        ]
        for arm in arms
    ]
    best = own.best_pass()
    if best is not None:
        wide_best = one.best_pass() or best
        rows.append(
            ["explicit over the best single pass", "", f"{own.difference(EXPLICIT, best)} ({best})",
             f"{one.difference(EXPLICIT, wide_best)} ({wide_best})",
             f"{one.where(large).difference(EXPLICIT, wide_best)} ({wide_best})"]
        )  # fmt: skip
    about = (
        "A click to the whole cell on slices of membranes: 160 crops of 128² pixels of 20 slices to train on, crops of "
        "ten others to test on. Cells have 200 pixels or more. `components` is the classical way: a network of four "
        "convolutions learns where cells are, and the connected part above a threshold at the click is taken, the "
        "threshold chosen on validation. Crops of 256² were never trained on."
    )
    header = ["arm", "seeds", "crops of 128", "crops of 256", "of these, cells above the median area"]
    narrow = {n: elsewhere("click", results, folder, here.name, n) for n in here.iterations} | {T: own}
    numbers = sorted(narrow.keys() | wide.keys())
    more = [
        [side, *(f"{by_T[n].value(EXPLICIT):.1f}" if n in by_T else "" for n in numbers)]
        for side, by_T in (("128", narrow), ("256", wide))
    ]
    return "\n".join(
        [
            "## A click to its cell\n",
            fill(about, 120) + "\n",
            markdown(header, rows) + "\n",
            "The loop was trained with T from 12 to 32. With other numbers of iterations it reaches:\n",
            markdown(["crops of", *(f"T={n}" for n in numbers)], more),
        ]
    )


def draw(values: Mapping[str, Mapping[int, float]], path: Path) -> None:
    """Draw IoU against length, one line an arm.

    >>> draw({"explicit": {4: 90.0, 8: 85.0}}, Path("picture.svg"))  # doctest: +SKIP
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "dynaxx", "svg.fonttype": "none", "font.size": 11}):
        figure = Figure(figsize=(7.5, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for arm, line in values.items():
            axes.plot(
                list(line), list(line.values()), marker="o", label=arm, linewidth=3 if arm.startswith(EXPLICIT) else 1.5
            )
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted(set().union(*values.values())))
        axes.get_xaxis().set_major_formatter("{x:g}")
        axes.set_xlabel("length of the line, steps of the grid")
        axes.set_ylabel("IoU, %")
        axes.set_ylim(0, 100)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None})
