"""The command `dynaxx`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynaxx.selection import Advice


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `dynaxx advise`: predict what pays for the backbone and data of params.yaml."""
    parser = argparse.ArgumentParser(prog="dynaxx", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser(
        "advise", help="do other layers know more, and does iterating pay? trains linear probes", allow_abbrev=False
    )
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
    from dynaxx.tasks import kind_of

    prepared = load_prepared(outputs / "prepare")
    backbone = load_backbone(options.model, outputs / "pretrain", prepared.manifest.image_shape[0])
    return advise(
        backbone.network,
        prepared.task(),
        backbone.normalisation,
        kind=kind_of(options.task.kind, dict(options.task.options or {})),
        grid=tuple(options.resonance.grid) if options.resonance.grid else None,
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
    console.print(
        f"Is there more in your network than its last layer says? [bold]{advice.verdict}[/bold]", highlight=False
    )
    console.print(f"{advice.reason}.", highlight=False)
    console.print(f"Which reading is likely to get it? {advice.reading}.", highlight=False)
    console.print(f"Does information have to travel? {advice.travel}.", highlight=False)
    if advice.as_good:
        console.print(
            f"Cheaper than explicit and expected to be as good: {', '.join(advice.as_good)}.",
            highlight=False,
        )
    for rival, over in advice.unknown.items():
        console.print(
            f"Whether {rival} would do as well as explicit is not known: {over.low:+.1f} to {over.high:+.1f} points "
            "are expected between them; train both.",
            highlight=False,
        )
    if advice.iterate:  # linear readings know nothing of what travels
        console.print(f"Layers: {', '.join(evidence.taps)}.", highlight=False)
        return
    scale = 100 if evidence.metric.higher_is_better else 1
    console.print(
        f"Measured on {evidence.images} images, {evidence.labels}: a linear reading of the last layer reaches "
        f"{scale * evidence.last_value:.3g}{' %' if scale > 1 else ''} ({evidence.metric.name}); the layers: "
        f"{', '.join(evidence.taps)}.",
        highlight=False,
    )
    table = Table("before you start", "", box=None, pad_edge=False)
    for question, answer in advice.checklist.items():
        table.add_row(question, answer)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
