"""Check the chart against its contract, sentence by sentence, in our own words.

The contract is the public README of the upstream chart (chart/README.md, "The contract").

    python -m tests.chart.contract

prints each difference with its reason. It exits with 1 if a difference has no reason, or if the
chart keeps a promise that has one. chart/README.md lists the same reasons.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import yaml

from tests.chart import oldest_helm
from tests.chart.contract_objects import (
    METRICS,
    STATEFUL,
    TCP,
    asks,
    backup,
    backup_has,
    bare,
    every_workload_says_how_it_is_updated,
    example,
    find,
    get,
    groups_of_prod,
    has_budget,
    has_key,
    has_metrics,
    is_persistent,
    is_probed,
    is_waited_for,
    keeps_one_pod,
    kinds,
    main_container,
    monitors,
    prod,
    renders,
    scaler_is_the_contract_s,
    secrets,
    service_type,
    sets_of_prod,
    variables,
    workload,
)
from tests.objects import CHART, of_environment, of_kind, of_values

GENESIS = (
    "A chain also needs a genesis, `network.validators` and the Secret of the Engine API. The"
    " chart never generates keys or a genesis, so its pods wait until these exist."
)
READINESS = (
    "The readiness probes check whether a node is in sync with the chain. Otherwise a node that"
    " answers but has stopped would count as ready, and a rollout would go on to the next"
    " validators. `ci/contract-probes-values.yaml` has the contract's probes."
)
NO_LIVENESS = (
    "The TX Sender has only a readiness probe. If the chain stands still, a restart of the TX"
    " Sender does not help."
)
FILES = (
    "The TX Sender reads its credentials from files, and only its other settings from environment"
    " variables. Other processes in the container can read a process's environment variables."
)
ONE_POD = (
    "With a single validator, the PodDisruptionBudgets allow the eviction of its only pods."
    " Otherwise their nodes could not be drained. `minAvailable: 1` is accepted with a warning."
)
CLONES = (
    "Backups copy a clone of the volume, because a copy of a running node's volume is"
    " inconsistent. Pods can have such clones from Kubernetes 1.21 on."
)
NO_LOGS = (
    "A backup's Job is deleted 30 minutes after its end, together with its log, because the clone"
    " of the volume exists as long as the Job."
)
STRATEGIES = (
    "The update strategies are explicit, as step 2 of the contract's ten steps to production"
    " requires."
)
MAX_UNAVAILABLE = (
    "StatefulSets have `maxUnavailable` only from Kubernetes 1.37 on, because older API servers"
    " drop the field."
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A promise of the contract."""

    section: str
    promise: str
    holds: Callable[[], bool] | None
    """Whether the chart keeps the promise; None if it is not about the chart."""
    differs: str = ""
    """Why the chart differs from it."""


def sentences() -> Iterator[Sentence]:
    """Yield what the contract promises, in its order."""
    yield from _prerequisites()
    yield from _secrets()
    yield from _components()
    yield from _operations()
    yield from _tradeoffs()
    yield from _production()
    yield from _production_operations()


def _prerequisites() -> Iterator[Sentence]:
    yield Sentence(
        "Introduction",
        "the stack has a sequencer, a Maru, a Besu and an EthStats",
        lambda: all(map(workload, (*STATEFUL, "ethstats"))),
    )
    part = "Prerequisites"
    yield Sentence(part, "Kubernetes 1.19 or later", lambda: bool(bare("1.19")))
    yield Sentence(
        part,
        "Helm 3.0 or later",
        lambda: (
            not any(
                oldest_helm.unknown(text) or oldest_helm.of_several_lines(text)
                for text in (path.read_text("utf-8") for path in oldest_helm.TEMPLATES)
            )
        ),
    )
    yield Sentence(
        part,
        "data on volumes of a StorageClass, by default the cluster's",
        lambda: all(
            "storageClassName" not in m.object["spec"]["volumeClaimTemplates"][0]["spec"]
            for m in of_kind(bare(), "StatefulSet")
        ),
    )
    yield Sentence(
        part,
        "Prometheus Operator and S3 are optional",
        lambda: not {"ServiceMonitor", "PrometheusRule", "CronJob"} & kinds(bare()),
    )
    part = "Installation"
    yield Sentence(
        part, "one `helm install` brings the stack up", lambda: not is_waited_for(), GENESIS
    )
    yield Sentence(
        part,
        "a file of values sets the type of Besu's Service and the size of its volume",
        lambda: (
            get(find(example("install"), "Service", "besu"), "spec.type") == "LoadBalancer"
            and "100Gi" in yaml.safe_dump(find(example("install"), "StatefulSet", "besu"))
        ),
    )


