"""The engine in this process, Helm 4 and Helm 3 render the same objects."""

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

from scripts.environments import environment, layout
from scripts.kubernetes.manifest import Manifest
from scripts.rendering import helm
from tests import optional_tools
from tests.conftest import EXAMPLE, ROOT, Repository

CHART = ROOT / "chart"
EXAMPLES = sorted(CHART.glob("ci/*-values.yaml"))
HELMS = ("helm3", "helm4")


def canonical(objects: Iterable[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(data, sort_keys=True) for data in objects)


def ours(manifests: Iterable[Manifest]) -> list[str]:
    return canonical(manifest.object for manifest in manifests)


def theirs(tool: str, namespace: str, version: str, *arguments: str | Path) -> list[str]:
    """Return the objects that `helm template` renders, without hooks."""
    call: list[str | Path] = [
        optional_tools.tool(tool),
        "template",
        layout.RELEASE,
        CHART,
        "--no-hooks",
    ]
    call += ["--namespace", namespace, "--kube-version", version, *arguments]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    return canonical(data for data in yaml.load_all(done.stdout, yaml.CSafeLoader) if data)


@pytest.mark.parametrize("tool", HELMS)
@pytest.mark.parametrize("name", layout.environments(EXAMPLE))
def test_helm_renders_the_same_objects_for_an_environment(name: str, tool: str) -> None:
    loaded = environment.load(EXAMPLE, name)
    namespace, version = loaded.namespace, loaded.kubernetes_version
    manifests = helm.template(CHART, ROOT, loaded.values, namespace, version)
    files = [f"--values={EXAMPLE / layer.file}" for layer in loaded.layers[1:]]
    zones = f"--set-json=zones={json.dumps(loaded.zones)}"
    assert ours(manifests) == theirs(tool, namespace, version, zones, *files)


@pytest.mark.parametrize("tool", HELMS)
@pytest.mark.parametrize("version", ["1.34", "1.21"])
@pytest.mark.parametrize(
    "values", [None, *EXAMPLES], ids=lambda path: path.stem if path else "none"
)
def test_helm_renders_the_same_objects_for_the_charts_examples(
    values: Path | None, version: str, tool: str
) -> None:
    data = yaml.safe_load(values.read_text("utf-8")) if values else {}
    manifests = helm.template(CHART, ROOT, data or {}, "linea", version)
    assert manifests
    arguments = [f"--values={values}"] if values else []
    assert ours(manifests) == theirs(tool, "linea", version, *arguments)


def test_each_template_alone_renders_the_same_objects_as_among_all() -> None:
    """So an experiment of provenance may render only some templates."""
    loaded = environment.load(EXAMPLE, "prod")
    (fullest,) = (file for file in EXAMPLES if file.stem == "full-values")
    for values in (loaded.values, yaml.safe_load(fullest.read_text("utf-8"))):
        arguments = CHART, ROOT, values, loaded.namespace, loaded.kubernetes_version
        manifests = helm.template(*arguments)
        for template in {manifest.template for manifest in manifests}:
            own = [manifest for manifest in manifests if manifest.template == template]
            assert helm.template(*arguments, frozenset({template})) == own


@pytest.mark.parametrize("tool", HELMS)
def test_the_helm_command_renders_the_same_objects_as_the_engine(tool: str) -> None:
    loaded = environment.load(EXAMPLE, "prod")
    arguments = (CHART, loaded.values, loaded.namespace, loaded.kubernetes_version)
    inside, outside = helm._in_process(*arguments), helm.command(*arguments, tool=tool)

    def objects(texts: Mapping[str, str]) -> list[str]:
        rendered = [t for name, t in texts.items() if name.endswith(".yaml")]
        return canonical(
            data for text in rendered for data in yaml.load_all(text, yaml.CSafeLoader) if data
        )

    assert objects(inside) == objects(outside)


@pytest.mark.parametrize("tool", HELMS)
def test_helm_lint_passes(tool: str) -> None:
    done = subprocess.run(
        [optional_tools.tool(tool), "lint", "--strict", CHART],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("tool", HELMS)
def test_helm_itself_rejects_an_unknown_value(tool: str) -> None:
    done = subprocess.run(
        [optional_tools.tool(tool), "template", "my-linea", CHART, "--set", "besu.replica=1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode
    assert "replica" in done.stderr


VALIDATORS = yaml.safe_load((CHART / "ci" / "full-values.yaml").read_text())["network"][
    "validators"
]


@pytest.mark.parametrize("tool", HELMS)
@pytest.mark.parametrize(
    ("release", "values", "message"),
    [
        (
            "my.linea",
            {},
            "names of Services that begin with my.linea, which",
        ),
        ("1linea", {}, "names of Services that begin with 1linea, which"),
        (
            "my-linea",
            {
                "network": {"validators": VALIDATORS[:2]},
                "sequencer": {"replicas": 2},
                "maru": {"replicas": 2},
            },
            "Write 1, or 4 or more, for sequencer.replicas and maru.replicas; to accept",
        ),
        (
            "my-linea",
            {"besu": {"enabled": False}},
            "txSender.rpc.service is besu, but besu.enabled is false",
        ),
        (
            "my-linea",
            {"txSender": {"amount": 10**18}},
            'Helm rounds. Write txSender.amount in quotes, for example "1000000000000000000"',
        ),
        (
            "my-linea",
            {"maru": {"podDisruptionBudget": {"minAvailable": 2}}},
            "maru.podDisruptionBudget.minAvailable is 2 of 1 pods",
        ),
    ],
)
def test_helm_itself_says_what_to_write(
    release: str, values: dict[str, Any], message: str, tool: str, tmp_path: Path
) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(json.dumps(values), "utf-8")
    call = [str(optional_tools.tool(tool)), "template", release, str(CHART), f"--values={file}"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode
    assert message in done.stderr


def notes(values: dict[str, Any]) -> str:
    """Return what Helm says after an installation."""
    return helm._in_process(CHART, values, "linea", "1.34")["templates/NOTES.txt"]


def test_the_contract_s_budget_is_accepted_with_a_warning() -> None:
    values = {"sequencer": {"podDisruptionBudget": {"minAvailable": 1}}}
    made = helm.template(CHART, ROOT, values, "linea", "1.34")
    (budget,) = [m for m in made if m.label == "PodDisruptionBudget/linea-stack-sequencer"]
    assert budget.object["spec"]["minAvailable"] == 1
    warning = "WARNING: sequencer.podDisruptionBudget.minAvailable is 1, but sequencer has only one"
    assert warning in notes(values)
    assert "minAvailable" not in notes({})


def test_who_installs_a_release_reads_that_a_second_one_would_share_its_keys() -> None:
    assert "another release in this namespace would use the same keys" in notes({})
    off = {"enabled": False}
    nobody = {"sequencer": off, "maru": off}
    assert "another release" not in notes(nobody)


def test_the_objects_of_a_release_have_its_name() -> None:
    done = subprocess.run(
        [optional_tools.tool("helm4"), "template", "my-linea", CHART],
        capture_output=True,
        text=True,
        check=True,
    )
    objects = [data for data in yaml.safe_load_all(done.stdout) if data]
    names = {data["metadata"]["name"] for data in objects}
    assert "my-linea-besu" in names
    assert all(name.startswith("my-linea-") for name in names)


def test_a_template_error_names_the_value_that_causes_it(
    repository: Repository,
) -> None:
    repository.write("overlays/dev/values.yaml", "besu:\n  replicas: 2\n  antiAffinity: hard\n")
    environment = (repository / "overlays/dev/environment.yaml").read_text("utf-8")
    repository.write("overlays/dev/environment.yaml", f"{environment}zones: [a]\n")
    done = repository.run("render", "dev")
    assert done.code == 1
    assert done.out.startswith("overlays/dev/values.yaml:3:3  error  template-error\n")


def test_without_the_engine_a_render_writes_the_same_bytes(repository: Repository) -> None:
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
