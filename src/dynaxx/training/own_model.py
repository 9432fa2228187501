"""A network that the user brings: a model of timm or torchvision by its name, or a function of the user's own code.

The number of classes follows the weights: a network whose last layer has another size is made again with that size.
"""

import difflib
import importlib
import inspect
import os
import pickle
import sys
from collections.abc import Callable, Mapping
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from safetensors.torch import load_file
from torch import Tensor, nn

WRAPPED = ("state_dict", "model_state_dict", "model")
"""Keys under which training programs save the weights beside other things."""


class BackboneError(ValueError):
    """The error for a backbone that cannot be created, read or verified; its one-line message names the remedy."""


def is_given(model: Any) -> bool:
    """Whether the section `model` of params.yaml names a trained network, which is then not trained here."""
    return model.weights is not None or model.get("library") is not None


def maker(model: Any, channels: int) -> tuple[str, Callable[..., nn.Module]]:
    """The setting that names the network, and the function that makes the network without trained weights.

    >>> told, make = maker(OmegaConf.create({"library": "timm", "name": "resnet18"}), channels=3)
    >>> make(num_classes=7)

    Args:
        model: section `model` of params.yaml.
        channels: number of channels of the images, for `model.network` with in_channels=null.

    Raises:
        BackboneError: no such model, module or function.
    """
    library = model.get("library")
    if library == "timm":
        import timm

        name = str(model.name)
        if not timm.is_model(name.split(".")[0]):
            raise BackboneError(_unknown(name, "timm", timm.list_models(), "timm.list_models()"))
        return f"model.name={name}", partial(timm.create_model, name, pretrained=False)
    if library == "torchvision":
        from torchvision import models

        name = str(model.name)
        known = models.list_models(module=models)
        if name not in known:
            raise BackboneError(_unknown(name, "torchvision", known, "torchvision.models.list_models()"))
        return f"model.name={name}", partial(models.get_model, name, weights=None)
    if library == "python":
        return f"model.target={model.target}", _function(str(model.target))
    if library is not None:
        raise BackboneError(f"model.library={library}: give one of timm, torchvision, python")
    network = model.get("network")
    if network is None:
        raise BackboneError("model.network is null: take model=timm, model=torchvision or model=python")
    inputs = {"in_channels": channels} if network.get("in_channels", channels) is None else {}
    return "model.network", partial(instantiate, network, **inputs)


def make(model: Any, channels: int, num_classes: int | None = None) -> nn.Module:
    """The network of `model`, untrained; `num_classes` None takes the number that the network has by itself.

    >>> network = make(params.model, channels=3, num_classes=10)

    Raises:
        BackboneError: see `maker`; or the network cannot be made.
    """
    told, function = maker(model, channels)
    classes = {} if num_classes is None else {"num_classes": num_classes}
    try:
        network = function(**classes)
    except (Exception, SystemExit) as error:  # a user's function, or one of hundreds of models
        raise BackboneError(f"{told}: cannot be made ({one_line(error)})") from None
    if not isinstance(network, nn.Module):
        raise BackboneError(f"{told}: returns {type(network).__name__}; it must return a torch.nn.Module")
    return network.eval()


def with_weights(model: Any, channels: int) -> tuple[nn.Module, int | None]:
    """The network of `model` with the weights of its file, and its number of classes if that followed the weights.

    >>> network, num_classes = with_weights(params.model, channels=3)

    Raises:
        BackboneError: no such model or file, or weights that do not fit; the message names the first tensor.
    """
    path = Path(model.weights)
    told, function = maker(model, channels)
    state = read_weights(path)
    classes = None
    try:
        network = make(model, channels)
    except BackboneError:
        if not _takes_classes(function):
            raise
        classes = 1  # it cannot do without; any number will do until the weights have said theirs
        network = make(model, channels, classes)
    state = dict(_without_prefix(state, network.state_dict()))
    found = _classes_of(network.state_dict(), state)
    if found is not None and _takes_classes(function):
        classes = found
        network = make(model, channels, classes)
    if wrong := _misfit(network.state_dict(), state):
        raise BackboneError(f"model.weights={path}: does not fit {told}: {wrong}")
    network.load_state_dict(dict(state))
    return network.eval(), classes


