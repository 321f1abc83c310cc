"""The kinds of other operators: CustomResourceDefinitions in base/crds/, as projects publish them.

They are not rendered: an administrator of the cluster installs an operator. Here they say which
fields an object of such a kind may have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import yaml

from scripts.core import paths, safe_files, yamlio
from scripts.core.findings import Finding, UserError
from scripts.environments.input_folders import Kind, files

FOLDER = "base/crds"

_RULE = "invalid-crd-file"
_FILES = Kind(_RULE, "definition", "read")


@dataclass(frozen=True, slots=True)
class Definition:
    """A CustomResourceDefinition."""

    file: str
    group: str
    kind: str
    is_cluster_scoped: bool
    data: dict[str, Any]


class _Loader(yaml.CSafeLoader):
    """Reads `=` as a string, as every parser but PyYAML does: definitions have it in enums."""

    yaml_constructors: ClassVar[dict[str | None, Any]] = {
        **yaml.CSafeLoader.yaml_constructors,
        "tag:yaml.org,2002:value": yaml.CSafeLoader.construct_yaml_str,
    }


@lru_cache
def load(root: Path) -> tuple[Definition, ...]:
    """Return the definitions of base/crds/; raises UserError with all findings."""
    definitions, findings = list[Definition](), list[Finding]()
    for path in files(root / FOLDER, root, _FILES):
        if isinstance(path, Finding):
            findings.append(path)
            continue
        try:
            definitions += _of_file(path, root)
        except UserError as error:
            findings += error.findings
    if findings:
        raise UserError(*findings)
    return tuple(definitions)


def _of_file(path: Path, root: Path) -> Iterator[Definition]:
    file = safe_files.name(path, root)
    text = safe_files.read(path, root).decode("utf-8-sig", "replace")
    try:
        # Others write these files, so they may use all of YAML.
        documents = [d for d in yaml.load_all(text, _Loader) if d is not None]
    except yaml.MarkedYAMLError as error:
        raise UserError(yamlio.syntax(error, file, text)) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UserError(invalid(file, "the file is not valid YAML")) from None
    if not documents:
        raise UserError(invalid(file, "the file has no definition"))
    for data in documents:
        yield _definition(file, data)


_LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_GROUP = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})+")
_KIND = re.compile("[A-Za-z]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?")
_VERSION = re.compile("[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
"""The names that the API server accepts. They become the name of the schema's file."""

_TYPES: dict[tuple[str, ...], type] = {
    ("spec", "group"): str,
    ("spec", "names", "kind"): str,
    ("spec", "scope"): str,
    ("spec", "versions"): list,
}


def _definition(file: str, data: Any) -> Definition:
    kind = data.get("kind") if isinstance(data, dict) else None
    if kind != "CustomResourceDefinition":
        what = f"the kind {kind}" if isinstance(kind, str) else "a document without a kind"
        raise UserError(invalid(file, f"the file has {what}, not only CustomResourceDefinitions"))
    if data.get("apiVersion") != "apiextensions.k8s.io/v1":
        message = f"the definition has apiVersion {data.get('apiVersion')}, which Kubernetes 1.22"
        raise UserError(invalid(file, f"{message} removed"))
    versions = paths.get(data, ("spec", "versions"))
    are_whole = isinstance(versions, list) and all(
        isinstance(paths.get(each, ("schema", "openAPIV3Schema")), dict)
        and isinstance(paths.get(each, ("name",)), str)
        and isinstance(paths.get(each, ("served",)), bool)
        for each in versions
    )
    for path, type_ in _TYPES.items():
        if not isinstance(paths.get(data, path), type_) or not are_whole:
            name = ".".join(path) if are_whole else "a schema in spec.versions"
            raise UserError(invalid(file, f"the definition lacks {name}"))
    spec = data["spec"]
    names = [(_GROUP, spec["group"], "group"), (_KIND, spec["names"]["kind"], "kind")]
    names += [(_VERSION, version["name"], "version") for version in versions]
    for form, name, what in names:
        if not form.fullmatch(name):
            raise UserError(invalid(file, f"{name!r} is not a valid {what} of a definition"))
    is_cluster_scoped = spec["scope"] == "Cluster"
    return Definition(file, spec["group"], spec["names"]["kind"], is_cluster_scoped, data)


def invalid(file: str, message: str) -> Finding:
    """Return the finding for a file that is not what base/crds/ is for."""
    fix = "write the CustomResourceDefinitions (apiextensions.k8s.io/v1) as the operator's project"
    return Finding(file, 0, 0, _RULE, message, f"{fix} publishes them, and nothing else")
