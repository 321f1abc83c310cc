"""argocd/root.yaml: the app of apps follows this repository, and what it follows exists.

The sources of the facts are those of argoproj/argo-cd v3.5.1: reposerver/repository/repository.go
(getPotentiallyValidManifestFile) for which files an Application reads, util/git/client.go
(lsRemote) for revisions, and pkg/apis/application/v1alpha1 for projects.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from scripts.checks import kubeconform
from scripts.checks.api_schemas import versions
from scripts.core import advice, paths, yamlio
from scripts.core.findings import Finding, UserError
from scripts.core.sentences import joined
from scripts.environments import layout
from scripts.kubernetes import sync, sync_windows
from scripts.kubernetes.workloads import mappings
from scripts.rendering.pipeline import Rendering

FILE = "argocd/root.yaml"
_FOLDER = "argocd"
_ID = "root-application"


def check(root: Path, renderings: Sequence[Rendering]) -> list[Finding]:
    """Return the findings of argocd/root.yaml, which people write and apply once."""
    known = {r.kubernetes_version for r in renderings if r.files} & set(versions())
    path = root / FILE
    if not os.path.lexists(path):
        message, fix = (
            "the file is missing: Argo CD creates the environments from it",
            f"restore {FILE} from git",
        )
        return [Finding(FILE, 0, 0, "root-application", message, fix)]
    try:
        documents = yamlio.load_all(path, root)
    except UserError as error:
        return list(error.findings)
    findings = [
        finding
        for number, document in enumerate(documents, 1)
        for finding in _no_root(document, number)
    ]
    if findings or not known:
        return findings
    problems = kubeconform.check({FILE: path.read_text("utf-8")}, max(known))
    for document in documents:
        kind, name = document.data["kind"], document.data["metadata"]["name"]
        for problem in problems:
            if (problem.kind, problem.name) == (kind, name):
                message, fix = kubeconform.sentences(problem, document.data, max(known))
                findings.append(
                    document.finding("kubernetes-schema", kubeconform.place(problem), message, fix)
                )
        findings += _other_repository(document, renderings)
    names = [rendering.name for rendering in renderings if rendering.files]
    return findings + list(delivery(documents, names))


def _no_root(document: yamlio.Document, number: int) -> Iterable[Finding]:
    """Yield a finding if a document is neither an AppProject nor an Application.

    number: of the document in the file, from 1.
    """
    data = document.data
    texts = [["apiVersion"], ["kind"], ["metadata", "name"]]
    missing = [".".join(path) for path in texts if not isinstance(paths.get(data, path), str)]
    if data is None:
        message = f"document {number} of the file is empty"
        fix = f"restore {FILE} from git"
        if number > 1:
            fix = f"remove the line --- that begins document {number}"
        yield document.finding("wrong-type", [], message, fix)
    elif not isinstance(data, dict):
        message = f"document {number} of the file is not a mapping, so it is no Kubernetes object"
        fix = f"restore {FILE} from git: an AppProject and an Application"
        yield document.finding("wrong-type", [], message, fix)
    elif missing:
        message = f"document {number} of the file has no valid {joined(missing, 'or')}"
        fix = f"add {joined(missing)}, as in git"
        if missing == ["kind"]:
            is_project = paths.has(data, ["spec", "sourceRepos"])
            fix = advice.saying(
                "add kind: Application, or kind: AppProject if its spec has sourceRepos",
                "AppProject" if is_project else "Application",
                "kind",
            )
        yield document.finding("wrong-type", [], message, fix)
    elif data["kind"] not in ("AppProject", "Application"):
        message = f"only an AppProject and an Application belong here, not a {data['kind']}"
        fix = (
            f"remove the {data['kind']} from {FILE}; if environments need it, write a "
            "template in chart/templates/"
        )
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
    reads = "permits only" if document.data["kind"] == "AppProject" else "reads"
    message = (
        f"the root {document.data['kind']} {reads} {here}, but the environments are in {max(known)}"
    )
    fix = advice.write_value(max(known)).unless(
        f" here; if {here} is right, write it as repository.url in base/environment.yaml"
    )
    return [document.finding("other-repository", source, message, fix)]


def delivery(documents: Sequence[yamlio.Document], names: Sequence[str]) -> Iterator[Finding]:
    """Yield findings if the root Application does not apply what is committed.

    documents: those of argocd/root.yaml; names: of the environments.
    """
    by_kind = {document.data["kind"]: document for document in documents}
    project, application = by_kind.get("AppProject"), by_kind.get("Application")
    if project is None or application is None:
        kind = "Application" if application is None else "AppProject"
        message = f"the file has no {kind}: Argo CD creates no environment from it"
        yield documents[0].finding(_ID, [], message, f"restore the {kind} from git")
        return
    for document in documents:
        yield from _namespace(document)
    yield from _source(application, names)
    yield from _revision(application)
    yield from _destination(project, application)
    yield from _impersonated(project, application)
    yield from _finalizers(application)
    yield from _kinds(project)
    yield from _automated(application)
    server = str(paths.get(application.data, ["spec", "destination", "server"]) or "")
    windows = paths.get(project.data, ["spec", "syncWindows"])
    name = str(paths.get(application.data, ["metadata", "name"]))
    for found in sync_windows.blocked(windows, name, server, sync.NAMESPACE):
        window: paths.ValuePath = ["spec", "syncWindows", found.index]
        kind = paths.get(project.data, [*window, "kind"])
        message = f"sync window {found.index + 1} (kind: {kind}) blocks every sync of the root"
        message += f" Application: {found.reason}"
        yield project.finding(_ID, [*window, found.field], message, found.fix)


def _namespace(document: yamlio.Document) -> Iterator[Finding]:
    path: paths.ValuePath = ["metadata", "namespace"]
    if paths.get(document.data, path) != sync.NAMESPACE:
        message = f"the root {document.data['kind']} is in the namespace"
        message += f" {paths.get(document.data, path) or 'default'}: Argo CD ignores it there"
        yield document.finding(
            _ID, path, message, advice.write("metadata.namespace", sync.NAMESPACE)
        )


def _source(application: yamlio.Document, names: Sequence[str]) -> Iterator[Finding]:
    """Yield a finding if the source does not have the file of an environment."""
    source: paths.ValuePath = ["spec", "source"]
    folder = str(paths.get(application.data, [*source, "path"]) or "")
    if folder.removeprefix("./").rstrip("/") != _FOLDER:
        message = f"source.path of the root Application is {folder or 'missing'}, but its"
        message += f" environments are in {_FOLDER}: it applies none of them"
        yield application.finding(_ID, [*source, "path"], message, advice.write("path", _FOLDER))
        return
    options = paths.get(application.data, [*source, "directory"])
    options = options if isinstance(options, dict) else {}
    wanted = [layout.argocd_file(kind, name) for kind in layout.ARGOCD_FOLDERS for name in names]
    files = [file.removeprefix(f"{_FOLDER}/") for file in wanted]
    for field, missing, fix in (
        ("include", _too_many(options.get("include")), f'write include: "{_INCLUDE}"'),
        ("recurse", [] if options.get("recurse") is True else files, advice.write("recurse", True)),
        ("include", _unmatched(options.get("include"), files), advice.write("include", _INCLUDE)),
        ("exclude", _excluded(options.get("exclude"), files), advice.remove("exclude")),
    ):
        if missing:
            shown = f" ({options[field]})" if field in options else ""
            several = f" and {len(missing) - 1} more files" if len(missing) > 1 else ""
            message = f"source.directory.{field}{shown} of the root Application leaves out"
            message += f" {_FOLDER}/{missing[0]}{several}: Argo CD does not apply"
            message += " them" if several else " it"
            if missing == [_OWN]:
                message = f"source.directory.include{shown} of the root Application includes {FILE}"
                message += ": it manages, and may prune, itself"
            yield application.finding(_ID, [*source, "directory", field], message, fix)
            return


_INCLUDE = "{projects/*.yaml,applications/*.yaml}"


_OWN = FILE.removeprefix(f"{_FOLDER}/")


def _too_many(pattern: Any) -> list[str]:
    """Return the root's own file, if the root Application would apply it."""
    return [_OWN] if pattern and sync_windows.glob(str(pattern), _OWN) else []


