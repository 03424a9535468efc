"""Clips that can be picked without an upload: the user's own, or drawn ones."""

from pathlib import Path

from sali.data.clips import SUBSETS, index_present
from sali.data.synthetic import SyntheticSpec, generate
from sali.prediction import Source, index_source


def own_samples(folder: str, max_pixels: int) -> dict[str, Source]:
    """Clips or videos of a folder, by their names.

    Args:
        folder: SUN-SEG subset folder, folder of clip folders or of videos, one clip or video.
        max_pixels: of a video's frame.

    Raises:
        UserError: nothing there that could be segmented.
    """
    return {source.name: source for source in index_source(folder, max_pixels)}


def drawn_samples(folder: Path, spec: SyntheticSpec) -> dict[str, Source]:
    """Drawn test clips, by what is special about them; nothing of them is medical data."""
    generate(folder, spec)
    clips = [clip for clip in index_present(folder) if clip.subset in SUBSETS]
    return {
        f"drawn {clip.subset.replace('_', ', ')}: {clip.name}": clip
        for clip in clips
        if clip.subset != "train"
    }
