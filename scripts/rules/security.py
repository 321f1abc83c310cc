"""Security: no secret to read, no right too many, nothing open that should not be."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from scripts import images, plaintext, yamlio
from scripts.containers import listed
from scripts.findings import Severity
from scripts.manifest import PODS, Manifest, Where
from scripts.rules.objects import Objects
from scripts.rules.rule import Problem, across, rule
from scripts.workloads import mappings

_STANDARD = "https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"
_RESTRICTED = 'the namespace enforces the Pod Security Standard "restricted", which refuses the pod'
_ALB = "alb.ingress.kubernetes.io/"
_ALB_GUIDE = "https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/annotations/"
_ROLE = "eks.amazonaws.com/role-arn"
_IRSA = "https://docs.aws.amazon.com/eks/latest/userguide/iam-roles-for-service-accounts.html"


@dataclass(frozen=True, slots=True)
class _Pod:
    """The pods that an object makes, whichever kind it is of."""

    manifest: Manifest
    path: Where
    spec: Mapping[str, Any]

    def get(self, *path: str | int) -> Any:
        return yamlio.get(self.spec, path)

    def problem(self, path: Sequence[str | int], message: str, fix: str) -> Problem:
        """Return what is wrong at a path in the pod's spec."""
        return Problem(self.manifest, (*self.path, *path), message, fix)

    def containers(self) -> Iterator[tuple[Where, dict[str, Any]]]:
        for kind in ("initContainers", "containers"):
            for index, data in mappings(self.spec.get(kind)):
                yield (kind, index), data

    def contexts(self) -> Iterator[tuple[Where, dict[str, Any]]]:
        """Yield the security contexts of the pod and of its containers."""
        for path, holder in (((), self.spec), *self.containers()):
            found = holder.get("securityContext")
            yield (*path, "securityContext"), found if isinstance(found, dict) else {}


def _pods(objects: Objects) -> Iterator[_Pod]:
    for manifest in objects.manifests:
        path = PODS.get(manifest.kind.lower())
        spec = yamlio.get(manifest.object, path) if path else None
        if path and isinstance(spec, dict):
            yield _Pod(manifest, path, spec)


def _called(container: Mapping[str, Any]) -> str:
    return f"the container {container.get('name', 'without a name')}"


# Secrets in plain text

_OPTION = re.compile(r"--?([A-Za-z][\w.-]*)[= ](.+)", re.DOTALL)


@rule("https://kubernetes.io/docs/concepts/security/secrets-good-practices/")
def secret_in_plain_text(objects: Objects) -> Iterator[Problem]:
    """Passwords, tokens and private keys come from Secrets, never from what is in git.

    Else whoever may read the repository, or once could, may do what the secret opens: sign blocks,
    send the funds of an account, read backups. It stays in git's history after it is removed.
    """
    references = {m.name for m in objects.of_kind("ExternalSecret", "Secret")}
    references |= set(objects.given.objects.get("Secret", {}))
    for pod in _pods(objects):
        for path, container in pod.containers():
            for inner, what in _in_container(container, references):
                named = yamlio.get(container, (*inner[:2], "name")) or "an argument"
                holder = f"{named} of {_called(container)}"
                yield _told(pod.manifest, (*pod.path, *path, *inner), what, holder)
        if template := pod.path[:-1]:
            place: Where = (*template, "metadata", "annotations")
            yield from _in_notes(pod.manifest, place, yamlio.get(pod.manifest.object, place))
    for manifest in objects.manifests:
        place = ("metadata", "annotations")
        yield from _in_notes(manifest, place, manifest.metadata.get("annotations"))
    for manifest in objects.of_kind("ConfigMap"):
        data = manifest.object.get("data")
        for key, value in data.items() if isinstance(data, dict) else ():
            what = plaintext.in_text(value) if isinstance(value, str) else ""
            if what or (what := plaintext.as_named(key, value, references)):
                yield _told(manifest, ("data", key), what, f"{key} of {manifest.label}")


def _told(manifest: Manifest, path: Where, what: str, holder: str) -> Problem:
    message = f"{holder} holds {what}: all who can read the repository have it"
    fix = (
        "take another one into use, as git keeps this one for ever, and keep that in a Secret: "
        "valueFrom.secretKeyRef, or a file of a volume"
    )
    return Problem(manifest, path, message, fix)


def _in_container(
    container: Mapping[str, Any], references: set[str]
) -> Iterator[tuple[Where, str]]:
    """Yield the path of each field of a container that holds a secret, and what it is."""
    for index, variable in mappings(container.get("env")):
        value = variable.get("value")
        what = plaintext.in_text(value) if isinstance(value, str) else ""
        if what or (what := plaintext.as_named(str(variable.get("name", "")), value, references)):
            yield ("env", index, "value"), what
    for field in ("command", "args"):
        words = container.get(field)
        before = ""
        for index, word in enumerate(words if isinstance(words, list) else ()):
            if not isinstance(word, str):
                continue
            option = _OPTION.fullmatch(word)
            name, value = option.groups() if option else (before, word)
            what = plaintext.in_text(word) or (
                plaintext.as_named(name, value, references) if name else ""
            )
            if what:
                yield (field, index), what
            before = word.lstrip("-") if word.startswith("-") and "=" not in word else ""


def _in_notes(manifest: Manifest, path: Where, notes: Any) -> Iterator[Problem]:
    for key, value in notes.items() if isinstance(notes, dict) else ():
        if not isinstance(value, str) or str(key).startswith("checksum/"):
            continue
        name = str(key).rpartition("/")[2]
        what = plaintext.in_text(value)
        # An annotation that is called a secret names one.
        if not what and plaintext.is_password(name):
            what = plaintext.as_named(name, value, set())
        if not what and plaintext.is_key(name, value):
            what = "32 bytes of a key"
        if what:
            yield _told(manifest, (*path, key), what, f"the annotation {key}")


# Pods

_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
}
_SELINUX_TYPES = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_PROFILES = ("RuntimeDefault", "Localhost")
_OF_THE_HOST = {"hostNetwork": "network", "hostPID": "processes", "hostIPC": "shared memory"}


