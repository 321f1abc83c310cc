"""Peers: nodes are told of each other, by the ids of the keys that they have."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.chain import genesis_diff, identity
from scripts.chain.node_config import BESU, MARU, Node, Setting
from scripts.core import paths
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import Workload
from scripts.rules.chain.targets import calls, is_address, peer_of, resolved
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects


@rule("docs/chain.md")
def duplicate_peer_id(objects: Objects) -> Iterator[Problem]:
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
def missing_validator_peer(objects: Objects) -> Iterator[Problem]:
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
                every = _pods(objects, target.workloads[0], target.service)
                names.add(
                    f"{target.workloads[0].manifest.name}-{target.ordinal}.{target.service.name}"
                )
                wanted[node.program] += [one for one in every if one not in wanted[node.program]]
        listed_by.append((node, names))
    done = set[tuple[int, Where]]()
    for node, names in listed_by:
        setting = _list_of_peers(node)
        missing = [name for name in wanted[node.program] if name not in names]
        if (
            setting is None
            or not names
            or not missing
            or (id(setting.manifest), setting.path) in done
        ):
            continue
        if missing == [f"{pod}.{node.workload.get('spec', 'serviceName')}" for pod in node.pods]:
            continue  # itself
        done.add((id(setting.manifest), setting.path))
        message = f"{setting.called} of {node.name} lacks {', '.join(missing)}: it never calls them"
        fix = "list all validators, each with its own id"
        yield Problem(setting.manifest, setting.path, message, fix)


def _list_of_peers(node: Node) -> Setting | None:
    if node.program == MARU:
        return node.settings.get("p2p.static-peers")
    return node.static_nodes


def _pods(objects: Objects, workload: Workload, service: Manifest) -> list[str]:
    """Return the names of the pods that are to be there: no more than there are validators."""
    most = len(objects.once(_every_validator)) or workload.least
    ordinals = workload.ordinals(least=True)[:most]
    return [f"{workload.manifest.name}-{number}.{service.name}" for number in ordinals]


@rule("docs/chain.md")
def peer_with_generated_key(objects: Objects) -> Iterator[Problem]:
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
def readiness_host_mismatch(objects: Objects) -> Iterator[Problem]:
    """The readiness of a node asks the other half of it where that is.

    Its script asks the pod itself where it is told of no host: nobody answers there, and the pod is
    never ready.
    """
    here = {(node.workload.manifest.label, node.program) for node in objects.nodes}
    for node in objects.programs:
        script = paths.get(node.container.data, ["readinessProbe", "exec", "command", 1])
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


@rule("https://besu.hyperledger.org/public-networks/concepts/node-keys")
def invalid_peer_id(objects: Objects) -> Iterator[Problem]:
    """The id that a node looks for at a peer is one that a key makes.

    The id is the public key itself: with a letter changed it is nobody's, and the node breaks off
    each connection to that peer.
    """
    done = set[str]()
    for node in objects.nodes:
        for setting, text in node.peers:
            host, _, id_ = peer_of(text)
            if id_ and id_ not in done and identity.public_key(id_) is None:
                done.add(id_)
                message = (
                    f"{setting.called} has the id {id_[:16]}… for {host}, which no key makes: "
                    f"{node.name} never connects to it"
                )
                fix = "write the id of the node's own key, as nox -s network prints it"
                yield Problem(setting.manifest, setting.path, message, fix, id_)


@rule("docs/network.md")
def peer_id_not_in_genesis(objects: Objects) -> Iterator[Problem]:
    """The ids of the validators' pods are made from keys of the validators in the genesis.

    A validator has one key, for its id and for its signatures: with another id nobody finds it,
    with another key its signatures count for nothing.
    """
    validators = objects.once(_every_validator)
    signing = {
        node.workload.manifest.label
        for node in objects.programs
        if any(key.startswith("qbft.") for key in node.settings)
    }
    done = set[str]()
    for node in objects.nodes if validators else ():
        for setting, text in node.peers if node.program == MARU else ():
            host, _, id_ = peer_of(text)
            key = identity.public_key(id_) if id_ and id_ not in done else None
            target = resolved(objects, node.workload, host)
            if key is None or not any(one.manifest.label in signing for one in target.workloads):
                continue
            done.add(id_)
            if (address := identity.address_of(key).lower()) not in validators:
                message = (
                    f"{setting.called} has the id {id_[:16]}… for {host}, whose key is that of "
                    f"{address}, and the genesis has no such validator"
                )
                fix = "write the id of the validator's own key, as nox -s network prints it"
                yield Problem(setting.manifest, setting.path, message, fix, id_)


def _every_validator(objects: Objects) -> set[str]:
    return {one for node in objects.programs for one in _validators(node)}


def _validators(node: Node) -> set[str]:
    """Return the addresses of the validators in a node's genesis, in lower case."""
    found = node.text("genesis-file") if node.program == MARU else None
    data = genesis_diff.read(found[2]) if found else None
    every = genesis_diff.validators(data).values() if data else ()
    return {address.lower() for listed_ in every for address in listed_}


