"""Options of Besu and Maru that are valid alone, but not together, or not for a validator."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

from scripts.chain.node_config import BESU, MARU, Node, Setting, listed
from scripts.chain.version import release
from scripts.core import advice, paths
from scripts.core.sentences import joined
from scripts.kubernetes import containers
from scripts.kubernetes.manifest import Manifest, Where
from scripts.rules.chain.genesis_files import of_besu
from scripts.rules.chain.settings import line, named, removed, write
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects

_POOL = (
    "https://github.com/besu-eth/besu/blob/26.8.0/app/src/main/java/org/hyperledger/besu/cli/"
    "options/TransactionPoolOptions.java"
)
_PRUNING = (
    "https://github.com/besu-eth/besu/blob/26.8.0/app/src/main/java/org/hyperledger/besu/cli/"
    "options/ChainPruningOptions.java"
)
_APIS_SOURCE = (
    "https://github.com/besu-eth/besu/blob/26.8.0/ethereum/api/src/main/java/org/hyperledger/besu/"
    "ethereum/api/jsonrpc/RpcApis.java"
)
_APIS = (
    *("ADMIN", "DEBUG", "ENGINE", "ETH", "IBFT", "MINER", "NET", "PERM", "PLUGINS", "QBFT"),
    *("TRACE", "TXPOOL", "WEB3"),
)
"""The APIs of Besu 25.11.0 and 26.8.0, without those of plugins."""
_APIS_ENDED, _APIS_BEGUN = {"CLIQUE": (26, 8, 0)}, {"TESTING": (25, 12, 0)}
"""API → the first version that certainly has it no more, or may have it: 26.8.0, after 25.11.0."""
_LAYERED = (
    "tx-pool-layer-max-capacity",
    "tx-pool-max-prioritized",
    "tx-pool-max-prioritized-by-type",
    "tx-pool-max-future-by-sender",
    "tx-pool-min-score",
    "tx-pool-enable-balance-check",
)
_SEQUENCED = (
    "tx-pool-retention-hours",
    "tx-pool-limit-by-account-percentage",
    "tx-pool-max-size",
)
_PEERS = {BESU: ("max-peers", "p2p-peer-upper-bound"), MARU: ("p2p.max-peers",)}
_PRUNES = ("true", "all")
"""Values of Xchain-pruning-enabled with which Besu deletes blocks: a boolean until 25.11.0, and
one of ALL, BAL and NONE in 26.8.0."""


@rule(_POOL)
def conflicting_tx_pool_options(objects: Objects) -> Iterator[Problem]:
    """A Besu has only options of the transaction pool that it uses.

    The pool is LAYERED unless tx-pool says otherwise. With an option of another pool, Besu does not
    start.
    """
    for node in objects.programs:
        if node.program != BESU:
            continue
        pool = node.settings.get("tx-pool")
        kind = str(pool.value).upper() if pool else "LAYERED"
        wrong = [key for key in _others(kind) if key in node.settings]
        if not wrong:
            continue
        setting = node.settings[wrong[0]]
        is_layered = kind == "LAYERED"
        together = joined([named(node.settings[key]) for key in wrong])
        message = (
            f"{named(setting)} of the container {node.name} is an option of the pool "
            f"{'SEQUENCED' if is_layered else 'LAYERED'}, but tx-pool is {kind}"
            f"{'' if pool else ' by default'}: Besu does not start"
        )
        fix: str = f"remove {together}"
        if len(wrong) == 1:
            fix = removed(fix, setting)
        place = setting
        if pool and not is_layered:
            fix = f"{write(node, pool, 'tx-pool', 'LAYERED')}; to keep {kind}, remove {together}"
            place = pool
        yield Problem(place.manifest, place.path, message, fix, line=line(place))


@rule(_APIS_SOURCE)
def unknown_rpc_api(objects: Objects) -> Iterator[Problem]:
    """The APIs in rpc-http-api and rpc-ws-api are ones that Besu has.

    Otherwise Besu does not start: it reports "invalid entries found". Images with plugins may have
    more APIs, and are not checked.
    """
    seen = set[tuple[str, Where, str]]()
    for node in objects.programs:
        if node.program != BESU or node.container.image != "besu":
            continue
        known, version = _apis(node.container)
        for key in ("rpc-http-api", "rpc-ws-api"):
            setting = node.settings.get(key)
            for api in listed(setting):
                name = api.strip().upper()
                if not setting or name in known or "$(" in api:
                    continue
                if (place := (setting.manifest.label, setting.path, name)) in seen:
                    continue
                seen.add(place)
                message = (
                    f"{named(setting)} of the container {node.name} has the API {api}, which Besu"
                    f" {version} does not have: it does not start"
                )
                near = difflib.get_close_matches(name, known, 1)
                fix = f"write {near[0]} instead of {api}" if near else f"remove {api}"
                yield Problem(setting.manifest, setting.path, message, fix, line=line(setting))


def _apis(container: containers.Container) -> tuple[list[str], str]:
    """Return the APIs of a container's Besu, and the version whose list that is."""
    found = release(container.get("image"))
    numbers = found.numbers if found else ()
    ended = [api for api, first in _APIS_ENDED.items() if numbers < first]
    begun = [api for api, first in _APIS_BEGUN.items() if not numbers or numbers >= first]
    return [*_APIS, *ended, *begun], "26.8.0" if begun else "25.11.0"


