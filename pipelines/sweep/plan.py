"""The plan of a sweep, from its command line, the same for the main process and for all workers."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.pruners import BasePruner

from dynaxx.search import Space, read_space
from dynaxx.tasks import Metric
from dynaxx.tracking import NAME_BYTES, escaped, main_checkout
from pipelines.common.paths import quoted, with_quoted_paths
from pipelines.common.rules import COUNT, SEED, listed, number
from pipelines.common.settings import SettingsError, check_settings
from pipelines.common.stage import read_params
from pipelines.common.task import kind_of_task
from pipelines.compose import compose_all

PREPARED = ("data", "model", "task", "baseline", "select")
"""Sections of params.yaml that the stages before a sweep use."""

SHORT = ("n_trials", "workers", "storage")
"""Options of a sweep that may be given without the prefix `sweep.`."""


OPTIONS = (*SHORT, "study", "seed", "seeds", "max_gflops_ratio", "pruner", "space")
"""All options of a sweep."""

COMBINED = 256
"""Largest number of settings that are judged for one value of a search space."""

SEEDS = listed(SEED)
RATIO = number("above 1", lambda v: v > 1)


@dataclass(frozen=True)
class Plan:
    """One sweep.

    >>> read_plan(["n_trials=50"]).options.n_trials
    50

    Attributes:
        overrides: Hydra overrides, including those of the section `sweep`.
        base: composition that every trial starts from.
        options: section `sweep` of the composition.
        space: search space.
        mark: hash of the settings that all trials have in common.
        study: name of the study.
        storage: path of a file, or URL of a database.
        folder: folder for files that the workers of this checkout share, and for running trials.
    """

    overrides: list[str]
    base: DictConfig
    options: DictConfig
    space: Space
    mark: str
    study: str
    storage: str
    folder: Path

    @property
    def one_objective(self) -> bool:
        """Whether the metric is the only objective, under a cost limit."""
        return self.options.max_gflops_ratio is not None

    @property
    def metric(self) -> Metric:
        """The metric of the task, which the sweep improves on validation images."""
        return kind_of_task(self.base).metric

    @property
    def base_overrides(self) -> list[str]:
        """The overrides outside the section `sweep`."""
        return [override for override in self.overrides if not _of_sweep(override)]

    def trial(self, drawn: Mapping[str, Any]) -> DictConfig:
        """The composition of one trial; ComposeError for a drawn key that does not exist."""
        values = [f"{key}={_hydra(value)}" for key, value in drawn.items()]
        return OmegaConf.create(compose_all([*self.base_overrides, *values]))


def read_plan(arguments: Sequence[str]) -> Plan:
    """The plan of a command line.

    >>> plan = read_plan(["n_trials=50", "workers=2"])

    Raises:
        ValueError: overrides that do not compose, or options that contradict each other.
    """
    overrides = with_quoted_paths([f"sweep.{a}" if a.split("=")[0] in SHORT else a for a in arguments])
    if not any(override.startswith("sweep=") for override in overrides):
        overrides.insert(0, "sweep=default")
    composed = compose_all(overrides)
    options: Any = OmegaConf.create(composed.pop("sweep"))
    base: Any = OmegaConf.create(composed)
    _check(options, base)
    described: Any = OmegaConf.to_container(options)["space"] if "space" in options else None  # type: ignore[index,call-overload]
    if not isinstance(described, Mapping | None):
        raise ValueError(f"sweep.space={described!r}: give keys, as sweep.space.resonance.T='int(interval(1, 10))'")
    space = read_space(described or {})
    for key in space:
        if OmegaConf.select(base, key, default=OmegaConf) is OmegaConf:  # null is a value, too
            raise ValueError(f"sweep.space.{key}: params.yaml has no such key")
    _check_space(space, composed)
    shared = {name: section for name, section in composed.items() if name not in ("trainer", "tracking", "evaluate")}
    chosen = {name: options[name] for name in ("seeds", "max_gflops_ratio", "pruner")}
    told = [shared, {key: str(distribution) for key, distribution in space.items()}, chosen]
    mark = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:8]
    study = str(options.study or f"{base.data.name[:100]}-{mark}")
    folder = main_checkout() / ".dynaxx" / "sweeps" / escaped(study)
    return Plan(overrides, base, options, space, mark, study, str(options.storage or folder / "journal.log"), folder)


def _check_space(space: Space, composed: Mapping[str, Any]) -> None:
    """Check that each value at the ends of the space can be, with some values of the others."""
    ends = {key: _ends(distribution) for key, distribution in space.items()}
    for key, values in ends.items():
        others = {other: found for other, found in ends.items() if other != key}
        for value in values:
            wrong = None
            for combined in islice(product(*others.values()), COMBINED):
                trial = {name: dict(options) for name, options in composed.items()}
                for name, drawn in ({key: value} | dict(zip(others, combined, strict=True))).items():
                    section, _, option = name.partition(".")
                    trial[section][option] = drawn
                try:
                    check_settings(trial)
                except SettingsError as error:
                    wrong = wrong or error
                else:
                    break
            else:
                raise ValueError(f"sweep.space draws what cannot be: {wrong}")


def _ends(distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    return [distribution.low, distribution.high]  # type: ignore[attr-defined]


def _check_pruner(described: Any) -> None:
    try:
        pruner = instantiate(described)
    except (HydraException, TypeError, ValueError) as error:
        raise ValueError(f"sweep.pruner: {' '.join(str(error).split())}") from None
    if not isinstance(pruner, BasePruner):
        raise ValueError(f"sweep.pruner={described}: give a pruner of Optuna, as sweep=constrained has it")


def _check(options: DictConfig, base: DictConfig) -> None:
    for name in map(str, options):
        if name not in OPTIONS:
            raise ValueError(f"sweep.{name}: no such option; known are {', '.join(OPTIONS)}")
    for name, rule in (("n_trials", COUNT), ("workers", COUNT), ("seed", SEED)):
        if not rule.holds(options[name]):
            raise ValueError(f"sweep.{name}={options[name]!r}: give {rule.words}")
    seeds = options.seeds if OmegaConf.is_list(options.seeds) else ()
    if not SEEDS.holds(list(seeds)) or set(seeds) & set(base.task.seeds):
        raise ValueError(f"sweep.seeds={options.seeds}: give a seed or more, and none of task.seeds={base.task.seeds}")
    ratio = options.max_gflops_ratio
    if ratio is not None and not RATIO.holds(ratio):
        raise ValueError(f"sweep.max_gflops_ratio={ratio}: give more than 1; explicit costs the backbone's and its own")
    if options.pruner is not None and options.max_gflops_ratio is None:
        raise ValueError("sweep.pruner: two objectives cannot be pruned; give sweep.max_gflops_ratio, too")
    if options.pruner is not None:
        _check_pruner(options.pruner)
    if (length := len(str(options.study))) > NAME_BYTES:
        raise ValueError(f"sweep.study={str(options.study)[:20]}…: has {length} characters; give {NAME_BYTES} at most")
    if base.trainer.devices != 1:
        raise ValueError(f"trainer.devices={base.trainer.devices}: a worker is one process on one device; "
                         "take trainer=cpu or trainer=gpu, and more workers")  # fmt: skip


def check_prepared(plan: Plan) -> None:
    """Check that params.yaml, which the earlier stages use, equals the composition of the sweep.

    >>> check_prepared(read_plan(["n_trials=50"]))

    Raises:
        ValueError: a section of params.yaml differs.
    """
    params = read_params()
    for section in PREPARED:
        if params.get(section) != plan.base[section]:
            raise ValueError(
                f"params.yaml has another section {section!r} than this sweep: compose it with the sweep's overrides, "
                f"`{' '.join(['python -m pipelines.compose', *plan.base_overrides])}`, or give the sweep those that "
                "params.yaml was composed with"
            )


def _of_sweep(override: str) -> bool:
    return override.lstrip("+~").split("=")[0].split(".")[0] == "sweep"


def _hydra(value: Any) -> str:
    """A value in the syntax of Hydra's overrides."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return quoted(value)
    return str(value).lower() if isinstance(value, bool) else repr(value)
