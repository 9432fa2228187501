"""The cases of the suite: a task on data that many know, the arms that are compared on it, and how they are tuned."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dynaxx.evaluation.arms import BASELINE, EXPLICIT, IMPLICIT, named
from pipelines.common.judge import judge
from pipelines.compose import compose_all

READINGS = named(BASELINE, "layer_probe", "concat_probe", "explicit_T1", "direct", EXPLICIT, IMPLICIT)
UNLABELLED = named(BASELINE, "layer_probe", "concat_probe", "direct", EXPLICIT)
RIVALS = named("lora", "full_finetune")
ONE_PASS = named("conv_2", "conv_4", "conv_8", "conv_dilated", "unet")
PROMPTED = named(BASELINE, "concat_probe", "explicit_T1", "direct", EXPLICIT)
COMPONENTS = "components"
"""Not an arm of the pipeline: a threshold and the connected component at the click, see `components.py`."""

SEEDS, RIVAL_SEEDS, TUNING_SEED = 10, 3, 100
"""Numbers of seeds of readings, and of arms that train through the backbone; and the seed of all tuning fits."""


@dataclass(frozen=True)
class Elsewhere:
    """Other samples that trained arms are also tested on, and other numbers of iterations.

    >>> Elsewhere("crops of 256", ("data.crop=256",), (128, 128), (24, 48)).runs(loops=True)
    [('crops of 256, T=24', 24), ('crops of 256, T=48', 48)]

    Attributes:
        name: what they are.
        overrides: what is composed beside the case's overrides; empty for the case's own test samples.
        grid: height and width of the grid of messages there; None: as in training.
        iterations: numbers of iterations with which loops are run; empty: as in training.
    """

    name: str
    overrides: tuple[str, ...] = ()
    grid: tuple[int, int] | None = None
    iterations: tuple[int, ...] = ()

    def runs(self, loops: bool) -> list[tuple[str, int | None]]:
        """Name of each result of an arm that loops, or of one that does not, and its T; None: as it was trained."""
        if loops and self.iterations:
            return [(f"{self.name}, T={T}", T) for T in self.iterations]
        return [(self.name, None)] if self.overrides else []


@dataclass(frozen=True)
class Case:
    """One task with its arms.

    >>> CASES["digits-600"].arms_of(seed=9) == READINGS
    True

    Attributes:
        name: name of its results.
        overrides: what is composed for it, as of `python -m pipelines.compose`.
        pack: file of the data folder that holds its data; empty where a package ships them or the overrides name them.
        readings: arms that train from anchors, with `SEEDS` seeds; also `COMPONENTS`.
        rivals: arms that train through the backbone, with `RIVAL_SEEDS` seeds.
        lrs: learning rates that every arm in epochs is tried with on validation.
        epochs: numbers of epochs that are tried with the best of them, where a reading is trained.
        elsewhere: other samples that all arms are also tested on.
    """

    name: str
    overrides: tuple[str, ...]
    pack: str = ""
    readings: tuple[str, ...] = READINGS
    rivals: tuple[str, ...] = RIVALS
    lrs: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    epochs: tuple[int, ...] = (15, 40)
    elsewhere: tuple[Elsewhere, ...] = ()

    def arms_of(self, seed: int) -> tuple[str, ...]:
        """The arms that are fitted with a seed."""
        return self.readings + (self.rivals if seed < RIVAL_SEEDS else ())

    def missing(self, data: Path | None) -> str:
        """Why the case cannot be run, in one line; empty if it can."""
        if not self.pack:
            return ""
        if data is None:
            return f"{self.name}: skipped, it needs {self.pack}; give its folder with --data"
        return "" if (data / self.pack).exists() else f"{self.name}: skipped, there is no {data / self.pack}"

    def params(self, data: Path | None) -> DictConfig:
        """The parameters of the case, composed and judged.

        Raises:
            ComposeError: the overrides do not compose.
            ValueError: they do not fit the data.
        """
        root = [f"data.root={data / self.pack}"] if self.pack and data is not None else []
        rates = ",".join(f"{lr:g}" for lr in self.lrs)
        tried = [f"tune.lr=[{rates}]"] if self.lrs else []
        tried += [f"tune.epochs=[{','.join(map(str, self.epochs))}]"] if self.epochs else []
        plain = compose_all([*self.overrides, *root, *tried, f"train_arms.arms=[{','.join(self._trained)}]"])
        params: Any = OmegaConf.create(plain)
        judge(params)
        assert isinstance(params, DictConfig)
        return params

    @property
    def _trained(self) -> list[str]:
        return [arm for arm in (*self.readings, *self.rivals) if arm not in (BASELINE, EXPLICIT, IMPLICIT, COMPONENTS)]


def own(overrides: Sequence[str], name: str) -> Case:
    """A case of the user's own.

    >>> own(["task=regression", "data=table", "data.root=grains.zip"], "grains").pack
    ''
    """
    unlabelled = "task=anomaly" in overrides
    return Case(
        name, tuple(overrides), readings=UNLABELLED if unlabelled else READINGS, rivals=() if unlabelled else RIVALS
    )


LENGTHS = (4, 8, 16, 32, 64)
"""Steps of the lines to trace."""


LINES = Case(
    "lines",
    (
        "experiment=lines",
        "data.shortest=4",
        "data.length=32",
        "task.n_train=256",
        "train.epochs=60",
        "train.patience=60",
        "resonance.grid=[32,32]",
        "resonance.T=32",
        "train.iterations=[16,40]",
    ),
    readings=(*PROMPTED, *ONE_PASS),
    rivals=(),
    lrs=(),
    epochs=(),
    elsewhere=tuple(
        Elsewhere(
            f"length {n}",
            ("data.shortest=null", f"data.length={n}", "data.images=100"),
            iterations=tuple(sorted({32, max(8, n * 3 // 2), n * 3})),
        )
        for n in LENGTHS
    ),
)
"""Lines to trace, of 4 to 32 steps; tested on each length, also on longer ones."""

_ALL = (
    Case("digits-600", ("task.n_train=600",)),
    Case("digits-100", ("task.n_train=100", "task.n_val=100")),
    Case(
        "sediment",
        ("experiment=sediment", "task.n_val=25", "train.batch_size=32", "train.epochs=40", "train.patience=200"),
        "sediment_d50.zip",
        lrs=(3e-3, 1e-2, 3e-2),
        epochs=(40, 120),
    ),
    Case("landcover", ("experiment=landcover",), "ucmerced21.zip"),
    Case("landcover-rare-river", ("experiment=landcover", "task.rare={river: 0.05}"), "ucmerced21.zip"),
    Case("polyps-100", ("experiment=polyps",), "kvasir_seg.zip"),
    Case("polyps", ("experiment=polyps", "task.n_train=null"), "kvasir_seg.zip"),
    Case("tiles", ("experiment=tiles",), "magnetic_tile.zip", UNLABELLED, (), (), ()),
    Case(
        "click",
        ("experiment=click",),
        "membrane.zip",
        (*PROMPTED, *ONE_PASS, COMPONENTS),
        rivals=(),
        # the rate of the experiment: an hour of a core for each seed leaves none for others
        lrs=(),
        epochs=(),
        elsewhere=(
            Elsewhere("crops of 128", iterations=(8, 16, 48, 96)),
            Elsewhere("crops of 256", ("data.crop=256", "data.crops_per_slice=6"), (128, 128), (24, 48, 96)),
        ),
    ),
    LINES,
    replace(LINES, name="lines-tanh", overrides=(*LINES.overrides, "resonance.activation=tanh")),
    Case("birds", ("experiment=birds",), "cub_birds26.zip"),
)

CASES: dict[str, Case] = {case.name: case for case in _ALL}
"""Name of the case → case."""
