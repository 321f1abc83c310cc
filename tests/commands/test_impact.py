"""The impact command: its arguments, its exit codes, and the JSON for programs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jsonschema_rs
import pytest

from scripts.__main__ import main
from scripts.commands.impact import FORMATS
from scripts.impact import predict
from scripts.impact.effects.effect import Risk
from scripts.impact.report import document
from tests.conftest import ROOT, Repository
from tests.git import commit, git

SCHEMA = ROOT / "scripts" / "impact" / "impact.schema.json"
BESU = "overlays/dev/manifests/statefulset-linea-stack-besu.yaml"
CONFIG = "overlays/dev/manifests/configmap-linea-stack-besu-config.yaml"


@pytest.fixture
def kept(repository: Repository) -> Repository:
    """Return a copy of this repository, committed to git."""
    git(repository.root, "init", "-q", "-b", "main")
    commit(repository.root)
    return repository


@lru_cache
def validator() -> Any:
    schema = json.loads(SCHEMA.read_text("utf-8"))
    return jsonschema_rs.validator_for(schema, validate_formats=True)


Edit = Callable[[Repository], None]


def image(repository: Repository) -> None:
    repository.replace(BESU, "\n        image: ", "\n        image: other/")


def more_pods(repository: Repository) -> None:
    repository.replace(BESU, "\n  replicas: ", "\n  replicas: 1")


def rejected(repository: Repository) -> None:
    repository.replace(BESU, "\n  serviceName: ", "\n  serviceName: other-")


def option(repository: Repository) -> None:
    repository.replace(CONFIG, '"BONSAI"', '"FOREST"')


def comment(repository: Repository) -> None:
    repository.replace(CONFIG, "    data-storage-format", "    # why\n    data-storage-format")


def spelling(repository: Repository) -> None:
    text = (repository / BESU).read_text("utf-8")
    repository.write(BESU, f"{text}# the end\n")


def new_environment(repository: Repository) -> None:
    shutil.copytree(repository / "overlays/dev", repository / "overlays/qa")


def removed_environment(repository: Repository) -> None:
    shutil.rmtree(repository / "overlays/staging")
    for folder in ("applications", "projects"):
        (repository / "argocd" / folder / "staging.yaml").unlink()


def removed_object(repository: Repository) -> None:
    for name in ("statefulset-linea-stack-besu", "configmap-linea-stack-besu-config"):
        (repository / f"overlays/prod/manifests/{name}.yaml").unlink()


def moved_object(repository: Repository) -> None:
    (repository / BESU).rename((repository / BESU).with_name("other.yaml"))


def project(repository: Repository) -> None:
    repository.replace("argocd/projects/prod.yaml", "kind: Deployment", "kind: DaemonSet")


EDITS: list[Edit] = [
    image, more_pods, rejected, option, comment, spelling, new_environment, removed_environment,
    removed_object, moved_object, project,
]  # fmt: skip


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_the_json_of_each_change_matches_its_schema(kept: Repository, edit: Edit) -> None:
    edit(kept)
    report = predict.impact(kept.root, "main")
    assert report.environments
    data = json.loads(FORMATS["json"](report))
    assert data == json.loads(json.dumps(document(report)))
    validator().validate(data)


def test_the_json_of_all_changes_at_once_matches_its_schema(kept: Repository) -> None:
    for edit in EDITS:
        if edit is not moved_object:
            edit(kept)
    commit(kept.root)
    report = predict.impact(kept.root, "HEAD^", "HEAD")
    validator().validate(json.loads(FORMATS["json"](report)))
    assert {impact.what for impact in report.environments} == {"changed", "new", "gone"}


def test_the_schema_lists_every_risk_and_rejects_unknown_fields(kept: Repository) -> None:
    schema = json.loads(SCHEMA.read_text("utf-8"))
    assert schema["$defs"]["risk"]["enum"] == [risk.name.lower() for risk in Risk]
    more_pods(kept)
    data = document(predict.impact(kept.root, "main"))
    data["environments"][0]["more"] = 1
    with pytest.raises(jsonschema_rs.ValidationError, match="more"):
        validator().validate(json.loads(json.dumps(data)))


def test_a_comment_in_a_mounted_file_is_a_change_of_the_cluster(kept: Repository) -> None:
    comment(kept)
    (impact,) = predict.impact(kept.root, "main").environments
    (config,) = (each for each in impact.objects if each.file == CONFIG)
    assert (impact.what, config.what) == ("changed", "changed")
    assert config.fields[0].path == "data[config.toml] (the same TOML)"


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_the_exit_code_is_0_without_changes(kept: Repository, form: str) -> None:
    done = kept.run("impact", "--against", "main", "--format", form)
    assert (done.code, done.err) == (0, "")
    if form == "json":
        assert json.loads(done.out)["environments"] == []
    elif form in ("text", "markdown"):
        assert "no environment changes from main to the working tree" in done.out
        assert len(done.out.splitlines()) == 1


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_the_exit_code_is_0_even_if_a_change_is_rejected(kept: Repository, form: str) -> None:
    rejected(kept)
    done = kept.run("impact", "--against", "main", "--format", form)
    assert (done.code, done.err) == (0, "")
    assert "StatefulSet/linea-stack-besu" in done.out


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_an_invalid_file_is_a_finding_in_every_format(kept: Repository, form: str) -> None:
    kept.write(BESU, "kind: A\na: b: c\n")
    done = kept.run("impact", "--against", "main", "--format", form)
    assert (done.code, done.err) == (1, "")
    if form == "json":
        (finding,) = json.loads(done.out)["findings"]
        assert (finding["file"], finding["line"]) == (BESU, 2)
    else:
        assert f"{BESU}:2:5  error  yaml-syntax" in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--against", "nope"), "impact: unknown revision nope"),
        (("--against", "main", "--to", "nope"), "impact: unknown revision nope"),
        ((), "impact: unknown revision origin/main"),
        (("--against=--output=x",), "impact: unknown revision --output=x"),
        (("--against", "main", "--format", "sarif"), "invalid choice: 'sarif'"),
        (("--against", "main", "dev"), "unrecognized arguments: dev"),
    ],
)
def test_wrong_arguments_exit_with_2(
    kept: Repository, arguments: tuple[str, ...], message: str
) -> None:
    done = kept.run("impact", *arguments)
    assert (done.code, done.out) == (2, ""), done
    assert message in done.err
    assert "Traceback" not in done.err
    assert not (kept / "x").exists()


def test_the_working_tree_does_not_affect_a_comparison_of_two_revisions(
    kept: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    image(kept)
    commit(kept.root)
    rejected(kept)
    command = ["--repository", str(kept.root), "impact", "--format", "json"]
    assert main([*command, "--against", "HEAD^", "--to", "HEAD"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["against"], data["to"], data["count"]) == ("HEAD^", "HEAD", 3)
    (environment,) = data["environments"]
    assert environment["names"] == ["dev"]
    assert environment["outcome"]["is_refused"] is False
    assert environment["outcome"]["restarted"]
    assert main([*command, "--against", "HEAD"]) == 0
    (environment,) = json.loads(capsys.readouterr().out)["environments"]
    assert environment["outcome"]["is_refused"] is True


def test_changed_inputs_without_changed_output_print_a_reminder_to_render(
    kept: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--repository", str(kept.root), "impact", "--against", "main"]
    assert main(command) == 0
    assert not capsys.readouterr().err
    kept.replace("overlays/dev/values.yaml", "besu:", "# Changed.\nbesu:")
    assert main(command) == 0
    printed = capsys.readouterr()
    assert printed.out == "no environment changes from main to the working tree\n"
    assert printed.err == (
        "changed inputs: overlays/dev/values.yaml. The report is about rendered output: if you have"
        " not rendered since, run nox -s render\n"
    )


def test_another_address_of_the_repository_needs_the_root_applied_again(kept: Repository) -> None:
    kept.replace("base/environment.yaml", "git.example.com", "git.example.org")
    assert kept.run("render").code == 0
    done = kept.run("impact", "--against", "HEAD")
    assert "do: apply argocd/root.yaml again after the merge" in done.out
    assert kept.run("impact", "--against", "HEAD", "--format", "json").code == 0