def _unmatched(pattern: Any, files: Sequence[str]) -> list[str]:
    chosen = str(pattern or "")
    return [file for file in files if chosen and not sync_windows.glob(chosen, file)]


def _excluded(pattern: Any, files: Sequence[str]) -> list[str]:
    chosen = str(pattern or "")
    return [file for file in files if chosen and sync_windows.glob(chosen, file)]


def _revision(application: yamlio.Document) -> Iterator[Finding]:
    """Yield a finding if the revision has the form of a name that only a clone knows."""
    path: paths.ValuePath = ["spec", "source", "targetRevision"]
    revision = paths.get(application.data, path)
    for prefix in ("origin/", "upstream/", "refs/remotes/"):
        if isinstance(revision, str) and revision.startswith(prefix):
            branch = revision.removeprefix(prefix).removeprefix("origin/")
            message = f"targetRevision is {revision}, a name that only clones have: Argo CD finds"
            message += " no such branch, and applies nothing"
            yield application.finding(_ID, path, message, advice.write("targetRevision", branch))
            return


def _destination(project: yamlio.Document, application: yamlio.Document) -> Iterator[Finding]:
    """Yield findings if the project of the root Application is another one, or forbids it."""
    used, name = paths.get(application.data, ["spec", "project"]), project.data["metadata"]["name"]
    if used != name:
        message = f"the root Application is in the project {used}, but {FILE} has {name}, whose"
        message += f" limits don't apply, and {used} may not exist"
        yield application.finding(_ID, ["spec", "project"], message, advice.write("project", name))
    path: paths.ValuePath = ["spec", "destination"]
    place = paths.get(application.data, path)
    place = place if isinstance(place, dict) else {}
    server = place.get("server")
    if isinstance(server, str) and server.endswith("/"):
        message = f"destination.server is {server}: Argo CD knows its clusters without a slash at"
        message += " the end, and syncs nothing"
        fix = advice.write("server", server.rstrip("/"))
        yield application.finding(_ID, [*path, "server"], message, fix)
    elif place.get("namespace") != sync.NAMESPACE:
        message = f"destination.namespace of the root Application is {place.get('namespace')}:"
        message += " Argo CD ignores Applications that are there"
        fix = advice.write("namespace", sync.NAMESPACE)
        yield application.finding(_ID, [*path, "namespace"], message, fix)
    elif not _permits(project, place):
        message = f"the root AppProject does not allow {server or place.get('name')}, the cluster"
        message += " of the root Application: nothing is synced"
        own = {"server": server} if server else {"name": place.get("name")}
        fix = advice.write("destinations", [{**own, "namespace": sync.NAMESPACE}])
        yield project.finding(_ID, ["spec", "destinations"], message, fix)


