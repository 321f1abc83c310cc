"""The layers of `nox -s validate` that look at several environments, or at files of none.

Each is a function from the summaries of environments to findings.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from scripts.checks import gate, image_digests, shared_patches, stale_output
from scripts.checks.summaries import Summary
from scripts.core import advice, paths
from scripts.core.findings import Finding, Severity, UsageError, UserError
from scripts.core.programs import QUERY_TIMEOUT_S, run
from scripts.core.safe_files import links_out
from scripts.core.sentences import joined
from scripts.environments import environment, git_index, layout, placeholders
from scripts.output import committed, update

Layer = Callable[[Path, Sequence[Summary]], list[Finding]]


def links(root: Path, _: Sequence[Summary]) -> list[Finding]:
    """Layer 1, too: no symbolic link leads out of the repository.

    Argo CD rejects a repository with such a link, wherever it is
    (https://argo-cd.readthedocs.io/en/stable/operator-manual/server-commands/argocd-repo-server/,
    --allow-oob-symlinks).
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = run(command, "git", QUERY_TIMEOUT_S, cwd=root).stdout
    except UsageError:  # without git, Argo CD reads nothing
        return []
    # Not Path.is_symlink, which takes three times as long: there are many files.
    names = filter(None, listed.split("\0"))
    found = (name for name in names if os.path.islink(f"{root}/{name}"))  # noqa: PTH114
    return links_out((root / name for name in found), root)


def in_git(root: Path, _: Sequence[Summary]) -> list[Finding]:
    """Layer 1, too: git has, or will get, what is rendered and what it is rendered from.

    Argo CD and CI read git, not this working tree.
    """
    findings = git_index.hidden_changes(root) + git_index.never_added(root)
    for name in git_index.read(root).environments:
        message = (
            f"git has the environment {name}, but this checkout leaves it out: it is not checked, "
            "nor whether another one has its namespace, validators or chain id"
        )
        fix = git_index.how_to_get(root, git_index.read(root).within(f"overlays/{name}/"))
        file, rule = f"overlays/{name}", "not-checked-out"
        findings.append(Finding(file, 0, 0, rule, message, fix, severity=Severity.WARNING))
    return findings


def names(root: Path, summaries: Sequence[Summary]) -> list[Finding]:
    """Layer 1, too: no name is a placeholder; those of examples are one warning."""
    rendered = [summary for summary in summaries if summary.is_rendered]
    examples = [summary for summary in rendered if summary.is_example]
    others = [summary for summary in rendered if not summary.is_example]
    findings = sorted({finding for summary in others for finding in summary.placeholders})
    if not examples or not placeholders.definition(root):
        return findings
    in_examples = {finding for summary in examples for finding in summary.placeholders}
    left = sorted(in_examples - set(findings))
    for summary in examples if not left else ():
        message = f"{summary.name} has no placeholder, but is an example: its changes are not"
        message += " compared with an earlier revision"
        document = environment.load(root, summary.name).document
        fix = advice.remove("example", ["example"])
        finding = document.finding(placeholders.RULE, [], message, fix, environment=summary.name)
        findings.append(replace(finding, severity=Severity.WARNING))
    if left:
        findings.append(_examples(root, [summary.name for summary in examples], left))
    return findings


def _examples(root: Path, names: Sequence[str], found: Sequence[Finding]) -> Finding:
    """Return the warning about the placeholders of all examples."""
    files = len({finding.file for finding in found})
    several = f"{names[0]} is an example" if len(names) == 1 else f"{joined(names)} are examples"
    message = f"{several}: {len(found)} placeholders in {files} files, so nothing of this can run"
    fix = f"run {placeholders.COMMAND}, which asks for your names and replaces the examples"
    document = environment.load(root, names[0]).document
    finding = document.finding(placeholders.RULE, ["example"], message, fix)
    return replace(finding, severity=Severity.WARNING)


def orphaned(root: Path, _: Sequence[Summary]) -> list[Finding]:
    """Layer 5, too: no Argo CD objects are committed for an environment that was removed."""
    try:
        gone = committed.orphans(root)
    except UserError as error:
        return list(error.findings)
    return [
        stale_output.finding(file, "its environment is gone, so render would remove it")
        for file in gone
    ]


def root_application(root: Path, summaries: Sequence[Summary]) -> list[Finding]:
    """Layer 5, too: argocd/root.yaml is up to date, and environments are in its repository."""
    repositories = {each.name: each.repository for each in summaries if each.is_rendered}
    return root_application_of(root, repositories)


def root_application_of(root: Path, repositories: Mapping[str, str]) -> list[Finding]:
    """Return what root_application does; repositories: rendered environment → its URL."""
    try:
        old, new = update.root_change(root)
    except UserError as error:
        return list(error.findings)
    findings = list[Finding]()
    if new is not None:
        what = (
            "out of date"
            if old is not None
            else "missing: Argo CD creates the environments from it"
        )
        findings.append(stale_output.finding(layout.ROOT_FILE, f"the file is {what}"))
    base = environment.read(root / layout.BASE, root)
    here = str(paths.get(base.data, ["repository", "url"]))
    others = [name for name, url in repositories.items() if url != here]
    if others and len(others) == len(repositories):
        document = environment.load(root, others[0]).document
        message = (
            f"the environment is in {repositories[others[0]]}, but {layout.ROOT_FILE} reads {here}:"
            " Argo CD does not see its Application"
        )
        fix = f"remove repository here, and write the right address in {layout.BASE}"
        path = ["repository", "url"]
        findings.append(
            document.finding("other-repository", path, message, fix, environment=others[0])
        )
    return findings


LAYERS: tuple[Layer, ...] = (
    gate.check,
    links,
    in_git,
    names,
    shared_patches.check,
    image_digests.check,
    orphaned,
    root_application,
)
"""The layers that look at several environments, or at files of none."""
