"""The layers of `nox -s validate` that look at each environment alone.

1 inputs, 2 Kubernetes schemas, 5 committed manifests are up to date: each is a function from
renderings to findings. Layer 3 is in run_rules.py, policy, layer 4, in policy.py; those that look
at several environments are in whole_layers.py. All run, whatever the others report.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from scripts.checks import node_options, stale_output
from scripts.checks.api_schemas import own as own_schemas
from scripts.checks.api_schemas import versions
from scripts.checks.kubeconform import InvalidField, check, place, sentences
from scripts.core.findings import Finding, UserError
from scripts.core.parallel import each
from scripts.core.progress import progress
from scripts.environments import environment, git_index, layout
from scripts.output import committed
from scripts.rendering import provenance
from scripts.rendering.pipeline import Rendering, render, settings

Layer = Callable[[Path, Sequence[Rendering]], list[Finding]]


def rendered(root: Path, names: Sequence[str]) -> list[Rendering]:
    """Return the rendered environments."""
    return each(partial(render, root), names, "rendering environments")


def inputs(root: Path, rendering: Rendering) -> list[Finding]:
    """Layer 1: the inputs of an environment are valid."""
    findings = list(rendering.findings)
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
        yield stale_output.finding(f"overlays/{name}/environment.yaml", message, name)
        return
    stale = {
        "out of date": [f for f in wanted if f in there and there[f] != wanted[f].encode()],
        "missing": [f for f in wanted if f not in there],
        "no longer rendered": [f for f in there if f not in wanted],
    }
    files = sorted(file for names in stale.values() for file in names)
    if len(files) == 1:
        what = next(kind for kind, names in stale.items() if names)
        yield stale_output.finding(files[0], f"the file is {what}", name)
    elif files:
        groups = [(kind, names) for kind, names in stale.items() if names]
        message = f"{len(files)} files are {groups[0][0]}: {_some(groups[0][1])}"
        if len(groups) > 1:
            named = "; ".join(f"{_some(names)} ({kind})" for kind, names in groups)
            message = f"{len(files)} files are not up to date: {named}"
        yield stale_output.finding(files[0], message, name)


def _some(files: Sequence[str]) -> str:
    """Return files as a list in a sentence, manifests without their folder."""
    names = [re.sub(r"^overlays/[^/]+/manifests/", "", file) for file in sorted(files)]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


LAYERS: tuple[Layer, ...] = (schemas, configurations, current)
"""The layers that look at each environment alone."""
