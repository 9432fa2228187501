"""The experiments on CIFAR-10 and on microscope slices: settings, conditions and the arms trained under them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dynaxx.evaluation.arms import named
from dynaxx.evaluation.validation import passes
from experiments.job import BACKBONE_ARM, CACHE, MEMBRANE, Job

SEEDS = tuple(range(10))
"""Seeds of all tested fits."""
TUNING = (100, 101, 102)
"""Seeds of all tuning fits, which never open the test images."""

COARSE = "coarse"
"""Setting of the experiment: a backbone trained on the groups of params.yaml."""

AGAIN = "coarse-2"
"""Setting with a second backbone, trained in the same way on other images (another `data.split_seed`)."""

QUARTERS = "coarse-quarters"
"""Setting like `COARSE`, with a head that reads the concatenated means of the four quarters of the last map."""

EVERY = named("baseline", "full_finetune", "lora", "explicit", "direct", "explicit_T1", "concat_mlp", "implicit",
         "last_tap_only", "hybrid", "concat_probe")  # fmt: skip

RATES = (1.5e-3, 3e-3, 6e-3, 1.2e-2, 2.4e-2)
TUNED = named("explicit", "direct", "explicit_T1", "concat_mlp", "lora", "full_finetune", "last_tap_only", "hybrid")

LR: dict[str, float] = {"concat_mlp": 3e-3, "explicit_T1": 3e-3}
"""Learning rate of each arm, chosen by the experiment `tune`; all other arms use train.lr."""


def arms(
    setting: str,
    condition: str,
    names: Iterable[str],
    changes: Mapping[str, Any],
    seeds: Iterable[int] = SEEDS,
    rates: Mapping[str, float] | None = None,
    **options: Any,
) -> list[Job]:
    """The jobs of the setting, followed by one job per arm and seed."""
    rates = LR if rates is None else rates
    made_of = {
        key: value for key, value in changes.items() if key.startswith(("data.", "model.", "train.augmentation"))
    }
    found = [
        Job(setting, "", made, 0, made_of)
        for made in ((BACKBONE_ARM,) if setting == MEMBRANE else (BACKBONE_ARM, CACHE))
    ]
    for seed in seeds:
        for arm in named(*names):
            rate = {"train.lr": rates[arm]} if arm in rates else {}
            found.append(Job(setting, condition, arm, seed, dict(changes) | rate, **options))
    return found


def main() -> list[Job]:
    """The main experiment, with all arms."""
    return arms(COARSE, "main", EVERY, {})


def few(n_train: int) -> dict[str, Any]:
    """Changes that reduce the 9,000 training labels to `n_train`."""
    epochs = passes(30, 9000, n_train)
    return {"task.n_train": n_train, "train.epochs": epochs, "train.patience": epochs}


LABELS = (100, 250, 500, 1000, 2000)


def labels() -> list[Job]:
    """The label-efficiency curve; with 2,000 labels also predictions for corrupted images."""
    names = ("baseline", "explicit", "direct", "explicit_T1", "concat_mlp", "lora", "full_finetune", "concat_probe")
    return [job for n in LABELS for job in arms(COARSE, f"labels-{n}", names, few(n), corrupted=n == 2000, keep=False)]


TAIL = {"task.imbalance": 50.0}
"""Changes for a long tail: the rarest class has a 50th of the images of the most frequent one."""

TAIL_RATES = (3e-3, 6e-3, 1.2e-2)
TAIL_TUNED = named("explicit", "direct", "concat_mlp", "lora", "explicit_T1")

TAIL_LR: dict[str, float] = {"explicit": 1.2e-2, "concat_mlp": 1.2e-2, "lora": 3e-3}
"""Learning rate of each arm on the long tail, chosen by the experiment `tail_tune`."""


def tail() -> list[Job]:
    """The long tail of classes."""
    names = ("baseline", "explicit", "direct", "explicit_T1", "concat_mlp", "lora", "full_finetune", "concat_probe")
    return arms(COARSE, "tail-50", names, TAIL, keep=False)


def tail_tune() -> list[Job]:
    """Trials of learning rates on the long tail, in the first setting, for use in the second."""
    options: dict[str, Any] = {"seeds": TUNING[:1], "tested": False, "keep": False}
    found = arms(COARSE, "tail-tuning", ("baseline",), TAIL, **options)
    for rate in TAIL_RATES:
        rates = dict.fromkeys(TUNED, rate)
        found += arms(COARSE, f"tail-lr-{rate:g}", TAIL_TUNED, TAIL, rates=rates, probes="tail-tuning", **options)
    return found


def again() -> list[Job]:
    """The long tail on the second backbone, with the same learning rates and with tuned ones."""
    changes, names = TAIL | {"data.split_seed": 1}, ("baseline", "explicit", "direct", "concat_mlp", "concat_probe")
    same = arms(AGAIN, "tail-50-same-rates", names, changes, keep=False)
    return same + arms(AGAIN, "tail-50", (*names, "lora", "explicit_T1"), changes, rates=TAIL_LR, keep=False)


def same() -> list[Job]:
    """A backbone trained on the ten classes of the task, where no gain is expected."""
    names = ("baseline", "explicit", "direct", "explicit_T1", "concat_mlp", "lora", "concat_probe", "implicit")
    changes = {"data.groups": None, "train.augmentation": "flip"}
    return arms("same", "main", names, changes, seeds=SEEDS[:6], keep=False)


def tune() -> list[Job]:
    """Trials of learning rates, the same number per arm."""
    probes = arms(COARSE, "tuning", ("baseline",), {}, seeds=TUNING[:1], tested=False)
    return probes + [
        job
        for rate in RATES
        for job in arms(
            COARSE,
            f"lr-{rate:g}",
            TUNED,
            {},
            probes="tuning",
            seeds=TUNING[:1],
            rates=dict.fromkeys(TUNED, rate),
            tested=False,
            keep=False,
        )
    ]


SEARCHED = {"task.n_train": 2000, "task.n_val": 4000, "train.epochs": 50, "train.patience": 50,
            "train.augmentation": "flip"}  # fmt: skip
"""Changes for the choice of designs: cheaper than the experiment, with four times its validation images."""

INSIDE = ("layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0", "layer3.1")
"""Taps inside the stages and at their ends."""

DESIGNS: dict[str, dict[str, Any]] = {
    "default": {},
    "penalty-2": {"train.residual_penalty": 2.0},
    "no-penalty": {"train.residual_penalty": 0.0},
    "T-2": {"resonance.T": 2},
    "T-8": {"resonance.T": 8},
    "T-8-penalty-0": {"resonance.T": 8, "train.residual_penalty": 0.0},
    "damping-1": {"resonance.damping": 1.0},
    "rank-16": {"resonance.rank": 16},
    "rank-64": {"resonance.rank": 64},
    "no-depthwise": {"resonance.depthwise": False},
    "smoothing": {"task.options.label_smoothing": 0.1},
    "shift-flip": {"train.augmentation": "shift_flip"},
    "gate-learned": {"resonance.gate": "learned"},
    "gate-mi": {"resonance.gate": "mutual_information"},
    "strength-2": {"resonance.strength": 2.0},
    "silu": {"resonance.activation": "silu"},
    "decay-0.01": {"train.weight_decay": 1e-2},
    "decay-0.1": {"train.weight_decay": 0.1},
    "inside-12": {"resonance.rank": 12},
    "inside-12-T-8": {"resonance.rank": 12, "resonance.T": 8},
}


def designs() -> list[Job]:
    """Designs of the loop, each against `direct` with as many parameters, with both kinds of heads."""
    again = {name: DESIGNS[name] for name in ("default", "decay-0.1")}
    return _designs(COARSE, SEARCHED, DESIGNS) + _designs(QUARTERS, SEARCHED | {"model.network.regions": 2}, again)


def _designs(setting: str, searched: dict[str, Any], tried: Mapping[str, dict[str, Any]]) -> list[Job]:
    found = arms(setting, "designs", ("baseline",), searched, seeds=TUNING, tested=False)
    for name, changes in tried.items():
        found += arms(
            setting,
            f"design-{name}",
            ("explicit", "direct"),
            searched | changes,
            seeds=TUNING,
            probes="designs",
            taps=INSIDE if name.startswith("inside") else (),
            tested=False,
            keep=False,
        )
    return found


DENSE = {"resonance.rank": 16, "train.epochs": 40, "model.pretrain.epochs": 60}
"""Changes for the dense task: 40 epochs of 16 steps over the same 256 random crops."""

DENSE_DESIGNS: dict[str, dict[str, Any]] = {
    "T-4": {"resonance.T": 4},
    "T-8": {"resonance.T": 8},
    "T-16": {"resonance.T": 16},
    "T-8-penalty-0": {"resonance.T": 8, "train.residual_penalty": 0.0},
}


DENSE_RATES = (3e-3, 1.2e-2)
"""Further learning rates for `direct`, to check that its rate is not a handicap."""


def dense_designs() -> list[Job]:
    """Designs of the loop on the dense task, where messages can spread between positions."""
    seeds = TUNING[:2]
    options: dict[str, Any] = {"tested": False, "keep": False, "probes": "designs"}
    found = arms(MEMBRANE, "designs", ("baseline", "direct", "explicit_T1"), DENSE, seeds, **options)
    for name, changes in DENSE_DESIGNS.items():
        found += arms(MEMBRANE, f"design-{name}", ("explicit",), DENSE | changes, seeds, **options)
    for rate in DENSE_RATES:  # in addition to 6e-3, the rate of `designs`
        found += arms(MEMBRANE, f"lr-{rate:g}", ("direct",), DENSE | {"train.lr": rate}, seeds[:1], **options)
    chosen = DENSE | DENSE_DESIGNS["T-8-penalty-0"]
    for names, changes in ((("baseline", "direct", "lora"), DENSE), (("explicit",), chosen)):
        found += arms(MEMBRANE, "beside-lora", names, changes, seeds[:1], tested=False, keep=False)
    return found


def dense() -> list[Job]:
    """The dense task, with eight labelled slices and with one."""
    names = ("baseline", "explicit", "direct", "explicit_T1", "lora")
    chosen = DENSE | DENSE_DESIGNS["T-8-penalty-0"]
    return [
        job for kept in (8, 1) for job in arms(MEMBRANE, f"labels-{kept}", names, chosen | {"labels": kept}, keep=False)
    ]


CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def _groups(text: str) -> dict[str, list[str]]:
    names = {w[:2]: w for w in CIFAR10}
    return {f"g{number}": [names[short] for short in part.split()] for number, part in enumerate(text.split("|"))}


GROUPINGS: dict[str, dict[str, list[str]] | None] = {
    "same": None,
    "two": _groups("ai au sh tr|bi ca de do fr ho"),
    "three": _groups("ai sh bi|au tr ho|ca do de fr"),
    "five": _groups("ai sh|au tr|bi fr|ca do|de ho"),
    "nine": _groups("ai|au|bi|ca do|de|fr|ho|sh|tr"),
    "four-mixed": _groups("ai fr|au ca sh|bi tr do|de ho"),
}
"""Groups of classes for pretraining, from two groups to all ten classes (None)."""


def advice() -> list[Job]:
    """Gains on many backbones, for the calibration of `dynaxx advise`."""
    shorter = {"model.pretrain.epochs": 10, "model.pretrain.patience": 10}
    changes = SEARCHED | {"task.n_val": 1000, "train.epochs": 40, "train.patience": 40}
    names = ("baseline", "explicit", "direct", "concat_probe")
    held_out = arms(COARSE, "advice", names, changes, seeds=(0,), keep=False)
    return [
        job
        for name, groups in GROUPINGS.items()
        for job in arms(name, "advice", names, changes | shorter | {"data.groups": groups}, seeds=(0,), keep=False)
    ] + held_out


DIGITS: dict[str, dict[str, list[str]] | None] = {
    "same": None,
    "parity": {"even": ["0", "2", "4", "6", "8"], "odd": ["1", "3", "5", "7", "9"]},
    "halves": {"low": ["0", "1", "2", "3", "4"], "high": ["5", "6", "7", "8", "9"]},
    "shape": {"round": ["0", "6", "8", "9"], "straight": ["1", "4", "7"], "open": ["2", "3", "5"]},
    "four": {"a": ["0", "1"], "b": ["2", "3", "4"], "c": ["5", "6", "7"], "d": ["8", "9"]},
    "pairs": {"a": ["0", "5"], "b": ["1", "6"], "c": ["2", "7"], "d": ["3", "8"], "e": ["4", "9"]},
    "seven": {"a": ["0"], "b": ["1", "7"], "c": ["2"], "d": ["3", "8"], "e": ["4", "9"], "f": ["5"], "g": ["6"]},
    "nine": {"a": ["0"], "b": ["1"], "c": ["2"], "d": ["3", "8"], "e": ["4"], "f": ["5"], "g": ["6"], "h": ["7"],
             "i": ["9"]},
}  # fmt: skip


def advice_digits() -> list[Job]:
    """Gains on many backbones for scikit-learn's digits, also for the calibration of `dynaxx advise`."""
    names = ("baseline", "explicit", "direct", "concat_probe")
    return [
        job
        for name, groups in DIGITS.items()
        for job in arms(f"digits-{name}", "advice", names, {"data.groups": groups}, seeds=range(3), keep=False)
    ]


EXPERIMENTS: dict[str, Callable[[], list[Job]]] = {
    "main": main,
    "labels": labels,
    "tail": tail,
    "tail_tune": tail_tune,
    "again": again,
    "same": same,
    "tune": tune,
    "designs": designs,
    "dense_designs": dense_designs,
    "dense": dense,
    "advice": advice,
    "advice_digits": advice_digits,
}