def _others(kind: str) -> tuple[str, ...]:
    """Return the options that a transaction pool does not have."""
    if kind == "LAYERED":
        return _SEQUENCED
    return _LAYERED if kind in ("SEQUENCED", "LEGACY") else ()


@rule(_POOL)
def price_bump_with_zero_base_fee(objects: Objects) -> Iterator[Problem]:
    """No tx-pool-price-bump is set on a chain whose genesis has zeroBaseFee.

    Otherwise Besu does not start.
    """
    if not any(genesis.get("config", "zeroBaseFee") is True for genesis in of_besu(objects)):
        return
    for node in objects.programs:
        setting = node.settings.get("tx-pool-price-bump")
        if node.program == BESU and setting:
            message = (
                f"{named(setting)} is set for the container {node.name}, but the genesis has "
                "zeroBaseFee: Besu does not start"
            )
            fix = removed(f"remove {named(setting)}", setting)
            yield Problem(setting.manifest, setting.path, message, fix, line=line(setting))


@rule(_PRUNING)
def sequencer_prunes_history(objects: Objects) -> Iterator[Problem]:
    """Sequencers keep all blocks.

    A node with an empty volume imports the chain from its first block, and no node could send it
    the old ones.
    """
    for node in objects.programs:
        if node.program != BESU or node.workload.manifest.component != "sequencer":
            continue
        for key, values in (("Xchain-pruning-enabled", _PRUNES), ("history-expiry-prune", _PRUNES)):
            # The name of a variable has no case.
            setting = node.settings.get(key) or node.settings.get(key.lower())
            if setting and str(setting.value).lower() in values:
                message = (
                    f"{named(setting)} of the container {node.name} is {_shown(setting.value)}: "
                    "sequencers delete old blocks, and a node with an empty volume finds no peer "
                    "with the full history"
                )
                fix = f"remove {_pruning(node, setting)}"
                yield Problem(setting.manifest, setting.path, message, fix, line=line(setting))


@rule("docs/chain.md")
def max_peers_too_low(objects: Objects) -> Iterator[Problem]:
    """A validator accepts as many peers as there are other validators, and a public node two.

    With fewer than a quorum needs, no block is made.
    """
    if not objects.chain:
        return
    seen = set[tuple[str, Where]]()
    for node in objects.programs:
        component = node.workload.manifest.component
        if component not in ("maru", "sequencer", "besu"):
            continue
        wanted = 2 if component == "besu" else objects.chain.validators - 1
        for key in _PEERS[node.program]:
            setting = node.settings.get(key)
            text = str(setting.value) if setting else ""
            if not setting or not text.isdecimal() or int(text) >= wanted:
                continue
            if (place := (setting.manifest.label, (*setting.path, key))) in seen:
                continue  # all pods have the same setting
            seen.add(place)
            needed = objects.chain.quorum - 1
            effect = "the chain tolerates fewer failures"
            if node.program == BESU:
                effect = "transactions reach a part of the sequencers only"
            elif int(text) < needed:
                effect = f"a block needs {needed} other validators, so no block is made"
            needs = f"there are {wanted} other validators"
            if component == "besu":
                needs = "a public node needs at least 2"
                effect = "it gets no blocks while its only peer restarts"
            message = (
                f"{named(setting)} of the container {node.name} is {text}, but {needs}: {effect}"
            )
            fix = write(node, setting, key, max(100, wanted))
            yield Problem(setting.manifest, setting.path, message, fix, line=line(setting))


def _pruning(node: Node, first: Setting) -> str:
    """Return the names of a node's options of pruning, which the one that starts it needs."""
    others = [
        setting
        for key, setting in sorted(node.settings.items())
        if re.search("pruning|history-expiry", key, re.IGNORECASE) and setting != first
    ]
    return joined([named(setting) for setting in (first, *others)])


