"""What workflows may do, and which jobs a pull request must pass."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.core.shards import parse
from scripts.environments import layout
from tests.conftest import EXAMPLE, ROOT
from tests.git import git
from tests.repository.github import WORKFLOWS, step
from tests.repository.shell import bash, sessions

WRITERS = {
    ("impact-comment.yaml", "comment"): ({"pull-requests"}, []),
    ("release.yaml", "publish"): (
        {"attestations", "id-token", "packages"},
        ["actions/download-artifact", "actions/attest", "actions/attest"],
    ),
    ("renovate-render.yaml", "commit"): ({"contents"}, []),
    ("scheduled.yaml", "issue"): ({"issues"}, []),
    ("site.yaml", "publish"): ({"pages", "id-token"}, ["actions/deploy-pages"]),
}
"""The jobs with a token that may write → what it may write, and the actions that they use."""
OF_THIS_REPOSITORY = "github.event.pull_request.head.repo.full_name == github.repository"
"""The condition that leaves out pull requests of forks."""


def test_only_jobs_that_run_nothing_of_a_pull_request_may_write() -> None:
    found = {}
    for path in sorted(WORKFLOWS.glob("*.yaml")):
        data = yaml.safe_load(path.read_text("utf-8"))
        # YAML 1.1 reads the key "on" as true.
        assert "pull_request_target" not in data[True], path.name
        for name, job in data["jobs"].items():
            granted = job.get("permissions", data["permissions"])
            if writes := {key for key, value in granted.items() if value != "read"}:
                if "pull_request" in data[True]:
                    before = data["jobs"][job["needs"]]
                    assert OF_THIS_REPOSITORY in before["if"], path.name
                uses = [step["uses"].split("@")[0] for step in job["steps"] if "uses" in step]
                found[path.name, name] = (writes, uses)
    assert found == WRITERS


def test_nothing_that_others_write_is_put_into_a_script() -> None:
    for path in sorted(WORKFLOWS.glob("*.yaml")):
        data = yaml.safe_load(path.read_text("utf-8"))
        for job in data["jobs"].values():
            for one in job["steps"]:
                assert not re.search(r"\$\{\{", one.get("run", "")), path.name


def workflow(name: str) -> dict[Any, Any]:
    data: dict[Any, Any] = yaml.safe_load((WORKFLOWS / name).read_text("utf-8"))
    return data


def test_one_job_needs_all_others_of_a_pull_request() -> None:
    data = workflow("pull-request.yaml")
    jobs = data["jobs"]
    required = jobs["required"]
    assert required["needs"] == [name for name in jobs if name != "required"]
    assert required["if"] == "always()"
    assert {"pull_request", "merge_group", "push"} == data[True].keys()
    # Findings in one shard must not hide those between environments.
    assert jobs["join"]["if"] == "${{ !cancelled() }}"
    assert not any("if" in job for name, job in jobs.items() if name not in ("required", "join"))
    assert not any(job.get("continue-on-error") for job in jobs.values())
    matrices = [jobs[name]["strategy"]["matrix"]["session"] for name in ("environments", "nox")]
    assert sorted(session for each in matrices for session in each) == sorted(sessions())


@pytest.mark.parametrize(
    ("count", "shards"), [(0, 1), (1, 1), (300, 1), (301, 2), (900, 3), (1000, 4)]
)
def test_there_is_a_shard_for_each_300_environments(
    tmp_path: Path, count: int, shards: int
) -> None:
    for number in range(count):
        (tmp_path / "overlays" / f"env-{number}").mkdir(parents=True)
    job = workflow("pull-request.yaml")["jobs"]["shards"]
    (found,) = (each for each in job["steps"] if each.get("name") == "shards")
    output = tmp_path / "output"
    variables = {name: str(value) for name, value in found["env"].items()}
    done = bash(found["run"], tmp_path, GITHUB_OUTPUT=str(output), **variables)
    assert not done.returncode, done.stderr
    key, _, value = output.read_text().strip().partition("=")
    assert key == "shards"
    assert json.loads(value) == [f"{number}/{shards}" for number in range(1, shards + 1)]
    assert all(parse(text) for text in json.loads(value))
    needed = workflow("pull-request.yaml")["jobs"]["environments"]["strategy"]["matrix"]["shard"]
    assert needed == "${{ fromJSON(needs.shards.outputs.shards) }}"


@pytest.mark.parametrize("failing", ["", "check", "validate", "policy"])
def test_the_job_that_joins_shows_all_and_fails_if_one_does(tmp_path: Path, failing: str) -> None:
    """All three are joined whatever the others find."""
    programs = tmp_path / "bin"
    programs.mkdir()
    python = programs / "python"
    python.write_text(f'#!/bin/bash\necho "$*"\n[[ "$*" != */{failing or "none"}-* ]]\n')
    python.chmod(0o755)
    (tmp_path / "report").mkdir()
    for session in ("check", "validate", "policy"):
        for index in range(2):
            (tmp_path / "report" / f"{session}-{index}.json").touch()
    path = f"{programs}:{os.environ['PATH']}"
    done = bash(step("pull-request.yaml", "join"), tmp_path, PATH=path)
    assert done.returncode == bool(failing)
    assert done.stdout.splitlines() == [
        f"-m nox -s join -- --format github report/{session}-0.json report/{session}-1.json"
        for session in ("check", "validate", "policy")
    ]


@pytest.mark.parametrize(
    ("base", "more"), [("", ""), ("HEAD^1", " --changed --against HEAD^1")], ids=["main", "change"]
)
def test_a_change_validates_what_it_concerns_and_a_push_to_main_all(
    tmp_path: Path, base: str, more: str
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python").write_text('#!/bin/bash\necho "$*"\n')
    (programs / "python").chmod(0o755)
    (tmp_path / "report").mkdir()
    variables = {"SHARD": "2/3", "INDEX": "4", "BASE": base}
    variables["PATH"] = f"{programs}:{os.environ['PATH']}"
    assert not bash(step("pull-request.yaml", "validate"), tmp_path, **variables).returncode
    said = (tmp_path / "report" / "validate-4.json").read_text()
    assert said == f"-m nox -s validate -- --shard 2/3 --format json{more}\n"


def test_the_docs_name_the_job_that_branch_protection_needs() -> None:
    name = workflow("pull-request.yaml")["jobs"]["required"]["name"]
    for page in ("docs/ci.md", "argocd/README.md"):
        words = " ".join((ROOT / page).read_text("utf-8").split())
        assert f"the status check `{name}`" in words, page


RESULTS = ["success", "failure", "cancelled", "skipped"]


@pytest.mark.parametrize("first", RESULTS)
@pytest.mark.parametrize("second", RESULTS)
def test_the_closing_job_passes_only_if_all_others_have(
    tmp_path: Path, first: str, second: str
) -> None:
    needs = {"nox": {"result": first, "outputs": {}}, "other": {"result": second, "outputs": {}}}
    done = bash(step("pull-request.yaml", "required"), tmp_path, NEEDS=json.dumps(needs))
    assert (done.returncode == 0) == (first == second == "success")
    assert done.stdout == f"nox: {first}\nother: {second}\n"


@pytest.mark.parametrize("needs", ["{}", "[]", "null"])
def test_the_closing_job_does_not_pass_without_any_other(tmp_path: Path, needs: str) -> None:
    assert bash(step("pull-request.yaml", "required"), tmp_path, NEEDS=needs).returncode


def test_every_checkout_has_the_commits_of_releases() -> None:
    """Sessions that render need them, and cannot fetch them later: no credentials are left."""
    for path in sorted(WORKFLOWS.glob("*.yaml")):
        for job in workflow(path.name)["jobs"].values():
            steps = job["steps"]
            runs = " ".join(one.get("run", "") for one in steps)
            for one in steps:
                if "nox -s" in runs and one.get("uses", "").startswith("actions/checkout@"):
                    assert one["with"]["fetch-depth"] == 0, path.name
                    assert one["with"]["persist-credentials"] is False, path.name


def test_reviews_fold_what_render_wrote_and_nothing_else() -> None:
    files = git(EXAMPLE, "ls-files").splitlines()
    told = git(EXAMPLE, "check-attr", "-z", "linguist-generated", "--", *files).split("\0")
    folded = {path for path, value in zip(told[::3], told[2::3], strict=False) if value == "set"}
    written = {path for path in files if layout.is_written((EXAMPLE / path).read_bytes())}
    assert folded == written
    assert {Path(path).parts[0] for path in folded} == {"argocd", "overlays"}
