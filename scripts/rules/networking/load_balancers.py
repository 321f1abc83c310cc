"""Load balancers of Services: the cloud can create them."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.core import advice
from scripts.core.findings import Severity
from scripts.rules.chart_values import file, is_from_values
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
    """A Service whose load balancer AWS creates has no session affinity.

    Otherwise AWS creates no load balancer, and the Service never gets an address. Other clouds and
    the AWS Load Balancer Controller support the affinity, or ignore it.
    """
    for service in objects.of_kind("Service"):
        if service.get("spec", "type") != "LoadBalancer":
            continue
        type_ = service.annotations.get("service.beta.kubernetes.io/aws-load-balancer-type")
        if service.get("spec", "loadBalancerClass") or type_ in _OWN_CONTROLLER:
            continue
        if service.get("spec", "sessionAffinity") == "ClientIP":
            message = (
                f"{service.label} has type: LoadBalancer and sessionAffinity: ClientIP, so AWS "
                "creates no load balancer for it, and it never gets an address"
            )
            fix = advice.write("spec.sessionAffinity", "None") + f" in {service.label}"
            if service.component == "besu" and is_from_values(service):
                key = "besu.service.sessionAffinity"
                fix = advice.write_values(key, "None", f" in {file(objects)}")
            yield Problem(service, ("spec", "sessionAffinity"), message, fix)
