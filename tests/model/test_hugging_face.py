"""Models and batches as Hugging Face has them, from statistics to generated text."""

import copy
import threading

import pytest
import torch
import transformers
from support.nets import trained_like
from transformers import (
    BatchEncoding,
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
)

from dynaxx import ResonanceError, load_resonance, wrap_with_resonance

transformers.logging.set_verbosity_error()
IDS = torch.arange(3, 27).view(3, 8)
MASK = torch.ones(3, 8, dtype=torch.long)
MASK[1, 5:] = 0
BATCH = {"input_ids": IDS, "attention_mask": MASK}


def bert(kind=BertForSequenceClassification, **options):
    torch.manual_seed(0)
    size = {"vocab_size": 40, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    return kind(BertConfig(num_hidden_layers=3, num_labels=3, **size, **options)).eval()


def gpt2():
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=40, n_embd=16, n_layer=3, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=39)
    return GPT2LMHeadModel(config).eval()


def wrapped(net, **options):
    options = {"T": 2, "rank": 3, "example_input": BATCH} | options
    return trained_like(wrap_with_resonance(net, [1, 2], **options)).eval()


def means(model):
    return [model.resonator.exchange.statistics.mean(tap).clone() for tap in range(2)]


FORMS = {
    "dict": {**BATCH, "labels": torch.tensor([0, 1, 2])},
    "encoding": BatchEncoding({**BATCH, "labels": torch.tensor([0, 1, 2])}),
    "pair": (BATCH, torch.tensor([0, 1, 2])),
    "pair of an encoding": [BatchEncoding(BATCH), torch.tensor([[0], [1], [2]])],
}


