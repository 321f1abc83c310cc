"""Annotations that controllers read: their names exist, and their values are valid."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.core import advice
from scripts.core.sentences import joined
from scripts.kubernetes import annotation_table, annotation_values, services
from scripts.kubernetes.annotation_table import ALB, CONTROLLER, NLB, Reader, string_list
from scripts.rules.networking.annotated import GUIDE, Annotation, of, quoted, together, written
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_DOCUMENTED = {
    ALB: f"{GUIDE}ingress/annotations/",
    NLB: f"{GUIDE}service/annotations/",
    "cert-manager.io/": "https://cert-manager.io/docs/reference/annotations/",
    "eks.amazonaws.com/": "https://github.com/aws/amazon-eks-pod-identity-webhook",
    "ebs.csi.aws.com/": "https://github.com/kubernetes-sigs/aws-ebs-csi-driver",
}
_DNS_DOCUMENTED = (
    "https://kubernetes-sigs.github.io/external-dns/latest/docs/annotations/annotations/"
)
_BY_CONTROLLER = ("external", "nlb-ip")
"""Values of aws-load-balancer-type by which the AWS Load Balancer Controller handles a Service."""


@rule(f"{GUIDE}ingress/annotations/", outcome=Outcome.HIDDEN)
def unknown_annotation(objects: Objects) -> Iterator[Problem]:
    """Annotations for controllers have a name that the controller reads, on an object it reads.

    Otherwise the setting has no effect, and nothing reports it: a load balancer that should be
    closed is open. The table is of the AWS Load Balancer Controller 3.5.0, external-dns 0.22,
    cert-manager 1.21, and the Pod Identity Webhook of EKS.
    """
    yield from together(_unknown(objects))


def _unknown(objects: Objects) -> Iterator[Problem]:
    for each in of(objects):
        found = each.read
        if found is None:
            if misspelled := annotation_table.similar_prefix(each.key):
                yield _ignored(each, misspelled, misspelled.prefix + each.key.partition("/")[2])
            continue
        reader, name = found
        form = reader.form(name)
        if name in reader.legacy:
            kind = each.manifest.get("spec", "type")
            by_controller = each.manifest.annotations.get(f"{NLB}aws-load-balancer-type")
            if kind == "LoadBalancer" and by_controller in _BY_CONTROLLER:
                message = f"{each.manifest.label} has the annotation {each.key}, which only the"
                message += " controller for Classic Load Balancers reads: it has no effect"
                yield Problem(each.manifest, each.path, message, advice.remove("the annotation"))
        elif form is None:
            near = reader.nearest(name)
            if f"{name}.*" in reader.forms:  # without a listener
                near = f"{name}.HTTPS-443"
            yield _ignored(each, reader, f"{reader.prefix}{near}" if near else "")
        elif form.kinds and each.kind not in form.kinds:
            message = f"{each.manifest.label} has the annotation {each.key}, which {reader.name}"
            message += (
                f" reads only on objects of kind {joined(form.kinds, 'or')}: it has no effect"
            )
            fix = f"move it to the annotations of the {form.kinds[0]}"
            yield Problem(each.manifest, each.path, message, fix)
        elif problem := _unused_action(each, name):
            yield problem


_ALIKE = {
    "whitelist-source-range": ("inbound-cidrs", "inboundCidrs", "[{}]"),
    "allowlist-source-range": ("inbound-cidrs", "inboundCidrs", "[{}]"),
    "proxy-read-timeout": ("", "idleTimeoutSeconds", "{}"),
    "proxy-send-timeout": ("", "idleTimeoutSeconds", "{}"),
}
"""Their names → annotation and value of the chart with the same effect on an ALB."""


def _ignored(each: Annotation, reader: Reader, right: str) -> Problem:
    message = f"{each.manifest.label} has the annotation {each.key}, which does not exist:"
    message += f" {reader.name} ignores it"
    fix: str = advice.rename(f"write {right}: {quoted(str(each.value))}", right)
    if not right:
        page = _DOCUMENTED.get(reader.prefix, _DNS_DOCUMENTED)
        fix = f"remove {each.key}; {page} lists the annotations that exist"
    return Problem(each.manifest, each.path, message, fix)


def _unused_action(each: Annotation, name: str) -> Problem | None:
    """Return the problem of an action, condition or transform for no backend of its Ingress."""
    kind, dot, service = name.partition(".")
    if each.kind != "Ingress" or not dot or kind not in ("actions", "conditions", "transforms"):
        return None
    backends = services.backends(each.manifest)
    used = sorted({own.service for own in backends if kind != "actions" or own.port == _BY_NAME})
    if service in used:
        return None
    message = f"{each.manifest.label} has the annotation {each.key}, but no backend"
    message += f" {service} with the port name {_BY_NAME}" if kind == "actions" else f" {service}"
    fix = advice.remove("the annotation")
    if len(used) == 1:
        right = f"{ALB}{kind}.{used[0]}"
        fix = advice.rename(f"write {right}", right)
    return Problem(each.manifest, each.path, f"{message}: it has no effect", fix)


_BY_NAME = "use-annotation"


_OTHERS = {
    "nginx.ingress.kubernetes.io/": "ingress-nginx",
    "nginx.org/": "NGINX Ingress Controller",
    "traefik.ingress.kubernetes.io/": "Traefik",
    "haproxy.org/": "HAProxy",
    "haproxy-ingress.github.io/": "HAProxy Ingress",
    "konghq.com/": "Kong",
}
"""Prefix of annotations → the controller that reads them."""


@rule(f"{GUIDE}ingress/annotations/", outcome=Outcome.HIDDEN)
def annotation_of_other_controller(objects: Objects) -> Iterator[Problem]:
    """An Ingress of the class alb has no annotations for other controllers, nor for cert-manager.

    The AWS Load Balancer Controller ignores them: a limit or a list of clients has no effect.
    cert-manager creates a certificate only for an Ingress with tls, and an ALB takes none from it.
    """
    for manifest in objects.of_kind("Ingress"):
        if manifest.get("spec", "ingressClassName") != "alb":
            continue
        for key in manifest.annotations:
            prefix = f"{key.partition('/')[0]}/"
            owner = _OTHERS.get(prefix)
            if prefix == "cert-manager.io/" and not manifest.get("spec", "tls"):
                owner = "cert-manager"
            if owner:
                message = (
                    f"{manifest.label} has the annotation {key} for {owner}, but its class is alb:"
                    " the annotation has no effect"
                )
                fix = f"remove {key}"
                if prefix == "cert-manager.io/":
                    fix += ": an ALB takes certificates from ACM (ingress.alb.certificateArns)"
                else:
                    fix += f"; {GUIDE}ingress/annotations/ lists what an ALB can do instead"
                annotation, value, form = _ALIKE.get(key.partition("/")[2], ("", "", ""))
                if value and manifest.template.startswith("chart/"):
                    text = form.format(", ".join(string_list(str(manifest.annotations[key]))))
                    fix = f"write ingress.alb.{value}: {text}, and remove the annotation"
                elif annotation:
                    fix = f"write {ALB}{annotation}: {quoted(str(manifest.annotations[key]))}"
                yield Problem(manifest, ("metadata", "annotations", key), message, fix)


_DNS = "external-dns.alpha.kubernetes.io/"
_ROUTED = ("aws-weight", "aws-region", "aws-failover", "aws-multi-value-answer", "aws-geolocation")


@rule(
    "https://kubernetes-sigs.github.io/external-dns/latest/docs/tutorials/aws/#routing-policies",
    outcome=Outcome.HIDDEN,
)
def dns_policy_without_identifier(objects: Objects) -> Iterator[Problem]:
    """An object with a routing policy of Route 53 has a set-identifier.

    Otherwise external-dns ignores the policy, and writes a simple record.
    """
    for manifest in objects.of_kind("Ingress", "Service"):
        for key in manifest.annotations:
            name = key.removeprefix(_DNS)
            is_policy = name != key and name.startswith(_ROUTED)
            if is_policy and f"{_DNS}set-identifier" not in manifest.annotations:
                message = f"{manifest.label} has the annotation {key} without set-identifier:"
                message += " external-dns ignores it, and writes a simple record"
                fix = f"add {_DNS}set-identifier: {manifest.name}"
                yield Problem(manifest, ("metadata", "annotations", key), message, fix)


@rule(f"{GUIDE}ingress/annotations/")
def invalid_annotation_value(objects: Objects) -> Iterator[Problem]:
    """The values of annotations for controllers have the form and the size that they accept.

    Otherwise the controller reports an error and applies no change: to no Ingress that shares the
    load balancer, or not to the Service. The rules are those of the AWS Load Balancer Controller
    3.5.0 and of the API of AWS.
    """
    yield from together(_invalid(objects))


def _invalid(objects: Objects) -> Iterator[Problem]:
    for each in of(objects):
        found = annotation_values.invalid(each.key, each.value)
        if found and each.read:
            reader, _ = each.read
            message = (
                f"the annotation {each.key} of {each.manifest.label} {found.why}: {each.value}."
                f" {_consequence(reader)}"
            )
            fix = written(each.manifest, each.key, found.right)
            yield Problem(each.manifest, each.path, message, fix, found.part or str(each.value))


def _consequence(reader: Reader) -> str:
    if reader.prefix == ALB:
        return f"So {CONTROLLER} updates no Ingress that shares the load balancer"
    if reader.prefix == NLB:
        return f"So {CONTROLLER} does not update the load balancer"
    return f"So {reader.name} ignores it, or reports an error"
