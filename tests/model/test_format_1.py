"""Adapters that the version before saved, with one matrix per coupling: read, and as good as they were."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.nets import Plain

from dynaxx import ResonanceError, load_resonance

STORED = Path(__file__).with_name("format-1")
NAMES = sorted(folder.name for folder in STORED.iterdir() if folder.is_dir())


@pytest.fixture
def backbone() -> Plain:
    network = Plain().eval()
    network.load_state_dict({n: t for n, t in load_file(STORED / "backbone.safetensors").items() if n != "images"})
    return network


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_of_format_1_gives_its_logits_and_is_saved_in_format_2(name, backbone, tmp_path):
    images, expected = load_file(STORED / "backbone.safetensors")["images"], load_file(STORED / "logits.safetensors")
    model = load_resonance(backbone, STORED / name).eval()
    with torch.no_grad():
        assert not torch.allclose(model.posthoc(images).own[:, :4], expected[name][:, :4], atol=1e-4)
        torch.testing.assert_close(model(images), expected[name], rtol=1e-5, atol=1e-5)
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "resonance.json").read_text())["format"] == "dynaxx-resonance-2"
    again = load_resonance(model.remove(), tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(images), expected[name], rtol=1e-5, atol=1e-5)


def test_couplings_of_format_1_start_another_model(backbone, tmp_path):
    stored = load_resonance(backbone, STORED / "explicit")
    other = load_resonance(stored.remove(), STORED / "explicit")
    torch.nn.init.zeros_(other.require_built().exchange.couplings.U[2])
    other.start_from(STORED / "explicit")
    written = [model.require_built().exchange.couplings.U[2] for model in (other, stored)]
    assert torch.equal(*written)


@pytest.mark.parametrize("missing", ["taps", "built_T"])
def test_an_incomplete_description_of_format_1_is_one_clear_line(missing, backbone, tmp_path):
    shutil.copytree(STORED / "explicit", tmp_path / "copy")
    file = tmp_path / "copy" / "resonance.json"
    description = json.loads(file.read_text())
    description[missing] = None
    file.write_text(json.dumps(description))
    with pytest.raises(ResonanceError, match="resonance"):
        load_resonance(backbone, tmp_path / "copy")
