"""Load balancers of Services: the cloud can create them."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.core import advice
from scripts.core.findings import Severity
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_OWN_CONTROLLER = ("external", "nlb-ip")
"""Values of aws-load-balancer-type by which the AWS Load Balancer Controller handles a Service."""


@rule(
    "https://github.com/kubernetes/cloud-provider-aws/blob/master/pkg/providers/v1/aws.go",
    Severity.WARNING,
    outcome=Outcome.BREAKS,
)
def load_balancer_with_affinity(objects: Objects) -> Iterator[Problem]:
    """A Service of type LoadBalancer has no session affinity if AWS creates its load balancer.

    Otherwise AWS creates none, and the Service waits for an address that it never gets. Other
    clouds, and the AWS Load Balancer Controller, ignore the affinity or support it.
    """
    for service in objects.of_kind("Service"):
        if service.get("spec", "type") != "LoadBalancer":
            continue
        type_ = service.annotations.get("service.beta.kubernetes.io/aws-load-balancer-type")
        if service.get("spec", "loadBalancerClass") or type_ in _OWN_CONTROLLER:
            continue
        if service.get("spec", "sessionAffinity") == "ClientIP":
            message = (
                f"{service.label} is a LoadBalancer with sessionAffinity ClientIP: on AWS it gets "
                "no load balancer, and no address"
            )
            fix = advice.write("sessionAffinity", "None")
            yield Problem(service, ("spec", "sessionAffinity"), message, fix)
