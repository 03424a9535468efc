"""Weights of the package: half precision, found by name, refused where they would be wrong."""

import pytest
import torch

from sali.errors import WeightsError
from sali.models import shipped
from sali.models.checkpoint import describe, load_network
from sali.models.nodes import instantiate
from scripts.ship_weights import save_half

MODEL = {
    "_target_": "sali.models.image.ImageSegmenter",
    "net": {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 1, "kernel_size": 3},
}


@pytest.fixture
def training(tmp_path):
    """A checkpoint as a training writes it."""
    torch.manual_seed(0)
    network = instantiate(MODEL)
    path = tmp_path / "last.ckpt"
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    about = describe(MODEL, image_size=64, decode="fast", maps="probability")
    torch.save({"state_dict": state, "sali": about}, path)
    return path, network


def test_half_precision_gives_the_network_back_rounded(training, tmp_path):
    path, network = training
    small = tmp_path / "small.safetensors"
    save_half(path, small)
    again, settings = load_network(small)
    assert settings == load_network(path)[1]
    for own, value in zip(network.state_dict().values(), again.state_dict().values(), strict=True):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, own.half().float(), rtol=0, atol=0)
    assert small.stat().st_size < path.stat().st_size
    assert small.stat().st_mode & 0o777 == 0o644  # others may read what a package installs


def test_values_beyond_half_precision_are_refused(training, tmp_path):
    path, _ = training
    content = torch.load(path, weights_only=True)
    content["state_dict"]["network.net.weight"][0] = 1e6
    torch.save(content, path)
    with pytest.raises(WeightsError, match=r"net\.weight"):
        save_half(path, tmp_path / "small.safetensors")


def test_a_name_finds_shipped_weights_and_a_path_comes_first(training, tmp_path, monkeypatch):
    path, _ = training
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "weights")
    (tmp_path / "weights").mkdir()
    save_half(path, tmp_path / "weights/small.safetensors")
    assert shipped.find_checkpoint("small") == tmp_path / "weights/small.safetensors"
    assert shipped.find_checkpoint(path) == path
    with pytest.raises(WeightsError, match="small"):
        shipped.find_checkpoint("smal")


def test_a_damaged_file_is_one_line(training, tmp_path):
    path, _ = training
    small = tmp_path / "small.safetensors"
    save_half(path, small)
    small.write_bytes(small.read_bytes()[:200])
    with pytest.raises(WeightsError, match="truncated"):
        load_network(small)
