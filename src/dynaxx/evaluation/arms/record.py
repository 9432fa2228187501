"""The record of a trained arm (`arm.json`), its files, and `load_arm`, which makes a model of them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dynaxx import ResonanceError, load_resonance
from dynaxx.backbone import Head, find_classifier
from dynaxx.evaluation.arms.models import TapMLP, TapProbe
from dynaxx.evaluation.arms.repeated_tap import REPEATED_TAP, repeat_tap
from dynaxx.evaluation.arms.task import Notes
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.files import write_text

RECORD = "arm.json"
PROBE = "probe.safetensors"
MLP = "mlp.safetensors"
BACKBONE = "backbone.safetensors"
KINDS = ("own", "probe", "mlp", "network", "resonance")
"""Unchanged backbone, linear probe on some taps, MLP on some taps, backbone with other weights, resonance adapter."""


@dataclass(frozen=True)
class ArmRecord:
    """One trained arm of one seed.

    Attributes:
        arm: name of the arm.
        seed: seed of its training.
        kind: one of `KINDS`; decides how its files are read.
        taps: module paths that it reads; empty for the input of the classifier.
        trained_parameters: number of parameters that were trained.
        live_parameters: number of these that the output depends on.
        train_seconds: total training time, including its teacher and the reading of features.
        val_accuracy: accuracy on the validation images of the seed.
        notes: additional facts, for example the matched rank.
    """

    arm: str
    seed: int
    kind: str
    taps: list[str]
    trained_parameters: int
    live_parameters: int
    train_seconds: float
    val_accuracy: float
    notes: Notes

    def write(self, folder: Path) -> None:
        """Write `arm.json`, the last file of an arm; an arm that has it is complete."""
        write_text(folder / RECORD, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "ArmRecord":
        """Read `arm.json`.

        Raises:
            EvaluationError: missing or damaged.
        """
        try:
            return cls(**json.loads((folder / RECORD).read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise EvaluationError(f"{folder / RECORD}: cannot be read ({error}); train the arm again") from None


def is_trained(folder: Path) -> bool:
    """Whether the arm in `folder` is complete: `arm.json` is the last file that training writes."""
    return (folder / RECORD).exists()


def save_probe(folder: Path, probe: Head) -> None:
    """Write a linear probe."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in probe.state_dict().items()}, folder / PROBE)


def load_probe(folder: Path) -> Head:
    """Read a linear probe.

    >>> load_probe(Path("outputs/baseline/baseline/seed-0")).weight.shape
    torch.Size([10, 512])

    Raises:
        EvaluationError: missing or damaged.
    """
    try:
        tensors = load_file(folder / PROBE)
        head = Head(tensors["weight"].shape[1], tensors["weight"].shape[0])
        head.load_state_dict(tensors)
    except Exception as error:  # safetensors raises its own class, and OSError
        raise EvaluationError(f"{folder / PROBE}: cannot be read ({error}); train the baseline again") from None
    return head


def save_mlp(folder: Path, mlp: TapMLP) -> None:
    """Write an MLP on taps, without its backbone."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in mlp.state_dict().items()}, folder / MLP)


def load_mlp(folder: Path, backbone: nn.Module, taps: Sequence[str]) -> TapMLP:
    """Read an MLP on taps of `backbone`."""
    tensors = load_file(folder / MLP)
    hidden, features = tensors["inner.weight"].shape
    mlp = TapMLP(backbone, taps, features, hidden, len(tensors["outer.bias"]))
    mlp.load_state_dict(tensors)
    return mlp


def load_weights(backbone: nn.Module, tensors: dict[str, Tensor]) -> nn.Module:
    """Load weights into `backbone`; its head is replaced first if the weights contain a new one."""
    path, _ = find_classifier(backbone, None)
    if f"{path}.mean" in tensors:
        classes, features = tensors[f"{path}.weight"].shape
        backbone.set_submodule(path, Head(features, classes))
    backbone.load_state_dict(tensors)
    return backbone


def save_backbone(folder: Path, backbone: nn.Module) -> None:
    """Write the weights of a backbone that was trained with its arm."""
    save_file({name: t.detach().cpu().contiguous() for name, t in backbone.state_dict().items()}, folder / BACKBONE)


def load_arm(folder: Path, backbone: nn.Module) -> nn.Module:
    """The trained arm in `folder` as one module from images to logits, on its own copy of the backbone.

    >>> load_arm(Path("outputs/explicit/explicit/seed-0"), backbone)(images).shape
    torch.Size([64, 10])

    Raises:
        EvaluationError: files missing or damaged, or an unknown kind.
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
    except (ResonanceError, SafetensorError, RuntimeError, KeyError, OSError) as error:
        raise EvaluationError(f"{folder}: {error}") from None
    return backbone.eval()
