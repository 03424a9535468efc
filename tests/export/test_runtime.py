"""The NumPy runtime does what the torch path does: memory, state of a video, results."""

from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from conftest import small_network, small_node
from hypothesis import given, settings
from hypothesis import strategies as st

from sali.errors import ConfigError
from sali.export.graphs import flattened, graphs_of, read
from sali.models.nodes import instantiate
from sali.models.sali import bank as torch_bank
from sali.models.sali.memory import KeyValue
from sali.ops import memory_read
from sali.runtime import engines, memory, states

GRIDS = [64, 16, 4]


def eager(graph):
    """A graph computed by PyTorch, in place of an engine."""

    def run(inputs):
        flat = [torch.from_numpy(np.array(inputs[name])) for name in graph.inputs]
        arguments = []
        for argument in graph.arguments:
            count = len(argument) if isinstance(argument, list) else 1
            arguments.append(flat[:count] if isinstance(argument, list) else flat[0])
            flat = flat[count:]
        with torch.no_grad():
            results = graph.module(*arguments)
        return [x.numpy() for x in (results if isinstance(results, list) else [results])]

    return run


@pytest.mark.parametrize(("grid", "frames"), [(64, 1), (121, 3), (256, 2), (1024, 2)])
def test_the_exported_read_is_the_memory_read(grid, frames, monkeypatch):
    monkeypatch.setattr("sali.export.graphs.MAX_SIMILARITIES", 2**18)
    query, key = torch.randn(grid, 4), torch.randn(grid * frames, 4)
    value = torch.randn(grid * frames, 16)
    readout, usage = read(query, key, value, 20, 3)
    expected, used = memory_read(query.T[None], key.T[None], value.T[None], 20)
    torch.testing.assert_close(readout, expected[0].T)
    torch.testing.assert_close(usage, used[0])


def test_padding_of_the_memory_is_never_read():
    query, key, value = torch.randn(64, 4), torch.randn(100, 4), torch.randn(100, 16)
    far = torch.full((28, 4), memory.FAR)
    whole = torch.cat([key, far]), torch.cat([value, torch.ones(28, 16)])
    readout, usage = read(query, *whole, 20, 3)
    expected, used = memory_read(query.T[None], key.T[None], value.T[None], 20)
    torch.testing.assert_close(readout, expected[0].T)
    torch.testing.assert_close(usage, torch.cat([used[0], torch.zeros(28)]))


@settings(deadline=None, max_examples=25)
@given(
    rule=st.sampled_from(["least_used", "released"]),
    cap=st.integers(1, 4),
    every=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_the_bank_stores_and_evicts_as_the_torch_bank(rule, cap, every, seed):
    rng = np.random.default_rng(seed)
    ours = memory.MemoryBank(cap, every, rule)
    theirs = torch_bank.MemoryBank(cap, every, rule)
    for index in range(12):
        if ours.levels:
            # Few different values: ties are where orders show.
            usages = [
                rng.integers(0, 4, level.size).astype(np.float32) / 4 for level in ours.levels
            ]
            ours.count_usage(usages)
            theirs.count_usage([torch.from_numpy(u)[None] for u in usages])
        assert ours.wants(index) == theirs.wants(index)
        if ours.wants(index):
            frame = [
                (rng.random((n, 4), np.float32), rng.random((n, 2), np.float32)) for n in GRIDS
            ]
            ours.add(frame, index)
            rows = [[torch.from_numpy(x).T[None] for x in level] for level in frame]
            theirs.add([KeyValue(*level) for level in rows], index)
        for level, other in zip(ours.levels, theirs.levels, strict=True):
            assert np.array_equal(level.key, other.key.T.numpy())
            for name in ("value", "usage", "life", "frame", "position"):
                assert np.array_equal(getattr(level, name), getattr(other, name).numpy()), name


@pytest.mark.parametrize("wrong", [{"eviction": "oldest"}, {"every": 0}, {"max_frames": -1}])
def test_the_bank_refuses_what_the_torch_bank_refuses(wrong):
    given = {"max_frames": 3, "every": 1, "eviction": "released", **wrong}
    with pytest.raises(ConfigError):
        memory.MemoryBank(**given)
    with pytest.raises(ValueError, match="wanted"):
        torch_bank.MemoryBank(**given)


@pytest.mark.parametrize(("precision", "hint"), [("32", "f32"), ("int8", "f32"), ("16", None)])
def test_openvino_computes_in_float32_unless_half_precision_is_asked_for(
    precision, hint, monkeypatch, tmp_path
):
    """Else it takes bfloat16 on processors that have it, also for what int8 leaves in float."""
    runtime = MagicMock()
    monkeypatch.setattr(engines, "installed", lambda *_: runtime)
    engines.openvino(tmp_path / "graph.xml", precision, None)
    options = runtime.Core().compile_model.call_args.args[2]
    assert options.get("INFERENCE_PRECISION_HINT") == hint


VARIANTS = {
    "memory and alignment": ({}, {"max_frames": 2, "every": 1}),
    "looks ahead": (
        {},
        {"max_frames": 2, "every": 1, "eviction": "released", "neighbor": "next"},
    ),
    "gated": ({"fusion": "gated"}, {"max_frames": 2, "every": 2}),
    "no alignment": ({"align_kernel": None}, {"max_frames": 1, "every": 1}),
    "no memory": ({"long_term": False}, {}),
}


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    smooth = torch.rand(5, 3, 4, 4, generator=generator) * 4 - 2
    return torch.nn.functional.interpolate(smooth, size=256, mode="bilinear")


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_state_of_a_video_gives_the_results_of_the_torch_path(variant, images):
    changes, given = VARIANTS[variant]
    changes = dict(changes)
    node = small_node(**changes)
    network = instantiate(node, trust=None).eval()
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if "to_offset" in name or "attend" in name or "squeeze" in name:
                tensor.normal_(0, 0.05)
    parts = graphs_of(network, 256)
    runs = {name: eager(graph) for name, graph in parts.graphs.items()}
    theirs = network.start(**given)
    make = states.STATES[parts.state]
    ours = make(runs, {**network.video_settings, **given}, parts.options)

    def compare(result, expected):
        assert (result is None) == (expected is None)
        if result is not None:
            np.testing.assert_allclose(result, expected.numpy(), atol=2e-4, rtol=1e-4)
            assert (ours.reads is None) == (theirs.attention is None)

    with torch.no_grad():
        for number, image in enumerate(images):
            if number == 3:  # resumed from what was remembered
                waiting = images[number - 1 : number]
                kept, ours = (
                    ours.state(),
                    make(runs, {**network.video_settings, **given}, parts.options),
                )
                ours.load_state(kept)
                if getattr(theirs, "looks_ahead", False):
                    assert ours.step(runs["encode"]({"images": waiting.numpy()})) is None
            result = ours.step(runs["encode"]({"images": image[None].numpy()}))
            compare(result, theirs.step(network.encode(image[None])))
        compare(ours.flush(), theirs.flush())


def test_inputs_of_a_graph_have_names_and_are_different_tensors():
    graph = graphs_of(small_network().eval(), 256).graphs["step"]
    tensors = flattened(graph.arguments)
    inputs = dict(zip(graph.inputs, tensors, strict=True))
    assert inputs["memory_key0"].shape == (2 * 1024, 4)
    assert inputs["neighbor2"].shape == (1, 32, 8, 8)
    # One tensor in two places would become one input of the graph.
    assert len({id(tensor) for tensor in tensors}) == len(tensors)
    assert not torch.equal(inputs["neighbor2"], inputs["pyramid2"])
