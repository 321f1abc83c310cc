"""Go modules → JSON Schemas for kubeconform: Kubernetes' own API, and the custom resources we use.

tools/schemas/go.sum lists the available modules with their checksums: one patch version of each
minor version of Kubernetes, and one version of each operator. A module is downloaded into a
temporary folder (Kubernetes' has 107 MB); only the schemas are kept, 1 MB a version.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from scripts.checks import openapi
from scripts.core import progress, tool_store, toolchain
from scripts.core.findings import UsageError, UserError
from scripts.environments import custom_kinds

PINS = toolchain.PINS / "schemas"
STORE = toolchain.STORE / "schemas"

KUBERNETES = "k8s.io/kubernetes"
OPENAPI = "api/openapi-spec/swagger.json"
CUSTOM_RESOURCES = {
    "github.com/argoproj/argo-cd/v3": "manifests/crds/*-crd.yaml",
    "github.com/external-secrets/external-secrets": "config/crds/bases/*.yaml",
    "github.com/kubernetes-csi/external-snapshotter/client/v8": "config/crd/*.yaml",
    "github.com/prometheus-operator/prometheus-operator": "example/prometheus-operator-crd/*.yaml",
}
"""Module → the files of its CustomResourceDefinitions."""
DEFINITIONS = "definitions"
"""The folder that keeps a module's CustomResourceDefinitions unchanged: one file a kind."""
_KIND = re.compile(r"^  names:\n(?: {4}.*\n)*? {4}kind: (\w+)$", re.MULTILINE)
SARIF = "github.com/owenrumney/go-sarif/v3"
_SARIF_FILE = "pkg/report/v210/sarif/schema.go"
"""A Go file with the whole schema of the standard in a string constant."""


@dataclass(frozen=True, slots=True, order=True)
class Module:
    """A pinned module that is used for its files, not for its code."""

    path: str
    version: str
    """Like v1.34.4."""
    sums: tuple[str, str]
    """The two lines of go.sum about it: of its files, and of its go.mod."""

    @property
    def minor(self) -> str:
        """Like 1.34."""
        return ".".join(self.version.removeprefix("v").split(".")[:2])

    @property
    def folder(self) -> Path:
        """The folder of its schemas; the name depends on the checksums and on the generator."""
        parts = [Path(openapi.__file__).read_bytes(), *(line.encode() for line in self.sums)]
        if self.path in CUSTOM_RESOURCES:
            parts.append(DEFINITIONS.encode())
        key = toolchain.digest(*parts)
        return STORE / f"{self.path.replace('/', '-')}-{self.version}-{key}"


def locations(kubernetes_version: str) -> list[str]:
    """Return the -schema-location arguments for a minor version like 1.34.

    Makes missing schemas. Raises UsageError if the version is not pinned or cannot be downloaded.
    """
    wanted = _wanted([kubernetes_version])
    ensure([kubernetes_version])
    return [f"{module.folder}/{openapi.LOCATION}" for module in wanted]


def ensure(kubernetes_versions: Iterable[str]) -> None:
    """Make the missing schemas of the minor versions and of the custom resources.

    Raises UsageError as locations() does.
    """
    _ensure(_wanted(kubernetes_versions))


def definitions() -> dict[str, Path]:
    """Return kind → the file of its CustomResourceDefinition; makes missing files."""
    wanted = [module for module in pinned() if module.path in CUSTOM_RESOURCES]
    _ensure(wanted)
    files = (file for module in wanted for file in (module.folder / DEFINITIONS).iterdir())
    return {file.stem: file for file in files}


@lru_cache
def own(root: Path) -> Mapping[str, openapi.Schema]:
    """Return the schemas of the kinds that base/crds/ defines, by the name of their file.

    Raises UserError for a file there that is not a CustomResourceDefinition.
    """
    schemas = dict[str, openapi.Schema]()
    for definition in custom_kinds.load(root):
        try:
            schemas |= openapi.custom(definition.data)
        except (AttributeError, KeyError, TypeError):
            message = f"the schema of the kind {definition.kind} is not that of a definition"
            raise UserError(custom_kinds.invalid(definition.file, message)) from None
    return schemas


def sarif() -> Path:
    """Return the file of the schema of SARIF 2.1.0; makes it if it is missing."""
    (module,) = (module for module in pinned() if module.path == SARIF)
    _ensure([module])
    return module.folder / "sarif.json"


def _ensure(wanted: Sequence[Module]) -> None:
    if all(module.folder.is_dir() for module in wanted):
        return
    with toolchain.locked():
        for module in wanted:
            if not module.folder.is_dir():
                _make(module)


def versions() -> list[str]:
    """Return the pinned minor versions of Kubernetes, oldest first."""
    return [module.minor for module in pinned() if module.path == KUBERNETES]


