"""Pace: transfers and alerts fit the time between two blocks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from scripts.chain.node_config import MARU
from scripts.core import paths
from scripts.core.findings import Severity
from scripts.kubernetes import promql
from scripts.rules.monitoring.expressions import queries
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, once
from scripts.rules.workloads.environment_variables import with_scripts

_SCRIPT = "../chart/files/tx-sender/tx-sender.sh"
_PENDING = re.compile(r"^pending_limit=([0-9]+)", re.MULTILINE)
_INTERVAL = "INTERVAL_SECONDS"
_HEIGHTS = {"ethereum_blockchain_height", "maru_metadata_cl_block_height"}


@rule(_SCRIPT, Severity.WARNING, outcome=Outcome.RISK)
def transfers_faster_than_blocks(objects: Objects) -> Iterator[Problem]:
    """The TX Sender makes no more transfers between two blocks than may be pending.

    Otherwise it waits for the next block again and again, and makes fewer transfers than its
    interval says.
    """
    between = _block_seconds(objects)
    for container, own, texts in with_scripts(objects):
        pending, (path, interval) = _PENDING.search(texts), own.get(_INTERVAL, ((), ""))
        if not pending or not str(interval).isdecimal() or not between:
            continue
        if 0 < int(interval) * int(pending[1]) < between:
            message = (
                f"{container.workload.manifest.label} makes a transfer every {interval} s, at most "
                f"{pending[1]} may be pending, and a block comes every {between} s: it waits, and "
                "makes fewer transfers"
            )
            least = -(-between // int(pending[1]))
            fix = f'write value: "{least}" or more (in the values: txSender.interval)'
            yield Problem(container.workload.manifest, (*path, "value"), message, fix)


@rule("docs/monitoring.md")
def alert_faster_than_blocks(objects: Objects) -> Iterator[Problem]:
    """Alerts on a chain that stands still wait for more than two blocks.

    Otherwise they also fire for a chain that makes each block in time.
    """
    between = _block_seconds(objects)
    for query in queries(objects):
        expression = query.expression if query.rule.get("alert") else None
        for window in expression.windows if expression else ():
            is_height = window.selector.metric in _HEIGHTS and not window.function
            if is_height and window.seconds < 2 * between:
                message = (
                    f"{query.called} compares with the height of {promql.duration(window.seconds)} "
                    f"before, but a block comes only every {between} s: it also fires if all is "
                    "well"
                )
                fix = f"write offset {promql.duration(4 * between)} in the expression of the alert"
                template = query.manifest.template
                fix += f", in {template}" if template.startswith("chart/") else ""
                yield Problem(query.manifest, query.path, message, fix)
                break


@once
def _block_times(objects: Objects) -> Iterator[int]:
    """Yield the seconds between two blocks, of the last fork in each genesis of a Maru."""
    genesis = [node.text("genesis-file") for node in objects.programs if node.program == MARU]
    for text in {file[2] for file in genesis if file}:
        try:
            data = json.loads(text)
        except ValueError:
            continue  # another check reports it
        forks = paths.get(data, ["config"])
        known = [key for key in forks if key.isdecimal()] if isinstance(forks, dict) else []
        last = max(known, key=int, default="")
        seconds = paths.get(forks, [last, "blockTimeSeconds"])
        if isinstance(seconds, int):
            yield seconds


def _block_seconds(objects: Objects) -> int:
    """Return the most seconds between two blocks; 0 if they are unknown."""
    return max(_block_times(objects), default=0)
