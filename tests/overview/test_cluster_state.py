"""What the overview says of a comparison with a cluster."""

from __future__ import annotations

from dataclasses import replace

from scripts.live.report import Drift, ObjectDrift, SyncState
from scripts.overview.cluster_state import live, with_live
from scripts.overview.report import Live, Overview
from tests.conftest import Repository

STATE = SyncState("OutOfSync", "Healthy", "a" * 40, "Succeeded", "")
FOUND = Drift("prod", "eks", "https://a", "1.34", STATE, (), (), 70, ())


def test_the_state_and_each_object_that_differs_are_told() -> None:
    objects = (
        ObjectDrift("Service/a", "changed", "f", ""),
        ObjectDrift("ConfigMap/b", "extra", "", "Argo CD would delete it"),
    )
    lines = ("Service/a: differs", "ConfigMap/b: Argo CD would delete it")
    found = live(replace(FOUND, objects=objects))
    assert found == Live("OutOfSync", "Healthy", "a" * 40, lines, "")


def test_a_cluster_of_another_environment_is_told() -> None:
    found = live(replace(FOUND, misfits=("the server is another one",)))
    assert found.misfits == ("the server is another one",)
    assert found.sync == "OutOfSync"


def test_a_cluster_without_the_application_still_has_its_objects() -> None:
    assert live(replace(FOUND, state=None)) == Live("", "", "", (), "")


def test_a_cluster_that_cannot_be_asked_is_a_problem_of_its_environment(
    example: Repository, shown: Overview
) -> None:
    contexts = {each.name: "no-such-context" for each in shown.environments}
    found = with_live(example.root, shown, contexts)
    for environment in found.environments:
        assert environment.live is not None
        assert environment.live.problem
        assert any(
            one.words.startswith("the cluster was not read") for one in environment.attention
        )