def pinned() -> list[Module]:
    """Return the modules that go.sum pins, sorted by path and version."""
    sums = (PINS / "go.sum").read_text("utf-8").splitlines()
    lines = {
        (path, version): f"{path} {version} {h1}" for path, version, h1 in map(str.split, sums)
    }
    modules = [
        Module(path, version, (line, lines[path, f"{version}/go.mod"]))
        for (path, version), line in lines.items()
        if not version.endswith("/go.mod")
    ]
    return sorted(modules, key=lambda m: (m.path, [int(n) for n in re.findall(r"\d+", m.version)]))


def _wanted(kubernetes_versions: Iterable[str]) -> list[Module]:
    modules = pinned()
    by_minor = {module.minor: module for module in modules if module.path == KUBERNETES}
    wanted = []
    for version in dict.fromkeys(kubernetes_versions):
        if version not in by_minor:
            raise UsageError(
                f"Kubernetes {version} is not pinned, so there are no schemas for it; pinned are"
                f" {', '.join(by_minor)}. Add it: nox -s lock -- --kubernetes {version}"
            )
        wanted.append(by_minor[version])
    return wanted + [module for module in modules if module.path in CUSTOM_RESOURCES]


def _make(module: Module) -> None:
    STORE.mkdir(parents=True, exist_ok=True)
    with toolchain.scratch() as temporary:
        schemas, shared = temporary / "schemas", f"schemas-{module.folder.name}"
        if not tool_store.take(shared, schemas):
            with progress.progress(f"making schemas of {module.path} {module.version}"):
                _write(module, fetch(module, temporary), schemas)
            tool_store.add(shared, schemas)
        for other in STORE.glob(f"{module.path.replace('/', '-')}-v{module.minor}.*"):
            shutil.rmtree(other, ignore_errors=True)
        os.replace(schemas, module.folder)


def _write(module: Module, source: Path, schemas: Path) -> None:
    """Write the schemas of a downloaded module into a new folder."""
    if module.path in CUSTOM_RESOURCES:
        (schemas / DEFINITIONS).mkdir(parents=True)
        for file in source.glob(CUSTOM_RESOURCES[module.path]):
            if kind := _KIND.search(file.read_text("utf-8")):
                shutil.copyfile(file, schemas / DEFINITIONS / f"{kind.group(1)}.yaml")
    for name, schema in _schemas(module, source):
        file = schemas / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(schema, separators=(",", ":"), sort_keys=True))


def fetch(module: Module, folder: Path) -> Path:
    """Download a module into the folder, verify it, and return the folder of its files.

    The caller holds the lock. Raises UsageError if the checksum differs from go.sum.
    """
    shutil.copy(PINS / "go.sum", folder / "go.sum")
    (folder / "go.mod").write_text(go_mod())
    downloaded = download(folder, f"{module.path}@{module.version}", f"schemas of {module.path}")
    if f"{module.path} {module.version} {downloaded['Sum']}" != module.sums[0]:
        raise UsageError(
            f"the checksum of {module.path} {module.version} differs from tools/schemas/go.sum, so"
            " the download is not used: try again; if it fails again, the module was changed"
        )
    return Path(downloaded["Dir"])


def go_mod() -> str:
    """Return a go.mod for one download; that of tools/schemas would fetch all it requires."""
    least = re.search(r"^go \S+$", (PINS / "go.mod").read_text("utf-8"), re.MULTILINE)
    assert least is not None
    return f"module schemas\n\n{least.group()}\n"


def download(folder: Path, module: str, making: str) -> dict[str, str]:
    """Download a module (path@version), and return the output of `go mod download -json`.

    The folder holds a go.mod, and the go.sum that the download must match.
    """
    arguments = ["mod", "download", "-json", module]
    output = toolchain.go(arguments, folder, making, PINS / "go.sum", modules=folder / "modules")
    downloaded: dict[str, str] = json.loads(output)
    return downloaded


def _schemas(module: Module, folder: Path) -> Iterator[tuple[str, openapi.Schema]]:
    if module.path == KUBERNETES:
        yield from openapi.kubernetes(json.loads((folder / OPENAPI).read_bytes()))
        return
    if module.path == SARIF:
        yield "sarif.json", json.loads((folder / _SARIF_FILE).read_text("utf-8").split("`")[1])
        return
    import yaml

    class Loader(yaml.CSafeLoader):
        # `=` is a string for every parser except PyYAML.
        yaml_constructors: ClassVar[dict[str | None, Any]] = {
            **yaml.CSafeLoader.yaml_constructors,
            "tag:yaml.org,2002:value": yaml.CSafeLoader.construct_yaml_str,
        }

    for file in sorted(folder.glob(CUSTOM_RESOURCES[module.path])):
        definition = yaml.load(file.read_bytes(), Loader)  # noqa: S506 - it is a safe one
        if definition.get("kind") == "CustomResourceDefinition":
            yield from openapi.custom(definition)
