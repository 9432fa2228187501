"""The verdict on each claim: a figure from the measurements, and whether the claim held.

All functions raise KeyError if a result is missing.
"""

from dynaxx.evaluation.statistics import Interval
from experiments.analysis.measured import Results, against, ratios, span
from experiments.analysis.outcomes import tasks
from experiments.analysis.tables import points
from experiments.findings import EXPLICIT
from experiments.tasks.number_of_taps import REFERENCE
from experiments.tasks.vision_transformer import CHOSEN

HELD, NOT, ONLY, UNTESTED = "held", "did not hold", "holds only", "untested"
MORE = "more than claimed, over a linear probe"
SETTLED = 0.99
SINGLE_PASS = {
    "dense": "membrane/labels-8",
    "long tail": "coarse/tail-50",
    "long tail, second backbone": "coarse-2/tail-50-same-rates",
    "the same, rates tuned": "coarse-2/tail-50",
    "classes": "coarse/main",
}
MOST_OF_GAIN = 2 / 3
"""Smallest share of a gain that counts as most of it."""
SMALL_GAIN = 0.005
"""Largest gain in accuracy that counts as little."""


def claimed(low: float, high: float, least: float, most: float) -> str:
    """Whether a gain, given its interval, is as claimed: from `least` to `most`."""
    if low > most:
        return MORE
    return HELD if low >= least else NOT


def settles(results: Results) -> tuple[str, str]:
    """Verdict on "settles in 5 to 7 iterations": whether 99 % of the images are within 1e-2 after 7 iterations."""
    shares = results.settle["settled after"]["picard"]
    first = next((n for n, share in enumerate(shares, start=1) if share >= SETTLED), None)
    images = f"{results.settle['images']:,} images, {results.settle['seeds']} seeds"
    figure = f"{100 * shares[4]:.1f} % within 1e-2 after 5 ({images})"
    return figure, HELD if first is not None and first <= 7 else NOT


def slower(results: Results) -> tuple[str, str]:
    """Verdict on "explicit is 2 to 5 times slower": whether explicit takes at least twice the backbone's time."""
    ours, rerun = ratios(results, "explicit T=5"), ratios(results, "reentrant T=5")
    figure = f"anchored {span(ours)} of the backbone's time, reentrant {span(rerun)}"
    if min(ours) >= 2:
        return figure, HELD
    return figure, f"{ONLY} for reentrant dynamics" if min(rerun) >= 2 else NOT


def memory(results: Results) -> tuple[str, str]:
    """Verdict on "explicit needs two to three times the memory": whether it needs at least twice the backbone's."""
    ours = ratios(results, "explicit T=5", "memory")
    return f"{span(ours)} of the backbone's, weights and peak of a pass", HELD if min(ours) >= 2 else NOT


def implicit_cost(results: Results) -> tuple[str, str]:
    """Verdict on "implicit costs under 5 %": in how many cases its time is below 1.05 of the backbone's."""
    ours = ratios(results, "implicit")
    within = sum(ratio < 1.05 for ratio in ours)
    figure = f"{span(ours)} of the backbone's time; under 1.05 in {within} of {len(ours)}"
    if within in (0, len(ours)):
        return figure, HELD if within else NOT
    return figure, f"{ONLY} in {within} of {len(ours)} cases"


def implicit_accuracy(results: Results) -> tuple[str, str]:
    """Verdict on "implicit is within 1 to 2 % of explicit": whether the gap is at most 2 points."""
    gap = against(results, "coarse/main", "implicit").interval
    return f"explicit − implicit {points(gap)} points", HELD if gap.high <= 0.02 else NOT


def relative(results: Results) -> tuple[str, str]:
    """Verdict on "5 to 15 % relative gain on fine-grained tasks", over the linear probe."""
    found = results.findings["coarse/main"]
    base = found.scores["baseline"]
    gap = against(results, "coarse/main", "baseline").interval
    figure = (
        f"{100 * gap.estimate / base:+.0f} % [{100 * gap.low / base:.0f}, {100 * gap.high / base:.0f}] over the probe"
    )
    direct = against(results, "coarse/main", "direct").interval
    return f"{figure}; over `direct` {points(direct)} points", claimed(gap.low / base, gap.high / base, 0.05, 0.15)


def loop(results: Results) -> tuple[str, str]:
    """Verdict on "iterating beats any single pass of equal size": the tasks in which the loop won."""
    found = {outcome.finding.condition: outcome for outcome in tasks(list(results.findings.values()))}
    compared = {name: found[condition] for name, condition in SINGLE_PASS.items() if condition in found}
    if not compared:
        raise KeyError("no single pass was run")
    figure = ", ".join(f"{name} {points(o.best.interval)} over {o.best.rival}" for name, o in compared.items())
    missing = {name: ", ".join(o.missing) for name, o in compared.items() if o.missing}
    figure += "".join(f"; {name}: {arms} not run" for name, arms in missing.items())
    won = [name for name, o in compared.items() if o.verdict == "won"]
    if len(won) == len(compared):
        return figure, HELD
    return figure, f"{ONLY} by a point for: {', '.join(won)}" if won else NOT