@rule("https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline")
def pod_shares_the_host(objects: Objects) -> Iterator[Problem]:
    """Pods have no part of their node: not its network, processes, memory, files or ports.

    Else what breaks into one pod has the node, and with it all other pods on it; and the namespace
    refuses the pods.
    """
    for pod in _pods(objects):
        for field, what in _OF_THE_HOST.items():
            if pod.get(field):
                message = f"{field} gives the pods their node's {what}; {_RESTRICTED}"
                yield pod.problem((field,), message, f"remove {field}")
        for index, volume in mappings(pod.get("volumes")):
            for kind in sorted(volume.keys() - {"name"} - _VOLUMES):
                named = "the node's own folder" if kind == "hostPath" else f"of the kind {kind}"
                message = f"the volume {volume.get('name')} is {named}; {_RESTRICTED}"
                fix = "use a persistentVolumeClaim, or an emptyDir for what may be lost"
                yield pod.problem(("volumes", index, kind), message, fix)
        for path, container in pod.containers():
            yield from _on_the_host(pod, path, container)


def _on_the_host(pod: _Pod, path: Where, container: dict[str, Any]) -> Iterator[Problem]:
    for index, port in mappings(container.get("ports")):
        if port.get("hostPort"):
            message = (
                f"{_called(container)} takes the port {port['hostPort']} of its node; {_RESTRICTED}"
            )
            fix = "remove hostPort: a Service reaches the pods"
            yield pod.problem((*path, "ports", index, "hostPort"), message, fix)
    for inner, handler in _handlers(container):
        for kind in ("httpGet", "tcpSocket"):
            if yamlio.get(handler, (kind, "host")):
                message = (
                    f"a probe or hook of {_called(container)} asks another host; {_RESTRICTED}"
                )
                fix = "remove host: the pod itself is asked"
                yield pod.problem((*path, *inner, kind, "host"), message, fix)


def _handlers(container: Mapping[str, Any]) -> Iterator[tuple[Where, Any]]:
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        yield (probe,), container.get(probe)
    for hook in ("postStart", "preStop"):
        yield ("lifecycle", hook), yamlio.get(container, ("lifecycle", hook))


@rule(_STANDARD)
def container_is_privileged(objects: Objects) -> Iterator[Problem]:
    """Containers can do no more than any program: no privilege, no capability, default profiles.

    Else a mistake in a program is one on its node; and the namespace refuses the pods.
    """
    for pod in _pods(objects):
        yield from _annotated_profiles(pod)
        for path, context in pod.contexts():
            for inner, fix in _beyond_any(context):
                yield _refused(pod, (*path, *inner), fix)
        if isinstance(sysctls := pod.get("securityContext", "sysctls"), list):
            for index, sysctl in mappings(sysctls):
                if sysctl.get("name") not in _SYSCTLS:
                    place = ("securityContext", "sysctls", index)
                    yield _refused(pod, place, "remove it: nodes are set up by who runs them")
        is_profiled = bool(pod.get("securityContext", "seccompProfile", "type"))
        lacks_profile = False
        for path, container in pod.containers():
            found = container.get("securityContext")
            own = found if isinstance(found, dict) else {}
            for inner, fix in _beyond_a_container(own):
                yield _refused(pod, (*path, "securityContext", *inner), fix)
            lacks_profile |= not yamlio.get(own, ("seccompProfile", "type"))
        if lacks_profile and not is_profiled:
            fix = "write seccompProfile: {type: RuntimeDefault}"
            yield _refused(pod, ("securityContext", "seccompProfile"), fix)


def _refused(pod: _Pod, path: Where, fix: str) -> Problem:
    last = [str(part) for part in path if isinstance(part, str)]
    field = ".".join(last[last.index("securityContext") :])
    whose = "the pods"
    if path[0] != "securityContext":
        whose = _called(pod.get(*path[:2]) or {})
    here = yamlio.get(pod.spec, path)
    said = "is not said" if here is None else f"is {json.dumps(here)}"
    return pod.problem(path, f"{field} of {whose} {said}: {_RESTRICTED}", fix)


def _annotated_profiles(pod: _Pod) -> Iterator[Problem]:
    path = (*pod.path[:-1], "metadata", "annotations")
    notes = yamlio.get(pod.manifest.object, path)
    for key, value in notes.items() if isinstance(notes, dict) else ():
        allowed = value in ("", "runtime/default") or str(value).startswith("localhost/")
        if str(key).startswith(_APPARMOR) and not allowed:
            message = f"AppArmor is off for {str(key).partition('/')[2]}: {_RESTRICTED}"
            yield Problem(pod.manifest, (*path, key), message, "remove the annotation")


def _beyond_any(context: Mapping[str, Any]) -> Iterator[tuple[Where, str]]:
    """Yield what neither a pod's nor a container's security context may say, and what to write."""
    for profile in ("seccompProfile", "appArmorProfile"):
        found = yamlio.get(context, (profile, "type"))
        if found is not None and found not in _PROFILES:
            yield (profile, "type"), "write RuntimeDefault"
    if yamlio.get(context, ("windowsOptions", "hostProcess")):
        yield ("windowsOptions", "hostProcess"), "remove it"
    selinux = context.get("seLinuxOptions")
    if isinstance(selinux, dict):
        if selinux.get("type", "") not in _SELINUX_TYPES:
            yield ("seLinuxOptions", "type"), "write container_t, or remove seLinuxOptions"
        yield from (
            (("seLinuxOptions", f), "remove it") for f in ("user", "role") if selinux.get(f)
        )


