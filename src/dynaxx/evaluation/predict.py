"""What a model answers for samples, in batches: from its own passes, or from anchors that one pass gave for all models.

Shape legend: N samples, B samples of a batch.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from dynaxx import Anchors, ResonanceError, ResonantModel
from dynaxx.backbone import SafeHead, Tail
from dynaxx.data import Normalisation, batch_size, normalise
from dynaxx.evaluation.defect_map import DefectMap
from dynaxx.model import read_of, size_of
from dynaxx.spent import ANSWERING, BACKBONE, spent
from dynaxx.training.cache.store import AnchorStore

AnchorSource = Callable[[ResonantModel], Iterable[Anchors]]
"""Function from a model to the anchors of its taps, batch by batch, on its device."""

_tails: "WeakKeyDictionary[ResonantModel, Tail | None]" = WeakKeyDictionary()
"""Model → what lies behind its taps; None if it does not run on its own."""


@torch.no_grad()
def logits(model: nn.Module, images: Tensor) -> Tensor:
    """Outputs of N normalised images, float32 (N, …), computed on the model's device and moved to the CPU."""
    device = _device(model)
    return torch.cat([model(batch.to(device)).float().cpu() for batch in images.split(batch_size(images))])


def live(images: Tensor) -> AnchorSource:
    """The anchors of N normalised images, which each model reads by its own backbone.

    >>> [anchors.grid for anchors in live(torch.zeros(4, 3, 32, 32))(model)]
    [(4, 4)]
    """
    return lambda model: (model.read(batch.to(_device(model))) for batch in images.split(batch_size(images)))


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples as models read them: images and sources, and the anchors of the images where a store has them.

    >>> Samples(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), normalisation).outputs(model).shape
    torch.Size([4, 10])

    Attributes:
        images: pixels, uint8 (N, C, H, W).
        normalisation: mean and standard deviation per channel, with which they are normalised.
        sources: name → what is given with each image, such as a click, (N, …); for models that have sources.
        store: anchors of the images in their first view; models that it does not serve read the images.
        rows: numbers of the images in the store, (N,); None: the store has these images in this order.

    Raises:
        ValueError: as many rows in the store as there are images are needed.
    """

    images: Tensor
    normalisation: Normalisation
    sources: Mapping[str, Tensor] = field(default_factory=dict)
    store: AnchorStore | None = None
    rows: Tensor | None = None

    def __post_init__(self) -> None:
        if self.store is not None:
            held = len(self.store) if self.rows is None else len(self.rows)
            if held != len(self.images):
                raise ValueError(f"store: has {held} of the {len(self.images)} images; give the store of these images")

    @torch.no_grad()
    def outputs(self, model: nn.Module) -> Tensor:
        """Outputs of a model in eval mode for all samples, float32 (N, …) on the CPU."""
        with spent(ANSWERING):
            answer = self._answer(model)
            return torch.cat([answer(number).float().cpu() for number in self._batches()])

    @torch.no_grad()
    def anchors(self, model: ResonantModel) -> Iterator[Anchors]:
        """The anchors of the model's taps with the samples' sources, batch by batch, on the model's device."""
        held = self._held(model) if self.store is not None and self.store.serves(model) else None
        for number in self._batches():
            yield self._with_sources(model, self._read(model, number) if held is None else held(number), number)

    # ---- ways to an answer ----------------------------------------------------------------------------------------

    def _answer(self, model: nn.Module) -> Callable[[Tensor], Tensor]:
        """The function from numbers of samples (B,) to the model's outputs that takes least."""
        if self.store is not None:
            if isinstance(model, ResonantModel):
                found = self._from_head(model) or self._from_taps(model)
            elif isinstance(model, DefectMap):
                found = self._from_disagreement(model)
            else:
                found = self._from_classifier(model)
            if found is not None:
                return found
        return lambda number: self._pass(model, number)

    def _pass(self, model: nn.Module, number: Tensor) -> Tensor:
        """Outputs of samples by a pass of the model itself."""
        x, given = normalise(self.images[number], self.normalisation).to(_device(model)), self._given(model, number)
        with spent(BACKBONE):
            output: Tensor = model(x, sources=given) if given else model(x)
        return output

    def _from_head(self, model: ResonantModel) -> Callable[[Tensor], Tensor] | None:
        """Outputs of a new head on the classifier's input, if this is all there is to the model."""
        assert self.store is not None
        if model.mode != "probe" or model.config.reads_taps or model.head is None:
            return None
        if model.adapter.classifier is None or not self.store.serves_classifier(
            model.backbone, model.adapter.classifier
        ):
            return None
        head, device = SafeHead(model.head), _device(model)
        return lambda number: head(self._classifier_input(number).to(device))

    def _from_classifier(self, network: nn.Module) -> Callable[[Tensor], Tensor] | None:
        """Outputs of the bare backbone, by its own classifier."""
        assert self.store is not None
        path = self.store.classifier
        if path is None or not self.store.serves_classifier(network, path):
            return None
        classifier, device = network.get_submodule(path), _device(network)
        return lambda number: classifier(self._classifier_input(number).to(device))

    def _from_taps(self, model: ResonantModel) -> Callable[[Tensor], Tensor] | None:
        """Outputs by the model's own taps and what comes behind them."""
        assert self.store is not None
        tail = None if model.config.reads_taps else self._tail(model)
        if (tail is None and not model.config.reads_taps) or not self.store.serves(model, tail):
            return None
        held, size = self._held(model), size_of((self.images[:1],), model.require_built().exchange.dims)

        def answer(number: Tensor) -> Tensor:
            anchors = self._with_sources(model, held(number), number)
            refined, _ = model.refine(anchors)
            if tail is None:
                return model.adapter.read_out(refined, anchors.outside, anchors.grid, size)
            return model.run_tail(refined, tail, anchors.outside)

        return answer

    def _from_disagreement(self, network: DefectMap) -> Callable[[Tensor], Tensor] | None:
        """Maps of evidence by the taps of the model whose layers disagree."""
        assert self.store is not None
        if not self.store.serves(network.model):
            return None
        held, size = self._held(network.model), tuple(self.images.shape[-2:])
        return lambda number: network(held(number), size)

    def _tail(self, model: ResonantModel) -> Tail | None:
        if model not in _tails:
            try:
                _tails[model] = model.tail(normalise(self.images[:1], self.normalisation).to(_device(model)))
            except ResonanceError:
                _tails[model] = None
        return _tails[model]

    # ---- what is read ---------------------------------------------------------------------------------------------

    def _batches(self) -> tuple[Tensor, ...]:
        return torch.arange(len(self.images)).split(batch_size(self.images))

    def _read(self, model: ResonantModel, number: Tensor) -> Anchors:
        return model.read(normalise(self.images[number], self.normalisation).to(_device(model)))

    def _held(self, model: ResonantModel) -> Callable[[Tensor], Anchors]:
        assert self.store is not None
        cache, device = self.store.cache(model), _device(model)

        def held(number: Tensor) -> Anchors:
            anchors = cache.anchors(torch.zeros_like(number), self._row(number))
            return tree_map(lambda x: x.to(device) if isinstance(x, Tensor) else x, anchors)

        return held

    def _classifier_input(self, number: Tensor) -> Tensor:
        assert self.store is not None
        return self.store.features([], "classifier", torch.zeros_like(number), self._row(number))

    def _row(self, number: Tensor) -> Tensor:
        return number if self.rows is None else self.rows[number]

    def _given(self, model: nn.Module, number: Tensor) -> dict[str, Tensor]:
        given = read_of(model, self.sources)
        return {name: values[number].to(_device(model), torch.float32) for name, values in given.items()}

    def _with_sources(self, model: ResonantModel, anchors: Anchors, number: Tensor) -> Anchors:
        return model.with_sources(anchors, self._given(model, number)) if model.config.sources else anchors


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