def _impersonated(project: yamlio.Document, application: yamlio.Document) -> Iterator[Finding]:
    """Yield a finding if the project misspells its destination where it names service accounts."""
    path: paths.ValuePath = ["spec", "destinationServiceAccounts"]
    place = paths.get(application.data, ["spec", "destination"])
    listed = paths.get(project.data, path)
    if not listed or not isinstance(place, dict) or place.get("namespace") != sync.NAMESPACE:
        return
    server, known = str(place.get("server")), [str(e.get("server")) for _, e in mappings(listed)]
    is_near = difflib.get_close_matches(server, known, 1, 0.8)
    if is_near and not server.endswith("/") and not _permits(project, place, path[-1]):
        message = "no entry of destinationServiceAccounts is for the cluster and namespace of the"
        message += " root Application: if Argo CD impersonates service accounts, the sync fails"
        fix = f"write server: {place.get('server')} and namespace: {place.get('namespace')} in the"
        fix += " entry"
        yield project.finding(_ID, path, message, fix)


def _finalizers(application: yamlio.Document) -> Iterator[Finding]:
    """Yield a finding if who deletes the root Application deletes the environments."""
    path: paths.ValuePath = ["metadata", "finalizers"]
    for name in paths.get(application.data, path) or ():
        if str(name).startswith("resources-finalizer.argocd.argoproj.io"):
            message = f"the root Application has the finalizer {name}: if it is deleted, Argo CD"
            message += " deletes the Applications of all environments, too"
            yield application.finding(_ID, path, message, "remove finalizers")


def _permits(
    project: yamlio.Document, place: dict[str, Any], field: str | int = "destinations"
) -> bool:
    listed = paths.get(project.data, ["spec", field])
    return any(
        all(
            sync_windows.glob(str(entry[key]), str(place.get(key, "")))
            for key in ("server", "name", "namespace")
            if key in entry
        )
        for entry in (listed if isinstance(listed, list) else ())
        if isinstance(entry, dict)
    )


def _kinds(project: yamlio.Document) -> Iterator[Finding]:
    """Yield a finding for each kind that the root Application applies and its project forbids."""
    path: paths.ValuePath = ["spec", "namespaceResourceWhitelist"]
    listed = paths.get(project.data, path)
    for kind in ("AppProject", "Application"):
        if not any(
            entry.get("group") in ("argoproj.io", "*") and entry.get("kind") in (kind, "*")
            for entry in (listed if isinstance(listed, list) else ())
            if isinstance(entry, dict)
        ):
            message = f"the root AppProject does not allow the kind {kind}: the sync fails, and no"
            message += " environment changes"
            item = {"group": "argoproj.io", "kind": kind}
            fix = advice.add_item(item, "namespaceResourceWhitelist")
            yield project.finding(_ID, path, message, fix)


def _automated(application: yamlio.Document) -> Iterator[Finding]:
    """Yield a finding if the root Application waits for a person with each sync."""
    path: paths.ValuePath = ["spec", "syncPolicy", "automated"]
    automated = paths.get(application.data, path)
    note = paths.get(
        application.data, ["metadata", "annotations", "argocd.argoproj.io/skip-reconcile"]
    )
    if str(note).lower() == "true":
        message = "with the annotation argocd.argoproj.io/skip-reconcile, Argo CD does not sync the"
        message += " root Application: no change of an Application is applied"
        place: paths.ValuePath = [
            "metadata",
            "annotations",
            "argocd.argoproj.io/skip-reconcile",
        ]
        yield application.finding(_ID, place, message, advice.remove("the annotation"))
    elif not isinstance(automated, dict) or automated.get("enabled") is False:
        message = "the root Application does not sync by itself: a new or changed Application waits"
        message += " until someone syncs it"
        fix = advice.write("syncPolicy.automated", {"prune": True, "selfHeal": True})
        if isinstance(automated, dict):
            fix = advice.write("automated.enabled", True)
        yield application.finding(_ID, path, message, fix)
