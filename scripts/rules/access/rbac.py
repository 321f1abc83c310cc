"""Identity: RBAC roles, IAM roles, and the service accounts of pods."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from scripts.core import advice, paths
from scripts.kubernetes import containers, network_policies
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import Workload, mappings
from scripts.rules.named_objects import ROLE, new_role, other_role
from scripts.rules.pod_templates import in_pod
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, annotation

_IRSA = "https://docs.aws.amazon.com/eks/latest/userguide/iam-roles-for-service-accounts.html"


_RBAC = "https://kubernetes.io/docs/concepts/security/rbac-good-practices/"
_EXAMPLES = {"apiGroups": '[""]', "resources": "[configmaps]", "verbs": "[get, list]"}
"""Field of a role's rule → an example of its value."""


@rule(_RBAC, outcome=Outcome.RISK)
def wildcard_role(objects: Objects) -> Iterator[Problem]:
    """Roles list the API groups, resources and verbs that they allow.

    Otherwise they also allow what no one has reviewed, including resources of later Kubernetes
    versions.
    """
    for manifest, path, data in _rights(objects):
        for field in ("apiGroups", "resources", "verbs"):
            if isinstance(data.get(field), list) and "*" in data[field]:
                message = f'{manifest.label} allows all {field}, including future ones: "*"'
                fix = (
                    f'replace "*" by the {field} that the pods need, for example {_EXAMPLES[field]}'
                )
                yield Problem(manifest, (*path, field), message, fix)


@rule(_RBAC, outcome=Outcome.RISK)
def role_reads_all_secrets(objects: Objects) -> Iterator[Problem]:
    """Roles allow reading only Secrets that they list by name.

    Otherwise every subject of the role can read all keys of the chain in the namespace; list and
    watch also return the data of Secrets.
    """
    for manifest, path, data in _rights(objects):
        resources, verbs = data.get("resources"), data.get("verbs")
        if not isinstance(resources, list) or not isinstance(verbs, list):
            continue
        reads = sorted({"get", "list", "watch"} & {str(verb) for verb in verbs})
        if "secrets" in resources and reads and not data.get("resourceNames"):
            message = (
                f"{manifest.label} allows {', '.join(reads)} on all Secrets of the namespace: each"
                " subject can read every key"
            )
            fix = "write verbs: [get], and list the Secrets that are needed in resourceNames"
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
    """No subject of an environment is bound to cluster-admin, admin or edit.

    Otherwise a pod with this role can read all Secrets and run any workload, in its namespace or in
    the whole cluster.
    """
    for manifest in objects.of_kind("RoleBinding", "ClusterRoleBinding"):
        name = paths.get(manifest.object, ("roleRef", "name"))
        if name in ("cluster-admin", "admin", "edit"):
            subjects = mappings(manifest.object.get("subjects"))
            names = ", ".join(f"{s.get('kind')}/{s.get('name')}" for _, s in subjects)
            message = f"{names or manifest.label} has the role {name}, which can read every Secret"
            fix = (
                f"remove {manifest.label}; if its subjects call the Kubernetes API, add a"
                " RoleBinding to a Role with only the rights that they need"
            )
            yield Problem(manifest, ("roleRef", "name"), message, fix)


# Service accounts and their rights

_TOKENS = (
    "https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/"
    "#opt-out-of-api-credential-automounting"
)


@rule(_TOKENS, outcome=Outcome.RISK)
def unused_service_account_token(objects: Objects) -> Iterator[Problem]:
    """Pods have no token for the Kubernetes API unless a binding grants it rights.

    Otherwise an attacker in a pod can authenticate to the API server. (IAM roles use a separate
    token, which this rule does not report.)
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
            default = "" if own else " by default"
            message = (
                f"the pods get a token for the Kubernetes API{default}, but no binding gives them"
                " rights: only an attacker would use it"
            )
            fix = advice.write("automountServiceAccountToken", False)
            yield in_pod(workload, ("automountServiceAccountToken",), message, fix)
        for path, volume in workload.volumes():
            for source, projection in mappings(paths.get(volume, ("projected", "sources"))):
                token = projection.get("serviceAccountToken")
                if isinstance(token, dict) and not token.get("audience"):
                    place = (*path, "projected", "sources", source, "serviceAccountToken")
                    message = (
                        f"the volume {volume.get('name')} contains a token for the Kubernetes API,"
                        " but no binding gives the pods rights: only an attacker would use it"
                    )
                    fix = advice.remove("serviceAccountToken").unless(
                        "; if another API needs the token, write its audience, for example "
                        "audience: sts.amazonaws.com"
                    )
                    yield Problem(workload.manifest, place, message, fix)


def _account(workload: Workload) -> str:
    spec = workload.pod_spec
    return str(spec.get("serviceAccountName") or spec.get("serviceAccount") or "default")


@rule(
    "https://kubernetes.io/docs/concepts/security/service-accounts/#default-service-accounts",
    outcome=Outcome.RISK,
)
def default_service_account(objects: Objects) -> Iterator[Problem]:
    """Pods run with a service account of their own, not with `default`.

    Otherwise each right or IAM role of the default account also applies to these pods.
    """
    with_pods = [workload for workload in objects.makers if workload.pod_spec]
    # If all pods use the default account, accounts have no rights here.
    has_accounts = any(_account(workload) != "default" for workload in with_pods)
    for workload in with_pods if has_accounts else ():
        if _account(workload) == "default":
            message = "the pods run with ServiceAccount/default, and get all of its rights"
            fix = _own_account(objects, workload)
            yield in_pod(workload, ("serviceAccountName",), message, fix)


def _own_account(objects: Objects, workload: Workload) -> str:
    """Return the fix to give the pods of a workload a service account that no other one uses."""
    name = workload.manifest.name
    if _account(workload) == name:
        return "write the name of a ServiceAccount that only these pods use in serviceAccountName"
    exists = objects.find("ServiceAccount", name)
    create = "" if exists else f"create ServiceAccount/{name}, and "
    return f"{create}write serviceAccountName: {name}"


@rule(_IRSA, outcome=Outcome.RISK)
def shared_service_account(objects: Objects) -> Iterator[Problem]:
    """Each component has its own service account.

    Otherwise each component also has the rights of the other: with the IAM role of the backup, a
    chain node can read or overwrite every backup.
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
            role = paths.get(account.object, ("metadata", "annotations", ROLE)) if account else ""
            message = (
                f"the pods run with ServiceAccount/{name}, which belongs to the component {other}"
            )
            message += f": they have its IAM role {role}" if role else ": they have its rights"
            fix = _own_account(objects, workload)
            yield in_pod(workload, ("serviceAccountName",), message, fix)


