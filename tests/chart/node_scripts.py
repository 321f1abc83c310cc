"""Runs the scripts of the nodes as the files that they are."""

from __future__ import annotations

import os
import subprocess

from tests.objects import CHART

FILES = CHART / "files"


def run(script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    path = FILES / script
    shell = path.read_text("utf-8").splitlines()[0].removeprefix("#!")
    environment = {"PATH": os.environ["PATH"], **variables}
    command = [shell, str(path), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)
