"""The bot's configuration knows every version that this repository pins.

The pins are found by what reads them in the program; what Renovate extracts is computed from its
configuration as Renovate does. docs/updates.md has what Renovate itself extracted.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.checks import api_schemas
from scripts.core import toolchain
from scripts.core.repository import ROOT
from scripts.environments import image_lock
from tests.git import git

CONFIG = ROOT / ".github" / "renovate.json"

DEFAULTS = {
    "github-actions": [r"/(^|/)\.github/(?:workflows|actions)/.+\.ya?ml$/"],
    "gitlabci": [r"/\.gitlab-ci\.ya?ml$/"],
    "gomod": [r"/(^|/)go\.mod$/"],
    "helmv3": [r"/(^|/)Chart\.ya?ml$/"],
    "npm": [r"/(^|/)package\.json$/"],
    "pre-commit": [r"/(^|/)\.pre-commit-config\.ya?ml$/"],
}
"""managerFilePatterns that Renovate's managers have by themselves, as of its version 44."""


def config() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(CONFIG.read_text("utf-8"))
    return data


@cache
def files() -> list[str]:
    return git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines()


def is_in(path: str, patterns: list[str]) -> bool:
    """Return whether a file is one of a manager: Renovate's patterns are /expressions/ or globs."""
    return any(
        re.search(p[1:-1], path) if p.startswith("/") else fnmatch.fnmatch(path, p)
        for p in patterns
    )


def is_ignored(path: str, settings: Mapping[str, Any]) -> bool:
    return any(fnmatch.fnmatch(path, p.replace("**", "*")) for p in settings["ignorePaths"])


def managed(path: str, manager: str, settings: Mapping[str, Any]) -> bool:
    """Return whether one of Renovate's own managers reads a file."""
    if manager not in settings["enabledManagers"] or is_ignored(path, settings):
        return False
    own = settings.get(manager, {}).get("managerFilePatterns", [])
    return is_in(path, [*DEFAULTS.get(manager, []), *own])


@dataclass(frozen=True, slots=True)
class Match:
    """What a custom manager reads."""

    name: str
    package: str
    value: str
    digest: str


def matches(path: str, text: str, settings: Mapping[str, Any]) -> Iterator[Match]:
    """Yield what the custom managers read in a file."""
    for manager in settings["customManagers"]:
        if is_ignored(path, settings) or not is_in(path, manager["managerFilePatterns"]):
            continue
        for expression in manager["matchStrings"]:
            for found in re.finditer(expression.replace("(?<", "(?P<"), text):
                groups = found.groupdict()
                name = manager.get("depNameTemplate") or groups["depName"]
                package = manager.get("packageNameTemplate") or name
                digest = groups.get("currentDigest") or ""
                yield Match(name, package, groups["currentValue"], digest)


