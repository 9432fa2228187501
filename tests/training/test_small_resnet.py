"""The built-in network's head: what it reads of the last map."""

import pytest
import torch
import torch.nn.functional as F

from dynaxx import wrap_with_resonance
from dynaxx.training.small_resnet import SmallResNet


@pytest.mark.parametrize("regions", [1, 2, 4])
def test_the_head_reads_the_means_of_regions(regions):
    torch.manual_seed(0)
    net, x = SmallResNet(3, 1, (4, 6, 8), 1, regions).eval(), torch.randn(5, 1, 16, 16)
    seen = []
    net.layer3.register_forward_hook(lambda module, args, output: seen.append(output))
    answered = net(x)
    naive = F.adaptive_avg_pool2d(seen[0], regions).flatten(1)
    torch.testing.assert_close(answered, net.fc(naive))


def test_couplings_train_from_cached_anchors_in_front_of_such_a_head():
    net, x = SmallResNet(3, 1, (4, 6, 8), 1, 2).eval(), torch.randn(5, 1, 16, 16)
    model = wrap_with_resonance(net, [1, 2, 3], rank=3, num_classes=7, example_input=x)
    model.fit_statistics([x])
    anchors = model.read(x)
    seen, _ = model.refine(anchors)
    torch.testing.assert_close(model.run_tail(seen, model.tail(x)), model(x))
    assert model.head.weight.shape == (7, 32)


def test_regions_that_do_not_divide_the_map_are_refused():
    with pytest.raises(RuntimeError, match="unflatten"):
        SmallResNet(3, 1, (4, 6, 8), 1, 3)(torch.randn(1, 1, 16, 16))
