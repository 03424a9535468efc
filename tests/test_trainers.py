"""Every trainer file takes real optimizer steps, with its own precision and clipping."""

from pathlib import Path

import pytest
import torch
import yaml
from lightning import Callback
from lightning.pytorch.plugins.precision import MixedPrecision
from miniature import ROOT, run

from sali.errors import UserError
from sali.models.weights import read_file

TRAINERS = {file.stem: yaml.safe_load(file.read_text()) for file in ROOT.glob("configs/trainer/*")}


class Norms(Callback):
    """Gradient norms after clipping, step by step."""

    seen: list[float] = []  # noqa: RUF012  (the class is built by a configuration)

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        gradients = [p.grad for p in task.parameters() if p.grad is not None]
        self.seen.append(float(torch.nn.utils.get_total_norm(gradients)))


def steps(data_root, output: Path, *more: str) -> list[float]:
    Norms.seen = []
    given = [
        "trainer.limit_train_batches=2",
        "trainer.max_epochs=1",
        "+trainer.limit_val_batches=1",
    ]
    callback = "+callbacks.norms._target_=test_trainers.Norms"
    run(data_root, output, *given, "memory=none", "align=none", callback, *more)
    assert read_file(output / "checkpoints/last.ckpt")["global_step"] == 2
    return Norms.seen


@pytest.mark.parametrize("name", sorted(TRAINERS))
def test_two_steps(data_root, tmp_path, name):
    """On the processor, with what else the file says."""
    here = ["trainer.accelerator=cpu", "trainer.devices=1", "trainer.strategy=auto"]
    norms = steps(data_root, tmp_path, f"trainer={name}", *here)
    assert len(norms) == 2 and max(norms) <= 0.5 * 1.01


@pytest.mark.parametrize(
    ("precision", "algorithm"),
    [
        ("32-true", "norm"),
        ("bf16-mixed", "value"),
        pytest.param("32-true", "value", marks=pytest.mark.slow),
        pytest.param("bf16-mixed", "norm", marks=pytest.mark.slow),
    ],
)
def test_gradients_are_clipped(data_root, tmp_path, precision, algorithm):
    clip = ["trainer.gradient_clip_val=1e-3", f"trainer.gradient_clip_algorithm={algorithm}"]
    norms = steps(data_root, tmp_path, f"trainer.precision={precision}", *clip)
    assert len(norms) == 2
    if algorithm == "norm":
        assert norms == pytest.approx([1e-3, 1e-3], rel=1e-2)
    else:
        assert all(1e-3 < norm < 10 for norm in norms)


def test_a_fused_optimizer_that_cannot_clip_is_one_line(data_root, tmp_path, monkeypatch):
    """Half precision scales gradients; the scaler itself wants a GPU, so it is pretended."""
    monkeypatch.setattr(MixedPrecision, "__init__", _half_precision(MixedPrecision.__init__))
    with pytest.raises(UserError, match=r"optimizer\.fused=false"):
        steps(data_root, tmp_path, "trainer.precision=bf16-mixed")


def _half_precision(init):
    def with_scaler(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self.scaler = torch.amp.GradScaler("cpu")

    return with_scaler


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["gpu", "ddp"])
def test_without_a_gpu_the_way_to_train_is_named(data_root, tmp_path, name):
    with pytest.raises(UserError, match=r"trainer=cpu") as caught:
        run(data_root, tmp_path, f"trainer={name}")
    assert "\n" not in str(caught.value)


def test_frozen_parts_stay_and_the_others_are_trained(data_root, tmp_path):
    steps(data_root, tmp_path / "first", "trainer=cpu")
    weights = tmp_path / "first/checkpoints/last.ckpt"
    frozen = "{_target_: sali.callbacks.Freeze, modules: [backbone, reduction]}"
    given = (f"init_ckpt={weights}", f"callbacks.freeze={frozen}")
    steps(data_root, tmp_path / "second", "trainer=cpu", *given)
    before = read_file(weights)["state_dict"]
    after = read_file(tmp_path / "second/checkpoints/last.ckpt")["state_dict"]
    same = {name for name, tensor in before.items() if torch.equal(tensor, after[name])}
    parts = {name.split(".")[1] for name in before}
    assert parts == {"backbone", "reduction", "decoder"}
    for name in before:  # statistics of batch norms too
        assert (name in same) == (not name.startswith("network.decoder")), name
    wrong = "callbacks.freeze={_target_: sali.callbacks.Freeze, modules: [encoder]}"
    with pytest.raises(UserError, match=r"freeze.modules: got encoder.*backbone"):
        steps(data_root, tmp_path / "third", "trainer=cpu", wrong)
