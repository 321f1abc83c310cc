"""Find what environments must not have in common: a namespace, a validator, a chain id."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from scripts.core import file_facts, yamlio
from scripts.core.findings import Finding, UserError
from scripts.core.yamlio import Document
from scripts.environments import environment, layout
from scripts.environments.environment import NETWORK


def check(root: Path, names: Iterable[str]) -> list[Finding]:
    """Return the conflicts between the named environments and all others.

    Each environment has its own namespace and its own chain. On one cluster either all or none set
    a service account, as Argo CD's sync impersonation is one setting for all.
    """
    wanted = set(names)
    places = dict[str, tuple[str, str]]()
    owners = dict[tuple[str, str], list[str]]()
    with_account = dict[str, list[str]]()
    for name in layout.environments(root):
        if (root / "overlays" / name).is_symlink():
            continue
        if found := _place(root, name):
            server, namespace, has_account = found
            places[name] = server, namespace
            owners.setdefault((server, namespace), []).append(name)
            if has_account:
                with_account.setdefault(server, []).append(name)
    findings = []
    for name in places.keys() & wanted:
        server, _ = places[name]
        synced = with_account.get(server, [])
        if synced and name not in synced:
            message = (
                f"{synced[0]} has cluster.serviceAccount on the same cluster, and {name} does not: "
                "Argo CD's sync impersonation is on or off for all environments of a cluster"
            )
            fix = (
                f"write cluster.serviceAccount here, too; if impersonation is off, remove "
                f"it from overlays/{synced[0]}/environment.yaml"
            )
            rule = "inconsistent-sync-impersonation"
            findings.append(_document(root, name).finding(rule, ["cluster"], message, fix))
    chains = _shared_chains(root, wanted)
    for (_, namespace), names in owners.items():
        if len(names) == 1 or not wanted.intersection(names):
            continue
        for name, other in _copies(root, names, wanted, f"namespace: {namespace}\n"):
            chain = chains.get(name)
            is_copy = chain is not None and chain[0] == other
            if is_copy:
                del chains[name]
            findings.append(
                _shared_namespace(_document(root, name), name, other, namespace, is_copy)
            )
    return (
        findings
        + [finding for _, finding in chains.values()]
        + _without_network(root, places.keys() & wanted)
    )


def _place(root: Path, name: str) -> tuple[str, str, bool] | None:
    """Return cluster and namespace of an environment, and whether it syncs as a service account."""
    files = [root / "overlays" / name / "environment.yaml", root / layout.BASE]

    def read() -> tuple[str, str, bool] | None:
        with contextlib.suppress(
            UserError, OSError, AttributeError, LookupError, TypeError, ValueError
        ):
            base = environment.read(root / layout.BASE, root).data or {}
            data = environment.inherited(base, _document(root, name).data)
            server, namespace = _server(data["cluster"]), str(data["namespace"])
            return server, namespace, "serviceAccount" in data["cluster"]
        return None

    return file_facts.learn(root, f"place {name}", files, read)


def _document(root: Path, name: str) -> Document:
    return yamlio.load(root / "overlays" / name / "environment.yaml", root)


def _shared_namespace(
    document: Document, name: str, other: str, namespace: str, is_copy: bool
) -> Finding:
    """Return the finding that two environments have one namespace; is_copy: and one chain."""
    message = (
        f"{other} has the namespace {namespace} on the same cluster, too: each of the two would "
        "delete the other's objects"
    )
    own = f", for example linea-{name}" if namespace != f"linea-{name}" else ""
    fix = (
        f"write a namespace of {name} alone{own}; if {name} is on another cluster, correct cluster"
    )
    if is_copy:
        message = (
            f"{other} has the namespace {namespace} on the same cluster and the same validators, "
            f"too, so overlays/{name} seems to be a copy: each of the two would delete the other's "
            "objects, and two validators with one key fork the chain"
        )
        fix = (
            f"write a namespace of {name} alone{own}; remove overlays/{name}/{NETWORK}, then run "
            f"nox -s network -- {name} and nox -s render"
        )
    return document.finding("shared-namespace", ["namespace"], message, fix)


def _copies(
    root: Path, names: Sequence[str], wanted: set[str], mark: str
) -> Iterator[tuple[str, str]]:
    """Yield the environments to change, of those that share something, each with another one.

    mark: what a committed Application contains if the environment has been rendered with what is
    shared. If this is true of all or of none, it is unknown which is the copy, and each wanted
    environment is yielded.
    """
    rendered = [name for name in names if mark in _application(root, name)]
    copies = [name for name in names if name not in rendered]
    if not rendered or not copies:
        copies = [name for name in names if name in wanted]
    for name in copies:
        yield name, next(other for other in [*rendered, *names] if other != name)


def _application(root: Path, name: str) -> str:
    """Return the text of an environment's committed Application; empty if it does not exist."""
    try:
        return (root / layout.argocd_file("applications", name)).read_text("utf-8", "replace")
    except OSError:
        return ""