def one_pass(results: Results) -> tuple[str, str]:
    """Verdict on "iterating beats one pass of the same couplings", against `explicit_T1`."""
    gap = against(results, "coarse/main", "explicit_T1").interval
    return f"{points(gap)} points over one pass of the same couplings", HELD if gap.low > 0 else NOT


def finetuning(results: Results) -> tuple[str, str]:
    """Verdict on "comes within reach of full fine-tuning": whether explicit is at most half a point below it."""
    gap = against(results, "coarse/main", "full_finetune").interval
    return f"explicit − full fine-tuning {points(gap)} points", HELD if gap.low > -0.005 else NOT


def lora(results: Results) -> tuple[str, str]:
    """Verdict on "beats LoRA at equal parameters"."""
    gap = against(results, "coarse/main", "lora").interval
    return f"explicit − LoRA of as many parameters {points(gap)} points", HELD if gap.low > 0 else NOT


def taps(results: Results) -> tuple[str, str]:
    """Verdict on "three taps take most of the gain, beyond four little is left", on digits."""
    found = results.findings["digits/taps"]
    gain = {int(arm[5:]): score - found.scores["baseline"] for arm, score in found.scores.items() if "taps-" in arm}
    gain[REFERENCE] = found.scores[EXPLICIT] - found.scores["baseline"]
    figure = ", ".join(f"{100 * gain[n]:+.2f} with {n}" for n in sorted(gain))
    best = max(gain.values())
    three, four = gain[REFERENCE] >= MOST_OF_GAIN * best, best - gain[REFERENCE + 1] <= SMALL_GAIN
    verdict = HELD if three and four else f"{ONLY} for four" if four else f"{ONLY} for three" if three else NOT
    return f"digits: {figure} points over the probe ({len(found.differences[0].seeds)} seeds)", verdict


def transformers(results: Results) -> tuple[str, str]:
    """Verdict on "2 to 4 % on vision transformers", relative to the linear probe, on digits."""
    parts, shares = [], []
    for head in CHOSEN:
        base = results.findings[f"digits/{head}"].scores["baseline"]
        gain = against(results, f"digits/{head}", "baseline").interval
        direct = against(results, f"digits/{head}", "direct").interval
        figure = f"{100 * gain.estimate / base:+.0f} % [{100 * gain.low / base:.0f}, {100 * gain.high / base:.0f}]"
        parts.append(f"{head} {figure} over the probe, {points(direct)} points over `direct`")
        shares.append((gain.low / base, gain.high / base))
    low, high = (min(ends) for ends in zip(*shares, strict=True))
    return f"digits: {'; '.join(parts)}", claimed(low, high, 0.02, 0.04)


def regression(results: Results) -> tuple[str, str]:
    """Verdict on "8 % lower error in regression", relative to the baseline."""
    found = results.regression
    gaps = {arm: Interval(**entry["relative"]) for arm, entry in found["against"].items()}
    figure = f"by which angle digits are turned: {found['degrees'][EXPLICIT]:.2f} degrees, in % against " + ", ".join(
        f"{arm} {points(gap)}" for arm, gap in gaps.items()
    )
    less = gaps["baseline"]
    told = f"{figure} ({found['seeds']} seeds)"
    if "sediment" in results.suite:
        gain, seeds = results.suite["sediment"]
        told += f"; grain size of sediment, in % less error than the probe {points(gain)} ({seeds} seeds)"
        low, high = min(-less.high, gain.low), max(-less.low, gain.high)
        return told, claimed(low, high, 0.08, 0.08)
    return told, claimed(-less.high, -less.low, 0.08, 0.08)


def land_cover(results: Results) -> tuple[str, str]:
    """Verdict on "12 % on land cover, most in rare classes", relative to the baseline."""
    gain, seeds = results.suite["landcover"]
    figure = f"UC Merced, 21 classes, relative to the probe {points(gain)} % ({seeds} seeds)"
    if "landcover-rare-river" in results.suite:
        rare, count = results.suite["landcover-rare-river"]
        figure += f"; with one class made rare {points(rare)} % ({count} seeds)"
    return figure, claimed(gain.low, gain.high, 0.12, 0.12)


def overcoupling(results: Results) -> tuple[str, str]:
    """Verdict on "too strong couplings between middle and late make the model ignore low-level cues"."""
    parts, verdicts = [], []
    for entry in results.overcoupling["factors"]:
        if entry["factor"] > 1:
            gap = Interval(**entry["against trained"])
            verdicts.append(HELD if gap.high < 0 else NOT)
            parts.append(f"{entry['factor']:g} times as strong {points(gap)} ({100 * entry['accuracy']:.1f} % right)")
    figure = f"share of images that heed the first tap, in points: {', '.join(parts)}"
    if len(set(verdicts)) == 1:
        return figure, verdicts[0]
    return figure, f"{ONLY} in {verdicts.count(HELD)} of {len(verdicts)} cases"


def untested(results: Results) -> tuple[str, str]:
    """Verdict on a claim that no result here tests."""
    del results
    return "", UNTESTED
