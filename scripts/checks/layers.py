"""The layers of `nox -s validate`; all of them run, whatever the others report.

1 inputs, 2 Kubernetes schemas, 3 rules across objects, 5 committed manifests are up to date: each
is a function from renderings to findings. Policy, layer 4, is in policy.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from scripts.checks import image_digests, node_options, run_rules
from scripts.checks.api_schemas import versions
from scripts.checks.kubeconform import InvalidField, check, sentences
from scripts.core import paths, yamlio
from scripts.core.findings import Finding, Severity, UsageError, UserError
from scripts.core.parallel import each
from scripts.core.programs import QUERY_TIMEOUT_S, run
from scripts.core.progress import progress
from scripts.core.safe_files import links_out
from scripts.environments import environment, layout
from scripts.kubernetes import resilience
from scripts.output import committed
from scripts.rendering import provenance
from scripts.rendering.pipeline import Rendering, render, settings

Layer = Callable[[Path, Sequence[Rendering]], list[Finding]]

ROOT_APPLICATION = "argocd/root.yaml"


def rendered(root: Path, names: Sequence[str]) -> list[Rendering]:
    """Return the rendered environments."""
    return each(partial(render, root), names, "rendering environments")


def validate(root: Path, renderings: Sequence[Rendering], against: str = "") -> list[Finding]:
    """Return all findings of all layers on the environments.

    against: a git revision with the old manifests, for the rules about changes; empty for none.
    Raises UsageError if git does not know the revision.
    """
    findings = inputs(root, renderings)
    valid = _valid(renderings, findings)
    findings += [finding for layer in LAYERS for finding in layer(root, valid)]
    return findings + run_rules.check(root, valid, against)


def compare(root: Path, renderings: Sequence[Rendering]) -> list[Finding]:
    """Return findings for committed manifests that are out of date, and for invalid inputs."""
    findings = inputs(root, renderings)
    valid = _valid(renderings, findings)
    return findings + current(root, valid) + orphaned(root, valid)


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


def inputs(root: Path, renderings: Sequence[Rendering]) -> list[Finding]:
    """Layer 1: the inputs are valid, in each environment and across environments."""
    findings = [finding for rendering in renderings for finding in rendering.findings]
    findings += environment.collisions(root, [r.name for r in renderings])
    for rendering in renderings:
        if rendering.files and rendering.kubernetes_version not in versions():
            document = environment.load(root, rendering.name).document
            message = f"the schemas of Kubernetes {rendering.kubernetes_version} are missing"
            fix = (
                f"write one of {', '.join(versions())}, or add them: "
                f"nox -s lock -- --kubernetes {rendering.kubernetes_version}"
            )
            findings.append(
                document.finding("kubernetes-version", ["kubernetesVersion"], message, fix)
            )
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
    return links_out((root / name for name in listed.split("\0") if name), root)


def schemas(root: Path, renderings: Sequence[Rendering]) -> list[Finding]:
    """Layer 2: every object is valid against the schemas of Kubernetes and its operators."""
    findings = list[Finding]()
    by_version: dict[str, list[Rendering]] = {}
    for rendering in renderings:
        if rendering.files and rendering.kubernetes_version in versions():
            by_version.setdefault(rendering.kubernetes_version, []).append(rendering)
    for version, group in sorted(by_version.items()):
        files = {file: text for rendering in group for file, text in rendering.files.items()}
        owners = {file: rendering for rendering in group for file in rendering.files}
        with progress(f"checking {len(files)} objects against Kubernetes {version}"):
            problems = check(files, version)
        findings += [located(root, owners[problem.file], problem) for problem in problems]
    return findings + _root_application(root, renderings)


def located(root: Path, rendering: Rendering, problem: InvalidField) -> Finding:
    """Return the problem as a finding at the input that decides the field."""
    found = environment.load(root, rendering.name)
    everything = [*rendering.manifests, *settings(found, rendering.manifests)]
    manifest = next(m for m in everything if (m.kind, m.name) == (problem.kind, problem.name))
    path = field_of(problem)
    file, line, column = provenance.of_field(root, found, manifest, path)
    message, fix = sentences(problem, manifest.object, found.kubernetes_version)
    return Finding(
        file, line, column, "kubernetes-schema", message, fix, manifest.label, found.name
    )


_UNKNOWN = re.compile(r"additional properties '([^']+)'")


def field_of(problem: InvalidField) -> tuple[str | int, ...]:
    """Return the path of the field; kubeconform reports an unknown field at its parent."""
    unknown = _UNKNOWN.match(problem.message)
    return (*problem.path, unknown.group(1)) if unknown else problem.path


def _root_application(root: Path, renderings: Sequence[Rendering]) -> list[Finding]:
    """Return the findings of argocd/root.yaml, which people write and apply once."""
    known = {r.kubernetes_version for r in renderings if r.files} & set(versions())
    path = root / ROOT_APPLICATION
    if not os.path.lexists(path):
        message, fix = (
            "the file is missing: Argo CD creates the environments from it",
            "restore it from git",
        )
        return [Finding(ROOT_APPLICATION, 0, 0, "root-application", message, fix)]
    try:
        documents = yamlio.load_all(path, root)
    except UserError as error:
        return list(error.findings)
    findings = [finding for document in documents for finding in _no_root(document)]
    if findings or not known:
        return findings
    problems = check({ROOT_APPLICATION: path.read_text("utf-8")}, max(known))
    for document in documents:
        kind, name = document.data["kind"], document.data["metadata"]["name"]
        for problem in problems:
            if (problem.kind, problem.name) == (kind, name):
                message, fix = sentences(problem, document.data, max(known))
                findings.append(
                    document.finding("kubernetes-schema", field_of(problem), message, fix)
                )
        findings += _other_repository(document, renderings)
    return findings


def _no_root(document: yamlio.Document) -> Iterable[Finding]:
    """Yield a finding if a document is neither an AppProject nor an Application."""
    data = document.data
    metadata = data.get("metadata") if isinstance(data, dict) else None
    if (
        not isinstance(metadata, dict)
        or not all(isinstance(data.get(key), str) for key in ("apiVersion", "kind"))
        or not isinstance(metadata.get("name"), str)
    ):
        message = "this is not a Kubernetes object"
        fix = "write apiVersion, kind, metadata.name and spec; remove a --- at the end"
        yield document.finding("wrong-type", [], message, fix)
    elif data["kind"] not in ("AppProject", "Application"):
        message = f"{ROOT_APPLICATION} contains a {data['kind']}, which does not belong there"
        fix = "keep AppProject and Application; move an object of an environment to chart/"
        yield document.finding("root-application", ["kind"], message, fix)


def _other_repository(document: yamlio.Document, renderings: Sequence[Rendering]) -> list[Finding]:
    """Return a finding if the document has another repository than the environments."""
    if document.data["kind"] == "AppProject":
        source: paths.ValuePath = ["spec", "sourceRepos", 0]
    else:
        source = ["spec", "source", "repoURL"]
    known = {r.repository for r in renderings if r.files}
    here = paths.get(document.data, source)
    if not known or not isinstance(here, str) or here in known:
        return []
    message = f"the root application reads {here}, but the environments are in {max(known)}"
    return [document.finding("other-repository", source, message, "write the same URL in both")]


def configurations(root: Path, renderings: Sequence[Rendering]) -> list[Finding]:
    """Layer 2, too: Besu and Maru know all keys, arguments and variables that are set."""
    findings = list[Finding]()
    for rendering in renderings:
        problems = node_options.check(rendering.manifests)
        if problems:
            found = environment.load(root, rendering.name)
            findings += (
                node_options.located(root, found, rendering.manifests, p) for p in problems
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
        findings += _difference(rendering, there)
    return findings


_SHOWN = 3
"""Files in one message."""


def _difference(rendering: Rendering, there: Mapping[str, bytes]) -> Iterator[Finding]:
    """Yield a finding if the environment's committed manifests are out of date."""
    name, wanted = rendering.name, rendering.files
    if not any(layout.argocd_file(folder, name) in there for folder in layout.ARGOCD_FOLDERS):
        # A copied folder has the other environment's manifests, but no Application.
        message = f"overlays/{name} has no rendered output yet"
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
    return [_stale(file, "the environment's folder is gone") for file in gone]


def _stale(file: str, message: str, environment: str = "") -> Finding:
    fix = "run nox -s render and commit the result"
    return Finding(file, 0, 0, "stale-output", message, fix, environment=environment)


LAYERS: tuple[Layer, ...] = (
    links,
    schemas,
    configurations,
    image_digests.check,
    current,
    orphaned,
)
