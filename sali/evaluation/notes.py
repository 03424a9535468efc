"""What a reader of the figures must know of the data behind them."""

from sali.evaluation.results import MethodResults


def notes(method: MethodResults, subset: str) -> list[str]:
    """What a reader of the figures of a subset must know."""
    settings, clips = method.settings, method.of(subset)
    counts = method.counts(clips)
    found = []
    if counts["missing"]:
        treated = "scored as empty" if settings.missing == "zero" else "left out"
        found.append(f"{counts['missing']} maps are missing and were {treated}")
    if settings.with_vps:
        reasons: dict[str, list[str]] = {}
        for clip in clips:
            reason = method.left_out(clip)
            if reason:
                reasons.setdefault(reason, []).append(clip.name)
        for reason, names in reasons.items():
            found.append(f"{len(names)} clips are not in the VPS figures ({reason})")
        free = [c for c in method.in_vps(clips) if not c.counts["polyp_frames"]]
        if free:
            found.append(
                f"{len(free)} clips without a polyp score 0 in Dice under VPS whatever is "
                "predicted; polyp_free_clips=skip leaves them out"
            )
        if counts["full_masks"]:
            found.append(
                f"{counts['full_masks']} masks fill the image; specificity counts as 1 there, "
                "where the toolbox has NaN"
            )
    has_free = any(clip.whole.tally.num_free_frames for clip in clips)
    if settings.with_clinical and not (settings.polyp_free or has_free):
        found.append(
            "every frame shows a polyp, so frame_specificity and false alarms are unknown; "
            "polyp_free=DIR adds clips without one"
        )
    if settings.quality and not counts["low_frames"]:
        found.append(f"no run of {settings.min_run} or more low-quality frames was found")
    return found
