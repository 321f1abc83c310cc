"""What a change takes along: Secrets, load balancers, peers and images that it does not name."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.chain.peer_address import peer_of
from scripts.core import advice, paths
from scripts.core.findings import Severity
from scripts.kubernetes import containers, services
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import mappings, workloads
from scripts.rules import named_objects
from scripts.rules.changes.compared import (
    NOTHING,
    changed_in_place,
    keys,
    nodes_before,
    text_of,
)
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects, annotation, spec_of

_OPERATOR = (
    "https://github.com/external-secrets/external-secrets/blob/v2.9.0/pkg/controllers/"
    "externalsecret/externalsecret_controller.go"
)
_CONTROLLER = (
    "https://github.com/kubernetes-sigs/aws-load-balancer-controller/blob/v3.5.0/pkg/deploy/elbv2/"
    "load_balancer_synthesizer.go"
)


@rule(_OPERATOR)
def secret_removed_with_external_secret(objects: Objects) -> Iterator[Problem]:
    """An ExternalSecret keeps the Secret that it owns while pods or Ingresses need it.

    Kubernetes deletes an owned Secret together with its ExternalSecret, and the operator deletes it
    if target.name changes. Running pods continue, but none of them starts again.
    """
    if not objects.changed and not objects.gone:
        return
    owned = {_owned(new) for new in objects.of_kind("ExternalSecret")}
    for old in objects.old:
        secret = _owned(old) if old.kind == "ExternalSecret" else ""
        users = _users(objects, secret) if secret and secret not in owned else []
        if not users:
            continue
        new = objects.find(old.kind, old.name)
        if new is not None and (spec_of(new, "target", "name") or new.name) == secret:
            continue  # with another creationPolicy, the operator removes only the owner
        if new is None:
            manifest = old
            path: Where = ()
            event = f"{old.label} is removed, and Kubernetes deletes Secret/{secret} with it"
            keep: str = f"restore {old.label}"
            if old.template.startswith("chart/"):
                keep += " (secrets.provider: external in the values)"
        else:
            manifest, path = new, ("spec", "target", "name")
            event = f"target.name of {new.label} changes, and the operator deletes Secret/{secret}"
            keep = advice.write("target.name", secret)
        need = "needs" if len(users) == 1 else "need"
        message = f"{event}, but {_several(users)} {need} it: pods that use it do not start again"
        fix = keep + "; to manage the Secret by hand, first write target.creationPolicy: Orphan in"
        fix += f" {old.label}, merge and sync"
        yield Problem(manifest, path, message, fix)


def _owned(manifest: Manifest) -> str:
    """Return the name of the Secret that an ExternalSecret owns; empty if it owns none."""
    if spec_of(manifest, "target", "creationPolicy") not in (None, "Owner"):
        return ""
    return str(spec_of(manifest, "target", "name") or manifest.name)


def _users(objects: Objects, secret: str) -> list[str]:
    """Return the labels of the objects that need a Secret."""
    mentions = named_objects.by_kind(objects).get("Secret", ())
    needing = (m.manifest.label for m in mentions if m.name == secret and not m.optional)
    return list(dict.fromkeys(needing))


def _several(labels: list[str]) -> str:
    more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
    return f"{labels[0]}{more}"


_Part = tuple[str, str, Where]
"""The name, the value and the path of a field that decides which load balancer an object has."""
_ALB = "alb.ingress.kubernetes.io/"
_NLB = "service.beta.kubernetes.io/aws-load-balancer-"


@rule(_CONTROLLER)
def load_balancer_replaced(objects: Objects) -> Iterator[Problem]:
    """A change keeps the load balancer of each host and Service, and so its address.

    Another group or scheme is another load balancer. The controller deletes the old one at once, so
    clients reach nothing until DNS has the address of the new one.
    """
    if not objects.changed and not objects.gone:
        return
    reported = set[tuple[str, str]]()
    for (old, host), (new, _) in _served(objects):
        for (name, was, _), (_, now, path) in zip(_balancer(old), _balancer(new), strict=False):
            if was == now or (new.label, name) in reported:
                continue
            reported.add((new.label, name))
            message = f"{name} of {new.label} changes from {was} to {now}: its load balancer is"
            message += f" deleted, and clients of {host or new.label} can't connect until DNS has"
            message += " the address of another one"
            restore = f"keep {name}: {was}" if was != NOTHING else f"remove {name}"
            fix = f"{restore}; to accept the outage, waive load-balancer-replaced for {new.label}"
            yield Problem(new, path, message, fix)
            break


_Served = tuple[Manifest, str]
"""An object with a load balancer, and the host that it serves; empty for a Service."""


def _served(objects: Objects) -> Iterator[tuple[_Served, _Served]]:
    """Yield (old, new) of each host and Service that has a load balancer in the base revision."""
    now = {host: one for one in objects.of_kind("Ingress") for host in _hosts(one)}
    for old in objects.old:
        if old.kind == "Ingress":
            yield from (((old, host), (now[host], host)) for host in _hosts(old) if host in now)
        elif old.kind == "Service" and spec_of(old, "type") == "LoadBalancer":
            new = objects.find("Service", old.name)
            if new is not None:
                yield (old, ""), (new, "")


def _hosts(ingress: Manifest) -> list[str]:
    return [str(data.get("host") or "") for _, data in services.rules(ingress)]


def _balancer(manifest: Manifest) -> list[_Part]:
    """Return the fields that decide which load balancer an Ingress or a Service has."""
    notes = manifest.annotations
    if manifest.kind == "Service":
        type_ = str(notes.get(f"{_NLB}type", NOTHING))
        is_own = type_ in ("external", "nlb-ip") or bool(spec_of(manifest, "loadBalancerClass"))
        old = str(notes.get(f"{_NLB}internal", "false")).lower() in ("true", "0.0.0.0/0")
        usual = "internal" if is_own or old else "internet-facing"
        return [
            ("type", str(spec_of(manifest, "type") or "ClusterIP"), ("spec", "type")),
            (f"{_NLB}type", type_, annotation(f"{_NLB}type")),
            _annotated(manifest, f"{_NLB}scheme", usual),
        ]
    class_ = str(spec_of(manifest, "ingressClassName") or NOTHING)
    parts: list[_Part] = [("ingressClassName", class_, ("spec", "ingressClassName"))]
    if class_ == "alb" or any(str(name).startswith(_ALB) for name in notes):
        group = _annotated(manifest, f"{_ALB}group.name", NOTHING)
        alone = manifest.name if group[1] == NOTHING else ""
        parts += [group, ("name", alone, ("metadata", "name"))]
        parts += [_annotated(manifest, f"{_ALB}scheme", "internal")]
    return parts


def _annotated(manifest: Manifest, name: str, usual: str) -> _Part:
    return name, str(manifest.annotations.get(name) or usual), annotation(name)


@rule("docs/network.md")
def peer_ids_exchanged(objects: Objects) -> Iterator[Problem]:
    """No pod gets the peer ID of another pod while each keeps its own key.

    An ID belongs to a private key. Connections to a pod with the ID of another one are closed, so a
    validator loses its peers and the chain stops.
    """
    was, now = _ids(objects, old=True), _ids(objects, old=False)
    owners = {id_: key for key, (id_, *_) in was.items()}
    moved = [key for key in was.keys() & now.keys() if now[key][0] != was[key][0]]
    moved = [key for key in moved if now[key][0] in owners]
    if not moved or any(keys(old) != keys(new) for old, new in changed_in_place(objects, _PODS)):
        return
    program, host = first = min(moved)
    id_, manifest, path = now[first]
    other = owners[id_][1]
    several = f" and {len(moved) - 1} more get that of another pod" if len(moved) > 2 else ""
    message = f"pod {host.partition('.')[0]} gets the peer ID of {other.partition('.')[0]}"
    message += f" ({id_[:16]}…){several}, but the private keys stay: {program} closes every"
    message += " connection to a pod with another key"
    fix = "restore the order of network.validators in"
    fix += f" overlays/{objects.name}/network.yaml: it is the order of the keys in the Secrets"
    yield Problem(manifest, path, message, fix)


_PODS = "StatefulSet"
_Ids = dict[tuple[str, str], tuple[str, Manifest, Where]]


def _ids(objects: Objects, *, old: bool) -> _Ids:
    """Return (program, host) → the ID of a peer, and where it is written."""
    return {
        (node.program, host): (id_, setting.manifest, setting.path)
        for node in (nodes_before(objects) if old else objects.nodes)
        for setting, text in node.peers
        for host, _, id_ in [peer_of(text)]
        if id_
    }


@rule("https://kubernetes.io/docs/concepts/containers/images/#image-names", Severity.WARNING)
def image_digest_changed(objects: Objects) -> Iterator[Problem]:
    """An image changes with its tag: the same tag does not get another digest.

    With the same tag and another digest, pods run another program, and nothing in the review says
    which one.
    """
    before = {
        own.place: own.get("image")
        for workload in workloads([old for old, _ in objects.changed])
        for own in containers.of(workload)
    }
    others = _digests(objects)
    reported = set[str]()
    for container in objects.containers if before else ():
        old, new = str(before.get(container.place, "")), str(container.get("image") or "")
        (was, _, first), (now, _, second) = old.partition("@"), new.partition("@")
        has_tag = ":" in now.rpartition("/")[2]
        if was != now or not first or first == second or not (second and has_tag):
            continue
        if new in reported or others.get(second, was) != was:
            continue
        reported.add(new)
        message = f"the digest of {now} changes from {first[:14]}… to {second[:14]}…, but its tag"
        message += " does not: nothing shows which version will run"
        fix = f"keep {first}; for another version, write its own tag and run nox -s images"
        path = (*container.path, "image")
        yield Problem(container.workload.manifest, path, message, fix, second)


@rule("https://kubernetes.io/docs/concepts/containers/images/#image-names")
def digest_of_another_image(objects: Objects) -> Iterator[Problem]:
    """A change gives no image the digest that another image has.

    The registry has no such digest in the image's repository, so its pods do not start.
    """
    others, reported = _digests(objects), set[str]()
    for container in objects.containers if others else ():
        image = str(container.get("image") or "")
        name, _, digest = image.partition("@")
        other = others.get(digest, name)
        if _repository(other) == _repository(name) or image in reported:
            continue
        reported.add(image)
        message = f"the digest of {name} is the one of {other}, so its pods do not start:"
        message += " the repository has no such image"
        kept = next((each for each, one in others.items() if one == name), "")
        fix = f"run nox -s images to look up the digest of {name}"
        if kept:
            fix = f"write the digest that {name} had, {kept}"
        path = (*container.path, "image")
        yield Problem(container.workload.manifest, path, message, fix, digest)


def _digests(objects: Objects) -> dict[str, str]:
    """Return digest → repository:tag of the images that the base revision runs."""
    images = (
        str(own.get("image") or "").partition("@")
        for workload in workloads(objects.before or ())
        for own in containers.of(workload)
    )
    return {digest: name for name, _, digest in images if digest}


def _repository(name: str) -> str:
    """Return the repository of repository:tag."""
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}"


@rule("https://external-secrets.io/latest/api/externalsecret/", Severity.WARNING)
def entry_of_renamed_secret(objects: Objects) -> Iterator[Problem]:
    """A Secret from the secrets manager keeps its name, and so its entry.

    By another name, the operator reads another entry: until it exists, the Secret does not, and
    pods that start wait for it.
    """
    old = {each.name: each for each in objects.before or () if each.kind == "ExternalSecret"}
    new = {each.name: each for each in objects.of_kind("ExternalSecret")}
    gone = [manifest for name, manifest in old.items() if name not in new]
    for name, manifest in new.items():
        former = next((each for each in gone if _keys(each) == _keys(manifest)), None)
        if name in old or former is None:
            continue
        gone.remove(former)
        path = ("spec", "data", 0, "remoteRef", "key")
        was, now = text_of(former.get(*path)), text_of(manifest.get(*path))
        message = (
            f"{manifest.label} replaces {former.label}, and reads the entry {now} of the secrets"
            f" manager instead of {was}: until that entry exists, pods that start wait for it"
        )
        fix = f"before you merge, copy the entry {was} to {now} in the secrets manager"
        yield Problem(*_mounted(objects, manifest), message, fix)


def _mounted(objects: Objects, secret: Manifest) -> tuple[Manifest, Where]:
    """Return the field of a pod that names a Secret, or the ExternalSecret's own."""
    for workload in objects.workloads:
        for path, volume in workload.volumes():
            if paths.get(volume, ["secret", "secretName"]) == secret.name:
                return workload.manifest, (*path, "secret", "secretName")
    return secret, ("spec", "target", "name")


def _keys(manifest: Manifest) -> list[str]:
    """Return the keys of the Secret that an ExternalSecret makes."""
    return sorted(str(item.get("secretKey")) for _, item in mappings(manifest.get("spec", "data")))
