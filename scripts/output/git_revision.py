"""What a git revision has committed for environments: their manifests, as they were then."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from scripts.core import programs
from scripts.core.findings import UsageError
from scripts.environments import layout
from scripts.kubernetes.manifest import Manifest

TIMEOUT_S = 600

BASE = "base/environment.yaml"
PARTS = ("argocd/", "base/", "chart/", "overlays/")
"""What holds the output of environments, and what it is rendered from."""
_MANIFEST = re.compile(rf"{layout.manifests_folder('([^/]+)')}/[^/]+\.yaml")
_APPLICATION = re.compile(
    re.escape(layout.argocd_file("applications", "*")).replace(r"\*", "([^/]+)")
)
_ARGOCD = re.compile(rf"argocd/(?:{'|'.join(layout.ARGOCD_FOLDERS)})/([^/]+)\.yaml")
_ENVIRONMENT = re.compile(r"overlays/([^/]+)/environment\.yaml")
_HEADER = re.compile(rf"{re.escape(layout.MARK)}(.+); edits are lost\.\n")
_FILES = ("100644", "100755")
"""Modes; a link has another, as has a submodule."""

Blobs = Mapping[str, str]
"""Path relative to the repository → what git calls the file's contents."""


@dataclass(frozen=True, slots=True)
class Before:
    """An environment as a revision has it."""

    manifests: tuple[Manifest, ...] | None
    """None where it has none, as it does not know the environment."""
    application: Manifest | None
    kubernetes_version: str
    """Empty where it is what it is now, or nobody says it."""


def before(
    root: Path, revision: str, now: Mapping[str, Manifest], texts: Mapping[str, str]
) -> dict[str, Before]:
    """Return environment → what the revision has of it, for those with manifests there.

    now, texts: path → what stands there now, which is not read again where nothing has changed.
    Raises UsageError where git does not know the revision.
    """
    blobs = listed(root, revision)
    same = {path for path, text in texts.items() if blobs.get(path) == _blob(text.encode())}
    versions = _changed_environments(root, blobs)
    wanted = {path for path in blobs if _name(path) and path not in same} | versions
    old = _contents(root, {blobs[path] for path in wanted})
    manifests: dict[str, list[Manifest]] = {}
    applications: dict[str, Manifest] = {}
    for path in filter(_name, blobs):
        manifest = now[path] if path in same else manifest_of(old[blobs[path]], path)
        name = str(_name(path))
        if manifest and _APPLICATION.fullmatch(path):
            applications[name] = manifest
        elif manifest:
            manifests.setdefault(name, []).append(manifest)
    return {
        name: Before(tuple(of), applications.get(name), _version(name, blobs, versions, old))
        for name, of in manifests.items()
    }


def listed(root: Path, revision: str) -> Blobs:
    """Return the files of all environments in a revision.

    Raises UsageError where git does not know the revision.
    """
    command = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{tree}}"]
    found, told = _git(root, command)
    if not found:
        if told:
            raise UsageError(f"git rev-parse: {told}")
        raise UsageError(
            f"git knows no revision {revision} here: write a branch, tag or commit that is there;"
            " a clone that holds only the last commits gets more by git fetch --deepen=100"
        )
    arguments = ["ls-tree", "-r", "-z", found.strip(), "--", *PARTS]
    listed, told = _git(root, arguments)
    if told:
        raise UsageError(f"git ls-tree: {told}")
    blobs = {}
    for line in filter(None, listed.split("\0")):
        meta, _, path = line.partition("\t")
        mode, _, blob = meta.split()
        if mode in _FILES:
            blobs[path] = blob
    return blobs


