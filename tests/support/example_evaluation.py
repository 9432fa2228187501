"""A whole evaluation, small and hostile: its names come from folders that somebody else named."""

from dataclasses import replace

import numpy as np

from dynaxx.evaluation import ArmResult, Corruption, Evaluation, TaskSummary, decide
from dynaxx.evaluation.cost import Latency, Timing
from dynaxx.evaluation.costs import COST, ArmCosts
from dynaxx.evaluation.decision import questioned
from dynaxx.evaluation.gallery import Disagreement
from dynaxx.evaluation.inside import (
    Ablation,
    Attribution,
    GateOpening,
    Information,
    Inside,
    Iterations,
    ResidualCurve,
)
from dynaxx.evaluation.shown import Scatter, Shown
from dynaxx.evaluation.statistics import Bootstrap, Comparison, Interval, agreements, class_gains, pairs
from dynaxx.tasks import Metric

HOSTILE = [
    "<script>alert('x')</script>",
    "a|b `c` [d](javascript:e) *f*",
    "[red]g[/red]\n# h",
    "{{ 7 * 7 }} & co",
]
BOOTSTRAP = Bootstrap(resamples=200, confidence=0.95, seed=0)
ACCURACY, RMSE = Metric("accuracy"), Metric("rmse", higher_is_better=False, root=True, unit="mm")
RATES = {"baseline": 0.6, "concat_probe": 0.66, "direct": 0.7, "explicit": 0.8, "implicit": 0.75, "lora": 0.78}


def make_arm(
    name: str, *, ratio: float = 1.0, rate: float = 0.5, seeds: int = 3, val: float | None = None, train: float = 41.5
) -> ArmResult:
    return ArmResult(
        name=name,
        value_per_seed=[rate + 0.01 * seed for seed in range(seeds)],
        val_score_per_seed=[rate if val is None else val] * seeds,
        measures_per_seed={
            "accuracy": [rate] * seeds,
            "macro_recall": [rate - 0.01 * seed for seed in range(seeds)],
            "calibration_error": [0.05] * seeds,
        },
        recall_per_class={label: rate + 0.02 * i for i, label in enumerate(HOSTILE)},
        trained_parameters=12_345,
        live_parameters=8_874,
        train_seconds=train,
        train_seconds_per_seed=[train] * seeds,
        gflops=0.0415,
        latency=Latency(1.25 * ratio, 1.5 * ratio, 2.5 * ratio, ratio, ratio - 0.01, ratio + 0.01),
        throughput_per_s=4321.0,
        peak_memory_mb=6.5,
    )


def make_scores(seeds: int, metric: Metric = ACCURACY) -> dict[str, np.ndarray]:
    """Scores (seeds, 200) of the arms, of which one with a higher rate is the better."""
    generator = np.random.default_rng(0)
    difficulty = generator.random(200)
    hit = {
        name: np.stack([difficulty + 0.05 * generator.standard_normal(200) < rate for _ in range(seeds)])
        for name, rate in RATES.items()
    }
    return hit if metric.higher_is_better else {name: np.where(rows, 0.04, 4.0) for name, rows in hit.items()}


def make_evaluation(seeds: int = 3, metric: Metric = ACCURACY) -> Evaluation:
    correct, scores = make_scores(seeds), make_scores(seeds, metric)
    arms = [
        replace(
            make_arm(name, ratio=1 + 0.02 * i, rate=rate, seeds=seeds),
            value_per_seed=[metric.of(row) for row in scores[name]],
        )
        for i, (name, rate) in enumerate(RATES.items())
    ]
    comparisons = [
        Comparison.measure(a, b, scores[a], scores[b], metric, **BOOTSTRAP)
        for a, b in pairs(list(RATES), questioned(list(RATES)))
    ]
    return Evaluation(
        task=TaskSummary(
            data="photos & <b>more</b>",
            kind="classification",
            metric=metric,
            classes=HOSTILE,
            n_train=9000,
            n_val=1000,
            n_test=200,
            seeds=list(range(seeds)),
            train_per_class=[4500 // len(HOSTILE)] * len(HOSTILE),
        ),
        hardware={"cpu": "Some <i>processor</i>", "cores": 2, "gpu": None},
        timings={
            "latency": Timing(1, 25, 12.5, 0.02),
            "throughput": Timing(64, 14, 47.0, 0.02, {"explicit": 0.061}),
        },
        arms=arms,
        comparisons=comparisons,
        cost_comparisons=[],
        class_gains=class_gains(correct, np.arange(200) % len(HOSTILE), HOSTILE, [90] * len(HOSTILE), BOOTSTRAP),
        agreements=agreements({name: rows.astype(np.int64) for name, rows in correct.items()}),
        corruptions=[
            Corruption(
                "noise",
                {name: [rate - 0.02 * strength for strength in range(5)] for name, rate in RATES.items()},
                {"baseline": Interval(0.1, 0.05, 0.15, 0.95)},
            )
        ],
        shown=Shown(
            disagreements=[Disagreement(7, True, *HOSTILE[:3], 1.0)],
            columns=["image", "truth", "baseline", HOSTILE[0]],
            scatter=[Scatter(HOSTILE[0], [1.0, 2.0], {"baseline": [1.5, 1.5], HOSTILE[1]: [1.1, 2.0]})],
        ),
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
            taps=["layer2", HOSTILE[1]],
        ),
        decision=decide(arms, comparisons, metric, latency_budget=0.2),
    )


def with_costs(evaluation: Evaluation, per_error: float = 20.0) -> Evaluation:
    """The same evaluation where each error costs as much, and the decision weighs that."""
    correct = make_scores(len(evaluation.task.seeds))
    costs = {name: 1000 * per_error * (1.0 - rows) for name, rows in correct.items()}
    comparisons = [
        Comparison.measure(c.a, c.b, costs[c.a], costs[c.b], COST, **BOOTSTRAP) for c in evaluation.comparisons
    ]
    arms = [
        replace(
            arm,
            costs=ArmCosts(
                Interval(mean := float(costs[arm.name].mean()), 0.9 * mean, 1.1 * mean, 0.95),
                {HOSTILE[1]: [-0.5] * len(evaluation.task.seeds)},
                [mean] * len(evaluation.task.seeds),
                1.5 * mean,
            ),
        )
        for arm in evaluation.arms
    ]
    return replace(evaluation, arms=arms, cost_comparisons=comparisons, decision=decide(arms, comparisons, COST))
