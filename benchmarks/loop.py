"""The loop alone, without backbone, pooling or projections: torch as Dynaxx runs it, against JAX.

Shape suffixes: B batch, P positions of the grid, R message channels.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from benchmarks.arms import ITERATIONS, resonant
from benchmarks.bars import Bar, Spread, ratio
from benchmarks.measure import judged, timed
from benchmarks.networks import NETWORKS, Case
from benchmarks.results import ArmResult, Section
from dynaxx.fixed_point import SolverOptions, solve
from dynaxx.grid import Grid
from dynaxx.resonance import Anchored, Exchange

BAR = 1.0


class TorchLoop(nn.Module):
    """`T` damped steps of the anchored dynamics, from the projected anchors on.

    Args:
        exchange: couplings and bottleneck; no gates are used.
        grid: positions.
        options: solver and number of steps.
    """

    def __init__(self, exchange: Exchange, grid: Grid, options: SolverOptions) -> None:
        super().__init__()
        # kept in a tuple, it is not registered: two loops share it
        self.exchange, self.grid, self.options = (exchange,), grid, options

    def forward(self, p_BPR: Tensor) -> Tensor:
        """The messages c_T, (B, P, R)."""
        return solve(Anchored(self.exchange[0], p_BPR, None, self.grid), self.options)


@torch.no_grad()
def loops(
    exchange: Exchange, options: SolverOptions, grid: Grid, p_BPR: Tensor
) -> tuple[dict[str, nn.Module], list[Bar], dict[str, str]]:
    """The loops by name, torch's and JAX's of every length that is more than one step; their bars; what is missing.

    >>> models, bars, missing = loops(exchange, SolverOptions.of(model.config), grid, p_BPR)
    >>> list(models)
    ['torch T=5', 'torch T=20', 'JAX T=5', 'JAX T=20']

    Raises:
        AssertionError: the messages of torch and JAX differ.
    """
    lengths = [T for T in ITERATIONS if T > 1]
    found: dict[str, nn.Module] = {
        f"torch T={T}": TorchLoop(exchange, grid, replace(options, T=T)).eval() for T in lengths
    }
    try:
        from benchmarks.jax_loop import JaxLoop
    except ImportError as error:
        return found, [], {"JAX": str(error)}
    p_BHWR = p_BPR.unflatten(1, grid)
    kernel_R133 = nn.init.dirac_(torch.empty(p_BPR.shape[2], 1, 3, 3), groups=p_BPR.shape[2])  # δ
    if exchange.phi.kernel is not None:
        kernel_R133 += exchange.phi.kernel
    Gt_RR = exchange.couplings.dense(exchange.feedback_matrix())
    for T in lengths:
        jax_loop = JaxLoop(p_BHWR, Gt_RR, kernel_R133, T, options.damping)
        torch.testing.assert_close(jax_loop(p_BPR).flatten(1, 2), found[f"torch T={T}"](p_BPR), atol=1e-4, rtol=1e-4)
        found[f"JAX T={T}"] = jax_loop.eval()
    return found, [ratio(f"torch T={T}", f"JAX T={T}", BAR) for T in lengths], {}


@torch.no_grad()
def loop_alone(case: Case, budget: float) -> Section:
    """Time all loops in turn; for `budget` see `measure.timed`."""
    x = case.images()
    model = resonant(case.backbone(), x, layers=NETWORKS[case.network].layers, rank=case.rank)
    exchange, anchors = model.require_built().exchange, model.read(x)
    p_BPR = exchange.read(exchange.standardise(anchors.pooled))
    models, bars, skipped = loops(exchange, SolverOptions.of(model.config), anchors.grid, p_BPR)
    seconds = timed(models, p_BPR, budget)
    verdicts, profiles = judged(bars, seconds, models, p_BPR)
    reference = next(iter(models))
    rows = [ArmResult(n, Spread.of(1e3 * times), Spread.of(times / seconds[reference])) for n, times in seconds.items()]
    shape = " × ".join(map(str, p_BPR.shape))
    title = f"the loop alone, {case.title}, {shape} messages"
    return Section(title, reference, len(seconds[reference]), rows, verdicts, skipped, profiles)
