"""create-secrets.sh, which `nox -s network` writes, creates all Secrets of a chain or none."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.network.keys import Key
from tests.conftest import Repository, Run
from tests.network.chains import (
    JWT,
    MARU,
    SENDER,
    SEQUENCER,
    STATS,
    chain_id,
    network,
    private,
    public,
    secrets_of,
)

KUBECTL = """#!/bin/sh
# A folder as a cluster: one file per Secret, with its line for the jsonpath of the script.
printf '%s\\n' "$*" >>"$CLUSTER/said"
case $* in
  "config get-contexts -o name") printf 'dev-admin\\nprod-admin\\n' && exit ;;
esac
[ "$1 $2" = "--context dev-admin" ] || exit 8
shift 2
case $* in
  "config view --minify "*) printf https://dev.example.com:6443 ;;
  *"get secret $5 "*) [ ! -e "$CLUSTER/$5" ] || cat "$CLUSTER/$5" ;;
  *"create secret generic $6 --from-file=$6 --dry-run=client"*) ls "$6" >/dev/null && echo "$6" ;;
  "label --local -f - "*) read -r name && echo "$name=${5#*=}" ;;
  *"create -f -") read -r line && echo "$line" >"$CLUSTER/${line%%=*}" ;;
  "get namespace"*) [ -e "$CLUSTER/namespace" ] ;;
  "create namespace"*) : >"$CLUSTER/namespace" ;;
  *) exit 9 ;;
esac
"""


CONTEXT = ("--context", "dev-admin")
HEADING = "context dev-admin, server https://dev.example.com:6443, namespace linea-dev\n"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A folder that a replacement of kubectl uses as a cluster."""

    root: Path

    def run(self, repository: Repository, *arguments: str, name: str = "dev") -> Run:
        """Run an environment's create-secrets.sh from another folder, as a rule with a context."""
        program = self.root / "bin" / "kubectl"
        program.parent.mkdir(exist_ok=True)
        program.write_text(KUBECTL)
        program.chmod(0o755)
        paths = {"PATH": f"{program.parent}:{os.environ['PATH']}", "CLUSTER": str(self.root)}
        done = subprocess.run(
            ["sh", str(repository / f".secrets/{name}/create-secrets.sh"), *(arguments or CONTEXT)],
            cwd="/",
            env={**os.environ, **paths},
            capture_output=True,
            text=True,
            check=False,
        )
        return Run(done.returncode, done.stdout, done.stderr)

    def secrets(self) -> dict[str, str]:
        """Return Secret → the chain in its label."""
        lines = (path.read_text().strip() for path in self.root.glob("linea-*"))
        return {name: chain for name, _, chain in (line.partition("=") for line in lines)}


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Return an empty cluster."""
    empty = Cluster(tmp_path / "cluster")
    empty.root.mkdir()
    return empty


def test_the_script_creates_the_secrets_from_any_folder_and_shows_none(
    plain: Repository, cluster: Cluster
) -> None:
    network(plain, "dev")
    done = cluster.run(plain)
    assert (done.code, done.err) == (0, "")
    every = [SEQUENCER, MARU, SENDER, JWT, STATS]
    assert done.out == HEADING + "".join(f"{secret}: created\n" for secret in every)
    asked = (cluster.root / "said").read_text()
    for secret in every:
        assert f"-n linea-dev create secret generic {secret} --from-file={secret} " in asked
    for secret in secrets_of(plain):
        assert secret not in asked + done.out
    addresses = sorted(v["address"].lower() for v in public(plain)["network"]["validators"])
    chain = hashlib.sha256("\n".join([*addresses, str(chain_id(plain))]).encode()).hexdigest()[:16]
    assert cluster.secrets() == dict.fromkeys(every, chain)
    again = cluster.run(plain)
    assert again.code == 0
    assert again.out == HEADING + "".join(
        f"{secret}: exists already, unchanged\n" for secret in every
    )


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (("--help",), ""),
        (("--context",), ""),
        (("--context", "dev"), "kubeconfig has no context dev\n"),
        (("--context=prod.admin",), "kubeconfig has no context prod.admin\n"),
    ],
)
def test_the_script_wants_the_context_by_name_and_lists_those_that_exist(
    plain: Repository, cluster: Cluster, arguments: tuple[str, ...], first: str
) -> None:
    network(plain, "dev")
    done = cluster.run(plain, *arguments)
    script = plain / ".secrets/dev/create-secrets.sh"
    wanted = f"choose the cluster of dev: sh {script} --context NAME, with one of:\n"
    assert done.err == f"{first}{wanted}  dev-admin\n  prod-admin\n"
    assert (done.code, done.out) == (2, "")
    assert (cluster.root / "said").read_text() == "config get-contexts -o name\n"
    assert cluster.run(plain, "--context=dev-admin").out.startswith(HEADING)


def test_the_script_creates_nothing_if_a_file_is_missing(
    plain: Repository, cluster: Cluster
) -> None:
    network(plain, "dev", "--validators", "4")
    (plain / f".secrets/dev/{MARU}/key-2").unlink()
    (plain / f".secrets/dev/{JWT}/jwt").write_text("")
    done = cluster.run(plain)
    assert done.code == 1
    assert f"{MARU}: the file {MARU}/key-2 is missing or empty" in done.err
    assert f"{JWT}: the file {JWT}/jwt is missing or empty" in done.err
    assert done.err.endswith("nothing was created\n")
    assert not cluster.secrets()


def test_the_script_creates_nothing_if_a_secret_belongs_to_another_chain(
    plain: Repository, cluster: Cluster
) -> None:
    network(plain, "dev")
    (cluster.root / JWT).write_text(f"{JWT}=0123456789abcdef\n")
    (cluster.root / STATS).write_text(f"{STATS}=\n")  # by people, or by a vault
    done = cluster.run(plain)
    assert done.code == 1
    assert f"{JWT}: belongs to another chain" in done.err
    assert f"kubectl --context dev-admin -n linea-dev delete secret {JWT}\n" in done.err
    assert {*cluster.secrets()} == {JWT, STATS}
    (cluster.root / JWT).unlink()
    done = cluster.run(plain)
    assert done.code == 0
    assert f"{STATS}: exists already, unchanged; it has no label" in done.out
    assert f"{JWT}: created" in done.out
    assert cluster.secrets()[STATS] == ""


def test_a_tx_sender_that_is_enabled_later_needs_an_account_with_funds(
    plain: Repository, cluster: Cluster
) -> None:
    plain.write("overlays/dev/values.yaml", "txSender: {enabled: false}\n")
    network(plain, "dev", "--validators", "1")
    plain.write("overlays/dev/values.yaml", "txSender: {enabled: true}\n")
    done = network(plain, "dev", "--validators", "1")
    assert "from your backup" not in done.out
    assert "for a TX Sender, create a new chain, or write the key of your own account" in done.out
    assert SENDER not in private(plain)["create-secrets.sh"]
    assert cluster.run(plain).code == 0
    plain.write(f".secrets/dev/{SENDER}/privateKey", Key.generate().hex)
    (plain / f".secrets/dev/{SENDER}/privateKey").chmod(0o600)
    (plain / f".secrets/dev/{SENDER}").chmod(0o700)
    done = network(plain, "dev", "--validators", "1")
    assert f"created recipient.key, {SENDER}/toAddress, create-secrets.sh" in done.out
    assert "create a new chain" not in done.out
    done = cluster.run(plain)
    assert done.code == 0
    assert f"{SENDER}: created" in done.out
