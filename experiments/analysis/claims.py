"""`python -m experiments.analysis.claims`: docs/results/claims.md, claims about the method against measurements.

A claim counts as untested if a result that it needs is missing.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from dynaxx.files import write_text
from experiments.analysis import verdicts
from experiments.analysis.measured import Results, read_results
from experiments.analysis.page import DOCS
from experiments.findings import EXPLICIT
from experiments.markdown import markdown


@dataclass(frozen=True)
class Claim:
    """One claim: its statement, the command that tests it, and the function that computes figure and verdict."""

    statement: str
    tested_by: str
    found: Callable[[Results], tuple[str, str]]


SETTLE, BENCH, MAIN = "`python -m experiments.tasks.convergence`", "`make bench`", "`python -m experiments.run main`"
CLAIMS = (
    Claim("settles in 5 to 7 iterations", SETTLE, verdicts.settles),
    Claim("explicit is 2 to 5 times slower, a fifth of the throughput at T = 5", BENCH, verdicts.slower),
    Claim("explicit needs two to three times the memory", BENCH, verdicts.memory),
    Claim("implicit costs under 5 %", BENCH, verdicts.implicit_cost),
    Claim("implicit is within 1 to 2 % of explicit", MAIN, verdicts.implicit_accuracy),
    Claim("5 to 15 % relative gain on fine-grained tasks", MAIN, verdicts.relative),
    Claim("iterating beats one pass of the same couplings", MAIN, verdicts.one_pass),
    Claim(
        "iterating beats any single pass of equal size",
        "`python -m experiments.run main tail again dense`",
        verdicts.loop,
    ),
    Claim("beats LoRA at equal parameters", MAIN, verdicts.lora),
    Claim("comes within reach of full fine-tuning", MAIN, verdicts.finetuning),
    Claim(
        "three taps take most of the gain, beyond four little is left",
        "`python -m experiments.tasks.number_of_taps`",
        verdicts.taps,
    ),
    Claim("12 % on land cover, most in rare classes", "`python -m experiments.suite landcover`", verdicts.land_cover),
    Claim("2 to 4 % on vision transformers", "`python -m experiments.tasks.vision_transformer`", verdicts.transformers),
    Claim(
        "8 % lower error in regression",
        "`python -m experiments.tasks.rotation.run`, `python -m experiments.suite sediment`",
        verdicts.regression,
    ),
    Claim(
        "too strong couplings between middle and late make the model ignore low-level cues",
        "`python -m experiments.tasks.overcoupling`",
        verdicts.overcoupling,
    ),
)


def found(claim: Claim, results: Results) -> tuple[str, str]:
    """Figure and verdict of a claim; untested if a result is missing."""
    try:
        return claim.found(results)
    except KeyError:
        return verdicts.untested(results)


def ledger(results: Results) -> str:
    """The text of docs/results/claims.md."""
    rows = [[claim.statement, claim.tested_by, *found(claim, results)] for claim in CLAIMS]
    seeds = [len(d.seeds) for f in results.findings.values() if f.condition == "coarse/main" for d in f.differences]
    return (
        "<!-- written by `python -m experiments.analysis.claims`; do not edit -->\n"
        "# What is claimed, and what held here\n\n"
        + markdown(["claim", "tested by", "figure", "verdict"], rows)
        + f"\n\nDifferences are of {EXPLICIT} minus the arm, with 95 % intervals over test images; CIFAR-10 "
        f"on {min(seeds, default=0)} seeds at least. The conditions are described in "
        "[when-it-pays.md](when-it-pays.md), times and memory in [benchmarks.md](benchmarks.md). `untested`: no "
        "experiment here tests the claim. `more than claimed`: the whole interval lies above the claimed gain; the "
        "difference to `direct` beside it shows how much of the gain a single pass has, too.\n"
    )


def main() -> int:
    """Write docs/results/claims.md; returns the exit status."""
    write_text(DOCS / "claims.md", ledger(read_results()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
