"""Token sequences: nothing reads its future, class tokens keep out of it, and Hugging Face's models can be wrapped."""

import warnings
from typing import Any

import pytest
import timm
import torch
from torch import nn

from dynaxx import ResonanceError, ResonanceWarning, load_resonance, wrap_with_resonance
from dynaxx.backbone.tokens import prefix_tokens
from dynaxx.grid import running_mean
from dynaxx.resonance.bottleneck import Bottleneck

transformers = pytest.importorskip("transformers")
IDS = torch.arange(18).view(2, 9) * 7 % 40


def gpt2() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_layer=6, n_embd=24, n_head=2, vocab_size=40, n_positions=16, bos_token_id=0, eos_token_id=0
    )
    return transformers.GPT2LMHeadModel(config).eval()


def bert() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        num_hidden_layers=6, hidden_size=24, num_attention_heads=2, intermediate_size=32, vocab_size=40
    )
    return transformers.BertForSequenceClassification(config).eval()


def vit(**changes: Any) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, depth=3, num_classes=5, **changes
    ).eval()


def moved(model: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "resonator." in name and parameter.requires_grad:
            nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize("mode", ["explicit", "implicit"])
@pytest.mark.parametrize("token_pool", [False, True])
@pytest.mark.parametrize("gate", ["none", "learned", "mutual_information", "position"])
def test_a_causal_model_stays_causal(gate, token_pool, mode):
    model = moved(
        wrap_with_resonance(
            gpt2(), [2, 4, 6], rank=3, T=3, mode=mode, gate=gate, token_pool=token_pool, example_input=IDS
        )
    )
    assert model.resonator.causal
    other = IDS.clone()
    other[:, 5:] = (other[:, 5:] + 11) % 40
    with torch.no_grad():
        before, after, bare = model(IDS).logits, model(other).logits, model.backbone(IDS).logits
    assert torch.allclose(before[:, :5], after[:, :5], atol=1e-5)
    assert not torch.allclose(before[:, 5:], after[:, 5:], atol=1e-2)
    assert not torch.allclose(before, bare, atol=1e-2)


@pytest.mark.parametrize("options", [{"solver": "anderson"}, {"tolerance": 1e-2}], ids=str)
def test_what_looks_at_all_tokens_at_once_is_refused_in_a_causal_model(options):
    with pytest.raises(ResonanceError, match="in causal models tokens read no future"):
        wrap_with_resonance(gpt2(), [2, 4, 6], rank=3, example_input=IDS, **options)


def test_that_an_encoder_hears_its_future_is_noticed_and_can_be_overruled():
    model = wrap_with_resonance(bert(), [2, 4, 5], rank=3, example_input={"input_ids": IDS})
    assert model.paths[0] == "bert.encoder.layer.1"
    assert not model.resonator.causal
    model.remove()
    assert wrap_with_resonance(bert(), [2, 4], causal=True, rank=3, example_input={"input_ids": IDS}).resonator.causal


@pytest.mark.parametrize("example", [IDS[:, :1], {"input_ids": IDS[:, :1]}], ids=["tensor", "named"])
def test_where_one_token_does_not_show_it_the_user_has_to_say(example):
    with pytest.raises(ResonanceError, match="causal=None: .*give causal=True or causal=False"):
        wrap_with_resonance(gpt2(), [2, 4, 6], rank=3, example_input=example)
    assert wrap_with_resonance(gpt2(), [2, 4, 6], rank=3, causal=True, example_input=example).resonator.causal


def test_an_encoder_trains_on_a_new_task_and_comes_back(tmp_path):
    net = bert()
    model = wrap_with_resonance(
        net, "auto", rank=3, T=3, num_classes=3, token_pool=True, example_input={"input_ids": IDS}
    )
    model.train()
    optimizer = torch.optim.Adam(model.trainable_parameters(), 0.05)
    y = torch.tensor([0, 2])
    with pytest.warns(UserWarning, match="not standardised"):
        losses = [_step(model, optimizer, y) for _ in range(30)]
    assert losses[-1] < 0.2 * losses[0]
    model.eval().save_pretrained(tmp_path)
    expected = model(input_ids=IDS).logits
    assert torch.equal(load_resonance(model.remove(), tmp_path)(input_ids=IDS).logits, expected)


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, y: torch.Tensor) -> float:
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(input_ids=IDS).logits, y)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def test_pooled_messages_move_every_token_alike():
    net, x = vit(), torch.randn(2, 3, 32, 32)
    model = moved(wrap_with_resonance(net, [1, 2, 3], rank=3, token_pool=True, example_input=x))
    anchors = model.read(x)
    assert anchors.pooled[0].shape[1] == 1
    with torch.no_grad():
        change = model.refine(anchors)[0][0] - anchors.outputs[0]
    assert torch.allclose(change, change[:, :1].expand_as(change), atol=1e-5)
    assert change.abs().max() > 1e-2


