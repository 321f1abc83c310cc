"""The sessions run whatever variables of Python a machine has set."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import noxfile
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PYTHONSAFEPATH", "1"),
        ("PYTHONPATH", "/nowhere"),
        ("PYTHONOPTIMIZE", "2"),
        ("PYTHONINSPECT", "1"),
        ("PYTHONWARNINGS", "error"),
        ("PYTHONHOME", "/nowhere"),
        ("PYTHONPLATLIBDIR", "nowhere"),
    ],
)
def test_a_variable_of_python_does_not_reach_the_program(name: str, value: str) -> None:
    # As nox does it: what is None is unset.
    environment = {**os.environ, name: value, **noxfile.CLEAN}
    done = subprocess.run(
        [sys.executable, "-m", "scripts", "--version"],
        cwd=ROOT,
        env={key: text for key, text in environment.items() if text is not None},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert (done.returncode, done.stderr) == (0, "")
