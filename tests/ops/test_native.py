"""Building the C++ operators: the fallback is visible, the build is shared."""

import os
import subprocess
import sys

import pytest

from sali.ops import native

READ = """
import warnings, torch
from sali.ops import memory_read, native
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(3):
        memory_read(torch.ones(1, 4, 2), torch.ones(1, 4, 3), torch.ones(1, 1, 3), 2)
print(native.available(), len(caught), *[w.message for w in caught])
"""


def read_with(**environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", READ],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_switched_off_it_warns_once_and_still_reads():
    out, _ = read_with(SALI_NATIVE="0").communicate()
    assert out.startswith("False 1 the C++ operators are not in use"), out
    assert "SALI_NATIVE=0" in out


def test_without_a_compiler_it_says_so(tmp_path):
    out, _ = read_with(TORCH_EXTENSIONS_DIR=str(tmp_path), CXX="/nowhere/c++").communicate()
    line = out.splitlines()[-1] if "False 1" not in out else out[out.index("False 1") :]
    assert line.startswith("False 1 the C++ operators are not in use"), out
    assert "/nowhere/c++" in line


def test_an_unwritable_cache_is_no_end(tmp_path):
    (tmp_path / "file").touch()
    out, _ = read_with(TORCH_EXTENSIONS_DIR=str(tmp_path / "file")).communicate()
    assert "False 1 the C++ operators are not in use" in out, out


@pytest.mark.slow
@pytest.mark.skipif(not native.available(), reason="no C++ compiler here")
def test_processes_that_start_together_share_one_build(tmp_path):
    processes = [read_with(TORCH_EXTENSIONS_DIR=str(tmp_path)) for _ in range(3)]
    for process in processes:
        out, _ = process.communicate()
        assert "True 0" in out, out
    assert len(list(tmp_path.glob("*/*.so"))) == 1
    assert [p.suffix for p in next(tmp_path.iterdir()).iterdir() if p.suffix != ".lock"] == [".so"]
