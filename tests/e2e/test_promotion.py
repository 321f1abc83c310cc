"""A change of the chart restarts each environment alone, when it is promoted, and when reverted."""

from __future__ import annotations

from scripts.cluster.cluster import Cluster
from scripts.cluster.git_remote import Remote
from tests.conftest import Repository
from tests.e2e import steps
from tests.git import git

ENVIRONMENTS = ("dev", "staging", "prod")
CONFIG, CHANGED = "chart/files/besu/config.toml", "# Changed by a test.\n"
BESU = "linea-stack-besu"

Pods = dict[str, set[str]]
"""Environment → the uids of its Besu pods."""


def test_a_change_of_the_chart_reaches_each_environment_when_it_is_promoted(
    cluster: Cluster, remote: Remote
) -> None:
    checkout = Repository(remote.checkout)
    checkout.write(".git/info/exclude", ".render/\n")
    git(remote.checkout, "tag", "v0.1.0")
    for name in ENVIRONMENTS[1:]:
        path = f"overlays/{name}/environment.yaml"
        checkout.write(path, (checkout / path).read_text("utf-8") + "release: v0.1.0\n")
    render(checkout)
    pods = besu(cluster)
    synced(cluster, remote.push("releases for staging and prod"))
    assert restarted(pods, besu(cluster)) == [], "a name for what runs restarts nothing"

    config = checkout / CONFIG
    config.write_text(config.read_text("utf-8") + CHANGED, "utf-8")
    render(checkout)
    merged = remote.push("a change of the chart")
    git(remote.checkout, "tag", "v0.2.0")
    pods = expect(cluster, pods, merged, restarts="dev", changed=("dev",))

    to_staging = promote(remote, "dev", "staging")
    pods = expect(cluster, pods, to_staging, restarts="staging", changed=("dev", "staging"))

    to_prod = promote(remote, "staging", "prod")
    pods = expect(cluster, pods, to_prod, restarts="prod", changed=ENVIRONMENTS)

    pods = expect(cluster, pods, revert(remote, to_prod), "prod", ("dev", "staging"))
    pods = expect(cluster, pods, revert(remote, to_staging), "staging", ("dev",))
    expect(cluster, pods, revert(remote, merged), "dev", ())


def expect(
    cluster: Cluster, before: Pods, revision: str, restarts: str, changed: tuple[str, ...]
) -> Pods:
    """Assert which environment restarts at a revision, and which then have the change."""
    synced(cluster, revision)
    after = besu(cluster)
    assert restarted(before, after) == [restarts]
    maps = {
        name: cluster.api.get("ConfigMap", f"{BESU}-config", space(name)) for name in ENVIRONMENTS
    }
    has = [name for name, each in maps.items() if CHANGED.strip() in each["data"]["config.toml"]]
    assert has == [*changed]
    return after


def synced(cluster: Cluster, revision: str) -> None:
    steps.wait_synced(cluster, [steps.ROOT, *map(steps.application, ENVIRONMENTS)], revision)


def space(name: str) -> str:
    return f"linea-{name}"


def besu(cluster: Cluster) -> Pods:
    return {name: {*steps.pods(cluster, space(name), "besu")} for name in ENVIRONMENTS}


def restarted(before: Pods, after: Pods) -> list[str]:
    """Return the environments without one of their old pods; an autoscaler may add some."""
    gone = {name: before[name] - after[name] for name in before}
    assert all(not each or each == before[name] for name, each in gone.items()), gone
    return [name for name, each in gone.items() if each]


def render(checkout: Repository) -> None:
    done = checkout.run("render")
    assert done.code == 0, done.out + done.err


def promote(remote: Remote, source: str, target: str) -> str:
    """Promote as a person would, push that, and return the revision."""
    done = Repository(remote.checkout).run("promote", source, target)
    assert done.code == 0, done.out + done.err
    assert f"Promote v0.2.0 from {source} to {target}" in done.out
    changed = git(remote.checkout, "diff", "--name-only").splitlines()
    others = [name for name in ENVIRONMENTS if name != target]
    assert not [path for path in changed for name in others if f"/{name}" in path]
    return remote.push(f"{source} to {target}")


def revert(remote: Remote, revision: str) -> str:
    """Revert a merge, push that, and return the new revision."""
    git(remote.checkout, "revert", "--no-edit", revision)
    git(remote.checkout, "push", "-q", "origin", "main")
    return remote.revision()
