"""Peers: nodes are told of each other, by the ids of the keys that they have."""

from __future__ import annotations

from collections.abc import Iterator

from scripts import yamlio
from scripts.manifest import Manifest, Where
from scripts.nodes import BESU, MARU, Node, Setting
from scripts.rules.objects import Objects
from scripts.rules.rule import Problem, rule
from scripts.rules.targets import peer_of, resolved
from scripts.workloads import Workload, whole


@rule("docs/chain.md")
def peers_with_one_id(objects: Objects) -> Iterator[Problem]:
    """Each peer that a node is told of has an id of its own.

    The id is made from the node's key: one of two with the same is never connected to.
    """
    done = set[str]()
    for node in objects.nodes:
        seen: dict[str, str] = {}
        for setting, text in node.peers:
            host, _, id_ = peer_of(text)
            if not id_ or id_ in done or seen.setdefault(id_, host) == host:
                continue
            done.add(id_)
            message = f"{setting.called} has one id for {seen[id_]} and {host}: {id_[:16]}…"
            fix = "write each node's own, as nox -s network prints them"
            yield Problem(setting.manifest, setting.path, message, fix)


@rule("docs/chain.md")
def validator_not_among_peers(objects: Objects) -> Iterator[Problem]:
    """Who is told of one validator's pod is told of all of them.

    A validator that nobody calls is late or missing when the others make blocks.
    """
    wanted: dict[str, list[str]] = {BESU: [], MARU: []}
    listed_by = list[tuple[Node, set[str]]]()
    for node in objects.nodes:
        names = set[str]()
        for _, text in node.peers:
            target = resolved(objects, node.workload, peer_of(text)[0])
            if target.ordinal is not None and target.service is not None:
                every = _pods(target.workloads[0], target.service)
                names.add(
                    f"{target.workloads[0].manifest.name}-{target.ordinal}.{target.service.name}"
                )
                wanted[node.program] += [one for one in every if one not in wanted[node.program]]
        listed_by.append((node, names))
    done = set[tuple[int, Where]]()
    for node, names in listed_by:
        setting = _list_of_peers(node)
        missing = [name for name in wanted[node.program] if name not in names]
        if setting is None or not missing or (id(setting.manifest), setting.path) in done:
            continue
        if missing == [f"{node.pod}.{node.workload.get('spec', 'serviceName')}"]:
            continue  # itself
        done.add((id(setting.manifest), setting.path))
        message = f"{setting.called} of {node.name} lacks {', '.join(missing)}: it never calls them"
        fix = "list all validators, each with its own id"
        yield Problem(setting.manifest, setting.path, message, fix)


def _list_of_peers(node: Node) -> Setting | None:
    if node.program == MARU:
        return node.settings.get("p2p.static-peers")
    return node.static_nodes


def _pods(workload: Workload, service: Manifest) -> list[str]:
    start = whole(workload.get("spec", "ordinals", "start"), 0)
    ordinals = range(start, start + workload.least)
    return [f"{workload.manifest.name}-{number}.{service.name}" for number in ordinals]


@rule("docs/chain.md")
def peer_makes_up_its_key(objects: Objects) -> Iterator[Problem]:
    """What is called by an id has the key that the id is made from, of a Secret.

    Else it makes up another at its start: nobody who looks for the id finds it, and no validator's
    signature counts.
    """
    called = {
        (node.program, target.pod_of)
        for node in objects.programs
        for _, text in node.peers
        if (target := resolved(objects, node.workload, peer_of(text)[0])).ordinal is not None
    }
    for node in objects.programs:
        key = "node-private-key-file" if node.program == BESU else "persistence.private-key-path"
        setting = node.settings.get(key)
        file = node.file(str(setting.value)) if setting else None
        known = node.is_known and (node.program, node.workload.manifest.label) in called
        if not known or (file and file.kind in ("Secret", "projected", "csi", "")):
            continue
        where = (
            f"has its key at {setting.value}, which is no Secret" if setting else "is given none"
        )
        message = f"{node.name} {where}: it makes one up, and is not what others look for"
        fix = f"write {key} with the path at which its key is mounted"
        args = (node.workload.manifest, (*node.container.path, "args"))
        yield Problem(*(node.place(setting) if setting else args), message, fix)


@rule("docs/chain.md")
def readiness_of_another_host(objects: Objects) -> Iterator[Problem]:
    """The readiness of a node asks the other half of it where that is.

    Its script asks the pod itself where it is told of no host: nobody answers there, and the pod is
    never ready.
    """
    here = {(node.workload.manifest.label, node.program) for node in objects.nodes}
    for node in objects.programs:
        script = yamlio.get(node.container.data, ["readinessProbe", "exec", "command", 1])
        name, other = ("EXECUTION", BESU) if node.program == MARU else ("MARU", MARU)
        label = node.workload.manifest.label
        if not str(script).endswith("/synced.sh") or name in node.variables:
            continue
        if (label, other) not in here:
            message = (
                f"the readiness of {node.name} asks for {other} in its own pod, which has none"
            )
            path = (*node.container.path, "env")
            fix = f"give it {name}, the host of its {other}, with N for the ordinal"
            yield Problem(node.workload.manifest, path, message, fix)