def read(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def tags(path: str, text: str) -> dict[str, str]:
    """Return the component → tag of each image in a file of values."""
    found = {}
    for component, value in (yaml.safe_load(text) or {}).items():
        image = value.get("image") if isinstance(value, dict) else None
        if isinstance(image, dict) and image.get("tag"):
            found[component] = str(image["tag"])
    return found


def unknown_tags(path: str, text: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a file of values that no manager reads."""
    read = {match.name.partition(":")[0]: match.value for match in matches(path, text, settings)}
    return {name: tag for name, tag in tags(path, text).items() if read.get(name) != tag}


VALUES = re.compile(
    r"chart/values\.yaml|base/(profiles/[^/]+|values)\.yaml|overlays/[^/]+/values\.yaml"
)


def test_each_tag_of_an_image_is_read() -> None:
    settings = config()
    found = [path for path in files() if VALUES.fullmatch(path)]
    assert "chart/values.yaml" in found
    unknown = {path: unknown_tags(path, read(path), settings) for path in found}
    assert {path: tags for path, tags in unknown.items() if tags} == {}


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("besu:\n  image:\n    tag: 26.9.0\n", {}),
        ("besu:\n  # why\n\n  image:\n    # which\n    repository: a\n    tag: '26.9.0'\n", {}),
        ("a: 1\nbesu:\n  replicas: 3\n  image:\n    pullPolicy: Always\n    tag: 26.9.0\n", {}),
        ("maru:\n  image:\n    tag: v1.3.0-20260901000000-0123abc\nbesu:\n  replicas: 1\n", {}),
        ("besu: {image: {tag: 26.9.0}}\n", {"besu": "26.9.0"}),
        ("other:\n  image:\n    tag: 26.9.0\n", {"other": "26.9.0"}),
        # Of the next component, not of besu.
        ("besu:\n  replicas: 1\nother:\n  image:\n    tag: 1\n", {"other": "1"}),
    ],
)
def test_a_tag_that_no_manager_reads_is_found(text: str, unknown: dict[str, str]) -> None:
    assert unknown_tags("overlays/prod/values.yaml", text, config()) == unknown


def test_each_digest_of_the_lock_is_read() -> None:
    path = image_lock.LOCK
    read_here = {
        f"{match.name}:{match.value}": match.digest for match in matches(path, read(path), config())
    }
    assert read_here == dict(image_lock.load(ROOT).data)
    line = f"localhost:5000/team/besu:26.9.0: sha256:{'0' * 64}\n"
    (one,) = matches(path, line, config())
    assert (one.name, one.value) == ("localhost:5000/team/besu", "26.9.0")


def test_each_tool_is_read_where_it_is_pinned() -> None:
    settings = config()
    for folder in toolchain.modules():
        assert managed(f"tools/{folder.name}/go.mod", "gomod", settings)
    assert managed("tools/go/go.mod", "gomod", settings)
    for name in toolchain.fetched():
        assert managed(f"tools/{name}/package.json", "npm", settings)
    assert set(toolchain.names()) | set(toolchain.fetched())


def test_each_go_program_is_of_a_module_that_the_bot_may_change() -> None:
    # Renovate leaves out // indirect, except for the module of a tool line.
    own = {
        "tools/admission": "k8s.io/kubernetes",
        "tools/cron/v3": "github.com/robfig/cron/v3",
        "tools/redis-server/v2": "github.com/alicebob/miniredis/v2",
    }
    names = [rule for rule in config()["packageRules"] if rule.get("enabled") is True]
    enabled = {package for rule in names for package in rule["matchPackageNames"]}
    for folder in toolchain.modules():
        text = (folder / "go.mod").read_text("utf-8")
        required = set(re.findall(r"^(?:require)?\s+(\S+) v\S+", text, re.MULTILINE))
        packages = re.findall(r"^tool (\S+)$|^\t([^\s()]+)$", text, re.MULTILINE)
        for package in (one or other for one, other in packages if one != "("):
            module = max((m for m in required if f"{package}/".startswith(f"{m}/")), key=len)
            real = own.get(module, module)
            assert real in required, folder
            assert real == module or real in enabled or f"\t{real}/" in text, folder


def test_each_module_with_schemas_is_read() -> None:
    settings, path = config(), "tools/schemas/go.sum"
    versions = {(m.name, m.value) for m in matches(path, read(path), settings)}
    direct = dict(re.findall(r"^\t(\S+) (v\S+)$", read("tools/schemas/go.mod"), re.MULTILINE))
    for module in api_schemas.pinned():
        is_known = (module.path, module.version) in versions
        assert is_known or direct.get(module.path) == module.version, module


def test_each_lock_of_python_packages_is_read() -> None:
    settings = config()
    locks = [path for path in files() if re.fullmatch(r"tools/python/[^/]+\.(in|txt)", path)]
    assert {Path(path).stem for path in locks} >= {"nox", "pipeline", "lock"}
    assert all(managed(path, "pip_requirements", settings) for path in locks)


def test_each_action_is_read_and_pinned_by_commit() -> None:
    settings = config()
    for path in files():
        if not path.startswith(".github/") or path == CONFIG.relative_to(ROOT).as_posix():
            continue
        for uses in re.findall(r"^ *(?:- )?uses: *(.+)$", read(path), re.MULTILINE):
            assert managed(path, "github-actions", settings), path
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*|\./\S+", uses), (path, uses)


def test_each_version_of_kubernetes_is_read() -> None:
    settings = config()
    for path in files():
        if re.fullmatch(r"(base|overlays/[^/]+)/environment\.yaml", path):
            version = (yaml.safe_load(read(path)) or {}).get("kubernetesVersion")
            read_here = [match.value for match in matches(path, read(path), settings)]
            assert read_here == ([version] if version else []), path


def test_a_hook_of_others_would_be_read() -> None:
    assert managed(".pre-commit-config.yaml", "pre-commit", config())
    assert config()["pre-commit"]["enabled"] is True


PIN = re.compile(
    r"@sha256:[0-9a-f]{64}|--hash=sha256:|^[\w.-]+==\d|\bh1:[\w+/]{43}=|\bsha512-[\w+/]{80}"
    r"|\buses: \S+@\S|\bimage: *[\"']?[\w./-]+:[\w.]",
    re.MULTILINE,
)
"""What a pin looks like, in any file."""

WRITTEN = re.compile(
    r"(overlays/[^/]+|tests/.*)/manifests/.*|tools/[^/]+/(go\.sum|package-lock\.json)|tests/.*"
    r"|.*\.md|scripts/.*|chart/(ci|templates)/.*"
)
"""Rendered files, checksums that belong to a pin, texts about versions, tests and values that only
they render, and code that has only forms of pins."""


def test_no_other_file_has_a_pin() -> None:
    settings, unknown = config(), list[str]()
    for path in files():
        if WRITTEN.fullmatch(path) or not (ROOT / path).is_file() or (ROOT / path).is_symlink():
            continue
        text = (ROOT / path).read_text("utf-8", "replace")
        is_known = any(managed(path, manager, settings) for manager in settings["enabledManagers"])
        if PIN.search(text) and not is_known and not [*matches(path, text, settings)]:
            unknown.append(path)
    assert unknown == [], "add a manager for them to .github/renovate.json"


def rule(settings: Mapping[str, Any], group: str) -> dict[str, Any]:
    (found,) = (each for each in settings["packageRules"] if each.get("groupName") == group)
    return dict(found)


def test_nodes_of_the_chain_are_never_merged_by_a_bot() -> None:
    settings = config()
    pair = rule(settings, "validators: Besu and Maru")
    assert pair["matchDepNames"] == ["sequencer: hyperledger/besu", "maru: consensys/maru"]
    assert pair["dependencyDashboardApproval"] is True
    for one in (pair, rule(settings, "public nodes: Besu")):
        assert one["automerge"] is False
        assert one["minimumReleaseAge"] == "14 days"
    known = {manager.get("depNameTemplate") for manager in settings["customManagers"]}
    assert {
        name for each in settings["packageRules"] for name in each.get("matchDepNames", [])
    } <= known
    assert [each for each in settings["packageRules"] if each.get("automerge")] == []
    assert settings["automerge"] is False


def test_a_folder_of_kubernetes_gets_only_patch_versions() -> None:
    of = [
        r
        for r in config()["packageRules"]
        if "tools/kubernetes-*/go.mod" in r.get("matchFileNames", [])
    ]
    assert any(
        r.get("enabled") is False and r["matchUpdateTypes"] == ["major", "minor"] for r in of
    )


def test_what_is_derived_is_not_edited() -> None:
    (derived,) = (
        each
        for each in config()["packageRules"]
        if each.get("matchFileNames") == [image_lock.LOCK, "tools/schemas/go.sum"]
    )
    assert derived["enabled"] is False