def working(root: Path, revision: str, blobs: Blobs) -> Blobs:
    """Return the files of the working tree; one that differs from a revision's has an empty name.

    blobs: the revision's. Git's index knows what differs, so no file is read here.
    """
    listed = ["diff", "--raw", "-z", "--relative", "--no-renames", "--no-ext-diff"]
    listed += [revision, "--", *PARTS]
    others = ["ls-files", "-z", "--others", "--exclude-standard", "--", *PARTS]
    changed, told = _git(root, listed)
    untracked, told_of_others = _git(root, others)
    if told or told_of_others:
        raise UsageError(f"git: {told or told_of_others}")
    now, words = dict(blobs), changed.split("\0")
    for meta, path in zip(words[::2], words[1::2], strict=False):
        before, mode, _, _, status = meta.split()
        if status == "D" or mode not in _FILES:
            now.pop(path, None)
        elif before == f":{mode}" or _now(root / path) != blobs.get(path):
            now[path] = ""
    return now | dict.fromkeys(filter(None, untracked.split("\0")), "")


def environment_of(path: str) -> str | None:
    """Return the environment whose output a file is; None for any other file."""
    found = _MANIFEST.fullmatch(path) or _ARGOCD.fullmatch(path)
    return found[1] if found else None


def texts(root: Path, files: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return (path, blob) → contents, of the working tree's file where the blob has no name."""
    old = _contents(root, {blob for _, blob in files if blob})
    return {
        (path, blob): old[blob] if blob else (root / path).read_text("utf-8", "replace")
        for path, blob in files
    }


def _name(path: str) -> str | None:
    """Return the environment whose output a file is; None for any other file."""
    found = _MANIFEST.fullmatch(path) or _APPLICATION.fullmatch(path)
    return found[1] if found else None


def manifest_of(text: str, path: str) -> Manifest | None:
    """Return a file's manifest, also of one that render has not written; None where it is none."""
    data = mapping(text)
    if not data:
        return None
    header = _HEADER.match(text)
    template, *patches = header[1].split(" and ") if header else [path]
    return Manifest(data, template, tuple(patches))


def _changed_environments(root: Path, blobs: Blobs) -> set[str]:
    """Return the files that may say another Kubernetes version than now, each with the base's."""
    base = {BASE} & blobs.keys()
    own = {path for path in blobs if _ENVIRONMENT.fullmatch(path)}
    if not any(_now(root / path) != blobs[path] for path in base):
        own = {path for path in own if _now(root / path) != blobs[path]}
    return own | base if own else set()


def _now(path: Path) -> str:
    try:
        return _blob(path.read_bytes())
    except OSError:
        return ""


def _version(name: str, blobs: Blobs, versions: set[str], old: Mapping[str, str]) -> str:
    """Return the Kubernetes version that an environment had, where its files have changed."""
    own = f"overlays/{name}/environment.yaml"
    if own not in versions:
        return ""
    said = (
        mapping(old.get(blobs.get(path, ""), "")).get("kubernetesVersion") for path in (own, BASE)
    )
    return next((version for version in said if isinstance(version, str)), "")


def mapping(text: str) -> dict[str, object]:
    """Return the mapping that a YAML text is; empty where it is none."""
    try:
        data = yaml.load(text, yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _blob(raw: bytes) -> str:
    """Return the name that git gives to a file with these contents: their SHA-1, with a header."""
    return hashlib.sha1(b"blob %d\0" % len(raw) + raw, usedforsecurity=False).hexdigest()


def _contents(root: Path, blobs: Iterable[str]) -> dict[str, str]:
    """Return the texts of blobs, by one process."""
    wanted = sorted(blobs)
    if not wanted:
        return {}
    told, failed = _git(root, ["cat-file", "--batch"], "".join(f"{blob}\n" for blob in wanted))
    raw, found, at = told.encode("utf-8", "surrogateescape"), {}, 0
    for blob in wanted:
        end = raw.find(b"\n", at)
        words = raw[at:end].split()
        if len(words) != 3:
            raise UsageError(f"git cat-file: {failed or f'{blob} is missing: run git fetch'}")
        size = int(words[2])
        found[blob] = raw[end + 1 : end + 1 + size].decode("utf-8", "replace")
        at = end + 1 + size + 1
    return found


def _git(root: Path, arguments: list[str], given: str = "") -> tuple[str, str]:
    """Return what git says, and why it failed, where it has."""
    done = programs.run(["git", *arguments], "git", TIMEOUT_S, cwd=root, given=given)
    failed = done.returncode and done.stderr.strip().removeprefix("fatal: ")
    return done.stdout if not done.returncode else "", failed or ""
