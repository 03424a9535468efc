"""Loading weights: what fills, what is reported, what is refused."""

import logging

import pytest
import timm
import torch
from conftest import SMALL, small_network

from sali.errors import WeightsError
from sali.models.backbone import Backbone
from sali.models.weights import load_backbone, load_network, read_file, start_from


def saved(path, network, **changes):
    """A file as ``sali.train`` writes it."""
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": state, "sali": {"network": {**SMALL, **changes}}}, path)
    return path


def test_released_checkpoint_with_and_without_module_prefix(released_checkpoint, tmp_path):
    plain, settings = load_network(released_checkpoint)
    assert settings == {}
    assert plain.backbone.name == "pvt_v2_b5"
    prefixed = tmp_path / "prefixed.pth"
    torch.save({f"module.{n}": t for n, t in read_file(released_checkpoint).items()}, prefixed)
    other, _ = load_network(prefixed)
    for (name, one), two in zip(
        plain.state_dict().items(), other.state_dict().values(), strict=True
    ):
        assert torch.equal(one, two), name


def test_released_checkpoint_that_lacks_a_tensor(released_checkpoint, tmp_path):
    state = read_file(released_checkpoint)
    del state["nlnet.conv1.conv.weight"]
    torch.save(state, tmp_path / "lacking.pth")
    with pytest.raises(WeightsError, match=r"1 missing \(fusion.squeeze.0.conv.weight\)"):
        load_network(tmp_path / "lacking.pth")


def test_own_checkpoint(tmp_path):
    network = small_network()
    loaded, settings = load_network(saved(tmp_path / "own.ckpt", network))
    assert settings["network"] == SMALL
    assert not loaded.training
    for (name, one), two in zip(
        network.state_dict().items(), loaded.state_dict().values(), strict=True
    ):
        assert torch.equal(one, two), name


def test_files_that_are_no_checkpoints(tmp_path):
    with pytest.raises(WeightsError, match="no checkpoint at"):
        load_network(tmp_path / "absent.ckpt")
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_network(tmp_path / "text.ckpt")
    torch.save({"epoch": 3}, tmp_path / "other.ckpt")
    with pytest.raises(WeightsError, match="neither a checkpoint of sali.train"):
        load_network(tmp_path / "other.ckpt")
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(WeightsError, match="wanted a dictionary"):
        load_network(tmp_path / "list.ckpt")


class Danger:
    """Unpickling this would run code."""

    def __reduce__(self):
        return print, ("ran",)


def test_code_in_a_file_is_not_run(tmp_path, capsys):
    torch.save({"x": Danger()}, tmp_path / "danger.ckpt")
    with pytest.raises(WeightsError, match="pickled objects"):
        load_network(tmp_path / "danger.ckpt")
    assert "ran" not in capsys.readouterr().out


def test_two_stage_start_names_the_new_parts(tmp_path, caplog):
    single = small_network(long_term=False, align_kernel=None)
    path = saved(tmp_path / "single.ckpt", single)
    full = small_network()
    with caplog.at_level(logging.INFO):
        report = start_from(full, path)
    assert "trained from scratch: fusion, long_term, short_term" in caplog.text
    assert len(report.loaded) == len(single.state_dict())
    torch.testing.assert_close(full.decoder.coarse.score.weight, single.decoder.coarse.score.weight)
    with pytest.raises(WeightsError, match="cannot start"):
        start_from(single, saved(tmp_path / "full.ckpt", full))


def original_pvt_names(state):
    """Timm's names back to those of the PVTv2 authors' files."""
    import re

    renamed = {}
    for name, tensor in state.items():
        name = re.sub(r"^patch_embed\.", "patch_embed1.", name)
        name = re.sub(r"^stages\.(\d)\.downsample", lambda m: f"patch_embed{int(m[1]) + 1}", name)
        name = re.sub(r"^stages\.(\d)\.blocks", lambda m: f"block{int(m[1]) + 1}", name)
        name = re.sub(r"^stages\.(\d)\.norm", lambda m: f"norm{int(m[1]) + 1}", name)
        renamed[name.replace("mlp.dwconv", "mlp.dwconv.dwconv")] = tensor
    return renamed


@pytest.mark.parametrize("original", [False, True])
def test_backbone_from_a_file_of_timm_or_original_names(tmp_path, original):
    full = timm.create_model("pvt_v2_b0")
    state = full.state_dict()
    torch.save(original_pvt_names(state) if original else state, tmp_path / "b0.pth")
    backbone = Backbone("pvt_v2_b0")
    report = load_backbone(backbone, str(tmp_path / "b0.pth"))
    assert report.complete
    assert sorted(report.unexpected) == ["head.bias", "head.weight"]
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = full.eval().forward_intermediates(image, intermediates_only=True)[-1]
        torch.testing.assert_close(backbone.eval()(image)[-1], expected)


def test_incomplete_or_foreign_backbone_files_are_refused(tmp_path):
    state = timm.create_model("pvt_v2_b0").state_dict()
    del state["stages.2.norm.weight"]
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(WeightsError, match="not completely filled.*stages.2.norm.weight"):
        load_backbone(Backbone("pvt_v2_b0"), str(tmp_path / "part.pth"))
    with pytest.raises(WeightsError, match="mismatched"):
        load_backbone(Backbone("pvt_v2_b1"), str(tmp_path / "part.pth"))


def test_efficientnet_lite0_from_its_package():
    backbone = Backbone("tf_efficientnet_lite0")
    before = backbone.features.model.blocks[2][0].conv_dw.weight.clone()
    report = load_backbone(backbone, "package:efficientnet_lite0")
    assert len(report.loaded) == len(backbone.features.model.state_dict())
    assert not torch.equal(before, backbone.features.model.blocks[2][0].conv_dw.weight)
    with pytest.raises(WeightsError, match="by order do not fit"):
        load_backbone(Backbone("resnet18"), "package:efficientnet_lite0")
