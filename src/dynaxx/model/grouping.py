"""Which adapters run side by side as one `Stack`: those of one kind, whose taps have similar means."""

from collections.abc import Hashable, Mapping, Sequence

from torch import Tensor

from dynaxx.config import ResonanceConfig
from dynaxx.model.adapter import Adapter
from dynaxx.model.stack import Centre, Stack, way_of

NEAR = 8.0
"""Deviations between two adapters' means of a channel, up to which they share one centre: rounding grows with them."""


def state_of(adapters: Sequence[Adapter]) -> Hashable | None:
    """A value that changes with any tensor or option of the adapters; None where changes leave no trace.

    >>> state_of([model.adapter]) == state_of([model.adapter])
    True

    Changes that go around torch's count of versions (`parameter.data.add_(1)`) are not seen.
    """
    found: list[object] = []
    for adapter in adapters:
        found.append(id(adapter.config))
        for module in adapter.modules():
            for tensors in (module._parameters, module._buffers):
                for tensor in tensors.values():
                    if tensor is not None:
                        if tensor.is_inference():
                            return None
                        found += (id(tensor), tensor.data_ptr(), tensor._version)
    return tuple(found)


def stacks_of(adapters: Mapping[str, Adapter], configs: Mapping[str, ResonanceConfig]) -> list[Stack]:
    """The stacks of those adapters that have company of their kind.

    >>> adapters = {"one": model.adapter, "two": model.adapter}
    >>> [made.names for made in stacks_of(adapters, {name: adapters[name].config for name in adapters})]
    [['one', 'two']]

    Args:
        adapters: adapters by name.
        configs: the options of each in this pass; the adapters of these names are looked at.
    """
    centres: dict[Hashable, list[Tensor]] = {}
    groups: dict[Hashable, list[str]] = {}
    chosen: dict[Hashable, list[Centre]] = {}
    for name, config in configs.items():
        kind = kind_of(adapters[name], config)
        if kind is not None:
            found = _centres(adapters[name], centres)
            key = kind, *(number for number, _ in found)
            groups.setdefault(key, []).append(name)
            chosen[key] = found
    return [
        Stack(names, [adapters[name] for name in names], configs[names[0]], chosen[key])
        for key, names in groups.items()
        if len(names) > 1
    ]


def kind_of(adapter: Adapter, config: ResonanceConfig) -> Hashable | None:
    """What adapters must have in common to run side by side; None for one that runs alone."""
    resonator, head = adapter.require_built(), adapter.head
    exchange, student = resonator.exchange, resonator.student
    couplings, way = exchange.couplings, way_of(adapter, config)
    unusual = config.dynamics != "anchored" or bool(exchange.sources) or bool(exchange.points)
    if unusual or resonator.gate is not None or (adapter.config.reads_taps and head is None):
        return None
    if way == "loop" and (config.solver != "picard" or config.tolerance is not None):
        return None
    if way == "loop" and config.T > 1 and not couplings.complete:
        return None
    if way == "student" and (student is None or student.U is not None):
        return None
    if (way == "folded" and resonator.folded is None) or (way == "linear" and not adapter.config.reads_taps):
        return None
    tensors = [tensor for part in (resonator, head) if part is not None for tensor in part.state_dict().values()]
    dtypes = {tensor.dtype for tensor in tensors if tensor.is_floating_point()}
    if len(dtypes) != 1:
        return None
    return (
        way,
        (config.T, config.damping) if way == "loop" else None,
        (student.inner.channels, student.inner.activation) if way == "student" and student is not None else None,
        tuple(adapter.taps),
        tuple(couplings.pairs),
        (couplings.rank, exchange.phi.activation, exchange.phi.kernel is None, exchange.prefix),
        (config.grid, config.token_pool, adapter.config.readout, adapter.classifier, head is None),
        (*dtypes, exchange.strength.device),
    )


def _centres(adapter: Adapter, known: dict[Hashable, list[Tensor]]) -> list[Centre]:
    """For every tap a centre that is near to the adapter's mean; one is added where there is none."""
    statistics, found = adapter.require_built().exchange.statistics, list[Centre]()
    for number, tap in enumerate(adapter.taps):
        mean, std = statistics.mean(number), statistics.std(number)
        own = known.setdefault((tap.path, tap.layout, mean.dtype, mean.device), [])
        near = [n for n, centre in enumerate(own) if bool((((mean - centre) / std).abs() <= NEAR).all())]
        if not near:
            near = [len(own)]
            own.append(mean.clone())
        found.append((near[0], own[near[0]]))
    return found
