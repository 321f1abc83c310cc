"""Read the output of environments from a git revision."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from scripts.core import git, programs
from scripts.core.findings import UsageError
from scripts.environments import git_index, layout
from scripts.kubernetes.manifest import Manifest
from scripts.output import unknown_revision

BASE = layout.BASE
_MANIFEST = re.compile(rf"{layout.manifests_folder('([^/]+)')}/[^/]+\.yaml")
_APPLICATION = re.compile(
    re.escape(layout.argocd_file("applications", "*")).replace(r"\*", "([^/]+)")
)
_ARGOCD = re.compile(rf"argocd/(?:{'|'.join(layout.ARGOCD_FOLDERS)})/([^/]+)\.yaml")
_ENVIRONMENT = re.compile(r"overlays/([^/]+)/environment\.yaml")
_HEADER = re.compile(rf"{re.escape(layout.MARK)}(.+); edits are lost\.\n")
_FILES = ("100644", "100755")
"""The modes of files; links and submodules have other modes."""

Blobs = Mapping[str, str]
"""Path relative to the repository → the name of the file's blob in git."""


@dataclass(frozen=True, slots=True)
class Before:
    """An environment in an earlier revision."""

    manifests: tuple[Manifest, ...] | None
    """None if the revision does not have the environment."""
    application: Manifest | None
    kubernetes_version: str
    """Empty if it has not changed, or is unknown."""


def before(
    root: Path,
    revision: str,
    now: Mapping[str, Manifest],
    texts: Mapping[str, str],
    left_out: Collection[str] = (),
) -> dict[str, Before]:
    """Return environment → its state in the revision, if it has manifests and ran there.

    now, texts: path → the present manifest and its text, which is used if it has not changed.
    left_out: environments to ignore. Raises UsageError for an unknown revision.
    """
    without = set(left_out)
    every = listed(root, revision)
    blobs = {
        path: blob for path, blob in every.items() if layout.environment_of(path) not in without
    }
    unchanged = {
        path for path, text in texts.items() if blobs.get(path) == git_index.blob(text.encode())
    }
    versions = _changed_environments(root, blobs)
    wanted = {path for path in blobs if _name(path) and path not in unchanged} | versions
    old = _contents(root, {blobs[path] for path in wanted})
    never_ran = examples(root, blobs)
    manifests: dict[str, list[Manifest]] = {}
    applications: dict[str, Manifest] = {}
    for path in filter(_name, blobs):
        manifest = now[path] if path in unchanged else manifest_of(old[blobs[path]], path)
        name = str(_name(path))
        if manifest and _APPLICATION.fullmatch(path):
            applications[name] = manifest
        elif manifest:
            manifests.setdefault(name, []).append(manifest)
    return {
        name: Before(tuple(of), applications.get(name), _version(name, blobs, versions, old))
        for name, of in manifests.items()
        if name not in never_ran
    }


def examples(root: Path, blobs: Blobs) -> frozenset[str]:
    """Return the environments that are examples in a revision: what never ran can't change.

    blobs: those of the revision.
    """
    own = {path: blob for path, blob in blobs.items() if _ENVIRONMENT.fullmatch(path)}
    texts = _contents(root, {*own.values()})
    return frozenset(
        path.split("/")[1]
        for path, blob in own.items()
        if "example:" in texts[blob] and mapping(texts[blob]).get("example") is True
    )


def tree(root: Path, revision: str) -> str:
    """Return the id of a revision's tree; raises UsageError for an unknown revision."""
    command = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{tree}}"]
    found, error = _git(root, command)
    if not found:
        if error:
            raise UsageError(f"git rev-parse: {error}")
        raise UsageError(f"unknown revision {revision}: {unknown_revision.advice(root, revision)}")
    return found.strip()


def listed(root: Path, revision: str) -> Blobs:
    """Return the files of all environments in a revision.

    Raises UsageError for an unknown revision.
    """
    return _listed(root, tree(root, revision))


@lru_cache(maxsize=2)
def _listed(root: Path, tree: str) -> Blobs:
    arguments = ["ls-tree", "-r", "-z", tree, "--", *git_index.PARTS]
    listed, error = _git(root, arguments)
    if error:
        raise UsageError(f"git ls-tree: {error}")
    blobs = {}
    for line in filter(None, listed.split("\0")):
        meta, _, path = line.partition("\t")
        mode, _, blob = meta.split()
        if mode in _FILES:
            blobs[path] = blob
    return blobs


