"""Random options, networks and inputs, and what must hold for each."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from dynaxx import ResonanceError, ResonantModel, wrap_with_resonance
from support.nets import MIXED_TAPS, UNET_TAPS, Mixed, Plain, UNet

Options = dict[str, Any]

OPTIONS: dict[str, list[Any]] = {
    "T": [1, 2, 3, 6, 0, 2.5],
    "mode": ["explicit", "implicit", "hybrid", "folded", "none"],
    "dynamics": ["anchored", "reentrant"],
    "order": ["gauss_seidel", "jacobi"],
    "rank": [1, 2, 4, 1000, -1],
    "damping": [0.1, 0.5, 1.0, 0.0, float("nan")],
    "activation": ["gelu", "silu", "relu", "tanh", "identity"],
    "depthwise": [None, True, False],
    "couplings": ["learned", "identity", "random"],
    "gate": ["none", "learned", "mutual_information"],
    "strength": [0.01, 1.0, 30.0, 1e6],
    "feedback": [0.5, 1.0, 10.0],
    "solver": ["picard", "anderson"],
    "tolerance": [None, 1e-3, 0.5],
    "gradient": ["unrolled", "implicit"],
    "checkpoint": [False, True],
    "stability": ["regularized", "certified", "monitored"],
    "kappa_max": [0.5, 0.95, 1.0],
    "grid": [None, (1, 1), (3, 2), (5,)],
    "sources": [{}, {"click": 1}, {"click": 2, "sensor": 3}, {"click": 0}],
    "token_pool": [False, True],
    "causal": [None, True, False],
    "prefix_tokens": [None, 0, 1],
    "layout": [None, "BCHW", "BNC", "BC"],
    "num_classes": [None, 3],
    "student_hidden": [4],
}
"""By option, values of all kinds; a few of them are not valid."""


class Recurrent(nn.Module):
    """Causal tokens (B, N, C) from layers that return tuples."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.GRU(5, 6, batch_first=True), nn.GRU(6, 6, batch_first=True)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.two(self.one(x)[0])[0].mean(1))


class Attention(nn.Module):
    """Tokens that read each other."""

    def __init__(self) -> None:
        super().__init__()
        block = lambda: nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)  # noqa: E731
        self.blocks, self.head = nn.Sequential(block(), block(), block()), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(x).mean(1))


class LastAxis(nn.Module):
    """Maps with channels last."""

    def __init__(self) -> None:
        super().__init__()
        layer = lambda: nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6), nn.GELU())  # noqa: E731
        self.layers, self.head = nn.Sequential(layer(), layer(), layer()), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x).mean((1, 2)))


NETS: dict[str, tuple[Callable[[], nn.Module], list[str], tuple[int, ...]]] = {
    "maps": (Plain, ["early", "middle", "late"], (3, 8, 8)),
    "skips": (UNet, UNET_TAPS, (3, 8, 8)),
    "causal tokens": (Recurrent, ["one", "two"], (6, 5)),
    "tokens": (Attention, ["blocks.0", "blocks.1", "blocks.2"], (5, 8)),
    "channels last": (LastAxis, ["layers.0", "layers.1", "layers.2"], (4, 3, 6)),
    "mixed": (Mixed, MIXED_TAPS, (3, 8, 8)),
    "features": (lambda: nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4)), ["0", "2"], (5,)),
}

ODD = {"nan": float("nan"), "inf": float("inf"), "huge": 6e4, "astronomic": 1e30, "zero": 0.0}
"""What a sample may be full of; the last but one is infinite in half precision."""


class Case(NamedTuple):
    """One model and one batch."""

    net: str
    options: Options
    seed: int
    spread: float
    odd: str
    dtype: torch.dtype
    batch: int
    training: bool


@st.composite
def cases(draw: st.DrawFn) -> Case:
    names = draw(st.lists(st.sampled_from(sorted(OPTIONS)), max_size=6, unique=True))
    return Case(
        draw(st.sampled_from(sorted(NETS))),
        {name: draw(st.sampled_from(OPTIONS[name])) for name in names},
        draw(st.integers(0, 2**31)),
        draw(st.sampled_from([0.1, 0.5, 3.0])),
        draw(st.sampled_from(sorted(ODD))),
        draw(st.sampled_from([torch.float32, torch.float32, torch.float16, torch.bfloat16, torch.float64])),
        draw(st.sampled_from([0, 1, 3])),
        draw(st.booleans()),
    )


def model_of(case: Case) -> ResonantModel | None:
    """The model of a case with its couplings moved away from their start; None where its options are refused."""
    make, layers, shape = NETS[case.net]
    torch.manual_seed(case.seed)
    net = make().eval().to(case.dtype)
    example = torch.randn(2, *shape, dtype=case.dtype)
    try:
        model = wrap_with_resonance(net, layers, example_input=example, **({"rank": 2, "T": 2} | case.options))
    except ResonanceError as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        assert "\n" not in refusal
        return None
    for parameter in model.trainable_parameters():
        nn.init.normal_(parameter, std=case.spread)
    model.fit_statistics([(torch.randn(8, *shape, dtype=case.dtype), sources_for(model, 8))])
    return model.train(case.training)


def sources_for(model: ResonantModel, batch: int) -> dict[str, Tensor]:
    """A vector for each source of the model."""
    return {name: torch.randn(batch, channels) for name, channels in model.config.sources.items()}


def hold(case: Case) -> None:
    """Nothing but our own errors, no NaN out of finite input, no sample that touches another.

    A sample counts as finite if the bare backbone's answer to it is.
    """
    model = model_of(case)
    if model is None:
        return
    x = torch.randn(case.batch, *NETS[case.net][2], dtype=case.dtype)
    with torch.no_grad(), model.disabled():
        sound = model(x).float().flatten(1).isfinite().all(1) if case.batch else torch.ones(0, dtype=torch.bool)
    sources = sources_for(model, case.batch)
    plain = model(x, sources=sources)
    assert len(plain) == case.batch
    assert plain.dtype == case.dtype
    assert plain[sound].isfinite().all(), "NaN out of finite input"
    if not case.batch:
        return
    odd = x.clone()
    odd[0] = torch.tensor(ODD[case.odd]).to(case.dtype)
    beside = model(odd, sources=sources)
    # another number of samples may take another kernel, whose sums round otherwise
    coarse = 0.1 if case.dtype in (torch.float16, torch.bfloat16) else 1e-3
    scale = plain[sound].float().abs().max().clamp_min(1.0) if sound.any() else 1.0
    others = sound[1:]
    assert (beside[1:][others].float() - plain[1:][others].float()).abs().le(coarse * scale).all(), (
        "a sample touches others"
    )
    if case.training and beside.requires_grad:
        beside[1:][others].float().square().mean().nan_to_num().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.trainable_parameters()), (
            "gradient not finite"
        )
