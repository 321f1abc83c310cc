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

from scripts.checks import image_digests
from scripts.commands import arguments as shared
from scripts.commands import reporting
from scripts.core import programs, progress, toolchain, yamlio
from scripts.core.findings import Finding, Severity, UsageError, UserError, has_errors
from scripts.core.parallel import each
from scripts.environments import image_lock, layout
from scripts.rendering.pipeline import Rendering, render

TIMEOUT_S = 60

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MISSING = re.compile(r"MANIFEST_UNKNOWN|NAME_UNKNOWN|\b404\b")
_REFUSED = re.compile(r"UNAUTHORIZED|DENIED|\b401\b|\b403\b")
_ADDRESS = re.compile(r'\b\w+ "?https?://[^\s"]*"?: ')
"""In the tool's words, the request that failed: the address of a token could say for whom."""
_MOST_SHOWN = 200


EXAMPLES = ("nox -s images", "nox -s images -- --refresh")
INTERRUPTED = "base/images.yaml is as it was"


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
        help="also ask for the digests that are there, and write where a tag has moved",
    )


def run(root: Path, options: argparse.Namespace) -> int:
    """Look the digests up, and return the exit code."""
    stream = sys.stdout if options.format == "text" else sys.stderr
    found = look_up(root, options.refresh, stream)
    reporting.report(found, options.format)
    return exit_code(found)


def look_up(root: Path, refresh: bool, stream: TextIO) -> list[Finding]:
    """Write the digests of all environments' images that the lock lacks, and say which.

    Returns what could not be looked up, as errors, and with refresh, which asks for the others,
    too, the tags that have moved, as warnings. What was found is written all the same.
    Raises UserError where environments can't be rendered: what they run is not known then.
    """
    owners = _images(root)
    lock = image_lock.load(root)
    before: dict[str, str] = lock.data or {}
    findings, found = list[Finding](), dict[str, str]()
    for name in sorted(owners):
        if name in before and not refresh:
            continue
        answer = digest(name)
        if isinstance(answer, Failure):
            findings.append(_failed(root, lock, name, owners[name], answer))
        elif answer != before.get(name):
            found[name] = answer
            if name in before:
                findings.append(_moved(lock, name, before[name], answer))
            else:
                print(f"{name}: {answer}", file=stream)
    if found:
        _write(root / image_lock.LOCK, lock, found)
        print(f"{image_lock.LOCK} has changed: run nox -s render, and commit both", file=stream)
    elif not has_errors(findings):
        print("no digest is missing" if not refresh else "no tag has moved", file=stream)
    return findings


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 1 where a file names an image that is not there, 2 where nobody could tell."""
    rules = {finding.rule for finding in findings if finding.severity is Severity.ERROR}
    return 1 if "image-missing" in rules else 2 if rules else 0


def _images(root: Path) -> dict[str, tuple[Rendering, str]]:
    """Return the images that the lock may know, by repository:tag: an environment, its image there.

    Not those without a tag, which a lock can't name, and those with a digest from elsewhere.
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
    """Return the digest that a registry has for repository:tag: its index over all platforms.

    Registries are asked with what the user is logged in with (docker login, crane auth login):
    https://github.com/google/go-containerregistry/blob/main/pkg/authn/README.md
    """
    crane, registry = toolchain.tool("crane"), image_lock.registry(name)
    unreachable = f"run nox -s images where {registry} can be reached (https_proxy is respected)"
    try:
        with progress.progress(f"asking {registry} for {name}"):
            done = programs.run([crane, "digest", "--", name], name, TIMEOUT_S, cwd=toolchain.PINS)
    except UsageError as error:
        return Failure("registry-unreachable", str(error), unreachable)
    answer = done.stdout.strip()
    if not done.returncode and _DIGEST.fullmatch(answer):
        return answer
    told = _ADDRESS.sub("", done.stderr.rpartition("Error: ")[2] or answer)
    why = (told.strip().splitlines() or ["no answer"])[0][:_MOST_SHOWN]
    if _REFUSED.search(told):
        fix = f"log in to {registry} if the repository is there, else write another"
        return Failure("image-refused", f"{registry} refuses to tell of {name}: {why}", fix)
    if _MISSING.search(told):
        return Failure(
            "image-missing", f"{registry} has no {name}: {why}", "write a tag that it has"
        )
    message = f"{registry} can't be asked for {name}: {why}"
    return Failure("registry-unreachable", message, unreachable)


def _failed(
    root: Path, lock: yamlio.Document, name: str, owner: tuple[Rendering, str], failure: Failure
) -> Finding:
    """Return the finding on the lock's line, or where there is none on what sets the tag."""
    if name in (lock.data or {}):
        return lock.finding(failure.rule, [name], failure.message, failure.fix)
    file, line, column = image_digests.place(root, *owner)
    return Finding(file, line, column, failure.rule, failure.message, failure.fix)


def _moved(lock: yamlio.Document, name: str, before: str, now: str) -> Finding:
    message = (
        f"the tag {name} has moved: it was\n{before}, and is now\n{now}\n"
        "Somebody has put another image under the name of the one that was reviewed"
    )
    fix = (
        "find out who and why (the project's releases, its signatures) before you commit; "
        f"until then, git checkout {image_lock.LOCK}"
    )
    return lock.finding("moved-tag", [name], message, fix, severity=Severity.WARNING)


def _write(path: Path, lock: yamlio.Document, found: Mapping[str, str]) -> None:
    """Put digests into the lock's text, whose lines and comments stay."""
    known: dict[str, int] = {key: lock.position([key])[0] for key in lock.data or {}}
    text = path.read_text("utf-8")
    for name in found.keys() & known.keys():
        # Digests are equally long: what stands further down stays where it is known to be.
        key = sum(len(line) for line in text.splitlines(keepends=True)[: known[name] - 1])
        start = text.index(lock.data[name], key)
        text = text[:start] + found[name] + text[start + len(found[name]) :]
    lines = text.splitlines()
    first = min(known.values(), default=len(lines) + 1) - 1
    # From the end, as each line that is added moves those below it.
    for name in sorted(found.keys() - known.keys(), reverse=True):
        above = [line for key, line in known.items() if key < name]
        lines.insert(max(above, default=first), f"{name}: {found[name]}")
    new = path.with_suffix(".new")
    new.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    os.replace(new, path)
