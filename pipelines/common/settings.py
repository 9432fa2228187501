"""The settings of params.yaml: for each key a rule, which says in words what the value may be.

`pipelines.compose` and every stage judge params.yaml by these rules, so a bad value ends a command before any work.
"""

import difflib
from collections.abc import Mapping
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dynaxx import ResonanceError
from dynaxx.config import ResonanceConfig
from pipelines.common.rules import (
    AUTO,
    BELOW_ONE,
    BOUNDS,
    CHANNELS,
    COSTS,
    COUNT,
    DEVIATIONS,
    FROM_ZERO,
    INSIDE,
    MAPPING,
    NETWORK,
    NOT_NEGATIVE,
    NULL,
    PART,
    PATH,
    POSITIVE,
    SEED,
    SHARE,
    SHARES,
    STORE,
    TARGET,
    TEXT,
    WHEEL,
    Rule,
    either,
    listed,
    number,
    one_of,
    tried,
    whole,
)


class SettingsError(ValueError):
    """The error for a setting that cannot be; its one line names the key, its value, and what would do."""


OPEN = ("data", "model")
"""Sections that need not have all keys and may have others, because their groups differ."""

OWN = ("max_epochs", "logger", "callbacks", "enable_progress_bar", "enable_model_summary", "log_every_n_steps",
       "num_sanity_val_steps")  # fmt: skip
"""Options of Lightning's Trainer that `dynaxx.training.fit` sets itself."""


@cache
def rules() -> dict[str, dict[str, Rule]]:
    """Section of params.yaml → its keys → their rules; the options of resonance are judged by `ResonanceConfig`.

    >>> rules()["train"]["lr"].words
    'a number above 0'
    """
    from dynaxx.data import AUGMENTATIONS  # these two load torch, which a command that prints its help needs not
    from dynaxx.evaluation.arms import arms_where
    from dynaxx.tasks import KINDS

    augmentation = one_of(*AUGMENTATIONS)
    arm = one_of(*arms_where(lambda arm: arm.stage == "train_arms"))
    return {
        "data": {
            "name": TEXT,
            "source": TARGET,
            "watch": TEXT,
            "groups": either(NULL, MAPPING),
            "pretrain_fraction": BELOW_ONE,
            "split_seed": SEED,
        },
        "model": {
            "network": either(NETWORK, NULL),
            "library": either(one_of("timm", "torchvision", "python"), NULL),
            "name": TEXT,
            "target": Rule("package.module:function", TEXT.holds),
            "weights": PATH,
            "wheel": either(WHEEL, NULL),
            "mean": CHANNELS,
            "std": DEVIATIONS,
            "watch": TEXT,
        },
        "model.pretrain": {
            "epochs": COUNT,
            "lr": POSITIVE,
            "weight_decay": NOT_NEGATIVE,
            "batch_size": COUNT,
            "augmentation": augmentation,
            "val_fraction": INSIDE,
            "patience": COUNT,
        },
        "train": {
            "epochs": COUNT,
            "lr": POSITIVE,
            "batch_size": COUNT,
            "weight_decay": NOT_NEGATIVE,
            "residual_penalty": NOT_NEGATIVE,
            "residual_share": PART,
            "warmup": SHARE,
            "augmentation": augmentation,
            "patience": COUNT,
            "checkpoint_every": COUNT,
            "cache_limit_gb": NOT_NEGATIVE,
            "iterations": either(BOUNDS, NULL),
            "backbone_lr": either(POSITIVE, NULL),
            "pretrained": PATH,
        },
        "distill": {"epochs": COUNT, "lr": POSITIVE, "kl_weight": NOT_NEGATIVE, "states_weight": NOT_NEGATIVE},
        "evaluate": {
            "confidence": INSIDE,
            "resamples": COUNT,
            "seed": SEED,
            "latency_batch": COUNT,
            "throughput_batch": COUNT,
            "timing_precision": POSITIVE,
            "timing_seconds": POSITIVE,
            "latency_budget": NOT_NEGATIVE,
            "minimum_relative_gain": NOT_NEGATIVE,
            "costs": either(NULL, COSTS),
            "requests_per_day": either(NOT_NEGATIVE, NULL),
            "residual_iterations": COUNT,
            "T": listed(COUNT),
            "settled_at": POSITIVE,
            "attributed_images": FROM_ZERO,
            "gallery": FROM_ZERO,
            "corrupted_images": FROM_ZERO,
        },
        "tracking": {"experiment": TEXT, "uri": either(STORE, NULL), "model": either(TEXT, NULL)},
        "task": {
            "kind": one_of(*KINDS),
            "options": MAPPING,
            "n_train": either(COUNT, NULL),
            "n_val": either(COUNT, AUTO),
            "imbalance": number("of at least 1", lambda v: v >= 1),
            "rare": either(SHARES, NULL),
            "seeds": listed(SEED),
        },
        "baseline": {"head": one_of("probe", "own"), "C": listed(POSITIVE)},
        "select": {
            "layers": either(AUTO, listed(either(COUNT, TEXT))),
            "taps": whole(2),
            "folds": whole(2),
            "max_images": COUNT,
        },
        "tune": {"lr": tried(POSITIVE), "epochs": tried(COUNT), "seed": SEED},
        "vary": {"rank": tried(COUNT), "taps": tried(whole(2)), "labels": tried(COUNT), "seed": SEED},
        "train_arms": {"arms": listed(arm, empty=True)},
    }


LAUNCHER = {
    "cluster": one_of("slurm", "local"),
    "timeout_min": COUNT,
    "cpus_per_task": COUNT,
    "options": MAPPING,
}
"""The rules of the section `launcher`, which only trainer=slurm brings along."""


