"""Search the whole repository and the rendered output for secrets with gitleaks, offline."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.core import programs, repository, toolchain
from scripts.core.findings import Finding, UsageError

TOOL = "gitleaks"
TIMEOUT_S = 600
CONFIG = repository.ROOT / "tools" / TOOL / "gitleaks.toml"
_OWN = ".render/"
"""The folder of digests, which look like keys. git ignores it, unless people changed .gitignore."""
_LARGEST_B = 5_000_000
"""Of the files that are searched; nothing that people write is larger."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret in a file."""

    check: str
    """gitleaks/ and the rule's id."""
    file: str
    line: int
    column: int
    message: str

    def finding(self) -> Finding:
        """Return it as a finding; the secret itself is not in it."""
        fix = (
            "remove the secret, create a new one, because git keeps the old one, and store that in"
        )
        fix += " the secrets manager; if the text is not a secret, add a waiver with the reason to"
        fix += " base/policy.yaml"
        return Finding(self.file, self.line, self.column, self.check, self.message, fix)


def scan(root: Path, paths: Iterable[str], rendered: Mapping[str, str]) -> list[Secret]:
    """Return the secrets in files of the repository, and in rendered output.

    paths: the files, from `names`. rendered: path → text, which replaces the file of that path.
    Raises UsageError if gitleaks does not work.
    """
    with tempfile.TemporaryDirectory(prefix="policy-") as temporary:
        tree = Path(temporary)
        for name in paths:
            _copy(root / name, tree / name)
        for name, text in rendered.items():
            target = tree / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            target.write_text(text, "utf-8")
        return search(tree)


def search(tree: Path) -> list[Secret]:
    """Return the secrets in the files of a folder; raises UsageError if gitleaks does not work."""
    program = toolchain.tool(TOOL)
    with tempfile.TemporaryDirectory(prefix="policy-") as temporary:
        report = Path(temporary) / "report.json"
        command: list[str | Path] = [program, "dir", "--no-banner", "--no-color"]
        command += ["--log-level=error", "--redact=100", "--exit-code=0", "--report-format=json"]
        # Waivers belong into base/policy.yaml, never into comments.
        command += ["--ignore-gitleaks-allow", f"--report-path={report}", f"--config={CONFIG}", "."]
        environment = {"PATH": os.defpath, "HOME": temporary, "TMPDIR": temporary}
        done = programs.run(command, TOOL, TIMEOUT_S, cwd=tree, environment=environment)
        if done.returncode or not report.exists():
            output = (done.stderr or done.stdout).strip()
            raise UsageError(f"{TOOL} failed with exit code {done.returncode}: {output[-2000:]}")
        found = json.loads(report.read_text("utf-8") or "[]") or []
    return [
        Secret(
            f"{TOOL}/{each['RuleID']}",
            Path(each["File"]).as_posix(),
            each["StartLine"],
            each["StartColumn"],
            f"the line seems to contain a secret: {each['Description'].rstrip('.')}",
        )
        for each in found
    ]


def names(root: Path) -> Sequence[str]:
    """Return the files that git has or would add; raises UsageError if git does not work."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = programs.run(command, "git", programs.QUERY_TIMEOUT_S, cwd=root).stdout
    return [
        name
        for name in listed.split("\0")
        if name and Path(name).name != ".gitleaksignore" and not name.startswith(_OWN)
    ]


def _copy(source: Path, target: Path) -> None:
    """Copy a file, if it is one and not too large."""
    if source.is_symlink() or not source.is_file() or source.stat().st_size > _LARGEST_B:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
