"""Stands for one training: takes its command line and writes its folder, without a network.

Scores by `optimizer.lr` and `seed`; what else it does is said by `init_ckpt`. Each run leaves a
line in `runs.txt` of its folder.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path


def score(lr: float, seed: int) -> float:
    return 0.5 + lr + seed / 100


def main() -> None:
    given = dict(a.lstrip("+").split("=", 1) for a in sys.argv[1:] if not a.startswith("--"))
    assert given["hydra.mode"] == "RUN"
    folder = Path(given["hydra.run.dir"].strip("'"))
    with (folder / "runs.txt").open("a") as file:
        file.write(f"{os.getpid()}\n")
    status = folder / "status.json"
    status.write_text(json.dumps({"state": "running", "error": None}))
    match given.get("init_ckpt"):
        case "broken.ckpt" if not Path("mended").exists():
            status.write_text(json.dumps({"state": "failed", "error": "ValueError: broken\nmore"}))
            sys.exit("Traceback\nValueError: broken")
        case "killed.ckpt":
            os.kill(os.getpid(), signal.SIGKILL)
        case "refused.ckpt":
            status.unlink()
            sys.exit("error: a key is unknown")
        case "slow.ckpt":
            while Path(f"hold-{given['seed']}").exists():
                time.sleep(0.05)
    value = score(float(given.get("optimizer.lr", 0.1)), int(given["seed"]))
    scores = {"dice_max": value, "mae": 1 - value}
    metrics = {
        "best": {"val/frame_dice_at_0.5": value - 0.1},
        "method": "stub",
        "counts": {"seen_easy": {"clips": 33}},
        "subsets": {"seen_easy": scores},
        "clips": {"seen_easy": {f"case{i}_1": scores for i in range(33)}},
        "frame_metrics": {"subsets": {"seen_easy": {"frame_dice_at_0.5": value}}, "clips": {}},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    status.write_text(json.dumps({"state": "finished", "error": None}))


if __name__ == "__main__":
    main()
