"""Several named adapters on one backbone: added, set and deleted in the manner that users know from peft."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from dynaxx.backbone.example import Call, as_call, stated_input
from dynaxx.backbone.execution import Wiring
from dynaxx.backbone.layers import resolve
from dynaxx.config import ResonanceConfig
from dynaxx.errors import ResonanceError
from dynaxx.model.adapter import Adapter
from dynaxx.model.saving import read

DEFAULT = "default"
"""Name of the adapter that a model is wrapped with."""


class Adapters(nn.Module):
    """The part of a resonant model that keeps its adapters, of which one is active: it alone runs and trains.

    Attributes:
        adapters: by name.
        active_adapter: name of the one that runs.
    """

    backbone: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.adapters = nn.ModuleDict()
        self.active_adapter = DEFAULT
        self._wired: dict[str, Wiring] = {}
        self._resting: dict[str, list[nn.Parameter]] = {}  # what an inactive adapter will train again

    @property
    def adapter(self) -> Adapter:
        """The active one."""
        return self._adapter(self.active_adapter)

    def _adapter(self, name: str) -> Adapter:
        adapter = self.adapters[name]
        assert isinstance(adapter, Adapter)
        return adapter

    def build(self, call: Call) -> None:
        """Make the active adapter's parameters from the shapes that one pass on `call` shows."""
        self.adapter.build(self.backbone, call)
        self._wire(self.active_adapter)

    def add_adapter(
        self, name: str, layers: Sequence[int | str] | str = "auto", *, example_input: Any = None, **options: Any
    ) -> None:
        """Put another adapter beside those that are there, with taps and options of its own; `set_adapter` runs it.

        Args:
            name: not yet taken, and without dots.
            layers, example_input, **options: as in `wrap_with_resonance`.

        Raises:
            ResonanceError: a name that is taken, or anything that wrapping would refuse.
        """
        self._check_free(name)
        adapter, call = fresh(self.backbone, layers, ResonanceConfig.from_options(options), example_input)
        if call is not None:
            adapter.build(self.backbone, call)
        self._add(name, adapter)

    def load_adapter(self, directory: str | Path, name: str) -> None:
        """Add the adapter that `save_pretrained` wrote to `directory`.

        Raises:
            ResonanceError: a name that is taken, a missing, damaged or foreign file, or layers that do not fit it.
        """
        self._check_free(name)
        self._add(name, loaded(self.backbone, directory))

    def set_adapter(self, name: str) -> None:
        """Let the adapter `name` run and train from now on, and no other.

        Raises:
            ResonanceError: there is none of that name.
        """
        self._check_known(name)
        if name == self.active_adapter:
            return
        self._rest(self.active_adapter)
        for parameter in self._resting.pop(name, []):
            parameter.requires_grad_(True)
        self.active_adapter = name

    def delete_adapter(self, name: str) -> None:
        """Forget an adapter that is not the active one.

        Raises:
            ResonanceError: there is none of that name, or it is active.
        """
        self._check_known(name)
        if name == self.active_adapter:
            others = [other for other in self.adapters if other != name]
            raise ResonanceError(
                f"delete_adapter({name!r}): it is active; "
                + (f"set_adapter({others[0]!r}) first" if others else "it is the only one; remove() the model instead")
            )
        del self.adapters[name]
        self._wired.pop(name, None)
        self._resting.pop(name, None)

    def _add(self, name: str, adapter: Adapter) -> None:
        self.adapters[name] = adapter.train(self.training)
        self._rest(name)
        if adapter.engine is not None:
            self._wire(name)

    def _rest(self, name: str) -> None:
        training = [parameter for parameter in self.adapters[name].parameters() if parameter.requires_grad]
        self._resting[name] = training
        for parameter in training:
            parameter.requires_grad_(False)

    def _check_free(self, name: str) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise ResonanceError(f"adapter name {name!r}: give a word without dots")
        if name in self.adapters or hasattr(self.adapters, name):
            raise ResonanceError(f"adapter name {name!r}: taken; give another, or delete_adapter() first")

    def _check_known(self, name: str) -> None:
        if name not in self.adapters:
            raise ResonanceError(f"no adapter {name!r}; there are {', '.join(self.adapters)}")

    # ---- wiring ---------------------------------------------------------------------------------------------------

    def _meet(self, activations: list[Any], outside: Sequence[Any]) -> list[Any]:
        raise AssertionError("the resonant model says how taps meet")

    def _wire(self, name: str) -> Wiring:
        self._wired[name] = self._adapter(name).wiring(self.backbone, self._meet)
        return self._wired[name]

    def _wiring(self, call: Call) -> Wiring:
        """The active adapter's; built and wired first where that has not been done yet."""
        name = self.active_adapter
        if self.adapters[name].engine is None:
            self.build(call)
        return self._wired[name] if name in self._wired else self._wire(name)

    def _rewire(self) -> None:
        self._wired = {}
        for name, adapter in self.adapters.items():
            if adapter.engine is not None:
                self._wire(name)

    def _apply(self, fn: Any, recurse: bool = True) -> "Adapters":
        """As in torch; a split graph holds buffers of the backbone, which are other ones now."""
        super()._apply(fn, recurse)
        self._rewire()
        return self

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_wired": {}}  # a copy is wired to its own backbone

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._rewire()


def fresh(
    backbone: nn.Module, layers: Sequence[int | str] | str, config: ResonanceConfig, example_input: Any
) -> tuple[Adapter, Call | None]:
    """A new adapter, and the call to build it on: the example's, else one on the input that the model states.

    Raises:
        ResonanceError: a layer that does not exist, or the mode of a loop that was solved already.
    """
    if config.mode == "folded":
        raise ResonanceError("mode='folded': there is nothing to fold yet; give mode='explicit', train, then fold()")
    call = None if example_input is None else as_call(example_input)
    if call is None and (stated := stated_input(backbone)) is not None:
        call = as_call(stated)
    return Adapter(backbone, resolve(backbone, layers), config), call


def loaded(backbone: nn.Module, directory: str | Path) -> Adapter:
    """The adapter that `save_pretrained` wrote to `directory`.

    Raises:
        ResonanceError: a missing, damaged or foreign file, or layers that do not fit it.
    """
    description, tensors = read(Path(directory))
    where = f"directory={str(directory)!r}"
    try:
        config = ResonanceConfig(**description["config"])
        taps = [info["path"] for info in description["taps"]]
        adapter = Adapter(backbone, resolve(backbone, taps), config)
        adapter.load(description, tensors, next(backbone.parameters(), None), where)
    except (TypeError, KeyError) as error:
        raise ResonanceError(f"{where}: its description does not fit this version ({error})") from None
    return adapter
