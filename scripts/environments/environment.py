"""Load an Environment from its folder in overlays/ and from base/."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from scripts.core import (
    advice,
    json_schema,
    paths,
    safe_files,
    schema_messages,
    yamlio,
)
from scripts.core.findings import Finding, UserError
from scripts.core.repository import PROGRAM
from scripts.core.yamlio import Document
from scripts.environments import (
    git_index,
    image_lock,
    null_values,
    own_objects,
    patches,
    plain_secrets,
    releases,
    repository_pages,
    unused_files,
)

NETWORK = "network.yaml"
"""The values that `nox -s network` writes for a chain; values.yaml overrides them."""

PRODUCTION = "base/profiles/production.yaml"

_SETTINGS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("zones",): ("zones",),
    ("verify", "enabled"): ("verify",),
    ("metrics", "prometheusRule", "runbookUrl"): ("repository", "url"),
}
"""Value → field of environment.yaml that decides it, unless a file of values sets it."""

SCHEMA = PROGRAM / "environment.schema.json"
NETWORK_SCHEMA = PROGRAM / "network.schema.json"


@dataclass(frozen=True, slots=True)
class Waiver:
    """A finding of a rule on an object that is accepted for a time."""

    rule: str
    object: str
    """Kind/name."""
    until: str
    """The last day on which the waiver is valid, like 2027-03-31."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A risk that the cluster imposes and that is accepted as long as it is there."""

    rule: str
    consequence: str
    """What happens, in a whole sentence."""


