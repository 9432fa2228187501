"""Registered models of every kind of task, loaded from a real store and asked as a server asks them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from dynaxx import ResonantModel, wrap_with_resonance
from dynaxx.data import LabelledImages, Normalisation, normalise
from dynaxx.deployment import IMAGES, METADATA, Deployed, answers, write_deployment
from dynaxx.evaluation import EvaluationError
from dynaxx.evaluation.arms import ArmRecord
from dynaxx.tasks import Classification, Kind, PromptedSegmentation, Regression, Segmentation
from dynaxx.tracking import register
from dynaxx.training.pretrained import Backbone
from dynaxx.training.small_resnet import SmallResNet

pytest.importorskip("mlflow")
from support.stores import reconcile

MODEL = OmegaConf.create(
    {"network": {"_target_": "dynaxx.training.small_resnet.SmallResNet", "widths": [4, 8, 8], "blocks": 1,
                 "in_channels": None}}
)  # fmt: skip
NORMALISATION = Normalisation((0.5,), (0.25,))
N, SIDE = 4, 16


@dataclass(frozen=True)
class Case:
    """A kind of task with its data, and the model that was trained on them."""

    kind: Kind
    data: LabelledImages
    model: ResonantModel
    folder: Path

    def expected(self, images: torch.Tensor, sources: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
        """The raw outputs of the model in memory."""
        with torch.no_grad():
            x = normalise(images, NORMALISATION)
            return self.model(x, sources=sources) if sources else self.model(x)


def data_of(name: str) -> LabelledImages:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (N, 1, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    mask = (images[:, 0] > 100).to(torch.uint8)
    if name == "numbers":
        return LabelledImages(images, torch.rand(N, 2, generator=generator), ("grain size", "roundness"))
    if name == "masks":
        return LabelledImages(images, mask, ("background", "polyp"))
    if name == "clicks":
        click = torch.rand(N, 1, SIDE, SIDE, generator=generator)
        return LabelledImages(images, mask, ("background", "cell"), sources={"click": click})
    return LabelledImages(images, torch.tensor([0, 1, 2, 1]), ("cat", "dog", "owl"))


KINDS = {
    "classes": Classification(),
    "numbers": Regression("mm"),
    "masks": Segmentation("dice"),
    "clicks": PromptedSegmentation(),
}


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    name: str = request.param
    kind, data = KINDS[name], data_of(name)
    torch.manual_seed(0)
    network = SmallResNet(in_channels=1, num_classes=5, widths=(4, 8, 8), blocks=1).eval().requires_grad_(False)
    x = normalise(data.images, NORMALISATION)
    model = wrap_with_resonance(
        network,
        ["layer2", "layer3"],
        num_classes=kind.outputs(data),
        readout=kind.readout,
        rank=2,
        T=2,
        example_input=x[:1],
        sources={source: given.shape[1] for source, given in data.sources.items()},
    )
    model.fit_statistics([(x, data.labels, data.sources)])
    assert model.head is not None
    if name == "numbers":
        model.head.in_units(torch.tensor([170.0, 2.0]), torch.tensor([10.0, 0.5]))
    torch.nn.init.normal_(model.head.weight)
    torch.nn.init.zeros_(model.head.bias)
    for U in model.require_built().exchange.couplings.U:
        torch.nn.init.normal_(U, std=0.1)
    model.eval()
    arm = tmp_path / "arm"
    model.save_pretrained(arm)
    ArmRecord("explicit", 0, "resonance", list(model.paths), 1, 1, 0.0, 0.5, {}).write(arm)
    folder = tmp_path / "deployment"
    write_deployment(folder, MODEL, Backbone(network, "sum", NORMALISATION, 5), arm, data, kind)
    return Case(kind, data, model, folder)


def served(case: Case, uri: str, artifacts: list[Path]) -> Any:
    """Register the deployment and load it as a server does."""
    import mlflow

    run = reconcile(uri, artifacts, [])
    images: Any = case.data.images[:2].numpy()
    if case.data.sources:
        images = {IMAGES: images} | {name: given[:2].numpy() for name, given in case.data.sources.items()}
    version = register(uri, run, "k", "explicit", case.folder, images, promote=True, tags={})
    mlflow.set_tracking_uri(uri)
    return mlflow.pyfunc.load_model(version)


def close(found: Any, expected: torch.Tensor) -> bool:
    return np.shape(found) == tuple(expected.shape) and np.allclose(np.asarray(found), expected.numpy(), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["numbers"], indirect=True)
def test_a_registered_regressor_answers_in_the_unit_of_its_labels(case: Case, uri: str, artifacts: list[Path]) -> None:
    table = served(case, uri, artifacts).predict(case.data.images.numpy())
    assert list(table.columns) == ["grain size", "roundness"]
    assert close(table, case.expected(case.data.images))
    assert table["grain size"].mean() > 100  # no probability is


@pytest.mark.slow
@pytest.mark.parametrize("case", ["masks"], indirect=True)
def test_a_registered_segmenter_answers_with_maps_of_probabilities(case: Case, uri: str, artifacts: list[Path]) -> None:
    found = served(case, uri, artifacts).predict(case.data.images.numpy())
    assert close(found, case.expected(case.data.images).sigmoid())
    assert found.shape == (N, 1, SIDE, SIDE)
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.slow
@pytest.mark.parametrize("case", ["clicks"], indirect=True)
def test_a_registered_model_with_a_source_is_asked_with_it(case: Case, uri: str, artifacts: list[Path]) -> None:
    model, images, click = served(case, uri, artifacts), case.data.images, case.data.sources["click"]
    found = model.predict({IMAGES: images.numpy(), "click": click.numpy()})
    assert close(found, case.expected(images, {"click": click}).sigmoid())
    other = model.predict({IMAGES: images.numpy(), "click": click.flip(3).numpy()})
    assert not np.allclose(found, other)


@pytest.mark.parametrize("case", list(KINDS), indirect=True)
def test_a_deployment_answers_by_its_kind(case: Case) -> None:
    deployed, images = Deployed(case.folder), case.data.images
    assert deployed.kind == case.kind
    raw = case.expected(images)
    naive = {"classes": raw.softmax(1), "numbers": raw}.get(case.data.kind, raw.sigmoid())
    torch.testing.assert_close(deployed.predict(images), naive)
    assert deployed.metadata.classes == list(case.data.classes)


@pytest.mark.parametrize("case", ["classes"], indirect=True)
def test_a_deployment_of_before_the_kinds_classifies(case: Case) -> None:
    path = case.folder / METADATA
    written = json.loads(path.read_text())
    for name in ("kind", "options", "sources"):
        del written[name]
    path.write_text(json.dumps(written))
    probabilities = Deployed(case.folder).predict(case.data.images)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(N))


@pytest.mark.parametrize("case", ["clicks"], indirect=True)
def test_what_a_deployment_cannot_answer_is_named(case: Case) -> None:
    deployed, images, click = Deployed(case.folder), case.data.images, case.data.sources["click"]
    shape = r"\(4, 1, 16, 16\) and type torch.float32; give uint8 \(B, 1, 16, 16\)"
    for asked, said in (
        ((images.float(), {}), f"images have shape {shape}"),
        ((images, {"touch": click}), "sources: 'touch' is none of the model's: click"),
        ((images, {"click": click[:1]}), r"sources\['click'\] has shape \(1, 1, 16, 16\); give \(4, 1, 16, 16\)"),
    ):
        with pytest.raises(EvaluationError, match=said):
            deployed.predict(*asked)
    with pytest.raises(EvaluationError, match="click is given; give the images under 'images'"):
        answers(deployed, {"click": click.numpy()})