@rule("docs/chain.md")
def missing_peers(objects: Objects) -> Iterator[Problem]:
    """Each node is told of a peer, where there are others.

    Without any it stays alone: a follower gets no block, and a transaction stays where it is.
    """
    for node in objects.programs:
        others = [one for one in objects.nodes if one.program == node.program]
        alone = all(one.workload == node.workload for one in others) and node.workload.most < 2
        called = any(_calls(objects, one, node) for one in others) and node.workload.most < 2
        discovers = node.settings.get("p2p.discovery.bootnodes")
        is_chain = any(one.peers for one in others)  # that there is none, is told of the network
        if node.peers or alone or called or discovers or not node.is_known or not is_chain:
            continue
        key = "static-nodes-file" if node.program == BESU else "p2p.static-peers"
        setting = node.static_nodes or node.settings.get(key)
        message = f"{node.name} is told of no peer: it stays alone, and gets no block of the others"
        fix = f"write {key}, with the nodes of the validators' pods"
        yield Problem(*node.place(setting), message, fix)


def _calls(objects: Objects, one: Node, other: Node) -> bool:
    targets = (resolved(objects, one.workload, peer_of(text)[0]) for _, text in one.peers)
    return one.workload != other.workload and any(
        other.workload in target.workloads for target in targets
    )


@rule("https://besu.hyperledger.org/public-networks/concepts/node-keys")
def peer_names_without_dns(objects: Objects) -> Iterator[Problem]:
    """Besu that is told of peers by name looks names up, at each connection anew.

    It takes addresses only, unless told otherwise; and a pod has another address after each
    restart, so a name that is looked up once leads nowhere soon.
    """
    for node in objects.programs:
        hosts = [peer_of(text)[0] for _, text in node.peers]
        name = next((host for host in hosts if host and not is_address(host)), None)
        if node.program != BESU or name is None:
            continue
        for key in ("Xdns-enabled", "Xdns-update-enabled"):
            setting = node.settings.get(key)
            if setting and str(setting.value).lower() == "true":
                continue
            what = "takes no names" if key == "Xdns-enabled" else "keeps a name's first address"
            message = (
                f"{node.name} {what} without {key}, and is told of {name}: it does not find "
                "that peer"
            )
            if key != "Xdns-enabled":
                message += " again after its restart"
            yield Problem(*node.place(setting), message, f"write {key} = true")
            break


@rule("https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/")
def peers_need_not_ready_addresses(objects: Objects) -> Iterator[Problem]:
    """The names of pods that nodes call one by one are there before the pods are ready.

    A node is ready once it has found the others: when they all start together, each waits for names
    that come only once the pods behind them are ready.
    """
    done = set[str]()
    for call in calls(objects):
        service, ordinal = call.target.service, call.target.ordinal
        if service is None or ordinal is None or service.name in done:
            continue
        done.add(service.name)
        if paths.get(service.object, ["spec", "publishNotReadyAddresses"]) is not True:
            message = (
                f"{call.setting.called} has {call.host}, a name that is there only while that pod "
                "is ready: nodes that start together wait for each other"
            )
            path: Where = ("spec", "publishNotReadyAddresses")
            yield Problem(service, path, message, "write publishNotReadyAddresses: true")


