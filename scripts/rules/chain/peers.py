"""Peers: chain nodes know each other, with IDs that match their keys."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.chain import genesis_diff, identity
from scripts.chain.node_config import BESU, MARU, Node, Setting
from scripts.chain.peer_address import peer_of
from scripts.core import advice, paths
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import Workload
from scripts.rules import chart_values
from scripts.rules.chain.settings import named, write
from scripts.rules.chain.targets import calls, is_address, resolved
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects


@rule("docs/chain.md")
def duplicate_peer_id(objects: Objects) -> Iterator[Problem]:
    """Each peer in a node's list has its own ID.

    The ID is derived from the peer's key. Of two peers with the same ID, the node connects to at
    most one.
    """
    done = set[str]()
    for node in objects.nodes:
        seen: dict[str, str] = {}
        for setting, text in node.peers:
            host, _, id_ = peer_of(text)
            if not id_ or id_ in done or seen.setdefault(id_, host) == host:
                continue
            done.add(id_)
            message = (
                f"{named(setting)} has the same ID, {id_[:16]}…, for {seen[id_]} and {host}: "
                f"the container {node.name} connects to at most one of them"
            )
            fix = _right_id(objects, node, "each pod")
            yield Problem(setting.manifest, setting.path, message, fix)


@rule("docs/chain.md")
def missing_validator_peer(objects: Objects) -> Iterator[Problem]:
    """A node that has one validator as a peer has all of them.

    A validator that others don't connect to is late or missing when they make blocks.
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
                wanted[node.program] += [p for p in every if p not in wanted[node.program]]
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
        message = (
            f"{named(setting)} of the container {node.name} lacks {', '.join(missing)}: "
            f"{node.program} never connects there"
        )
        fix = f"add {_example(node, missing[0])}, with the {_ID[node.program]} in {_file(objects)}"
        yield Problem(setting.manifest, setting.path, message, fix)


def _list_of_peers(node: Node) -> Setting | None:
    if node.program == MARU:
        return node.settings.get("p2p.static-peers")
    return node.static_nodes


def _pods(objects: Objects, workload: Workload, service: Manifest) -> list[str]:
    """Return the host names of a workload's pods: at most as many as there are validators."""
    most = len(objects.once(_every_validator)) or workload.least
    ordinals = workload.ordinals(least=True)[:most]
    return [f"{workload.manifest.name}-{number}.{service.name}" for number in ordinals]


@rule("docs/chain.md")
def peer_with_generated_key(objects: Objects) -> Iterator[Problem]:
    """A node that others identify by an ID reads the matching key from a Secret.

    Otherwise it generates another key when it starts: peers that expect the ID don't connect, and
    a validator's signatures don't count.
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
        state = (
            f"has {key} {setting.value}, which is not in a Secret" if setting else f"has no {key}"
        )
        message = (
            f"the container {node.name} {state}: {node.program} generates another key than that "
            "in the Secret, so peers reject its ID"
        )
        path = _mounted_key(node)
        fix = f"mount the Secret with the pod's key, and write its path as {key}"
        if path:
            in_args = setting is None and node.program == BESU
            fix = (
                advice.add_item(f"--{key}={path}", "args")
                if in_args
                else write(node, setting, key, path)
            )
        args = (node.workload.manifest, (*node.container.path, "args"))
        yield Problem(*(node.place(setting) if setting else args), message, fix)


@rule("docs/chain.md")
def readiness_host_mismatch(objects: Objects) -> Iterator[Problem]:
    """A readiness probe that calls Besu or Maru in another pod has that pod's host name.

    The script of the probe calls its own pod by default. If nothing answers there, the pod is never
    ready.
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
                f"the readiness probe of the container {node.name} calls {other} in its own pod, "
                f"which has no {other}: the pod is never ready"
            )
            path = (*node.container.path, "env")
            fix = (
                f"add {{name: {name}, value: {_pair(objects, other)}}} to env: synced.sh replaces "
                "N by the pod's ordinal"
            )
            yield Problem(node.workload.manifest, path, message, fix)


