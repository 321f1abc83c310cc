"""In a region of three zones all pods run, and what stops with a zone is what was accepted.

Both ways to have production there are on one cluster: six validators, and four with an acceptance.
This needs no Argo CD.
"""

from __future__ import annotations

import functools
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain

import pytest
import yaml

from scripts.cluster.api_client import Object
from scripts.cluster.cluster import Cluster
from scripts.environments import environment
from tests.conftest import ROOT, Repository, copy
from tests.e2e import test_apply
from tests.e2e.test_disruption import no_quorum_or_no_rpc, whole_validators, zones_of
from tests.e2e.watching import Watching

EXAMPLES = {"six": "three-zones", "four": "three-zones-and-four-validators"}
"""Environment → the example in tests/valid that it is."""
NAME = "frankfurt"
MONITORING = "monitoring"
SHARED = {"metrics": {"serviceMonitor": {"namespace": MONITORING}}}
SIX, FOUR = "linea-six", "linea-four"


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return a cluster with three zones and the manifests of both environments."""
    repository = copy(tmp_path_factory.mktemp("region") / "repository")
    shutil.rmtree(repository / "overlays")
    for name, example in EXAMPLES.items():
        write(repository, name, example)
    done = repository.run("render")
    assert done.code == 0, done.out + done.err
    with Cluster(repository.root, with_argo_cd=False) as running:
        assert len(running.zones) == 3
        running.plane.apply(
            [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": MONITORING}}]
        )
        for name in EXAMPLES:
            running.plane.apply([test_apply.namespace(name, repository.root)])
            running.plane.apply([], test_apply.manifests(name, repository.root))
        yield running


def write(repository: Repository, name: str, example: str) -> None:
    """Write an example's files as an environment of a name of its own, and make its network."""
    text = (ROOT / "tests" / "valid" / f"{example}.yaml").read_text("utf-8")
    for path, content in yaml.safe_load(text.replace(NAME, name))["files"].items():
        is_values = path.endswith("/values.yaml")
        data = environment.merge(yaml.safe_load(content), SHARED if is_values else {})
        repository.write(path, yaml.safe_dump(data))
    done = repository.run("network", name)
    assert done.code == 0, done.out + done.err


@pytest.mark.parametrize(("name", "placed"), [("six", [2, 2, 2]), ("four", [1, 1, 2])])
def test_all_pods_run_in_three_zones(region: Cluster, name: str, placed: list[int]) -> None:
    test_apply.assert_runs(region, name, f"linea-{name}", region.repository)
    assert sorted(validators(region, f"linea-{name}").values()) == placed


def test_the_monitors_of_both_are_in_one_namespace(region: Cluster) -> None:
    files = (test_apply.manifests(name, region.repository).iterdir() for name in EXAMPLES)
    monitors = [
        each for each in test_apply.read(*chain(*files)) if each["kind"] == "ServiceMonitor"
    ]
    assert {each["metadata"]["namespace"] for each in monitors} == {MONITORING}
    assert len(region.api.objects("ServiceMonitor", MONITORING)) == len(monitors) > len(EXAMPLES)


def validators(region: Cluster, namespace: str) -> Counter[str]:
    """Return zone → the number of whole validators there."""
    pods = {pod["metadata"]["name"]: pod for pod in region.api.objects("Pod", namespace)}
    zones = zones_of(region)
    names = (f"linea-stack-sequencer-{number}" for number in whole_validators(pods))
    return Counter(zones[pods[name]["spec"]["nodeName"]] for name in names)


def has_whole(number: int) -> Callable[[dict[str, Object]], bool]:
    return lambda pods: len(whole_validators(pods)) == number


def test_the_failure_of_a_zone_stops_the_chain_that_accepted_it_and_no_other(
    region: Cluster,
) -> None:
    """The zone is the one that has two of the four validators."""
    before = {space: validators(region, space) for space in (SIX, FOUR)}
    lost = max(before[FOUR], key=lambda zone: before[FOUR][zone])
    left = {space: before[space].total() - before[space][lost] for space in (SIX, FOUR)}
    assert left == {SIX: quorum(6), FOUR: quorum(4) - 1}
    problem = functools.partial(no_quorum_or_no_rpc, quorum=quorum(6))
    try:
        with Watching(region, "Pod", SIX, problem):
            region.nodes.lose(lost)
            for space, number in left.items():
                what = f"{number} validators in {space}"
                region.api.until("Pod", has_whole(number), what, namespace=space)
    finally:
        region.nodes.bring_back(lost)
    for space, zones in before.items():
        number = zones.total()
        what = f"{number} validators in {space}"
        region.api.until("Pod", has_whole(number), what, namespace=space)
        assert validators(region, space) == zones


def quorum(validators: int) -> int:
    """Return how many of the validators a block needs: two thirds, rounded up."""
    return -(-2 * validators // 3)
