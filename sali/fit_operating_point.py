"""The operating point of a checkpoint, fitted on maps of cases that it was not trained on.

python -m sali.predict ckpt=best.ckpt source=held_out/frames output=maps
python -m sali.fit_operating_point ckpt=best.ckpt gt=held_out/masks pred=maps
"""

from pathlib import Path

from omegaconf import DictConfig

from sali.cli import command
from sali.config import check_config
from sali.errors import DataError
from sali.evaluation import Settings
from sali.metrics.operating_point import Fit


def fit_checkpoint(cfg: DictConfig) -> Fit:
    """Fit the operating point of a checkpoint and store it there.

    Raises:
        UserError: Anything that does not fit.
    """
    check_config(cfg, "fit_operating_point")
    from sali.evaluation.fitting import fit_on_maps, store_operating_point
    from sali.evaluation.inputs import find_methods, index_truth
    from sali.evaluation.integrity import check_maps
    from sali.models.checkpoint import read_checkpoint
    from sali.models.shipped import find_checkpoint
    from sali.run.workers import Workers

    path = find_checkpoint(cfg.ckpt)
    read_checkpoint(path)  # refuses another file before the work
    settings = Settings(
        protocol="clinical",
        subsets=None if cfg.subsets is None else tuple(cfg.subsets),
        polyp_free=None if cfg.polyp_free is None else Path(cfg.polyp_free),
    )
    clips = index_truth(Path(cfg.gt), settings)
    trees = find_methods(Path(cfg.pred), clips, path.stem)
    if len(trees) > 1:
        raise DataError(f"pred: got maps of {', '.join(trees)}, wanted those of this checkpoint")
    report = path.with_suffix(".integrity.txt")
    maps = check_maps(Workers(None), trees, clips, settings, report)
    choices = cfg.operating_point
    fit = fit_on_maps(
        maps,
        choices.false_alarm_rate,
        list(choices.thresholds),
        list(choices.min_regions),
        cfg.detection_iou,
    )
    store_operating_point(path, fit)
    return fit


@command("fit_operating_point")
def main(cfg: DictConfig) -> None:
    """Hydra's shell around `fit_checkpoint`."""
    fit_checkpoint(cfg)


if __name__ == "__main__":
    main()
