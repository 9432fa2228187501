"""What is switched belongs to the thread that switched it, and to its block alone."""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import torch
from support.nets import PLAIN_TAPS, Plain, images, trained_like, wrapped
from torch import nn

from dynaxx import ResonanceError, ResonanceWarning, ResonantModel, wrap_with_resonance


@pytest.fixture
def model(plain) -> ResonantModel:
    return trained_like(wrapped(plain, num_classes=3)).eval()


@pytest.fixture
def busy() -> Iterator[None]:
    """Threads take turns after every few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(work: Callable[[int], bool], threads: int = 8, calls: int = 40) -> int:
    """How many calls of `work(thread)` were wrong or failed, all threads at once."""
    wrong: list[object] = []
    start = threading.Barrier(threads)

    def run(number: int) -> None:
        start.wait()
        for _ in range(calls):
            try:
                if not work(number):
                    wrong.append(number)
            except Exception as error:
                wrong.append(error)

    runners = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    return len(wrong)


def test_threads_that_mix_every_call_get_what_belongs_to_theirs(model, busy):
    backbone = model.backbone
    x = [images(batch=2) for _ in range(8)]
    x[6][0] = float("nan")
    other = [images(batch=2) for _ in range(8)]
    with torch.no_grad():
        own, refined = [backbone(part) for part in x], [model(part) for part in x]
        anchors = [model.read(part).pooled[0] for part in x]
        with model.override(T=1):
            once = [model(part) for part in x]
        with model.ablated([0, 3]):
            without = [model(part) for part in x]

    def same(one: torch.Tensor, expected: torch.Tensor) -> bool:
        return one.shape == expected.shape and torch.allclose(one, expected, atol=1e-5, equal_nan=True)

    def posthoc(n: int) -> bool:
        pair = model.posthoc(x[n])
        return same(pair.own, own[n]) and same(pair.refined, refined[n])

    def traced(n: int) -> bool:
        with model.tracing():
            model(other[n])
        return model.trace is not None and model.trace.residual.shape[2] == 2

    def disabled(n: int) -> bool:
        with model.disabled():
            return same(model(x[n]), own[n])

    def overridden(n: int) -> bool:
        with model.override(T=1):
            return same(model(x[n]), once[n])

    def ablated(n: int) -> bool:
        with model.ablated([0]), model.ablated([3]):
            return same(model(x[n]), without[n])

    def fallback(n: int) -> bool:
        with model.observed() as outputs:
            model(x[n])
        expected = [n == 6, False]
        return model.fallback.tolist() == outputs[0].fallback.tolist() == expected and model.trace is None

    kinds = [
        lambda n: same(model(x[n]), refined[n]),
        lambda n: same(backbone(x[n]), own[n]),
        posthoc,
        traced,
        disabled,
        overridden,
        ablated,
        lambda n: fallback(n) and torch.allclose(model.read(x[n]).pooled[0], anchors[n], equal_nan=True),
    ]
    count = iter(range(10**9))

    def mixed(n: int) -> bool:
        with torch.no_grad():
            return kinds[(next(count) + n) % len(kinds)](n)

    assert in_threads(mixed) == 0
    assert not backbone._modules["late"]._forward_hooks
    with torch.no_grad():
        assert same(model(x[0]), refined[0])  # and nothing stays switched afterwards


@pytest.mark.parametrize("switch", ["disabled", "tracing", "observed", "override", "ablated"])
def test_blocks_that_overlap_leave_nothing_behind(model, switch):
    """The first to begin ends first: a value that was kept and put back would stay for good."""
    x, arguments = images(), {"override": {"T": 1}, "ablated": {"couplings": range(6)}}.get(switch, {})
    with torch.no_grad():
        expected = model(x)
    one, two, end = threading.Event(), threading.Event(), threading.Event()
    leftovers: list[bool] = []

    def first() -> None:
        with getattr(model, switch)(**arguments):
            one.set()
            two.wait()
        end.set()

    def second() -> None:
        one.wait()
        with getattr(model, switch)(**arguments):
            two.set()
            end.wait()
        with torch.no_grad():
            leftovers.append(not torch.equal(model(x), expected))

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with torch.no_grad():
        assert torch.equal(model(x), expected)
    assert model.trace is None
    assert leftovers == [False]


def test_a_block_of_one_model_is_none_of_anothers(model):
    x, other = images(), trained_like(wrapped(Plain().eval())).eval()
    with torch.no_grad():
        expected = other(x)
        with model.disabled(), model.override(T=1), model.observed() as outputs:
            assert torch.equal(other(x), expected)
    assert not outputs


def test_a_model_that_was_built_with_one_iteration_says_what_it_lacks(plain):
    model = wrapped(plain, T=1)
    assert len(model.require_built().exchange.couplings.pairs) == 2
    line = "T=6: the model was built with T=1, for which 4 couplings were pruned.*wrap again with T=2 or more"
    with pytest.warns(ResonanceWarning, match=line):
        model.T = 6
    with pytest.warns(ResonanceWarning, match=line), model.override(T=6):
        pass
    model.T = 1
    wrapped(Plain().eval(), T=2).T = 6  # nothing was pruned: no warning


def test_there_is_one_configuration(model):
    model.T = 9
    holders = [module for module in model.modules() if hasattr(module, "config")]
    assert {holder.config.T for holder in holders} == {9}
    assert all(holder.config is model.config for holder in holders)
    with torch.no_grad(), model.tracing():
        model(images())
    assert len(model.trace.residual) == 9


def test_overridden_options_are_those_of_the_block_and_are_checked(model):
    x = images()
    with torch.no_grad(), model.tracing():
        with model.override(T=20, solver="anderson", tolerance=0.5), model.override(T=7):
            assert (model.T, model.config.solver, model.config.tolerance) == (7, "anderson", 0.5)
            model(x)
            assert len(model.trace.residual) == 7
        assert (model.T, model.config.solver, model.config.tolerance) == (3, "picard", None)
    for options, line in (
        ({"rank": 3}, r"override\(rank=3\): only T, mode, solver, tolerance can be overridden"),
        ({"T": 0}, "T=0: give a whole number of at least 1"),
        ({"solver": "newton"}, "solver='newton'"),
    ):
        with pytest.raises(ResonanceError, match=line), model.override(**options):
            raise AssertionError("unreachable")
    with pytest.raises(ResonanceError, match="no student"), model.override(mode="implicit"):
        model(x)


def test_causal_models_refuse_what_would_leak_the_future_in_a_block_too():
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(11, 6)
            self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.two(torch.tanh(self.one(self.embed(ids))))

    ids = torch.arange(10).view(2, 5)
    model = wrap_with_resonance(Tokens(), ["one", "two"], rank=2, causal=True, example_input=ids)
    with pytest.raises(ResonanceError, match="solver='anderson'"), model.override(solver="anderson"):
        raise AssertionError("unreachable")


def test_an_error_in_a_block_ends_the_block(model):
    blocks = (model.disabled, model.tracing, model.observed, lambda: model.override(T=1), lambda: model.ablated([0]))
    x = images()
    with torch.no_grad():
        expected = model(x)

    def fail() -> None:
        with ExitStack() as stack:
            for block in blocks:
                stack.enter_context(block())
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fail()
    with torch.no_grad():
        assert torch.equal(model(x), expected)


def test_a_copy_has_switches_of_its_own(model):
    import copy

    twin = copy.deepcopy(model)
    with model.disabled(), torch.no_grad():
        assert model(images()).shape == (3, 5)
        assert twin(images()).shape == (3, 3)


def test_taps_are_named_in_the_order_of_the_pass(plain):
    assert wrapped(plain).paths == tuple(PLAIN_TAPS)


def test_tasks_and_threads_that_start_from_a_used_context_keep_their_own_pass(model):
    good, bad = images(batch=2), images(batch=2)
    bad[0] = float("nan")
    with torch.no_grad():
        model(good)  # the context that they copy has a pass of its own
    turn = {}

    async def task(name: str, x: torch.Tensor) -> list[bool]:
        with torch.no_grad():
            model(x)
        turn[name].set()
        await asyncio.gather(*(event.wait() for event in turn.values()))  # both have run before either reads
        return model.fallback.tolist()

    async def both() -> list[list[bool]]:
        turn.update(bad=asyncio.Event(), good=asyncio.Event())
        return await asyncio.gather(task("bad", bad), task("good", good))

    assert asyncio.run(both()) == [[True, False], [False, False]]

    async def threads() -> list[bool]:
        with torch.no_grad():
            model(good)
            await asyncio.to_thread(model, bad)
        return model.fallback.tolist()

    assert asyncio.run(threads()) == [False, False]


def test_a_compiled_pass_records_what_an_eager_one_does(model):
    torch._dynamo.reset()
    fast = torch.compile(model, fullgraph=True, backend="eager")
    bad = images(batch=2)
    bad[1] = float("nan")
    found = []

    def run() -> None:
        with torch.no_grad():
            for x in (bad, images(batch=2)):
                fast(x)
                found.append(model.fallback.tolist())

    thread = threading.Thread(target=run)  # a context without an eager pass
    thread.start()
    thread.join()
    with torch.no_grad():
        model(images(batch=2))
    run()
    assert found == [[False, True], [False, False]] * 2


@pytest.mark.parametrize("couplings", [[99], [-1], [0.5], [True], ["late"], [None]])
def test_couplings_that_do_not_exist_are_refused_before_the_block(model, couplings):
    with (
        pytest.raises(ResonanceError, match=r"ablated\(.*\): give numbers of couplings, 0 to 5"),
        model.ablated(couplings),
    ):
        raise AssertionError("unreachable")


def test_a_folded_loop_has_no_couplings_to_ablate(plain):
    model = wrapped(plain, activation="identity", depthwise=False)
    model.fold()
    with pytest.raises(ResonanceError, match="mode='folded' is one matrix"), model.ablated([0]):
        raise AssertionError("unreachable")


def test_what_a_block_overrides_is_not_set_within_it(model):
    with model.override(T=2):
        with pytest.raises(ResonanceError, match="T=8: a block overrides T"):
            model.T = 8
        model.mode = "explicit"
    assert model.T == 3
