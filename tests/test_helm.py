"""The engine in this process, Helm 4 and Helm 3 are one and the same to us."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.core import toolchain
from scripts.environments import environment, layout
from scripts.kubernetes.manifest import Manifest
from scripts.rendering import helm
from tests.conftest import ROOT, Repository

CHART = ROOT / "chart"
EXAMPLES = sorted(CHART.glob("ci/*-values.yaml"))
HELMS = ("helm3", "helm4")


def canonical(objects: Iterable[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(one, sort_keys=True) for one in objects)


def ours(manifests: Iterable[Manifest]) -> list[str]:
    return canonical(manifest.object for manifest in manifests)


def theirs(tool: str, namespace: str, version: str, *arguments: str | Path) -> list[str]:
    """Return what `helm template` makes, hooks left out, as kubectl would read it."""
    call: list[str | Path] = [toolchain.tool(tool), "template", layout.RELEASE, CHART, "--no-hooks"]
    call += ["--namespace", namespace, "--kube-version", version, *arguments]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    found = yaml.load_all(done.stdout, yaml.CSafeLoader)
    return canonical(one for one in found if one)


@pytest.mark.parametrize("tool", HELMS)
@pytest.mark.parametrize("name", layout.environments(ROOT))
def test_an_environment_is_what_helm_makes_of_its_files(name: str, tool: str) -> None:
    found = environment.load(ROOT, name)
    made = helm.template(CHART, ROOT, found.values, found.namespace, found.kubernetes_version)
    files = [f"--values={ROOT / layer.file}" for layer in found.layers[1:]]
    zones = f"--set-json=zones={json.dumps(found.zones)}"
    assert ours(made) == theirs(tool, found.namespace, found.kubernetes_version, zones, *files)


@pytest.mark.parametrize("tool", HELMS)
@pytest.mark.parametrize("version", ["1.34", "1.21"])
@pytest.mark.parametrize(
    "values", [None, *EXAMPLES], ids=lambda path: path.stem if path else "none"
)
def test_the_contracts_examples_are_what_helm_makes_of_them(
    values: Path | None, version: str, tool: str
) -> None:
    data = yaml.safe_load(values.read_text("utf-8")) if values else {}
    made = helm.template(CHART, ROOT, data or {}, "linea", version)
    assert made
    arguments = [f"--values={values}"] if values else []
    assert ours(made) == theirs(tool, "linea", version, *arguments)


def test_each_template_alone_makes_what_it_makes_among_all() -> None:
    """So an experiment may ask only those whose objects it is about."""
    found = environment.load(ROOT, "prod")
    (fullest,) = (file for file in EXAMPLES if file.stem == "full-values")
    for values in (found.values, yaml.safe_load(fullest.read_text("utf-8"))):
        given = CHART, ROOT, values, found.namespace, found.kubernetes_version
        whole = helm.template(*given)
        for template in {manifest.template for manifest in whole}:
            own = [manifest for manifest in whole if manifest.template == template]
            assert helm.template(*given, frozenset({template})) == own


@pytest.mark.parametrize("tool", HELMS)
def test_the_helm_command_can_take_the_engines_place(tool: str) -> None:
    found = environment.load(ROOT, "prod")
    arguments = (CHART, found.values, found.namespace, found.kubernetes_version)
    inside, outside = helm._in_process(*arguments), helm.command(*arguments, tool=tool)

    def objects(texts: Mapping[str, str]) -> list[str]:
        rendered = [t for name, t in texts.items() if name.endswith(".yaml")]
        found = [one for text in rendered for one in yaml.load_all(text, yaml.CSafeLoader) if one]
        return canonical(found)

    assert objects(inside) == objects(outside)


@pytest.mark.parametrize("tool", HELMS)
def test_helm_finds_nothing_to_blame_in_the_chart(tool: str) -> None:
    done = subprocess.run(
        [toolchain.tool(tool), "lint", "--strict", CHART],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("tool", HELMS)
def test_helm_itself_refuses_a_value_that_the_chart_does_not_have(tool: str) -> None:
    done = subprocess.run(
        [toolchain.tool(tool), "template", "my-linea", CHART, "--set", "besu.replica=1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode
    assert "replica" in done.stderr


def test_a_release_of_another_name_names_its_objects_after_itself() -> None:
    done = subprocess.run(
        [toolchain.tool("helm4"), "template", "my-linea", CHART],
        capture_output=True,
        text=True,
        check=True,
    )
    names = {one["metadata"]["name"] for one in yaml.safe_load_all(done.stdout) if one}
    assert "my-linea-besu" in names
    assert all(name.startswith("my-linea-") for name in names)


def test_a_template_that_fails_is_told_with_the_value_that_provokes_it(
    repository: Repository,
) -> None:
    repository.write("overlays/dev/values.yaml", "besu:\n  replicas: 2\n  antiAffinity: hard\n")
    environment = (repository / "overlays/dev/environment.yaml").read_text("utf-8")
    repository.write("overlays/dev/environment.yaml", f"{environment}zones: [a]\n")
    done = repository.run("render", "dev")
    assert done.code == 1
    assert done.out.startswith("overlays/dev/values.yaml:3:3  error  template-error\n")


def test_a_machine_without_the_engine_writes_the_same_bytes(repository: Repository) -> None:
    committed = repository.files("overlays", "argocd")
    for old in repository.root.glob("overlays/*/manifests"):
        shutil.rmtree(old)
    without = "from scripts import __main__ as m; from scripts.rendering import helm"
    without += "; helm._has_engine = lambda: False"
    program = f"{without}; raise SystemExit(m.main())"
    call = [sys.executable, "-c", program, "--repository", str(repository.root), "render"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert repository.files("overlays", "argocd") == committed
