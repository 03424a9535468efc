"""The command on what is no video: one line each, never a traceback, never a hang."""

import os
import subprocess
import sys

import pytest
from video_files import smooth_frames, write_sound, write_video


def make(kind, folder):
    path = folder / "a.mp4"
    if kind == "text":
        path.write_text("not a video\n" * 50)
    elif kind == "empty":
        path.touch()
    elif kind == "picture":
        path = folder / "a.jpg"
        write_video(folder / "b.mkv", smooth_frames(2)).rename(path)
    elif kind == "sound":
        write_sound(path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        return "/dev/zero"
    elif kind == "name":
        return "x" * 5000
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text", "cannot be read as video"),
        ("empty", "is empty (0 bytes)"),
        ("picture", "is a file; wanted a folder"),
        ("sound", "holds audio but no video"),
        ("pipe", "is a device or a pipe"),
        ("loop", "is a symbolic link to itself"),
        ("folder", "no frames in"),
        ("missing", "no such folder"),
        ("device", "is a device or a pipe"),
        ("name", "File name too long"),
    ],
)
def test_one_line(tmp_path, kind, message):
    source = make(kind, tmp_path)
    checkpoint = tmp_path / "any.ckpt"  # has to exist; the source is looked at before it is read
    checkpoint.write_bytes(b"")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sali.predict",
            f"ckpt={checkpoint}",
            f"source={source}",
            "output=m",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "m").exists()
