"""The loop alone, without backbone, pooling or projections: in torch, as the engine runs it, and in JAX.

Shape suffixes: B batch, P positions of the grid, R message channels.
"""

from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.arms import ITERATIONS, resonant
from benchmarks.bars import Bar, Spread, ratio
from benchmarks.measure import judged, timed
from benchmarks.networks import NETWORKS, Case
from benchmarks.results import ArmResult, Section
from dynaxx.fixed_point.iteration import iterate, picard
from dynaxx.resonance.bottleneck import Grid
from dynaxx.resonance.loop import message_update
from dynaxx.resonance.resonator import Engine

BAR = 1.0


class TorchLoop(nn.Module):
    """`T` damped steps of the engine's loop, starting from the projected anchors.

    >>> c_BPR = TorchLoop(engine, grid, T=5)(p_BPR)

    Args:
        engine: engine without gates.
        grid: positions of the messages.
        T: number of steps.
    """

    def __init__(self, engine: Engine, grid: Grid, T: int) -> None:
        super().__init__()
        self.T, self.damping = T, engine.config.damping
        self.hear = engine.couplings.hearing(engine.feedback_matrix())
        self.phi = partial(engine.phi, grid=grid, response=engine.phi.response())

    def forward(self, p_BPR: Tensor) -> Tensor:
        """The messages c_T, (B, P, R)."""
        first = self.phi(p_BPR)
        update = message_update(p_BPR, self.hear, None, self.phi)
        return iterate(update, first, self.T, self.damping, picard(first, self.damping))


@torch.no_grad()
def loops(engine: Engine, grid: Grid, p_BPR: Tensor) -> tuple[dict[str, nn.Module], list[Bar], dict[str, str]]:
    """Build the loops in torch and JAX, for every number of steps above one.

    >>> models, bars, skipped = loops(engine, grid, p_BPR)

    Returns:
        Name → loop, the bars on their times, and name → reason for each missing loop.

    Raises:
        AssertionError: the messages of torch and JAX differ.
    """
    lengths = [T for T in ITERATIONS if T > 1]
    found: dict[str, nn.Module] = {f"torch T={T}": TorchLoop(engine, grid, T).eval() for T in lengths}
    try:
        from benchmarks.jax_loop import JaxLoop
    except ImportError as error:
        return found, [], {"JAX": str(error)}
    p_BHWR = p_BPR.unflatten(1, grid)
    kernel_R133 = nn.init.dirac_(torch.empty(p_BPR.shape[2], 1, 3, 3), groups=p_BPR.shape[2])  # δ
    if engine.phi.kernel is not None:
        kernel_R133 += engine.phi.kernel
    for T in lengths:
        jax_loop = JaxLoop(p_BHWR, engine.feedback_matrix(), kernel_R133, T, engine.config.damping)
        torch.testing.assert_close(jax_loop(p_BPR).flatten(1, 2), found[f"torch T={T}"](p_BPR), atol=1e-4, rtol=1e-4)
        found[f"JAX T={T}"] = jax_loop.eval()
    return found, [ratio(f"torch T={T}", f"JAX T={T}", BAR) for T in lengths], {}


@torch.no_grad()
def loop_alone(case: Case, budget: float) -> Section:
    """Time all loops in turn; for `budget` see `measure.timed`."""
    x = case.images()
    model = resonant(case.backbone(), x, layers=NETWORKS[case.network].layers, rank=case.rank)
    engine, anchors = model.built(), model.read(x)
    p_BPR = engine.couplings.project([engine.statistics(pooled, tap) for tap, pooled in enumerate(anchors.pooled)])
    models, bars, skipped = loops(engine, anchors.grid, p_BPR)
    seconds = timed(models, p_BPR, budget)
    verdicts, profiles = judged(bars, seconds, models, p_BPR)
    reference = next(iter(models))
    rows = [ArmResult(n, Spread.of(1e3 * times), Spread.of(times / seconds[reference])) for n, times in seconds.items()]
    shape = " × ".join(map(str, p_BPR.shape))
    title = f"the loop alone, {case.title}, {shape} messages"
    return Section(title, reference, len(seconds[reference]), rows, verdicts, skipped, profiles)
