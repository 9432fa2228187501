"""A whole evaluation, small and hostile: its names come from folders that somebody else named."""

import numpy as np

from dynaxx.evaluation import ArmResult, Corruption, Evaluation, TaskSummary, decide
from dynaxx.evaluation.cost import Latency
from dynaxx.evaluation.inside import (
    Ablation,
    Attribution,
    Disagreement,
    GateOpening,
    Information,
    Inside,
    Iterations,
    ResidualCurve,
)
from dynaxx.evaluation.statistics import Bootstrap, Comparison, Interval, agreements, class_gains

HOSTILE = [
    "<script>alert('x')</script>",
    "a|b `c` [d](javascript:e) *f*",
    "[red]g[/red]\n# h",
    "{{ 7 * 7 }} & co",
]
BOOTSTRAP = Bootstrap(resamples=200, confidence=0.95, seed=0)
RATES = {"baseline": 0.6, "concat_probe": 0.66, "direct": 0.7, "explicit": 0.8, "implicit": 0.75}


def make_arm(name: str, *, ratio: float = 1.0, rate: float = 0.5, seeds: int = 3) -> ArmResult:
    return ArmResult(
        name=name,
        accuracy_per_seed=[rate + 0.01 * seed for seed in range(seeds)],
        macro_recall_per_seed=[rate - 0.01 * seed for seed in range(seeds)],
        calibration_error_per_seed=[0.05] * seeds,
        recall_per_class={label: rate + 0.02 * i for i, label in enumerate(HOSTILE)},
        trained_parameters=12_345,
        live_parameters=8_874,
        train_seconds=41.5,
        train_seconds_per_seed=[41.5] * seeds,
        gflops=0.0415,
        latency=Latency(1.25 * ratio, 1.5 * ratio, 2.5 * ratio, ratio, ratio - 0.01, ratio + 0.01),
        throughput_per_s=4321.0,
        peak_memory_mb=6.5,
    )


def make_evaluation(seeds: int = 3) -> Evaluation:
    generator = np.random.default_rng(0)
    difficulty = generator.random(200)
    correct = {
        name: np.stack([difficulty + 0.05 * generator.standard_normal(200) < rate for _ in range(seeds)])
        for name, rate in RATES.items()
    }
    arms = [make_arm(name, ratio=1 + 0.02 * i, rate=rate, seeds=seeds) for i, (name, rate) in enumerate(RATES.items())]
    pairs = [("explicit", other) for other in RATES if other != "explicit"] + [("implicit", "baseline")]
    comparisons = [Comparison.measure(a, b, correct[a], correct[b]) for a, b in pairs]
    return Evaluation(
        task=TaskSummary(
            "photos & <b>more</b>", HOSTILE, 9000, 1000, 200, list(range(seeds)), [4500 // len(HOSTILE)] * len(HOSTILE)
        ),
        hardware={"cpu": "Some <i>processor</i>", "cores": 2, "gpu": None},
        arms=arms,
        comparisons=comparisons,
        class_gains=class_gains(correct, np.arange(200) % len(HOSTILE), HOSTILE, [90] * len(HOSTILE), BOOTSTRAP),
        agreements=agreements({name: rows.astype(np.int64) for name, rows in correct.items()}),
        corruptions=[
            Corruption(
                "noise",
                {name: [rate - 0.02 * strength for strength in range(5)] for name, rate in RATES.items()},
                {"baseline": Interval(0.1, 0.05, 0.15, 0.95)},
            )
        ],
        inside=Inside(
            residuals=[
                ResidualCurve("layer2", [1, 2, 3], [0.5, 0.05, 0.0], [0.7, 0.1, 0.01]),
                ResidualCurve("</script><b>3", [1, 2], [0.4, 0.04], [0.6, 0.09]),
            ],
            iterations=[
                Iterations(
                    T,
                    {"picard": settled, "anderson": 1.0},
                    [0.8 + 0.001 * T] * seeds,
                    Interval(0.001 * T, -0.002, 0.005, 0.95),
                )
                for T, settled in ((1, 0.0), (4, 0.5), (20, 1.0))
            ],
            gates=[
                GateOpening("layer2", "</script><b>3", {name: 0.5 + n / 4 for n, name in enumerate(HOSTILE)}),
                GateOpening("</script><b>3", "layer2", {}),
            ],
            ablations=[
                Ablation(f"without {HOSTILE[0]} → layer2", 1, [0.7] * seeds, Interval(-0.1, -0.15, -0.05, 0.95))
            ],
            information=[Information("layer2", HOSTILE[3], 1.25, 2.5)],
            attributions=[Attribution("explicit", 8, 0.015, 0.2, 0.7, 0.4, Interval(0.5, 0.4, 0.6, 0.95))],
            disagreements=[Disagreement(7, True, *HOSTILE[:3], 1.0)],
            taps=["layer2", HOSTILE[1]],
        ),
        decision=decide(arms, comparisons),
    )
