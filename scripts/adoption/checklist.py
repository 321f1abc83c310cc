"""What is left to do for people, on AWS and on the cluster, with the names of the answers."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from scripts.adoption import answers as given
from scripts.adoption.answers import Answers
from scripts.core.sentences import joined
from scripts.network.secret_files import TOP

_OWN = "https://kubernetes.default.svc"


def lines(root: Path, answers: Answers) -> Iterator[str]:
    """Yield the lines of the checklist: a task each, and the commands below it."""
    names = answers.names
    url, branch = answers.get("repository", "url"), answers.get("repository", "revision") or "main"
    yield "left for you to do:"
    yield from _task(
        "commit and push",
        "git add -A && git commit -m 'Adopt the repository'",
        f"git push {url} HEAD:{branch}",
    )
    yield from _task(
        "look up the digests of images, on a machine that reaches the registries",
        "nox -s images && nox -s render validate",
    )
    if not answers.get("owners"):
        yield from _task("write the owners of each part into .github/CODEOWNERS")
    yield from _task("protect the branch: argocd/README.md, Guards")
    yield from _task(
        f"keep {joined(f'{TOP}/{name}/' for name in names)} safe, for example in a vault:"
        " lost keys stop the chain, stolen keys hijack it"
    )
    for name in names:
        yield f"{name}:"
        yield from _of_environment(root, answers, name)
    yield "Argo CD (argocd/README.md, Connect a cluster):"
    yield from _clusters(root, answers)
    yield from _task(
        "give Argo CD read access, with the very same address",
        f"argocd repo add {shlex.quote(url)}{_credentials(url)} --core",
    )
    yield from _task(
        "apply the app of apps, after the Secrets of the first environment",
        "kubectl apply -n argocd --server-side -f argocd/root.yaml",
    )


def _task(what: str, *commands: str) -> Iterator[str]:
    yield f"  [ ] {what}"
    yield from (f"        {command}" for command in commands)


def _credentials(url: str) -> str:
    """Return the options with which Argo CD reads a private repository."""
    if url.startswith("https://"):
        return " --username <user> --password <token>"
    return "" if url.startswith("file:") else " --ssh-private-key-path <deploy key>"


def _clusters(root: Path, answers: Answers) -> Iterator[str]:
    """Yield the task to register each cluster that is not Argo CD's own."""
    settings = (given.like(root, name).settings.get("cluster") or {} for name in answers.names)
    clusters = {str(each.get("name") or each.get("server", _OWN)): each for each in settings}
    for known, cluster in clusters.items():
        if known in (_OWN, "in-cluster"):
            continue
        option = f" --name {shlex.quote(known)}" if "name" in cluster else ""
        yield from _task(
            f"let Argo CD know the cluster {known}", f"argocd cluster add <context>{option} --core"
        )


def _of_environment(root: Path, answers: Answers, name: str) -> Iterator[str]:
    like = given.like(root, name)
    if like.is_on_aws:
        yield from _on_aws(answers, name, like)
    provided = like.settings.get("given") or {}
    if classes := [*provided.get("StorageClass", []), *provided.get("IngressClass", [])]:
        yield from _task(f"install what the cluster must have ({joined(classes)}): docs/eks.md")
    into = "AWS Secrets Manager" if like.is_on_aws else f"the namespace {answers.namespace(name)}"
    script = f"sh {TOP}/{name}/create-secrets.sh"
    script += "" if like.is_on_aws else " --context NAME"
    yield from _task(f"create the Secrets in {into}", script)


def _on_aws(answers: Answers, name: str, like: given.Like) -> Iterator[str]:
    region, account = answers.of(name, "region"), answers.of(name, "account")
    yield f"  in the account {account}, region {region}:"
    place = (
        ""
        if region == "us-east-1"
        else f" --create-bucket-configuration LocationConstraint={region}"
    )
    buckets = [answers.bucket(name, "backups")] if like.has("backup", "storage", "bucket") else []
    logs = like.values.get("ingress", {}).get("alb", {}).get("accessLogs", {}).get("bucket", "none")
    buckets += [logs] if logs != "none" else []
    yield from _task(
        f"create the buckets {joined(buckets)}: docs/eks.md, The bucket and the roles",
        *(f"aws s3api create-bucket --region {region} --bucket {each}{place}" for each in buckets),
    )
    roles = [answers.role(name, each) for each in ("secrets", "backup", "restore")]
    yield from _task(
        f"create the roles {joined(each.rpartition('/')[2] for each in roles)}: docs/eks.md, Roles"
    )
    if like.has("ingress", "rpc", "host"):
        rpc, ws = answers.host(name, "rpc"), answers.host(name, "ws")
        if not answers.of(name, "certificates"):
            yield from _task(
                "request a certificate for the hosts, and wait until it is issued",
                f"aws acm request-certificate --region {region} --validation-method DNS"
                f" --domain-name {rpc} --subject-alternative-names {ws}",
            )
        yield from _task(f"after the first sync, point {rpc} and {ws} to the load balancer in DNS")
