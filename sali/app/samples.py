"""Clips that can be picked without an upload: the user's own, or drawn ones."""

from pathlib import Path

from sali.data.index import SUBSETS, index_present
from sali.data.synthetic import SyntheticSpec, generate
from sali.data.video.live import Live
from sali.errors import ConfigError
from sali.prediction import Recorded, index_source


def own_samples(folder: str, max_pixels: int) -> dict[str, Recorded]:
    """Clips or videos of a folder, by their names.

    Args:
        folder: SUN-SEG subset folder, folder of clip folders or of videos, one clip or video.
        max_pixels: of a video's frame.

    Raises:
        UserError: nothing there that could be segmented.
    """
    sources = index_source(folder, max_pixels)
    samples = {source.name: source for source in sources if not isinstance(source, Live)}
    if len(samples) < len(sources):
        raise ConfigError(f"samples={folder} is live; wanted a folder or a video")
    return samples


def drawn_samples(folder: Path, spec: SyntheticSpec) -> dict[str, Recorded]:
    """Drawn test clips, by what is special about them; nothing of them is medical data."""
    generate(folder, spec)
    clips = [clip for clip in index_present(folder) if clip.subset in SUBSETS]
    return {
        f"drawn {clip.subset.replace('_', ', ')}: {clip.name}": clip
        for clip in clips
        if clip.subset != "train"
    }
