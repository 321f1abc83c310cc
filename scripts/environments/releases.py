"""The chart/ and base/ of a release: read from git's objects, into a folder.

`release: v0.4.0` in environment.yaml renders the environment from the chart/ and base/ of that tag
or commit, whatever the working tree has. The folder is named after git's trees, and checked against
them whenever it is used, so that a torn or changed copy is never rendered from.

Of base/, base/environment.yaml, the waivers of base/policy.yaml and new digests of base/images.yaml
are always those of the working tree: they describe clusters and reviews, not the stack.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.core import git, programs, safe_files
from scripts.core.findings import Finding, UsageError, UserError

if TYPE_CHECKING:
    from scripts.core.yamlio import Document

PARTS = ("chart", "base")
"""The folders of a release."""

_MOST_SHOWN = 5
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHORT = re.compile(r"[0-9a-f]{7,63}")
_SHOWN = 12
"""Characters of a commit's id in the names of files."""


@dataclass(frozen=True, slots=True)
class Release:
    """A release that git knows."""

    name: str
    """As written: a tag, or the full id of a commit."""
    commit: str
    trees: tuple[str, ...]
    """The ids of git's trees of PARTS."""

    @property
    def label(self) -> str:
        """Return its name in the names of files: chart/values.yaml@v0.4.0."""
        return label(self.name)

    @property
    def key(self) -> str:
        """Return what identifies the contents."""
        return hashlib.sha256(" ".join(self.trees).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Unknown:
    """Why a release can't be read, and what to do about it."""

    message: str
    fix: str


def label(name: str) -> str:
    """Return the name of a release in the names of files."""
    return name[:_SHOWN] if _COMMIT.fullmatch(name) else name


def folder(root: Path, name: str, document: Document) -> Path:
    """Return the folder with the chart/ and base/ of a release.

    document: the file that names the release. Raises UserError for a release that git does not
    have, and UsageError if the folder can't be written.
    """
    found = find(root, name)
    if isinstance(found, Unknown):
        raise UserError(document.finding("unknown-release", ["release"], found.message, found.fix))
    return _materialised(root, found)


def find(root: Path, name: str) -> Release | Unknown:
    """Return a release, or why git does not have it."""
    return _known(root, name) or _unknown(root, name)


@lru_cache
def _known(root: Path, name: str) -> Release | None:
    """Return a release of which git has the commit with its folders."""
    revision = name if _COMMIT.fullmatch(name) else f"refs/tags/{name}"
    options = ("--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    commit = git.ask(root, "rev-parse", *options).strip()
    found = trees(root, commit) if commit else ()
    return Release(name, commit, found) if found else None


def trees(root: Path, commit: str) -> tuple[str, ...]:
    """Return the ids of the trees of PARTS in a commit; none unless it has all of them."""
    listed = git.ask(root, "ls-tree", "-z", commit, "--", *PARTS)
    ids = {path: meta.split()[2] for meta, path in _entries(listed) if meta.split()[1] == "tree"}
    return tuple(ids[part] for part in PARTS) if len(ids) == len(PARTS) else ()


def _entries(listed: str) -> Iterator[tuple[str, str]]:
    """Yield meta and path of each entry of `git ls-tree -z`."""
    for line in filter(None, listed.split("\0")):
        meta, _, path = line.partition("\t")
        yield meta, path


def _unknown(root: Path, name: str) -> Unknown:
    if not git.ask(root, "rev-parse", "--git-dir"):
        message = f"release is {name}, but this folder is not a git repository"
        fix = "clone the repository with git: chart/ and base/ of a release come from its history"
        return Unknown(message, f"{fix}; without release, the working tree is used")
    remotes = git.ask(root, "remote").split()
    remote = "origin" if "origin" in remotes else next(iter(remotes), "")
    is_shallow = git.ask(root, "rev-parse", "--is-shallow-repository").strip() == "true"
    if _COMMIT.fullmatch(name):
        if git.ask(root, "cat-file", "-t", name):
            message = f"release {name} is not a commit with the folders chart/ and base/"
            return Unknown(message, "write the tag of a release, or the full id of a commit of it")
        fix = f"run git fetch {'--depth=1 ' if is_shallow else ''}{remote} {name}"
        if not remote:
            fix = "write the tag of a release: this repository has no remote to fetch from"
        return Unknown(f"unknown release: this clone has no commit {name}", fix)
    if git.ask(root, "rev-parse", "--verify", "--quiet", f"refs/tags/{name}^{{commit}}"):
        message = f"release {name} does not have the folders chart/ and base/"
        return Unknown(message, "write a later release")
    branches = (f"refs/heads/{name}", *(f"refs/remotes/{each}/{name}" for each in remotes))
    if any(git.ask(root, "rev-parse", "--verify", "--quiet", branch) for branch in branches):
        message = f"release {name} is a branch, which moves: the same input would render otherwise"
        return Unknown(message, "write a tag, or the full id of a commit")
    if _SHORT.fullmatch(name):
        full = git.ask(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").strip()
        message = f"release {name} is the beginning of a commit's id, which may become ambiguous"
        return Unknown(message, f"write {full or 'the full id, with its 40 characters'}")
    return _without_tag(name, tags(root), remote, is_shallow=is_shallow)


def _without_tag(name: str, known: Sequence[str], remote: str, *, is_shallow: bool) -> Unknown:
    depth = "--depth=1 " if is_shallow else ""
    fetch = f"run git fetch {depth}{remote} tag {name}" if remote else ""
    what = "this clone is shallow and has no" if is_shallow else "this clone has no"
    message = f"unknown release: {what} tag {name}"
    import difflib

    near = difflib.get_close_matches(name, known, 1)
    if near and not is_shallow:
        fix = f"write {near[0]}" + (f"; if {name} is right, {fetch}" if fetch else "")
        return Unknown(message, fix)
    fix = "write a tag of this repository; it has none yet: nox -s release makes one"
    if known:
        fix = f"write a tag of this repository; the latest are {', '.join(known[-_MOST_SHOWN:])}"
    return Unknown(message, fetch or fix)


def tags(root: Path) -> list[str]:
    """Return the tags of the repository, the oldest version first."""
    return git.ask(
        root, "for-each-ref", "--sort=version:refname", "--format=%(refname:strip=2)", "refs/tags"
    ).split()


def written(root: Path, name: str) -> str:
    """Return the release that an environment names, as written; empty if it names none."""
    for path in (root / "overlays" / name / "environment.yaml", root / "base" / "environment.yaml"):
        with contextlib.suppress(OSError):
            raw = path.read_bytes()
            if b"release" in raw and (found := _release_in(raw)):
                return found
    return ""


def _release_in(raw: bytes) -> str:
    """Return the release in a file of YAML; empty if there is none, or the YAML is invalid."""
    import yaml  # only where a file may have one: its import takes a while

    with contextlib.suppress(yaml.YAMLError, ValueError, RecursionError):
        data = yaml.load(raw, yaml.CSafeLoader)
        if isinstance(data, dict) and isinstance(data.get("release"), str):
            return str(data["release"])
    return ""


def digest(root: Path, release: str) -> str:
    """Return what identifies the contents of a release; empty without one."""
    if not release:
        return ""
    found = find(root, release)
    return found.key if isinstance(found, Release) else found.message


@lru_cache
def is_on_branch(root: Path, name: str, branch: str) -> bool:
    """Return whether the commit of a release is on a branch; also if it is unknown.

    What is unknown is not rendered, either.
    """
    found = find(root, name)
    return isinstance(found, Unknown) or is_ancestor(root, found.commit, branch_of(root, branch))


def off_branch(root: Path, name: str, branch: str, document: Document) -> list[Finding]:
    """Return a finding if the commit of a release is not on the branch that Argo CD follows.

    Such a commit was not merged: no one had to review it, and git may delete it.
    """
    if is_on_branch(root, name, branch):
        return []
    on = branch_of(root, branch)
    if git.ask(root, "rev-parse", "--is-shallow-repository").strip() == "true":
        message = f"this clone is shallow: it can't tell whether release {name} is on {branch}"
        fix = "run git fetch --unshallow origin; in CI, check out with fetch-depth: 0"
        return [document.finding("release-not-on-branch", ["release"], message, fix)]
    message = (
        f"release {name} is not on {on}: its commit may not be reviewed, and git deletes it "
        "with its branch"
    )
    fix = f"merge it to {branch}, and write a tag or commit of {branch}"
    return [document.finding("release-not-on-branch", ["release"], message, fix)]


def branch_of(root: Path, branch: str) -> str:
    """Return git's name of the branch that Argo CD follows, as far as this clone has it."""
    names = (f"origin/{branch}", branch)
    refs = (f"refs/remotes/origin/{branch}", f"refs/heads/{branch}")
    for name, ref in zip(names, refs, strict=True):
        if git.ask(root, "rev-parse", "--verify", "--quiet", ref):
            return name
    return "HEAD"


def explained(root: Path, release: str, finding: Finding) -> Finding:
    """Return a finding in values; for a key that a later release knows, it says which one."""
    key, unknown, _ = finding.message.partition(" is an unknown key")
    if not release or not unknown or not finding.file.startswith("overlays/"):
        return finding
    if later := first_with_value(root, release, key):
        message = f"{release} does not know {key}: the first release that does is {later}"
        fix = f"promote {later}, or remove {key}"
    elif knows(root, key):
        message = f"{release} does not know {key}: the chart has it since, without a release"
        fix = f"release the chart and promote that, or remove {key}"
    else:
        return replace(finding, message=f"{finding.message} in release {release}")
    return replace(finding, message=message, fix=fix, edits=(), is_safe=False)


def first_with_value(root: Path, name: str, key: str) -> str:
    """Return the first later release whose chart knows a key of values; empty if there is none."""
    found = find(root, name)
    if isinstance(found, Unknown):
        return ""
    options = ("--sort=version:refname", "--format=%(refname:strip=2)", "--contains", found.commit)
    for tag in git.ask(root, "for-each-ref", *options, "refs/tags").split():
        if tag != name and _knows(git.ask(root, "show", f"refs/tags/{tag}:./{SCHEMA}"), key):
            return tag
    return ""


SCHEMA = "chart/values.schema.json"


def knows(root: Path, key: str) -> bool:
    """Return whether the chart of the working tree knows a key of values."""
    with contextlib.suppress(OSError):
        return _knows((root / SCHEMA).read_text("utf-8"), key)
    return False


def _knows(schema: str, key: str) -> bool:
    """Return whether a schema has a key: besu.image.tag."""
    import yaml

    with contextlib.suppress(yaml.YAMLError, ValueError, AttributeError):
        part = yaml.load(schema, yaml.CSafeLoader)
        definitions = part.get("$defs", {})
        for word in key.split("."):
            if "$ref" in part:
                part = definitions[part["$ref"].rpartition("/")[2]]
            part = part.get("properties", {}).get(word)
        return part is not None
    return False


@lru_cache
def _materialised(root: Path, release: Release) -> Path:
    """Return the folder of a release, which is written unless it is there and whole."""
    import tempfile

    parent = root / safe_files.RELEASES
    target = parent / f"{release.key[:32]}@{release.label}"
    if _is_whole(target, release):
        return target
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with (
            (parent / "lock").open("w") as lock,
            tempfile.TemporaryDirectory(prefix=".new-", dir=parent) as temporary,
        ):
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_whole(target, release):  # another run has written it meanwhile
                return target
            new = Path(temporary, "new")
            _write(root, release, new)
            if target.exists():
                os.rename(target, Path(temporary, "torn"))
            os.rename(new, target)
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(f"can't write {safe_files.RELEASES} for {release.name}: {why}") from error
    return target


def _write(root: Path, release: Release, target: Path) -> None:
    """Write the files of a release."""
    listed = git.ask(root, "ls-tree", "-r", "-z", release.commit, "--", *PARTS)
    entries = [(*meta.split(), path) for meta, path in _entries(listed)]
    if modules := [path for _, kind, _, path in entries if kind == "commit"]:
        message = f"{release.name} has {modules[0]} as a submodule, whose files git does not have"
        raise UsageError(f"{message} here: write a release without it")
    blobs = git.contents(root, (blob for _, _, blob, _ in entries))
    for part in PARTS:
        (target / part).mkdir(parents=True, exist_ok=True)
    for mode, _, blob, path in entries:
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if mode == "120000":
            file.symlink_to(os.fsdecode(blobs[blob]))
            continue
        file.write_bytes(blobs[blob])
        file.chmod(0o555 if mode == "100755" else 0o444)


def _is_whole(target: Path, release: Release) -> bool:
    """Return whether a folder has exactly the files of the release."""
    try:
        hashed = (
            _tree(target / part, len(tree)) for part, tree in zip(PARTS, release.trees, strict=True)
        )
        return tuple(hashed) == release.trees
    except OSError:
        return False


def _tree(path: Path, length: int) -> str:
    """Return git's id of a folder; length: of the id, which differs by the kind of hash.

    Source: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
    """
    entries = list[tuple[bytes, bytes]]()
    with os.scandir(path) as found:
        for each in found:
            name = os.fsencode(each.name)
            if each.is_symlink():
                hashed = _hash(b"blob", os.fsencode(os.readlink(each.path)), length)  # noqa: PTH115
                mode, order = b"120000", name
            elif each.is_dir():
                hashed, mode, order = _tree(Path(each.path), length), b"40000", name + b"/"
            else:
                hashed = _hash(b"blob", Path(each.path).read_bytes(), length)
                is_program = each.stat().st_mode & 0o100
                mode, order = b"100755" if is_program else b"100644", name
            entries.append((order, mode + b" " + name + b"\0" + bytes.fromhex(hashed)))
    return _hash(b"tree", b"".join(entry for _, entry in sorted(entries)), length)


def _hash(kind: bytes, raw: bytes, length: int) -> str:
    text = b"%s %d\0%s" % (kind, len(raw), raw)
    if length == 64:
        return hashlib.sha256(text).hexdigest()
    return hashlib.sha1(text, usedforsecurity=False).hexdigest()


def is_ancestor(root: Path, old: str, new: str) -> bool:
    """Return whether a revision is another one, or one of those before it."""
    command = ["git", "merge-base", "--is-ancestor", old, new]
    try:
        return not programs.run(command, "git", programs.QUERY_TIMEOUT_S, cwd=root).returncode
    except UsageError:
        return False
