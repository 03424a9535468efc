"""Checkpoints: damaged, of other content, and hostile ones whose code must never run."""

import copy
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from miniature import ROOT
from torch import Tensor

from fuzz.engine import Case, Kind, WrongError
from fuzz.mutations import Random, changed, damaged, odd
from sali.models.checkpoint import describe, read_checkpoint
from sali.models.contract import VideoSegmenter
from sali.models.nodes import instantiate
from sali.models.weights import save_safetensors

HOSTILE = (
    *("os.system", "posix.system", "builtins.eval", "builtins.exec", "subprocess.call"),
    *("subprocess.Popen", "pathlib.Path.touch", "shutil.rmtree", "torch.load", "torch.hub.load"),
    *("torch.os.system", "torch.utils.cpp_extension.load_inline", "torch.jit.load"),
    *("timm.create_model", "timm.models.load_checkpoint", "sali.predict.predict", "sali.run.io.os"),
    *("sali.run.io.shutil.rmtree", "sali.models.nodes.importlib.import_module", "torch.nn.Module"),
    *("sali.cli.hydra.utils.instantiate", "torch.nn.Module.__class__", "torch.nn.ModuleList"),
    *("torch.nn.Sequential.__subclasses__", "torch.compile", "torch.distributed.run.main"),
    *("torch.nn.parallel.DistributedDataParallel", "torch.nn.Embedding", "torch.nn.LSTM"),
    *("torchvision.models.resnet18", "torchvision.io.read_file", "nowhere.Class", "", ".", "a.b"),
    *(
        "sali.models.sali.bank.MemoryBank",
        "sali.models.backbone.Backbone",
        "torch..nn",
        "antigravity",
    ),
)
"""Targets that a checkpoint names to have them called."""


class _Call:
    """What calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


def _hostile(marker: Path, rng: Random) -> Any:
    import os
    import subprocess

    code = f"open({str(marker)!r}, 'w')"
    return (
        lambda: _Call(os.system, f"touch {marker}"),
        lambda: _Call(eval, code),
        lambda: _Call(exec, code),
        lambda: _Call(subprocess.call, ["touch", str(marker)]),
        lambda: _Call(Path.touch, marker),
        lambda: _Call(open, str(marker), "w"),
        lambda: _Call(os.execlp, "touch", "touch", str(marker)),
        lambda: _Call(torch.load, str(marker)),
        lambda: _Call(bytearray, 1 << 40),
        lambda: _Call(torch.empty, 1 << 40),
        lambda: _Call(pickle.loads, pickle.dumps(_Call(os.system, f"touch {marker}"))),
        lambda: _nested(300),
        lambda: torch.nn.Linear(2, 2),
        lambda: marker,
        lambda: torch.nn.Linear,
    )[rng.integers(15)]()


def _nested(depth: int) -> Any:
    node: Any = []
    for _ in range(depth):
        node = [node]
    return node


def _small() -> dict[str, Any]:
    """Return a checkpoint of a network of one convolution."""
    convolution = {"in_channels": 3, "out_channels": 1, "kernel_size": 3, "padding": 1}
    node = {
        "_target_": "sali.models.image.ImageSegmenter",
        "net": {"_target_": "torch.nn.Conv2d", **convolution},
    }
    network = instantiate(node, trust=None)
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    about = describe(node, 64, "exact", "probability")
    about["operating_point"] = {"cut": 0.4, "min_region": 0.001}
    return {"state_dict": state, "sali": about, "epoch": 3, "global_step": 12}


def _real() -> dict[str, Any]:
    """Return a small SALI as a checkpoint of the first format, from which nodes are made."""
    from conftest import SMALL, STREAMING, small_network

    state = {f"network.{k}": v for k, v in small_network().state_dict().items()}
    own = {"network": dict(SMALL), "streaming": {"image_size": 256, **STREAMING}}
    return {"state_dict": state, "sali": {**own, "maps": "probability", "decode": "exact"}}


def _saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _prepare(folder: Path) -> Case:
    small, real = _small(), _real()
    ckpt, path = _saved(small), folder / "case.ckpt"
    safe = folder / "small.safetensors"
    state = {name.removeprefix("network."): one for name, one in small["state_dict"].items()}
    save_safetensors(safe, state, small["sali"])
    tensors = safe.read_bytes()
    shipped = sorted((ROOT / "sali").rglob("*.safetensors"))
    others = [ckpt, tensors, *(file.read_bytes()[:4000] for file in shipped)]
    marker = folder / "marker"

    def case(rng: Random) -> None:
        target = path
        match int(rng.integers(8)):
            case 0 | 1:
                path.write_bytes(damaged(ckpt, rng, others))
            case 2:
                target = safe
                safe.write_bytes(damaged(tensors, rng, others))
            case 3:  # the tree of plain values, and tensors that are none
                content = copy.deepcopy(small)
                content["sali"] = changed(content["sali"], rng)
                if rng.random() < 0.3:
                    content["state_dict"] = changed(content["state_dict"], rng)
                if rng.random() < 0.1:
                    content = changed(content, rng)
                path.write_bytes(_saved(content))
            case 4:  # arguments of the full network, without its tensors
                own = changed(real["sali"], rng)
                path.write_bytes(_saved({"state_dict": {}, "sali": own}))
            case 5:
                content = copy.deepcopy(small)
                content["sali"]["model"] = _named(content["sali"]["model"], rng)
                path.write_bytes(_saved(content))
            case 6:
                content = {**copy.deepcopy(small), "extra": _hostile(marker, rng)}
                path.write_bytes(_saved(content))
            case _:
                _write_hostile_archive(path, ckpt, _hostile(marker, rng), rng)
        try:
            read = read_checkpoint(target)
            if not all(isinstance(one, Tensor) for one in read.state.values()):
                raise WrongError("a state holds other things than tensors")
            network = read.network()
            if not isinstance(network, VideoSegmenter):
                raise WrongError(f"a network is a {type(network).__name__}")
        finally:
            if marker.exists():
                marker.unlink()
                raise WrongError("code of a checkpoint was run")

    return case


def _named(node: dict[str, Any], rng: Random) -> dict[str, Any]:
    """Return a model node with a hostile target, outside or inside."""
    hostile = {"_target_": HOSTILE[rng.integers(len(HOSTILE))]}
    arguments = (
        {},
        {"command": "touch x"},
        {"name": odd(rng)},
        dict(list(node["net"].items())[1:]),
    )
    hostile |= arguments[rng.integers(4)]
    if rng.random() < 0.2:
        hostile["_partial_"] = True
    if rng.random() < 0.1:
        hostile["_args_"] = ["touch x"]
    return (hostile, {**node, "net": hostile}, {**node, "extra": hostile})[rng.integers(3)]


def _write_hostile_archive(path: Path, whole: bytes, hostile: Any, rng: Random) -> None:
    """Replace the pickle within an archive of torch, or write a bare one of any protocol."""
    content = pickle.dumps({"state_dict": {}, "sali": hostile}, protocol=int(rng.integers(6)))
    if rng.random() < 0.3:
        path.write_bytes(content)
        return
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, content if name.endswith("data.pkl") else old.read(name))


CHECKPOINTS = Kind(_prepare)
