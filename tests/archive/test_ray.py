"""Workers on a Ray cluster of two nodes that lose a process and a node, and an S3 server."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from archives import make_videos, predict, states
from miniature import wait_for

ROOT = Path(__file__).parents[2]
VIDEOS = 30


@pytest.fixture
def cluster(monkeypatch):
    utils = pytest.importorskip("ray.cluster_utils", reason="needs the extra `scale`")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else they starve on a busy machine
    node = {"num_cpus": 1, "object_store_memory": 100_000_000}
    made = utils.Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    made.second = made.add_node(**node)
    yield made
    made.shutdown()


def start(checkpoint, source, output, address, log):
    given = [f"ckpt={checkpoint}", f"source={source}", f"output={output}", "num_workers=0"]
    given += ["engine=ray", f"archive.address={address}", f"archive.scratch={output}_scratch"]
    return subprocess.Popen(
        [sys.executable, "-m", "sali.predict", *given], cwd=ROOT, stdout=log, stderr=log
    )


def workers_of(node):
    """Processes of a node that segment now."""
    (raylet,) = node.all_processes["raylet"]
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if title.startswith(b"ray::RayWorker.predict") and parent == raylet.process.pid:
            found.append(int(folder.name))
    return found


def maps_in(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.png")}


@pytest.mark.slow
def test_lost_worker_and_lost_node_cost_nothing(checkpoint, cluster, tmp_path):
    source, output, marks = tmp_path / "source", tmp_path / "maps", tmp_path / "maps_archive"
    names = make_videos(source, VIDEOS, frames=3)
    broken = source / f"{names[7]}.mkv"
    whole = broken.read_bytes()
    broken.write_text("not a video")

    def done():
        return {path: path.stat().st_mtime_ns for path in marks.rglob("*clip*.json")}

    with (tmp_path / "log").open("w") as log:
        running = start(checkpoint, source, output, cluster.address, log)
        wait_for(lambda: len(done()) >= 4, 900)
        os.kill(wait_for(lambda: workers_of(cluster.head_node), 900)[0], signal.SIGKILL)
        wait_for(lambda: len(done()) >= 10, 900)
        cluster.remove_node(cluster.second)
        assert running.wait(900) == 1
        text = (tmp_path / "log").read_text()
        assert f"error: 1 of {VIDEOS} recordings failed" in text
        assert "Traceback" not in text
        expected = {name: "failed" if name == names[7] else "done now" for name in names}
        assert states((marks / "summary.csv").read_text()) == expected
        before = done()
        assert len(before) == VIDEOS - 1

        broken.write_bytes(whole)
        assert start(checkpoint, source, output, cluster.address, log).wait(900) == 0
    after = {name: "done now" if name == names[7] else "there before" for name in names}
    assert states((marks / "summary.csv").read_text()) == after
    assert before.items() <= done().items()  # nothing was done twice

    predict(checkpoint, source, tmp_path / "alone", "engine=local", "archive.scratch=null")
    assert maps_in(output) == maps_in(tmp_path / "alone")
    assert not list((tmp_path / "maps_scratch").glob("*/*/"))


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    """A bucket of an S3 server on this machine."""
    server = pytest.importorskip("moto.server", reason="needs moto[server]")
    s3fs = pytest.importorskip("s3fs", reason="needs the extra `scale`")
    running = server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    if not files.exists("bucket"):  # what the server holds outlives it
        files.mkdir("bucket")
    yield files
    s3fs.S3FileSystem.clear_instance_cache()
    running.stop()


@pytest.mark.slow
def test_archive_in_a_bucket(checkpoint, bucket, data_root, tmp_path):
    subset = data_root / "TestEasyDataset/Seen"
    bucket.put(f"{subset}/", "bucket/data/", recursive=True)
    counts = predict(checkpoint, "s3://bucket/data", "s3://bucket/maps", "tables=true")
    assert counts["clips"] == 1
    again = predict(checkpoint, "s3://bucket/data", "s3://bucket/maps", "tables=true")
    assert again["clips"] == 0
    assert len(bucket.glob("bucket/maps_tables/*.csv")) == 2  # with that of the tracks

    predict(checkpoint, subset, tmp_path / "alone", "engine=local", "archive.address=null")
    bucket.get("bucket/maps/", str(tmp_path / "maps"), recursive=True)
    assert maps_in(tmp_path / "maps") == maps_in(tmp_path / "alone")

    given = ["gt=s3://bucket/data", "pred=s3://bucket/maps", f"output={tmp_path / 'scores'}"]
    command = [sys.executable, "-m", "sali.evaluate", *given, "protocol=clinical"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "scores/metrics.json").is_file()


@pytest.mark.slow
def test_bucket_without_credentials_is_one_line(checkpoint, bucket, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    given = [f"ckpt={checkpoint}", "source=s3://bucket/data", "output=s3://bucket/maps"]
    done = subprocess.run(
        [sys.executable, "-m", "sali.predict", *given], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: s3://bucket/data: no credentials; ")
    assert done.stderr.count("\n") == 1
