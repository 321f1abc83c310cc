"""Chart, values, Kubernetes version → objects: Helm's own engine, inside this process.

The engine comes with a wheel (helm-python-sdk) for most machines. Where there is none, the pinned
helm command does the same work; a test holds the two, and Helm 3, to the same objects.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from scripts.core import safe_files
from scripts.core.findings import Finding, UserError
from scripts.environments import layout
from scripts.kubernetes.manifest import Manifest

TIMEOUT_S = 600

_DOCUMENT = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_SOURCE = re.compile(r"^# Source: [^/]+/(.+)$", re.MULTILINE)
_DEFINE = re.compile(rb"{{-?\s*define\s")
_PLACE = re.compile(r"linea-stack/(templates/[^:\s)]+):(\d+)(?::(\d+))?")


def template(
    chart: Path,
    root: Path,
    values: dict[str, Any],
    namespace: str,
    kubernetes_version: str,
    only: frozenset[str] = frozenset(),
) -> list[Manifest]:
    """Return the chart's objects for the values, in the order of the templates; hooks left out.

    kubernetes_version: a minor version like 1.34, which the templates see as the cluster's.
    only: the templates whose objects are wanted, by their path from the root; all for none. Whether
    the others would fail is then not known.
    The values are not checked against the chart's schema: environment.load has done that.
    Raises UserError with the template's line where a template fails or writes what is no object.
    """
    _refuse_unreadable(chart, root)
    names = frozenset((root / name).relative_to(chart).as_posix() for name in only)
    given = chart, values, namespace, kubernetes_version
    try:
        texts = _in_process(*given, names) if _has_engine() else command(*given)
    except HelmError as error:
        raise UserError(_failure(chart, root, str(error))) from None
    manifests = []
    for name in sorted(names & texts.keys() if names else texts):
        if not name.endswith((".yaml", ".yml")):
            continue
        file = safe_files.name(chart / name, root)
        for text in _DOCUMENT.split(texts[name]):
            found = _object(text, file)
            if found is not None and not _is_hook(found):
                manifests.append(Manifest(found, file))
    return manifests


@lru_cache
def _refuse_unreadable(chart: Path, root: Path) -> None:
    safe_files.refuse_unreadable(chart.rglob("*"), root)


class HelmError(Exception):
    """Helm's own words on why it renders nothing."""


def _in_process(
    chart: Path,
    values: dict[str, Any],
    namespace: str,
    kubernetes_version: str,
    only: frozenset[str] = frozenset(),
) -> Mapping[str, str]:
    options = {"name": layout.RELEASE, "namespace": namespace, "kube_version": kubernetes_version}
    return _rendered(chart, only, json.dumps(values), json.dumps(options))


@lru_cache(maxsize=64)
def _rendered(chart: Path, only: frozenset[str], values: str, options: str) -> Mapping[str, str]:
    """Return the templates' texts; what is looked for in many places is asked for many times."""
    from helm_python import HelmError as NativeError
    from helm_python import _native

    # The public Chart.render() has no Kubernetes version; the call under it does.
    try:
        rendered = _native.call_string("helm_render", _chart(chart, only)._raw(), values, options)
    except NativeError as error:
        raise HelmError(str(error)) from None
    texts: dict[str, str] = json.loads(rendered)
    return {name.partition("/")[2]: text for name, text in texts.items()}


@lru_cache
def _has_engine() -> bool:
    """Return whether Helm's engine can be had in this process, and make it ready if so."""
    if not importlib.util.find_spec("helm_python"):
        return False
    # Go's collector would spend a fifth of the time on memory that this process has plenty of.
    os.environ.setdefault("GOGC", "400")
    return True


