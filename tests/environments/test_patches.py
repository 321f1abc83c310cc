"""Patches change their target, or fail with a finding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.core.findings import UserError
from scripts.environments import patches
from scripts.kubernetes.manifest import Manifest
from tests.conftest import EXAMPLE, Repository
from tests.objects import of_environment, one

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "a", "annotations": {"example.com/team": "chain"}},
    "spec": {"ports": [{"name": "rpc", "port": 8545}, {"name": "ws", "port": 8546}]},
}


def manifest(**more: Any) -> Manifest:
    return Manifest({**SERVICE, **more}, "chart/templates/service.yaml")


def load(root: Path, *texts: str) -> tuple[patches.Patch, ...]:
    folder = root / "patches"
    folder.mkdir(exist_ok=True)
    for number, text in enumerate(texts):
        head = "" if text.startswith("target") else "target: {kind: Service, name: a}\npatch:\n"
        (folder / f"{number}.yaml").write_text(head + text, "utf-8")
    return patches.load(folder, root)


def patched(root: Path, *texts: str) -> dict[str, Any]:
    (result,) = patches.apply([manifest()], load(root, *texts))
    return result.object


def findings(root: Path, *texts: str) -> list[tuple[str, int]]:
    """Return the rule and the line of each finding."""
    with pytest.raises(UserError) as error:
        patches.apply([manifest()], load(root, *texts))
    return [(finding.rule, finding.line) for finding in error.value.findings]


@pytest.mark.parametrize(
    ("operations", "ports"),
    [
        ("- {op: add, path: /spec/ports/-, value: {port: 1}}", [8545, 8546, 1]),
        ("- {op: add, path: /spec/ports/0, value: {port: 1}}", [1, 8545, 8546]),
        (
            (
                "- {op: test, path: /spec/ports/0/port, value: 8545}\n"
                "- {op: replace, path: /spec/ports/0/port, value: 1}"
            ),
            [1, 8546],
        ),
        (
            (
                "- {op: test, path: /spec/ports/0, value: {name: rpc, port: 8545}}\n"
                "- {op: remove, path: /spec/ports/0}"
            ),
            [8546],
        ),
        ("- {op: copy, from: /spec/ports/1, path: /spec/ports/0}", [8546, 8545, 8546]),
        (
            (
                "- {op: test, path: /spec/ports/0/name, value: rpc}\n"
                "- {op: test, path: /spec/ports/0, value: {name: rpc, port: 8545}}\n"
                "- {op: move, from: /spec/ports/0, path: /spec/ports/1}"
            ),
            [8546, 8545],
        ),
    ],
)
def test_each_operation_works_as_in_the_rfc(
    tmp_path: Path, operations: str, ports: list[int]
) -> None:
    result = patched(tmp_path, operations)
    assert [port["port"] for port in result["spec"]["ports"]] == ports


def test_a_slash_in_a_key_is_written_as_an_escape(tmp_path: Path) -> None:
    path = "/metadata/annotations/example.com~1team"
    result = patched(
        tmp_path,
        f"- {{op: test, path: {path}, value: chain}}\n"
        f"- {{op: replace, path: {path}, value: rpc}}\n",
    )
    assert result["metadata"]["annotations"] == {"example.com/team": "rpc"}


def test_patches_are_applied_in_the_order_of_their_file_names(tmp_path: Path) -> None:
    add = "- {op: add, path: /spec/ports/-, value: {port: %d}}"
    result = patched(tmp_path, add % 1, add % 2, add % 3)
    assert [port["port"] for port in result["spec"]["ports"]] == [8545, 8546, 1, 2, 3]


def test_a_patched_manifest_has_the_names_of_its_patches(tmp_path: Path) -> None:
    add = "- {op: add, path: /spec/ports/-, value: {port: 1}}"
    (result,) = patches.apply([manifest()], load(tmp_path, add, add))
    assert result.patches == ("patches/0.yaml", "patches/1.yaml")
    assert result.origin == ("chart/templates/service.yaml and patches/0.yaml and patches/1.yaml")


def test_the_original_manifests_do_not_change(tmp_path: Path) -> None:
    before = manifest()
    patches.apply([before], load(tmp_path, "- {op: add, path: /spec/ports/-, value: {}}"))
    assert before == manifest()


def test_objects_without_a_patch_do_not_change(tmp_path: Path) -> None:
    other = manifest(metadata={"name": "b"})
    patch = load(tmp_path, "- {op: add, path: /spec/ports/-, value: {}}")
    assert patches.apply([other, manifest()], patch)[0] is other


def test_without_a_folder_there_are_no_patches(tmp_path: Path) -> None:
    assert patches.load(tmp_path / "patches", tmp_path) == ()


def test_a_test_is_required_for_each_path(tmp_path: Path) -> None:
    operations = (
        "- {op: test, path: /spec/ports/0/port, value: 8545}\n"
        "- {op: replace, path: /spec/ports/1/port, value: 1}\n"
    )
    assert findings(tmp_path, operations) == [("patch-without-test", 4)]


def test_a_test_is_required_before_the_change(tmp_path: Path) -> None:
    operations = (
        "- {op: replace, path: /spec/ports/1/port, value: 1}\n"
        "- {op: test, path: /spec/ports/1/port, value: 1}\n"
    )
    assert findings(tmp_path, operations) == [("patch-without-test", 3)]


def test_a_failed_test_is_a_finding(tmp_path: Path) -> None:
    operations = (
        "- {op: test, path: /spec/ports/1/port, value: 9}\n"
        "- {op: replace, path: /spec/ports/1/port, value: 1}\n"
    )
    assert findings(tmp_path, operations) == [("patch-test-failed", 3)]


def test_findings_in_several_patches_are_reported_together(tmp_path: Path) -> None:
    path = "- {op: add, path: /status/a/b, value: 1}"
    target = "target: {kind: Pod, name: a}\npatch:\n- {op: add, path: /a, value: 1}\n"
    assert findings(tmp_path, path, target) == [
        ("patch-path-not-found", 3),
        ("patch-target-not-found", 1),
    ]


def test_a_target_of_which_there_are_two_is_a_finding(tmp_path: Path) -> None:
    twins = [manifest(), manifest(metadata={"name": "a", "namespace": "elsewhere"})]
    patch = load(tmp_path, "- {op: add, path: /spec/ports/-, value: {}}")
    with pytest.raises(UserError, match="the target is ambiguous: 2 objects are Service/a"):
        patches.apply(twins, patch)


def test_a_test_distinguishes_true_from_1(tmp_path: Path) -> None:
    add = "- {op: add, path: /spec/flag, value: true}\n"
    assert findings(tmp_path, add + "- {op: test, path: /spec/flag, value: 1}\n") == [
        ("patch-test-failed", 4)
    ]


def test_the_patch_of_prod_changes_prod_only() -> None:
    def path_type(name: str) -> str:
        ingress = one(of_environment(name)[1], "Ingress", "linea-stack-besu-rpc")
        return str(ingress["spec"]["rules"][0]["http"]["paths"][0]["pathType"])

    assert (path_type("prod"), path_type("staging")) == ("Exact", "Prefix")


def test_the_first_line_of_a_patched_file_names_the_patch() -> None:
    text = (EXAMPLE / "overlays/prod/manifests/ingress-linea-stack-besu-rpc.yaml").read_text(
        "utf-8"
    )
    first, _, rest = text.partition("\n")
    assert "overlays/prod/patches/rpc-only-at-the-root.yaml" in first
    assert yaml.safe_load(rest)["kind"] == "Ingress"


def test_a_render_fails_if_the_chart_changes_a_patched_value(repository: Repository) -> None:
    repository.replace("chart/templates/_ingress.tpl", "Prefix", "ImplementationSpecific")
    done = repository.run("render", "prod")
    assert done.code == 1
    assert "patch-test-failed" in done.out
    assert "overlays/prod/patches/rpc-only-at-the-root.yaml:7:5" in done.out