def _beyond_a_container(context: Mapping[str, Any]) -> Iterator[tuple[Where, str]]:
    """Yield what a container's own security context may not say, and what to write."""
    if context.get("privileged"):
        yield ("privileged",), "remove it"
    if context.get("procMount") not in (None, "Default"):
        yield ("procMount",), "remove it"
    if context.get("allowPrivilegeEscalation") is not False:
        yield ("allowPrivilegeEscalation",), "write false"
    dropped = yamlio.get(context, ("capabilities", "drop"))
    if not isinstance(dropped, list) or "ALL" not in dropped:
        yield ("capabilities", "drop"), "write [ALL]"
    added = yamlio.get(context, ("capabilities", "add"))
    if isinstance(added, list) and any(one != "NET_BIND_SERVICE" for one in added):
        yield ("capabilities", "add"), "remove it: nothing of the stack needs a capability"


@rule(_STANDARD)
def container_runs_as_root(objects: Objects) -> Iterator[Problem]:
    """Containers run as a user and a group that are written down, and not as root.

    Else the user is whatever the image says: a root that gets out of its container is root on the
    node, and without the group the files of a volume belong to root's.
    """
    for pod in _pods(objects):
        whole = pod.get("securityContext")
        whole = whole if isinstance(whole, dict) else {}
        seen = set[Where]()
        for path, container in pod.containers():
            own = container.get("securityContext")
            own = own if isinstance(own, dict) else {}
            for field, said, fix in _as_root({**whole, **own}):
                place: Where = (*path, "securityContext", field)
                place = place if field in own else ("securityContext", field)
                whose = _called(container) if field in own else "the pods"
                if place not in seen:
                    seen.add(place)
                    yield pod.problem(place, f"{field} of {whose} {said}", fix)