def working(root: Path, revision: str, blobs: Blobs) -> Blobs:
    """Return the files of the working tree; the blob's name is empty if it differs from blobs.

    blobs: those of the revision. Git knows from its index which files differ, without reading them.
    """
    listed = ["diff", "--raw", "-z", "--relative", "--no-renames", "--no-ext-diff"]
    listed += [revision, "--", *git_index.PARTS]
    others = ["ls-files", "-z", "--others", "--exclude-standard", "--", *git_index.PARTS]
    changed, diff_error = _git(root, listed)
    untracked, list_error = _git(root, others)
    if error := diff_error or list_error:
        raise UsageError(f"git: {error}")
    now, words = dict(blobs), changed.split("\0")
    for meta, path in zip(words[::2], words[1::2], strict=False):
        before, mode, _, _, status = meta.split()
        if status == "D" or mode not in _FILES:
            now.pop(path, None)
        elif before == f":{mode}" or _now(root / path) != blobs.get(path):
            now[path] = ""
    return now | dict.fromkeys(filter(None, untracked.split("\0")), "")


def environment_of(path: str) -> str | None:
    """Return the environment of a file of output; None for any other file."""
    match = _MANIFEST.fullmatch(path) or _ARGOCD.fullmatch(path)
    return match[1] if match else None


_NO_INPUTS = (
    "base/placeholders.yaml",
    "base/policy.yaml",
    "chart/values.schema.json",
    "chart/templates/NOTES.txt",
)


def is_input(path: str) -> bool:
    """Return whether a file of PARTS may decide what render writes.

    Pages, files that only keep a folder in git, and what people write below argocd/ do not.
    """
    name = path.rpartition("/")[2]
    is_page = name.startswith(".") or name.lower().endswith(".md") or path in _NO_INPUTS
    return not (is_page or path.startswith("argocd/") or environment_of(path))


def texts(root: Path, files: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return (path, blob) → contents; those of the working tree if the blob's name is empty."""
    old = _contents(root, {blob for _, blob in files if blob})
    return {
        (path, blob): old[blob] if blob else (root / path).read_text("utf-8", "replace")
        for path, blob in files
    }


def _name(path: str) -> str | None:
    """Return the environment of a manifest or an Application; None for any other file."""
    match = _MANIFEST.fullmatch(path) or _APPLICATION.fullmatch(path)
    return match[1] if match else None


def manifest_of(text: str, path: str) -> Manifest | None:
    """Return a file's manifest, also if render did not write it; None if it is no mapping."""
    data = mapping(text)
    if not data:
        return None
    header = _HEADER.match(text)
    template, *patches = header[1].split(" and ") if header else [path]
    return Manifest(data, template, tuple(patches))


def _changed_environments(root: Path, blobs: Blobs) -> set[str]:
    """Return the environment.yaml files, with that of base/, that may have another version now."""
    base = {BASE} & blobs.keys()
    own = {path for path in blobs if _ENVIRONMENT.fullmatch(path)}
    if not any(_now(root / path) != blobs[path] for path in base):
        own = {path for path in own if _now(root / path) != blobs[path]}
    return own | base if own else set()


def _now(path: Path) -> str:
    try:
        return git_index.blob(path.read_bytes())
    except OSError:
        return ""


def _version(name: str, blobs: Blobs, versions: set[str], old: Mapping[str, str]) -> str:
    """Return the Kubernetes version that an environment had; empty if its files are unchanged."""
    own = f"overlays/{name}/environment.yaml"
    if own not in versions:
        return ""
    candidates = (
        mapping(old.get(blobs.get(path, ""), "")).get("kubernetesVersion") for path in (own, BASE)
    )
    return next((version for version in candidates if isinstance(version, str)), "")


def mapping(text: str | bytes) -> dict[str, Any]:
    """Return the mapping of a YAML text; empty if it is none."""
    try:
        data = yaml.load(text, yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _contents(root: Path, blobs: Iterable[str]) -> dict[str, str]:
    """Return blob → its text."""
    return {blob: raw.decode("utf-8", "replace") for blob, raw in git.contents(root, blobs).items()}


def _git(root: Path, arguments: list[str]) -> tuple[str, str]:
    """Return git's output and its error; one of them is empty."""
    done = programs.run(["git", *arguments], "git", programs.QUERY_TIMEOUT_S, cwd=root)
    error = done.returncode and done.stderr.strip().removeprefix("fatal: ")
    return done.stdout if not done.returncode else "", error or ""
