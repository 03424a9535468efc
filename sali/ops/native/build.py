"""Compile the C++ operators with ninja on first use and load them."""

import functools
import hashlib
import logging
import os
import platform
import shutil
import tempfile
import warnings
from pathlib import Path

import torch
from filelock import FileLock

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
SOURCES = sorted(FOLDER.glob("*.cpp"))
NAME = "sali_ops"
OFF = "SALI_NATIVE"
"""Environment variable: 0 leaves the C++ operators out."""

# Numbers must not depend on what a compiler merges: the one fused multiply-add that is wanted is
# written out.
FLAGS = ["-O3", "-fopenmp", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
VECTORS = {
    "AVX512": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma"],
    "AVX2": ["-mavx2", "-mfma"],
}
"""Flags by what PyTorch found the processor to have; others use what every such machine has."""


def _flags() -> list[str]:
    vectors = VECTORS.get(torch.backends.cpu.get_cpu_capability(), [])
    return [*FLAGS, *(vectors if platform.machine() in ("x86_64", "AMD64") else [])]


def library_path() -> Path:
    """Return where the library of these sources, this PyTorch and this processor is kept.

    Under `TORCH_EXTENSIONS_DIR`, or `~/.cache/torch_extensions`. A home folder shared by
    different machines holds one library for each kind.
    """
    parts = [torch.__version__, platform.python_version(), platform.machine(), *_flags()]
    key = hashlib.sha256("\n".join(parts).encode())
    for source in [*SOURCES, *sorted(FOLDER.glob("*.h"))]:
        key.update(source.read_bytes())
    root = os.environ.get("TORCH_EXTENSIONS_DIR") or "~/.cache/torch_extensions"
    return Path(root).expanduser() / f"{NAME}_{key.hexdigest()[:16]}" / f"{NAME}.so"


def build() -> Path:
    """Compile unless it was done before; return the library.

    Processes that start together wait for the first one; the lock is released when its owner dies.

    Raises:
        RuntimeError: No compiler, or it fails; the compiler's own words are in the message.
        OSError: The cache cannot be written.
    """
    library = library_path()
    if library.is_file():
        return library
    library.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(library.with_suffix(".lock")):
        if not library.is_file():
            log.info("compiling C++ operators, once, ten seconds and more: %s", library.parent)
            _compile(library)
    return library


def _compile(library: Path) -> None:
    import ninja
    from torch.utils import cpp_extension

    # An environment that is not activated does not have its ninja on the path.
    path = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([ninja.BIN_DIR, path])
    try:
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            cpp_extension.load(
                NAME,
                [str(source) for source in SOURCES],
                extra_cflags=_flags(),
                extra_ldflags=["-fopenmp"],
                build_directory=folder,
                with_cuda=False,
                is_python_module=False,
            )
            # In one step, so that nobody finds half a library.
            shutil.move(Path(folder) / f"{NAME}.so", library)
    finally:
        os.environ["PATH"] = path


@functools.cache
def _load() -> bool:
    try:
        if os.environ.get(OFF) == "0":
            raise RuntimeError(f"{OFF}=0")
        torch.ops.load_library(build())
    except (RuntimeError, OSError, ImportError) as error:
        lines = str(error).splitlines()
        named = [line for line in lines if "error:" in line]  # the compiler's, if it fails
        reason = "\n".join(named or lines)
        warnings.warn(
            "the C++ operators are not in use, PyTorch computes the same results more slowly. They "
            f"need a C++ compiler (g++ or clang). Reason: {type(error).__name__}: {reason}",
            stacklevel=3,
        )
        return False
    # Registers shapes and gradients with what the library defined.
    import sali.ops.native.registration  # noqa: F401

    return True


@torch.compiler.assume_constant_result
def available() -> bool:
    """Return whether `torch.ops.sali` exists; the first call compiles, and warns if not."""
    return _load()