def _as_root(context: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield fields of the context that a container ends up with, what they mean, what to write."""
    user, group = context.get("runAsUser"), context.get("runAsGroup")
    if context.get("runAsNonRoot") is not True:
        yield "runAsNonRoot", f"is not true: {_RESTRICTED}", "write true"
    if user == 0:
        yield "runAsUser", f"is 0, which is root: {_RESTRICTED}", "write 1000, the chart's user"
    elif not isinstance(user, int):
        yield "runAsUser", "is not said: the image decides who it is", "write 1000"
    if not group:
        said = "is root's" if group == 0 else "is not said, and so it is root's"
        yield "runAsGroup", f"{said}: root's files in the image are its own", "write 1000"


@rule("https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/")
def root_filesystem_is_writable(objects: Objects) -> Iterator[Problem]:
    """Containers cannot change the files of their image; they write into volumes.

    Else what breaks into a program can put another in its place, and what is written fills the
    node and is lost with the container.
    """
    for pod in _pods(objects):
        for path, container in pod.containers():
            if yamlio.get(container, ("securityContext", "readOnlyRootFilesystem")) is not True:
                place = (*path, "securityContext", "readOnlyRootFilesystem")
                message = f"{_called(container)} can change the programs that it runs"
                fix = "write true, and mount an emptyDir where it has to write"
                yield pod.problem(place, message, fix)


@rule(
    "https://kubernetes.io/docs/tasks/configure-pod-container/share-process-namespace/",
    Severity.WARNING,
)
def containers_see_each_other(objects: Objects) -> Iterator[Problem]:
    """The containers of a pod do not see each other's processes.

    Else each of them can read the variables and the files of the others, the keys among them.
    """
    for pod in _pods(objects):
        if pod.get("shareProcessNamespace"):
            message = "each container of the pods can read the others' variables, files and keys"
            fix = "remove shareProcessNamespace; to look around, use kubectl debug --target"
            yield pod.problem(("shareProcessNamespace",), message, fix)


@rule("https://kubernetes.io/docs/concepts/containers/images/#image-names")
def image_from_elsewhere(objects: Objects) -> Iterator[Problem]:
    """Images come from the registries that environment.yaml lists.

    Else a name that is misspelt, or a copy by somebody else, runs with the keys of the chain.
    """
    allowed = objects.given.registries
    for manifest in objects.manifests if allowed else ():
        for path, image in images.used(manifest):
            full = _full(image)
            if not any(re.match(rf"{re.escape(one)}(?=[/:]|$)", full) for one in allowed):
                owner = full.rpartition("/")[0]
                near = difflib.get_close_matches(owner, allowed, 1, 0.8)
                message = f"{full} is not of a registry that environment.yaml allows"
                listed = f"one of {', '.join(allowed)}"
                fix = f"take the image from {near[0] if near else listed}"
                fix += f"; if it is right, add {owner} to registries"
                yield Problem(manifest, path, message, fix)


def _full(image: str) -> str:
    """Return an image's name with its registry: github.com/distribution/reference, normalize.go."""
    name = images.parse(image).name
    host = images.registry(name)
    if host != "docker.io" or name.startswith("docker.io/"):
        return name
    return f"docker.io/{name}" if "/" in name else f"docker.io/library/{name}"


# Rights

_RBAC = "https://kubernetes.io/docs/concepts/security/rbac-good-practices/"


@rule(_RBAC)
def role_allows_everything(objects: Objects) -> Iterator[Problem]:
    """Roles name the API groups, resources and verbs that they allow.

    Else they allow what nobody thought of, also what comes with the next version of Kubernetes.
    """
    for manifest, path, data in _rights(objects):
        for field in ("apiGroups", "resources", "verbs"):
            if isinstance(data.get(field), list) and "*" in data[field]:
                message = f'{manifest.label} allows all {field}: "*"'
                fix = f"write the {field} that are needed, each by its name"
                yield Problem(manifest, (*path, field), message, fix)


@rule(_RBAC)
def role_reads_all_secrets(objects: Objects) -> Iterator[Problem]:
    """Roles allow reading of Secrets by name only.

    Else whoever has the role has every key of the chain that is in the namespace: who may list
    Secrets sees what is in them.
    """
    for manifest, path, data in _rights(objects):
        resources, verbs = data.get("resources"), data.get("verbs")
        if not isinstance(resources, list) or not isinstance(verbs, list):
            continue
        reads = sorted({"get", "list", "watch"} & {str(verb) for verb in verbs})
        if "secrets" in resources and reads and not data.get("resourceNames"):
            message = f"{manifest.label} may {' and '.join(reads)} every Secret of the namespace"
            fix = "write verbs: [get], and resourceNames with the Secrets that are needed"
            yield Problem(manifest, (*path, "resources"), message, fix)


def _rights(objects: Objects) -> Iterator[tuple[Manifest, Where, dict[str, Any]]]:
    for manifest in objects.of_kind("Role", "ClusterRole"):
        for index, data in mappings(manifest.object.get("rules")):
            yield manifest, ("rules", index), data


@rule("https://kubernetes.io/docs/reference/access-authn-authz/rbac/#user-facing-roles")
def account_is_an_administrator(objects: Objects) -> Iterator[Problem]:
    """Nothing of an environment is bound to cluster-admin, admin or edit.

    Else one pod of it can read all Secrets and run whatever it likes, in its namespace or anywhere.
    """
    for manifest in objects.of_kind("RoleBinding", "ClusterRoleBinding"):
        name = yamlio.get(manifest.object, ("roleRef", "name"))
        if name in ("cluster-admin", "admin", "edit"):
            subjects = mappings(manifest.object.get("subjects"))
            whom = ", ".join(f"{s.get('kind')}/{s.get('name')}" for _, s in subjects)
            message = f"{whom or manifest.label} becomes {name}: it may read every Secret"
            fix = "bind a Role that allows only what is needed"
            yield Problem(manifest, ("roleRef", "name"), message, fix)


# Service accounts and what they may

_TOKENS = (
    "https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/"
    "#opt-out-of-api-credential-automounting"
)


@rule(_TOKENS)
def token_in_vain(objects: Objects) -> Iterator[Problem]:
    """Pods have no token for the Kubernetes API, unless a binding gives their account a right.

    Else what breaks into a pod can speak to the API server in its name. (Roles of IAM come by a
    token of their own, which this does not concern.)
    """
    with_rights = {
        subject.get("name")
        for manifest in objects.of_kind("RoleBinding", "ClusterRoleBinding")
        for _, subject in mappings(manifest.object.get("subjects"))
    }
    for pod in _pods(objects):
        name = _account(pod)
        if name in with_rights:
            continue
        own, account = pod.get("automountServiceAccountToken"), objects.find("ServiceAccount", name)
        inherited = account.object.get("automountServiceAccountToken") if account else None
        if own is True or (own is None and inherited is not False):
            said = "" if own else ", as nothing says otherwise"
            message = f"the pods get a token for the Kubernetes API{said}, and need none"
            fix = "write automountServiceAccountToken: false"
            yield pod.problem(("automountServiceAccountToken",), message, fix)
        for index, volume in mappings(pod.get("volumes")):
            for source, one in mappings(yamlio.get(volume, ("projected", "sources"))):
                token = one.get("serviceAccountToken")
                if isinstance(token, dict) and not token.get("audience"):
                    place = ("volumes", index, "projected", "sources", source)
                    message = f"the volume {volume.get('name')} has a token for the Kubernetes API"
                    fix = "remove it, or write the audience that it is for"
                    yield pod.problem((*place, "serviceAccountToken"), message, fix)


def _account(pod: _Pod) -> str:
    return str(pod.get("serviceAccountName") or pod.get("serviceAccount") or "default")


@rule("https://kubernetes.io/docs/concepts/security/service-accounts/#default-service-accounts")
def default_service_account(objects: Objects) -> Iterator[Problem]:
    """Each component's pods run as a service account of their own, not as the namespace's default.

    Else a right or a role that somebody gives the default account is given to these pods, too.
    """
    pods = list(_pods(objects))
    # Where no pod has an account of its own, nobody gives accounts rights.
    has_accounts = any(_account(pod) != "default" for pod in pods)
    for pod in pods if has_accounts else ():
        if _account(pod) == "default":
            message = "the pods run as the service account default, with whatever it is allowed"
            own = objects.find("ServiceAccount", pod.manifest.name)
            fix = f"write {own.name}" if own else "name a service account of their own"
            yield pod.problem(("serviceAccountName",), message, fix)


@rule(_IRSA)
def service_account_of_another(objects: Objects) -> Iterator[Problem]:
    """No two components' pods run as one service account.

    Else the one has the other's rights: with the IAM role of backups, it can read or overwrite
    every backup.
    """
    first = dict[str, _Pod]()
    for pod in _pods(objects):
        name = _account(pod)
        account = objects.find("ServiceAccount", name)
        owner = account.component if account else ""
        before = first.setdefault(name, pod)
        if owner and pod.manifest.component:
            other = owner if owner != pod.manifest.component else ""
        else:
            other = _component(before) if _component(before) != _component(pod) else ""
        if other and name != "default":
            role = yamlio.get(account.object, ("metadata", "annotations", _ROLE)) if account else ""
            message = f"the pods run as the service account {name} of {other}"
            message += f", and so with its IAM role {role}" if role else ", and so with its rights"
            fix = f"name a service account for {_component(pod)} alone"
            yield pod.problem(("serviceAccountName",), message, fix)


def _component(pod: _Pod) -> str:
    return pod.manifest.component or pod.manifest.name


_NODES = {"besu", "maru", "sequencer"}


@rule(_IRSA)
def role_of_another(objects: Objects) -> Iterator[Problem]:
    """An IAM role is one component's; only the nodes that restore a backup have one together.

    Else one has what the other may: nodes that have the role of backups can delete every backup.
    """
    owners = dict[str, Manifest]()
    for role, manifest, path, _ in _roles(objects):
        owner = owners.setdefault(role, manifest)
        both = {owner.component, manifest.component}
        if owner.component != manifest.component and not both <= _NODES:
            message = f"{manifest.label} has the IAM role of {owner.label}: {role}"
            fix = f"make a role that allows what {manifest.component or manifest.name} needs"
            yield Problem(manifest, path, message, fix)


@across(_IRSA)
def role_of_two_environments(among: Sequence[Objects]) -> Iterator[tuple[Objects, Problem]]:
    """An IAM role belongs to one environment.

    Else what breaks into one environment has the backups and the Secrets of the other.
    """
    yield from _shared(among, _roles, "the IAM role {} is {}'s, too: each has what the other has")


def _roles(objects: Objects) -> Iterator[tuple[str, Manifest, Where, str]]:
    for manifest in objects.of_kind("ServiceAccount"):
        path: Where = ("metadata", "annotations", _ROLE)
        role = yamlio.get(manifest.object, path)
        if isinstance(role, str) and role:
            yield role, manifest, path, f"make a role for {objects.name}, and write its ARN"
    for manifest in objects.of_kind("SecretStore"):
        path = ("spec", "provider", "aws", "role")
        role = yamlio.get(manifest.object, path)
        if isinstance(role, str) and role:
            yield role, manifest, path, f"make a role for {objects.name}, and write its ARN"


_Owned = tuple[str, Manifest, Where, str]
"""What an environment has, the manifest and the path that say so, and what to write instead."""


def _shared(among: Sequence[Objects], of: Any, message: str) -> Iterator[tuple[Objects, Problem]]:
    """Yield what one environment has and another before it has, too; of one thing, one place."""
    owners = dict[str, Objects]()
    told = set[tuple[str, str]]()
    for objects in sorted(among, key=lambda one: (not one.is_production, one.name)):
        for what, manifest, path, fix in of(objects):
            owner = owners.setdefault(what, objects)
            if owner is not objects and (objects.name, what) not in told:
                told.add((objects.name, what))
                text = message.format(what, owner.name)
                yield objects, Problem(manifest, path, text, fix)


@across("docs/backups.md")
def backups_in_one_place(among: Sequence[Objects]) -> Iterator[tuple[Objects, Problem]]:
    """Environments keep their backups apart: each has a bucket, or a prefix in it, of its own.

    Else each deletes the other's as outdated, and restores what the other's chain has been.
    """
    yield from _shared(
        among,
        _places_of_backups,
        "backups go to {}, and those of {} do, too: each deletes the other's as outdated",
    )


def _places_of_backups(objects: Objects) -> Iterator[_Owned]:
    for pod in _pods(objects):
        if pod.manifest.kind != "CronJob":
            continue
        for path, container in pod.containers():
            said = {
                str(one.get("name")): (("env", index, "value"), one.get("value"))
                for index, one in mappings(container.get("env"))
            }
            bucket, prefix = said.get("BUCKET"), said.get("PREFIX")
            if bucket and prefix:
                _, endpoint = said.get("RCLONE_CONFIG_S3_ENDPOINT", ((), "s3:/"))
                place = (*pod.path, *path, *prefix[0])
                fix = f"write another bucket, or the prefix {objects.namespace}"
                yield f"{endpoint}/{bucket[1]}/{prefix[1]}", pod.manifest, place, fix


@across("https://external-secrets.io/latest/api/externalsecret/")
def secret_of_two_environments(among: Sequence[Objects]) -> Iterator[tuple[Objects, Problem]]:
    """An entry of a store of secrets is read by one environment only.

    Else two environments have one key: who has the one's has the other's, two validators with one
    key sign two chains, and two senders of one account take each other's nonces.
    """
    # One prefix decides all entries of an environment: it is told once.
    more = dict[tuple[str, str], list[tuple[Objects, Problem]]]()
    message = "the entry {} is read by {}, too: both have one key, and who gets it has both"
    for objects, problem in _shared(among, _entries, message):
        reference = yamlio.get(problem.manifest.object, ("spec", "secretStoreRef", "name"))
        more.setdefault((objects.name, str(reference)), []).append((objects, problem))
    for (objects, problem), *others in more.values():
        also = f"; so are {len(others)} more" if others else ""
        yield objects, replace(problem, message=problem.message + also)


def _entries(objects: Objects) -> Iterator[_Owned]:
    for manifest in objects.of_kind("ExternalSecret"):
        reference = yamlio.get(manifest.object, ("spec", "secretStoreRef"))
        reference = reference if isinstance(reference, dict) else {}
        store = objects.find("SecretStore", reference.get("name"))
        provider = store and yamlio.get(store.object, ("spec", "provider", "aws"))
        # Of other stores, nobody here knows which two are one.
        if not isinstance(provider, dict):
            continue
        for index, one in mappings(yamlio.get(manifest.object, ("spec", "data"))):
            remote = one.get("remoteRef")
            if isinstance(remote, dict):
                key = f"{remote.get('key')} in {provider.get('region')}"
                path = ("spec", "data", index, "remoteRef", "key")
                fix = f"write an entry of its own, like {objects.namespace}/{manifest.name}"
                yield key, manifest, path, fix


_CHAIN = {"backup", "besu", "ethstats", "maru", "sequencer", "tx-sender"}
_READERS = {
    "jwt": {"maru", "sequencer"},
    "secret": {"besu", "ethstats", "sequencer"},
    "AWS_ACCESS_KEY_ID": {"backup", "besu", "maru", "sequencer"},
    "AWS_SECRET_ACCESS_KEY": {"backup", "besu", "maru", "sequencer"},
}
"""Of the keys that several components read, by chart/README.md, who may: the Engine API's secret,
EthStats', and what reads and writes backups. Every other key has one reader."""


@rule("chart/README.md")
def secret_of_another(objects: Objects) -> Iterator[Problem]:
    """A component reads its own Secrets, and no other's.

    Else the private key of a validator or of an account lies where it is not needed, and two
    nodes with one key sign against each other.
    """
    readers = dict[tuple[str, str], list[tuple[_Pod, Where]]]()
    for pod in _pods(objects):
        for name, key, path in _secrets(pod):
            readers.setdefault((name, key), []).append((pod, path))
    told = set[tuple[str, str]]()
    for (name, key), found in readers.items():
        components = list(dict.fromkeys(_component(pod) for pod, _ in found))
        allowed = _READERS.get(key) or {_owner(objects, name, components)}
        for pod, path in found:
            component = _component(pod)
            seen = (pod.manifest.label, name)
            if component in allowed or seen in told or not _CHAIN & {*components, *allowed}:
                continue
            told.add(seen)
            whose = " and ".join(sorted(allowed))
            message = f"{component} reads the Secret {name}, which is {whose}'s alone"
            fix = f"name the Secret of {component}, or remove it here"
            yield pod.problem(path, message, fix)


def _owner(objects: Objects, name: str, readers: Sequence[str]) -> str:
    """Return whose Secret it is: its manifest says so, or its name; else who reads it first."""
    manifest = objects.find("ExternalSecret", name)
    if manifest and manifest.component in _CHAIN:
        return manifest.component
    named = [one for one in sorted(_CHAIN) if re.search(rf"(^|-){one}(-|$)", name)]
    return named[0] if named else readers[0]


def _secrets(pod: _Pod) -> Iterator[tuple[str, str, Where]]:
    """Yield name, key and place of the Secrets that a pod reads; no key where it reads them all."""
    for index, volume in mappings(pod.get("volumes")):
        yield from _keys(volume.get("secret"), "secretName", ("volumes", index, "secret"))
        for number, source in mappings(yamlio.get(volume, ("projected", "sources"))):
            projected = ("volumes", index, "projected", "sources", number, "secret")
            yield from _keys(source.get("secret"), "name", projected)
    for path, container in pod.containers():
        for index, variable in mappings(container.get("env")):
            found = yamlio.get(variable, ("valueFrom", "secretKeyRef"))
            if isinstance(found, dict):
                place = (*path, "env", index, "valueFrom", "secretKeyRef", "name")
                yield str(found.get("name")), str(found.get("key")), place
        for index, source in mappings(container.get("envFrom")):
            yield from _keys(
                source.get("secretRef"), "name", (*path, "envFrom", index, "secretRef")
            )


def _keys(secret: Any, field: str, path: Where) -> Iterator[tuple[str, str, Where]]:
    if isinstance(secret, dict):
        listed = [str(item.get("key")) for _, item in mappings(secret.get("items"))]
        for key in listed or [""]:
            yield str(secret.get(field)), key, (*path, field)


_OTHERS = 0o007
"""The bits of a file's mode that are for everybody."""


@rule("https://kubernetes.io/docs/concepts/configuration/secret/")
def secret_file_for_everybody(objects: Objects) -> Iterator[Problem]:
    """The files of a Secret can be read by the pod's user and group only.

    Else every program of the pod reads them, whichever user it runs as. Kubernetes makes them so
    (0644) where nothing is said.
    """
    for pod in _pods(objects):
        for index, volume in mappings(pod.get("volumes")):
            for path, mode in _modes(volume):
                if isinstance(mode, int) and mode & _OTHERS:
                    message = (
                        f"the files of the volume {volume.get('name')}, which are secret, can be "
                        f"read by everybody in the pod (mode {mode:04o})"
                    )
                    yield pod.problem(
                        ("volumes", index, *path), message, "write 0440: in YAML, 288"
                    )


def _modes(volume: dict[str, Any]) -> Iterator[tuple[Where, Any]]:
    """Yield the modes of a volume's files that come from Secrets, each with its path."""
    projected = volume.get("projected")
    sources = list(mappings(yamlio.get(projected, ("sources",))))
    secrets: list[tuple[Where, Any]] = [(("secret",), volume.get("secret"))]
    secrets += [(("projected", "sources", i, "secret"), one.get("secret")) for i, one in sources]
    held = [(path, secret) for path, secret in secrets if isinstance(secret, dict)]
    for kind in {path[0]: None for path, _ in held}:
        yield (kind, "defaultMode"), yamlio.get(volume, (kind, "defaultMode")) or 0o644
    for path, secret in held:
        for index, item in mappings(secret.get("items")):
            yield (*path, "items", index, "mode"), item.get("mode")


# What is open to others

_INTERNAL = {
    "service.beta.kubernetes.io/aws-load-balancer-scheme": "internal",
    "service.beta.kubernetes.io/aws-load-balancer-internal": "true",
    "service.beta.kubernetes.io/azure-load-balancer-internal": "true",
    "networking.gke.io/load-balancer-type": "Internal",
    "cloud.google.com/load-balancer-type": "Internal",
}
_ANYBODY = {"0.0.0.0/0", "::/0"}
_P2P = {"maru-p2p", "p2p", "p2p-udp"}


@dataclass(frozen=True, slots=True)
class _Port:
    """A port of a Service, and the port of the pods that it leads to."""

    path: Where
    number: Any
    name: str
    """As the container calls it; nothing where it names none."""
    container: str
    target: Any


def _ports(objects: Objects, service: Manifest) -> Iterator[_Port]:
    selector = yamlio.get(service.object, ("spec", "selector"))
    selected = objects.selected({"matchLabels": selector}) if isinstance(selector, dict) else []
    declared = {
        key: (str(port.get("name", "")), one.name, port.get("containerPort"))
        for one in objects.containers
        if one.workload in selected
        for _, port in mappings(one.get("ports"))
        for key in (port.get("name"), port.get("containerPort"))
        if isinstance(key, str | int)
    }
    for index, port in mappings(yamlio.get(service.object, ("spec", "ports"))):
        target = port.get("targetPort", port.get("port"))
        known = declared.get(target) if isinstance(target, str | int) else None
        name, container, number = known or (str(target), "", target)
        yield _Port(("spec", "ports", index), port.get("port"), name, container, number)


def _opened(service: Manifest) -> tuple[Where, str] | None:
    """Return the field that opens a Service to others than the cluster's pods, and how."""
    spec = service.object.get("spec")
    if not isinstance(spec, dict):
        return None
    if spec.get("externalIPs"):
        return ("spec", "externalIPs"), "takes addresses of nodes or of the network as its own"
    if spec.get("type") == "NodePort":
        return ("spec", "type"), "is a port on every node"
    notes = service.metadata.get("annotations") or {}
    is_internal = any(notes.get(key) == value for key, value in _INTERNAL.items())
    if spec.get("type") == "LoadBalancer" and not is_internal:
        return ("spec", "type"), "has a load balancer of its own, without TLS"
    return None


def _is_narrowed(service: Manifest) -> bool:
    ranges = yamlio.get(service.object, ("spec", "loadBalancerSourceRanges"))
    return isinstance(ranges, list) and bool(ranges) and not _ANYBODY & {str(r) for r in ranges}


@rule("docs/connectivity.md")
def service_is_public(objects: Objects) -> Iterator[Problem]:
    """In production, only Ingresses are open to the public, and Services for peers of the chain.

    Else requests go in plain text, past the TLS, the limits and the logs of the load balancer that
    all share. A load balancer that is internal, or has narrow loadBalancerSourceRanges, is not
    public.
    """
    for service in objects.of_kind("Service") if objects.is_production else ():
        opened = _opened(service)
        if opened and not (_is_narrowed(service) and opened[1].startswith("has")):
            names = {port.name for port in _ports(objects, service)}
            if not names or names - _P2P:
                path, how = opened
                message = f"{service.label} {how}: production is reached around its Ingress"
                fix = "write type: ClusterIP, and let an Ingress lead to it"
                if path[-1] == "externalIPs":
                    fix = "remove externalIPs, and let an Ingress lead to it"
                yield Problem(service, path, message, fix)


_PRIVATE = {
    "engine": "the Engine API, by which whoever reaches it decides what the chain is",
    "metrics": "the metrics, which tell how the nodes are and whom they know",
    "maru-metrics": "the metrics, which tell how the nodes are and whom they know",
    "api": "Maru's API, which is for its operators",
}
_ENGINE = 8550


def _private(port: _Port) -> str:
    """Return what a port of pods is that nobody outside may reach; nothing where it may be open."""
    if port.name == "api" and port.container != "maru":
        return ""
    return _PRIVATE["engine"] if port.target == _ENGINE else _PRIVATE.get(port.name, "")


@rule("docs/connectivity.md")
def private_port_is_public(objects: Objects) -> Iterator[Problem]:
    """Nothing leads from outside of the cluster to the Engine API, Maru's API or metrics.

    Else the chain can be rewritten, or its nodes be watched and stopped, by whoever finds the port.
    """
    for service in objects.of_kind("Service"):
        opened = _opened(service)
        for port in _ports(objects, service) if opened else ():
            if what := _private(port):
                message = f"{service.label} is open to others, and leads to {what}"
                fix = "remove the port here: what needs it in the cluster has another Service"
                yield Problem(service, port.path, message, fix)
    for ingress, path, backend in _backends(objects):
        service_, ports = _backend(objects, backend)
        for port in ports if service_ else ():
            if what := _private(port):
                message = f"{ingress.label} leads to {what}"
                fix = "lead to the port rpc or ws of Besu, or remove the path"
                yield Problem(ingress, path, message, fix)


def _backends(objects: Objects) -> Iterator[tuple[Manifest, Where, dict[str, Any]]]:
    """Yield the paths of all Ingresses, and what is asked where none of them is meant."""
    for ingress in objects.of_kind("Ingress"):
        if default := yamlio.get(ingress.object, ("spec", "defaultBackend")):
            yield ingress, ("spec", "defaultBackend"), {"path": "/", "backend": default}
        for index, data in mappings(yamlio.get(ingress.object, ("spec", "rules"))):
            for number, one in mappings(yamlio.get(data, ("http", "paths"))):
                yield ingress, ("spec", "rules", index, "http", "paths", number), one


def _backend(objects: Objects, path: dict[str, Any]) -> tuple[Manifest | None, list[_Port]]:
    """Return the Service that a path of an Ingress leads to, and those of its ports it means."""
    wanted = yamlio.get(path, ("backend", "service"))
    service = objects.find("Service", wanted.get("name")) if isinstance(wanted, dict) else None
    if service is None:
        return None, []
    named, number = (yamlio.get(wanted, ("port", field)) for field in ("name", "number"))
    names = {
        index: port.get("name")
        for index, port in mappings(yamlio.get(service.object, ("spec", "ports")))
    }
    return service, [
        port
        for port in _ports(objects, service)
        if (named is not None and names.get(int(port.path[-1])) == named)
        or (number is not None and port.number == number)
    ]


_REPORTING = "/api"


@rule("https://github.com/cubedro/eth-netstats/blob/master/app.js")
def reporting_is_public(objects: Objects) -> Iterator[Problem]:
    """An Ingress leads to EthStats' page, and not to /api, where the nodes report.

    Else anybody can report there: of what it is told, the program asks for its password only once.
    """
    for ingress, path, data in _backends(objects):
        _, ports = _backend(objects, data)
        if not any(port.container == "ethstats" for port in ports):
            continue
        where, exact = str(data.get("path", "/")), data.get("pathType") == "Exact"
        reaches = where.rstrip("/") == _REPORTING if exact else _leads_to_reporting(where)
        if reaches:
            message = f"{ingress.label} leads to EthStats' /api, where nodes report, by {where}"
            fix = "write pathType: Exact, and the page's folders each by its own path"
            if where.startswith(_REPORTING):
                fix = "remove the path: nodes report through the Service, in the cluster"
            yield Problem(ingress, path, message, fix)


def _leads_to_reporting(path: str) -> bool:
    bare = path.removesuffix("*").rstrip("/")
    return bare == _REPORTING or f"{_REPORTING}/".startswith(f"{bare}/") or path.startswith("/api/")


@dataclass(frozen=True, slots=True)
class _Listeners:
    """How an Ingress is spoken to."""

    has_tls: bool
    has_http: bool
    redirects: bool


def _listeners(ingress: Manifest) -> _Listeners:
    notes = ingress.metadata.get("annotations") or {}
    if not _is_alb(ingress):
        off = "false" in (
            notes.get("nginx.ingress.kubernetes.io/ssl-redirect"),
            notes.get("nginx.ingress.kubernetes.io/force-ssl-redirect", ""),
        )
        return _Listeners(not list(_hosts_without_tls(ingress)), True, not off)
    ports = _listen_ports(str(notes.get(f"{_ALB}listen-ports")))
    if not ports:
        ports = ["HTTPS" if notes.get(f"{_ALB}certificate-arn") else "HTTP"]
    redirects = f"{_ALB}ssl-redirect" in notes or any(
        str(key).startswith(f"{_ALB}actions.") and '"redirect"' in str(value)
        for key, value in notes.items()
    )
    return _Listeners("HTTPS" in ports, "HTTP" in ports, redirects)


def _is_alb(ingress: Manifest) -> bool:
    notes = ingress.metadata.get("annotations") or {}
    named = yamlio.get(ingress.object, ("spec", "ingressClassName"))
    return "alb" in (named, notes.get("kubernetes.io/ingress.class")) or any(
        str(key).startswith(_ALB) for key in notes
    )


@lru_cache(maxsize=64)
def _listen_ports(text: str) -> list[str]:
    """Return the protocols of an ALB's listeners, as its annotation says them in JSON."""
    try:
        found = json.loads(text)
    except ValueError:
        return []
    return [key for _, one in mappings(found) for key in one]


def _hosts_without_tls(ingress: Manifest) -> Iterator[tuple[Where, str]]:
    covered = {
        str(host)
        for _, one in mappings(yamlio.get(ingress.object, ("spec", "tls")))
        for host in listed(one.get("hosts"))
    }
    for index, data in mappings(yamlio.get(ingress.object, ("spec", "rules"))):
        host = str(data.get("host", ""))
        wildcard = f"*.{host.partition('.')[2]}"
        if not {host, wildcard} & covered:
            yield ("spec", "rules", index, "host"), host or "every host"


@rule(_ALB_GUIDE)
def ingress_without_tls(objects: Objects) -> Iterator[Problem]:
    """In production, each host of an Ingress is served over TLS.

    Else requests and signed transactions can be read and changed on their way.
    """
    for ingress in objects.of_kind("Ingress") if objects.is_production else ():
        if _listeners(ingress).has_tls:
            continue
        if _is_alb(ingress):
            path: Where = ("metadata", "annotations", f"{_ALB}listen-ports")
            message = f"{ingress.label} listens without TLS: the load balancer speaks plain HTTP"
            fix = 'write [{"HTTP": 80}, {"HTTPS": 443}]'
            yield Problem(ingress, path, message, fix)
        for where, host in () if _is_alb(ingress) else _hosts_without_tls(ingress):
            message = f"{host} is served without TLS: spec.tls does not name it"
            fix = "write tlsSecretName of the host: the Secret with its certificate"
            yield Problem(ingress, where, message, fix)


@rule(_ALB_GUIDE)
def http_without_redirect(objects: Objects) -> Iterator[Problem]:
    """In production, what asks over plain HTTP is sent to HTTPS.

    Else a client that was given http:// goes on that way, and nobody notices that it is not safe.
    """
    for ingress in objects.of_kind("Ingress") if objects.is_production else ():
        found = _listeners(ingress)
        if found.has_tls and found.has_http and not found.redirects:
            key = f"{_ALB}ssl-redirect"
            if not _is_alb(ingress):
                key = "nginx.ingress.kubernetes.io/ssl-redirect"
            message = f"{ingress.label} answers over plain HTTP, too, and sends nobody to HTTPS"
            fix = 'write "443"' if _is_alb(ingress) else 'write "true"'
            yield Problem(ingress, ("metadata", "annotations", key), message, fix)


_OLD_TLS = re.compile(
    r"ELBSecurityPolicy-(2015-05|2016-08|FS-2018-06|FS-1-1-.*|TLS-1-[01]-.*|TLS13-1-[01]-.*)"
)


@rule(
    "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/describe-ssl-policies.html"
)
def tls_is_old(objects: Objects) -> Iterator[Problem]:
    """In production, load balancers speak TLS 1.2 and later only.

    Else connections can be brought down to TLS 1.0 or 1.1, which can be broken; that is what the
    controller's default allows.
    """
    for ingress in objects.of_kind("Ingress") if objects.is_production else ():
        if _is_alb(ingress) and _listeners(ingress).has_tls:
            path = ("metadata", "annotations", f"{_ALB}ssl-policy")
            policy = yamlio.get(ingress.object, path)
            if policy is None or _OLD_TLS.fullmatch(str(policy)):
                said = f"{policy} allows" if policy else "without an ssl-policy, AWS allows"
                message = f"{said} TLS 1.0 or 1.1 on the hosts of {ingress.label}"
                fix = "write ELBSecurityPolicy-TLS13-1-2-2021-06"
                yield Problem(ingress, path, message, fix)


@across("https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/")
def object_in_namespace_of_another(
    among: Sequence[Objects],
) -> Iterator[tuple[Objects, Problem]]:
    """No environment has an object in the namespace of another on the same cluster.

    Else a change of one environment changes the other: a NetworkPolicy opens its pods, a Service
    takes its connections.
    """
    owners = {(_cluster(objects), objects.namespace): objects for objects in among}
    for objects in among:
        cluster = _cluster(objects)
        for manifest in objects.manifests:
            owner = owners.get((cluster, manifest.namespace))
            if owner is None or owner is objects or manifest.namespace == objects.namespace:
                continue
            # That both have the object is object-of-two-applications.
            if manifest.identity not in {one.identity for one in owner.of_kind(manifest.kind)}:
                message = (
                    f"{manifest.label} is in {manifest.namespace}, the namespace of {owner.name}: "
                    f"{objects.name} would change {owner.name}"
                )
                fix = f"write {objects.namespace}, or nothing, which is the same"
                yield objects, Problem(manifest, ("metadata", "namespace"), message, fix)


def _cluster(objects: Objects) -> str:
    destination = yamlio.get(objects.application.object, ("spec", "destination"))
    found = destination if isinstance(destination, dict) else {}
    if found.get("name") == "in-cluster":
        return "https://kubernetes.default.svc"
    return str(found.get("name") or found.get("server") or "").rstrip("/").lower()
