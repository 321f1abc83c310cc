"""The layers that prove an environment before it is merged; all of them run before the verdict.

1 inputs, 2 Kubernetes schemas, 3 rules across objects, 5 committed output equals rendered output:
each a function from renderings to findings. Policy (4) is policy.py's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from scripts.checks import image_digests, node_options, run_rules
from scripts.checks.api_schemas import versions
from scripts.checks.kubeconform import FREE, InvalidField, check
from scripts.core import paths, yamlio
from scripts.core.findings import Finding, UsageError, UserError
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
    """Return what the environments' inputs give."""
    return each(partial(render, root), names, "rendering environments")


def validate(root: Path, renderings: Sequence[Rendering], against: str = "") -> list[Finding]:
    """Return all findings of all layers on the environments.

    against: a git revision whose committed output the change is judged by; else none is.
    Raises UsageError where git does not know the revision.
    """
    findings = [finding for layer in LAYERS for finding in layer(root, renderings)]
    return findings + run_rules.check(root, renderings, against)


def compare(root: Path, renderings: Sequence[Rendering]) -> list[Finding]:
    """Return where the committed output is not what the inputs give, or these are not sound."""
    layers = (inputs, current, orphaned)
    return [finding for layer in layers for finding in layer(root, renderings)]


def survived(renderings: Sequence[Rendering]) -> list[str]:
    """Return what the environments survive, a line for all of which the same is true."""
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
    """Layer 1: what people wrote is sound, in each environment and between them."""
    findings = [finding for rendering in renderings for finding in rendering.findings]
    findings += environment.collisions(root, [r.name for r in renderings])
    for rendering in renderings:
        if rendering.files and rendering.kubernetes_version not in versions():
            document = environment.load(root, rendering.name).document
            message = f"there are no schemas of Kubernetes {rendering.kubernetes_version}"
            fix = (
                f"write one of {', '.join(versions())}, or add it: "
                f"nox -s lock -- --kubernetes {rendering.kubernetes_version}"
            )
            findings.append(
                document.finding("kubernetes-version", ["kubernetesVersion"], message, fix)
            )
    return findings


