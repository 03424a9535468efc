"""Small archives for tests, and the command over them."""

import csv

from hydra import compose, initialize_config_dir
from video_files import smooth_frames, write_video

from sali.archive.run import predict_archive
from sali.config import check_config, config_dir


def make_videos(folder, count, frames=4):
    """Tiny videos, the odd ones in a folder of their own; returns their names."""
    names = [f"{'odd/' if i % 2 else ''}clip{i:02d}" for i in range(count)]
    for seed, name in enumerate(names):
        path = folder / f"{name}.mkv"
        path.parent.mkdir(parents=True, exist_ok=True)
        times = [40 * i for i in range(frames)]
        write_video(path, smooth_frames(frames, seed=seed), times=times)
    return names


def predict(checkpoint, source, output, *more):
    """`sali.predict` over an archive, in this process."""
    given = [f"ckpt={checkpoint}", f"source={source}", f"output={output}", "num_workers=0", *more]
    with initialize_config_dir(config_dir(), version_base="1.3"):
        cfg = compose("predict", overrides=given)
    check_config(cfg, "predict")
    return predict_archive(cfg)


def states(text):
    """State of every recording in a summary."""
    return {row["recording"]: row["state"] for row in csv.DictReader(text.splitlines())}
