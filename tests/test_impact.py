"""The command: what it takes, what it answers, and the document that programs read."""

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
from tests.test_revision import commit, git

SCHEMA = ROOT / "scripts" / "impact" / "impact.schema.json"
BESU = "overlays/dev/manifests/statefulset-linea-stack-besu.yaml"
CONFIG = "overlays/dev/manifests/configmap-linea-stack-besu-config.yaml"


@pytest.fixture
def kept(repository: Repository) -> Repository:
    """Return a copy of this repository that git has."""
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


def refused(repository: Repository) -> None:
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


def gone_environment(repository: Repository) -> None:
    shutil.rmtree(repository / "overlays/staging")
    for folder in ("applications", "projects"):
        (repository / "argocd" / folder / "staging.yaml").unlink()


def gone_object(repository: Repository) -> None:
    for name in ("statefulset-linea-stack-besu", "configmap-linea-stack-besu-config"):
        (repository / f"overlays/prod/manifests/{name}.yaml").unlink()


def moved_object(repository: Repository) -> None:
    (repository / BESU).rename((repository / BESU).with_name("other.yaml"))


def project(repository: Repository) -> None:
    repository.replace("argocd/projects/prod.yaml", "kind: Deployment", "kind: DaemonSet")


EDITS: list[Edit] = [
    image, more_pods, refused, option, comment, spelling, new_environment, gone_environment,
    gone_object, moved_object, project,
]  # fmt: skip


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_every_report_is_what_its_schema_says(kept: Repository, edit: Edit) -> None:
    edit(kept)
    found = predict.impact(kept.root, "main")
    assert found.environments
    told = json.loads(FORMATS["json"](found))
    assert told == json.loads(json.dumps(document(found)))
    validator().validate(told)


def test_all_of_it_at_once_is_so_too(kept: Repository) -> None:
    for edit in EDITS:
        if edit is not moved_object:
            edit(kept)
    commit(kept.root)
    found = predict.impact(kept.root, "HEAD^", "HEAD")
    validator().validate(json.loads(FORMATS["json"](found)))
    assert {one.what for one in found.environments} == {"changed", "new", "gone"}


def test_the_schema_knows_every_risk_and_no_other_field(kept: Repository) -> None:
    schema = json.loads(SCHEMA.read_text("utf-8"))
    assert schema["$defs"]["risk"]["enum"] == [risk.name.lower() for risk in Risk]
    more_pods(kept)
    told = document(predict.impact(kept.root, "main"))
    told["environments"][0]["more"] = 1
    with pytest.raises(jsonschema_rs.ValidationError, match="more"):
        validator().validate(json.loads(json.dumps(told)))


def test_another_text_is_a_change_to_a_cluster_also_where_it_says_the_same(
    kept: Repository,
) -> None:
    comment(kept)
    (found,) = predict.impact(kept.root, "main").environments
    (config,) = (one for one in found.objects if one.file == CONFIG)
    assert (found.what, config.what) == ("changed", "changed")
    assert config.fields[0].path == "data[config.toml] (the same TOML)"


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_nothing_that_changes_is_no_mistake(kept: Repository, form: str) -> None:
    done = kept.run("impact", "--against", "main", "--format", form)
    assert (done.code, done.err) == (0, "")
    if form == "json":
        assert json.loads(done.out)["environments"] == []
    elif form in ("text", "markdown"):
        assert "no environment changes from main to the working tree" in done.out
        assert len(done.out.splitlines()) == 1


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_what_changes_is_no_mistake_either(kept: Repository, form: str) -> None:
    refused(kept)
    done = kept.run("impact", "--against", "main", "--format", form)
    assert (done.code, done.err) == (0, "")
    assert "StatefulSet/linea-stack-besu" in done.out


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_a_file_that_is_no_object_is_a_finding_in_every_format(kept: Repository, form: str) -> None:
    kept.write(BESU, "kind: A\na: b: c\n")
    done = kept.run("impact", "--against", "main", "--format", form)
    assert (done.code, done.err) == (1, "")
    if form == "json":
        (finding,) = json.loads(done.out)["findings"]
        assert (finding["file"], finding["line"]) == (BESU, 2)
    else:
        assert f"{BESU}:2:5  error  yaml-syntax" in done.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--against", "nope"), "impact: unknown revision nope"),
        (("--against", "main", "--to", "nope"), "impact: unknown revision nope"),
        ((), "impact: unknown revision origin/main"),
        (("--against=--output=x",), "impact: unknown revision --output=x"),
        (("--against", "main", "--format", "sarif"), "invalid choice: 'sarif'"),
        (("--against", "main", "dev"), "unrecognized arguments: dev"),
    ],
)
def test_wrong_use_is_told(kept: Repository, arguments: tuple[str, ...], told: str) -> None:
    done = kept.run("impact", *arguments)
    assert (done.code, done.out) == (2, ""), done
    assert told in done.err
    assert "Traceback" not in done.err
    assert not (kept / "x").exists()


def test_two_revisions_are_compared_whatever_the_working_tree_holds(
    kept: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    image(kept)
    commit(kept.root)
    refused(kept)
    command = ["--repository", str(kept.root), "impact", "--format", "json"]
    assert main([*command, "--against", "HEAD^", "--to", "HEAD"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["against"], told["to"], told["count"]) == ("HEAD^", "HEAD", 3)
    (environment,) = told["environments"]
    assert environment["names"] == ["dev"]
    assert environment["outcome"]["is_refused"] is False
    assert environment["outcome"]["restarted"]
    assert main([*command, "--against", "HEAD"]) == 0
    (environment,) = json.loads(capsys.readouterr().out)["environments"]
    assert environment["outcome"]["is_refused"] is True


def test_who_forgot_to_render_is_reminded(
    kept: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--repository", str(kept.root), "impact", "--against", "main"]
    assert main(command) == 0
    assert not capsys.readouterr().err
    kept.replace("overlays/dev/values.yaml", "besu:", "# Changed.\nbesu:")
    assert main(command) == 0
    told = capsys.readouterr()
    assert told.out == "no environment changes from main to the working tree\n"
    assert told.err == (
        "changed inputs: overlays/dev/values.yaml. The report is about rendered output: if you have"
        " not rendered since, run nox -s render\n"
    )