@rule("docs/chain.md")
def readiness_port_mismatch(objects: Objects) -> Iterator[Problem]:
    """The readiness of a node asks the other half of it, in its own pod, at the port it has.

    Its script has the ports that the chart gives both: at another nobody answers, and the pod is
    never ready.
    """
    for node in objects.programs:
        script = paths.get(node.container.data, ["readinessProbe", "exec", "command", 1])
        if not str(script).endswith("/synced.sh"):
            continue
        for name, program, called, usual in _ASKED:
            given = node.variables.get(f"{name}_PORT")
            wanted = str(given.value) if given else usual
            other = _in_pod(objects, node, program)
            api = next((a for a in other.apis if a.name == called), None) if other else None
            if name in node.variables or not other or not api or str(api.port) == wanted:
                continue
            setting = other.settings.get(api.port_key)
            message = (
                f"the readiness of {node.name} asks {other.container_name} in its own pod at "
                f"{wanted}, and {api.port_key} is {api.port}: it is never ready"
            )
            fix = f"write {api.port_key} = {wanted}"
            yield Problem(*other.place(setting), message, fix)


_ASKED = (("MARU", MARU, "api", "8080"), ("EXECUTION", BESU, "rpc", "8545"))
"""Variable of synced.sh, program, its port's name, and the port that is asked by default."""


def _in_pod(objects: Objects, node: Node, program: str) -> Node | None:
    """Return the node of a program in the same pod."""
    own = (n for n in objects.programs if n.workload == node.workload and n.program == program)
    return next(own, None)


@rule("docs/chain.md")
def missing_wait_for_peers(objects: Objects) -> Iterator[Problem]:
    """The script that starts Besu waits for the names of all its peers.

    Besu takes a name that is not there yet for the pod's own address: it looks for that peer in
    vain until the name is asked for anew.
    """
    for node in objects.programs:
        told = node.variables.get("PEERS")
        hosts = [peer_of(text)[0] for _, text in node.peers]
        waited = str(told.value).split() if told else []
        missing = [host for host in hosts if host and host not in waited and not is_address(host)]
        if told and waited and missing and node.program == BESU:
            message = (
                f"PEERS of {node.name} lacks {', '.join(missing)}, of its peers: it starts before "
                "that name is there"
            )
            fix = f"write {' '.join(dict.fromkeys(hosts))}"
            yield Problem(told.manifest, told.path, message, fix)


@rule("docs/chain.md")
def readiness_ignores_peers(objects: Objects) -> Iterator[Problem]:
    """A Maru is ready only while it is connected to enough validators.

    Without peers it takes its own head for the newest and counts as in sync: a change that cuts
    connections then walks over all validators, and a public node that is cut off serves old blocks.
    """
    for node in objects.programs:
        validates = any(key.startswith("qbft.") for key in node.settings)
        wanted = objects.chain.quorum - 1 if validates and objects.chain else 1
        is_unknown = not node.is_known or not node.peers or (validates and not objects.chain)
        if node.program != MARU or is_unknown or wanted == 0:
            continue
        probe = paths.get(node.container.data, ["readinessProbe"])
        if not str(paths.get(probe, ["exec", "command", 1])).endswith("/synced.sh"):
            if probe and objects.is_production:
                message = (
                    f"the readiness of {node.name} does not ask for its peers: without any it is "
                    "ready, with old blocks"
                )
                path: Where = (*node.container.path, "readinessProbe")
                fix = "write the command that the chart has: [/bin/bash, /config/synced.sh]"
                yield Problem(node.workload.manifest, path, message, fix)
            continue
        told = node.variables.get("PEERS_WANTED")
        text = str(told.value) if told else "0"
        enough = (wanted,) if validates else range(1, len(node.peers) + 1)
        if text.isdecimal() and int(text) in enough:
            continue
        what = (
            f"PEERS_WANTED of {node.name} is {text}" if told else f"{node.name} has no PEERS_WANTED"
        )
        needs = f"a block needs {wanted} other validators" if validates else "it needs a validator"
        is_low = text.isdecimal() and int(text) < wanted
        comes = "ready while it is cut off" if is_low else "not ready while it has enough"
        place = told.path if told else (*node.container.path, "env")
        fix = f'give it PEERS_WANTED: "{wanted}"'
        yield Problem(node.workload.manifest, place, f"{what}, and {needs}: it is {comes}", fix)