_ADMINISTRATOR = re.compile(r"(^|[-_/.])(admin|administrator|poweruser)s?(access)?($|[-_.])", re.I)


@rule("https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html", outcome=Outcome.RISK)
def administrator_iam_role(objects: Objects) -> Iterator[Problem]:
    """No service account has an IAM role for administrators.

    Otherwise an attacker in one pod controls the AWS account: nodes, disks and all backups.
    """
    for account in objects.of_kind("ServiceAccount"):
        role = _role(account)
        if _ADMINISTRATOR.search(role.rpartition(":role/")[2]):
            message = (
                f"{account.label} has the IAM role {role}, which by its name is for administrators:"
                " an attacker in a pod would control the AWS account"
            )
            yield Problem(account, annotation(ROLE), message, other_role(account))


def _role(account: Manifest) -> str:
    found = account.annotations.get(ROLE)
    return found if isinstance(found, str) else ""


_STORE_ACCOUNT = ("spec", "provider", "aws", "auth", "jwt", "serviceAccountRef", "name")


@rule("https://external-secrets.io/latest/provider/aws-access/")
def missing_iam_role(objects: Objects) -> Iterator[Problem]:
    """The service account that a SecretStore uses for AWS has an IAM role.

    Otherwise External Secrets gets AccessDenied and creates no Secret, and the pods that need one
    do not start.
    """
    for store in objects.of_kind("SecretStore"):
        account = objects.find("ServiceAccount", paths.get(store.object, _STORE_ACCOUNT))
        if account and not _role(account):
            message = (
                f"{store.label} uses {account.label}, which has no IAM role: External Secrets gets"
                " AccessDenied, and creates no Secret"
            )
            yield Problem(account, annotation(ROLE), message, new_role(account, account.label))


_AGENT = network_policies.Party("the EKS Pod Identity agent", address="169.254.170.23")
_AUTOMATIC = "RCLONE_CONFIG_S3_ENV_AUTH"


@rule("docs/eks.md")
def missing_bucket_credentials(objects: Objects) -> Iterator[Problem]:
    """Pods that use a bucket have an IAM role or an access key for it.

    Otherwise S3 responds with 403: no backup is written or restored.
    """
    for workload in objects.makers:
        account = objects.find("ServiceAccount", _account(workload))
        needs_credentials = any(map(_needs_credentials, containers.of(workload)))
        if not account or not needs_credentials or _role(account):
            continue
        # Without a policy, the pods may get credentials from the EKS Pod Identity agent.
        policies = objects.isolating[network_policies.EGRESS, workload.manifest.label]
        if not network_policies.opens(policies, network_policies.EGRESS, _AGENT, _AGENT, 80, "TCP"):
            message = (
                f"{workload.manifest.label} uses a bucket, but {account.label} has no IAM role, and"
                " no NetworkPolicy allows the EKS Pod Identity agent: S3 responds with 403"
            )
            fix = new_role(account, account.label)
            yield Problem(account, annotation(ROLE), message, fix)


def _needs_credentials(container: Container) -> bool:
    """Return whether a container needs credentials that its own variables do not set."""
    values = {
        str(variable.get("name")): variable.get("value") for _, variable in container.variables()
    }
    is_set = any(re.fullmatch(r".*ACCESS_KEY_ID|AWS_.*(FILE|URI|PROFILE)", name) for name in values)
    return values.get(_AUTOMATIC) == "true" and not is_set and not container.get("envFrom")
