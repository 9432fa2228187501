"""What all trainings on labels have in common: the loss of a task kind, and its metric on validation samples."""

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torchmetrics import Metric as TorchMetric

from dynaxx.tasks import Kind, Metric

SCORE = "val/score"
"""Name of the deciding metric on validation samples, with the sign with which larger is better."""


class Decides(TorchMetric):
    """The deciding metric over all validation samples of all processes.

    >>> decides = Decides(Classification().metric)
    >>> decides.update(torch.tensor([1.0, 0.0]))
    >>> float(decides.compute())
    0.5

    Args:
        metric: the metric of the kind.
        oriented: whether `compute` returns it with the sign with which larger is better.
    """

    total: Tensor
    count: Tensor

    def __init__(self, metric: Metric, *, oriented: bool = False) -> None:
        super().__init__()
        self.metric, self.oriented = metric, oriented
        # sums and counts instead of means of batches, because the last batches of several processes differ in size
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, scores: Tensor) -> None:
        """Add the scores of a batch, (B,)."""
        self.total += scores.sum()
        self.count += len(scores)

    def compute(self) -> Tensor:
        """The metric of all samples so far."""
        mean = self.total / self.count
        value = mean.sqrt() if self.metric.root else mean
        return value if self.metric.higher_is_better or not self.oriented else -value


class KindModule(pl.LightningModule):
    """A LightningModule that logs the metric of its task kind.

    Args:
        kind: the task kind, fitted to the training labels.
        judge: the kind that judges validation samples (see `Kind.judging`); None: `kind` itself.
    """

    def __init__(self, kind: Kind, judge: Kind | None = None) -> None:
        super().__init__()
        self.kind, self.judge = kind, judge or kind
        self.decides, self.score = Decides(kind.metric), Decides(kind.metric, oriented=True)

    def log_score(self, output: Tensor, y: Tensor) -> None:
        """Log the metric of a validation batch under its own name, and oriented as `SCORE` for early stopping."""
        scores = self.judge.scores(output.float(), y)
        for name, metric in ((self.kind.metric.on_validation, self.decides), (SCORE, self.score)):
            metric.update(scores)
            shown = name != SCORE
            self.log(name, metric, on_epoch=True, batch_size=len(y), prog_bar=shown, logger=None if shown else False)


def targets(batch: Any) -> tuple[Any, Tensor, dict[str, Tensor]]:
    """Inputs, labels and sources of a batch (x, y) or (x, y, sources).

    >>> targets((images, labels))[2]
    {}
    """
    x, y, *sources = batch
    return x, y, sources[0] if sources else {}
