"""argocd/root.yaml: the app of apps, which brings the AppProjects and Applications to a cluster.

People apply it once, and Argo CD does not sync it. It follows the repository that
base/environment.yaml names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scripts.core import paths, yamlio
from scripts.core.findings import UserError
from scripts.environments import environment, layout
from scripts.kubernetes import sync

_NAME = "linea-root"
_SERVER = "https://kubernetes.default.svc"
_INCLUDE = "{projects/*.yaml,applications/*.yaml}"
_KINDS = [{"group": "argoproj.io", "kind": kind} for kind in ("AppProject", "Application")]


def text(root: Path) -> str:
    """Return the text of the file; raises UserError if base/ names no repository."""
    base = environment.read(root / layout.BASE, root)
    url, revision = (paths.get(base.data, ["repository", key]) for key in ("url", "revision"))
    if not isinstance(url, str) or not isinstance(revision, str):
        message = f"{layout.ROOT_FILE}, the app of apps, needs the repository that Argo CD reads"
        fix = "write repository: {url: <its address>, revision: main}; environments may override it"
        raise UserError(base.finding("missing-key", ["repository"], message, fix))
    every = (_project(url), _application(url, revision))
    return layout.header(layout.BASE) + "---\n".join(yamlio.dump(each) for each in every)


def _project(url: str) -> dict[str, Any]:
    place = {"server": _SERVER, "namespace": sync.NAMESPACE}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AppProject",
        "metadata": _metadata(),
        "spec": {
            "description": "The AppProjects and Applications of the environments, nothing else",
            "sourceRepos": [url],
            "destinations": [place],
            # Where Argo CD syncs as service accounts of the environments, it needs one here, too.
            "destinationServiceAccounts": [
                place | {"defaultServiceAccount": "argocd-application-controller"}
            ],
            "clusterResourceWhitelist": [],
            "namespaceResourceWhitelist": _KINDS,
        },
    }


def _application(url: str, revision: str) -> dict[str, Any]:
    """Return the Application; without a finalizer, so that deleting it leaves the environments."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": _metadata(),
        "spec": {
            "project": _NAME,
            "source": {
                "repoURL": url,
                "targetRevision": revision,
                "path": "argocd",
                "directory": {
                    "recurse": True,
                    "include": _INCLUDE,
                },
            },
            "destination": {"server": _SERVER, "namespace": sync.NAMESPACE},
            "syncPolicy": {
                # An Application that is gone from git asks a person before it takes its
                # environment along.
                "automated": {"prune": True, "selfHeal": True},
                "syncOptions": ["ServerSideApply=true", "FailOnSharedResource=true"],
                "retry": {
                    "limit": -1,
                    "refresh": True,
                    "backoff": {"duration": "5s", "factor": 2, "maxDuration": "3m"},
                },
            },
        },
    }


def _metadata() -> dict[str, Any]:
    labels = {"app.kubernetes.io/part-of": layout.RELEASE}
    return {"name": _NAME, "namespace": sync.NAMESPACE, "labels": labels}