def test_class_tokens_are_counted_and_kept_out_of_the_depthwise_step():
    model = wrap_with_resonance(vit(), [1, 2], rank=3, example_input=torch.randn(1, 3, 32, 32))
    assert model.resonator.exchange.prefix == model.resonator.exchange.phi.prefix == 1
    assert prefix_tokens(timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, reg_tokens=4)) == 5
    assert prefix_tokens(gpt2()) == 0
    phi = Bottleneck(3, "identity", True, dims=0, prefix=2)
    nn.init.normal_(phi.kernel)
    h = torch.randn(2, 7, 3)
    other = h.clone()
    other[:, :2] += 1.0
    assert torch.equal(phi(h, (7,))[:, :2], h[:, :2])
    assert torch.equal(phi(h, (7,))[:, 2:], phi(other, (7,))[:, 2:])
    assert torch.equal(phi(h[:, :2], (2,)), h[:, :2])  # a sequence of class tokens alone


def test_what_was_found_out_travels_with_the_adapter(tmp_path):
    net = gpt2()
    model = moved(wrap_with_resonance(net, [2, 4, 6], rank=3, gate="learned", example_input=IDS))
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = model(IDS).logits
        again = load_resonance(model.remove(), tmp_path)
        assert again.resonator.causal
        assert torch.equal(again(IDS).logits, expected)


X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("net", "example", "taps", "said"),
    [
        (vit, X, [1, 2, 3], "behind 'blocks.2' reads the first token and no other.*token_pool=True"),
        (bert, {"input_ids": IDS}, [2, 4, 6], "behind 'bert.encoder.layer.5' reads the first token and no other"),
        (lambda: vit(reg_tokens=2, global_pool="token"), X, [1, 3], "reads the first 3 tokens and no other"),
    ],
    ids=["class token", "encoder", "registers"],
)
def test_where_messages_to_most_tokens_would_be_lost_a_warning_says_so(net, example, taps, said):
    with pytest.warns(ResonanceWarning, match=said):
        wrap_with_resonance(net(), taps, rank=3, example_input=example)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wrap_with_resonance(net(), taps, rank=3, token_pool=True, example_input=example)
        wrap_with_resonance(net(), [1, 2], rank=3, example_input=example)  # blocks behind read all tokens


def test_where_every_token_is_read_nothing_is_said():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wrap_with_resonance(vit(global_pool="avg"), [1, 2, 3], rank=3, example_input=X)
        wrap_with_resonance(gpt2(), [2, 4, 6], rank=3, example_input=IDS)
        fresh = vit()
        nn.init.zeros_(fresh.head.weight)  # an answer that nothing moves says nothing of what it reads
        wrap_with_resonance(fresh, [1, 2, 3], rank=3, example_input=X)


def test_running_mean():
    x = torch.tensor([1.0, 3.0, 8.0]).view(1, 3, 1)
    assert running_mean(x).flatten().tolist() == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("options", [{"token_pool": True}, {"causal": True}, {"prefix_tokens": 1}])
def test_token_options_on_maps_are_refused(options):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)).eval()
    with pytest.raises(ResonanceError, match=f"{next(iter(options))}=.*the taps are maps"):
        wrap_with_resonance(net, ["0", "1"], rank=2, example_input=torch.zeros(1, 3, 8, 8), **options)
