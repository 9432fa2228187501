"""A fingerprint of a backbone, by which an adapter knows the weights that it was trained on.

The architecture is a checksum of the names and shapes of all floating-point tensors. The weights are represented by a
few values of each of these tensors, always at the same places. So the fingerprint of a large model costs milliseconds,
and a change that spares all these places is not seen; training changes every tensor it reaches, so it is.

What leaves the function alone leaves the fingerprint alone: the device, integer counters of batch norms, prefixes of
`torch.compile`, and a classifier that the adapter's own head replaces. Weights that were rounded to half precision fit
those they were rounded from.
"""

import base64
import hashlib
from typing import Any

import torch
from torch import Tensor, nn

VALUES = 4
"""Number of values that represent a tensor."""
HALVES = (torch.float16, torch.bfloat16)


def fingerprint(backbone: nn.Module, without: str | None) -> dict[str, str] | None:
    """The fingerprint in plain values; None without weights, or on torch's meta device.

    >>> sorted(fingerprint(network, without="fc"))
    ['architecture', 'weights']

    Args:
        backbone: the network.
        without: path of a module that is left out, since a new head replaces it; None leaves out nothing.
    """
    tensors = _tensors(backbone, without)
    if not tensors or any(tensor.is_meta for tensor in tensors.values()):
        return None
    names = "\n".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())
    values = torch.cat([_values(tensor) for tensor in tensors.values()])
    return {
        "architecture": hashlib.sha256(names.encode()).hexdigest()[:16],
        "weights": base64.b64encode(values.numpy().astype("<f4").tobytes()).decode(),
    }


def difference(saved: dict[str, Any], backbone: nn.Module, without: str | None) -> str | None:
    """In words, how `backbone` differs from the saved fingerprint; None if it fits.

    >>> difference(fingerprint(network, None), network, None) is None
    True
    """
    found = fingerprint(backbone, without)
    if found is None:
        return None
    try:
        architecture, values = saved["architecture"], _decoded(saved["weights"])
    except (KeyError, TypeError, ValueError):
        return "a fingerprint, and the one in the file cannot be read"
    if found["architecture"] != architecture or len(values) != len(_decoded(found["weights"])):
        return "another architecture: the names or shapes of its tensors differ"
    tensors = list(_tensors(backbone, without).items())
    sizes = [min(VALUES, tensor.numel()) for _, tensor in tensors]
    one, other = values.split(sizes), _decoded(found["weights"]).split(sizes)
    matrices = [number for number, (_, tensor) in enumerate(tensors) if tensor.ndim > 1]
    rounded = [_rounded_to([parts[number] for number in matrices]) for parts in (one, other)]
    odd = [name for (name, _), a, b in zip(tensors, one, other, strict=True) if not _same(a, b, *rounded)]
    return f"other weights: {len(odd)} of its {len(tensors)} tensors differ, first {odd[0]}" if odd else None


def _tensors(backbone: nn.Module, without: str | None) -> dict[str, Tensor]:
    tensors = {name.replace("_orig_mod.", ""): tensor for name, tensor in backbone.state_dict().items()}
    return {
        name: tensor
        for name, tensor in tensors.items()
        if isinstance(tensor, Tensor)
        and tensor.is_floating_point()
        and tensor.numel()
        and (without is None or not name.startswith(f"{without}."))
    }


def _values(tensor: Tensor) -> Tensor:
    """Values at fixed places, spread over the tensor; by coordinates, so that the memory's layout does not matter."""
    count = min(VALUES, tensor.numel())
    places = (torch.arange(count, device=tensor.device) * 2 + 1) * tensor.numel() // (2 * count)
    chosen = tensor.detach()[torch.unravel_index(places, tensor.shape)] if tensor.ndim else tensor.detach()[None]
    return chosen.float().cpu()


def _decoded(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.float32)


def _rounded_to(matrices: list[Tensor]) -> set[torch.dtype]:
    """The types of half precision that hold all these values exactly. Vectors say nothing: many are ones and zeros."""
    return {dtype for dtype in HALVES if matrices and all(_equal(x.to(dtype).float(), x) for x in matrices)}


def _same(one: Tensor, other: Tensor, rounded: set[torch.dtype], other_rounded: set[torch.dtype]) -> bool:
    """Whether values are equal, or were before the network of one of them was rounded to half precision."""
    if _equal(one, other) or any(_equal(one.to(dtype), other.to(dtype)) for dtype in rounded | other_rounded):
        return True
    # float16 beside bfloat16: where both were rounded, in different ways, the last digits differ
    differently = bool(rounded) and bool(other_rounded) and rounded != other_rounded
    return differently and torch.allclose(one, other, rtol=2**-7, atol=1e-7)


def _equal(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
