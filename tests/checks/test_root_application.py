"""The root Application applies what is committed: each way in which it would not is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.checks import root_application
from scripts.core import yaml_edits, yamlio
from scripts.core.findings import Finding
from tests.conftest import ROOT

TEXT = (ROOT / root_application.FILE).read_text("utf-8")
INCLUDE = '      include: "{projects/*.yaml,applications/*.yaml}"\n'
PROJECT_END = "  clusterResourceWhitelist: []\n"
SERVER = "  destination:\n    server: https://kubernetes.default.svc\n    namespace: argocd\n"


def said(folder: Path, *edits: tuple[str, str]) -> list[tuple[str, str, str]]:
    """Return field, message and fix of what is reported for the file with some texts replaced."""
    found = findings(folder, *edits)
    lines = (folder / "root.yaml").read_text("utf-8").splitlines()
    return [(lines[one.line - 1].strip(), one.message, one.fix) for one in found]


def findings(folder: Path, *edits: tuple[str, str]) -> list[Finding]:
    """Return what is reported for the file with some texts replaced; without any, as it is."""
    file = folder / "root.yaml"
    text = TEXT if edits or not file.exists() else file.read_text("utf-8")
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text, "utf-8")
    documents = yamlio.load_all(file, folder)
    return list(root_application.delivery(documents, ["dev", "prod"]))


def windows(*entries: str) -> tuple[str, str]:
    """Return the edit that adds sync windows to the root AppProject."""
    listed = "".join(f"    - {entry}\n" for entry in entries)
    return PROJECT_END, f"{PROJECT_END}  syncWindows:\n{listed}"


@pytest.mark.parametrize(
    "edit",
    [
        (INCLUDE, ""),
        (INCLUDE, '      include: "**/*.yaml"\n'),
        (INCLUDE, '      include: "{projects,applications}/*"\n'),
        (INCLUDE, '      include: "[pa]*/*.yaml"\n'),
        (INCLUDE, INCLUDE + '      exclude: "root.yaml"\n'),
        ("    path: argocd\n", "    path: ./argocd/\n"),
        ("targetRevision: main", "targetRevision: release/1.2"),
        ("    automated:\n", "    automated:\n      enabled: true\n"),
        windows("{kind: deny, schedule: '0 22 * * *', duration: 8h, applications: ['*']}"),
        windows("{kind: deny, schedule: '0 0 * * *', duration: 24h, applications: [linea-x]}"),
        windows(
            "{kind: deny, schedule: '0 0 * * *', duration: 24h, applications: ['*'],"
            " namespaces: [x], andOperator: true}"
        ),
        windows("{kind: allow, schedule: '0 8 * * 1-5', duration: 9h, namespaces: [argocd]}"),
        windows(
            "{kind: allow, schedule: '0 0 30 2 *', duration: 9h, applications: ['*']}",
            "{kind: allow, schedule: '0 8 * * *', duration: 9h, applications: ['*']}",
        ),
    ],
)
def test_a_root_that_applies_everything_is_not_reported(
    tmp_path: Path, edit: tuple[str, str]
) -> None:
    assert said(tmp_path, edit) == []


@pytest.mark.parametrize(
    ("edit", "line", "fix"),
    [
        ((INCLUDE, INCLUDE.replace(",a", ", a")), "include", INCLUDE.strip().split(" ", 1)[1]),
        ((INCLUDE, '      include: "*.yml"\n'), "include", "projects/*.yaml"),
        ((INCLUDE, '      include: "projects/*.yaml"\n'), "include", "applications/*.yaml"),
        ((INCLUDE, '      include: "applications/*.yaml,projects/*.yaml"\n'), "include", "{"),
        ((INCLUDE, '      include: "{projects/*.yaml,aplications/*.yaml}"\n'), "include", "/*"),
        ((INCLUDE, '      include: "{projects/*.yaml,applications/prod.yaml}"\n'), "include", "/*"),
        ((INCLUDE, INCLUDE + '      exclude: "*/prod.yaml"\n'), "exclude", "remove exclude"),
        (("      recurse: true\n", ""), "directory", "recurse: true"),
        (("recurse: true", "recurse: false"), "recurse", "recurse: true"),
        (("    path: argocd\n", "    path: argo\n"), "path", "path: argocd"),
        (("    path: argocd\n", "    path: argocd/applications\n"), "path", "path: argocd"),
        (("targetRevision: main", "targetRevision: origin/main"), "origin/main", ": main"),
        (
            ("targetRevision: main", "targetRevision: refs/remotes/origin/main"),
            "refs/remotes",
            "targetRevision: main",
        ),
        ((SERVER, SERVER.replace("svc\n", "svc/\n")), "svc/", "server: https://kubernetes.d"),
        ((SERVER, SERVER.replace("argocd", "linea-prod")), "namespace", "namespace: argocd"),
        ((SERVER, SERVER.replace("kubernetes.default.svc", "k.example.com")), "dest", "server"),
        (("  project: linea-root\n", "  project: default\n"), "project", "project: linea-root"),
        (("      kind: Application\n", "      kind: App\n"), "Whitelist", "kind: Application}"),
        (
            ("    automated:\n", "    automated:\n      enabled: false\n"),
            "automated",
            "enabled: true",
        ),
        (("    automated:\n", "    other:\n"), "syncPolicy", "selfHeal: true"),
        (
            ("  namespace: argocd\n  labels", "  namespace: argo\n  labels"),
            "namespace",
            "namespace: argocd",
        ),
        (
            windows("{kind: deny, schedule: '0 0 * * *', duration: 24h, applications: ['*']}"),
            "deny",
            "remove the window",
        ),
        (
            windows("{kind: deny, schedule: '0 * * * *', duration: 1h, applications: [linea-*]}"),
            "deny",
            "remove the window",
        ),
        (
            windows("{kind: deny, schedule: '0 0 1 * *', duration: 800h, namespaces: ['argo*']}"),
            "deny",
            "remove the window",
        ),
        (
            windows("{kind: allow, schedule: '0 0 30 2 *', duration: 9h, applications: ['*']}"),
            "allow",
            "schedule",
        ),
        (
            windows("{kind: allow, schedule: '0 8 * * *', duration: 0s, clusters: ['https://*']}"),
            "allow",
            "duration",
        ),
        (
            windows("{kind: deny, schedule: '0 8 * *', duration: 1h, applications: ['*']}"),
            "deny",
            "schedule",
        ),
        (
            windows("{kind: deny, schedule: '0 8 * * *', duration: 1 day, applications: ['*']}"),
            "deny",
            "duration: 1h",
        ),
        (
            windows("{kind: block, schedule: '0 8 * * *', duration: 1h, applications: ['*']}"),
            "block",
            "kind: deny",
        ),
    ],
)
def test_a_root_that_does_not_apply_everything_is_reported(
    tmp_path: Path, edit: tuple[str, str], line: str, fix: str
) -> None:
    found = said(tmp_path, edit)
    assert found
    place, message, advice = found[0]
    assert line in place, found
    assert fix in advice, found
    assert message
    edits = findings(tmp_path, edit)[0].edits
    if not edits:
        assert advice in ONLY_WORDS
        return
    file = tmp_path / "root.yaml"
    file.write_text(yaml_edits.applied(file.read_text("utf-8"), edits), "utf-8")
    assert {each.message for each in findings(tmp_path)} == {other for _, other, _ in found[1:]}


ONLY_WORDS = (
    'write days that exist in schedule, for example "0 3 1 * *", and duration: 1h or more',
    'write a cron expression such as schedule: "0 22 * * *"',
)
"""People must choose a time."""


def test_the_fix_of_a_pattern_includes_the_files(tmp_path: Path) -> None:
    broken = INCLUDE.replace(",a", ", a")
    [(_, message, fix)] = said(tmp_path, (INCLUDE, broken))
    assert "argocd/applications/dev.yaml and 1 more" in message
    assert said(tmp_path, (INCLUDE, f"      {fix.removeprefix('write ')}\n")) == []


def test_a_root_without_its_application_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "root.yaml"
    file.write_text(TEXT.partition("---\n")[0], "utf-8")
    [found] = root_application.delivery(yamlio.load_all(file, tmp_path), ["dev"])
    assert "no Application" in found.message
