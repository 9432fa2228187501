"""A loop that ran away is said once, with the share of samples, and ends a training in which nothing is learned."""

import copy
import warnings

import torch
from support.nets import Plain, images, trained_like, wrapped

from dynaxx import ResonanceWarning
from dynaxx.model.runaway import EVERY, RunawayWatch


def runaway(**options):
    model = trained_like(wrapped(Plain().eval(), activation="identity", T=40, depthwise=False, **options))
    model.fit_statistics([images(batch=8)])
    with torch.no_grad():
        for parameter in model.resonator.exchange.couplings.parameters():
            parameter.mul_(100.0)
    return model


def said(run, times=3):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(times):
            run()
    return [str(warning.message) for warning in caught if issubclass(warning.category, ResonanceWarning)]


def test_in_training_it_is_said_once_with_the_share_and_what_would_do():
    model = runaway().train()
    (line,) = said(lambda: model(images(batch=4)))
    assert "4 of 4 samples (100%)" in line
    assert "learning rate" in line
    assert "strength" in line
    assert said(lambda: model.eval()(images())) == []


def test_in_inference_it_is_said_once_too():
    model = runaway().eval()
    with torch.no_grad():
        (line,) = said(lambda: model(images()))
    assert "3 of 3" in line
    assert "gradient" not in line


def test_a_few_samples_first_and_all_of_them_later_are_two_lines():
    model = trained_like(wrapped(Plain().eval())).train()
    model.fit_statistics([images(batch=8)])
    spoilt = images(batch=4)
    spoilt[2] *= 1e12
    (line,) = said(lambda: model(spoilt))
    assert "1 of 4 samples (25%)" in line
    with torch.no_grad():
        for parameter in model.resonator.exchange.couplings.parameters():
            parameter.fill_(1e20)
    (line,) = said(lambda: model(images(batch=4)))
    assert "4 of 4" in line


def test_inputs_that_are_not_finite_are_no_loop_that_ran_away():
    model = trained_like(wrapped(Plain().eval()))
    model.fit_statistics([images(batch=8)])
    assert said(lambda: model.train()(images() * float("nan"))) == []


def test_a_compiled_pass_is_said_when_the_mode_changes():
    model = runaway()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        assert said(lambda: compiled(images())) == []
    assert len(said(model.train)) == 1


def test_a_copy_watches_on_its_own():
    model = runaway()
    twin = copy.deepcopy(model)
    assert len(said(lambda: model(images()))) == len(said(lambda: twin(images()))) == 1


def test_on_an_accelerator_the_looks_are_few():
    class Mask:
        is_meta, device = False, torch.device("cuda")

    watch = RunawayWatch()
    looked = []
    for number in range(1, 4 * EVERY):
        watch.passes = number
        looked += [number] if watch._may_look(Mask(), learning=False) else []
    assert looked == [1, 2, 4, 8, 16, 32, 64, 128, 192]
    assert watch._may_look(Mask(), learning=True)