def _with_tcp(peer: str) -> str:
    """Return how to write the address of a peer."""
    if _PEER.fullmatch(right := peer.replace("/udp/", "/tcp/")):
        return f"write {right}"
    return "write /dns4/HOST/tcp/PORT/p2p/ID, with peerId of the validator in network.yaml as ID"


_PEER = re.compile(r"/(dns|dns4|dns6|ip4|ip6)/[^/]+/tcp/\d+/p2p/\w+")


@rule("docs/chain.md")
def invalid_maru_address(objects: Objects) -> Iterator[Problem]:
    """Maru's peers are addresses with TCP and a peer id, and its Besu is called over plain HTTP.

    Maru connects to peers by libp2p over TCP, and checks their ids. Besu's APIs have no TLS.
    """
    seen = set[tuple[str, str]]()
    for node in objects.programs:
        if node.program != MARU:
            continue
        wrong = [
            (setting, text, _with_tcp(text))
            for setting, text in node.peers
            if not _PEER.fullmatch(text)
        ]
        wrong += [
            (setting, url, f"write http{url[5:]}")
            for key, setting in node.settings.items()
            if key.endswith("endpoint.endpoint") and (url := str(setting.value))[:6] == "https:"
        ]
        for setting, text, fix in wrong:
            if (setting.manifest.label, text) not in seen:
                seen.add((setting.manifest.label, text))
                message = f"{named(setting)} of the container {node.name} has {text}:"
                message += " Maru never connects there"
                yield Problem(setting.manifest, setting.path, message, fix, line=line(setting))


@rule("https://besu.hyperledger.org/public-networks/how-to/use-besu-api#readiness")
def readiness_wants_too_many_peers(objects: Objects) -> Iterator[Problem]:
    """A readiness probe of Besu asks for no more peers than the environment has.

    Otherwise the pod never becomes ready, and the rollout stops at it.
    """
    besus = [node for node in objects.programs if node.program == BESU]
    others = sum(len(node.ordinals) for node in besus) - 1
    for node in besus:
        for name in ("readinessProbe", "startupProbe"):
            path: Where = (*node.container.path, name, "httpGet", "path")
            url = paths.get(node.container.data, [name, "httpGet", "path"])
            wanted = _wanted(url) if isinstance(url, str) else 0
            if wanted > others and not _is_open(objects):
                message = (
                    f"the {name} of the container {node.name} asks for {wanted} peers, but there "
                    f"are {others} other Besus: the pod never becomes ready"
                )
                right = re.sub("minPeers=[0-9]+", f"minPeers={min(others, 1)}", url)
                fix = advice.saying(f"write path: {right}", right)
                yield Problem(node.workload.manifest, path, message, fix)


@rule("https://besu.hyperledger.org/public-networks/how-to/use-besu-api#readiness")
def readiness_never_true(objects: Objects) -> Iterator[Problem]:
    """Requests of Besu's readiness have limits that a node can meet: numbers of at least 0.

    Otherwise no pod ever becomes ready, or a load balancer sends requests to none.
    """
    for manifest in objects.manifests:
        for path, url in _requests(manifest):
            if wrong := re.search(r"\b(?:minPeers|maxBlocksBehind)=(?![0-9]+(?:&|$))[^&]*", url):
                key = wrong[0].partition("=")[0]
                message = f"{manifest.label} asks /readiness for {wrong[0]}: no node is ever ready"
                fix = f"write a number of at least 0 for {key}, for example {key}=1"
                yield Problem(manifest, path, message, fix, wrong[0])


def _requests(manifest: Manifest) -> Iterator[tuple[Where, str]]:
    """Yield the paths of Besu's readiness that probes and load balancers request."""
    for key, value in manifest.annotations.items():
        if key.endswith("healthcheck-path"):
            yield ("metadata", "annotations", key), str(value)
    for container in containers.of_object(manifest):
        for probe in containers.PROBES:
            url = paths.get(container.data, [probe, "httpGet", "path"])
            if isinstance(url, str):
                yield (*container.path, probe, "httpGet", "path"), url


def _wanted(url: str) -> int:
    """Return minPeers of a request of Besu's readiness; 0 if it has none."""
    parts = urlsplit(url)
    values = parse_qs(parts.query).get("minPeers", ["0"])
    is_readiness = parts.path.rstrip("/") == "/readiness"
    return int(values[-1]) if is_readiness and values[-1].isdecimal() else 0


def _is_open(objects: Objects) -> bool:
    """Return whether peers from outside of the environment may connect."""
    return any(
        service.get("spec", "type") in ("LoadBalancer", "NodePort")
        and any("p2p" in str(port.get("name")) for port in service.get("spec", "ports") or ())
        for service in objects.of_kind("Service")
    )


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
