"""The data goes one way: no package looks upstream."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

LINT = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]


def test_no_module_imports_one_that_stands_above_it() -> None:
    done = subprocess.run(LINT, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "no package looks upstream KEPT" in done.stdout


def test_reading_a_command_line_loads_no_library_but_python_s_own() -> None:
    program = (
        "import sys, scripts.__main__; print(*{'yaml', 'rich', 'helm_python'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