@dataclass(frozen=True, slots=True)
class Environment:
    """All inputs of a rendering, except the chart and this program."""

    name: str
    namespace: str
    kubernetes_version: str
    """A minor version, like 1.34."""
    zones: tuple[str, ...]
    cluster: dict[str, str]
    """`server` or `name`, as in an Application's destination; `serviceAccount` to sync as."""
    sync: dict[str, bool]
    application: dict[str, Any]
    """Settings of its Application and AppProject in Argo CD, as in environment.yaml."""
    repository: dict[str, str]
    document: Document
    """environment.yaml."""
    layers: tuple[Document, ...]
    """The files of values, from the weakest (the chart's) to the strongest (the environment's)."""
    patches: tuple[patches.Patch, ...]
    """Those of base/, then its own."""
    images: Document
    """The image lock: repository:tag → digest."""
    given: dict[str, Any]
    """Kind → names, or name → keys: the provided resources, which no manifest here makes."""
    node: dict[str, str]
    """The allocatable resources of the smallest node; empty if unknown."""
    registries: tuple[str, ...]
    """Allowed prefixes of image names; empty allows all."""
    waivers: tuple[Waiver, ...]
    source: Path
    """The folder with its chart/ and base/: the repository, or that of its release."""
    accepts: tuple[Accepted, ...] = ()
    is_example: bool = False
    """Whether it came with this repository, and never ran: its names are placeholders."""
    objects: tuple[own_objects.OwnObject, ...] = ()
    """The objects that people wrote beside the chart's: those of base/, then its own."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of all objects."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Annotations of all objects."""
    release: str = ""
    """The tag or commit of its chart/ and base/; empty for the working tree."""
    soak: str = ""
    """How long another environment must have had a release before this one: 24h."""
    verify: bool = False
    """Whether a sync ends with a check that the chain makes blocks and answers."""

    @property
    def is_production(self) -> bool:
        """Return whether it has the profile production."""
        return any(layer.file.partition("@")[0] == PRODUCTION for layer in self.layers)

    @property
    def values(self) -> dict[str, Any]:
        """Return the values of all files but the chart's, merged as `helm template -f … -f …`.

        The provider `plain` is `existing` here: plain_secrets says why.
        """
        merged: dict[str, Any] = {"zones": list(self.zones)}
        if runbooks := repository_pages.runbooks(self.repository):
            merged["metrics"] = {"prometheusRule": {"runbookUrl": runbooks}}
        if self.verify:
            merged["verify"] = {"enabled": True}
        for layer in self.layers[1:]:
            merged = merge(merged, layer.data or {})
        return plain_secrets.as_existing(merged)

    def path(self, root: Path, file: str) -> Path:
        """Return where a file of a finding is, also one of a release: chart/values.yaml@v0.4.0."""
        name, mark, label = file.rpartition("@")
        is_released = self.release and mark and label == releases.label(self.release)
        return self.source / name if is_released else root / file

    def unreleased(self, text: str) -> str:
        """Return a text without the release in names of files."""
        return text.replace(f"@{releases.label(self.release)}", "") if self.release else text

    def shown(self, template: str) -> str:
        """Return the name of a file of chart/ or base/ in findings: with its release, if any."""
        suffix = f"@{releases.label(self.release)}" if self.release else ""
        is_released = template.startswith(("chart/", "base/")) and not template.endswith(suffix)
        return f"{template}{suffix}" if is_released else template

    def locate(self, path: list[str | int]) -> tuple[Document, list[str | int]]:
        """Return the strongest file that sets the value at the path, and the path in it.

        If no file sets it, look for the closest parent of the path that a file sets.
        """
        own = self.layers[1:]
        for value, setting in _SETTINGS.items():
            is_set = any(paths.has(layer.data, value) for layer in own)
            if path[: len(value)] == list(value) and not is_set:
                return self.document, [*setting, *path[len(value) :]]
        for length in range(len(path), 0, -1):
            for layer in reversed(self.layers):
                if paths.has(layer.data, path[:length]):
                    return layer, path
        return self.layers[-1], path


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return the values merged as Helm does: mappings by key; other values are replaced.

    A null is kept. It removes the chart's default:
    https://helm.sh/docs/chart_template_guide/values_files/
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
    """Return the environment; raises UserError with all findings in its files."""
    if absent := git_index.not_checked_out(root, name):
        raise UserError(*absent)
    folder = root / "overlays" / name
    path = folder / "environment.yaml"
    if folder.is_symlink():
        message = "the environment's folder is a symbolic link, which is not rendered"
        fix = f"replace the link with a folder, or remove overlays/{name}"
        file = safe_files.name(folder, root)
        raise UserError(Finding(file, 0, 0, "environment-is-symlink", message, fix))
    if path not in (entries := safe_files.entries(folder, root)):
        import difflib

        message = "the file is missing: each folder in overlays/ is an environment"
        fix = f"add the file; if the environment is gone, remove the folder overlays/{name}"
        if near := difflib.get_close_matches(path.name, [entry.name for entry in entries], 1):
            fix = f"rename {near[0]} to {path.name}"
        raise UserError(_missing(path, root, message, fix))
    document = yamlio.load(path, root)
    base = read(root / "base" / "environment.yaml", root)
    data = document.data
    if not isinstance(base.data, dict | None):
        raise UserError(
            base.finding(
                "wrong-type",
                [],
                "the file is a list or a text, not a mapping",
                'write a mapping, for example {kubernetesVersion: "1.34"}',
            )
        )
    if isinstance(data, dict):
        data = inherited(base.data or {}, data)

    def locate(path: list[str | int]) -> tuple[Document, list[str | int]]:
        inherited = not paths.has(document.data, path) and paths.has(base.data, path)
        return (base if inherited else document), path

    findings = json_schema.check_merged(data, SCHEMA, locate)
    if findings:
        unnamed = schema_messages.missing([], ["name"])
        own = advice.add("name", folder.name)  # not the example of the schema
        named = document.finding("missing-key", [], unnamed, own)
        raise UserError(*(named if f.message == unnamed else f for f in findings))
    source, release = root, data.get("release", "")
    if release:
        source = releases.folder(root, release, locate(["release"])[0])
    return _build(root, source, document, data)