@rule("https://besu.hyperledger.org/public-networks/concepts/node-keys")
def invalid_peer_id(objects: Objects) -> Iterator[Problem]:
    """The ID of each peer is a valid public key.

    The ID is the peer's public key. If a character is wrong, each connection to that peer fails.
    """
    done = set[str]()
    for node in objects.nodes:
        for setting, text in node.peers:
            host, _, id_ = peer_of(text)
            if id_ and id_ not in done and identity.public_key(id_) is None:
                done.add(id_)
                message = (
                    f"{named(setting)} has the ID {id_[:16]}… for {host}, which is not a public "
                    f"key: the container {node.name} never connects to that peer"
                )
                fix = _right_id(objects, node, host)
                yield Problem(setting.manifest, setting.path, message, fix, id_)


@rule("docs/network.md")
def peer_id_not_in_genesis(objects: Objects) -> Iterator[Problem]:
    """The peer IDs of validators' pods belong to validators in the genesis.

    A validator has one key for its ID and its signatures. With another ID peers don't connect to
    it, with another key its signatures don't count.
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
            if key is None or not any(w.manifest.label in signing for w in target.workloads):
                continue
            done.add(id_)
            if (address := identity.address_of(key).lower()) not in validators:
                message = (
                    f"{named(setting)} has the ID {id_[:16]}… for {host}, which belongs to "
                    f"{address}, but the genesis has no such validator: peers don't connect to "
                    "the pod, or its signatures don't count"
                )
                fix = _right_id(objects, node, host)
                yield Problem(setting.manifest, setting.path, message, fix, id_)


def _every_validator(objects: Objects) -> set[str]:
    return {address for node in objects.programs for address in _validators(node)}


def _validators(node: Node) -> set[str]:
    """Return the addresses of the validators in a node's genesis, in lower case."""
    genesis = node.text("genesis-file") if node.program == MARU else None
    data = genesis_diff.read(genesis[2]) if genesis else None
    every = genesis_diff.validators(data).values() if data else ()
    return {address.lower() for listed_ in every for address in listed_}


@rule("docs/chain.md")
def missing_peers(objects: Objects) -> Iterator[Problem]:
    """Each chain node has a peer, if there are other nodes.

    Without peers it is isolated: a follower gets no blocks, and a transaction is never forwarded.
    """
    for node in objects.programs:
        others = [one for one in objects.nodes if one.program == node.program]
        alone = all(one.workload == node.workload for one in others) and node.workload.most < 2
        called = any(_calls(objects, one, node) for one in others) and node.workload.most < 2
        discovers = node.settings.get("p2p.discovery.bootnodes")
        is_chain = any(one.peers for one in others)  # otherwise the whole network has no peers
        if node.peers or alone or called or discovers or not node.is_known or not is_chain:
            continue
        key = "static-nodes-file" if node.program == BESU else "p2p.static-peers"
        setting = node.static_nodes or node.settings.get(key)
        message = (
            f"the container {node.name} has no peers: it is isolated, and gets no blocks from "
            "other nodes"
        )
        model = next(setting for one in others for setting, _ in one.peers)
        same = f"the same peers as {named(model)} of {model.manifest.label}"
        fix = f"list {same}"
        if setting is None and node.program == BESU:
            fix = f"add {key} with the path of a JSON file that lists {same}"
            if node.file(_STATIC_NODES).is_there:
                fix = f"{write(node, None, key, _STATIC_NODES)}, which lists the sequencers' pods"
        elif setting is None:
            fix = f"add static-peers to [p2p], with {same}"
        yield Problem(*node.place(setting), message, fix)


_STATIC_NODES = "/config/static-nodes.json"
"""The chart's file with the sequencers' enode URLs."""
_ID = {BESU: "nodeId", MARU: "peerId"}
"""The field of network.validators with a pod's ID."""


def _file(objects: Objects) -> str:
    return f"overlays/{objects.name}/network.yaml"


def _right_id(objects: Objects, node: Node, pod: str) -> str:
    """Return which ID to write for a pod."""
    own = f"write the {_ID[node.program]} of {pod} from network.validators in {_file(objects)}"
    return f"{own}, as nox -s network created it"


def _example(node: Node, host: str) -> str:
    """Return how a list has a peer, without its ID."""
    if node.program == BESU:
        return f'"enode://NODE_ID@{host}:30303"'
    return f'"/dns4/{host}/tcp/9000/p2p/PEER_ID"'


