"""What a git revision has committed for environments: their manifests, as they were then."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import yaml

from scripts import tools, tree
from scripts.findings import UsageError
from scripts.manifest import Manifest

TIMEOUT_S = 60

_FOLDER = tree.manifests_folder("*")
_HEADER = re.compile(rf"{re.escape(tree.MARK)}(.+); edits are lost\.\n")


def manifests(
    root: Path, revision: str, now: Mapping[str, Manifest], texts: Mapping[str, str]
) -> dict[str, tuple[Manifest, ...]]:
    """Return environment → manifests, of all environments that the revision has.

    now, texts: path → what stands there now, which is not read again where nothing has changed.
    Raises UsageError where git does not know the revision.
    """
    listed = _git(root, ["ls-tree", "-r", "-z", "--full-tree", revision, "overlays/"])
    blobs = {}
    for line in filter(None, listed.split("\0")):
        meta, _, path = line.partition("\t")
        if PurePosixPath(path).match(f"{_FOLDER}/*.yaml"):
            blobs[path] = meta.split()[2]
    same = {path for path, text in texts.items() if blobs.get(path) == _blob(text)}
    old = _contents(root, {blob for path, blob in blobs.items() if path not in same})
    found: dict[str, list[Manifest]] = {}
    for path, blob in blobs.items():
        environment = PurePosixPath(path).parts[1]
        manifest = now[path] if path in same else _manifest(old[blob], path)
        if manifest:
            found.setdefault(environment, []).append(manifest)
    return {name: tuple(of) for name, of in found.items()}


def _manifest(text: str, path: str) -> Manifest | None:
    """Return a written file's manifest; None for what render has not written."""
    header = _HEADER.match(text)
    try:
        data = yaml.load(text, yaml.CSafeLoader)
    except yaml.YAMLError:
        return None
    return Manifest(data, header[1] if header else path) if isinstance(data, dict) else None


def _blob(text: str) -> str:
    """Return the name that git gives to a file of this text: its SHA-1, with a header."""
    raw = text.encode()
    return hashlib.sha1(b"blob %d\0" % len(raw) + raw, usedforsecurity=False).hexdigest()


def _contents(root: Path, blobs: Iterable[str]) -> dict[str, str]:
    """Return the texts of blobs, by one process."""
    wanted = sorted(blobs)
    if not wanted:
        return {}
    told = _git(root, ["cat-file", "--batch"], "".join(f"{blob}\n" for blob in wanted))
    raw, found, at = told.encode("utf-8", "surrogateescape"), {}, 0
    for blob in wanted:
        end = raw.index(b"\n", at)
        size = int(raw[at:end].split()[2])
        found[blob] = raw[end + 1 : end + 1 + size].decode("utf-8", "replace")
        at = end + 1 + size + 1
    return found


def _git(root: Path, arguments: list[str], given: str = "") -> str:
    done = tools.run(["git", *arguments], "git", TIMEOUT_S, cwd=root, given=given)
    if done.returncode:
        told = done.stderr.strip().removeprefix("fatal: ")
        raise UsageError(f"git {arguments[0]}: {told}")
    return done.stdout
