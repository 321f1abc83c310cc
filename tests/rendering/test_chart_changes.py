"""If a change of the chart breaks something, the finding is at that change, not at a value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.__main__ import main
from tests.conftest import Repository, copy
from tests.git import attempt, committed, git

BESU = "chart/templates/besu/statefulset.yaml"
POLICY = "chart/templates/besu/networkpolicy.yaml"
FIRST_INCLUDE = "chart/templates/_verify.tpl"
"""The first file that includes the helper linea-stack.peer."""
FINDING = re.compile(r"^(\S+?)(?::(\d+)(?::\d+)?)?  (?:error|warning)  (\S+)", re.MULTILINE)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = copy(tmp_path / "repository")
    committed(made.root, {".gitignore": ".render/\n"})
    return made


def found(repository: Repository, name: str, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    capsys.readouterr()
    main(["--repository", str(repository.root), "render"])
    main(["--repository", str(repository.root), "validate", name, *more])
    return capsys.readouterr().out


def places(repository: Repository, out: str, rule: str) -> set[tuple[str, str]]:
    """Return the file of each finding of a rule, and the text of its line."""
    every = set()
    for file, line, of in FINDING.findall(out):
        if of == rule:
            lines = (repository / file).read_text("utf-8").splitlines()
            every.add((file, lines[int(line) - 1].strip() if line else ""))
    return every


EDITS = {
    "a quote lost": (
        "chart/templates/_ingress.tpl",
        'ssl-redirect: "443"',
        "ssl-redirect: 443",
        "prod",
        "kubernetes-schema",
        "ssl-redirect: 443",
    ),
    "fields a level up": (
        BESU,
        "            {{- toYaml .Values.besu.resources | nindent 12 }}",
        "            {{- toYaml .Values.besu.resources | nindent 10 }}",
        "dev",
        "kubernetes-schema",
        "besu.resources | nindent 10",
    ),
    "a checksum removed": (
        BESU,
        '        checksum/config: {{ include "linea-stack.besuFiles" . | sha256sum | quote }}\n',
        "",
        "dev",
        "config-change-without-rollout",
        "annotations:",
    ),
    "a field misspelled": (
        BESU,
        "  volumeClaimTemplates:",
        "  volumeClaimTemplate:",
        "dev",
        "kubernetes-schema",
        "volumeClaimTemplate:",
    ),
    "a port renamed": (
        "chart/templates/besu/service.yaml",
        "targetPort: rpc",
        "targetPort: json-rpc",
        "dev",
        "unknown-target-port",
        "targetPort: json-rpc",
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_finding_is_at_the_changed_line(
    repository: Repository, capsys: pytest.CaptureFixture[str], edit: str
) -> None:
    file, old, new, name, rule, line = EDITS[edit]
    repository.replace(file, old, new)
    out = found(repository, name, capsys)
    told = places(repository, out, rule)
    assert told, out
    assert {each for each, _ in told} == {file}, out
    assert all(line in text for _, text in told), out


def test_a_changed_value_is_where_its_own_mistake_is(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.replace(
        "chart/templates/_ingress.tpl",
        'ssl-redirect: "443"',
        "# a comment\n    ssl-redirect: '443'",
    )
    repository.replace("overlays/prod/values.yaml", "host: rpc.", "host: https://rpc.")
    out = found(repository, "prod", capsys)
    assert "overlays/prod/values.yaml:" in out
    assert "_ingress.tpl" not in out


def test_a_helper_that_was_renamed_is_named_with_its_new_name(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.replace(
        "chart/templates/_network.tpl",
        'define "linea-stack.peer"',
        'define "linea-stack.componentPeer"',
    )
    out = found(repository, "prod", capsys)
    files = {file for file, _, _ in FINDING.findall(out)}
    assert all('"linea-stack.peer"' in (repository / file).read_text("utf-8") for file in files), (
        out
    )
    assert "write linea-stack.componentPeer in each include" in out
    assert "enabled" not in out


def test_without_git_a_missing_helper_is_still_no_fault_of_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = copy(tmp_path / "repository")
    made.replace("chart/templates/_network.tpl", 'define "linea-stack.peer"', 'define "other"')
    out = found(made, "prod", capsys)
    assert "define linea-stack.peer in chart/templates/, or remove the include" in out
    assert re.match(r"chart/templates/\S+:\d+:\d+  error  template-error\n", out)
    assert "peersWanted" not in out


def test_a_template_that_fails_since_its_last_change_is_named(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.replace(POLICY, "  ingress:\n", "  ingress: {{ .Values.besu.nothing.here }}\n")
    out = found(repository, "prod", capsys)
    assert f"{POLICY}:" in out
    assert "write another value" not in out


def test_a_new_template_is_where_its_mistake_is(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        "{{ if .Values.besu.enabled }}\napiVersion: v1\nkind: ConfigMap\n"
        "metadata: {name: extra}\nimutable: true\n{{ end }}\n"
    )
    repository.write("chart/templates/extra.yaml", text)
    out = found(repository, "dev", capsys)
    told = places(repository, out, "kubernetes-schema")
    assert told == {("chart/templates/extra.yaml", "imutable: true")}, out


def test_once_committed_values_are_asked_again(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attempt(repository.root, "status").returncode == 0
    repository.replace("chart/templates/_ingress.tpl", 'ssl-redirect: "443"', "ssl-redirect: 443")
    git(repository.root, "commit", "-q", "-a", "-m", "x")
    out = found(repository, "prod", capsys)
    assert "_ingress.tpl" not in out


@pytest.mark.parametrize("edit", ["a quote lost", "fields a level up", "a helper renamed"])
def test_a_committed_change_is_found_by_the_revision_that_it_is_compared_with(
    repository: Repository, capsys: pytest.CaptureFixture[str], edit: str
) -> None:
    helper = ("chart/templates/_network.tpl", 'define "linea-stack.peer"', 'define "other.peer"')
    file, old, new, name, rule, _ = EDITS.get(edit, (*helper, "prod", "template-error", ""))
    repository.replace(file, old, new)
    git(repository.root, "commit", "-q", "-a", "-m", "x")
    told = places(repository, found(repository, name, capsys, "--against", "HEAD~1"), rule)
    assert {each for each, _ in told} == {FIRST_INCLUDE if edit == "a helper renamed" else file}
    repository.replace("overlays/prod/values.yaml", "host: rpc.", "host: rpc.new.")
    repository.replace("overlays/dev/values.yaml", "192.0.2.0/24", "198.51.100.0/24")
    told = places(repository, found(repository, name, capsys, "--against", "unknown"), rule)
    assert file not in {each for each, _ in told}


def test_a_helper_that_fails_is_named_and_not_who_includes_it(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.replace(
        "chart/templates/_network.tpl",
        '{{- define "linea-stack.peer" -}}\n',
        '{{- define "linea-stack.peer" -}}\n{{ .nothing.here.at.all }}\n',
    )
    out = found(repository, "prod", capsys)
    assert next(file for file, _, _ in FINDING.findall(out)) == "chart/templates/_network.tpl", out