def _mounted_key(node: Node) -> str:
    """Return the path at which a container has mounted its pod's key; empty if it has not."""
    mounts = (mount for _, mount in node.container.mounts() if mount.get("subPathExpr"))
    own = (str(mount.get("mountPath")) for mount in mounts)
    return next((path for path in own if node.file(path).kind == "Secret"), "")


def _pair(objects: Objects, program: str) -> str:
    """Return the host of the pod that a validator's pod belongs to, as synced.sh has it."""
    workload = objects.component("sequencer" if program == BESU else "maru")
    name = workload.manifest.name if workload else program.lower()
    service = workload.get("spec", "serviceName") if workload else name
    return f"{name}-N.{service}"


def _calls(objects: Objects, one: Node, other: Node) -> bool:
    targets = (resolved(objects, one.workload, peer_of(text)[0]) for _, text in one.peers)
    return one.workload != other.workload and any(
        other.workload in target.workloads for target in targets
    )


@rule("https://besu.hyperledger.org/public-networks/concepts/node-keys")
def peer_names_without_dns(objects: Objects) -> Iterator[Problem]:
    """A Besu whose peers have host names resolves them, again for each connection.

    By default Besu accepts only IP addresses. A pod gets another address at each restart, so a
    name that is resolved only once soon leads nowhere.
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
            if key == "Xdns-enabled":
                message = (
                    f"without {key}, the container {node.name} accepts only IP addresses as peers, "
                    f"but has the peer {name}: it does not connect to that peer"
                )
            else:
                message = (
                    f"without {key}, the container {node.name} resolves host names only once, but "
                    f"has the peer {name}: it does not reconnect after that peer has restarted"
                )
            yield Problem(*node.place(setting), message, write(node, setting, key, True))
            break


@rule("https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/")
def peers_need_not_ready_addresses(objects: Objects) -> Iterator[Problem]:
    """Services whose single pods chain nodes call also resolve pods that are not ready.

    A node is ready once it has found the others. If they start together, each waits for names that
    do not resolve before the other pods are ready.
    """
    done = set[str]()
    for call in calls(objects):
        service, ordinal = call.target.service, call.target.ordinal
        if service is None or ordinal is None or service.name in done:
            continue
        done.add(service.name)
        if paths.get(service.object, ["spec", "publishNotReadyAddresses"]) is not True:
            message = (
                f"{named(call.setting)} has {call.host}, which resolves only while that pod is "
                "ready: nodes that start together wait for each other"
            )
            path: Where = ("spec", "publishNotReadyAddresses")
            yield Problem(service, path, message, advice.write("publishNotReadyAddresses", True))


@rule("docs/chain.md")
def readiness_port_mismatch(objects: Objects) -> Iterator[Problem]:
    """A readiness probe that calls Besu or Maru in its own pod uses the port on which it listens.

    The script of the probe has the chart's ports. On another one nothing answers, and the pod is
    never ready.
    """
    for node in objects.programs:
        script = paths.get(node.container.data, ["readinessProbe", "exec", "command", 1])
        if not str(script).endswith("/synced.sh"):
            continue
        for name, program, api_name, default in _CALLED:
            variable = node.variables.get(f"{name}_PORT")
            wanted = str(variable.value) if variable else default
            other = _in_pod(objects, node, program)
            api = next((a for a in other.apis if a.name == api_name), None) if other else None
            if name in node.variables or not other or not api or str(api.port) == wanted:
                continue
            setting = other.settings.get(api.port_key)
            message = (
                f"the readiness probe of the container {node.name} calls {program} in its own pod "
                f"on port {wanted}, but {named(setting) if setting else api.port_key} is "
                f"{api.port}{'' if setting else ' by default'}: the pod is never ready"
            )
            port = int(wanted) if wanted.isdecimal() else wanted
            fix = write(other, setting, api.port_key, port)
            yield Problem(*other.place(setting), message, fix)


_CALLED = (("MARU", MARU, "api", "8080"), ("EXECUTION", BESU, "rpc", "8545"))
"""Variable of synced.sh, program, name of the API, and the port that the script has by default."""


def _in_pod(objects: Objects, node: Node, program: str) -> Node | None:
    """Return the node of a program in the same pod."""
    own = (n for n in objects.programs if n.workload == node.workload and n.program == program)
    return next(own, None)


@rule("docs/chain.md")
def missing_wait_for_peers(objects: Objects) -> Iterator[Problem]:
    """The start script of Besu waits for the host names of all its peers.

    If a name does not resolve yet, Besu uses its own pod's address instead, and does not find that
    peer until it resolves the name again.
    """
    for node in objects.programs:
        variable = node.variables.get("PEERS")
        hosts = [peer_of(text)[0] for _, text in node.peers]
        waited = str(variable.value).split() if variable else []
        missing = [host for host in hosts if host and host not in waited and not is_address(host)]
        if variable and waited and missing and node.program == BESU:
            message = (
                f"the variable PEERS of the container {node.name} lacks {', '.join(missing)}: Besu "
                "starts before these names resolve, and does not connect there"
            )
            hosts_text = " ".join(dict.fromkeys(hosts))
            fix = advice.write_value(hosts_text, f'value: "{hosts_text}"')
            yield Problem(variable.manifest, variable.path, message, fix)


@rule("docs/chain.md")
def readiness_ignores_peers(objects: Objects) -> Iterator[Problem]:
    """A Maru is ready only while it is connected to enough validators.

    Without peers, Maru assumes that its own head is the newest, and reports that it is in sync. A
    change that cuts connections would then roll out to all validators, and an isolated public node
    would serve old blocks.
    """
    for node in objects.programs:
        validates = any(key.startswith("qbft.") for key in node.settings)
        wanted = objects.chain.quorum - 1 if validates and objects.chain else 1
        # Without its qbft section, which the check of its options reports, it is no follower.
        is_broken = not validates and node.workload.manifest.component == "maru"
        is_unknown = not node.is_known or not node.peers or (validates and not objects.chain)
        if node.program != MARU or is_broken or is_unknown or wanted == 0:
            continue
        probe = paths.get(node.container.data, ["readinessProbe"])
        if not str(paths.get(probe, ["exec", "command", 1])).endswith("/synced.sh"):
            if probe and objects.is_production:
                message = (
                    f"the readiness probe of the container {node.name} does not check its peers: "
                    "if the node is isolated, it stays ready, with old blocks"
                )
                path: Where = (*node.container.path, "readinessProbe")
                command = "command: [/bin/bash, /config/synced.sh]"
                value, own = f"readinessProbe.{command}", f"readinessProbe.exec.{command}"
                fix = chart_values.field(objects, node.container, value, own)
                yield Problem(node.workload.manifest, path, message, fix)
            continue
        variable = node.variables.get("PEERS_WANTED")
        text = str(variable.value) if variable else "0"
        enough = (wanted,) if validates else range(1, len(node.peers) + 1)
        if text.isdecimal() and int(text) in enough:
            continue
        place = variable.path if variable else (*node.container.path, "env")
        message = _peers_wanted(node, text if variable else None, wanted, validates=validates)
        value = str(wanted)
        fix = advice.write_value(value, f'value: "{value}" for the variable PEERS_WANTED')
        if not variable:
            item = {"name": "PEERS_WANTED", "value": value}
            fix = advice.add_item(item, (), "env of the container maru")
        yield Problem(node.workload.manifest, place, message, fix)


def _peers_wanted(node: Node, text: str | None, wanted: int, *, validates: bool) -> str:
    """Return what is wrong with PEERS_WANTED, and what happens; text: None if it is not set."""
    state = f"PEERS_WANTED of the container {node.name} is {text or 'empty'}"
    if text is None:
        state = f"the container {node.name} has no variable PEERS_WANTED"
        text = "0"
    count = int(text) if text.isdecimal() else None
    needs = f"a block needs {wanted} other validators" if validates else "it needs one validator"
    if count is None:
        return f"{state}, which is not a number: the pod never becomes ready"
    if count < wanted:
        return f"{state}, but {needs}: the pod is ready even if it is isolated"
    if count > len(node.peers):
        return f"{state}, but it has only {len(node.peers)} peers: the pod never becomes ready"
    return f"{state}, but {needs}: the pod is not ready although it has enough peers"