def check_settings(params: Mapping[str, Any]) -> None:
    """Check each value of params.yaml, as far as this needs neither data nor networks.

    >>> check_settings(params)

    Args:
        params: content of params.yaml as plain values.

    Raises:
        SettingsError: a key is unknown or missing, or its value is not valid.
    """
    known = [*dict.fromkeys(section.split(".")[0] for section in rules()), "resonance", "trainer", "launcher"]
    if unknown := [str(section) for section in params if section not in (*known, "sweep")]:
        raise SettingsError(f"{unknown[0]}: no such section; known are {', '.join(known)}")
    for section, keys in rules().items():
        if section == "model.pretrain" and _is_trained(params.get("model")):
            continue
        _check_section(params, section, keys)
    _check_resonance(params.get("resonance"))
    _check_task(params)
    _check_trainer(params.get("trainer"))
    if params.get("launcher") is not None:
        _check_section(params, "launcher", LAUNCHER)
        for key in ("devices", "num_nodes"):
            if not COUNT.holds(value := params["trainer"].get(key, 1)):
                raise SettingsError(f"trainer.{key}={value!r}: with a launcher give {COUNT.words}")
    mean, std = (params["model"].get(name) for name in ("mean", "std"))
    if (mean is None) != (std is None) or len(mean or ()) != len(std or ()):
        raise SettingsError(f"model.mean={mean}, model.std={std}: give both, a number for each channel, or neither")
    seeds = params["task"]["seeds"]
    for section in ("tune", "vary"):
        if (seed := params[section]["seed"]) in seeds:
            raise SettingsError(
                f"{section}.seed={seed}: is one of task.seeds={seeds}; give a seed that is not evaluated"
            )
    if params["evaluate"]["requests_per_day"] is not None and params["evaluate"]["costs"] is None:
        raise SettingsError(
            f"evaluate.requests_per_day={params['evaluate']['requests_per_day']}: gives a yearly value with "
            "evaluate.costs alone, the price of errors; give both, or null"
        )


def checked(params: DictConfig) -> DictConfig:
    """The same params, after `check_settings`."""
    plain: Any = OmegaConf.to_container(params)
    check_settings(plain)
    return params


def _check_section(params: Mapping[str, Any], section: str, rules: Mapping[str, Rule]) -> None:
    values: Any = params
    for part in section.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    if not isinstance(values, Mapping):
        raise SettingsError(f"{section}={values!r}: give {', '.join(f'{section}.{key}' for key in rules)}")
    for key, value in values.items():
        if key in rules and not rules[key].holds(value):
            raise SettingsError(f"{section}.{key}={value!r}: give {rules[key].words}")
        if key not in rules and section not in OPEN:
            close = difflib.get_close_matches(str(key), rules, n=1)
            hint = f"did you mean {section}.{close[0]}? " if close else ""
            raise SettingsError(f"{section}.{key}={value!r}: no such setting; {hint}known are {', '.join(rules)}")
    for key in rules:
        if key not in values and section not in OPEN:
            raise SettingsError(f"{section}.{key} is missing; give {rules[key].words}")


def _is_trained(model: Any) -> bool:
    return isinstance(model, Mapping) and (model.get("library") is not None or model.get("weights") is not None)


def _check_resonance(options: Any) -> None:
    if not isinstance(options, Mapping):
        raise SettingsError(f"resonance={options!r}: give options of resonance, as resonance.T")
    for name in ("mode", "num_classes", "sources"):
        if name in options:
            raise SettingsError(f"resonance.{name}={options[name]!r}: each arm sets it itself; leave it out")
    given = {str(name): value for name, value in options.items()}
    new_head = {} if given.get("readout") in (None, "classifier") else {"num_classes": 2}
    try:
        ResonanceConfig.from_options(given | new_head)
    except ResonanceError as error:
        text = str(error)
        raise SettingsError(text if text.startswith("unknown") else f"resonance.{text}") from None


def _check_task(params: Mapping[str, Any]) -> None:
    from dynaxx.evaluation.arms import arms_where
    from dynaxx.tasks import TaskError, kind_of

    try:
        kind = kind_of(params["task"]["kind"], params["task"]["options"])
    except TaskError as error:
        raise SettingsError(str(error)) from None
    usable = arms_where(lambda arm: arm.stage == "train_arms" and arm.learns(kind))
    if unfit := [arm for arm in params["train_arms"]["arms"] if arm not in usable]:
        raise SettingsError(
            f"train_arms.arms: {unfit[0]} learns from labels, and {kind.name} has none; "
            f"give some of {', '.join(usable)}"
        )
    if params["baseline"]["head"] == "own" and not kind.own_head:
        raise SettingsError(f"baseline.head='own': no backbone has a head for {kind.name}; give probe")
    readout = params["resonance"].get("readout")
    if readout is not None and (readout == "map") != (kind.readout == "map"):
        would_do = "map, or null" if kind.readout == "map" else "classifier, mean, moments, or null"
        raise SettingsError(f"resonance.readout={readout!r}: does not give the answers of {kind.name}; give {would_do}")


def _check_trainer(trainer: Any) -> None:
    if not isinstance(trainer, Mapping) or trainer.get("_partial_") is not True or "_target_" not in trainer:
        raise SettingsError(f"trainer={trainer!r}: give a group, such as trainer=cpu")
    for name in OWN:
        if name in trainer:
            told = "; give train.epochs" if name == "max_epochs" else ""
            raise SettingsError(f"trainer.{name}={trainer[name]!r}: the pipeline sets it itself; leave it out{told}")
