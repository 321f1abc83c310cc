"""Limits: of what one client can use of a public Besu, and of the size of blocks."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.chain.node_config import BESU, MARU, Node
from scripts.chain.version import Release, release
from scripts.core import advice, paths, tomlio
from scripts.core.edits import Action
from scripts.core.findings import Severity, UserError
from scripts.core.fixes import Change, Fix
from scripts.kubernetes import services
from scripts.rules import chart_values
from scripts.rules.chain.settings import named, write
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_FILTERS = (26, 7, 1)
"""The first version of Besu that limits filters: CHANGELOG.md, rpc-max-active-filters."""
_FIXED = (26, 8, 0)
"""The first version of Besu with the fixes of the published advisories about P2P."""
_NEWEST = "26.8.0"
_TESTED_MARU, _TESTED_BESU = (1, 2, 1), "25.11.0"
"""The pair of versions that upstream tests together: docs/upgrades.md."""
_TARGET = 60_000_000
"""Besu's default of target-gas-limit."""
_P2P = ("p2p", "p2p-udp")


@rule(
    "https://besu.hyperledger.org/public-networks/reference/cli/options#rpc-max-active-filters",
    outcome=Outcome.RISK,
)
def unlimited_public_rpc(objects: Objects) -> Iterator[Problem]:
    """In production, a Besu with clients outside the cluster limits filters and subscriptions.

    Otherwise a single anonymous client can create so many that the node imports no more blocks.
    Besu limits filters from 26.7.1 on. Its default limit of subscriptions, 100000, is too high for
    one node.
    """
    for node in objects.programs if objects.is_production else ():
        if node.program != BESU or not _is_public(objects, node, ("rpc", "ws")):
            continue
        version = _version(node)
        if version and version.numbers < _FILTERS:
            yield _outdated(
                objects,
                node,
                f"runs Besu {version.shown}, which limits neither filters nor subscriptions: a "
                "single client can stop its import of blocks",
            )
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
            value = "is 0, which means no limit"
            if not is_off:
                value = "is not set, and the default of 100000 is too high"
            message = (
                f"{named(setting) if setting else key} of the container {node.name} {value}: a "
                f"single client can create {what} until the node imports no more blocks"
            )
            yield Problem(*node.place(setting), message, write(node, setting, key, most))


@rule("https://github.com/hyperledger/besu/blob/25.11.0/CHANGELOG.md")
def gas_limit_changes(objects: Objects) -> Iterator[Problem]:
    """Sequencers keep the gas limit of the genesis.

    Without target-gas-limit, Besu raises the gas limit with each block, up to 60 million. Blocks
    then take longer to execute than the resources of the environment allow for.
    """
    for node in objects.programs:
        if node.workload.manifest.component != "sequencer" or node.program != BESU:
            continue
        limit, setting = _genesis_gas_limit(node), node.settings.get("target-gas-limit")
        if limit is None or not node.is_known or (setting and str(setting.value) == str(limit)):
            continue
        value = f"is {setting.value}" if setting else f"is not set, and is {_TARGET} by default"
        message = (
            f"{named(setting) if setting else 'target-gas-limit'} of the container {node.name} "
            f"{value}, but gasLimit of the genesis is {limit}: the gas limit changes with each "
            "block until it is the target"
        )
        fix = write(node, setting, "target-gas-limit", limit)
        if setting is None or setting.manifest is not node.workload.manifest:
            argument = f"--target-gas-limit={limit}"
            words = f"add {argument} to sequencer.extraArgs in {chart_values.file(objects)}"
            change = Change(Action.APPEND, ("sequencer", "extraArgs"), argument)
            fix = Fix(words, (), [change])
        yield Problem(*node.place(setting), message, fix)


@rule("docs/upgrades.md", Severity.WARNING, outcome=Outcome.RISK)
def untested_besu_of_sequencer(objects: Objects) -> Iterator[Problem]:
    """Sequencers run the version of Besu with which upstream tests their Maru.

    With another one, a difference in the Engine API can stop all blocks. The rule knows the pair
    of Maru v1.2.1 and Besu 25.11.0: maru/docker/compose.yaml in lineth-monorepo.
    """
    marus = [_version(node) for node in objects.programs if node.program == MARU]
    if not any(maru and maru.numbers == _TESTED_MARU for maru in marus):
        return
    for node in objects.programs:
        version = _version(node)
        is_sequencer = node.program == BESU and node.workload.manifest.component == "sequencer"
        if not is_sequencer or version is None or version.shown == _TESTED_BESU:
            continue
        message = (
            f"the container {node.name} runs Besu {version.shown}, but upstream tests this Maru "
            f"with Besu {_TESTED_BESU}: blocks may stop"
        )
        fix = advice.write_values("sequencer.image.tag", _TESTED_BESU)
        path = (*node.container.path, "image")
        yield Problem(node.workload.manifest, path, message, fix, version.tag)


@rule("https://github.com/besu-eth/besu/security/advisories", outcome=Outcome.RISK)
def public_peers_of_outdated_besu(objects: Objects) -> Iterator[Problem]:
    """A Besu with peers outside the cluster is version 26.8.0 or later.

    Older versions have published vulnerabilities that any peer can exploit.
    """
    for node in objects.programs:
        version = _version(node)
        if node.program != BESU or not version or version.numbers >= _FIXED:
            continue
        if _is_public(objects, node, _P2P):
            yield _outdated(
                objects,
                node,
                f"runs Besu {version.shown}, whose P2P has published vulnerabilities: any peer "
                "outside the cluster can exploit them",
            )


def _outdated(objects: Objects, node: Node, what: str) -> Problem:
    """Return the problem that a Besu needs a newer version; what: the rest of its message."""
    message = f"the container {node.name} {what}"
    fix = chart_values.image(objects, node.container, _NEWEST)
    return Problem(node.workload.manifest, (*node.container.path, "image"), message, fix)


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
