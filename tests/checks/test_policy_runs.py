"""policy keeps what its tools find, and uses it only where nothing that decides it has changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from scripts.checks import policy, policy_runs, policy_scanners, secret_scan
from scripts.checks.policy_scanners import FailedCheck
from scripts.checks.secret_scan import Secret
from scripts.core import toolchain
from scripts.kubernetes.manifest import Manifest
from tests.conftest import Repository
from tests.git import git

Runs = list[str]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Return what the tools were started for, instead of starting them."""
    started = Runs()

    def failed(manifests: Sequence[Manifest]) -> Iterator[FailedCheck]:
        for manifest in manifests:
            if manifest.kind == "CronJob":
                yield FailedCheck("checkov/CKV_K8S_8", manifest, ("spec", 0), "no probe")

    def scan(environments: Sequence[tuple[Sequence[Manifest], str]]) -> list[list[FailedCheck]]:
        started.extend(f"checks {found[0].namespace}" for found, _ in environments)
        return [list(failed(found)) for found, _ in environments]

    def search(tree: Path) -> list[Secret]:
        files = [path for path in sorted(tree.rglob("*")) if path.is_file()]
        started.append("secrets")
        return [
            Secret("gitleaks/x", str(path.relative_to(tree)), 1, 1, "a secret")
            for path in files
            if b"HIDDEN-WORD" in path.read_bytes()
        ]

    monkeypatch.setattr(policy_scanners, "scan", scan)
    monkeypatch.setattr(secret_scan, "search", search)
    return started


@pytest.fixture
def kept(repository: Repository, runs: Runs) -> Repository:
    """Return a repository of which policy has just checked all environments."""
    git(repository.root, "init", "-q", "-b", "main")
    repository.write(".gitignore", ".render/\n")
    repository.write("notes.txt", "HIDDEN-WORD\n")
    found(repository)
    assert sorted(set(runs)) == [
        "checks linea-dev",
        "checks linea-prod",
        "secrets",
    ]
    runs.clear()
    return repository


def found(repository: Repository, *, is_cached: bool = True) -> policy_runs.Found:
    return policy_runs.run(repository.root, ["dev", "prod"], lambda _: True, is_cached)


def test_nothing_is_checked_again_if_nothing_has_changed(kept: Repository, runs: Runs) -> None:
    again = found(kept)
    assert runs == []
    assert again == found(kept, is_cached=False)
    assert runs
    assert [secret.file for secret in again.secrets] == ["notes.txt"]
    assert [failure.path for failure in again.failures["prod"]] == [("spec", 0)] * 2


CHANGES: dict[str, tuple[Callable[[Repository], object], Runs]] = {
    "values": (
        lambda r: r.write("overlays/dev/values.yaml", "{}\n"),
        ["checks linea-dev", "secrets"],
    ),
    "base": (
        lambda r: (r / "base/values.yaml").write_text((r / "base/values.yaml").read_text() + "#\n"),
        ["checks linea-dev", "checks linea-prod", "secrets"],
    ),
    "a file of no environment": (lambda r: r.write("notes.txt", "x\n"), ["secrets"]),
    "a file that render did not write": (
        lambda r: r.write("overlays/dev/manifests/x.txt", "HIDDEN-WORD\n"),
        ["secrets"],
    ),
    "a file that is gone": (lambda r: (r / "notes.txt").unlink(), ["secrets"]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_has_only_its_environment_checked_again(
    what: str, kept: Repository, runs: Runs
) -> None:
    change, started = CHANGES[what]
    change(kept)
    after = found(kept)
    assert sorted(set(runs)) == started
    assert after == found(kept, is_cached=False)


@pytest.mark.parametrize("tool", ["kube-score", "checkov", "gitleaks", "settings"])
def test_another_tool_checks_everything_again(
    tool: str, kept: Repository, runs: Runs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if tool == "gitleaks":
        config = tmp_path / "gitleaks.toml"
        config.write_text(secret_scan.CONFIG.read_text("utf-8") + "# changed\n", "utf-8")
        monkeypatch.setattr(secret_scan, "CONFIG", config)
    elif tool == "settings":
        monkeypatch.setattr(policy_scanners, "OPTIONAL", ("another",))
    elif tool == "checkov":
        python = tmp_path / "bin" / "python"
        (tmp_path / "installed.json").write_text('{"policy": "another"}', "utf-8")
        monkeypatch.setattr(policy_scanners, "CHECKOV", python)
    else:
        monkeypatch.setattr(toolchain, "tool", lambda name: tmp_path / f"{name}-2")
    found(kept)
    assert ("secrets" in runs) == (tool in ("gitleaks", "kube-score"))
    assert ("checks linea-dev" in runs) == (tool != "gitleaks")


def entries(repository: Repository) -> list[Path]:
    return sorted((repository / ".render/policy").iterdir())


@pytest.mark.parametrize("length", [0, 40, -3])
def test_a_torn_entry_is_not_used(length: int, kept: Repository, runs: Runs) -> None:
    for entry in entries(kept):
        entry.write_bytes(entry.read_bytes()[:length])
    before = found(kept, is_cached=False)
    runs.clear()
    for entry in entries(kept):
        entry.write_bytes(entry.read_bytes()[:length])
    assert found(kept) == before
    assert "checks linea-dev" in runs


def test_a_changed_entry_is_not_used(kept: Repository, runs: Runs) -> None:
    for entry in entries(kept):
        digest, key, _ = entry.read_text("utf-8").split("\n", 2)
        entry.write_text(f"{digest}\n{key}\n[]", "utf-8")
    assert found(kept) == found(kept, is_cached=False)


def test_without_a_writable_store_everything_is_checked_each_time(
    kept: Repository, runs: Runs
) -> None:
    shutil.rmtree(kept / ".render/policy")
    (kept / ".render/policy").write_text("no folder", "utf-8")
    assert found(kept) == found(kept, is_cached=False)
    assert len([run for run in runs if run == "checks linea-dev"]) == 2


def test_what_changes_during_the_run_is_not_kept(
    kept: Repository, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.write("notes.txt", "HIDDEN-WORD 2\n")
    search = secret_scan.search

    def changing(tree: Path) -> list[Secret]:
        kept.write("notes.txt", "nothing\n")
        return search(tree)

    monkeypatch.setattr(secret_scan, "search", changing)
    found(kept)
    kept.write("notes.txt", "HIDDEN-WORD 2\n")
    runs.clear()
    monkeypatch.setattr(secret_scan, "search", search)
    assert [secret.file for secret in found(kept).secrets] == ["notes.txt"]
    assert runs == ["secrets"]


def test_an_environment_with_invalid_inputs_is_reported_and_its_files_are_searched(
    kept: Repository,
) -> None:
    kept.write("overlays/dev/values.yaml", "besu: HIDDEN-WORD\n")
    for _ in range(2):
        now = found(kept)
        assert now.invalid
        assert "dev" not in now.failures
        assert "overlays/dev/values.yaml" in [secret.file for secret in now.secrets]
    assert policy.scan(kept.root, ["dev"]).environments == ()
