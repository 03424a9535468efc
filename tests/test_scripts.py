"""The scripts beside the package."""

import importlib.util
import json
import sys
from types import ModuleType

import pytest
from miniature import ROOT
from omegaconf import OmegaConf


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def write_run(folder, lr, dice, fingerprint):
    (folder / ".hydra").mkdir(parents=True)
    config = {"optimizer": {"lr": lr}, "paths": {"output_dir": str(folder)}, "a": [1, 2]}
    OmegaConf.save(OmegaConf.create(config), folder / ".hydra/config.yaml")
    record = {
        "started": str(folder),
        "versions": {"torch": "2", "timm": lr},
        "data": {"fingerprint": fingerprint},
    }
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "status.json").write_text(json.dumps({"state": "finished", "error": None}))
    scores = {"subsets": {"seen_easy": {"dice_max": dice, "mae": 0.1}}}
    (folder / "metrics.json").write_text(json.dumps(scores))
    return folder


def test_compare_runs(tmp_path, capsys):
    compare = script("compare_runs")
    a = write_run(tmp_path / "a", 0.1, 0.5, "x")
    b = write_run(tmp_path / "b", 0.2, 0.75, "x")
    assert compare.differences(a, b) == [
        ("config.optimizer.lr", 0.1, 0.2),
        ("run.versions.timm", 0.1, 0.2),
        ("score.seen_easy.dice_max", 0.5, 0.75),
    ]
    (b / "metrics.json").unlink()
    assert ("score.seen_easy.mae", 0.1, "-") in compare.differences(a, b)
    compare.main([str(a), str(a)])
    assert "no difference" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"holds no run\.json"):
        compare.main([str(a), str(tmp_path)])


def keys_of(node) -> set[str]:
    """Names of everything logged that a specification's panels show."""
    found = set()
    if isinstance(node, dict):
        for name in ("metrics", "mediaKeys"):
            found |= {key for key in node.get(name) or [] if isinstance(key, str)}
        found |= {key for value in node.values() for key in keys_of(value)}
    elif isinstance(node, list):
        found = {key for value in node for key in keys_of(value)}
    return found


def test_dashboard_without_a_server(capsys):
    pytest.importorskip("wandb_workspaces")
    dashboard = script("wandb_dashboard")
    dashboard.main(["--entity", "team", "--subsets", "seen_easy", "unseen_hard", "--dry-run"])
    spec = json.loads(capsys.readouterr().out)
    sections = spec["section"]["panelBankConfig"]["sections"]
    names = ["Ablation", "Training", "Validation", "seen_easy", "unseen_hard"]
    assert [section["name"] for section in sections] == names
    for section in sections[3:]:
        shown = keys_of(section)
        assert f"test/{section['name']}/dice_max" in shown
        assert f"test/{section['name']}/overlays" in shown
        assert f"test/{section['name']}/clips" in json.dumps(section)
    assert keys_of(sections[0]) == {"test/seen_easy/dice_max", "test/unseen_hard/dice_max"}
    columns = spec["section"]["runSets"][0]["runFeed"]["columnPinned"]
    assert "config:memory.value.max_frames" in columns
    # Every setting that an ablation table shows exists.
    base = {p.stem for p in (ROOT / "configs").iterdir()} | {"seed", "context_gradient"}
    assert {choice.split(".")[0] for choice in dashboard.CHOICES} <= base
