"""An environment that moves starts elsewhere, and everything stays where it was."""

from __future__ import annotations

import re

import pytest

from scripts.impact import predict
from scripts.impact.formats import text
from scripts.output import git_revision
from tests.conftest import Repository
from tests.git import commit, git


@pytest.fixture
def kept(repository: Repository) -> Repository:
    """Return a copy of this repository, committed to git."""
    git(repository.root, "init", "-q", "-b", "main")
    commit(repository.root)
    return repository


OF_PODS = re.compile(r"restart|replaced|quota|drops|may (now|no longer) connect|created")


def move(repository: Repository, old: str, new: str) -> str:
    """Return the report of a change of all places of dev's output."""
    folder = repository.root / "overlays/dev/manifests"
    argocd = [f"argocd/{kind}/dev.yaml" for kind in ("applications", "projects")]
    for file in (*folder.iterdir(), *(repository.root / name for name in argocd)):
        file.write_text(file.read_text("utf-8").replace(old, new), "utf-8")
    report = predict.impact(repository.root, "main")
    (impact,) = report.environments
    assert impact.what == "moved"
    assert (impact.components, impact.steps, impact.outcome) == ((), (), None)
    assert {each.name.partition("/")[0] for each in impact.objects} <= {"Application", "AppProject"}
    shown = " ".join(text.text(report).split())
    assert "dev: moves to another place" in shown
    return shown


def test_another_namespace_is_new_and_the_old_objects_stay(kept: Repository) -> None:
    shown = move(kept, "namespace: linea-dev\n", "namespace: linea-dev-2\n")
    assert "objects are new in namespace linea-dev-2: its pods start with empty volumes" in shown
    assert "objects stay in namespace linea-dev, and their pods keep running" in shown
    assert "the chain forks" in shown
    assert not OF_PODS.search(shown)


def test_another_cluster_is_new_and_the_old_objects_stay(kept: Repository) -> None:
    shown = move(
        kept, "server: https://kubernetes.default.svc\n", "server: https://k.example.com\n"
    )
    assert "objects are new in namespace linea-dev of https://k.example.com" in shown
    assert "stay in namespace linea-dev of https://kubernetes.default.svc" in shown


def test_another_name_of_the_same_cluster_is_no_move(kept: Repository) -> None:
    for kind in ("applications", "projects"):
        file = kept.root / f"argocd/{kind}/dev.yaml"
        server = "server: https://kubernetes.default.svc\n"
        file.write_text(file.read_text("utf-8").replace(server, "name: in-cluster\n"), "utf-8")
    (impact,) = predict.impact(kept.root, "main").environments
    assert impact.what == "changed"


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        ("overlays/dev/values.yaml", True),
        ("overlays/dev/patches/x.yaml", True),
        ("overlays/dev/network.yaml", True),
        ("base/profiles/eks.yaml", True),
        ("chart/files/backup.sh", True),
        ("chart/templates/besu/service.yaml", True),
        ("chart/README.md", False),
        ("overlays/dev/README.md", False),
        ("overlays/dev/patches/.gitkeep", False),
        ("overlays/dev/manifests/service-x.yaml", False),
        ("argocd/root.yaml", False),
        ("argocd/README.md", False),
        ("base/policy.yaml", False),
    ],
)
def test_only_inputs_of_render_ask_for_a_render(path: str, is_one: bool) -> None:
    assert git_revision.is_input(path) is is_one
