"""What is written down of each trained arm, and how one is found again."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dynaxx import ResonanceError, load_resonance
from dynaxx.backbone._linear_head import Head
from dynaxx.backbone.head import find_classifier
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
"""The backbone as it is, a linear probe or an MLP on some taps, a backbone with other weights, an adapter."""


@dataclass(frozen=True)
class ArmRecord:
    """One trained arm of one seed.

    Attributes:
        arm: its name.
        seed: what it was trained with.
        kind: one of `KINDS`; says how its files are read.
        taps: what a probe reads; empty for the classifier's own input.
        trained_parameters: that training moved.
        live_parameters: of them those that the output depends on.
        train_seconds: all the training it takes to have this arm, reading features included.
        val_accuracy: on the seed's validation images.
        notes: anything worth knowing, for example the rank that was matched.
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
        """Write `arm.json`, last of an arm's files: where it stands, the arm is complete."""
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
    """Write an MLP on taps, without the backbone that it reads."""
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
    """`backbone` with other weights, and with the head among them where that is a new one."""
    path, _ = find_classifier(backbone, None)
    if f"{path}.mean" in tensors:
        classes, features = tensors[f"{path}.weight"].shape
        backbone.set_submodule(path, Head(features, classes))
    backbone.load_state_dict(tensors)
    return backbone


def save_backbone(folder: Path, backbone: nn.Module) -> None:
    """Write a backbone that was trained with its arm, beside it."""
    save_file({name: t.detach().cpu().contiguous() for name, t in backbone.state_dict().items()}, folder / BACKBONE)


def load_arm(folder: Path, backbone: nn.Module) -> nn.Module:
    """The trained arm in `folder` as one module from images to logits, on its own copy of the backbone.

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