def inherited(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return an environment.yaml merged over that of base/.

    The environment's `cluster` replaces that of base/: it has either a server or a name.
    """
    return merge(base, own) | ({"cluster": own["cluster"]} if "cluster" in own else {})


def _build(root: Path, source: Path, document: Document, data: dict[str, Any]) -> Environment:
    """Return the environment; source: the folder with its chart/ and base/."""
    findings, folder = list[Finding](), (root / document.file).parent
    if data["name"] != folder.name:
        findings.append(_misnamed(document, folder.name))
    findings += unused_files.findings(root, folder)
    layers, network, without = _layers(root, source, document, data)
    findings += without
    patched, wrong = _shared_and_own(patches.load, "patches", root, source, folder)
    objects, invalid_objects = _shared_and_own(own_objects.load, "objects", root, source, folder)
    findings += [*wrong, *invalid_objects, *_misnamed_folders(root)]
    findings += own_objects.foreign(objects, data["namespace"])
    environment = Environment(
        name=data["name"],
        namespace=data["namespace"],
        kubernetes_version=data["kubernetesVersion"],
        zones=tuple(data.get("zones", [])),
        cluster=data["cluster"],
        sync=data["sync"],
        application=data.get("application", {}),
        repository=data["repository"],
        document=document,
        layers=tuple(layers),
        patches=patched,
        images=image_lock.of_release(root, source),
        given=data.get("given", {}),
        node=data.get("node", {}),
        registries=tuple(data.get("registries", [])),
        waivers=tuple(
            Waiver(entry["rule"], entry["object"], entry["until"])
            for entry in data.get("waivers", [])
        ),
        source=source,
        release=data.get("release", ""),
        soak=data.get("soak", ""),
        accepts=tuple(
            Accepted(entry["rule"], entry["consequence"]) for entry in data.get("accepts", [])
        ),
        is_example=data.get("example", False),
        objects=objects,
        labels=data.get("labels", {}),
        annotations=data.get("annotations", {}),
        verify=data.get("verify", False),
    )
    invalid = json_schema.check(network, NETWORK_SCHEMA) if network else []
    # The chart's schema would report the mistakes of network.yaml again.
    reported = {finding.file for finding in invalid}
    invalid += [f for f in _check_values(root, environment) if f.file not in reported]
    findings += invalid or [
        *image_lock.stale_digests(environment.layers),
        *plain_secrets.findings(
            environment.name, layers[1:], is_production=environment.is_production
        ),
    ]
    if findings:
        raise UserError(*findings)
    return environment


_T = TypeVar("_T")
_Load = Callable[[Path, Path], tuple[_T, ...]]


def _shared_and_own(
    load: _Load[_T], part: str, root: Path, source: Path, folder: Path
) -> tuple[tuple[_T, ...], list[Finding]]:
    """Return what base/ and an environment have in folders of one name, and what is wrong there.

    source: the folder with base/. What it has comes first, so that the patches of an environment
    have the last word.
    """
    found, findings = list[_T](), list[Finding]()
    for read_all, path in ((_shared, source / "base" / part), (_own, folder / part)):
        try:
            found += read_all(load, path, root)
        except UserError as error:
            findings += error.findings
    return tuple(found), findings


def _own(load: _Load[_T], path: Path, root: Path) -> tuple[_T, ...]:
    return load(path, root)


@lru_cache
def _shared(load: _Load[Any], path: Path, root: Path) -> tuple[Any, ...]:
    return load(path, root)


BASE_FOLDERS = ("crds", "objects", "patches", "profiles")
"""The folders that base/ may have."""


@lru_cache
def _misnamed_folders(root: Path) -> tuple[Finding, ...]:
    """Return a finding for each folder of base/ with a misspelled name."""
    import difflib

    findings = []
    for path in safe_files.entries(root / "base", root):
        near = difflib.get_close_matches(path.name, BASE_FOLDERS, 1)
        if near and path.name not in BASE_FOLDERS and path.is_dir():
            file, fix = safe_files.name(path, root), f"rename {path.name} to {near[0]}"
            message = "nothing reads this folder"
            findings.append(Finding(file, 0, 0, "unused-file", message, fix))
    return tuple(findings)


def _layers(
    root: Path, source: Path, document: Document, data: dict[str, Any]
) -> tuple[list[Document], Document | None, list[Finding]]:
    """Return the layers of values, network.yaml, and findings on profiles that are absent."""
    findings, folder = list[Finding](), (root / document.file).parent
    layers = [
        read(source / "chart" / "values.yaml", root),
        read(source / "base" / "values.yaml", root),
    ]
    for index, profile in enumerate(data.get("profiles", [])):
        path = source / "base" / "profiles" / f"{profile}.yaml"
        if os.path.lexists(path):
            layers.append(read(path, root))
        else:
            findings.append(_no_profile(root, source, document, index, profile))
    # lexists: a link to nothing is a mistake, not a file that is absent.
    network = yamlio.load(folder / NETWORK, root) if os.path.lexists(folder / NETWORK) else None
    if network:
        layers.append(network)
    if os.path.lexists(folder / "values.yaml"):
        layers.append(yamlio.load(folder / "values.yaml", root))
    return layers, network, findings


_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
"""The form of an environment's name, which is part of the names of objects."""


def _misnamed(document: Document, folder: str) -> Finding:
    """Return the finding for an environment whose name is not that of its folder."""
    name = document.data["name"]
    message = f"name is {name}, but the folder is overlays/{folder}"
    fix: str = advice.write("name", folder)
    if not _NAME.fullmatch(folder):
        fix = f"rename the folder to overlays/{name}"
    return document.finding("environment-name-mismatch", ["name"], message, fix)


def _check_values(root: Path, environment: Environment) -> list[Finding]:
    for layer in environment.layers:
        if not isinstance(layer.data, dict | None):
            message = "the file is a list or a text, not a mapping of values"
            fix = "write a mapping of values, for example {besu: {replicas: 2}}"
            return [layer.finding("wrong-type", [], message, fix)]
    chart, *own = environment.layers
    overlay = own[-1]
    if (file := f"overlays/{environment.name}/values.yaml") != overlay.file:
        overlay = Document(file, {}, None)

    def locate(path: list[str | int]) -> tuple[Document, list[str | int]]:
        document, inside = environment.locate(path)
        if document is not chart:
            return document, inside
        # The chart's defaults are valid by themselves, so another file makes them invalid. If that
        # is a file of base/, the environment is the place to set the value.
        for length in range(len(path) - 1, 0, -1):
            for layer in reversed(own):
                if paths.has(layer.data, path[:length]):
                    return (overlay if layer.file.startswith("base/") else layer), path
        return document, inside

    def removed(path: list[str | int], fix: str) -> Finding | None:
        return null_values.finding(environment.layers, path, fix)

    merged = coalesce(chart.data or {}, environment.values)
    path = environment.source / "chart" / "values.schema.json"
    try:
        invalid = json_schema.check_merged(merged, path, locate, removed)
        return [releases.explained(root, environment.release, each) for each in invalid]
    except (UserError, ValueError, RecursionError):
        # Not the error's own text, which could contain a value, or a path of this machine.
        message, fix = (
            "the file is not a valid JSON Schema",
            "restore chart/values.schema.json from git",
        )
        return [Finding(safe_files.name(path, root), 0, 0, "invalid-chart", message, fix)]


def _no_profile(root: Path, source: Path, document: Document, index: int, profile: str) -> Finding:
    import difflib

    folder = source / "base" / "profiles"
    entries = safe_files.entries(folder, root)
    known = [path.stem for path in entries if path.suffix == ".yaml"]
    near = difflib.get_close_matches(profile, known, 1)
    added = f"add base/profiles/{profile}.yaml"
    fix: str = added
    if near:
        fix = advice.write_value(near[0]).if_slip(profile, near[0])
    if known and not near:
        fix = f"write one of {', '.join(known)}; for a new profile, {added}"
    if source != root:
        fix = f"{fix}, in a release: promote one that has it"
    file = safe_files.name(folder / f"{profile}.yaml", root)
    message = f"unknown profile {profile}: {file} does not exist"
    return document.finding("unknown-profile", ["profiles", index], message, fix)


def _missing(path: Path, root: Path, message: str, fix: str) -> Finding:
    return Finding(safe_files.name(path, root), 0, 0, "missing-input-file", message, fix)


@lru_cache
def read(path: Path, root: Path) -> Document:
    """Return a document that environments share; it is read only once."""
    if path not in safe_files.entries(path.parent, root):
        raise UserError(_missing(path, root, "the file is missing", "restore it from git"))
    return yamlio.load(path, root)


def forget() -> None:
    """Read documents that environments share again, after they have been changed."""
    for cached in (read, _shared, _misnamed_folders):
        cached.cache_clear()
