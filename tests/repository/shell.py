"""Run the scripts of workflows and pipelines as their runners do."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import nox

from tests.conftest import ROOT, Repository

PROGRAMS = Path(sys.executable).parent


def sessions() -> list[str]:
    """Return the sessions that nox runs without arguments, which a change must pass."""
    import_module("noxfile")
    return [*(nox.options.sessions or ())]


def bash(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script as GitHub's runner and GitLab's do."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def program(folder: Path, repository: Repository) -> None:
    """Write a program `python` into a new folder, which runs sessions without nox.

    It takes the command lines python -m nox -s impact -- …, and starts what the session starts.
    """
    folder.mkdir()
    python = folder / "python"
    python.write_text(
        f"""#!/bin/bash
        session=$4 options=("${{@:6}}")
        [[ $session == check ]] && session=render options=(--check)
        cd {ROOT}
        {sys.executable} -m scripts --repository {repository.root} "$session" "${{options[@]}}"
        """
    )
    python.chmod(0o755)
