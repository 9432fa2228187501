"""The command `dynaxx`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynaxx.selection import Advice


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `dynaxx advise`: predict whether resonance is likely to help, for the backbone and data of params.yaml."""
    parser = argparse.ArgumentParser(prog="dynaxx", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser("advise", help="is resonance likely to help? trains nothing", allow_abbrev=False)
    command.add_argument("--params", type=Path, default=Path("params.yaml"), help="what pipelines.compose wrote")
    command.add_argument("--outputs", type=Path, default=Path("outputs"), help="what `dvc repro pretrain` left")
    command.add_argument("--images", type=int, default=500, help="labelled images to look at")
    command.add_argument("--seed", type=int, default=0, help="which of them")
    options = parser.parse_args(arguments)
    try:
        advice = advise_here(options.params, options.outputs, options.images, options.seed)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    show(advice)
    return 0


def advise_here(params: Path, outputs: Path, images: int, seed: int) -> "Advice":
    """Advice on the backbone and data that params.yaml describes and `dvc repro pretrain` has prepared.

    >>> advise_here(Path("params.yaml"), Path("outputs"), images=500, seed=0).verdict
    'unclear'

    Args:
        params: path of params.yaml.
        outputs: folder of the outputs of `dvc repro pretrain`.
        images: largest number of images that are evaluated.
        seed: seed of the random choice of images.

    Raises:
        ValueError: `params` or `outputs` is missing or damaged.
    """
    from omegaconf import OmegaConf
    from yaml import YAMLError

    from dynaxx.data import load_prepared
    from dynaxx.selection import advise
    from dynaxx.training.pretrained import load_backbone

    for path, command in ((params, "python -m pipelines.compose"), (outputs / "pretrain", "dvc repro pretrain")):
        if not path.exists():
            raise ValueError(f"{path} is missing; run `{command}`")
    try:
        options: Any = OmegaConf.load(params)
    except YAMLError as error:
        raise ValueError(f"{params} is no YAML; run `python -m pipelines.compose` ({error})") from None
    prepared = load_prepared(outputs / "prepare")
    backbone = load_backbone(options.model, outputs / "pretrain", prepared.manifest.image_shape[0])
    return advise(
        backbone.network,
        prepared.task(),
        backbone.normalisation,
        max_images=images,
        latency_budget=options.evaluate.latency_budget,
        minimum_relative_gain=options.evaluate.minimum_relative_gain,
        seed=seed,
    )


def show(advice: "Advice") -> None:
    """Print the advice."""
    from rich.console import Console
    from rich.table import Table

    console, evidence = Console(), advice.evidence
    console.print(f"Is resonance likely to help here? [bold]{advice.verdict}[/bold]", highlight=False)
    console.print(advice.reason, highlight=False)
    if advice.as_good:
        console.print(
            f"Cheaper and expected to be as good: {', '.join(advice.as_good)}; train it as well as explicit.",
            highlight=False,
        )
    for rival, over in advice.unknown.items():
        console.print(
            f"Whether {rival} would do as well is not known: the expected gain of explicit over it is {over.low:+.1f} "
            f"to {over.high:+.1f} points; train it as well as explicit.",
            highlight=False,
        )
    console.print(
        f"Measured on {evidence.images} images of {evidence.classes} classes: a probe on the last layer "
        f"{100 * evidence.last_accuracy:.1f} %, on all of {', '.join(evidence.taps)} besides "
        f"{100 * evidence.probe_gain:+.1f} ± {100 * evidence.standard_error:.1f} points.",
        highlight=False,
    )
    table = Table("before you start", "", box=None, pad_edge=False)
    for question, answer in advice.checklist.items():
        table.add_row(question, answer)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
