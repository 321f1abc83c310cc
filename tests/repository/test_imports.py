"""Imports go in one direction: no package imports one above it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

LINT = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]


def test_no_module_imports_one_of_a_layer_above() -> None:
    done = subprocess.run(LINT, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "no package looks upstream KEPT" in done.stdout


def test_parsing_a_command_line_imports_the_standard_library_only() -> None:
    program = (
        "import sys, scripts.__main__; print(*{'yaml', 'rich', 'helm_python'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
