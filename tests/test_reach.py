"""What scripts/reach.py says of policies is what cyclonus says."""

from __future__ import annotations

import pytest

from scripts import reach
from scripts.manifest import Manifest
from tests import connectivity
from tests.connectivity import Actor
from tests.objects import ENVIRONMENTS, containers, pods
from tests.test_connectivity import VARIANTS, case

ENDS = {"Egress": reach.EGRESS, "Ingress": reach.INGRESS}


def parties(manifests: list[Manifest], among: list[Actor]) -> dict[str, reach.Party]:
    """Return the actors as scripts/reach.py has them."""
    ports = {
        template["metadata"]["labels"][connectivity.COMPONENT]: {
            (port["name"], port["protocol"]): port["containerPort"]
            for container in containers(template)
            for port in container.get("ports", [])
        }
        for _, template in pods(manifests)
    }
    return {
        actor.name: reach.Party(
            actor.name,
            actor.namespace or None,
            actor.labels,
            actor.address,
            ports.get(actor.name, {}),
        )
        for actor in among
    }


@pytest.mark.parametrize("name", [*ENVIRONMENTS, *VARIANTS])
def test_the_answers_are_those_of_cyclonus(name: str) -> None:
    given = case(name)
    found = reach.policies(given.manifests)
    known = parties(given.manifests, given.among)
    for (source, target, port), denied in given.denials.items():
        number, _, protocol = port.partition("/")
        answer = reach.denies(found, known[source], known[target], int(number), protocol)
        assert answer == denied, (source, target, port)