def _secrets() -> Iterator[Sentence]:
    part = "Secrets"
    for name in ("sequencer", "maru"):
        yield Sentence(
            part,
            f"the {name}'s key is `key` of linea-stack-{name}-p2p-key",
            partial(has_key, name),
        )
    yield Sentence(
        part,
        "sequencer.p2pKeySecretName and maru.p2pKeySecretName name other Secrets",
        lambda: all(
            f"my-{name}-key" in secrets(example("secrets"), name) for name in ("sequencer", "maru")
        ),
    )
    yield Sentence(
        part,
        "the TX Sender's are `privateKey` and `toAddress` of linea-stack-tx-sender-secrets",
        lambda: (
            secrets(bare(), "tx-sender")
            == {"linea-stack-tx-sender-secrets": {"privateKey", "toAddress"}}
        ),
    )


def _components() -> Iterator[Sentence]:
    for name in STATEFUL:
        part = f"Components: {name}"
        yield Sentence(part, "a StatefulSet with data on a volume", partial(is_persistent, name))
        yield Sentence(part, "liveness and readiness probes", partial(is_probed, name))
        yield Sentence(part, "metrics on 9545", partial(has_metrics, name))
        if name != "besu":
            yield Sentence(part, "a PodDisruptionBudget", partial(has_budget, name))
    yield Sentence(
        "Components: besu",
        "a LoadBalancer for the public, which a cloud makes",
        lambda: (
            service_type("besu") == "LoadBalancer"
            and not get(find(bare(), "Service", "besu"), "spec.sessionAffinity")
        ),
    )
    yield Sentence(
        "Components: besu",
        "JSON-RPC and WebSocket, and an autoscaler",
        lambda: (
            {8545, 8546}
            == {port["port"] for port in get(find(bare(), "Service", "besu"), "spec.ports")}
            and find(bare(), "HorizontalPodAutoscaler", "besu") is not None
        ),
    )
    part = "Components: ethstats"
    yield Sentence(part, "a Deployment", lambda: workload("ethstats") is not None)
    yield Sentence(part, "a LoadBalancer", lambda: service_type("ethstats") == "LoadBalancer")
    yield Sentence(
        part,
        "news by WebSocket, to which the nodes report",
        lambda: variables(bare(), "besu").get("ETHSTATS_HOST") == "linea-stack-ethstats:3000",
    )
    yield from _tx_sender()


def _tx_sender() -> Iterator[Sentence]:
    part = "Components: tx-sender"
    yield Sentence(part, "a Deployment", lambda: workload("tx-sender") is not None)
    yield Sentence(
        part,
        "10 wei each second by default, to Besu on 8545",
        lambda: (
            {"1", "10", "http://linea-stack-besu:8545"}
            <= {*variables(bare(), "tx-sender").values()}
        ),
    )
    yield Sentence(
        part,
        "interval, amount, rpc.service and rpc.port change that, through variables",
        lambda: (
            {"5", "1000", "http://linea-stack-sequencer:8545"}
            <= {*variables(example("tx-sender"), "tx-sender").values()}
        ),
    )
    yield Sentence(
        part,
        "credentials come from a Secret, through variables",
        lambda: any("valueFrom" in one for one in main_container("tx-sender")["env"]),
        FILES,
    )
    yield Sentence(
        part,
        "credentials in plain values for development",
        lambda: "Secret" in kinds(of_values(CHART / "ci" / "plain-values.yaml")),
    )


