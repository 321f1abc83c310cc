"""Render the chart with Helm's own engine, inside this process.

The engine comes with a wheel (helm-python-sdk) for most platforms. Without it, the pinned helm
command does the same work. A test checks that both, and Helm 3, render the same objects.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from scripts.core import safe_files
from scripts.core.findings import Finding, UserError
from scripts.core.schema_messages import as_fix
from scripts.environments import layout
from scripts.kubernetes.manifest import Manifest
from scripts.rendering import chart_files, documents, vendored

TIMEOUT_S = 600

_SOURCE = re.compile(r"^# Source: [^/]+/(.+)$", re.MULTILINE)
_DEFINE = re.compile(rb"{{-?\s*define\s")
_TESTS = ("test", "test-success", "test-failure")
_SCHEMA = re.compile(r"specifications of the schema\(s\).*:\n(\S+):\n((?:- .*\n?)+)")
_DEPENDENCY = re.compile(r"linea-stack/charts/([^/\s]+)/")
_POSITION = re.compile(r"linea-stack/(templates/[^:\s)]+):(\d+)(?::(\d+))?")


def template(
    chart: Path,
    root: Path,
    values: dict[str, Any],
    namespace: str,
    kubernetes_version: str,
    only: frozenset[str] = frozenset(),
) -> list[Manifest]:
    """Return the chart's objects for the values, in the order of the templates, without tests.

    kubernetes_version: the cluster's minor version for the templates, like 1.34.
    only: paths from the root of the templates to render; empty renders all. The others are not
    rendered, so their errors stay unknown.
    The values are not checked against the chart's schema: environment.load does that.
    Raises UserError with the template's line if a template fails or renders no valid object.
    """
    chart_files.reject(chart, root)
    archives = vendored.archives(chart, root)
    folder = _unreleased(chart, root)
    names = frozenset(name.removeprefix(f"{folder}/") for name in only)
    arguments = chart, values, namespace, kubernetes_version
    try:
        texts = _in_process(*arguments, names) if _has_engine() else command(*arguments)
    except HelmError as error:
        raise UserError(_failure(chart, root, str(error))) from None
    manifests = []
    for name in sorted(texts):
        # All templates of an archive are one file to people.
        source = _archive(name, archives) or name
        if not name.endswith((".yaml", ".yml")) or (names and source not in names):
            continue
        file = safe_files.name(chart / source, root)
        for text in documents.split(texts[name]):
            data = _object(text, file, namespace)
            if data is not None and not _is_test(data):
                manifests.append(Manifest(data, f"{folder}/{source}"))
    return manifests


def _archive(template: str, archives: Mapping[str, str]) -> str:
    """Return the archive that a template is from; empty for a template of a file."""
    first, _, inner = template.partition("/")
    archive = archives.get(inner.partition("/")[0]) if first == vendored.FOLDER else None
    return f"{vendored.FOLDER}/{archive}" if archive else ""


def _unreleased(chart: Path, root: Path) -> str:
    """Return the name of a chart's folder, without the release that it is of.

    The manifest of a template has the same header in all releases, so that a promotion changes only
    the files of objects that change.
    """
    return safe_files.name(chart, root).partition("@")[0]


CORRECT = "correct the template; if it needs a new value, add that to chart/values.yaml"
"""What to do if a template fails with a message that is not the chart's own."""


class HelmError(Exception):
    """An error of Helm, with Helm's message."""


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
    """Return template → its text; cached, as provenance asks for the same renderings often."""
    from helm_python import HelmError as NativeError
    from helm_python import _native

    # Not the public Chart.render(), which has no parameter for the Kubernetes version.
    try:
        # A rendering removes disabled dependencies from the loaded chart, so the next one needs
        # another.
        load = _chart.__wrapped__ if (chart / vendored.FOLDER).is_dir() else _chart
        loaded = load(chart, only)
        rendered = _native.call_string("helm_render", loaded._raw(), values, options)
    except NativeError as error:
        raise HelmError(str(error)) from None
    texts: dict[str, str] = json.loads(rendered)
    return {name.partition("/")[2]: text for name, text in texts.items()}


@lru_cache
def _has_engine() -> bool:
    """Return whether Helm's engine is installed; the noxfile has the settings of Go for it."""
    return importlib.util.find_spec("helm_python") is not None


@lru_cache
def _chart(path: Path, only: frozenset[str]) -> Any:
    """Return the loaded chart without its schema, which would take two thirds of a rendering.

    environment.load has checked the values against the schema.
    only: the templates to keep, apart from those with definitions; empty keeps all.
    """
    from helm_python import Chart, dependency_list
    from helm_python import HelmError as NativeError

    def left_out(folder: str, names: list[str]) -> list[str]:
        inner = Path(folder).relative_to(path).as_posix()
        if not only or inner.partition("/")[0] != "templates":
            return [name for name in names if name == "values.schema.json"]
        files = [name for name in names if f"{inner}/{name}" not in only]
        return [name for name in files if _defines_nothing(Path(folder, name))]

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        shutil.copytree(path, copy, ignore=left_out, copy_function=shutil.copyfile)
        try:
            # As the helm command does; the engine would render without missing dependencies.
            for dependency in dependency_list(copy):
                if dependency["status"] not in ("ok", "unpacked"):
                    name, status = dependency["name"], dependency["status"]
                    raise HelmError(f"the dependency {name} is {status}")
            return Chart.load(copy)
        except NativeError as error:
            raise HelmError(str(error).replace(f"{folder}/", "")) from None


