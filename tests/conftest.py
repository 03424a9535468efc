"""Fixtures that more than one test file uses."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sali.data.synthetic import SyntheticSpec, generate
from sali.models.contract import ClipBatch
from sali.models.nodes import instantiate
from sali.models.sali import SALI
from sali.models.sali.released import model_node

GOLDEN = Path(__file__).parent / "golden"
sys.path.insert(0, str(GOLDEN))

SMALL = dict(
    backbone="tf_efficientnet_lite0",
    drop_path_rate=0.0,
    channels=32,
    long_term=True,
    key_channels=4,
    value_channels=16,
    top_k=20,
    align_kernel="auto",
    offset_groups=8,
    fusion="residual",
)
"""Options of a small network; tests change single ones."""

STREAMING = dict(max_frames=35, every=5, eviction="least_used", neighbor="previous")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _keep_captured_streams_open() -> None:
    """Hydra closes all log handlers, and absl's (of OpenVINO) would close what pytest captures."""
    if absl := sys.modules.get("absl.logging"):
        absl.get_absl_handler().python_handler.stream = sys.__stderr__


@pytest.fixture(scope="session")
def golden_modules() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "modules.npz"))


@pytest.fixture(scope="session")
def golden_network() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "network_pvt_v2_b5_256.npz"))


def small_clips(folder: Path, test_clips_per_subset: int, seed: int) -> Path:
    """Draw a few clips in the SUN-SEG layout; with seed 4 every frame shows a polyp."""
    spec = SyntheticSpec(
        train_clips=4,
        test_clips_per_subset=test_clips_per_subset,
        frames_per_clip=5,
        height=96,
        width=120,
        polyp_free_clips=0,
        seed=seed,
    )
    return generate(folder / "clips", spec)


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_clips(tmp_path_factory.mktemp("data"), test_clips_per_subset=1, seed=4)


@pytest.fixture(scope="session")
def data_for_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dealt out unevenly: two test clips to one process, one to the other."""
    return small_clips(tmp_path_factory.mktemp("data_for_two"), test_clips_per_subset=3, seed=6)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small single-frame network, in the format of the first checkpoints."""
    path = tmp_path_factory.mktemp("own") / "best.ckpt"
    single = {"long_term": False, "align_kernel": None}
    torch.manual_seed(0)
    network = small_network(**single)
    streaming = dict(image_size=256, max_frames=4, every=1, eviction="released", neighbor="next")
    own = {
        "network": {**SMALL, **single},
        "streaming": streaming,
        "maps": "probability",
        "decode": "exact",
    }
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": state, "sali": own}, path)
    return path


@pytest.fixture(scope="session")
def released_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the names and shapes of the released checkpoint and the golden weights."""
    from weights import released_state_dict

    path = tmp_path_factory.mktemp("released") / "released.pth"
    torch.save(released_state_dict(seed=11), path)
    return path


def small_node(**changes: object) -> dict[str, object]:
    """Return the model node of a small network."""
    return model_node({**SMALL, **changes}, STREAMING)


def small_network(**changes: object) -> SALI:
    """Return a network with random weights that fits in a test."""
    return instantiate(small_node(**changes), trust=None)


def sample_of(
    network: SALI, masks: torch.Tensor | None = None, **frames: torch.Tensor
) -> ClipBatch:
    """Return the training sample of frames [B, 3, S, S] by role; masks [B, 1, S, S] are of all."""
    images = torch.stack([frames[role] for role in network.roles if role in frames], 1)
    if masks is None:
        masks = torch.zeros(len(images), 1, *images.shape[3:])
    return ClipBatch(images, masks.unsqueeze(1).expand(-1, images.shape[1], -1, -1, -1))


@pytest.fixture(scope="module")
def browser():
    """An installed Chromium, without a window; tests that ask for it are skipped where none is."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with driver.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program, args=flags)
        yield opened
        opened.close()