def _operations() -> Iterator[Sentence]:
    part = "Monitoring"
    yield Sentence(
        part,
        "a kube-prometheus-stack that selects all ServiceMonitors loads ours, without a label",
        lambda: kinds(example("monitoring")) - kinds(bare()) == {"ServiceMonitor"},
    )
    yield Sentence(
        part,
        "metrics.serviceMonitor.enabled and namespace make one for each node, found from there",
        lambda: (
            {m.component for m in monitors()} == {*STATEFUL}
            and all(
                m.metadata["namespace"] == "monitoring" and get(m.object, "spec.namespaceSelector")
                for m in monitors()
            )
        ),
    )
    yield Sentence(part, "Prometheus is reached by a port-forward", None)
    part = "Health checks"
    yield Sentence(
        part,
        "all components have liveness and readiness probes",
        lambda: all(map(is_probed, (*STATEFUL, "ethstats", "tx-sender"))),
        NO_LIVENESS,
    )
    for name, asked in (("sequencer", METRICS), ("maru", TCP), ("besu", METRICS)):
        what = "a TCP connect to 8080" if asked is TCP else "GET /metrics on 9545"
        for kind, reason in (("livenessProbe", ""), ("readinessProbe", READINESS)):
            yield Sentence(
                part,
                f"the {kind} of {name} is {what}",
                partial(asks, name, kind, asked),
                reason,
            )
    yield Sentence(part, "kubectl shows the health of pods", None)
    part = "High availability"
    yield Sentence(
        part,
        "budgets keep one pod of the sequencers and one of the Marus",
        lambda: all(map(keeps_one_pod, ("sequencer", "maru"))),
        ONE_POD,
    )
    yield Sentence(
        part,
        "Besu scales from 1 to 3 pods, at 70 % of CPU and of memory",
        scaler_is_the_contract_s,
    )
    yield from _backups()


def _backups() -> Iterator[Sentence]:
    part = "Backups"
    yield Sentence(
        part,
        "credentials are the access key in linea-stack-backup-credentials",
        lambda: backup_has(
            "linea-stack-backup-credentials", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
        ),
    )
    yield Sentence(
        part,
        "backup.enabled, storage.bucket and storage.region turn them on",
        lambda: "CronJob" not in kinds(bare()) and backup_has("my-backups", "us-east-1"),
    )
    yield Sentence(
        part,
        "an upgrade with them works from Kubernetes 1.19 on",
        lambda: renders("backup", "1.34") and renders("backup", "1.19"),
        CLONES,
    )
    yield Sentence(
        part, "they run every six hours", lambda: get(backup(), "spec.schedule") == "0 */6 * * *"
    )
    yield Sentence(
        part,
        "CronJob, Jobs and their logs show what happened",
        lambda: get(backup(), "spec.jobTemplate.spec.ttlSecondsAfterFinished") is None,
        NO_LOGS,
    )


def _tradeoffs() -> Iterator[Sentence]:
    part = "Tradeoffs"
    yield Sentence(
        part,
        "LoadBalancers, and no Ingress",
        lambda: (
            "Ingress" not in kinds(bare())
            and service_type("besu") == service_type("ethstats") == "LoadBalancer"
        ),
    )
    yield Sentence(
        part,
        "objects are in the release's namespace, which the chart does not make",
        lambda: (
            "Namespace" not in kinds(bare())
            and not any(m.metadata.get("namespace") for m in bare())
        ),
    )
    yield Sentence(
        part,
        "one sequencer and one Maru",
        lambda: all(get(workload(n), "spec.replicas") == 1 for n in ("sequencer", "maru")),
    )
    yield Sentence(
        part,
        "update strategies are Kubernetes' defaults",
        lambda: not any(get(workload(name), "spec.updateStrategy") for name in STATEFUL),
        STRATEGIES,
    )
    yield Sentence(part, "no NetworkPolicies", lambda: "NetworkPolicy" not in kinds(bare()))


