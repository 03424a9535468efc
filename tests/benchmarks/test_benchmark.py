"""A miniature run of every group: what is reported, and that its numbers hang together."""

import json

import pytest
from hydra import compose, initialize_config_dir

from benchmarks.__main__ import CONFIG, GROUPS, benchmark
from benchmarks.report import markdown, write_report
from sali.config import command_file
from sali.errors import ConfigError

MINIATURE = [
    "backbone=pvt_v2_b0",
    "image_size=256",
    "frame_height=90",
    "frame_width=110",
    "num_frames=3",
    "memory.max_frames=2",
    "memory.every=2",
    "parts={rounds: 1, warmup: 0}",
    "frames={rounds: 2, warmup: 0, memory_steps: 0}",
    "growth={rounds: 1, warmup: 0, frames_seen: 2, blocks: 2, memory_frames: [1, 2], "
    "image_sizes: [256, 288], streams: [1, 2]}",
    "training.backbone=pvt_v2_b0",
    "training.batch_size=1",
    "training_steps={rounds: 2, warmup: 0, memory_steps: 0}",
    "~training_variants.bf16",
    "loader={num_workers: [0], caches: [null], num_batches: 1}",
    "data.batch_size=1",
    "data.spec.frames_per_clip=6",
]
PARTS = {
    "backbone",
    "reduction",
    "keys and values",
    "memory read",
    "alignment",
    "fusion",
    "decoder",
    "bank bookkeeping",
    "deformable convolution",
    "JPEG to tensor",
    "VPS scores",
}


def composed(*overrides):
    file = command_file(CONFIG)
    with initialize_config_dir(str(file.parent), version_base="1.3"):
        return compose(file.stem, overrides=[*MINIATURE, *overrides])


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return benchmark(composed(f"output={tmp_path_factory.mktemp('benchmark')}"))


def timed(results):
    """All tables of times."""
    tables = [rows for group in results["tables"].values() for rows in group.values()]
    return [rows for rows in tables if all("median ms" in row for row in rows.values())]


@pytest.mark.slow
def test_every_group_reports_its_parts(results):
    chosen = {"export", "live"}  # have a table if they are asked for
    assert {*results["tables"], "growth", *chosen} == set(GROUPS)
    assert set(results["tables"]["parts"]) == PARTS
    for name in ("whole frame", "whole frame from a JPEG file"):
        table = results["tables"]["frames"][name]
        assert list(table) == ["released", "f32", "bf16", "backbone"]
        assert all({"x released", "x backbone"} < set(row) for row in table.values())
    latency = results["tables"]["frames"]["latency from a JPEG file to an overlay"]
    assert list(latency) == ["f32", "bf16", "backbone"]
    assert all(row["p95 ms"] >= row["median ms"] for row in latency.values())
    assert set(results["curves"]) == {
        "frames seen", "memory", "memory read", "image size", "streams"
    }  # fmt: skip
    for curve in results["curves"].values():
        assert len(curve["x"]) == 2
        assert all(len(series["ms"]) == 2 for series in curve["series"].values())
    assert {"cpu", "cores", "threads", "cpu_capability", "torch"} <= set(results["machine"])


@pytest.mark.slow
def test_ratios_are_what_they_say(results):
    assert len(timed(results)) == len(PARTS) + 3 + 1
    for rows in timed(results):
        for name, row in rows.items():
            assert row["q1 ms"] <= row["median ms"] <= row["q3 ms"]
            for base in rows:
                ratio = row.get(f"x {base}")
                if ratio is None:
                    continue
                if name == base:
                    assert ratio == 1
                elif row["rounds"] == 1:
                    assert ratio == pytest.approx(row["median ms"] / rows[base]["median ms"])


@pytest.mark.slow
def test_ways_give_the_same_maps_and_losses(results):
    maps = results["tables"]["frames"]["difference of maps from the released way"]
    # Where the 20th and 21st element of a query tie within rounding, either may be read.
    assert maps["f32"]["max"] < 5e-3 and maps["f32"]["mean"] < 5e-5
    assert maps["f32"]["mean"] < maps["bf16"]["mean"] < 0.02
    training = results["tables"]["training"]
    differences = training["difference of losses from the released way"]
    assert set(training["losses"]) == {"released", *differences}
    for own in training["losses"].values():
        first, second = own.values()
        assert second < first
    assert differences["f32"]["largest, relative"] < 1e-3


