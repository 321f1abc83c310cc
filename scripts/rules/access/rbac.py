"""Identity: roles, and the service accounts that pods act as."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from scripts.core import paths
from scripts.kubernetes import containers, network_policies
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import Workload, mappings
from scripts.rules.pod_templates import in_pod
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, annotation

_ROLE = "eks.amazonaws.com/role-arn"
_IRSA = "https://docs.aws.amazon.com/eks/latest/userguide/iam-roles-for-service-accounts.html"


_RBAC = "https://kubernetes.io/docs/concepts/security/rbac-good-practices/"


@rule(_RBAC, outcome=Outcome.RISK)
def wildcard_role(objects: Objects) -> Iterator[Problem]:
    """Roles name the API groups, resources and verbs that they allow.

    Else they allow what nobody thought of, also what comes with the next version of Kubernetes.
    """
    for manifest, path, data in _rights(objects):
        for field in ("apiGroups", "resources", "verbs"):
            if isinstance(data.get(field), list) and "*" in data[field]:
                message = f'{manifest.label} allows all {field}: "*"'
                fix = f"write the {field} that are needed, each by its name"
                yield Problem(manifest, (*path, field), message, fix)


@rule(_RBAC, outcome=Outcome.RISK)
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


@rule(
    "https://kubernetes.io/docs/reference/access-authn-authz/rbac/#user-facing-roles",
    outcome=Outcome.RISK,
)
def cluster_admin_binding(objects: Objects) -> Iterator[Problem]:
    """Nothing of an environment is bound to cluster-admin, admin or edit.

    Else one pod of it can read all Secrets and run whatever it likes, in its namespace or anywhere.
    """
    for manifest in objects.of_kind("RoleBinding", "ClusterRoleBinding"):
        name = paths.get(manifest.object, ("roleRef", "name"))
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


@rule(_TOKENS, outcome=Outcome.RISK)
def unused_service_account_token(objects: Objects) -> Iterator[Problem]:
    """Pods have no token for the Kubernetes API, unless a binding gives their account a right.

    Else what breaks into a pod can speak to the API server in its name. (Roles of IAM come by a
    token of their own, which this does not concern.)
    """
    with_rights = {
        subject.get("name")
        for manifest in objects.of_kind("RoleBinding", "ClusterRoleBinding")
        for _, subject in mappings(manifest.object.get("subjects"))
    }
    for workload in objects.makers:
        name, own = _account(workload), workload.pod_spec.get("automountServiceAccountToken")
        if name in with_rights or not workload.pod_spec:
            continue
        account = objects.find("ServiceAccount", name)
        inherited = account.object.get("automountServiceAccountToken") if account else None
        if own is True or (own is None and inherited is not False):
            said = "" if own else ", as nothing says otherwise"
            message = f"the pods get a token for the Kubernetes API{said}, and need none"
            fix = "write automountServiceAccountToken: false"
            yield in_pod(workload, ("automountServiceAccountToken",), message, fix)
        for path, volume in workload.volumes():
            for source, one in mappings(paths.get(volume, ("projected", "sources"))):
                token = one.get("serviceAccountToken")
                if isinstance(token, dict) and not token.get("audience"):
                    place = (*path, "projected", "sources", source, "serviceAccountToken")
                    message = f"the volume {volume.get('name')} has a token for the Kubernetes API"
                    fix = "remove it, or write the audience that it is for"
                    yield Problem(workload.manifest, place, message, fix)


def _account(workload: Workload) -> str:
    spec = workload.pod_spec
    return str(spec.get("serviceAccountName") or spec.get("serviceAccount") or "default")


@rule(
    "https://kubernetes.io/docs/concepts/security/service-accounts/#default-service-accounts",
    outcome=Outcome.RISK,
)
def default_service_account(objects: Objects) -> Iterator[Problem]:
    """Each component's pods run as a service account of their own, not as the namespace's default.

    Else a right or a role that somebody gives the default account is given to these pods, too.
    """
    found = [workload for workload in objects.makers if workload.pod_spec]
    # Where no pod has an account of its own, nobody gives accounts rights.
    has_accounts = any(_account(workload) != "default" for workload in found)
    for workload in found if has_accounts else ():
        if _account(workload) == "default":
            message = "the pods run as the service account default, with whatever it is allowed"
            own = objects.find("ServiceAccount", workload.manifest.name)
            fix = f"write {own.name}" if own else "name a service account of their own"
            yield in_pod(workload, ("serviceAccountName",), message, fix)


@rule(_IRSA, outcome=Outcome.RISK)
def shared_service_account(objects: Objects) -> Iterator[Problem]:
    """No two components' pods run as one service account.

    Else the one has the other's rights: with the IAM role of backups, it can read or overwrite
    every backup.
    """
    first = dict[str, Workload]()
    for workload in objects.makers:
        name = _account(workload)
        account = objects.find("ServiceAccount", name)
        owner = account.component if account else ""
        before = first.setdefault(name, workload)
        if owner and workload.manifest.component:
            other = owner if owner != workload.manifest.component else ""
        else:
            other = before.component if before.component != workload.component else ""
        if other and name != "default":
            role = paths.get(account.object, ("metadata", "annotations", _ROLE)) if account else ""
            message = f"the pods run as the service account {name} of {other}"
            message += f", and so with its IAM role {role}" if role else ", and so with its rights"
            fix = f"name a service account for {workload.component} alone"
            yield in_pod(workload, ("serviceAccountName",), message, fix)


_ADMINISTRATOR = re.compile(r"(^|[-_/.])(admin|administrator|poweruser)s?(access)?($|[-_.])", re.I)


@rule("https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html", outcome=Outcome.RISK)
def administrator_iam_role(objects: Objects) -> Iterator[Problem]:
    """No service account has an administrator's role of IAM.

    Else what breaks into one pod has the whole account: the nodes, the disks and all backups.
    """
    for account in objects.of_kind("ServiceAccount"):
        role = _role(account)
        if _ADMINISTRATOR.search(role.rpartition(":role/")[2]):
            message = f"{account.label} has {role}, by its name a role for administrators"
            fix = f"make a role that allows what {account.component or account.name} needs"
            yield Problem(account, annotation(_ROLE), message, fix)


def _role(account: Manifest) -> str:
    found = account.annotations.get(_ROLE)
    return found if isinstance(found, str) else ""


_STORE_ACCOUNT = ("spec", "provider", "aws", "auth", "jwt", "serviceAccountRef", "name")


@rule("https://external-secrets.io/latest/provider/aws-access/")
def missing_iam_role(objects: Objects) -> Iterator[Problem]:
    """The service account that a SecretStore reads AWS with has a role of IAM.

    Else External Secrets reads nothing: no Secret is made, and pods wait for theirs.
    """
    for store in objects.of_kind("SecretStore"):
        account = objects.find("ServiceAccount", paths.get(store.object, _STORE_ACCOUNT))
        if account and not _role(account):
            message = f"{store.label} reads AWS with the role of {account.label}, which has none"
            fix = "write the ARN of a role that may read the entries"
            yield Problem(account, annotation(_ROLE), message, fix)


_AGENT = network_policies.Party("the agent of EKS Pod Identity", address="169.254.170.23")
_AUTOMATIC = "RCLONE_CONFIG_S3_ENV_AUTH"


@rule("docs/eks.md")
def missing_bucket_credentials(objects: Objects) -> Iterator[Problem]:
    """Pods that use a bucket have a role or a key for it.

    Else S3 answers 403: no backup is written, and none is restored.
    """
    for workload in objects.makers:
        account = objects.find("ServiceAccount", _account(workload))
        asks = any(map(_asks_for_credentials, containers.of(workload)))
        if not account or not asks or _role(account):
            continue
        # Without a policy, the agent of EKS Pod Identity may be what gives them.
        policies = objects.isolating[network_policies.EGRESS, workload.manifest.label]
        if not network_policies.opens(policies, network_policies.EGRESS, _AGENT, _AGENT, 80, "TCP"):
            message = (
                f"{workload.manifest.label} uses a bucket, and {account.label} has no role of IAM,"
                " nor may its pods ask the agent of EKS Pod Identity"
            )
            fix = "write the ARN of a role that may use the bucket, or aws.identity: podIdentity"
            yield Problem(account, annotation(_ROLE), message, fix)


def _asks_for_credentials(container: Container) -> bool:
    """Return whether a container looks for credentials that no variable of its own gives it."""
    said = {str(one.get("name")): one.get("value") for _, one in container.variables()}
    given = any(re.fullmatch(r".*ACCESS_KEY_ID|AWS_.*(FILE|URI|PROFILE)", name) for name in said)
    return said.get(_AUTOMATIC) == "true" and not given and not container.get("envFrom")
