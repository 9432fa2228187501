"""Means and deviations of the taps' activations and of the head's features, from batches of inputs."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dynaxx.backbone import capture_input, device_of, moments, on_device, split_batch
from dynaxx.errors import ResonanceError
from dynaxx.model.adapter import Adapter
from dynaxx.resonance import Anchors


def fit_statistics(backbone: nn.Module, adapter: Adapter, read: Any, batches: Iterable[Any]) -> None:
    """Set the statistics of `adapter`; see `ResonantModel.fit_statistics`.

    >>> fit_statistics(model.backbone, model.adapter, model.read, [images])

    Args:
        backbone: the network.
        adapter: the adapter, which is built.
        read: function from the backbone's arguments to `Anchors`.
        batches: the batches.

    Raises:
        ResonanceError: no batches, batches that hold no tensors, or no finite sample in any.
    """
    check_batches("batches", batches)
    exchange, device = adapter.require_built().exchange, device_of(backbone)

    def parts() -> Iterator[list[Tensor | tuple[Tensor, Tensor]]]:
        for batch in batches:
            call, _ = split_batch(batch, "batches", keep_labels=is_seq2seq(backbone), sources=exchange.sources)
            args, kwargs = on_device(call, device, "batches")
            anchors: Anchors = read(*args, **kwargs)
            mask = kwargs.get("attention_mask")
            read_by_head = adapter.head_features(anchors) if adapter.config.reads_taps else features[-1:]
            yield [*anchor_parts(anchors, mask), *(_without_padding(part, mask) for part in read_by_head)]

    with capture_input(backbone, adapter.classifier) as features:
        per_part = moments(parts(), [*adapter.paths, *exchange.sources])
    exchange.statistics.set(per_part[: len(exchange.channels)])
    if adapter.head is not None:
        adapter.head.standardise(*per_part[-1])


def check_batches(name: str, batches: Any) -> None:
    """Raise ResonanceError for what cannot be gone through batch by batch, such as one batch alone."""
    if isinstance(batches, (Tensor, Mapping, str, bytes)):
        raise ResonanceError(f"{name}: one {type(batches).__name__} is given; give a DataLoader or a list of batches")
    if not isinstance(batches, Iterable) and not hasattr(batches, "__getitem__"):
        raise ResonanceError(f"{name}={batches!r}: give a DataLoader or a list of batches")


def is_seq2seq(backbone: nn.Module) -> bool:
    """Whether the network reads the labels, as Hugging Face's encoder-decoders do to make the decoder's input."""
    return bool(getattr(getattr(backbone, "config", None), "is_encoder_decoder", False))


def anchor_parts(anchors: Anchors, mask: Any = None) -> list[Tensor | tuple[Tensor, Tensor]]:
    """What statistics are made of: the anchor of each tap and each source on the grid, (B, P, C), or with its mask.

    >>> len(anchor_parts(model.read(images)))
    3

    Args:
        anchors: anchors of a batch.
        mask: the attention mask of the batch, (B, P); None: all tokens count.
    """
    return [*(_without_padding(part, mask) for part in anchors.pooled), *_sources(anchors)]


def _sources(anchors: Anchors) -> list[Tensor | tuple[Tensor, Tensor]]:
    """Each source on the grid, with the mask of the samples that have it."""
    found = anchors.sources.values()
    return [x if present_B is None else (x, present_B[:, None].expand(x.shape[:2])) for x, present_B in found]


def _without_padding(part_BPC: Tensor, mask: Any) -> Tensor | tuple[Tensor, Tensor]:
    """The part with the mask of its tokens that count, where it has one position per token of an attention mask."""
    fits = isinstance(mask, Tensor) and mask.ndim == 2 and mask.shape == part_BPC.shape[:2]
    return (part_BPC, mask.to(torch.bool)) if fits else part_BPC
