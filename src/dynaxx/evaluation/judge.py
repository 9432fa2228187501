"""How good outputs are on the test samples: the task kind, the data and the statistics in one object.

Shape legend: S seeds, N test samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dynaxx.data import LabelledImages, Normalisation
from dynaxx.evaluation.predict import Samples
from dynaxx.evaluation.statistics import Bootstrap, Groups, Interval, Scores, paired_bootstrap
from dynaxx.tasks import Kind
from dynaxx.training.cache.store import AnchorStore


@dataclass(frozen=True, eq=False)
class Judge:
    """Runs models on samples and scores what they answer.

    >>> judge = Judge(Classification(), test, normalisation, Bootstrap(resamples=1000, confidence=0.95, seed=0))
    >>> judge.scores([judge.outputs(model)]).values.shape
    (1, 360)

    Attributes:
        kind: the task kind, which scores.
        data: the samples; groups of them are resampled together.
        normalisation: mean and standard deviation per channel, with which images are normalised.
        bootstrap: keyword arguments of every interval.
        store: anchors of the samples' images, from which models answer that it serves.
        rows: numbers of the samples in the store; None: it has these samples in this order.
    """

    kind: Kind
    data: LabelledImages
    normalisation: Normalisation
    bootstrap: Bootstrap
    store: AnchorStore | None = None
    rows: Tensor | None = None

    @property
    def samples(self) -> Samples:
        """The samples as models read them."""
        return Samples(self.data.images, self.normalisation, self.data.sources, self.store, self.rows)

    def outputs(self, model: nn.Module) -> Tensor:
        """Outputs of a model for all samples, float32 (N, …)."""
        return self.samples.outputs(model)

    def of(self, data: LabelledImages, store: AnchorStore | None = None) -> "Judge":
        """The same judge of other samples, of whose images `store` has the anchors, in this order."""
        return replace(self, data=data, store=store, rows=None)

    def scores(self, per_seed: Sequence[Tensor]) -> Scores:
        """Scores of the outputs (N, …) of each seed."""
        target = self.data.labels
        values = [self.kind.scores(output, target) for output in per_seed]
        influence = [self.kind.influence(scores, target) for scores in values]
        return Scores(torch.stack(values).double().numpy(), torch.stack(influence).double().numpy())

    def values(self, scores: Scores) -> list[float]:
        """The metric of each seed."""
        return scores.per_seed(self.kind.metric)

    def gain(self, a: Scores, b: Scores) -> Interval:
        """Gain of `a` over `b` with its interval, positive where `a` is better."""
        return paired_bootstrap(a.influence, b.influence, self.kind.metric, self.groups, **self.bootstrap)

    @property
    def groups(self) -> Groups:
        """Group of each sample; empty if samples stand alone."""
        return self.data.groups

    def subset(self, index: Tensor) -> "Judge":
        """The same judge of some of the samples."""
        rows = index if self.rows is None else self.rows[index]
        return replace(self, data=self.data.subset(index), rows=None if self.store is None else rows)
