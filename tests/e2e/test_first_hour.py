"""The README's commands lead from a clone to an environment of one's own that is synced."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.e2e.test_session import ENDED, HANG_S
from tests.git import NOBODY, commit, git

MOST_COMMANDS = 6
ADDRESS = "https://git.example.com/your-team/linea-stacks.git"
"""The address in the README, in place of one's own."""
NAME = "sandbox"

NOX = f"""#!/bin/bash
# In place of nox: what its sessions start, with the tools that this machine has built.
mkdir -p .tools
for each in {ROOT}/.tools/*; do ln -sfn "$each" .tools/; done
rm -f .tools/lock
[[ $2 == adopt ]] && cp "$ANSWERS" adopt.yaml
exec {sys.executable} -m scripts "$2" "${{@:4}}"
"""


def commands() -> list[str]:
    """Return the commands in the README's section, in their order."""
    text = (ROOT / "README.md").read_text("utf-8")
    section = text.split("\n## Make it yours\n")[1].split("\n## ")[0]
    (block,) = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    return re.findall(r"^\$ (.*)$", block, re.MULTILINE)


def test_there_are_few_commands() -> None:
    assert 0 < len(commands()) <= MOST_COMMANDS
    assert not [command for command in commands() if re.search(r"&&|;|\|", command)]


def working_tree(target: Path) -> Path:
    """Copy what git has or would add into a new repository with one commit; return its path."""
    known = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, git(ROOT, *known).split("\0")):
        file = ROOT / name
        if file.is_file() or file.is_symlink():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target / name, follow_symlinks=False)
    git(target, "init", "-q", "-b", "main")
    commit(target)
    return target


@pytest.fixture
def person(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a shell in which a person runs the commands one after the other."""
    source = working_tree(tmp_path / "source")
    answers = {
        "repository": {"url": source.as_uri()},
        "environments": {NAME: {"like": "dev", "clients": ["10.8.0.0/16"]}},
    }
    (tmp_path / "answers.yaml").write_text(yaml.safe_dump(answers), "utf-8")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "nox").write_text(NOX, "utf-8")
    (programs / "nox").chmod(0o755)
    (tmp_path / "work").mkdir()
    *first, last = commands()
    # The last one is the shell's own process, so that it gets the signal.
    script = "\n".join([*first, f"exec {last}"])
    process = subprocess.Popen(
        ["bash", "-ec", script],
        cwd=tmp_path / "work",
        env={
            **os.environ,
            **NOBODY,
            "ANSWERS": str(tmp_path / "answers.yaml"),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{source.as_uri()}.insteadOf",
            "GIT_CONFIG_VALUE_0": ADDRESS,
            "HOME": str(tmp_path),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(tmp_path),
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.terminate()
    process.communicate(timeout=HANG_S)


def test_the_commands_of_the_readme_lead_to_an_own_environment_that_is_synced(
    person: subprocess.Popen[str], tmp_path: Path
) -> None:
    output = ""
    assert person.stdout
    for line in person.stdout:
        output += line
        if "runs until Ctrl-C" in line:
            break
    assert person.poll() is None, output
    synced = set(re.findall(r"^ *\d+ s  (\S+)  Synced Healthy$", output, re.MULTILINE))
    assert synced == {"linea-root", f"linea-{NAME}"}, output
    (clone,) = (tmp_path / "work").iterdir()
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "ls-files", "overlays/*/environment.yaml").split() == [
        f"overlays/{NAME}/environment.yaml"
    ]
    person.terminate()
    rest, _ = person.communicate(timeout=HANG_S)
    assert ENDED in rest
