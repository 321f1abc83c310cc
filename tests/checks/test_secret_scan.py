"""gitleaks searches what git has or would add, and what render writes now, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.checks import secret_scan
from tests.git import committed

TOKEN = "glpat-" + "Ab3dE5gH1jK2mN4pQ6rS"
TEXT = f"token: {TOKEN}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository without a secret."""
    return committed(tmp_path / "repository", {"a.yaml": "a: 1\n", ".gitignore": ".secrets/\n"})


def found(root: Path, rendered: dict[str, str]) -> list[tuple[str, str, int]]:
    """Return check, file and line of what is found; no message has the secret."""
    secrets = secret_scan.scan(root, secret_scan.names(root), rendered)
    assert all(TOKEN not in str(secret.finding()) for secret in secrets)
    return [(secret.check, secret.file, secret.line) for secret in secrets]


def test_files_that_git_would_add_and_rendered_output_are_searched(root: Path) -> None:
    (root / "chart/files").mkdir(parents=True)
    (root / "chart/files/x.sh").write_text(f"#!/bin/sh\n{TEXT}", "utf-8")
    assert sorted(found(root, {"overlays/prod/manifests/x.yaml": TEXT})) == [
        ("gitleaks/gitlab-pat", "chart/files/x.sh", 2),
        ("gitleaks/gitlab-pat", "overlays/prod/manifests/x.yaml", 1),
    ]


def test_private_files_and_what_is_no_longer_rendered_are_not(root: Path) -> None:
    (root / ".secrets").mkdir()
    (root / ".secrets/x.yaml").write_text(TEXT, "utf-8")
    (root / "old.yaml").write_text(TEXT, "utf-8")
    assert found(root, {"old.yaml": "a: 1\n"}) == []


def test_comments_and_files_do_not_hide_a_secret(root: Path) -> None:
    (root / "a.yaml").write_text(f"token: {TOKEN} # gitleaks:allow\n", "utf-8")
    (root / ".gitleaksignore").write_text("a.yaml:gitlab-pat:1\n", "utf-8")
    assert found(root, {}) == [("gitleaks/gitlab-pat", "a.yaml", 1)]
