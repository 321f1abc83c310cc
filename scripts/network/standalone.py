"""Create a chain for the chart alone: a folder with a file of values and the files of its Secrets.

It is created like the chain of an environment, in a temporary repository with only the chart's
values. At the end, the files are moved to the folder, network.yaml last.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import yaml

from scripts.core import yamlio
from scripts.core.findings import UsageError
from scripts.environments import image_lock
from scripts.environments.environment import NETWORK
from scripts.network import make, plan, secret_files
from scripts.network.plan import Wanted

SECRETS = "secrets"
"""The folder of the private files in the output."""

_NAME = "chain"
"""The name of the temporary environment and of its namespace, which can't be `default`."""

_NAMESPACE = re.compile("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_BASE = """\
kubernetesVersion: "1.34"
cluster: {server: "https://kubernetes.default.svc"}
sync: {automated: true, selfHeal: true, prune: true}
repository: {url: "https://git.example.com/none.git", revision: main}
"""


def create(root: Path, folder: Path, namespace: str, wanted: Wanted, stream: TextIO) -> None:
    """Create the chain in a folder, and print the created files and the next commands.

    root: the repository with the chart. Raises UsageError if the folder has a chain already, and
    for an error of the file system.
    """
    if not _NAMESPACE.fullmatch(namespace):
        message = f"--namespace {namespace} is invalid: write lower-case letters, digits and -"
        raise UsageError(message)
    count = wanted.validators or 1
    with _as_usage_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for part in (NETWORK, SECRETS):
            if os.path.lexists(folder / part):
                raise UsageError(f"{folder / part} exists already: write another folder")
        with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as temporary:
            work, notes = Path(temporary), io.StringIO()
            _lay(root, work)
            make.make(work, _NAME, Wanted(count, wanted.chain_id, wanted.to_address), notes)
            values, private = work / "overlays" / _NAME / NETWORK, secret_files.folder(work, _NAME)
            values.write_text(_with_pods(values.read_text("utf-8"), count), "utf-8")
            script = private / make.SCRIPT
            text = script.read_text("utf-8").replace(
                f"\nnamespace={_NAME}\n", f"\nnamespace={namespace}\n"
            )
            script.write_text(text, "utf-8")
            (private.parent / ".gitignore").rename(private / ".gitignore")
            private.rename(folder / SECRETS)
            values.rename(folder / NETWORK)
    for line in _said(folder, namespace, count, notes.getvalue()):
        print(line, file=stream)


def _lay(root: Path, work: Path) -> None:
    """Write what an environment needs to be loaded."""
    (work / "chart").mkdir()
    for name in ("values.yaml", "values.schema.json"):
        shutil.copy(root / "chart" / name, work / "chart" / name)
    overlay = work / "overlays" / _NAME
    overlay.mkdir(parents=True)
    (work / "base").mkdir()
    texts = {
        work / "base" / "environment.yaml": _BASE,
        work / "base" / "values.yaml": "{}\n",
        work / image_lock.LOCK: "{}\n",
        overlay / "environment.yaml": f"name: {_NAME}\nnamespace: {_NAME}\n",
    }
    for path, text in texts.items():
        path.write_text(text, "utf-8")


def _with_pods(text: str, count: int) -> str:
    """Return the values with a pod for each validator."""
    head, _, rest = text.partition("\n")
    data = yaml.safe_load(rest)
    data["maru"] = data["sequencer"] = {"replicas": count}
    if count in (2, 3):
        data["network"]["acceptNoFaultTolerance"] = True
    return f"{head}\n{yamlio.dump(data)}"


def _said(folder: Path, namespace: str, count: int, notes: str) -> Iterator[str]:
    """Yield the lines to print; notes: what was said when the chain was made."""
    chain_id = re.search(r"chain id (\d+)", notes)
    yield f"{folder}: created a chain of {plan.called(count)}, chain id {chain_id and chain_id[1]}"
    yield f"  {folder / NETWORK}  public: the values of the chain"
    yield f"  {folder / SECRETS}/  private: keep it safe, and never commit it"
    yield "next:"
    script = f"{folder / SECRETS / make.SCRIPT} --context NAME"
    yield f"  sh {script}  creates the Secrets in the cluster of that context"
    yield f"  helm install my-linea ./chart -n {namespace} -f {folder / NETWORK}"
    yield from (line for line in notes.splitlines() if line.startswith("note: "))


@contextlib.contextmanager
def _as_usage_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        file = error.filename or folder
        raise UsageError(f"{file}: {error.strerror or error}; no chain was created") from error