@pytest.mark.parametrize("name", FORMS)
def test_batches_of_every_form_give_the_same_statistics_and_score(name):
    model = wrapped(bert(), example_input=BatchEncoding(BATCH), num_classes=3)
    model.fit_statistics([BATCH])
    expected, features = means(model), model.head.mean.clone()
    trained_like(model).fit_statistics([FORMS[name]])
    for one, other in zip(means(model), expected, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(model.head.mean, features)
    report = model.calibrate([FORMS[name]])
    with torch.no_grad():  # calibration may have changed T
        best = model(**BATCH).logits.argmax(1)
    assert report.score == pytest.approx(float((best == torch.tensor([0, 1, 2])).float().mean()))
    assert report.metric == "accuracy"


def test_padding_does_not_count():
    net = bert(BertForTokenClassification)
    model = wrapped(net, num_classes=4)
    model.fit_statistics([BATCH])
    with torch.no_grad():
        hidden = net.bert(**BATCH, output_hidden_states=True).hidden_states
    for tap, mean in enumerate(means(model)):
        torch.testing.assert_close(mean, hidden[tap + 1][MASK.bool()].mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.head.mean, hidden[3][MASK.bool()].mean(0), rtol=1e-4, atol=1e-5)
    whole = wrapped(bert(BertForTokenClassification))
    whole.fit_statistics([(IDS, None)])
    assert not torch.allclose(means(whole)[0], means(model)[0], atol=1e-4)


def test_a_new_heads_loss_is_of_its_own_number_of_classes():
    model = wrapped(bert(), num_classes=5)
    labels = torch.tensor([4, 3, 0])
    output = model(**BATCH, labels=labels)
    torch.testing.assert_close(output.loss, torch.nn.functional.cross_entropy(output.logits, labels))
    assert next(iter(output)) == "loss"
    torch.testing.assert_close(model(**BATCH, labels=labels, return_dict=False)[0], output.loss)
    output.loss.backward()
    several = torch.randint(2, (3, 5)).float()
    output = model(**BATCH, labels=several)
    torch.testing.assert_close(
        output.loss, torch.nn.functional.binary_cross_entropy_with_logits(output.logits, several)
    )
    with pytest.raises(ResonanceError, match="one label for each row"):
        model(**BATCH, labels=torch.tensor([1, 2]))
    with pytest.raises(ResonanceError, match="one number for each logit"):
        model(**BATCH, labels=torch.zeros(3, 3))
    tokens = wrapped(bert(BertForTokenClassification), num_classes=6)
    labels = torch.full((3, 8), -100)
    labels[:, 2] = 5
    output = tokens(**BATCH, labels=labels)
    torch.testing.assert_close(output.loss, torch.nn.functional.cross_entropy(output.logits[:, 2], labels[:, 2]))


def test_without_a_new_head_the_loss_is_the_models_own():
    model = wrapped(bert())
    output = model(**BATCH, labels=torch.tensor([0, 1, 2]))
    torch.testing.assert_close(output.loss, torch.nn.functional.cross_entropy(output.logits, torch.tensor([0, 1, 2])))
    language = wrapped(gpt2(), num_classes=7)
    with pytest.raises(ResonanceError, match="compute it from the logits"):
        language(input_ids=IDS, labels=IDS)


def test_language_models_are_judged_by_the_next_token():
    model = wrapped(gpt2())
    with torch.no_grad():
        model.backbone.lm_head.weight.copy_(torch.randn(40, 16))
    report = model.calibrate([{"input_ids": IDS, "labels": IDS}])
    with torch.no_grad():  # calibration may have changed T
        right = (model(input_ids=IDS).logits[:, :-1].argmax(-1) == IDS[:, 1:]).float().mean()
    assert report.score == pytest.approx(float(right))


def greedy(model, ids, steps):
    for _ in range(steps):
        with torch.no_grad():
            ids = torch.cat([ids, model(input_ids=ids, use_cache=False).logits[:, -1:].argmax(-1)], 1)
    return ids


OPTIONS = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
LAST = IDS[:, :4]


@pytest.mark.parametrize("options", [{}, {"depthwise": False}, {"gate": "learned", "depthwise": False}], ids=str)
def test_generated_text_is_that_of_a_naive_loop(options):
    model = wrapped(gpt2(), **options)
    expected = greedy(model, LAST, 5)
    assert torch.equal(model.generate(LAST, **OPTIONS), expected)
    given = GenerationConfig(**OPTIONS)
    before = copy.deepcopy(given)
    assert torch.equal(model.generate(LAST, generation_config=given), expected)
    assert given == before
    with model.disabled():
        assert torch.equal(model.generate(LAST, **OPTIONS), model.backbone.generate(LAST, **OPTIONS))
    assert "forward" not in vars(model.backbone)
    if options == {"depthwise": False}:
        assert torch.equal(model.generate(LAST, use_cache=True, **OPTIONS), expected)
    else:
        for asked in ({"use_cache": True}, {"cache_implementation": "static"}):
            with pytest.raises(ResonanceError, match="with a key/value cache") as caught:
                model.generate(LAST, **asked, **OPTIONS)
            assert "\n" not in str(caught.value)


def test_generation_with_the_cache_runs_one_token_a_step():
    model, lengths = wrapped(gpt2(), depthwise=False), []
    model.backbone.transformer.h[0].register_forward_hook(lambda module, args, output: lengths.append(args[0].shape[1]))
    model.generate(LAST, **OPTIONS)
    assert lengths == [4, 1, 1, 1, 1]


def test_another_thread_generates_with_the_bare_backbone():
    model, found = wrapped(gpt2()), []
    bare, expected = model.backbone.generate(LAST, **OPTIONS), greedy(model, LAST, 5)
    threads = [
        threading.Thread(target=lambda: found.append(torch.equal(model.generate(LAST, **OPTIONS), expected))),
        threading.Thread(target=lambda: found.append(torch.equal(model.backbone.generate(LAST, **OPTIONS), bare))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True, True]


def test_what_cannot_generate_says_so():
    with pytest.raises(ResonanceError, match="BertForSequenceClassification has none"):
        wrapped(bert()).generate(IDS)


@pytest.mark.parametrize("readout", ["mean", "moments", "map"])
def test_a_head_on_the_taps_of_an_encoder(readout, tmp_path):
    model = wrapped(bert(), mode="direct", readout=readout, num_classes=2)
    model.fit_statistics([BATCH])
    with torch.no_grad():
        output = model(**BATCH)
        assert output.shape == ((3, 2, 8) if readout == "map" else (3, 2))
        anchors, tail = model.read(**BATCH), model.tail(BATCH)
        again = model.run_tail(model.refine(anchors)[0], tail, anchors.outside)
        torch.testing.assert_close(again, output, rtol=1e-5, atol=1e-5)
        alone = model(input_ids=IDS[1:2], attention_mask=MASK[1:2])
        torch.testing.assert_close(alone, output[1:2], rtol=1e-5, atol=1e-5)
        model.save_pretrained(tmp_path)
        assert torch.equal(load_resonance(copy.deepcopy(model.backbone), tmp_path)(**BATCH), output)
    model.train()(**BATCH).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.trainable_parameters() if p.numel())
