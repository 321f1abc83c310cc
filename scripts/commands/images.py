"""Look up the digests that base/images.yaml lacks; review the diff."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

from scripts.checks import image_places
from scripts.commands import arguments as shared
from scripts.commands import reporting
from scripts.core import programs, progress, toolchain, yamlio
from scripts.core.findings import Finding, Severity, UsageError, UserError, has_errors
from scripts.core.parallel import each
from scripts.environments import git_index, image_lock, layout
from scripts.rendering.pipeline import Rendering, render

TIMEOUT_S = 60

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MISSING = re.compile(r"MANIFEST_UNKNOWN|NAME_UNKNOWN|\b404\b")
_DENIED = re.compile(r"UNAUTHORIZED|DENIED|\b401\b|\b403\b")
_ADDRESS = re.compile(r'\b\w+ "?https?://[^\s"]*"?: ')
"""The failed request in crane's messages: the URL of a token could contain the user's name."""
_MOST_SHOWN = 200
"""Characters of a registry's answer."""


EXAMPLES = ("nox -s images", "nox -s images -- --refresh", "nox -s images -- --prune")
INTERRUPTED = "base/images.yaml is unchanged"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a digest could not be looked up."""

    rule: str
    message: str
    fix: str


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    shared.findings_format(parser)
    parser.add_argument(
        "--refresh",
        action="store_true",
        help="also look up the digests in the lock, and write those of tags that have moved",
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="also remove the digests of images that no environment runs",
    )


def run(root: Path, options: argparse.Namespace) -> int:
    """Look the digests up, and return the exit code."""
    stream = sys.stdout if options.format == "text" else sys.stderr
    findings = look_up(root, options.refresh, stream)
    if options.prune:
        prune(root, stream)
    reporting.report(findings, options.format)
    return exit_code(findings)


def look_up(root: Path, refresh: bool, stream: TextIO) -> list[Finding]:
    """Write the digests that the lock lacks, of all environments' images, and print them.

    refresh: also look up the digests in the lock.
    Returns an error for each digest that could not be looked up, and a warning for each tag that
    has moved. The other digests are written.
    Raises UserError if an environment can't be rendered, as its images are unknown then.
    """
    owners = _images(root)
    lock = image_lock.load(root)
    before: dict[str, str] = lock.data or {}
    findings, new = list[Finding](), dict[str, str]()
    for name in sorted(owners):
        if name in before and not refresh:
            continue
        answer = digest(name)
        if isinstance(answer, Failure):
            findings.append(_failed(root, lock, name, owners[name], answer))
        elif answer != before.get(name):
            new[name] = answer
            if name in before:
                findings.append(_moved(lock, name, before[name], answer))
            else:
                print(f"{name}: {answer}", file=stream)
    if new:
        _write(root / image_lock.LOCK, lock, new)
        print(f"{image_lock.LOCK} has changed: run nox -s render, and commit both", file=stream)
    elif not has_errors(findings):
        print("no digest is missing" if not refresh else "no tag has moved", file=stream)
    return findings


def prune(root: Path, stream: TextIO) -> None:
    """Remove the digests of images that no environment runs, and print their images.

    A checkout that leaves environments out does not know which these are, so nothing is removed.
    """
    image_lock.load.cache_clear()
    lock = image_lock.load(root)
    if git_index.read(root).environments:
        return
    used = _images(root)
    unused = [name for name in lock.data or {} if name not in used]
    lines = (root / image_lock.LOCK).read_text("utf-8").splitlines(keepends=True)
    for number in sorted((lock.position([name])[0] for name in unused), reverse=True):
        del lines[number - 1]
    for name in unused:
        print(f"{name}: removed, as no environment runs it", file=stream)
    if unused:
        new = (root / image_lock.LOCK).with_suffix(".new")
        new.write_text("".join(lines), "utf-8")
        os.replace(new, root / image_lock.LOCK)


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 1 if an image does not exist, 2 if a registry could not be asked, otherwise 0."""
    rules = {finding.rule for finding in findings if finding.severity is Severity.ERROR}
    return 1 if "image-not-found" in rules else 2 if rules else 0


