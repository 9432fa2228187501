"""Couplings that start from a larger set, and a backbone that is trained along."""

import pytest
import torch
from torch import nn

from dynaxx import ResonanceError, wrap_with_resonance
from dynaxx.data import LabelledImages, Normalisation
from dynaxx.data.module import ImageData
from dynaxx.tasks import Classification
from dynaxx.training.fit import LAST, fit
from dynaxx.training.resonance_module import ResonanceModule
from dynaxx.training.small_resnet import SmallResNet


def trainer(**options):
    import lightning.pytorch as pl

    return pl.Trainer(accelerator="cpu", devices=1, deterministic=True, **options)


def data(classes: int = 3) -> ImageData:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(48) % classes
    pixels = torch.randint(120, (48, 1, 8, 8), dtype=torch.uint8, generator=generator)
    pixels[torch.arange(48), 0, labels + 1] += 100
    images = LabelledImages(pixels, labels, tuple("abcd"[:classes]))
    return ImageData(
        images, images, normalisation=Normalisation((0.4,), (0.2,)), batch_size=16, augmentation="none", seed=0
    )


def model(classes: int = 3, **options):
    torch.manual_seed(7)
    return wrap_with_resonance(
        SmallResNet(3, 1, (4, 6, 8), 1),
        [1, 2, 3],
        rank=3,
        T=2,
        num_classes=classes,
        example_input=torch.zeros(1, 1, 8, 8),
        **options,
    )


def test_an_unfrozen_backbone_learns_at_its_own_rate_and_survives_a_resume(tmp_path):
    made = model()
    before = {n: t.clone() for n, t in made.backbone.state_dict().items()}
    module = ResonanceModule(made, Classification(), lr=0.02, backbone_lr=1e-3)
    made.fit_statistics(data().train_dataloader())
    rates: list[list[float]] = []

    from lightning.pytorch.callbacks import Callback

    class Watch(Callback):
        def on_train_batch_end(self, trainer, *_):
            rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    fit(module, data(), trainer=trainer, checkpoints=tmp_path, epochs=2, patience=9, seed=0, callbacks=[Watch()])
    assert all(own == other == pytest.approx(20 * backbone) for own, other, backbone in rates)
    moved = {n for n, t in made.backbone.state_dict().items() if not torch.equal(t, before[n])}
    wanted = {n for n, _ in made.backbone.named_parameters() if not n.startswith("fc.")}  # in whose place the head is
    assert moved == wanted  # and no buffer
    assert not made.backbone.training

    again = model()
    saved = torch.load(tmp_path / LAST, weights_only=True)["state_dict"]
    resumed = ResonanceModule(again, Classification(), lr=0.02, backbone_lr=1e-3)
    fit(resumed, data(), trainer=trainer, checkpoints=tmp_path, epochs=2, patience=9, seed=0)
    assert any(name.startswith("model.backbone.") for name in saved)
    for name, tensor in made.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_a_frozen_backbone_is_in_no_checkpoint(tmp_path):
    made = model()
    made.fit_statistics(data().train_dataloader())
    module = ResonanceModule(made, Classification(), lr=0.02)
    fit(module, data(), trainer=trainer, checkpoints=tmp_path, epochs=1, patience=9, seed=0)
    saved = torch.load(tmp_path / LAST, weights_only=True)["state_dict"]
    assert saved
    assert not any(name.startswith("model.backbone.") for name in saved)


def test_couplings_start_from_a_larger_set_with_a_head_of_their_own(tmp_path):
    large = model(classes=4)
    large.fit_statistics(data(4).train_dataloader())
    for parameter in large.trainable_parameters():
        nn.init.normal_(parameter, std=0.2)
    large.save_pretrained(tmp_path)
    small = model(classes=3)
    head = small.head.weight.clone()
    small.start_from(tmp_path)
    for name, tensor in large.resonator.state_dict().items():
        assert torch.equal(small.resonator.state_dict()[name], tensor), name
    assert torch.equal(small.head.weight, head)
    x = next(iter(data().train_dataloader()))[0]
    large_seen, small_seen = (m.refine(m.read(x))[0][0] for m in (large, small))
    assert torch.equal(large_seen, small_seen)


def test_a_start_that_does_not_fit_is_one_clear_line_and_changes_nothing(tmp_path):
    model().save_pretrained(tmp_path)
    with pytest.raises(ResonanceError, match="its taps are layer1, layer2, layer3, here they are layer1, layer3"):
        wrap_with_resonance(
            SmallResNet(3, 1, (4, 6, 8), 1), [1, 3], rank=3, example_input=torch.zeros(1, 1, 8, 8)
        ).start_from(tmp_path)
    other = wrap_with_resonance(
        SmallResNet(3, 1, (4, 6, 8), 1), [1, 2, 3], rank=2, T=2, example_input=torch.zeros(1, 1, 8, 8)
    )
    before = {n: t.clone() for n, t in other.resonator.state_dict().items()}
    with pytest.raises(
        ResonanceError, match=r"tensor exchange\.couplings\.U\.0 is \(6, 4\) in the file, \(4, 4\) here"
    ):
        other.start_from(tmp_path)
    assert all(torch.equal(t, before[n]) for n, t in other.resonator.state_dict().items())
    with pytest.raises(ResonanceError, match=r"no resonance\.json"):
        other.start_from(tmp_path / "nowhere")
