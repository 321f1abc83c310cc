"""The layers of `nox -s validate`; all of them run, whatever the others report.

1 inputs, 2 Kubernetes schemas, 3 rules across objects, 5 committed manifests are up to date: each
is a function from renderings to findings. Policy, layer 4, is in policy.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from scripts.checks import (
    gate,
    image_digests,
    node_options,
    run_rules,
    shared_patches,
)
from scripts.checks.api_schemas import own as own_schemas
from scripts.checks.api_schemas import versions
from scripts.checks.kubeconform import InvalidField, check, place, sentences
from scripts.core import advice, paths
from scripts.core.findings import Finding, Severity, UsageError, UserError
from scripts.core.parallel import each
from scripts.core.programs import QUERY_TIMEOUT_S, run
from scripts.core.progress import progress
from scripts.core.safe_files import links_out
from scripts.core.sentences import joined
from scripts.environments import (
    collisions,
    environment,
    git_index,
    layout,
    placeholders,
    releases,
)
from scripts.kubernetes import resilience
from scripts.output import committed, update
from scripts.rendering import provenance
from scripts.rendering.pipeline import Rendering, render, settings

Layer = Callable[[Path, Sequence[Rendering]], list[Finding]]


def rendered(root: Path, names: Sequence[str]) -> list[Rendering]:
    """Return the rendered environments."""
    return each(partial(render, root), names, "rendering environments")


def validate(
    root: Path,
    renderings: Sequence[Rendering],
    against: str = "",
    *,
    with_edits: bool = False,
    checked: Collection[str] | None = None,
) -> list[Finding]:
    """Return all findings of all layers on the environments.

    against: a git revision with the old manifests, for the rules about changes; empty for none.
    with_edits: whether to look for the edits of inputs that carry out the fixes. checked: the
    environments to check one by one; the others are only compared with them.
    Raises UsageError if git does not know the revision.
    """
    if checked is not None:
        own = [each for each in renderings if each.name in checked]
        findings = one_by_one(root, own, against, with_edits=with_edits)
        return findings + across(root, renderings, against, with_edits=with_edits)
    findings = inputs(root, renderings)
    valid = _valid(renderings, findings)
    findings += [finding for layer in (*LAYERS, *WHOLE_LAYERS) for finding in layer(root, valid)]
    findings += run_rules.check(root, valid, against, with_edits=with_edits)
    return _offered(root, findings) if with_edits else findings


def one_by_one(
    root: Path, renderings: Sequence[Rendering], against: str = "", *, with_edits: bool = False
) -> list[Finding]:
    """Return the findings that depend on no other environment."""
    findings = [finding for each in renderings for finding in _inputs(root, each)]
    valid = _valid(renderings, findings + collisions.check(root, layout.environments(root)))
    findings += [finding for layer in LAYERS for finding in layer(root, valid)]
    findings += run_rules.check(root, valid, against, with_edits=with_edits, together=False)
    return _offered(root, findings) if with_edits else findings


def across(
    root: Path, renderings: Sequence[Rendering], against: str = "", *, with_edits: bool = False
) -> list[Finding]:
    """Return what concerns several environments or the whole repository."""
    findings = collisions.check(root, [rendering.name for rendering in renderings])
    own = [finding for each in renderings for finding in _inputs(root, each)]
    valid = _valid(renderings, findings + own)
    findings += [finding for layer in WHOLE_LAYERS for finding in layer(root, valid)]
    findings += run_rules.check(root, valid, against, with_edits=with_edits, together=True)
    return _offered(root, findings) if with_edits else findings


def _offered(root: Path, findings: Sequence[Finding]) -> list[Finding]:
    from scripts.checks import fixing

    return fixing.offered(root, findings)


def compare(root: Path, renderings: Sequence[Rendering]) -> list[Finding]:
    """Return findings for committed manifests that are out of date, and for invalid inputs."""
    findings = compare_one_by_one(root, renderings)
    repositories = {each.name: each.repository for each in renderings if each.files}
    return findings + compare_across(root, [each.name for each in renderings], repositories)


def compare_one_by_one(root: Path, renderings: Sequence[Rendering]) -> list[Finding]:
    """Return what compare finds in each environment."""
    findings = [finding for each in renderings for finding in _inputs(root, each)]
    valid = _valid(renderings, findings + collisions.check(root, layout.environments(root)))
    return findings + current(root, valid)


def compare_across(
    root: Path, names: Sequence[str], repositories: Mapping[str, str]
) -> list[Finding]:
    """Return what compare finds in several environments, or in files of none.

    repositories: rendered environment → the URL that its Application reads.
    """
    return [
        *collisions.check(root, names),
        *orphaned(root, ()),
        *_root_application(root, repositories),
    ]


def _valid(renderings: Sequence[Rendering], findings: Sequence[Finding]) -> list[Rendering]:
    """Return the environments without errors in their inputs.

    Of the others, nothing is rendered, and whatever else is found could be a consequence.
    """
    invalid = [finding.file for finding in findings if finding.severity is Severity.ERROR]
    return [r for r in renderings if not any(f.startswith(f"overlays/{r.name}/") for f in invalid)]


def survived(renderings: Sequence[Rendering]) -> list[str]:
    """Return what the environments survive: one line for all that survive the same."""
    alike: dict[str, list[str]] = {}
    for rendering in renderings:
        words = resilience.words(rendering.manifests, rendering.zones)
        alike.setdefault(words, []).append(rendering.name)
    return [f"{layout.called(names)}: {words}" for words, names in alike.items()]


def accepted(renderings: Sequence[Rendering]) -> list[str]:
    """Return the risks that the environments accept, each with its consequence."""
    return [
        f"{rendering.name} accepts {each.rule}: {each.consequence}"
        for rendering in renderings
        for each in rendering.accepts
    ]


def inputs(root: Path, renderings: Sequence[Rendering]) -> list[Finding]:
    """Layer 1: the inputs are valid, in each environment and across environments."""
    findings = [finding for each in renderings for finding in _inputs(root, each)]
    return findings + collisions.check(root, [rendering.name for rendering in renderings])


def _inputs(root: Path, rendering: Rendering) -> list[Finding]:
    """Layer 1, in one environment."""
    findings = list(rendering.findings)
    if rendering.release:
        inputs = environment.load(root, rendering.name)
        branch = inputs.repository["revision"]
        findings += releases.off_branch(root, rendering.release, branch, inputs.document)
    if rendering.files and rendering.kubernetes_version not in versions():
        document = environment.load(root, rendering.name).document
        message = f"the schemas of Kubernetes {rendering.kubernetes_version} are missing"
        fix = (
            f"write the cluster's version, one of {', '.join(versions())}; if the cluster has "
            f"{rendering.kubernetes_version}, run nox -s lock -- --kubernetes "
            f"{rendering.kubernetes_version}"
        )
        findings.append(document.finding("kubernetes-version", ["kubernetesVersion"], message, fix))
    return findings


def links(root: Path, _: Sequence[Rendering]) -> list[Finding]:
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


def in_git(root: Path, _: Sequence[Rendering]) -> list[Finding]:
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


def names(root: Path, renderings: Sequence[Rendering]) -> list[Finding]:
    """Layer 1, too: no name is a placeholder; those of examples are one warning."""
    rendered = [rendering for rendering in renderings if rendering.files]
    examples = [rendering for rendering in rendered if rendering.is_example]
    others = [rendering for rendering in rendered if not rendering.is_example]
    findings = sorted({finding for rendering in others for finding in rendering.placeholders})
    if not examples or not placeholders.definition(root):
        return findings
    in_examples = {finding for rendering in examples for finding in rendering.placeholders}
    left = sorted(in_examples - set(findings))
    for rendering in examples if not left else ():
        message = f"{rendering.name} has no placeholder, but is an example: its changes are not"
        message += " compared with an earlier revision"
        document = environment.load(root, rendering.name).document
        fix = advice.remove("example", ["example"])
        finding = document.finding(placeholders.RULE, [], message, fix, environment=rendering.name)
        findings.append(replace(finding, severity=Severity.WARNING))
    if left:
        findings.append(_examples(root, [rendering.name for rendering in examples], left))
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


def schemas(root: Path, renderings: Sequence[Rendering]) -> list[Finding]:
    """Layer 2: every object is valid against the schemas of Kubernetes and its operators."""
    findings = list[Finding]()
    try:
        own = own_schemas(root)
    except UserError as error:
        return list(error.findings)
    by_version: dict[str, list[Rendering]] = {}
    for rendering in renderings:
        if rendering.files and rendering.kubernetes_version in versions():
            by_version.setdefault(rendering.kubernetes_version, []).append(rendering)
    for version, group in sorted(by_version.items()):
        files = {file: text for rendering in group for file, text in rendering.files.items()}
        owners = {file: rendering for rendering in group for file in rendering.files}
        with progress(f"checking {len(files)} objects against Kubernetes {version}"):
            problems = check(files, version, own)
        findings += [located(root, owners[problem.file], problem) for problem in problems]
    return findings


def located(root: Path, rendering: Rendering, problem: InvalidField) -> Finding:
    """Return the problem as a finding at the input that decides the field."""
    found = environment.load(root, rendering.name)
    everything = [*rendering.manifests, *settings(found, rendering.manifests)]
    manifest = next(m for m in everything if (m.kind, m.name) == (problem.kind, problem.name))
    path = place(problem)
    file, line, column = provenance.of_field(root, found, manifest, path)
    own = own_schemas(root)
    message, fix = sentences(problem, manifest.object, found.kubernetes_version, own)
    finding = Finding(
        file, line, column, "kubernetes-schema", message, str(fix), manifest.label, found.name
    )
    from scripts.rendering import input_edits

    return input_edits.added(root, found, manifest, path, fix, finding)


def configurations(root: Path, renderings: Sequence[Rendering]) -> list[Finding]:
    """Layer 2, too: Besu and Maru know all keys, arguments and variables that are set."""
    findings = list[Finding]()
    for rendering in renderings:
        problems = node_options.check(rendering.manifests)
        if problems:
            from scripts.checks import option_places

            found = environment.load(root, rendering.name)
            findings += (
                option_places.located(root, found, rendering.manifests, p) for p in problems
            )
    return findings


def current(root: Path, renderings: Sequence[Rendering]) -> list[Finding]:
    """Layer 5: the committed manifests are up to date, byte for byte."""
    findings = list[Finding]()
    for rendering in renderings:
        if not rendering.files:
            continue
        try:
            there = committed.read(root, rendering.name)
        except UserError as error:
            findings += error.findings
            continue
        findings += _difference(root, rendering, there)
    return findings


_SHOWN = 3
"""Files in one message."""


def _difference(root: Path, rendering: Rendering, there: Mapping[str, bytes]) -> Iterator[Finding]:
    """Yield a finding if the environment's committed manifests are out of date."""
    name, wanted = rendering.name, rendering.files
    if absent := [file for file in git_index.read(root).absent if file in wanted]:
        message = f"git has {len(absent)} rendered files of {name} that this checkout leaves out"
        fix = git_index.how_to_get(root, absent)
        yield Finding(absent[0], 0, 0, "not-checked-out", message, fix, environment=name)
        return
    if not any(layout.argocd_file(folder, name) in there for folder in layout.ARGOCD_FOLDERS):
        # A copied folder has the other environment's manifests, but no Application.
        message = f"{name} has no rendered output of its own yet"
        yield _stale(f"overlays/{name}/environment.yaml", message, name)
        return
    stale = {
        "out of date": [f for f in wanted if f in there and there[f] != wanted[f].encode()],
        "missing": [f for f in wanted if f not in there],
        "no longer rendered": [f for f in there if f not in wanted],
    }
    files = sorted(file for names in stale.values() for file in names)
    if len(files) == 1:
        what = next(kind for kind, names in stale.items() if names)
        yield _stale(files[0], f"the file is {what}", name)
    elif files:
        groups = [(kind, names) for kind, names in stale.items() if names]
        message = f"{len(files)} files are {groups[0][0]}: {_some(groups[0][1])}"
        if len(groups) > 1:
            named = "; ".join(f"{_some(names)} ({kind})" for kind, names in groups)
            message = f"{len(files)} files are not up to date: {named}"
        yield _stale(files[0], message, name)