def links(root: Path, _: Sequence[Rendering]) -> list[Finding]:
    """Layer 1, too: no link anywhere leads out of the repository.

    Argo CD looks at the whole of it, and then refuses to read any of it
    (https://argo-cd.readthedocs.io/en/stable/operator-manual/server-commands/argocd-repo-server/,
    --allow-oob-symlinks).
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = run(command, "git", QUERY_TIMEOUT_S, cwd=root).stdout
    except UsageError:  # without git there is nothing that Argo CD could read
        return []
    return links_out((root / name for name in listed.split("\0") if name), root)


def schemas(root: Path, renderings: Sequence[Rendering]) -> list[Finding]:
    """Layer 2: every object is what Kubernetes and its operators accept, field by field."""
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
        findings += [_located(root, owners[problem.file], problem) for problem in problems]
    return findings + _root_application(root, renderings)


def _located(root: Path, rendering: Rendering, problem: InvalidField) -> Finding:
    """Return the problem as a finding on the input that decides the field."""
    found = environment.load(root, rendering.name)
    everything = [*rendering.manifests, *settings(found, rendering.manifests)]
    manifest = next(m for m in everything if (m.kind, m.name) == (problem.kind, problem.name))
    path = _field(problem)
    file, line, column = provenance.of_field(root, found, manifest, path)
    where = "/".join(map(str, problem.path))
    fields = [manifest.kind.lower(), *(part for part in problem.path if isinstance(part, str))]
    message = f"Kubernetes {found.kubernetes_version} refuses /{where}: {problem.message}"
    fix = f"write what `kubectl explain {'.'.join(fields)}` describes"
    if FREE.intersection(problem.path):
        fix = "write it in that form"
    elif problem.path == ("apiVersion",):
        message, fix = problem.message, "write an apiVersion and kind that there are"
    return Finding(
        file, line, column, "kubernetes-schema", message, fix, manifest.label, found.name
    )


_UNKNOWN = re.compile(r"additional properties '([^']+)'")


def _field(problem: InvalidField) -> tuple[str | int, ...]:
    """Return the path to the field itself; kubeconform tells an unknown one at its parent."""
    unknown = _UNKNOWN.match(problem.message)
    return (*problem.path, unknown.group(1)) if unknown else problem.path


def _root_application(root: Path, renderings: Sequence[Rendering]) -> list[Finding]:
    """Return what is wrong in argocd/root.yaml, which people write and apply once."""
    known = {r.kubernetes_version for r in renderings if r.files} & set(versions())
    path = root / ROOT_APPLICATION
    if not os.path.lexists(path):
        message, fix = "the file is missing", "restore it from git: it brings the environments"
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
                message = f"{kind} is refused: {problem.message}"
                fix = "write what Argo CD's documentation of the kind describes"
                findings.append(
                    document.finding("kubernetes-schema", _field(problem), message, fix)
                )
        findings += _other_repository(document, renderings)
    return findings


def _no_root(document: yamlio.Document) -> Iterable[Finding]:
    """Yield why a document is none of the objects that the root application is made of."""
    data = document.data
    metadata = data.get("metadata") if isinstance(data, dict) else None
    if (
        not isinstance(metadata, dict)
        or not all(isinstance(data.get(key), str) for key in ("apiVersion", "kind"))
        or not isinstance(metadata.get("name"), str)
    ):
        message = "this is no Kubernetes object"
        fix = "write apiVersion, kind, metadata with a name, and spec; nothing after a last ---"
        yield document.finding("wrong-type", [], message, fix)
    elif data["kind"] not in ("AppProject", "Application"):
        message = f"the root application is no place for a {data['kind']}"
        fix = "keep AppProject and Application; an object of an environment belongs into chart/"
        yield document.finding("root-application", ["kind"], message, fix)


def _other_repository(document: yamlio.Document, renderings: Sequence[Rendering]) -> list[Finding]:
    """Return a repository that is not the one whose environments it brings to the cluster."""
    if document.data["kind"] == "AppProject":
        source: paths.ValuePath = ["spec", "sourceRepos", 0]
    else:
        source = ["spec", "source", "repoURL"]
    known = {r.repository for r in renderings if r.files}
    here = paths.get(document.data, source)
    if not known or not isinstance(here, str) or here in known:
        return []
    message = f"the root application reads {here}, the environments' repository is {max(known)}"
    return [document.finding("other-repository", source, message, "write the same address in both")]


def configurations(root: Path, renderings: Sequence[Rendering]) -> list[Finding]:
    """Layer 2, too: Besu and Maru know every key, argument and variable that they are given."""
    findings = list[Finding]()
    for rendering in renderings:
        problems = node_options.check(rendering.files)
        if problems:
            found = environment.load(root, rendering.name)
            findings += (
                node_options.located(root, found, rendering.manifests, p) for p in problems
            )
    return findings


def current(root: Path, renderings: Sequence[Rendering]) -> list[Finding]:
    """Layer 5: what is committed is what the inputs give, to the byte."""
    findings = list[Finding]()
    for rendering in renderings:
        if not rendering.files:
            continue
        try:
            there = committed.read(root, rendering.name)
        except UserError as error:
            findings += error.findings
            continue
        for file in sorted(there.keys() | rendering.files.keys()):
            wanted = rendering.files.get(file)
            if wanted is None:
                message = "the inputs no longer give this file"
            elif file not in there:
                message = "the inputs give this file, and it is not there"
            elif there[file] != wanted.encode():
                message = "the file is not what the inputs give"
            else:
                continue
            findings.append(_stale(file, message, rendering.name))
    return findings


def orphaned(root: Path, _: Sequence[Rendering]) -> list[Finding]:
    """Layer 5, too: nothing is committed for an environment whose folder is gone."""
    try:
        gone = committed.orphans(root)
    except UserError as error:
        return list(error.findings)
    return [_stale(file, "the environment's folder is gone") for file in gone]


def _stale(file: str, message: str, environment: str = "") -> Finding:
    fix = "run nox -s render and commit the result"
    return Finding(file, 0, 0, "stale-output", message, fix, environment=environment)


LAYERS: tuple[Layer, ...] = (
    inputs,
    links,
    schemas,
    configurations,
    image_digests.check,
    current,
    orphaned,
)
