"""Several named adapters on one backbone, added, activated and deleted by name as in the library peft."""

from torch import nn

from dynaxx.errors import ResonanceError
from dynaxx.model.adapter import Adapter

DEFAULT = "default"
"""Name of the first adapter, which wrapping creates."""


class Adapters(nn.ModuleDict):
    """Adapters by name. Only the active adapter runs and trains.

    Attributes:
        active: name of the active adapter.
    """

    def __init__(self, adapter: Adapter) -> None:
        super().__init__({DEFAULT: adapter})
        self.active = DEFAULT
        self._resting: dict[str, list[nn.Parameter]] = {}  # parameters that train again when their adapter is active

    def named(self, name: str) -> Adapter:
        """The adapter of this name."""
        adapter = self[name]
        assert isinstance(adapter, Adapter)
        return adapter

    def add(self, name: str, adapter: Adapter) -> None:
        """Add an adapter; the new adapter does not train until `activate` makes it active."""
        self[name] = adapter.train(self.training)
        self._rest(name)

    def activate(self, name: str) -> None:
        """Make the adapter `name` the active one.

        Raises:
            ResonanceError: no adapter has this name.
        """
        self._check_known(name)
        if name == self.active:
            return
        self._rest(self.active)
        for parameter in self._resting.pop(name, []):
            parameter.requires_grad_(True)
        self.active = name

    def delete(self, name: str) -> None:
        """Delete an adapter that is not active.

        Raises:
            ResonanceError: no adapter has this name, or the adapter is active.
        """
        self._check_known(name)
        if name == self.active:
            others = [other for other in self if other != name]
            raise ResonanceError(
                f"delete_adapter({name!r}): it is active; "
                + (f"set_adapter({others[0]!r}) first" if others else "it is the only one; remove() the model instead")
            )
        del self[name]
        self._resting.pop(name, None)

    def check_free(self, name: str) -> None:
        """Raise ResonanceError unless `name` is valid and free for a new adapter."""
        if not isinstance(name, str) or not name or "." in name:
            raise ResonanceError(f"adapter name {name!r}: give a word without dots")
        if name in self or hasattr(self, name):
            raise ResonanceError(f"adapter name {name!r}: taken; give another, or delete_adapter() first")

    def _rest(self, name: str) -> None:
        training = [parameter for parameter in self[name].parameters() if parameter.requires_grad]
        self._resting[name] = training
        for parameter in training:
            parameter.requires_grad_(False)

    def _check_known(self, name: str) -> None:
        if name not in self:
            raise ResonanceError(f"no adapter {name!r}; there are {', '.join(self)}")
