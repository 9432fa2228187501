"""The record of a trained arm (`arm.json`), its weight files, and `load_arm`, which turns both into a model."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dynaxx import ResonanceError, load_resonance
from dynaxx.backbone import Head, find_classifier
from dynaxx.evaluation.arms.grid_networks import load_grid_network
from dynaxx.evaluation.arms.models import TapMLP, TapProbe
from dynaxx.evaluation.arms.repeated_tap import REPEATED_TAP, repeat_tap
from dynaxx.evaluation.arms.task import Notes
from dynaxx.evaluation.defect_map import DefectMap
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.files import write_text
from dynaxx.model import saved_head

RECORD = "arm.json"
PROBE = "probe.safetensors"
MLP = "mlp.safetensors"
BACKBONE = "backbone.safetensors"
KINDS = ("own", "probe", "mlp", "network", "resonance", "disagreement", "grid")
"""Unchanged backbone, linear probe or MLP on tapped layers, backbone with other weights, resonance adapter, one whose
layers' disagreement is the answer, and a network on the grid of its taps."""


@dataclass(frozen=True)
class ArmRecord:
    """Facts about one arm, trained with one seed.

    Attributes:
        arm: name of the arm.
        seed: random seed of the training.
        kind: one of `KINDS`; decides how the weight files are read.
        taps: module paths of the layers that the arm reads; empty for the input of the classifier.
        trained_parameters: number of parameters that were trained.
        live_parameters: number of trained parameters that the output depends on.
        train_seconds: total training time in seconds, including training the teacher and reading features.
        val_score: the task's metric on the seed's validation images.
        notes: additional facts, for example the rank that gives the arm the size of `explicit`.
    """

    arm: str
    seed: int
    kind: str
    taps: list[str]
    trained_parameters: int
    live_parameters: int
    train_seconds: float
    val_score: float
    notes: Notes

    def write(self, folder: Path) -> None:
        """Write `arm.json`, the last file of training; its presence marks a complete arm."""
        write_text(folder / RECORD, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "ArmRecord":
        """Read `arm.json`.

        Raises:
            EvaluationError: the file is missing or damaged.
        """
        try:
            return cls(**json.loads((folder / RECORD).read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise EvaluationError(f"{folder / RECORD}: cannot be read ({error}); train the arm again") from None


def is_trained(folder: Path) -> bool:
    """Whether the arm in `folder` is complete: `arm.json` is the last file that training writes."""
    return (folder / RECORD).exists()


def save_probe(folder: Path, probe: Head) -> None:
    """Write the weights of a linear probe to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in probe.state_dict().items()}, folder / PROBE)


def load_probe(folder: Path) -> Head:
    """Read the weights of a linear probe from a folder.

    >>> load_probe(Path("outputs/baseline/baseline/seed-0")).weight.shape
    torch.Size([10, 512])

    Raises:
        EvaluationError: the file is missing or damaged.
    """
    try:
        tensors = load_file(folder / PROBE)
        head = Head(tensors["weight"].shape[1], tensors["weight"].shape[0])
        head.load_state_dict(tensors)
    except Exception as error:  # safetensors raises its own class, and OSError
        raise EvaluationError(f"{folder / PROBE}: cannot be read ({error}); train the baseline again") from None
    return head


def load_head(folder: Path) -> Head:
    """The linear head of a trained reading in a folder: of its adapter, or of a file of `save_probe`.

    >>> load_head(Path("outputs/baseline/baseline/seed-0")).weight.shape  # doctest: +SKIP
    torch.Size([10, 1280])

    Raises:
        EvaluationError: the file is missing or damaged.
    """
    if (folder / PROBE).exists():
        return load_probe(folder)
    try:
        return saved_head(folder)
    except ResonanceError as error:
        raise EvaluationError(f"{error}; train the arm again") from None


def save_mlp(folder: Path, mlp: TapMLP) -> None:
    """Write the weights of an MLP on tapped layers, without the backbone."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in mlp.state_dict().items()}, folder / MLP)


def load_mlp(folder: Path, backbone: nn.Module, taps: Sequence[str]) -> TapMLP:
    """Read an MLP on tapped layers of `backbone`."""
    tensors = load_file(folder / MLP)
    hidden, features = tensors["inner.weight"].shape
    mlp = TapMLP(backbone, taps, features, hidden, len(tensors["outer.bias"]))
    mlp.load_state_dict(tensors)
    return mlp


def load_weights(backbone: nn.Module, tensors: dict[str, Tensor]) -> nn.Module:
    """Load weights into `backbone`; a new head in the weights first replaces the head of `backbone`."""
    path, _ = find_classifier(backbone, None)
    if f"{path}.mean" in tensors:
        classes, features = tensors[f"{path}.weight"].shape
        backbone.set_submodule(path, Head(features, classes))
    backbone.load_state_dict(tensors)
    return backbone


def save_backbone(folder: Path, backbone: nn.Module) -> None:
    """Write the weights of a backbone that was trained together with the adapter."""
    save_file({name: t.detach().cpu().contiguous() for name, t in backbone.state_dict().items()}, folder / BACKBONE)


def load_arm(folder: Path, backbone: nn.Module) -> nn.Module:
    """The trained arm in `folder` as one module from images to logits, on its own copy of the backbone.

    >>> load_arm(Path("outputs/explicit/explicit/seed-0"), backbone)(images).shape
    torch.Size([64, 10])

    Raises:
        EvaluationError: a file is missing or damaged, or the kind is unknown.
    """
    record = ArmRecord.read(folder)
    if record.kind not in KINDS:
        raise EvaluationError(f"{folder / RECORD}: unknown kind {record.kind!r}; known are {', '.join(KINDS)}")
    if record.kind == "probe":
        return TapProbe(backbone, record.taps, load_probe(folder)).eval()
    try:
        if record.kind == "mlp":
            return load_mlp(folder, backbone, record.taps).eval()
        if record.kind == "network":
            return load_weights(backbone, load_file(folder / BACKBONE)).eval()
        if record.kind == "resonance":
            if REPEATED_TAP in record.notes:
                backbone, _ = repeat_tap(backbone, str(record.notes[REPEATED_TAP]), len(record.taps))
            if (folder / BACKBONE).exists():
                backbone.load_state_dict(load_file(folder / BACKBONE))
            return load_resonance(backbone, folder).eval()
        if record.kind == "grid":
            return load_grid_network(folder, backbone, record.notes).eval()
        if record.kind == "disagreement":
            return DefectMap(load_resonance(backbone, folder)).eval()
    except (ResonanceError, SafetensorError, RuntimeError, KeyError, OSError) as error:
        raise EvaluationError(f"{folder}: {error}") from None
    return backbone.eval()
