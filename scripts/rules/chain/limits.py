"""Limits: what one client can take up of a public Besu, and how large blocks may become."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.chain.node_config import BESU, Node
from scripts.chain.version import Release, release
from scripts.core import advice, paths, tomlio
from scripts.core.findings import UserError
from scripts.kubernetes import services
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_FILTERS = (26, 7, 1)
"""The first version of Besu that limits filters: CHANGELOG.md, rpc-max-active-filters."""
_FIXED = (26, 8, 0)
"""The first version of Besu with the fixes of the published advisories about P2P."""
_GAS_LIMIT_FIX = "add --target-gas-limit={} to sequencer.extraArgs"
_P2P = ("p2p", "p2p-udp")


@rule(
    "https://besu.hyperledger.org/public-networks/reference/cli/options#rpc-max-active-filters",
    outcome=Outcome.RISK,
)
def unlimited_public_rpc(objects: Objects) -> Iterator[Problem]:
    """In production, a Besu that clients reach from outside of the cluster limits their filters.

    Otherwise one anonymous client creates filters until the node imports no more blocks. Besu
    limits them from 26.7.1 on; its default for subscriptions, 100000, is too many for one node.
    """
    for node in objects.programs if objects.is_production else ():
        if node.program != BESU or not _is_public(objects, node, ("rpc", "ws")):
            continue
        version = _version(node)
        if version and version.numbers < _FILTERS:
            message = (
                f"Besu {version.shown} limits neither filters nor subscriptions: one client of "
                f"{node.name} can stop its import of blocks"
            )
            path = (*node.container.path, "image")
            fix = "write the tag 26.8.0, or another version from 26.7.1 on"
            yield Problem(node.workload.manifest, path, message, fix)
            continue
        for key, most, what in (
            ("rpc-max-active-filters", 1000, "filters"),
            ("rpc-ws-max-active-subscriptions", 5000, "subscriptions"),
        ):
            setting = node.settings.get(key)
            is_off = setting is not None and str(setting.value) == "0"
            is_default = setting is None and "ws" in key and node.is_known
            if not (is_off or is_default):
                continue
            limit = "no limit" if is_off else "the default limit of 100000"
            message = (
                f"{node.name} has {limit} for {what}: one client can stop its import of blocks"
            )
            yield Problem(*node.place(setting), message, f"write {key} = {most}")


@rule("https://github.com/hyperledger/besu/blob/25.11.0/CHANGELOG.md")
def gas_limit_changes(objects: Objects) -> Iterator[Problem]:
    """Sequencers keep the gas limit of the genesis.

    Without target-gas-limit, Besu raises the limit of each block until it is 60 million. Blocks
    then take longer to execute than the sizes of this environment were measured for.
    """
    for node in objects.programs:
        if node.workload.manifest.component != "sequencer" or node.program != BESU:
            continue
        limit, setting = _genesis_gas_limit(node), node.settings.get("target-gas-limit")
        if limit is None or not node.is_known or (setting and str(setting.value) == str(limit)):
            continue
        now = f"is {setting.value}" if setting else "is not set, so that it is 60000000"
        message = (
            f"target-gas-limit of {node.name} {now}, and the genesis has {limit}: the gas limit "
            "changes with each block until it is the target's"
        )
        is_written = setting is not None and setting.manifest is node.workload.manifest
        fix = (
            advice.write_value(f"--target-gas-limit={limit}")
            if is_written
            else _GAS_LIMIT_FIX.format(limit)
        )
        yield Problem(*node.place(setting), message, fix)


@rule("https://github.com/besu-eth/besu/security/advisories", outcome=Outcome.RISK)
def public_peers_of_outdated_besu(objects: Objects) -> Iterator[Problem]:
    """A Besu whose P2P port is open to the outside of the cluster has the fixes of 26.8.0.

    Older versions have published weaknesses that any peer can use.
    """
    for node in objects.programs:
        version = _version(node)
        if node.program != BESU or not version or version.numbers >= _FIXED:
            continue
        if _is_public(objects, node, _P2P):
            message = (
                f"Besu {version.shown} has published weaknesses in P2P, and peers from outside of "
                f"the cluster reach {node.name}"
            )
            path = (*node.container.path, "image")
            yield Problem(node.workload.manifest, path, message, "write the tag 26.8.0 or newer")


def _genesis_gas_limit(node: Node) -> int | None:
    """Return gasLimit of the genesis file of a Besu; None if it is not known here."""
    found = node.text("genesis-file")
    try:
        text = paths.get(tomlio.from_json(found[2], found[1]).data, ["gasLimit"]) if found else None
        return int(str(text), 16 if str(text).startswith("0x") else 10)
    except (UserError, ValueError):
        return None


def _version(node: Node) -> Release | None:
    return release(node.container.data.get("image"))


def _is_public(objects: Objects, node: Node, names: tuple[str, ...]) -> bool:
    """Return whether an Ingress, or a Service with a load balancer, leads to one of the ports."""
    numbers = {port.number for port in node.container.ports() if port.name in names}
    ports = [
        port
        for service in objects.of_kind("Service")
        if service.get("spec", "type") in ("LoadBalancer", "NodePort")
        for port in services.ports(service)
    ]
    for ingress in objects.of_kind("Ingress"):
        for backend in services.backends(ingress):
            ports += objects.led_to(backend)
    for port in ports:
        if node.workload in objects.behind(port.service):
            own = services.answering(port, node.workload)
            if own and own.number in numbers:
                return True
    return False
