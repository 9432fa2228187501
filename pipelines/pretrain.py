"""Stage `pretrain`: train the stand-in backbone, or check the user's trained model."""

from dynaxx.data import load_prepared
from dynaxx.training.pretrained import provide_backbone
from pipelines.common.stage import OUTPUTS, Stage, run


def body(stage: Stage) -> str:
    """Run the stage; returns the line that it prints."""
    prepared = load_prepared(OUTPUTS / "prepare")
    return provide_backbone(stage.params, prepared, stage.out, stage.checkpoints)


if __name__ == "__main__":
    run("pretrain", body)
