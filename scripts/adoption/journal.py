"""Write a plan so that a killed run can be completed: everything is staged, then moved.

The staged files are complete once .render/adopt exists. Each step moves or removes something, so
that it can be repeated.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from scripts.adoption import environment_files
from scripts.adoption.plan import Plan
from scripts.output import committed

_READY = ".render/adopt"
_STAGED = ".render/adopt.new"
_STEPS = "steps.json"


def recover(root: Path) -> bool:
    """Complete what a killed run had begun; return whether there was anything."""
    if not (root / _READY).is_dir():
        return False
    with committed.locked(root):
        _apply(root)
    return True


def write(root: Path, plan: Plan) -> None:
    """Write a plan into the repository."""
    with committed.locked(root):
        staged = root / _STAGED
        shutil.rmtree(staged, ignore_errors=True)
        texts = dict(plan.files)
        for name, files in plan.environments.items():
            texts |= {f"overlays/{name}/{file}": text for file, text in files.items()}
        for file, text in texts.items():
            path = staged / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        steps = {
            "environments": list(plan.environments),
            "remove": list(plan.remove),
            "files": list(plan.files),
        }
        (staged / _STEPS).write_text(json.dumps(steps), "utf-8")
        os.rename(staged, root / _READY)
        _apply(root)


def _apply(root: Path) -> None:
    ready = root / _READY
    steps = json.loads((ready / _STEPS).read_text("utf-8"))
    for name in steps["environments"]:
        if (ready / "overlays" / name).is_dir():
            environment_files.move_into_place(root, name, ready / "overlays" / name)
    for name in steps["remove"]:
        shutil.rmtree(root / "overlays" / name, ignore_errors=True)
    for file in steps["files"]:
        if (ready / file).exists():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            os.replace(ready / file, root / file)
    for left in (root / "overlays").glob(f"{environment_files.OLD}*"):
        shutil.rmtree(left)
    shutil.rmtree(ready)