def _some(files: Sequence[str]) -> str:
    """Return files as a list in a sentence, manifests without their folder."""
    names = [re.sub(r"^overlays/[^/]+/manifests/", "", file) for file in sorted(files)]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def orphaned(root: Path, _: Sequence[Rendering]) -> list[Finding]:
    """Layer 5, too: no Argo CD objects are committed for an environment that was removed."""
    try:
        gone = committed.orphans(root)
    except UserError as error:
        return list(error.findings)
    return [_stale(file, "its environment is gone, so render would remove it") for file in gone]


def root_application(root: Path, renderings: Sequence[Rendering]) -> list[Finding]:
    """Layer 5, too: argocd/root.yaml is up to date, and environments are in its repository."""
    repositories = {each.name: each.repository for each in renderings if each.files}
    return _root_application(root, repositories)


def _root_application(root: Path, repositories: Mapping[str, str]) -> list[Finding]:
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
        findings.append(_stale(layout.ROOT_FILE, f"the file is {what}"))
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


def _stale(file: str, message: str, environment: str = "") -> Finding:
    fix = "run nox -s render and commit the result"
    return Finding(file, 0, 0, "stale-output", message, fix, environment=environment)


LAYERS: tuple[Layer, ...] = (schemas, configurations, current)
"""The layers that look at each environment alone."""

WHOLE_LAYERS: tuple[Layer, ...] = (
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
