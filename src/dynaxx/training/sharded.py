"""A frozen backbone that does not fit on one device: weights in one shard per process, couplings in every process."""

import copy

from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from dynaxx import ResonantModel


class ShardedBackbone(DDPStrategy):
    """DDP for the trained parameters, FSDP2 for the frozen backbone.

    Each process gathers a backbone block's weights before the block runs and releases them afterwards. Every process
    holds all trained parameters, which are small, and DDP averages their gradients. This strategy is for training on
    images, because training from a feature cache needs no backbone. The original blocks stay in the host's memory and
    are put back unchanged when training ends.

    >>> trainer = lightning.pytorch.Trainer(strategy=ShardedBackbone(), devices=2)
    """

    _lent: "list[tuple[nn.Module, str, nn.Module]]"

    def model_to_device(self) -> None:
        """Shard the blocks one by one, because all blocks may not fit on the device; Lightning calls this method."""
        module = self.lightning_module
        backbone = _frozen_backbone(module)
        mesh = init_device_mesh(self.root_device.type, (self.world_size,))
        self._lent = [(owner, name, owner.get_submodule(name)) for owner, name in _blocks(backbone)]
        for owner, name, block in self._lent:
            shards = copy.deepcopy(block)
            fully_shard(shards, mesh=mesh)  # changes what it is given
            owner.set_submodule(name, shards)
        assert module is not None
        sharded = [name for name, parameter in module.named_parameters() if isinstance(parameter, DTensor)]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, sharded)
        super().model_to_device()

    def teardown(self) -> None:
        """Put the original blocks back; Lightning calls this method at the end."""
        for owner, name, block in getattr(self, "_lent", []):
            owner.set_submodule(name, block)
        self._lent = []
        super().teardown()


def _frozen_backbone(module: object) -> nn.Module:
    model = getattr(module, "model", None)
    if not isinstance(model, ResonantModel) or any(p.requires_grad for p in model.backbone.parameters()):
        raise ValueError("trainer=sharded is for resonance on a frozen backbone; other arms take trainer=ddp")
    if module.cached:  # type: ignore[attr-defined]
        raise ValueError("trainer=sharded trains on images, and not from a feature cache: give train.cache_limit_gb=0")
    return model.backbone


def _blocks(backbone: nn.Module) -> list[tuple[nn.Module, str]]:
    """The modules to shard: children of containers, such as a ResNet's or a ViT's blocks, and all other children."""
    found: list[tuple[nn.Module, str]] = []
    for name, child in backbone.named_children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            found += [(child, number) for number, _ in child.named_children()]
        else:
            found.append((backbone, name))
    return [(owner, name) for owner, name in found if any(True for _ in owner.get_submodule(name).parameters())]
