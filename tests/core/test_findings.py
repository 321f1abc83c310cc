"""Findings in their formats, with their positions."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import jsonpointer
import jsonschema_rs
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scripts.__main__ import main
from scripts.checks import api_schemas
from scripts.core import findings
from scripts.core.edits import Action, Edit
from scripts.core.findings import Description, Finding, Replacement, Severity
from scripts.rules import catalogue, descriptions
from tests import objects
from tests.conftest import ROOT, Repository
from tests.objects import ENVIRONMENTS

WRONG = Finding(
    "overlays/dev/values.yaml", 3, 5, "wrong-type", "a.b is a text", "write a number",
    "Service/a", "dev",
)  # fmt: skip
LATER = Finding("overlays/prod/values.yaml", 1, 0, "unused-file", "nothing reads it", "remove it")
WARNING = Finding(
    "base/values.yaml", 0, 0, "odd", "it is odd", "look at it", severity=Severity.WARNING
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
any_finding = st.builds(
    Finding, texts, st.integers(0, 99), st.integers(0, 9), texts, texts, texts, texts, texts,
    st.sampled_from(Severity),
)  # fmt: skip


known_rule = st.sampled_from(sorted(catalogue.RULES))


@lru_cache
def validator(form: str) -> Any:
    """Return the validator of a format: our own for JSON, the standard's for SARIF."""
    file = (
        api_schemas.sarif()
        if form == "sarif"
        else ROOT / "scripts" / "core" / "findings.schema.json"
    )
    schema = json.loads(file.read_text("utf-8"))
    return jsonschema_rs.validator_for(schema, validate_formats=True)


def validate(form: str, text: str) -> None:
    """Raise if a document violates the schema of its format."""
    validator(form).validate(json.loads(text))


def written(form: str, *wrong: Finding) -> str:
    stream = io.StringIO()
    findings.write(wrong, form, stream, descriptions.described())
    return stream.getvalue()


def test_text_shows_position_rule_message_and_fix() -> None:
    assert written("text", WRONG) == (
        "overlays/dev/values.yaml:3:5  error  wrong-type  Service/a in dev\n"
        "  a.b is a text\n"
        "  → write a number\n"
        "1 error\n"
    )


def test_text_counts_errors_and_warnings() -> None:
    assert written("text", WRONG, LATER, WARNING).endswith("2 errors, 1 warning\n")
    assert written("text", WARNING).endswith("\n1 warning\n")


@pytest.mark.parametrize("form", findings.FORMATS)
def test_findings_are_sorted_and_without_duplicates(form: str) -> None:
    text = written(form, LATER, WRONG, WARNING, LATER)
    assert text == written(form, WARNING, WRONG, LATER)
    assert text.index("it is odd") < text.index("a.b is a text") < text.index("nothing reads it")


def test_text_and_github_are_empty_without_findings() -> None:
    assert written("text") == written("github") == ""


def test_json_and_sarif_are_whole_documents_also_without_findings() -> None:
    assert json.loads(written("json")) == {"findings": []}
    assert json.loads(written("sarif"))["runs"][0]["results"] == []


def test_json_has_every_field() -> None:
    (finding,) = json.loads(written("json", WRONG))["findings"]
    assert finding == {
        "file": "overlays/dev/values.yaml",
        "line": 3,
        "column": 5,
        "rule": "wrong-type",
        "message": "a.b is a text",
        "fix": "write a number",
        "object": "Service/a",
        "environment": "dev",
        "severity": "error",
        "edits": [],
        "is_safe": False,
    }


EDITS = (
    Edit("overlays/dev/values.yaml", Action.WRITE, ("a", 0, "b"), 1, "x"),
    Edit("overlays/dev/values.yaml", Action.MOVE, ("c",), ("a", "c"), {"d": 1}),
    Edit("overlays/dev/values.yaml", Action.REMOVE, ("password",), None, "hunter2"),
)
FIXED = WRONG.with_edits(EDITS, is_safe=True)


def test_json_has_the_edits_but_no_old_value_that_may_be_secret() -> None:
    text = written("json", FIXED)
    (finding,) = json.loads(text)["findings"]
    file = "overlays/dev/values.yaml"
    assert finding["is_safe"] is True
    assert finding["edits"] == [
        {"file": file, "action": "write", "path": ["a", 0, "b"], "value": 1, "old": "x"},
        {"file": file, "action": "move", "path": ["c"], "value": ["a", "c"]},
        {"file": file, "action": "remove", "path": ["password"]},
    ]
    validate("json", text)


