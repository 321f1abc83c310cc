"""Render: the same bytes on every machine, and no files left of objects that are gone."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import EXAMPLE, ROOT, Repository, copy
from tests.environment_copies import copy_environment
from tests.example_repository import PARTS

OUTPUT = ("argocd", "overlays")


def written_anew(repository: Repository, **environment: str) -> dict[str, str]:
    """Delete the output, render, and return the new output."""
    for old in [*repository.root.glob("overlays/*/manifests"), *repository.root.glob("argocd/*/")]:
        shutil.rmtree(old)
    done = repository.run("render", **environment)
    assert done.code == 0, done.err
    return repository.files(*OUTPUT)


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "TZ": "UTC", "PYTHONHASHSEED": "0"},
        {"LC_ALL": "C.UTF-8", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "1"},
        {"LANG": "tr_TR.UTF-8", "TZ": "America/Los_Angeles", "PYTHONHASHSEED": "4242"},
        {"LC_ALL": "de_DE.UTF-8", "TZ": "Pacific/Kiritimati", "PYTHONUTF8": "0"},
        {"HOME": "/nonexistent", "USER": "", "PYTHONOPTIMIZE": "1", "GOMAXPROCS": "1"},
    ],
    ids=lambda environment: ",".join(environment.values()) or "none",
)
def test_another_machine_writes_the_same_bytes(
    repository: Repository, environment: dict[str, str]
) -> None:
    committed = repository.files(*OUTPUT)
    assert written_anew(repository, **environment) == committed


def test_the_output_does_not_depend_on_the_order_of_files(tmp_path: Path) -> None:
    committed = Repository(EXAMPLE).files(*OUTPUT)
    repository = Repository(tmp_path / "elsewhere" / "a b")
    paths = [path for part in PARTS for path in (EXAMPLE / part).rglob("*") if path.is_file()]
    random.Random(20261124).shuffle(paths)
    for path in paths:
        target = repository.root / path.relative_to(EXAMPLE)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    assert written_anew(repository) == committed


def test_the_output_does_not_depend_on_umask_or_folder(repository: Repository) -> None:
    committed = repository.files(*OUTPUT)
    for old in repository.root.glob("overlays/*/manifests"):
        shutil.rmtree(old)
    command = repository.command("render")
    subprocess.run(
        command, cwd="/", umask=0o027, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert repository.files(*OUTPUT) == committed


def test_the_output_does_not_depend_on_child_processes(tmp_path: Path) -> None:
    repository = copy(tmp_path / "many")
    inputs = repository / "overlays/prod"
    for number in range(20):
        copy_environment(inputs, repository / f"overlays/e{number}", number)
    assert repository.run("render").code == 0
    together = repository.files(*OUTPUT)
    for number in range(20):
        shutil.rmtree(repository / f"overlays/e{number}/manifests")
        done = repository.run("render", f"e{number}") if number < 3 else None
        assert done is None or done.code == 0, done
    alone = repository.files(*(f"overlays/e{number}/manifests" for number in range(3)))
    assert alone == {name: together[name] for name in alone}


def test_no_manifest_contains_the_time_or_path_of_its_render() -> None:
    for path in EXAMPLE.glob("overlays/*/manifests/*.yaml"):
        text = path.read_text("utf-8")
        assert text.startswith('# Written by "nox -s render" from chart/templates/'), path
        assert str(ROOT) not in text, path


def test_files_of_removed_objects_are_deleted(repository: Repository) -> None:
    repository.write("overlays/dev/values.yaml", "ethstats: {enabled: false}\n")
    done = repository.run("render")
    assert done.code == 0
    assert "removed" in done.out
    assert not list(repository.root.glob("overlays/dev/manifests/*ethstats*"))
    assert list(repository.root.glob("overlays/prod/manifests/*ethstats*"))


def test_the_output_of_a_removed_environment_is_deleted(repository: Repository) -> None:
    shutil.rmtree(repository / "overlays/dev")
    done = repository.run("render")
    assert done.code == 0
    assert not (repository / "argocd/projects/dev.yaml").exists()
    assert not (repository / "argocd/applications/dev.yaml").exists()
    assert (repository / "argocd/applications/prod.yaml").exists()


def test_a_new_folder_is_a_new_environment(repository: Repository) -> None:
    repository.write(
        "overlays/qa/environment.yaml",
        "name: qa\nprofiles: [small, development]\nnamespace: linea-qa\n",
    )
    done = repository.run("render")
    assert done.code == 1
    assert "nox -s network -- qa" in done.out
    assert repository.run("network", "qa").code == 0
    done = repository.run("render")
    assert done.code == 0
    assert "qa: " in done.out
    assert (repository / "argocd/applications/qa.yaml").exists()
    assert repository.run("validate", "qa").code == 0


def test_only_the_named_environment_is_rendered(repository: Repository) -> None:
    for name in ("dev", "staging"):
        repository.write(f"overlays/{name}/values.yaml", "txSender: {amount: 11}\n")
    before = repository.files("overlays/staging/manifests")
    assert repository.run("render", "dev").code == 0
    assert repository.files("overlays/staging/manifests") == before
    assert repository.run("render", "--check", "dev").code == 0
    assert repository.run("render", "--check", "staging").code == 1


def test_check_writes_nothing_and_shows_the_difference(repository: Repository) -> None:
    repository.write("overlays/dev/values.yaml", "txSender: {amount: 4711}\n")
    before = repository.files()
    done = repository.run("render", "--check")
    assert done.code == 1
    assert "+          value: '4711'\n" in done.out
    assert "+++ b/overlays/dev/manifests/deployment-linea-stack-tx-sender.yaml\n" in done.out
    assert repository.files() == before


def test_with_an_error_in_any_environment_nothing_is_written(repository: Repository) -> None:
    repository.write("overlays/dev/values.yaml", "txSender: {amount: 11}\n")
    repository.write("overlays/prod/values.yaml", "txSender: {amont: 11}\n")
    before = repository.files()
    done = repository.run("render")
    assert done.code == 1
    assert "write amount" in done.out
    assert repository.files() == before


def test_all_errors_are_reported_at_once(repository: Repository) -> None:
    repository.write("overlays/dev/values.yaml", "txSender: {amont: 11}\nbesu: {replica: 1}\n")
    repository.write("overlays/prod/environment.yaml", "name: prod\n")
    done = repository.run("validate")
    assert done.code == 1
    for message in ("txSender.amont", "besu.replica", "namespace is missing"):
        assert message in done.out


def test_a_null_removes_a_default_as_with_helm(repository: Repository) -> None:
    repository.write("overlays/dev/values.yaml", "besu: {topologySpreadConstraints: null}\n")
    done = repository.run("render", "dev")
    assert done.code == 0, done.out
    text = (repository / "overlays/dev/manifests/statefulset-linea-stack-besu.yaml").read_text()
    assert "topologySpreadConstraints" not in text


def test_the_program_runs_without_nox_from_any_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts", "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "render" in done.stdout
