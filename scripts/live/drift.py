"""Compare a live cluster with what is committed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.core import paths
from scripts.core.findings import UsageError
from scripts.core.sentences import joined
from scripts.impact.compare import revisions
from scripts.kubernetes import sync
from scripts.kubernetes.manifest import Manifest
from scripts.kubernetes.workloads import mappings
from scripts.live import cluster, compare, fit, kubectl, secret_objects, wanted
from scripts.live.cluster import Live
from scripts.live.kubectl import ApiError, Client, Context, Object
from scripts.live.report import Drift, ObjectDrift, SyncState
from scripts.live.wanted import Wanted

ROOT_APPLICATION = "linea-root"
_APPLICATIONS = f"apis/argoproj.io/v1alpha1/namespaces/{sync.NAMESPACE}/applications"
_PROJECTS = f"apis/argoproj.io/v1alpha1/namespaces/{sync.NAMESPACE}/appprojects"
_BY_CONTROLLERS = {("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")}
"""Objects that Kubernetes makes in each namespace."""


def drift(root: Path, environment: str, context: str = "") -> Drift:
    """Return how the cluster of a kubectl context differs from an environment's committed files.

    context: a name in the kubeconfig; empty for the current one. It only reads. Raises UsageError
    if the two cannot be compared: no kubectl, no such context, no answer, no permission.
    """
    program = kubectl.program()
    chosen = kubectl.context(program, context)
    git = wanted.read(root, environment)
    with kubectl.client(program, chosen) as api:
        try:
            return _Comparison(root, git, chosen, api).drift()
        except ApiError as error:
            raise UsageError(f"{chosen.server}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Comparison:
    root: Path
    git: Wanted
    context: Context
    api: Client

    def drift(self) -> Drift:
        version = fit.minor_version(self.api.get("version"))
        misfits = list(fit.of_cluster(self.context, self.git, version))
        namespace = self._namespace(misfits)
        live = cluster.read(self.api, self.git)
        pairs = [(m, there) for m in self.git.manifests if (there := live.find(m))]
        unpatched = set[str]()
        compared = cluster.together(lambda pair: self._compared(live, *pair, unpatched), pairs)
        objects = [
            *namespace,
            *(each for each in compared if each),
            *self._missing(live),
            *self._not_in_git(live),
        ]
        secrets, secret_notes = secret_objects.compare(self.api, self.git, self.root)
        application, settings, notes = self._argo_cd()
        state = _state(application)
        misfits += fit.of_chain(self.git, live)
        if not (notes and application is None):
            misfits += fit.of_application(self.git, application)
        return Drift(
            environment=self.git.environment.name,
            context=self.context.name,
            server=self.context.server,
            kubernetes_version=version,
            state=state,
            misfits=tuple(misfits),
            objects=tuple(sorted([*objects, *secrets, *settings], key=lambda o: (o.what, o.name))),
            compared=len(self.git.manifests),
            notes=(
                *self._revision(state),
                *live.notes,
                *_inexact(unpatched),
                *secret_notes,
                *notes,
            ),
        )

    def _namespace(self, misfits: list[str]) -> list[ObjectDrift]:
        """Return the difference in the labels of the namespace, which Argo CD sets."""
        name = self.git.environment.namespace
        live = cluster.get(self.api, f"api/v1/namespaces/{name}")
        if live == cluster.NOT_FOUND:
            others = kubectl.contexts(kubectl.program())
            raise UsageError(fit.no_namespace(self.context, self.git, misfits, others))
        labels = self.git.application.get(
            "spec", "syncPolicy", "managedNamespaceMetadata", "labels"
        )
        if not isinstance(live, dict) or not isinstance(labels, dict):
            return []
        metadata = {"name": name, "labels": labels}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        fields = compare.fields(body, {**body, **live}, (), is_exact=False)
        file = self.git.files[self.git.application.identity]
        return [ObjectDrift(f"Namespace/{name}", "changed", file, "", fields)] if fields else []

    def _compared(
        self, live: Live, manifest: Manifest, there: Manifest, unpatched: set[str]
    ) -> ObjectDrift | None:
        """Return how an object differs; unpatched: gets the kinds that the user may not patch."""
        application = self.git.application
        resource, file = live.resource(manifest), self.git.files[manifest.identity]
        assert resource is not None
        pointers = compare.ignored(application, manifest)
        body = compare.to_apply(manifest, there, application.name)
        what, message = "changed", ""
        is_exact = True
        try:
            path = resource.path(manifest.namespace, manifest.name)
            body = self.api.applied(path, body, compare.MANAGER)
        except ApiError as error:
            is_exact = False
            if error.status == cluster.FORBIDDEN:
                unpatched.add(resource.plural)
            else:
                what, message = "invalid", f"the API server rejects git's version: {error}"
        fields = compare.fields(body, there.object, pointers, is_exact=is_exact)
        owner = str(there.annotations.get(compare.TRACKING_ID, "")).partition(":")[0]
        if owner not in ("", application.name) and compare.tracked_by(there) == owner:
            message = f"it belongs to Application/{owner}: two Applications have the same object"
        if fields or message:
            return ObjectDrift(manifest.label, what, file, message, fields)
        return None

    def _missing(self, live: Live) -> Iterator[ObjectDrift]:
        for manifest in self.git.manifests:
            if live.find(manifest):
                continue
            message = "the next sync creates it"
            if live.resource(manifest) is None:
                message = "the cluster does not know the kind: no sync succeeds before its CRD"
                message += f" ({manifest.api_version}) is installed"
            file = self.git.files[manifest.identity]
            yield ObjectDrift(manifest.label, "missing", file, message)

    def _not_in_git(self, live: Live) -> Iterator[ObjectDrift]:
        """Yield the objects that Argo CD tracks but git does not have, and those of no one."""
        known, application = self.git.files, self.git.application
        for identity, there in live.objects.items():
            if identity in known or there.metadata.get("ownerReferences"):
                continue
            if compare.tracked_by(there, application.name) == application.name:
                message = "git no longer has it: the next sync deletes it"
                options = sync.options(there.annotations.get(sync.OPTIONS))
                if options.get("Prune") == "confirm":
                    message = "git no longer has it: the sync waits until a person confirms the"
                    message += " deletion"
                elif options.get("Prune") == "false":
                    message = "git no longer has it, and no sync deletes it (Prune=false)"
                yield ObjectDrift(there.label, "extra", "", message)
            elif compare.TRACKING_ID not in there.annotations and not self._is_expected(there):
                message = "neither git nor Argo CD knows it: no sync changes or deletes it"
                yield ObjectDrift(there.label, "foreign", "", message)

    def _is_expected(self, there: Manifest) -> bool:
        """Return whether an object may be in the namespace without being in git."""
        listed = mappings(self.git.project.get("spec", "orphanedResources", "ignore"))
        expected = {(str(e.get("kind")), str(e.get("name"))) for _, e in listed}
        given = self.git.given.objects.get(there.kind, {})
        return (there.kind, there.name) in expected | _BY_CONTROLLERS or there.name in given

    def _argo_cd(self) -> tuple[Object | None, list[ObjectDrift], list[str]]:
        """Return the live Application, how it and its project differ, and what was not compared."""
        differ, notes, application = list[ObjectDrift](), list[str](), None
        for base, manifest in (
            (_APPLICATIONS, self.git.application),
            (_PROJECTS, self.git.project),
        ):
            path = f"{base}/{manifest.name}"
            live = cluster.get(self.api, path)
            if isinstance(live, int):
                if live == cluster.FORBIDDEN:
                    notes.append(f"{manifest.label} was not compared: the user may not get it")
                continue
            if manifest is self.git.application:
                application = live
            there = Manifest(live, "")
            body, is_exact = compare.to_apply(manifest, there, ROOT_APPLICATION), True
            try:
                body = self.api.applied(path, body, compare.MANAGER)
            except ApiError:
                is_exact = False
            if fields := compare.fields(body, live, (), is_exact=is_exact):
                file = self.git.files[manifest.identity]
                differ.append(ObjectDrift(manifest.label, "changed", file, "", fields))
        return application, differ, notes

    def _revision(self, state: SyncState | None) -> list[str]:
        """Return a note if Argo CD has synced other files than those here."""
        name = self.git.environment.name
        if state is None or not state.revision:
            return []
        try:
            output = revisions.diff(self.root, state.revision)
        except UsageError:
            note = "which this clone does not have: run git fetch; what differs may be what was"
            return [f"Argo CD is at commit {state.revision[:12]}, {note} merged since"]
        if name not in output.changed:
            return []
        note = "what differs includes what is not merged, or not pulled"
        place = f"in which {name} differs from the files here"
        return [f"Argo CD is at commit {state.revision[:12]}, {place}: {note}"]


def _inexact(kinds: set[str]) -> Iterator[str]:
    """Yield the note about kinds that were compared without a dry run."""
    if kinds:
        yield (
            f"the user may not patch {joined(sorted(kinds))}, so fields that were removed from git"
            " were not looked for"
        )


def _state(application: Object | None) -> SyncState | None:
    if application is None:
        return None
    status = application.get("status") or {}
    operation = status.get("operationState") or {}
    return SyncState(
        sync=str(paths.get(status, ["sync", "status"]) or "Unknown"),
        health=str(paths.get(status, ["health", "status"]) or "Unknown"),
        revision=str(paths.get(status, ["sync", "revision"]) or ""),
        phase=str(operation.get("phase") or ""),
        message=str(operation.get("message") or ""),
    )