def test_sarif_has_the_lines_that_edits_replace() -> None:
    """OASIS SARIF 2.1.0, sections 3.55 to 3.57."""
    stream = io.StringIO()
    lines = (Replacement(FIXED.file, 3, 4, "  b: 1\n"), Replacement(FIXED.file, 9, 9, "c: 2\n"))
    findings.write([FIXED, LATER], "sarif", stream, suggested={FIXED: lines})
    validate("sarif", stream.getvalue())
    results = json.loads(stream.getvalue())["runs"][0]["results"]
    (fix,) = next(each for each in results if "fixes" in each)["fixes"]
    assert fix["description"]["text"] == FIXED.fix
    (change,) = fix["artifactChanges"]
    assert change["artifactLocation"]["uri"] == FIXED.file
    regions = [each["deletedRegion"] for each in change["replacements"]]
    assert regions[0] == {"startLine": 3, "startColumn": 1, "endLine": 4, "endColumn": 1}
    assert [each["insertedContent"]["text"] for each in change["replacements"]] == [
        "  b: 1\n",
        "c: 2\n",
    ]


def test_sarif_has_what_its_standard_requires() -> None:
    """OASIS SARIF 2.1.0, sections 3.13, 3.14, 3.27, 3.28, 3.29 and 3.30."""
    document = json.loads(written("sarif", WRONG, LATER, WARNING))
    assert document["version"] == "2.1.0"
    assert "sarif-schema-2.1.0" in document["$schema"]
    (run,) = document["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert run["tool"]["driver"]["name"]
    assert len(rules) == len(set(rules))
    for result in run["results"]:
        assert result["ruleId"] in rules
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"]
        (location,) = result["locations"]
        place = location["physicalLocation"]
        assert not place["artifactLocation"]["uri"].startswith(("/", "file:"))
        region = place.get("region", {"startLine": 1})
        assert region["startLine"] >= 1
        assert region.get("startColumn", 1) >= 1
    assert "region" not in run["results"][0]["locations"][0]["physicalLocation"]


@given(wrong=st.lists(any_finding | st.builds(replace, any_finding, rule=known_rule), max_size=9))
def test_json_and_sarif_match_their_schemas(wrong: list[Finding]) -> None:
    for form in ("json", "sarif"):
        validate(form, written(form, *wrong))


def test_sarif_describes_the_rules_of_the_findings() -> None:
    finding = replace(WRONG, rule="service-selects-no-pods")
    (rule,) = json.loads(written("sarif", finding))["runs"][0]["tool"]["driver"]["rules"]
    known = catalogue.RULES[rule["id"]]
    assert rule == {
        "id": "service-selects-no-pods",
        "shortDescription": {"text": f"{known.promise}."},
        "fullDescription": {"text": f"{known.promise}. {known.why}"},
        "defaultConfiguration": {"level": "error"},
        "helpUri": known.source,
    }


def test_sarif_has_no_help_uri_for_a_file_of_this_repository() -> None:
    description = Description("a is b", "Otherwise c.", "docs/chain.md", Severity.WARNING)
    stream = io.StringIO()
    findings.write([WRONG], "sarif", stream, {WRONG.rule: description})
    (rule,) = json.loads(stream.getvalue())["runs"][0]["tool"]["driver"]["rules"]
    assert rule["help"] == {"text": "see docs/chain.md"}
    assert rule["defaultConfiguration"] == {"level": "warning"}
    assert "helpUri" not in rule


def test_github_annotates_the_line() -> None:
    assert written("github", WRONG) == (
        "::error file=overlays/dev/values.yaml,title=wrong-type,line=3,col=5"
        "::Service/a in dev: a.b is a text%0A→ write a number\n"
    )
    assert written("github", WARNING).startswith("::warning file=base/values.yaml,title=odd::")


@given(finding=any_finding)
def test_nothing_in_a_finding_breaks_out_of_its_github_command(finding: Finding) -> None:
    text = written("github", finding)
    assert text.endswith("\n")
    assert not {"\n", "\r"} & set(text[:-1])
    head, _, _ = text.removeprefix(f"::{finding.severity} ").partition("::")
    properties = dict(part.split("=", 1) for part in head.split(","))
    assert unquote(properties["file"]) == unquote(finding.file.replace("%", "%25"))
    assert properties.keys() <= {"file", "title", "line", "col"}


@given(wrong=st.lists(any_finding, max_size=5))
def test_every_finding_can_be_written_in_every_format(wrong: list[Finding]) -> None:
    assert len(json.loads(written("json", *wrong))["findings"]) == len(set(wrong))
    assert len(json.loads(written("sarif", *wrong))["runs"][0]["results"]) == len(set(wrong))
    assert written("github", *wrong).count("::error") + written("github", *wrong).count(
        "::warning"
    ) >= len(set(wrong))
    assert bool(written("text", *wrong)) == bool(wrong)


def test_markup_in_a_finding_is_printed_unchanged() -> None:
    odd = Finding("a.yaml", 1, 1, "rule", "write [bold]x[/bold] :smile: [/]", "or [red]")
    text = written("text", odd)
    assert "write [bold]x[/bold] :smile: [/]" in text
    assert "or [red]" in text


def test_text_has_colours_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b" not in written("text", WRONG)


def test_a_long_message_is_not_broken_into_lines() -> None:
    odd = Finding("a.yaml", 1, 1, "rule", "word " * 100 + "end", "fix")
    assert "word " * 100 + "end\n" in written("text", odd)


@pytest.mark.parametrize(
    ("wrong", "place"), [(WRONG, "overlays/dev/values.yaml:3:5"), (WARNING, "base/values.yaml")]
)
def test_a_position_has_its_known_parts_only(wrong: Finding, place: str) -> None:
    assert findings.place(wrong) == place


def test_only_errors_fail_a_command() -> None:
    assert findings.has_errors([WARNING, WRONG])
    assert not findings.has_errors([WARNING])
    assert not findings.has_errors([])


# A run with many findings

MANY: dict[str, dict[str, str]] = {
    "Service/linea-stack-besu": {
        "/spec/ports/0/targetPort": "rcp",
        "/spec/ports/1/targetPort": "w",
    },
    "Service/linea-stack-maru": {"/spec/ports/0/targetPort": "apis"},
}
"""Kind/name → what patches write there, in each environment."""


@pytest.fixture
def broken(repository: Repository) -> Repository:
    """Return a repository in which the same mistakes are in all environments."""
    for name in ENVIRONMENTS:
        manifests = objects.of_environment(name)[1]
        for label, fields in MANY.items():
            kind, _, of = label.partition("/")
            manifest = objects.one(manifests, kind, of)
            operations = [
                {"op": op, "path": path, "value": other if op == "replace" else value}
                for path, other in fields.items()
                for value in [jsonpointer.resolve_pointer(manifest, path)]
                for op in ("test", "replace")
            ]
            patch = {"target": {"kind": kind, "name": of}, "patch": operations}
            file = f"overlays/{name}/patches/{kind.lower()}-{of}.yaml"
            repository.write(file, yaml.safe_dump(patch))
    return repository


def test_the_order_of_findings_depends_on_neither_hash_seed_nor_order_of_environments(
    broken: Repository,
) -> None:
    first, second = (
        broken.run("validate", *names, "--format", "json", PYTHONHASHSEED=seed)
        for seed, names in (("1", ENVIRONMENTS), ("2", ENVIRONMENTS[::-1]))
    )
    assert first.code == 1
    assert first.out == second.out
    printed = json.loads(first.out)["findings"]
    validate("json", first.out)
    keys = [(each["file"], each["line"], each["column"], each["rule"]) for each in printed]
    assert len(printed) >= len(ENVIRONMENTS) * sum(len(fields) for fields in MANY.values())
    assert keys == sorted(keys)


# The formats at the command line


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main(arguments)
    return code, capsys.readouterr().out


@pytest.mark.parametrize("command", ["render", "validate"])
def test_each_format_for_programs_is_one_document(
    repository: Repository, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    repository.write("overlays/dev/values.yaml", "bseu: {}\n")
    options = ["--repository", str(repository.root), command, "dev"]
    code, out = run(capsys, *options, "--format", "json")
    assert code == 1
    (finding,) = json.loads(out)["findings"]
    assert (finding["rule"], finding["file"], finding["line"]) == (
        "unknown-key",
        "overlays/dev/values.yaml",
        1,
    )
    code, out = run(capsys, *options, "--format", "sarif")
    assert code == 1
    assert json.loads(out)["runs"][0]["results"][0]["ruleId"] == "unknown-key"
    code, out = run(capsys, *options, "--format", "github")
    assert (code, out.count("\n")) == (1, 1)


@pytest.mark.parametrize(
    ("form", "clean"),
    [("json", '{\n  "findings": []\n}\n'), ("github", "")],
)
def test_a_valid_environment_gives_a_document_without_findings(
    repository: Repository, capsys: pytest.CaptureFixture[str], form: str, clean: str
) -> None:
    options = ["--repository", str(repository.root), "validate", "dev", "--format", form]
    assert run(capsys, *options) == (0, clean)


def test_render_and_check_write_one_document(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--repository", str(repository.root), "render", "dev", "--format", "json"]
    repository.write("overlays/dev/values.yaml", "txSender: {interval: 5}\n")
    code, out = run(capsys, *options, "--check")
    stale = [finding["file"] for finding in json.loads(out)["findings"]]
    assert code == 1
    assert "overlays/dev/manifests/deployment-linea-stack-tx-sender.yaml" in stale
    assert run(capsys, *options) == (0, '{\n  "findings": []\n}\n')
    assert run(capsys, *options, "--check") == (0, '{\n  "findings": []\n}\n')


@pytest.mark.parametrize(
    "arguments",
    [[], ["rendr"], ["render", "--chek"], ["validate", "--format", "xml"], ["render", "--format"]],
    ids=" ".join,
)
def test_an_invalid_command_line_prints_the_usage(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(
        ("usage: python -m scripts", f"usage: nox -s {[*arguments, ''][0]} --")
    )


def test_a_folder_without_environments_is_a_usage_error(
    tmp_path: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--repository", ".", "validate"]) == 2
    assert capsys.readouterr().err.startswith("validate: . has no folder overlays/")
