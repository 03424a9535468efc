"""From the sums of clips to the scores of subsets: what metrics.json and clips.csv hold."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from sali.data.index import POLYP_FREE
from sali.errors import DataError
from sali.evaluation.clip_result import COUNTS, ClipResult
from sali.evaluation.settings import Settings
from sali.metrics.calibration import reliability
from sali.metrics.clinical import ClipTally
from sali.metrics.clinical_summary import ClinicalScores, clinical_names, matched_curve, summarise
from sali.metrics.counted_frame import FloatArray, IntArray
from sali.metrics.vps import CURVES, METRIC_NAMES, curve, reduce_subset, summary

Scores = dict[str, float | None]


@dataclass(frozen=True)
class MethodResults:
    """All clips of one method.

    Attributes:
        name: Name of the method.
        clips: Results in the order of subsets and clips.
        settings: Settings of the evaluation.
    """

    name: str
    clips: tuple[ClipResult, ...]
    settings: Settings

    @cached_property
    def by_subset(self) -> dict[str, list[ClipResult]]:
        """The clips by subset, both in order."""
        found: dict[str, list[ClipResult]] = {}
        for clip in self.clips:
            found.setdefault(clip.subset, []).append(clip)
        return found

    def left_out(self, clip: ClipResult) -> str | None:
        """Return why a clip is not in the VPS scores; None if it is."""
        if clip.subset == POLYP_FREE:
            return "free of polyps"
        if clip.counts["frames"] < 3:
            return "fewer than 3 frames, of which VPS drops two"
        if not clip.whole.num_scored:
            return "no map of a frame that counts"
        if self.settings.polyp_free_clips == "skip" and not clip.counts["polyp_frames"]:
            return "free of polyps"
        return None

    def in_vps(self, clips: Iterable[ClipResult]) -> list[ClipResult]:
        """Return the clips that count in the VPS scores."""
        return [clip for clip in clips if not self.left_out(clip)]

    def vps_scores(self, clips: Iterable[ClipResult]) -> dict[str, float]:
        """Return the 17 scores over clips; empty without a clip that counts."""
        counted = self.in_vps(clips)
        return summary(reduce_subset(clip.whole.vector for clip in counted)) if counted else {}

    def clinical_scores(self, clips: Sequence[ClipResult]) -> ClinicalScores:
        """Return the clinical scores over clips."""
        tallies, free = self._tallies(clips)
        return summarise(tallies, self.settings.clinical, free)

    def _tallies(self, clips: Sequence[ClipResult]) -> tuple[list[ClipTally], list[ClipTally]]:
        """Return the tallies of clips, and with them those of the polyp-free clips.

        Rates of alarms are those of the polyp-free frames of both.
        """
        free = self.by_subset.get(POLYP_FREE, [])
        more = [one for one in free if all(one is not clip for clip in clips)]
        own = [clip.whole.tally for clip in clips]
        return own, own + [clip.whole.tally for clip in more]

    def scores_at_point(self, clips: Sequence[ClipResult]) -> ClinicalScores:
        """Return the clinical scores of the masks at the operating point.

        The names of those that state their threshold end in `_at_operating_point`. Calibration and
        sensitivities at other rates of alarms are not of masks.
        """
        rules = replace(self.settings.clinical, threshold=0.5, alarm_rates=())
        found = summarise([clip.at_point for clip in clips if clip.at_point is not None], rules)
        return {
            name.replace("_at_0.5", "_at_operating_point"): value
            for name, value in found.items()
            if name not in ("ece", "brier")
        }

    def scores(self, clips: Sequence[ClipResult]) -> Scores:
        """Return all scores over clips, of the protocols that were asked for."""
        found: Scores = {}
        if self.settings.with_vps:
            found |= self.vps_scores(clips)
        if self.settings.with_clinical:
            found |= self.clinical_scores(clips)
        return found | self.frame_metrics(clips)

    def frame_metrics(self, clips: Iterable[ClipResult]) -> Scores:
        """Return the frame metrics over clips; None without a frame that has one."""
        parts = [clip.whole for clip in clips]
        found: Scores = {}
        for name, metric in self.settings.frame_metrics.items():
            if metric.over == "clips":
                means = [mean for part in parts if (mean := part.mean(name)) is not None]
                found[name] = float(np.mean(means)) if means else None
            else:
                total = sum(part.metrics[name][0] for part in parts)
                number = sum(part.metrics[name][1] for part in parts)
                found[name] = total / number if number else None
        return found

    def metrics(self) -> dict[str, Any]:
        """Return the content of metrics.json: VPS scores, and below "clinical" the clinical ones.

        Raises:
            DataError: No clip of a subset is left for the VPS scores.
        """
        settings = self.settings
        content: dict[str, Any] = {"protocol": settings.protocol, "method": self.name}
        content |= self._part(self.vps_scores, self._vps_subsets())
        if settings.with_clinical:
            scores = self._part(self.clinical_scores, self.by_subset)
            rates = list(settings.clinical.alarm_rates)  # as JSON has it
            usual = settings.clinical.frames_per_second
            fps = {clip.name: clip.whole.tally.frames_per_second for clip in self.clips}
            own_fps = {name: value for name, value in fps.items() if value != usual}
            rules = {**asdict(settings.clinical), "alarm_rates": rates, "own_fps": own_fps}
            content["clinical"] = {"rules": rules, **scores}
        at_point = replace(self, clips=tuple(clip for clip in self.clips if clip.point)).by_subset
        if at_point:
            points = {name: asdict(own[0].point) for name, own in at_point.items() if own[0].point}
            scores = self._part(self.scores_at_point, at_point)
            content["operating_point"] = {"points": points, **scores}
        if settings.frame_metrics:
            content["frame_metrics"] = self._part(self.frame_metrics, self.by_subset)
            content["scores"] = {n: asdict(metric.info) for n, metric in settings.metrics.items()}
        if settings.with_low:
            content["low_quality"] = self._low_part()
        left_out = {subset: self._reasons(clips) for subset, clips in self.by_subset.items()}
        content["left_out"] = {subset: reasons for subset, reasons in left_out.items() if reasons}
        content["counts"] = {name: self.counts(clips) for name, clips in self.by_subset.items()}
        content["notes"] = {name: self.notes(clips) for name, clips in self.by_subset.items()}
        return content

    def _reasons(self, clips: Sequence[ClipResult]) -> dict[str, str]:
        """Return why clips are not in the VPS scores, if these are wanted, by name of the clip."""
        named = clips if self.settings.with_vps else ()
        return {clip.name: reason for clip in named if (reason := self.left_out(clip))}

    def counts(self, clips: Sequence[ClipResult]) -> dict[str, int]:
        """Return how many clips, frames and so on the scores are made of."""
        return {
            "clips": len(clips),
            "vps_clips": len(self.in_vps(clips)) if self.settings.with_vps else 0,
            "vps_frames": sum(clip.whole.num_scored for clip in self.in_vps(clips)),
            **{name: sum(clip.counts[name] for clip in clips) for name in COUNTS},
        }

    def notes(self, clips: Sequence[ClipResult]) -> list[str]:
        """Return what a reader of the scores of a subset must know of the data behind them."""
        settings, counts = self.settings, self.counts(clips)
        found = []
        if counts["missing"]:
            treated = "scored as empty" if settings.missing == "zero" else "left out"
            found.append(f"{counts['missing']} maps are missing and were {treated}")
        if settings.with_vps:
            for reason, number in Counter(self._reasons(clips).values()).items():
                found.append(f"{number} clips are not in the VPS scores ({reason})")
            free = [c for c in self.in_vps(clips) if not c.counts["polyp_frames"]]
            if free:
                found.append(
                    f"{len(free)} clips without a polyp have a Dice of 0 under VPS for any "
                    "prediction; polyp_free_clips=skip leaves them out"
                )
            if counts["full_masks"]:
                found.append(
                    f"{counts['full_masks']} masks fill the image; specificity counts as 1 there, "
                    "where the toolbox has NaN"
                )
        bare = sum(clip.counts["unannotated"] for clip in clips)
        if bare:
            found.append(f"{bare} frames have no mask and are not scored")
        has_free = any(clip.whole.tally.num_free_frames for clip in clips)
        if settings.with_clinical and not (settings.polyp_free or has_free):
            found.append(
                "every frame shows a polyp, so frame_specificity and false alarms are unknown; "
                "polyp_free=DIR adds clips without one"
            )
        if settings.quality and not counts["low_frames"]:
            found.append(f"no run of {settings.min_run} or more low-quality frames was found")
        return found

    def curves(self) -> dict[str, FloatArray | IntArray]:
        """Return the content of curves.npz, `<subset>/<name>`.

        `dice`, `iou`, `sensitivity`, `specificity`, `precision`: mean curves [256] over
        `thresholds`, precision being 0 where nothing is hit. `e`, `f`: over grey levels 255 to 0.
        `reliability_confidence`, `_frequency`, `_weight`: bins of the clinical protocol, from
        `pixels` [2, 256], background and polyp pixels by grey level. `alarm_rate`,
        `frame_sensitivity`, `overlap_sensitivity`: where all from grey level 0, 1 ... 255 on is
        marked, see `sali.metrics.clinical_summary.MatchedCurve`.
        """
        found: dict[str, FloatArray | IntArray] = {"thresholds": np.linspace(1, 0, 256)}
        for subset, clips in self.by_subset.items():
            counted = self.in_vps(clips)
            if self.settings.with_vps and counted:
                vector = reduce_subset(clip.whole.vector for clip in counted)
                found |= {f"{subset}/{name}": curve(vector, name) for name in CURVES}
                precision = np.mean([clip.whole.precision for clip in counted], axis=0)
                found[f"{subset}/precision"] = precision
            if self.settings.with_clinical:
                matched = matched_curve(*self._tallies(clips))
                if matched:
                    found |= {f"{subset}/{name}": one for name, one in matched._asdict().items()}
                pixels = np.sum([clip.whole.tally.counts for clip in clips], axis=0)
                found[f"{subset}/pixels"] = pixels
                if pixels.any():
                    bins = reliability(pixels)._asdict().items()
                    found |= {f"{subset}/reliability_{name}": one for name, one in bins}
        return found

    def _vps_subsets(self) -> dict[str, list[ClipResult]]:
        """Return the clips of the VPS scores by subset."""
        found = {}
        for subset, clips in self.by_subset.items() if self.settings.with_vps else ():
            if subset == POLYP_FREE:
                continue
            found[subset] = self.in_vps(clips)
            if not found[subset]:
                reasons = sorted(set(self._reasons(clips).values()))
                raise DataError(
                    f"no clip of {subset} is left for the VPS scores: {'; '.join(reasons)}; "
                    "protocol=clinical scores all frames"
                )
        return found

    def _part(
        self,
        scores_of: Callable[[Sequence[ClipResult]], Mapping[str, Any]],
        subsets: Mapping[str, Sequence[ClipResult]],
    ) -> dict[str, Any]:
        """Return scores by subset and by clip."""
        return {
            "subsets": {name: scores_of(clips) for name, clips in subsets.items()},
            "clips": {
                name: {clip.name: scores_of([clip]) for clip in clips}
                for name, clips in subsets.items()
            },
        }

    def _low_part(self) -> dict[str, Any]:
        """Return the scores of the low-quality frames by subset, of the clips that have some."""
        clips = (clip for clip in self.clips if clip.counts["low_frames"])
        low = replace(self, clips=tuple(replace(clip, whole=clip.low) for clip in clips))
        return {
            subset: {
                "clips": len(own),
                "vps_clips": len(low.in_vps(own)) if self.settings.with_vps else 0,
                **low.scores(own),
            }
            for subset, own in low.by_subset.items()
        }


def score_names(settings: Settings) -> list[str]:
    """Return the names of all scores of the protocols that were asked for."""
    vps = METRIC_NAMES if settings.with_vps else ()
    clinical = clinical_names(settings.clinical) if settings.with_clinical else ()
    return [*vps, *clinical, *settings.frame_metrics]


def clip_rows(results: MethodResults) -> list[dict[str, Any]]:
    """Return the rows of clips.csv, whose columns are their keys and the names of all scores."""
    return [
        {
            "subset": clip.subset,
            "clip": clip.name,
            **clip.counts,
            "scored_frames": clip.whole.num_scored,
            **dict.fromkeys(score_names(results.settings)),
            **results.scores([clip]),
        }
        for clip in results.clips
    ]