@lru_cache
def _chart(path: Path, only: frozenset[str]) -> Any:
    """Return the loaded chart, without its schema: compiling that takes two thirds of a rendering.

    The values have been checked against it when the environment was loaded.
    only: the templates to keep, beside those that others may include; all for none.
    """
    from helm_python import Chart, dependency_list
    from helm_python import HelmError as NativeError

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        shutil.copytree(path, copy, ignore=shutil.ignore_patterns("values.schema.json"))
        for file in (copy / "templates").rglob("*") if only else ():
            is_kept = file.is_dir() or file.relative_to(copy).as_posix() in only
            if not is_kept and not _DEFINE.search(file.read_bytes()):
                file.unlink()
        try:
            # The command refuses to render without them; the engine would leave them out.
            for found in dependency_list(copy):
                if found["status"] not in ("ok", "unpacked"):
                    raise HelmError(f"the dependency {found['name']} is {found['status']}")
            return Chart.load(copy)
        except NativeError as error:
            raise HelmError(str(error).replace(f"{folder}/", "")) from None


def command(
    chart: Path,
    values: dict[str, Any],
    namespace: str,
    kubernetes_version: str,
    *,
    tool: str = "helm4",
) -> dict[str, str]:
    """Return the text of each template as the pinned helm command writes it.

    tool: helm3 or helm4. Raises HelmError with its words.
    """
    from scripts.core import programs, toolchain

    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(values, file)
        file.flush()
        call: list[str | Path] = [toolchain.tool(tool), "template", layout.RELEASE, chart]
        call += ["--namespace", namespace]
        call += ["--kube-version", kubernetes_version, "--values", file.name]
        call += ["--skip-schema-validation"]
        done = programs.run(call, "helm", TIMEOUT_S, cwd=chart.parent)
    if done.returncode:
        raise HelmError(done.stderr.strip().removeprefix("Error: "))
    texts: dict[str, str] = {}
    for text in _DOCUMENT.split(done.stdout):
        if source := _SOURCE.search(text):
            name = source.group(1)
            texts[name] = f"{texts[name]}\n---\n{text}" if name in texts else text
    return texts


def _object(text: str, file: str) -> dict[str, Any] | None:
    encoded = _to_json(text, file)
    found = json.loads(encoded)
    if not found:
        return None
    if not isinstance(found.get("kind"), str) or not isinstance(found.get("apiVersion"), str):
        message = f"the template writes something without apiVersion and kind: {encoded[:80]}"
        fix = "write a Kubernetes object, or nothing"
        raise UserError(Finding(file, 0, 0, "template-output", message, fix))
    return dict(found)


@lru_cache(maxsize=4096)
def _to_json(text: str, file: str) -> str:
    """Return a document as JSON; environments share most of their texts, so each is parsed once.

    The reader is the one that Helm, kubectl and Argo CD use (sigs.k8s.io/yaml), so that what is
    checked here is what they will see; without the wheel it is PyYAML.
    """
    if _has_engine():
        from helm_python import HelmError as NativeError
        from helm_python import _native

        try:
            return _native.call_string("helm_values_from_yaml", text)
        except NativeError as error:
            told = str(error)
    else:
        import yaml

        try:
            return json.dumps(yaml.load(text, yaml.CSafeLoader) or {}, default=str)
        except (yaml.YAMLError, ValueError) as error:
            told = str(error)
    message = f"what the template writes is no YAML: {told}"
    raise UserError(
        Finding(file, 0, 0, "template-output", message, "mend the template's indentation or quotes")
    )


def _is_hook(found: dict[str, Any]) -> bool:
    metadata = found.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    return isinstance(annotations, dict) and "helm.sh/hook" in annotations


def _failure(chart: Path, root: Path, told: str) -> Finding:
    place = _PLACE.search(told)
    folder = safe_files.name(chart, root)
    if not place:
        file, fix = f"{folder}/Chart.yaml", f"mend the chart: `helm lint {folder}` must be content"
        return Finding(file, 0, 0, "chart", told, fix)
    file, line = f"{folder}/{place.group(1)}", int(place.group(2))
    # Helm chains the templates that it came through; what the chart says stands at the end.
    said = told.rpartition("): ")[2] if "execution error at" in told else told
    fix = "mend the template, or give the values that it asks for"
    return Finding(file, line, 0, "template-error", said, fix)