def _without_network(root: Path, names: set[str]) -> list[Finding]:
    """Return a finding for each of the named environments that has no network.yaml."""
    findings = []
    for name in sorted(names):
        overlay = root / "overlays" / name
        with contextlib.suppress(OSError):
            values = overlay / "values.yaml"
            if (overlay / NETWORK).exists() or (
                values.exists() and b"validators:" in values.read_bytes()
            ):
                continue
            message = f"{name} has no {NETWORK}: without validators and genesis there is no chain"
            fix = f"create {NETWORK}: run nox -s network -- {name}"
            file = f"overlays/{name}/environment.yaml"
            findings.append(Finding(file, 0, 0, "missing-network", message, fix))
    return findings


_IDENTITY = re.compile(
    rb"""^[- ]+(?:address: \W?(0x[0-9a-fA-F]{40})|"chainId": ([1-9][0-9]*))\b""", re.MULTILINE
)
"""A validator's address or a chain id, as `nox -s network` writes them. This is faster than to
parse the file of each environment in each run."""


def _shared_chains(root: Path, wanted: set[str]) -> dict[str, tuple[str, Finding]]:
    """Return the environments that have a validator or the chain id of another one, with its name.

    A pair counts only if one of the two is wanted.
    """
    owners = dict[str, list[str]]()
    lines = dict[tuple[str, str], int]()
    for name in layout.environments(root):
        if (root / "overlays" / name).is_symlink():
            continue
        for identity, line in _identities(root, name).items():
            owners.setdefault(identity, []).append(name)
            lines[name, identity] = line
    findings = dict[str, tuple[str, Finding]]()
    # Validators first: an environment with another's validators also has its chain id.
    for identity, names in sorted(owners.items(), key=lambda item: not item[0].startswith("0x")):
        if len(names) == 1 or not wanted.intersection(names):
            continue
        for name, other in _copies(root, names, wanted, mark="kind: Application\n"):
            finding = _shared_chain(name, other, identity, lines[name, identity])
            findings.setdefault(name, (other, finding))
    return findings


def _identities(root: Path, name: str) -> dict[str, int]:
    """Return the validators and the chain id of an environment, each with its line."""
    path, found = root / "overlays" / name / NETWORK, dict[str, int]()

    def read() -> dict[str, int]:
        with contextlib.suppress(OSError):
            text = path.read_bytes()
            for match in _IDENTITY.finditer(text):
                identity = (match[1] or match[2]).lower().decode()
                found.setdefault(identity, text.count(b"\n", 0, match.start()) + 1)
        return found

    return file_facts.learn(root, f"identities {name}", [path], read)


def _shared_chain(name: str, other: str, identity: str, line: int) -> Finding:
    shown, file = identity, f"overlays/{name}/{NETWORK}"
    fix = f"if {name} has never run, remove {file} and run nox -s network -- {name}"
    if identity.startswith("0x"):
        message = (
            f"{other} has the validator {shown}, too: two validators with one key fork the chain"
        )
        fix += f"; otherwise restore {file} from git"
        return Finding(file, line, 1, "shared-validator", message, fix)
    message = (
        f"{other} has the chain id {shown}, too: a transaction for one chain is valid on the other"
    )
    return Finding(file, line, 1, "shared-chain-id", message, fix)


_IN_CLUSTER = "https://kubernetes.default.svc"
"""The address of the cluster that Argo CD runs on, which has the name `in-cluster`."""


def _server(cluster: dict[str, Any]) -> str:
    """Return a cluster's address, or its name if only Argo CD knows the address."""
    if cluster.get("name") == "in-cluster":
        return _IN_CLUSTER
    return str(cluster.get("name") or cluster["server"].rstrip("/").lower())
