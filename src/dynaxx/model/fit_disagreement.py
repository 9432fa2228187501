"""Fitting the disagreement of an adapter: statistics, predictor, Gaussians and threshold, from normal samples alone."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dynaxx.backbone import Call, device_of, moments, on_device, split_batch
from dynaxx.errors import ResonanceError
from dynaxx.model.adapter import Adapter
from dynaxx.model.disagreement import Detector, Disagreement, DisagreementOptions
from dynaxx.model.gaussian import Sums
from dynaxx.model.readout import size_of
from dynaxx.model.statistics import check_batches
from dynaxx.resonance import Anchors, finite

Read = Callable[..., Anchors]
Normal = tuple[Anchors, Tensor | None]
"""Anchors of a batch, and which positions (B, P) are no padding; None if all count."""


def fit_disagreement(
    backbone: nn.Module,
    adapter: Adapter,
    read: Read,
    batches: Iterable[Any],
    held_out: Iterable[Any],
    options: DisagreementOptions,
) -> Detector:
    """A fitted `Detector`; see `ResonantModel.fit_disagreement`.

    >>> options = DisagreementOptions(false_alarms=0.5)
    >>> detector = fit_disagreement(model.backbone, model.adapter, model.read, [images], [images], options)

    Args:
        backbone: the network.
        adapter: the adapter, which is built.
        read: function from the backbone's arguments to `Anchors`.
        batches, held_out: the normal samples to fit to, and those that set the scale and the threshold.
        options: the options.

    Raises:
        ResonanceError: batches without tensors or finite samples, that end after one pass, or too few held-out ones.
    """
    adapter.require_built()
    for name, given in (("batches", batches), ("held_out", held_out)):
        check_batches(name, given)
        if iter(given) is given:
            raise ResonanceError(f"{name}: it can be gone through once only; give a DataLoader or a list of batches")
    device = device_of(backbone)

    def read_all(given: Iterable[Any], name: str) -> Iterator[Normal]:
        for batch in given:
            anchors, counts_BP, _ = anchors_of(read, batch, device, name)
            yield anchors, counts_BP

    def normal(given: Iterable[Any], name: str) -> Iterator[Normal]:
        for anchors, counts_BP in read_all(given, name):
            keep_B = finite(anchors.pooled)
            if not bool(keep_B.all()):
                anchors, counts_BP = anchors.select(keep_B), None if counts_BP is None else counts_BP[keep_B]
            if bool(keep_B.any()):
                yield anchors, counts_BP

    with torch.inference_mode(False), torch.no_grad():  # what is made here is trained and kept
        statistics = moments(
            ([_counted(x, counts_BP) for x in anchors.pooled] for anchors, counts_BP in read_all(batches, "batches")),
            adapter.paths,
        )
        first, _ = next(normal(batches, "batches"))
        positions = math.prod(first.grid) if options.covariance == "position" else 1
        detector = Detector(adapter.taps, adapter.config, options, positions).to(first.pooled[0].device).eval()
        for tap, (mean, std) in enumerate(statistics):
            detector.get_buffer(f"mean_{tap}").copy_(mean)
            detector.get_buffer(f"std_{tap}").copy_(std)

        def standardised() -> Iterator[Normal]:
            for anchors, counts_BP in normal(batches, "batches"):
                yield detector.standardised(anchors), counts_BP

        detector.predictor.fit(standardised)
        sums = [Sums(by_position=len(gaussian.mean) > 1) for gaussian in detector.scorers]
        for anchors, counts_BP in standardised():
            for part, rest_BPC in zip(sums, detector.left_over(anchors), strict=True):
                part.add(rest_BPC, counts_for(rest_BPC, counts_BP))
        for part, gaussian in zip(sums, detector.scorers, strict=True):
            gaussian.fit(part, options.shrinkage)
        _set_scale(detector, normal(held_out, "held_out"))
        _set_threshold(detector, normal(held_out, "held_out"))
    return detector


def disagreement(adapter: Adapter, read: Read, inputs: Any, size: Sequence[int] | None = None) -> Disagreement:
    """The disagreement of one batch; see `ResonantModel.disagreement`."""
    if adapter.detector is None:
        raise ResonanceError("disagreement(): call fit_disagreement() with batches of normal samples first")
    anchors, counts_BP, call = anchors_of(read, inputs, None, "inputs")
    found: Disagreement = adapter.detector(anchors, size or size_of(call, adapter.detector.dims), counts_BP)
    return found


def anchors_of(
    read: Read, batch: Any, device: torch.device | None, name: str
) -> tuple[Anchors, Tensor | None, Call | None]:
    """The anchors of one batch, which positions are no padding, and the arguments that gave them, if any did.

    A batch of anchors, alone or before labels, is taken as it is: all that fits or judges a disagreement reads anchors
    here.

    >>> anchors, _, _ = anchors_of(model.read, images, None, "inputs")
    """
    first = batch[0] if isinstance(batch, (tuple, list)) and not isinstance(batch, Anchors) and batch else batch
    if isinstance(first, Anchors):
        return first, None, None
    call, _ = split_batch(batch, name)
    args, kwargs = on_device(call, device, name)
    anchors = read(*args, **kwargs)
    return anchors, padding(anchors, kwargs.get("attention_mask")), (args, kwargs)


def padding(anchors: Anchors, mask: Any) -> Tensor | None:
    """Which positions are no padding by an attention mask, bool (B, P); None where it does not describe positions."""
    fits = isinstance(mask, Tensor) and mask.ndim == 2 and mask.shape[1] == math.prod(anchors.grid)
    return mask.to(torch.bool) if fits else None


def counts_for(x_BPC: Tensor, counts_BP: Tensor | None) -> Tensor | None:
    """The same for a tap: a point always counts."""
    return counts_BP if counts_BP is not None and counts_BP.shape == x_BPC.shape[:2] else None


def _counted(x_BPC: Tensor, counts_BP: Tensor | None) -> Tensor | tuple[Tensor, Tensor]:
    counts_BP = counts_for(x_BPC, counts_BP)
    return x_BPC if counts_BP is None else (x_BPC, counts_BP)


def _set_scale(detector: Detector, held_out: Iterable[Normal]) -> None:
    """Set the mean and the deviation of each part's length."""
    sums = [Sums(by_position=False) for _ in detector.names]
    for anchors, counts_BP in held_out:
        for part, length_BP in zip(sums, detector.lengths(detector.standardised(anchors)), strict=True):
            part.add(length_BP[..., None], counts_for(length_BP[..., None], counts_BP))
    if not sums[0].sum_QC.ndim:
        raise ResonanceError("held_out: no finite sample in it; give normal samples that the fit does not read")
    for number, part in enumerate(sums):
        mean, variance = (value.flatten()[0] for value in part.moments())
        detector.centre[number], detector.scale[number] = mean, variance.sqrt() if variance > 0 else 1.0


def _set_threshold(detector: Detector, held_out: Iterable[Normal]) -> None:
    """Set the threshold at the order statistic that a new normal sample exceeds with at most the stated chance."""
    scores = torch.cat([detector(anchors, counts_BP=counts_BP).score for anchors, counts_BP in held_out])
    detector.threshold.fill_(float(quantile(scores, detector.options.false_alarms)))


def quantile(scores: Tensor, share: float) -> Tensor:
    """The ⌈(N+1)(1-share)⌉-th smallest of N scores: one more, drawn alike, exceeds it with a chance of at most `share`.

    >>> quantile(torch.arange(19.0), 0.05)
    tensor(18.)

    Raises:
        ResonanceError: too few scores for such a small share.
    """
    rank = math.ceil((len(scores) + 1) * (1 - share) - 1e-9)
    if rank > len(scores):
        raise ResonanceError(
            f"false_alarms={share}: {len(scores)} held-out samples cannot bound it; give at least "
            f"{math.ceil(1 / share - 1e-9) - 1} or a larger share"
        )
    return scores.sort().values[max(rank, 1) - 1]
