"""An overlay's folder and base/ → one frozen Environment."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from scripts import files, images, patches, schema, tree, yamlio
from scripts.findings import Finding, UserError
from scripts.yamlio import Document

NETWORK = "network.yaml"
"""The values that `network` writes, once for each chain; people's own values.yaml is above them."""

READ = ("environment.yaml", NETWORK, "values.yaml", "patches", "manifests")
"""What an overlay's folder may hold, beside notes in Markdown."""

PRODUCTION = "base/profiles/production.yaml"

SCHEMA = Path(__file__).with_name("environment.schema.json")
NETWORK_SCHEMA = Path(__file__).with_name("network.schema.json")


@dataclass(frozen=True, slots=True)
class Waiver:
    """A rule that is not asked of one object, for some time."""

    rule: str
    object: str
    """Kind/name."""
    until: str
    """The last day on which it counts, like 2027-03-31."""


@dataclass(frozen=True, slots=True)
class Environment:
    """All that a rendering depends on, but for the chart and this program."""

    name: str
    namespace: str
    kubernetes_version: str
    """A minor version, like 1.34."""
    zones: tuple[str, ...]
    cluster: dict[str, str]
    """`server` or `name`, as an Application's destination has them; `serviceAccount` to sync as."""
    sync: dict[str, bool]
    repository: dict[str, str]
    document: Document
    """environment.yaml."""
    layers: tuple[Document, ...]
    """The files of values, from the weakest (the chart's own) to the strongest (the overlay's)."""
    patches: tuple[patches.Patch, ...]
    images: Document
    """The lock: the digests of images."""
    given: dict[str, Any]
    """Kind → names, or names and their keys: what the cluster has without a manifest of it."""
    node: dict[str, str]
    """What the smallest node has for pods; empty where nobody has said it."""
    registries: tuple[str, ...]
    """Beginnings of the names of images that may run; none, and all may."""
    waivers: tuple[Waiver, ...]

    @property
    def is_production(self) -> bool:
        """Return whether the profile production is one of its layers."""
        return any(layer.file == PRODUCTION for layer in self.layers)

    @property
    def values(self) -> dict[str, Any]:
        """Return what people's files say, merged as `helm template -f … -f …` merges them."""
        merged: dict[str, Any] = {"zones": list(self.zones)}
        for layer in self.layers[1:]:
            merged = merge(merged, layer.data or {})
        return merged

    def locate(self, path: list[str | int]) -> tuple[Document, list[str | int]]:
        """Return the strongest file of values that says something at the path, and the path there.

        Where no file does, the longest beginning of the path that one of them knows counts.
        """
        own = self.layers[1:]
        if path[:1] == ["zones"] and not any(yamlio.has(layer.data, ["zones"]) for layer in own):
            return self.document, path
        for length in range(len(path), 0, -1):
            for layer in reversed(self.layers):
                if yamlio.has(layer.data, path[:length]):
                    return layer, path
        return self.layers[-1], path


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return the values merged as Helm does: mappings by key, all else replaced, null kept.

    (A null tells Helm to drop the chart's default: https://helm.sh/docs/chart_template_guide/values_files/)
    """
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        both = isinstance(under, dict) and isinstance(value, dict)
        merged[key] = merge(under, value) if both else value  # type: ignore[arg-type]
    return merged


def coalesce(defaults: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return the values over the chart's defaults; a null removes its default."""
    merged = dict(defaults)
    for key, value in values.items():
        under = merged.get(key)
        if value is None and key in defaults:
            del merged[key]
        elif isinstance(under, dict) and isinstance(value, dict):
            merged[key] = coalesce(under, value)
        else:
            merged[key] = value
    return merged


def load(root: Path, name: str) -> Environment:
    """Return the environment; raises UserError with all that is wrong in its files."""
    folder = root / "overlays" / name
    path = folder / "environment.yaml"
    if folder.is_symlink():
        raise UserError(
            _missing(folder, root, "the environment is a symbolic link", "make it a folder")
        )
    if path not in files.entries(folder, root):
        message = "the folder has no environment.yaml"
        fix = "add it, or remove the whole folder if the environment is gone"
        raise UserError(_missing(path, root, message, fix))
    document = yamlio.load(path, root)
    base = _read(root / "base" / "environment.yaml", root)
    data = document.data
    if not isinstance(base.data, dict | None):
        raise UserError(
            base.finding("wrong-type", [], "the file is no mapping", "write key: value")
        )
    if isinstance(data, dict):
        data = _inherited(base.data or {}, data)

    def locate(path: list[str | int]) -> tuple[Document, list[str | int]]:
        inherited = not yamlio.has(document.data, path) and yamlio.has(base.data, path)
        return (base if inherited else document), path

    findings = schema.check_merged(data, SCHEMA, locate)
    if findings:
        raise UserError(*findings)
    return _build(root, folder, document, data)


def _inherited(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return an environment.yaml over the base's.

    A cluster is known by its server or its name: the environment's choice replaces the base's.
    """
    return merge(base, own) | ({"cluster": own["cluster"]} if "cluster" in own else {})


def _build(root: Path, folder: Path, document: Document, data: dict[str, Any]) -> Environment:
    findings = list[Finding]()
    if data["name"] != folder.name:
        message = f"the name is {data['name']}, the folder's is {folder.name}"
        findings.append(
            document.finding("environment-name", ["name"], message, f"write name: {folder.name}")
        )
    findings += _unread(root, folder)
    layers = [
        _read(root / "chart" / "values.yaml", root),
        _read(root / "base" / "values.yaml", root),
    ]
    for index, profile in enumerate(data.get("profiles", [])):
        path = root / "base" / "profiles" / f"{profile}.yaml"
        if os.path.lexists(path):
            layers.append(_read(path, root))
        else:
            findings.append(_no_profile(root, document, index, profile))
    # A link to nothing is a mistake, not an absent file.
    network = yamlio.load(folder / NETWORK, root) if os.path.lexists(folder / NETWORK) else None
    if network:
        layers.append(network)
    if os.path.lexists(folder / "values.yaml"):
        layers.append(yamlio.load(folder / "values.yaml", root))
    found: tuple[patches.Patch, ...] = ()
    try:
        found = patches.load(folder / "patches", root)
    except UserError as error:
        findings += error.findings
    environment = Environment(
        name=data["name"],
        namespace=data["namespace"],
        kubernetes_version=data["kubernetesVersion"],
        zones=tuple(data.get("zones", [])),
        cluster=data["cluster"],
        sync=data["sync"],
        repository=data["repository"],
        document=document,
        layers=tuple(layers),
        patches=found,
        images=images.load(root),
        given=data.get("given", {}),
        node=data.get("node", {}),
        registries=tuple(data.get("registries", [])),
        waivers=tuple(
            Waiver(entry["rule"], entry["object"], entry["until"])
            for entry in data.get("waivers", [])
        ),
    )
    wrong = schema.check(network, NETWORK_SCHEMA) if network else []
    # The chart's schema would report the same mistakes once more.
    told = {finding.file for finding in wrong}
    wrong += [f for f in _check_values(root, environment) if f.file not in told]
    findings += wrong or images.old_digests(environment.layers)
    if findings:
        raise UserError(*findings)
    return environment


def _unread(root: Path, folder: Path) -> Iterable[Finding]:
    """Yield the files that look like inputs and are none."""
    import difflib

    for path in files.entries(folder, root):
        if path.name in READ or path.name.startswith(".") or path.suffix == ".md":
            continue
        near = difflib.get_close_matches(path.name, READ, 1)
        fix = f"call it {near[0]}" if near else f"remove it; read are {', '.join(READ)}"
        file = files.name(path, root)
        yield Finding(file, 0, 0, "unread-file", "nothing reads this file", fix)


def _check_values(root: Path, environment: Environment) -> list[Finding]:
    for layer in environment.layers:
        if not isinstance(layer.data, dict | None):
            message = "the file is no mapping of values"
            return [layer.finding("wrong-type", [], message, "write key: value")]
    chart, *own = environment.layers
    overlay = own[-1]
    if (file := f"overlays/{environment.name}/values.yaml") != overlay.file:
        overlay = Document(file, {}, None)

    def locate(path: list[str | int]) -> tuple[Document, list[str | int]]:
        document, inside = environment.locate(path)
        if document is not chart:
            return document, inside
        # The chart's defaults are sound by themselves: somebody asks for more than they say. Where
        # that is what environments share, the environment is to say the rest.
        for length in range(len(path) - 1, 0, -1):
            for layer in reversed(own):
                if yamlio.has(layer.data, path[:length]):
                    return (overlay if layer.file.startswith("base/") else layer), path
        return document, inside

    # With its nulls: where the schema allows one, Helm drops the default.
    merged = merge(chart.data or {}, environment.values)
    path = root / "chart" / "values.schema.json"
    try:
        return schema.check_merged(merged, path, locate)
    except (UserError, ValueError, RecursionError):
        # Its own words could repeat a value, or name a place on this machine.
        message, fix = "the file is no JSON Schema that can be read", "restore it from git"
        return [Finding(files.name(path, root), 0, 0, "chart", message, fix)]


def _no_profile(root: Path, document: Document, index: int, profile: str) -> Finding:
    import difflib

    folder = root / "base" / "profiles"
    entries = files.entries(folder, root)
    known = [path.stem for path in entries if path.suffix == ".yaml"]
    near = difflib.get_close_matches(profile, known, 1)
    fix = f"write {near[0]}" if near else "add the profile"
    if known and not near:
        fix = f"write one of {', '.join(known)}, or add the profile"
    message = f"base/profiles has no {profile}.yaml"
    return document.finding("unknown-profile", ["profiles", index], message, fix)


def _missing(path: Path, root: Path, message: str, fix: str) -> Finding:
    return Finding(files.name(path, root), 0, 0, "environment-file", message, fix)


@lru_cache
def _read(path: Path, root: Path) -> Document:
    """Return a document that environments share; it is read once."""
    if path not in files.entries(path.parent, root):
        raise UserError(_missing(path, root, "the file is missing", "restore it from git"))
    return yamlio.load(path, root)


def collisions(root: Path, names: Iterable[str]) -> list[Finding]:
    """Return what the named environments can't have beside the others.

    Each has a namespace and a chain of its own; and on one cluster all are synced as service
    accounts, or none is, as one switch of Argo CD decides that for all.
    """
    wanted = set(names)
    documents = dict[str, Document]()
    places = dict[str, tuple[str, str]]()
    owners = dict[tuple[str, str], list[str]]()
    with_account = dict[str, list[str]]()
    for name in tree.environments(root):
        if (root / "overlays" / name).is_symlink():
            continue
        with contextlib.suppress(
            UserError, OSError, AttributeError, LookupError, TypeError, ValueError
        ):
            document = yamlio.load(root / "overlays" / name / "environment.yaml", root)
            base = _read(root / "base" / "environment.yaml", root).data or {}
            data = _inherited(base, document.data)
            place = server, _ = _server(data["cluster"]), str(data["namespace"])
            documents[name], places[name] = document, place
            owners.setdefault(place, []).append(name)
            if "serviceAccount" in data["cluster"]:
                with_account.setdefault(server, []).append(name)
    findings = []
    for name in documents.keys() & wanted:
        server, _ = places[name]
        synced = with_account.get(server, [])
        if synced and name not in synced:
            message = (
                f"{synced[0]} on this cluster is synced as a service account, and {name} is not: "
                "Argo CD can sync only the one or the other"
            )
            fix = "write cluster.serviceAccount in all environments of the cluster, or in none"
            findings.append(documents[name].finding("service-account", ["cluster"], message, fix))
    chains = _shared_chains(root, wanted)
    for (_, namespace), names in owners.items():
        if len(names) == 1 or not wanted.intersection(names):
            continue
        for name, other in _newer(root, names, wanted, f"namespace: {namespace}\n"):
            chain = chains.get(name)
            if chain and chain[0] == other:
                del chains[name]
            findings.append(_shared_namespace(documents[name], name, other, namespace, chain))
    return (
        findings
        + [finding for _, finding in chains.values()]
        + _without_chain(root, documents.keys() & wanted)
    )


def _shared_namespace(
    document: Document, name: str, other: str, namespace: str, chain: tuple[str, Finding] | None
) -> Finding:
    """Return that two environments have one namespace; chain: what else they share."""
    message = (
        f"the namespace {namespace} on this cluster belongs to {other}, too: each environment "
        "would delete the other's objects"
    )
    fix = "write another namespace, or another cluster"
    if chain and chain[0] == other:
        message = (
            f"{name} has the namespace and the validators of {other}, as a copy of its folder has: "
            "each would delete the other's objects, and validators with one key fork the chain"
        )
        fix = (
            f"write a namespace of its own, remove overlays/{name}/{NETWORK}, then run "
            f"nox -s network -- {name} and nox -s render"
        )
    return document.finding("shared-namespace", ["namespace"], message, fix)


def _newer(
    root: Path, names: Sequence[str], wanted: set[str], mark: str = ""
) -> Iterator[tuple[str, str]]:
    """Yield which of the environments that share something came later, each with an older one.

    mark: what the Application of one that has it already says. Where the committed Applications
    don't tell the older from the newer, all that are wanted count as newer.
    """
    older = [name for name in names if mark in _application(root, name)]
    newer = [name for name in names if name not in older]
    if not older or not newer:
        newer = [name for name in names if name in wanted]
    for name in newer:
        yield name, next(other for other in [*older, *names] if other != name)


def _application(root: Path, name: str) -> str:
    """Return the committed Application of an environment; nothing where there is none."""
    try:
        return (root / tree.argocd_file("applications", name)).read_text("utf-8", "replace")
    except OSError:
        return ""


def _without_chain(root: Path, names: set[str]) -> list[Finding]:
    """Return which of the named environments have no network: their nodes would never meet."""
    findings = []
    for name in sorted(names):
        overlay = root / "overlays" / name
        with contextlib.suppress(OSError):
            values = overlay / "values.yaml"
            if (overlay / NETWORK).exists() or (
                values.exists() and b"validators:" in values.read_bytes()
            ):
                continue
            message = f"{name} has no chain: there is no {NETWORK}, with its validators and genesis"
            fix = f"make one: nox -s network -- {name}"
            file = f"overlays/{name}/environment.yaml"
            findings.append(Finding(file, 0, 0, "no-chain", message, fix))
    return findings


_IDENTITY = re.compile(
    rb"""^[- ]+(?:address: \W?(0x[0-9a-fA-F]{40})|"chainId": ([1-9][0-9]*))\b""", re.MULTILINE
)
"""A validator and a chain id as `network` writes them. Found without a parser: this reads the
file of every environment, each time."""


def _shared_chains(root: Path, wanted: set[str]) -> dict[str, tuple[str, Finding]]:
    """Return which environments have a validator or the chain id of another, and of which one.

    Only of pairs that one of the wanted is part of.
    """
    owners = dict[bytes, list[str]]()
    lines = dict[tuple[str, bytes], int]()
    for name in tree.environments(root):
        if (root / "overlays" / name).is_symlink():
            continue
        with contextlib.suppress(OSError):
            text = (root / "overlays" / name / NETWORK).read_bytes()
            for found in _IDENTITY.finditer(text):
                what = (found[1] or found[2]).lower()
                if (name, what) not in lines:
                    owners.setdefault(what, []).append(name)
                    lines[name, what] = text.count(b"\n", 0, found.start()) + 1
    findings = dict[str, tuple[str, Finding]]()
    # Validators first: whoever has another's has its chain id, too.
    for what, names in sorted(owners.items(), key=lambda item: not item[0].startswith(b"0x")):
        if len(names) == 1 or not wanted.intersection(names):
            continue
        for name, other in _newer(root, names, wanted, mark="kind: Application\n"):
            shared = _shared_chain(name, other, what, lines[name, what])
            findings.setdefault(name, (other, shared))
    return findings


def _shared_chain(name: str, other: str, what: bytes, line: int) -> Finding:
    file = f"overlays/{name}/{NETWORK}"
    if what.startswith(b"0x"):
        message = (
            f"the validator {what.decode()} is {other}'s, too: two validators with one key fork "
            "the chain"
        )
        fix = (
            f"if {name} is a copy that has never run, remove {file} and run nox -s network -- "
            f"{name}; otherwise restore it from git"
        )
        return Finding(file, line, 1, "shared-validator", message, fix)
    message = (
        f"the chain id {what.decode()} is {other}'s, too: a transaction signed for one chain is "
        "valid on the other"
    )
    fix = f"if {name} has never run, remove {file} and run nox -s network -- {name}"
    return Finding(file, line, 1, "shared-chain-id", message, fix)


_HERE = "https://kubernetes.default.svc"
"""The cluster that Argo CD runs on; by its name, `in-cluster`."""


def _server(cluster: dict[str, Any]) -> str:
    """Return a cluster's address, or its name where Argo CD alone knows the address."""
    if cluster.get("name") == "in-cluster":
        return _HERE
    return str(cluster.get("name") or cluster["server"].rstrip("/").lower())
