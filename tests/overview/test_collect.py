"""What the overview says of environments is what their committed files say."""

from __future__ import annotations

import pytest
import yaml

from scripts.core.findings import UserError
from scripts.overview import collect
from scripts.overview.report import Environment, Overview, Release, Waiver, Window
from tests.conftest import Repository
from tests.git import commit, git
from tests.overview.conftest import ON

REASON = "The volumes are enlarged on the cluster before this is merged."


def of(overview: Overview, name: str) -> Environment:
    (found,) = (each for each in overview.environments if each.name == name)
    return found


def read(repository: Repository, name: str) -> Environment:
    return of(collect.overview(repository.root, [name], ON), name)


def test_the_images_are_those_of_the_committed_pods(example: Repository, shown: Overview) -> None:
    for environment in shown.environments:
        committed = set()
        for path in (example / f"overlays/{environment.name}/manifests").glob("*.yaml"):
            text = path.read_text("utf-8")
            committed |= {
                line.split("image: ")[1] for line in text.split("\n") if "image: " in line
            }
        names = {f"{i.name}@{i.digest}" if i.digest else i.name for i in environment.images}
        assert names == committed
    besu = {image for image in of(shown, "prod").images if image.name.startswith("hyperledger")}
    assert {image.component for image in besu} == {"besu", "sequencer"}


def test_production_has_quotas_zones_and_a_node(shown: Overview) -> None:
    prod = of(shown, "prod")
    assert prod.is_production
    assert prod.kubernetes.is_eks
    assert len(prod.zones) == 4
    assert prod.survives.startswith("blocks continue if any 1 of 4 validators")
    by_resource = {one.resource: one for one in prod.capacity if one.of == "quota"}
    assert by_resource.keys() >= {"pods", "requests.cpu", "requests.memory", "requests.storage"}
    assert all(0 <= one.percent <= 100 for one in prod.capacity)
    assert {one.resource for one in prod.capacity if one.of == "node"} == {"cpu", "memory"}


def test_a_trial_has_neither_quota_nor_node(shown: Overview) -> None:
    dev = of(shown, "dev")
    assert not dev.is_production
    assert not dev.kubernetes.is_eks
    assert [one for one in dev.capacity if one.of == "node"] == []


def test_the_commit_is_the_one_that_is_checked_out(repository: Repository) -> None:
    assert collect.overview(repository.root, ["dev"], ON).revision == ""
    git(repository.root, "init", "-q", "-b", "main")
    commit(repository.root)
    head = git(repository.root, "rev-parse", "HEAD").strip()
    assert collect.overview(repository.root, ["dev"], ON).revision == head


def test_a_released_environment_has_the_chart_of_its_release(repository: Repository) -> None:
    git(repository.root, "init", "-q", "-b", "main")
    commit(repository.root)
    git(repository.root, "tag", "v0.4.0")
    (version,) = (
        line.partition(": ")[2].partition(" ")[0]
        for line in (repository / "chart/Chart.yaml").read_text("utf-8").splitlines()
        if line.startswith("version: ")
    )
    repository.replace("chart/Chart.yaml", f"version: {version}", "version: 9.9.9")
    assert read(repository, "prod").release == Release("", "9.9.9")
    file = "overlays/prod/environment.yaml"
    repository.write(file, f"{(repository / file).read_text('utf-8')}release: v0.4.0\n")
    found = read(repository, "prod")
    assert found.release == Release("v0.4.0", version)
    assert found.kubernetes.is_eks
    assert found.is_production


def test_settings_of_the_environment_are_shown(repository: Repository) -> None:
    file = "overlays/dev/environment.yaml"
    data = yaml.safe_load((repository / file).read_text("utf-8"))
    waivers = [
        {
            "rule": "a-rule",
            "object": "Pod/b",
            "reason": REASON,
            "until": "2026-12-24",
        },
        {
            "rule": "b-rule",
            "object": "Pod/b",
            "reason": REASON,
            "until": "2026-11-29",
        },
    ]
    data |= {"kubernetesVersion": "1.99", "waivers": waivers}
    data["sync"] = {"automated": False, "selfHeal": False, "prune": True}
    repository.write(file, yaml.safe_dump(data))
    found = read(repository, "dev")
    assert found.kubernetes.state == "unknown"
    assert found.sync == ("prune",)
    assert found.waivers == (
        Waiver("b-rule", "Pod/b", "2026-11-29", -1),
        Waiver("a-rule", "Pod/b", "2026-12-24", 24),
    )
    assert [(one.level, one.words.partition(" for ")[0]) for one in found.attention] == [
        ("urgent", "the waiver of b-rule"),
        ("soon", "the waiver of a-rule"),
    ]


def test_the_windows_are_those_of_the_committed_project(repository: Repository) -> None:
    file = repository / "argocd/projects/dev.yaml"
    head, _, text = file.read_text("utf-8").partition("\n")
    project = yaml.safe_load(text)
    project["spec"]["syncWindows"] = [
        {"kind": "deny", "schedule": "0 22 * * 5", "duration": "60h", "manualSync": True}
    ]
    file.write_text(f"{head}\n{yaml.safe_dump(project)}", "utf-8")
    assert read(repository, "dev").windows == (Window("deny", "0 22 * * 5", "60h", "UTC", True),)


def test_an_environment_that_was_not_rendered_needs_attention(repository: Repository) -> None:
    for path in (repository / "overlays/dev/manifests").iterdir():
        path.unlink()
    words = [one.words for one in read(repository, "dev").attention]
    assert "no pod is committed: run nox -s render, and commit" in words


def test_an_invalid_environment_is_reported_at_its_line(repository: Repository) -> None:
    repository.write("overlays/dev/environment.yaml", "name: dev\nnamespace: [a]\n")
    with pytest.raises(UserError) as raised:
        read(repository, "dev")
    assert raised.value.findings[0].file == "overlays/dev/environment.yaml"
