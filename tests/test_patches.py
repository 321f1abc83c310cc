"""Patches change what they name, or say why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import patches
from scripts.findings import UserError
from scripts.manifest import Manifest
from tests.conftest import ROOT, Repository
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
    (made,) = patches.apply([manifest()], load(root, *texts))
    return made.object


def refused(root: Path, *texts: str) -> list[tuple[str, int]]:
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
def test_each_operation_does_what_the_rfc_says(
    tmp_path: Path, operations: str, ports: list[int]
) -> None:
    made = patched(tmp_path, operations)
    assert [port["port"] for port in made["spec"]["ports"]] == ports


def test_a_slash_in_a_key_is_written_with_its_escape(tmp_path: Path) -> None:
    path = "/metadata/annotations/example.com~1team"
    made = patched(
        tmp_path,
        f"- {{op: test, path: {path}, value: chain}}\n"
        f"- {{op: replace, path: {path}, value: rpc}}\n",
    )
    assert made["metadata"]["annotations"] == {"example.com/team": "rpc"}


def test_patches_are_applied_in_the_order_of_their_file_names(tmp_path: Path) -> None:
    add = "- {op: add, path: /spec/ports/-, value: {port: %d}}"
    made = patched(tmp_path, add % 1, add % 2, add % 3)
    assert [port["port"] for port in made["spec"]["ports"]] == [8545, 8546, 1, 2, 3]


def test_a_patched_manifest_says_who_changed_it(tmp_path: Path) -> None:
    add = "- {op: add, path: /spec/ports/-, value: {port: 1}}"
    (made,) = patches.apply([manifest()], load(tmp_path, add, add))
    assert made.patches == ("patches/0.yaml", "patches/1.yaml")
    assert made.origin == ("chart/templates/service.yaml and patches/0.yaml and patches/1.yaml")


def test_the_manifests_given_are_left_as_they_were(tmp_path: Path) -> None:
    before = manifest()
    patches.apply([before], load(tmp_path, "- {op: add, path: /spec/ports/-, value: {}}"))
    assert before == manifest()


def test_objects_that_no_patch_names_are_left_alone(tmp_path: Path) -> None:
    other = manifest(metadata={"name": "b"})
    found = load(tmp_path, "- {op: add, path: /spec/ports/-, value: {}}")
    assert patches.apply([other, manifest()], found)[0] is other


def test_no_folder_of_patches_is_no_patches(tmp_path: Path) -> None:
    assert patches.load(tmp_path / "patches", tmp_path) == ()


def test_a_test_allows_changes_of_its_own_path_only(tmp_path: Path) -> None:
    operations = (
        "- {op: test, path: /spec/ports/0/port, value: 8545}\n"
        "- {op: replace, path: /spec/ports/1/port, value: 1}\n"
    )
    assert refused(tmp_path, operations) == [("patch-untested", 4)]


def test_a_test_after_the_change_is_no_test_before_it(tmp_path: Path) -> None:
    operations = (
        "- {op: replace, path: /spec/ports/1/port, value: 1}\n"
        "- {op: test, path: /spec/ports/1/port, value: 1}\n"
    )
    assert refused(tmp_path, operations) == [("patch-untested", 3)]


def test_a_test_that_fails_changes_nothing_after_it(tmp_path: Path) -> None:
    operations = (
        "- {op: test, path: /spec/ports/1/port, value: 9}\n"
        "- {op: replace, path: /spec/ports/1/port, value: 1}\n"
    )
    assert refused(tmp_path, operations) == [("patch-test", 3)]


def test_mistakes_of_several_patches_are_told_together(tmp_path: Path) -> None:
    gone = "- {op: add, path: /status/a/b, value: 1}"
    nobody = "target: {kind: Pod, name: a}\npatch:\n- {op: add, path: /a, value: 1}\n"
    assert refused(tmp_path, gone, nobody) == [("patch-path", 3), ("patch-target", 1)]


def test_a_target_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    twins = [manifest(), manifest(metadata={"name": "a", "namespace": "elsewhere"})]
    found = load(tmp_path, "- {op: add, path: /spec/ports/-, value: {}}")
    with pytest.raises(UserError, match="2 objects are Service/a"):
        patches.apply(twins, found)


def test_a_test_tells_true_from_1(tmp_path: Path) -> None:
    add = "- {op: add, path: /spec/flag, value: true}\n"
    assert refused(tmp_path, add + "- {op: test, path: /spec/flag, value: 1}\n") == [
        ("patch-test", 4)
    ]


def test_the_patch_in_real_use_holds_for_prod_alone() -> None:
    def path_type(name: str) -> str:
        ingress = one(of_environment(name)[1], "Ingress", "linea-stack-besu-rpc")
        return str(ingress["spec"]["rules"][0]["http"]["paths"][0]["pathType"])

    assert (path_type("prod"), path_type("staging")) == ("Exact", "Prefix")


def test_a_patched_file_names_its_patch_on_its_first_line() -> None:
    text = (ROOT / "overlays/prod/manifests/ingress-linea-stack-besu-rpc.yaml").read_text("utf-8")
    first, _, rest = text.partition("\n")
    assert "overlays/prod/patches/rpc-only-at-the-root.yaml" in first
    assert yaml.safe_load(rest)["kind"] == "Ingress"


def test_a_patch_whose_ground_moves_fails_the_render(repository: Repository) -> None:
    repository.replace("chart/templates/_ingress.tpl", "Prefix", "ImplementationSpecific")
    done = repository.run("render", "prod")
    assert done.code == 1
    assert "patch-test" in done.out
    assert "overlays/prod/patches/rpc-only-at-the-root.yaml:7:5" in done.out