def published(model: Any) -> nn.Module:
    """The network of timm with the weights that were published for it.

    >>> network = published(OmegaConf.create({"library": "timm", "name": "resnet18", "weights": None}))

    Raises:
        BackboneError: no such model, or its weights cannot be fetched.
    """
    if model.get("library") != "timm":
        raise BackboneError("model.weights=null: give a file of weights; only model=timm fetches published ones")
    told, function = maker(model, 3)
    try:
        return function(pretrained=True).eval()
    except Exception as error:  # the hub's client raises many kinds
        raise BackboneError(f"{told}: its weights cannot be fetched ({one_line(error)}); give model.weights") from None


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a file that `torch.save` wrote; its content tells which it is.

    Nothing else is loaded: a pickled object may run code.

    >>> read_weights(Path("resnet18.safetensors"))["fc.bias"].shape
    torch.Size([7])

    Raises:
        BackboneError: no such file, or no weights in it.
    """
    if not path.is_file():
        raise BackboneError(f"model.weights={path}: no such file; give a .safetensors or .pt file")
    try:
        with open(path, "rb") as file:  # of a path torch reads the suffix
            plain = partial(torch.load, file, map_location="cpu", weights_only=True)
            found = load_file(path) if _is_safetensors(path) else plain()
    except Exception as error:  # safetensors, pickle, zip and torch each raise their own
        unsafe = isinstance(error, pickle.UnpicklingError)
        why = "pickled objects beside tensors, which may run code" if unsafe else one_line(error).split(". ")[0][:160]
        raise BackboneError(
            f"model.weights={path}: no readable weights ({why}); "
            "give a .safetensors file, or torch.save(network.state_dict(), FILE)"
        ) from None
    inner = next((found[key] for key in WRAPPED if isinstance(found, Mapping) and key in found), found)
    sound = isinstance(inner, Mapping) and inner and all(isinstance(t, Tensor) for t in inner.values())
    if not sound or any(t.is_meta for t in inner.values()):
        there = f", but {', '.join(map(str, list(found)[:5]))}" if isinstance(found, Mapping) and found else ""
        raise BackboneError(
            f"model.weights={path}: holds no state dict{there}; give torch.save(network.state_dict(), FILE)"
        )
    return dict(inner)


def _is_safetensors(path: Path) -> bool:
    """Whether the file begins as safetensors do: eight bytes for the length of a header in JSON."""
    with open(path, "rb") as file:
        return file.read(9)[8:] == b"{"


def _without_prefix(state: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The weights without the names that wrappers put before all of them, as `module.`, `_orig_mod.` or `model.`."""
    found = state
    while found and not found.keys() & network.keys():
        if len({name.partition(".")[0] for name in found}) > 1 or not all("." in name for name in found):
            return state
        found = {name.partition(".")[2]: t for name, t in found.items()}
    return found or state


def _function(target: str) -> Callable[..., Any]:
    """The function package.module:function; modules of the working directory are found, too."""
    told, (module, colon, name) = f"model.target={target}", target.partition(":")
    if not (colon and name) or module.endswith(".py") or not all(map(str.isidentifier, module.split("."))):
        raise BackboneError(f"{told}: give package.module:function")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise BackboneError(
            f"{told}: no module {error.name!r}; put it into the working directory or on PYTHONPATH"
        ) from None
    except (Exception, SystemExit) as error:  # whatever the user's module does when it is imported
        raise BackboneError(f"{told}: importing {module} fails ({one_line(error)})") from None
    try:
        function = attrgetter(name)(found)
    except AttributeError:
        names = sorted(n for n, v in vars(found).items() if callable(v) and not n.startswith("_"))
        raise BackboneError(f"{told}: {module} has no {name!r}; it has {', '.join(names) or 'no function'}") from None
    if not callable(function) or isinstance(function, nn.Module):
        raise BackboneError(
            f"{told}: is a {type(function).__name__}; name a function or class that returns the network when called"
        )
    return function


def _unknown(name: str, library: str, known: list[str], where: str) -> str:
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {', '.join(close)}? " if close else ""
    return f"model.name={name}: {library} knows no such model; {hint}{where} has all"


def _takes_classes(function: Callable[..., Any]) -> bool:
    try:
        given = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return "num_classes" in given or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in given.values())


def _classes_of(network: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> int | None:
    """The number of classes of the weights, if they differ from the network's in nothing but this number."""
    differing = {
        state[name].shape[0]
        for name, t in network.items()
        if name in state and t.ndim and state[name].ndim == t.ndim and t.shape != state[name].shape
        and t.shape[1:] == state[name].shape[1:]
    }  # fmt: skip
    return differing.pop() if len(differing) == 1 else None


def _misfit(network: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """The first difference between the tensors of a network and those of a file; empty if there is none."""
    missing = [name for name in network if name not in state]
    surplus = [name for name in state if name not in network]
    if missing:
        other = f"; it has {surplus[0]!r} instead" if surplus else ""
        return f"{missing[0]!r} is missing in the file, first of {len(missing)}{other}"
    if surplus:
        return f"{surplus[0]!r} of the file is unknown to the network, first of {len(surplus)}"
    for name, t in network.items():
        if t.shape != state[name].shape:
            return f"{name!r} is {tuple(state[name].shape)} in the file and {tuple(t.shape)} in the network"
    return ""


def one_line(error: BaseException) -> str:
    """Kind and message of an error on one line.

    >>> one_line(ValueError("two\\nlines"))
    'ValueError: two lines'
    """
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