def _production() -> Iterator[Sentence]:
    part = "Production on EKS"
    yield Sentence(
        part,
        "1: one load balancer with TLS for all hosts, no LoadBalancer Services",
        lambda: (
            len(groups_of_prod()) == 1
            and not [
                m
                for m in of_kind(prod(), "Service")
                if m.object["spec"].get("type") == "LoadBalancer"
            ]
        ),
    )
    yield Sentence(
        part, "2: every workload says how it is updated", every_workload_says_how_it_is_updated
    )
    yield Sentence(
        part,
        "2: with maxUnavailable",
        lambda: all(
            get(one, "spec.updateStrategy.rollingUpdate.maxUnavailable") for one in sets_of_prod()
        ),
        MAX_UNAVAILABLE,
    )
    yield Sentence(
        part,
        "3: more than one sequencer and Maru",
        lambda: all(one["spec"].get("replicas", 2) > 1 for one in sets_of_prod()),
    )
    yield Sentence(
        part,
        "4: a namespace of its own",
        lambda: of_environment("prod")[0].namespace not in ("", "default"),
    )
    yield Sentence(
        part,
        "5: NetworkPolicies for all pods",
        lambda: find(prod(), "NetworkPolicy", "default-deny") is not None,
    )


def _production_operations() -> Iterator[Sentence]:
    part = "Production on EKS"
    yield Sentence(part, "6: backups are on", lambda: "CronJob" in kinds(prod()))
    yield Sentence(
        part,
        "7: backups use an IAM role, and no access key",
        lambda: (
            any(
                "eks.amazonaws.com/role-arn" in m.annotations
                for m in of_kind(prod(), "ServiceAccount")
                if m.component == "backup"
            )
            and "AWS_ACCESS_KEY_ID" not in yaml.safe_dump(find(prod(), "CronJob", "backup"))
        ),
    )
    yield Sentence(
        part,
        "8: ServiceMonitors, alerts and dashboards",
        lambda: (
            {"ServiceMonitor", "PrometheusRule"} <= kinds(prod())
            and any(m.component == "dashboards" for m in of_kind(prod(), "ConfigMap"))
        ),
    )
    yield Sentence(
        part,
        "9: anti-affinity over zones",
        lambda: all(
            "topology.kubernetes.io/zone"
            in yaml.safe_dump(get(one, "spec.template.spec.affinity.podAntiAffinity"))
            for one in sets_of_prod()
        ),
    )
    yield Sentence(part, "10: a quota", lambda: "ResourceQuota" in kinds(prod()))


def reasons() -> list[str]:
    """Return why the chart differs from its contract, each reason once."""
    return list(dict.fromkeys(one.differs for one in sentences() if one.differs))


def check(among: Iterator[Sentence]) -> tuple[list[str], bool]:
    """Return the lines to print, and whether nothing differs without a reason of its own."""
    lines, is_good, kept, left = list[str](), True, 0, 0
    for one in among:
        if one.holds is None:
            left += 1
            continue
        holds = one.holds()
        kept += holds
        if holds and not one.differs:
            continue
        is_good = is_good and not holds and bool(one.differs)
        lines.append(f"{one.section}: {one.promise}")
        if holds:
            lines.append(f"  STALE: it holds, and has the reason: {one.differs}")
        else:
            lines.append(f"  differs: {one.differs}" if one.differs else "  BROKEN, for no reason")
    lines.append(f"{kept} promises hold, {left} are not about the chart")
    return lines, is_good


def main() -> int:
    """Print what differs, and return the exit code."""
    lines, is_good = check(sentences())
    print("\n".join(lines))
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
