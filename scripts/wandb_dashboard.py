"""The W&B workspace of this project as code: panels per subset, an ablation table, pictures.

    python scripts/wandb_dashboard.py --entity TEAM --project sali     saves it, prints its address
    python scripts/wandb_dashboard.py --entity TEAM --dry-run          prints its specification

Needs the extra `dashboards` and, to save, a login (`wandb login`).
"""

import argparse
import logging
import sys
from collections.abc import Sequence

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

SUBSETS = ("seen_easy", "seen_hard", "unseen_easy", "unseen_hard")
STEP = "trainer/global_step"
TEST_SCORES = ("dice_max", "dice_mean", "s_measure", "e_mean", "f_mean", "weighted_f")
CLINICAL_SCORES = ("frame_sensitivity", "frame_specificity", "polyp_sensitivity", "stability")
PICTURES = ("overlays", "worst_frames", "clip", "precision_recall")
TRAINING = (
    "train/loss",
    "train/gradient_norm",
    "lr-AdamW/pg1",
    "train/step_time",
    "train/samples_per_second",
)
MEMORY = ("memory_frames", "memory_fill", "memory_usage_per_read", "memory_unread_share")
# What distinguishes the rows of an ablation table, in W&B's names of nested settings.
CHOICES = (
    "backbone.value.name",
    "model.value._target_",
    "memory.value.max_frames",
    "align.value.kernel",
    "fusion.value.kind",
    "context_gradient.value",
    "seed.value",
)


def lines(*keys: str) -> list[wr.LinePlot]:
    """Return a line plot over the training steps for each key."""
    return [wr.LinePlot(title=key, x=STEP, y=[key]) for key in keys]


def bars(*keys: str) -> list[wr.BarPlot]:
    """Return a bar plot for each key: the mean of the runs of a group, e.g. over seeds."""
    return [
        wr.BarPlot(title=key, metrics=[key], groupby="Group", groupby_aggfunc="mean")
        for key in keys
    ]


def subset_section(subset: str) -> ws.Section:
    """Return the scores, pictures and the table of clips of one test subset."""
    test = f"test/{subset}"
    pictures = [wr.MediaBrowser(title=name, media_keys=[f"{test}/{name}"]) for name in PICTURES]
    return ws.Section(
        name=subset,
        panels=[
            *bars(*(f"{test}/{name}" for name in TEST_SCORES)),
            *bars(*(f"{test}/clinical/{name}" for name in CLINICAL_SCORES)),
            *pictures,
            wr.WeavePanelSummaryTable(table_name=f"{test}/clips"),
        ],
        is_open=True,
    )


def workspace(entity: str, project: str, subsets: Sequence[str]) -> ws.Workspace:
    """Return the workspace.

    Args:
        entity: User or team.
        project: W&B project.
        subsets: Test subsets, one section each; sections without a tested run stay empty.
    """
    return ws.Workspace(
        entity=entity,
        project=project,
        name="SALI",
        sections=[
            ws.Section(
                name="Ablation",
                panels=[
                    *bars(*(f"test/{subset}/dice_max" for subset in subsets)),
                    wr.RunComparer(diff_only="split"),
                ],
                is_open=True,
                pinned=True,
            ),
            ws.Section(name="Training", panels=lines(*TRAINING), is_open=True),
            ws.Section(
                name="Validation",
                panels=lines(
                    "val/frame_dice_at_0.5", "val/frame_mae", *(f"val/{name}" for name in MEMORY)
                ),
                is_open=True,
            ),
            *map(subset_section, subsets),
        ],
        settings=ws.WorkspaceSettings(x_axis=STEP),
        runset_settings=ws.RunsetSettings(
            groupby=[ws.Metric("Group")],
            pinned_columns=[
                *(f"config:{choice}" for choice in CHOICES),
                *(f"summary:test/{subset}/dice_max" for subset in subsets),
            ],
        ),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Save or print the workspace."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entity", required=True, help="user or team")
    parser.add_argument("--project", default="sali")
    parser.add_argument("--subsets", nargs="+", default=SUBSETS)
    parser.add_argument("--dry-run", action="store_true", help="print the specification only")
    given = parser.parse_args(arguments)
    built = workspace(given.entity, given.project, given.subsets)
    if given.dry_run:
        sys.stdout.write(built._to_model().spec.model_dump_json(indent=2, by_alias=True) + "\n")
        return
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger(__name__).info("workspace: %s", built.save().url)


if __name__ == "__main__":
    main()
