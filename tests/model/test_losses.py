"""The losses beside the task's, in the user's own loop as in the pipeline's."""

import pytest
import torch
from support.checks import in_threads
from support.nets import Plain, images, trained_like, wrapped
from torch.nn.functional import cross_entropy

from dynaxx import ResonanceError, ResonanceOutput
from dynaxx.tasks import Classification
from dynaxx.training.finetune_module import FinetuneModule
from dynaxx.training.resonance_module import ResonanceModule

Y = torch.tensor([0, 1, 2, 0])


def model(**options):
    torch.manual_seed(0)
    made = trained_like(wrapped(Plain().eval(), num_classes=3, **options)).train()
    made.fit_statistics([images(batch=8)])
    return made


def observed(made, x):
    with made.observed() as outputs:
        loss = cross_entropy(made(x), Y[: len(x)])
    return loss, outputs


OPTIONS = [
    {},
    {"stability": "certified"},
    {"gate": "mutual_information"},
    {"mode": "hybrid"},
    {"mode": "hybrid", "gate": "mutual_information", "stability": "monitored"},
    {"mode": "implicit"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_users_loop_and_the_pipelines_have_one_loss(options):
    made, x = model(**options), images(batch=4)
    loss, outputs = observed(made, x)
    loss = loss + made.penalty(outputs, weight=0.5, share=0.5)
    module = ResonanceModule(made, Classification(), lr=0.1, residual_penalty=0.5, residual_share=0.5)
    module.log = lambda *_, **__: None
    torch.testing.assert_close(module.loss(x, Y), loss)
    (output,) = outputs
    by_hand = 0.0
    if options.get("stability", "regularized") == "regularized" and options.get("mode") != "implicit":
        by_hand = by_hand + 0.5 * output.residual(2).mean()
    if output.extra_loss is not None:
        by_hand = by_hand + output.extra_loss
    torch.testing.assert_close(made.penalty(outputs, weight=0.5, share=0.5), torch.as_tensor(by_hand))


def test_the_weight_of_a_head_adds_its_penalty():
    made, x = model(), images(batch=4)
    without, with_it, tuned = (
        ResonanceModule(made, Classification(), lr=0.1),
        ResonanceModule(made, Classification(), lr=0.1, head_penalty=0.25),
        FinetuneModule(made, Classification(), lr=0.1, weight_decay=0.0, freeze_norm=True, head_penalty=0.25),
    )
    for module in (without, with_it, tuned):
        module.log = lambda *_, **__: None
    squares = made.head.weight.square().sum()
    torch.testing.assert_close(with_it.loss(x, Y) - without.loss(x, Y), 0.25 * squares)
    entropy = torch.nn.functional.cross_entropy(made(x), Y)
    torch.testing.assert_close(tuned.training_step((x, Y), 0) - entropy, 0.25 * squares)


def test_parts_of_a_batch_add_up_to_its_gradient():
    made, x = model(), images(batch=4)

    def gradient(parts):
        made.zero_grad()
        for part, y in zip(x.chunk(parts), Y.chunk(parts), strict=True):
            with made.observed() as outputs:
                loss = cross_entropy(made(part), y)
            ((loss + made.penalty(outputs)) / parts).backward()
        return [p.grad.clone() for p in made.trainable_parameters() if p.grad is not None]

    for one, other in zip(gradient(1), gradient(2), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_several_passes_of_one_block_are_summed():
    made, x = model(), images(batch=2)
    with made.observed() as outputs:
        made(x)
        made(x)
    torch.testing.assert_close(made.penalty(outputs), 2 * made.penalty(outputs[:1]))


def test_every_thread_has_the_penalty_of_its_own_pass():
    made = model()
    batches = [images(batch=2) * 3**n for n in range(4)]
    expected = [float(made.penalty(observed(made, x)[1])) for x in batches]
    wrong = []

    def work(number):
        for _ in range(5):
            found = float(made.penalty(observed(made, batches[number])[1]))
            if found != pytest.approx(expected[number], rel=1e-4):
                wrong.append(number)

    in_threads(work, range(4))
    assert wrong == []


def test_a_batch_without_samples_has_no_penalty():
    made = model()
    with made.observed() as outputs:
        made(images(batch=2)[:0])
    assert made.penalty(outputs) == 0


def test_what_cannot_be_is_one_line():
    made = model()
    with pytest.raises(ResonanceError, match="no pass was observed"):
        made.penalty([])
    _, outputs = observed(made, images(batch=2))
    for options in ({"share": 0}, {"share": 1.5}, {"weight": -1}):
        with pytest.raises(ResonanceError, match="share"):
            made.penalty(outputs, **options)
    assert made.penalty([ResonanceOutput([torch.zeros(2, 4, 3)])]) == 0
    compiled = torch.compile(made, fullgraph=True, backend="eager")
    with pytest.raises(Exception, match="call the model, not the compiled one"), made.observed():
        compiled(images(batch=2))
