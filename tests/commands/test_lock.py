"""The lock command, as far as it needs no network."""

from __future__ import annotations

from pathlib import Path

from scripts.checks import api_schemas
from scripts.commands import lock
from scripts.core import toolchain

GO_MOD = """\
module tools/kubernetes-1.34

require (
	k8s.io/api v0.34.4 // indirect
	k8s.io/kubernetes v1.34.9 // indirect
	k8s.io/utils v0.0.0-20250604170112-4c0f3b243397 // indirect
	tools/admission v1.34.4 // indirect
)

replace tools/admission => ../admission

replace (
	k8s.io/api => k8s.io/api v0.34.4
	k8s.io/kubelet => k8s.io/kubelet v0.34.4
)
"""


def test_all_that_kubernetes_releases_together_follows_its_version(tmp_path: Path) -> None:
    folder = tmp_path / "kubernetes-1.34"
    folder.mkdir()
    (folder / "go.mod").write_text(GO_MOD)
    lock.follow_kubernetes(folder)
    text = (folder / "go.mod").read_text()
    assert (
        "\tk8s.io/api => k8s.io/api v0.34.9\n\tk8s.io/kubelet => k8s.io/kubelet v0.34.9\n" in text
    )
    assert "\ttools/admission v1.34.9 // indirect\n" in text
    assert "\tk8s.io/utils v0.0.0-20250604170112-4c0f3b243397 // indirect\n" in text
    lock.follow_kubernetes(folder)
    assert (folder / "go.mod").read_text() == text


def test_committed_folders_follow_their_version_and_others_are_not_touched() -> None:
    for folder in toolchain.modules():
        before = (folder / "go.mod").read_text("utf-8")
        lock.follow_kubernetes(folder)
        assert (folder / "go.mod").read_text("utf-8") == before, folder
    pinned = {m.minor: m.version for m in api_schemas.pinned() if m.path == api_schemas.KUBERNETES}
    assert lock.built_versions().items() <= pinned.items()