@pytest.mark.slow
def test_report_is_json_tables_and_plots(results, tmp_path):
    write_report(results, tmp_path)
    assert json.loads((tmp_path / "benchmark.json").read_text()) == json.loads(json.dumps(results))
    text = markdown(results)
    assert (tmp_path / "benchmark.md").read_text() == text
    for shown in (results["machine"]["cpu"], "| whole frame |", "x released", "memory read"):
        assert shown in text
    names = {path.name for path in tmp_path.glob("*.png")}
    assert {"times_parts.png", "times_frames.png", "times_training.png"} < names
    assert "growth_memory_read.png" in names and len(names) == 8


@pytest.mark.slow
def test_peaks_of_memory_are_those_of_fresh_processes():
    results = benchmark(
        composed(
            "groups=[frames,training]",
            "image_size=352",
            "memory.max_frames=20",
            "frames.memory_steps=1",
            "training_steps.memory_steps=1",
        )
    )
    frames, training = (group["memory of a fresh process"] for group in results["tables"].values())
    assert set(frames) == {"released", "f32", "bf16"}
    # The similarity of 1936 queries and 20 frames of 1936 elements takes 286 MiB, its softmax too.
    grown = {name: row["peak MiB"] - row["before MiB"] for name, row in frames.items()}
    assert grown["released"] > 2 * 286 > grown["f32"]
    assert all(row["peak MiB"] > row["before MiB"] + 50 for row in training.values())
    text = markdown(results)
    assert "| memory of a fresh process | before MiB | peak MiB |" in text


@pytest.mark.slow
def test_another_checkout_is_timed_in_turns(tmp_path):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").touch()
    (tmp_path / "benchmarks" / "checkouts.py").write_text(
        "import json, sys\n"
        "def serve():\n"
        "    for line in sys.stdin:\n"
        "        given = json.loads(line)\n"
        "        print([1e-3] * given[1] if len(given) == 3 else [], flush=True)\n"
    )
    small = ["groups=[]", "baseline_blocks={blocks: 2, frames: 3, steps: 1, warmup: 0}"]
    results = benchmark(composed(*small, f"baseline={tmp_path}"))
    timings = results["tables"]["baseline"]
    assert set(timings) == {"whole frame", "training step"}
    for rows in timings.values():
        assert rows["baseline"]["median ms"] == 1e-3 and rows["here"]["rounds"] == 2
        assert rows["here"]["median ms"] == pytest.approx(1e-3 * rows["here"]["x baseline"])
    assert "x baseline" in markdown(results)
    with pytest.raises(ConfigError, match="wanted a checkout"):
        benchmark(composed(*small, f"baseline={tmp_path / 'absent'}"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["groups=[parts,speed]"], "got speed, wanted some of parts"),
        (["memory=none"], "without a memory"),
        (["growth_variant=int8"], "one of f32, bf16"),
        (["image_size=250"], "multiple of 32"),
        (["+memory.max_frame=3"], "max_frame"),
        (["compat=corrected", "compat.fusion=residual"], "needs 'released'"),
        (["num_frames=1"], "wanted 2"),
    ],
)
def test_settings_that_cannot_be_measured_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        benchmark(composed(*overrides))


@pytest.mark.slow
def test_a_video_is_played_in_processes_of_their_own(tmp_path):
    live = "live={ckpt: polypgen_lite0, bundles: [], frames: 2, warmup: 0}"
    given = ("groups=[live]", "~variants.bf16", live)
    rows = benchmark(composed(*given, f"output={tmp_path}"))["tables"]["live"]["live"]
    assert set(rows) == {"released", "torch f32"}
    for row in rows.values():
        assert 0 < row["median ms"] < row["latency median ms"]
        assert row["start-up s"] > 0 and row["peak MiB"] > 100 and row["packages MiB"] > 100