def _defines_nothing(file: Path) -> bool:
    return file.is_file() and not _DEFINE.search(file.read_bytes())


def command(
    chart: Path,
    values: dict[str, Any],
    namespace: str,
    kubernetes_version: str,
    *,
    tool: str = "helm4",
) -> dict[str, str]:
    """Return template → its text, as the pinned helm command renders it.

    tool: helm3 or helm4. Raises HelmError with its message.
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
    for text in documents.split(done.stdout):
        if source := _SOURCE.search(text):
            name = source.group(1)
            texts[name] = f"{texts[name]}\n---\n{text}" if name in texts else text
    return texts


def package(chart: Path, folder: Path) -> Path:
    """Pack a chart into a folder, and return the archive; raises HelmError with its message."""
    if _has_engine():
        import helm_python

        try:
            return Path(helm_python.package(chart, destination=folder))
        except helm_python.HelmError as error:
            raise HelmError(str(error)) from None
    from scripts.core import programs, toolchain

    call: list[str | Path] = [toolchain.tool("helm4"), "package", chart, "--destination", folder]
    done = programs.run(call, "helm", TIMEOUT_S, cwd=chart.parent)
    if done.returncode:
        raise HelmError(done.stderr.strip().removeprefix("Error: "))
    return next(folder.glob("*.tgz"))


def _object(text: str, file: str, namespace: str) -> dict[str, Any] | None:
    try:
        data = documents.data(text, _to_json, namespace)
    except ValueError as error:
        raise UserError(_invalid(file, str(error))) from None
    if not data:
        return None
    if not isinstance(data.get("kind"), str) or not isinstance(data.get("apiVersion"), str):
        text = json.dumps(data, separators=(",", ":"))
        message = f"the template renders data without apiVersion and kind: {text[:80]}"
        fix = "write apiVersion and kind in the template, or render nothing"
        raise UserError(Finding(file, 0, 0, "invalid-template-output", message, fix))
    return dict(data)


def _to_json(text: str) -> str:
    """Return a YAML document as JSON; raises ValueError if it is not a mapping.

    The parser is that of Helm, kubectl and Argo CD (sigs.k8s.io/yaml), so that the checks see what
    these tools will see; without the wheel it is PyYAML.
    """
    if _has_engine():
        from helm_python import HelmError as NativeError
        from helm_python import _native

        try:
            return _native.call_string("helm_values_from_yaml", text)
        except NativeError as error:
            raise ValueError(str(error)) from None
    import yaml

    try:
        data = yaml.load(text, yaml.CSafeLoader) or {}
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    if not isinstance(data, dict):
        raise ValueError("cannot unmarshal")  # as Helm's parser says it
    return json.dumps(data, default=str)


def _invalid(file: str, problem: str) -> Finding:
    """Return the finding for a document that is not a mapping in YAML."""
    message = f"the template renders invalid YAML: {problem}"
    fix = "correct the indentation or quotes in the template"
    if "cannot unmarshal" in problem:
        message = "the template renders a list or a plain value, not a Kubernetes object"
        fix = "write a mapping with apiVersion, kind and metadata in the template"
    elif "aliasing" in problem:
        fix = "write values instead of aliases (*name) in the template"
    return Finding(file, 0, 0, "invalid-template-output", message, fix)


def _is_test(data: dict[str, Any]) -> bool:
    """Return whether only `helm test` creates the object; Argo CD runs Helm's other hooks."""
    metadata = data.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    hook = annotations.get("helm.sh/hook") if isinstance(annotations, dict) else None
    return isinstance(hook, str) and hook.partition(",")[0].strip() in _TESTS


def _failure(chart: Path, root: Path, problem: str) -> Finding:
    """Return the finding for a message of Helm."""
    position = _POSITION.search(problem)
    if not position:
        folder, file = _unreleased(chart, root), safe_files.name(chart / "Chart.yaml", root)
        fix = f"correct the chart until `helm lint {folder}` passes"
        if problem.startswith("the dependency "):
            fix = f"run helm dependency build {folder}, or remove it from dependencies in {file}"
        elif of_schema := _SCHEMA.search(problem):
            name, wrong = of_schema.group(1), "; ".join(re.findall("- (.*)", of_schema.group(2)))
            problem = f"the schema of the dependency {name} rejects its values: {wrong}"
            fix = f"write below {name} what its values.schema.json accepts"
        elif of_dependency := _DEPENDENCY.search(problem):
            name = of_dependency.group(1)
            fix = f"write other values below {name}, or use another version of this chart"
        elif problem == "Chart.yaml file is missing":
            fix = f"restore {file} from git"
        return Finding(file, 0, 0, "invalid-chart", problem, fix)
    file = safe_files.name(chart / position.group(1), root)
    line = int(position.group(2))
    # The message of the chart's `fail` comes after the chain of including templates.
    message, fix = problem, CORRECT
    if "execution error at" in problem:
        # The chart's own message: what is wrong, and in its last sentence what to write.
        message, stop, instruction = problem.rpartition("): ")[2].rpartition(". ")
        message, fix = (message, as_fix(instruction)) if stop else (instruction, fix)
    return Finding(file, line, 0, "template-error", message, fix)
