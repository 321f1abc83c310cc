"""One cause is one finding, which says what to write."""

from __future__ import annotations

import json
import shutil
from typing import Any

from tests.conftest import Repository


def findings(repository: Repository, *arguments: str) -> list[dict[str, Any]]:
    """Return the errors that a command reports."""
    done = repository.run(*arguments, "--format", "json")
    assert done.code == 1, done.err
    found: list[dict[str, Any]] = json.loads(done.out)["findings"]
    return [finding for finding in found if finding["severity"] == "error"]


def copied(repository: Repository, *namespace: str) -> Repository:
    """Copy prod with all that is in its folder, with another name, perhaps another namespace."""
    shutil.copytree(repository / "overlays/prod", repository / "overlays/copy")
    file = "overlays/copy/environment.yaml"
    repository.replace(file, "name: prod\n", "name: copy\n")
    for new in namespace:
        repository.replace(file, "namespace: linea-prod\n", f"namespace: {new}\n")
    return repository


def test_a_copy_with_another_name_only_is_one_finding(repository: Repository) -> None:
    copied(repository)
    for arguments in (["validate"], ["validate", "copy"], ["render", "--check"]):
        (found,) = findings(repository, *arguments)
        assert (found["file"], found["rule"]) == (
            "overlays/copy/environment.yaml",
            "shared-namespace",
        )
        assert "overlays/copy seems to be a copy" in found["message"]
        assert found["fix"] == (
            "write a namespace of copy alone, for example linea-copy; remove "
            "overlays/copy/network.yaml, then run nox -s network -- copy and nox -s render"
        )


def test_a_copy_with_its_own_namespace_is_one_finding(repository: Repository) -> None:
    (found,) = findings(copied(repository, "linea-copy"), "validate", "copy")
    assert (found["file"], found["rule"]) == ("overlays/copy/network.yaml", "shared-validator")
    assert "prod" in found["message"]
    assert "nox -s network -- copy" in found["fix"]


def test_an_environment_that_was_never_rendered_is_one_finding(repository: Repository) -> None:
    copied(repository, "linea-copy")
    (repository / "overlays/copy/network.yaml").unlink()
    assert repository.run("network", "copy", "--validators", "4").code == 0
    found = findings(repository, "render", "copy", "--check")
    assert [(one["rule"], one["file"]) for one in found] == [
        ("stale-output", "overlays/copy/environment.yaml")
    ]
    assert found[0]["message"] == "copy has no rendered output of its own yet"
    assert found[0]["fix"] == "run nox -s render and commit the result"


def test_output_that_is_out_of_date_is_one_finding_for_each_environment(
    repository: Repository,
) -> None:
    repository.write(
        "overlays/dev/values.yaml",
        "ethstats: {enabled: false}\nbesu: {podLabels: {team: chain}}\n"
        "metrics: {serviceMonitor: {enabled: true}}\n",
    )
    (found,) = findings(repository, "render", "dev", "--check")
    assert found["rule"] == "stale-output"
    assert found["environment"] == "dev"
    for kind in ("(out of date)", "(missing)", "(no longer rendered)"):
        assert kind in found["message"]
    assert "statefulset-linea-stack-besu.yaml" in found["message"]


def test_one_file_that_is_out_of_date_is_reported_in_that_file(repository: Repository) -> None:
    file = "overlays/dev/manifests/serviceaccount-linea-stack-besu.yaml"
    repository.replace(file, "kind: ServiceAccount", "kind: ServiceAccount # by hand")
    (found,) = findings(repository, "validate", "dev")
    assert (found["file"], found["message"]) == (file, "the file is out of date")