def _images(root: Path) -> dict[str, tuple[Rendering, str]]:
    """Return repository:tag → an environment and its image, for all images that need the lock.

    Images without a tag, and images with a digest that is not from the lock, do not need it.
    """
    names = layout.environments(root)
    renderings = each(partial(render, root), names, "rendering environments")
    findings = [finding for rendering in renderings for finding in rendering.findings]
    if has_errors(findings):
        raise UserError(*findings)
    locked = image_lock.load(root).data or {}
    owners = dict[str, tuple[Rendering, str]]()
    for rendering in renderings:
        for image in image_lock.names(rendering.manifests):
            reference = image_lock.parse(image)
            if reference.tag and (not reference.digest or reference.name in locked):
                owners.setdefault(reference.name, (rendering, image))
    return owners


def digest(name: str) -> str | Failure:
    """Return the digest of repository:tag in its registry: that of the index over all platforms.

    The user's credentials are used (docker login, crane auth login):
    https://github.com/google/go-containerregistry/blob/main/pkg/authn/README.md
    """
    crane, registry = toolchain.tool("crane"), image_lock.registry(name)
    unreachable = f"run nox -s images on a machine that reaches {registry} (https_proxy is used)"
    try:
        with progress.progress(f"asking {registry} for {name}"):
            done = programs.run([crane, "digest", "--", name], name, TIMEOUT_S, cwd=toolchain.PINS)
    except UsageError as error:
        return Failure("registry-unreachable", str(error), unreachable)
    answer = done.stdout.strip()
    if not done.returncode and _DIGEST.fullmatch(answer):
        return answer
    problem = _ADDRESS.sub("", done.stderr.rpartition("Error: ")[2] or answer)
    why = (problem.strip().splitlines() or ["no answer"])[0][:_MOST_SHOWN]
    if _DENIED.search(problem):
        message = f"{registry} denies access to {name}: {why}"
        fix = f"run docker login {registry}; if it has no such repository, correct the repository"
        return Failure("image-access-denied", message, fix)
    if _MISSING.search(problem):
        message = f"{registry} has no {name}: {why}"
        fix = f"write a tag that {name.rpartition(':')[0]} has in its registry"
        return Failure("image-not-found", message, fix)
    message = f"cannot ask {registry} for {name}: {why}"
    return Failure("registry-unreachable", message, unreachable)


def _failed(
    root: Path, lock: yamlio.Document, name: str, owner: tuple[Rendering, str], failure: Failure
) -> Finding:
    """Return the finding at the image's line in the lock, or at the input that sets the tag."""
    if name in (lock.data or {}):
        return lock.finding(failure.rule, [name], failure.message, failure.fix)
    rendering, image = owner
    file, line, column = image_places.places(root, rendering, [image])[image]
    return Finding(file, line, column, failure.rule, failure.message, failure.fix)


def _moved(lock: yamlio.Document, name: str, before: str, now: str) -> Finding:
    message = (
        f"the tag {name} has moved from\n{before} to\n{now}:\n"
        "the image that it names now was not reviewed"
    )
    fix = (
        "find out who moved the tag and why (the project's releases, its signatures); "
        f"git checkout {image_lock.LOCK} restores the old digest"
    )
    return lock.finding("moved-tag", [name], message, fix, severity=Severity.WARNING)


def _write(path: Path, lock: yamlio.Document, digests: Mapping[str, str]) -> None:
    """Write digests into the lock's text, and keep its other lines and comments."""
    known: dict[str, int] = {key: lock.position([key])[0] for key in lock.data or {}}
    text = path.read_text("utf-8")
    for name in digests.keys() & known.keys():
        # All digests have the same length, so the positions of the others stay valid.
        key = sum(len(line) for line in text.splitlines(keepends=True)[: known[name] - 1])
        start = text.index(lock.data[name], key)
        text = text[:start] + digests[name] + text[start + len(digests[name]) :]
    lines = text.splitlines()
    first = min(known.values(), default=len(lines) + 1) - 1
    # In reverse order, as each new line moves the lines below it.
    for name in sorted(digests.keys() - known.keys(), reverse=True):
        above = [line for key, line in known.items() if key < name]
        lines.insert(max(above, default=first), f"{name}: {digests[name]}")
    new = path.with_suffix(".new")
    new.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    os.replace(new, path)
