"""Each command has a help text with examples, and a nox session of the same name."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.__main__ import COMMANDS, SHARED, main
from tests.conftest import ROOT

NAMES = sorted(file.stem for file in COMMANDS.glob("*.py") if file.stem not in SHARED)
TESTED_HERE = [name for name in NAMES if name != "cluster"]
"""Not cluster: its packages are not installed for these tests; tests/e2e checks its help."""


@pytest.mark.parametrize("name", TESTED_HERE)
def test_help_has_the_arguments_of_its_examples(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    usage, _, examples = capsys.readouterr().out.partition("example")
    assert usage.startswith(f"usage: nox -s {name} --")
    lines = [line.strip() for line in examples.splitlines()[1:] if line.strip()]
    assert lines
    for line in lines:
        words = shlex.split(line)
        arguments = words[words.index("--") + 1 :] if "--" in words else []
        for argument in arguments:
            assert not argument.startswith("--") or argument in usage, line


def test_help_lists_every_command_and_imports_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    program = (
        "import contextlib, sys; from scripts.__main__ import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "print(*(name for name in sys.modules if name.startswith('scripts.commands.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    *text, imported = done.stdout.splitlines()
    assert not imported
    assert [line.split()[0] for line in text if re.match(r" {4}\w", line)] == NAMES


def test_every_command_has_a_session() -> None:
    noxfile = (ROOT / "noxfile.py").read_text("utf-8")
    sessions = re.findall(r"^@nox\.session\ndef (\w+)", noxfile, re.MULTILINE)
    assert set(NAMES) - {"gate"} <= set(sessions), "gate runs in lint"
    for name in NAMES:
        assert re.search(rf'"scripts",?\s+"{name}"', noxfile), name


def test_the_version_is_that_of_the_chart(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    version = capsys.readouterr().out.strip()
    assert f"\nversion: {version}\n" in (ROOT / "chart/Chart.yaml").read_text("utf-8")


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("val", {"validate"}),
        ("validate --ag", {"--against"}),
        ("render pr", {"prod"}),
        ("impact --format h", {"html"}),
    ],
)
def test_a_shell_completes_commands_options_and_environments(
    line: str, completed: set[str], tmp_path: Path
) -> None:
    words = f"scripts {line}"
    environment = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": f"{tmp_path}/completed",
        "COMP_LINE": words,
        "COMP_POINT": str(len(words)),
    }
    subprocess.run(
        [sys.executable, "-m", "scripts"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=True,
    )
    text = (tmp_path / "completed").read_text("utf-8")
    assert {word.strip() for word in text.split("\n")} == completed
