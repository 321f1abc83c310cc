"""Every alert fires when it should and only then, asks for what exists, and leads to its page.

The rules are the rendered ones, judged by Prometheus' own promtool.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.core.findings import UserError
from scripts.environments import environment
from scripts.kubernetes import promql
from scripts.kubernetes.manifest import Manifest
from scripts.kubernetes.workloads import selects
from scripts.rendering import helm
from tests.conftest import ROOT
from tests.objects import CHART, FULL, of, of_environment, of_kind, of_values, pods
from tests.optional_tools import tool

CASES = ROOT / "tests" / "alerts"
RUNBOOKS = ROOT / "docs" / "runbooks"
INDEX = ROOT / "docs" / "monitoring.md"

ALERTING = ("prod", "staging")
BACKUPS = {"backup": {"enabled": True, "storage": {"bucket": "b", "region": "r"}}}
"""So that the alerts on backups are there, whatever prod has."""

NAMESPACES = ("namespace", "exported_namespace", "dest_namespace")
OF_THE_NAMESPACE = ("externalsecret_status_condition", "argocd_app_info")
"""Metrics of objects that are not named after the release."""

PUBLIC = {"LineaHostUnreachable", "LineaCertificateExpires"}

Rule = dict[str, Any]


def rules_of(name: str, *changes: dict[str, Any]) -> dict[str, Any]:
    """Return an environment's rules as Prometheus reads them, after changes of its values."""
    found, manifests = of_environment(name)
    if changes:
        values = found.values
        for change in changes:
            values = environment.merge(values, change)
        manifests = helm.template(CHART, ROOT, values, found.namespace, found.kubernetes_version)
    return groups(manifests)


def groups(manifests: list[Manifest]) -> dict[str, Any]:
    return {
        "groups": [
            group
            for manifest in of_kind(manifests, "PrometheusRule")
            for group in manifest.object["spec"]["groups"]
        ]
    }


def rules(file: dict[str, Any]) -> list[Rule]:
    return [rule for group in file["groups"] for rule in group["rules"]]


def alerts(file: dict[str, Any]) -> dict[str, Rule]:
    return {rule["alert"]: rule for rule in rules(file) if "alert" in rule}


@lru_cache
def prod() -> dict[str, Any]:
    return rules_of("prod", BACKUPS)


def promtool(folder: Path, *arguments: str) -> str:
    """Return what promtool says; it must be content."""
    done = subprocess.run(
        [tool("promtool"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def names_of_cases() -> list[str]:
    return sorted(path.stem for path in CASES.glob("*.yaml"))


# The rules themselves


@pytest.mark.parametrize("name", ALERTING)
def test_promtool_has_nothing_against_the_rules(name: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules_of(name)))
    promtool(tmp_path, "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml")


def test_promtool_has_nothing_against_the_rules_of_all_parts(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(groups(of_values(FULL))))
    promtool(tmp_path, "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml")


@pytest.mark.parametrize("name", names_of_cases())
def test_an_alert_fires_when_it_should_and_only_then(name: str, tmp_path: Path) -> None:
    # Its own group alone: the others would take most of the time.
    group = [g for g in prod()["groups"] if name in alerts({"groups": [g]})]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": group}))
    shutil.copy(CASES / f"{name}.yaml", tmp_path)
    promtool(tmp_path, "test", "rules", f"{name}.yaml")


def test_every_alert_has_cases_in_which_it_fires_and_others_in_which_it_does_not() -> None:
    assert set(names_of_cases()) == alerts(prod()).keys()
    for name in names_of_cases():
        tests = yaml.safe_load((CASES / f"{name}.yaml").read_text("utf-8"))["tests"]
        expected = [case for test in tests for case in test["alert_rule_test"]]
        assert {case["alertname"] for case in expected} == {name}
        assert {bool(case["exp_alerts"]) for case in expected} == {True, False}, name


def test_an_alert_says_how_bad_it_is_what_is_wrong_and_where_to_read_on() -> None:
    for name, rule in alerts(prod()).items():
        assert re.fullmatch(r"Linea[A-Z][A-Za-z]+", name)
        assert rule["labels"]["severity"] in ("critical", "warning"), name
        assert rule.keys() >= {"expr", "for"}, name
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}, name
        assert rule["annotations"]["runbook_url"].endswith(f"/docs/runbooks/{name}.md")


# Whether Prometheus loads them

LOADED = ("ServiceMonitor", "PrometheusRule", "Probe")


@pytest.mark.parametrize("name", ALERTING)
def test_a_kube_prometheus_stack_named_monitoring_loads_all_of_it(name: str) -> None:
    selector = {"matchLabels": {"release": "monitoring"}}
    _, manifests = of_environment(name)
    for kind in LOADED:
        found = of_kind(manifests, kind)
        assert found
        assert all(selects(selector, manifest.labels) for manifest in found), kind


def test_the_command_of_the_page_turns_off_the_selector_of_each_kind() -> None:
    (command,) = re.findall(
        r"```console\n(\$ helm upgrade .*?)```", INDEX.read_text("utf-8"), re.DOTALL
    )
    found = re.findall(r"prometheusSpec\.(\w+)SelectorNilUsesHelmValues=false", command)
    assert sorted(kind.lower() for kind in found) == sorted(
        kind.lower().removeprefix("prometheus") for kind in LOADED
    )


def test_the_check_of_the_page_prints_the_groups_that_prod_has() -> None:
    text = INDEX.read_text("utf-8")
    found = re.findall(r'^"name":"([a-z-]+)"$', text, re.MULTILINE)
    with_alerts = [g["name"] for g in prod()["groups"] if alerts({"groups": [g]})]
    assert found == sorted(with_alerts)


# What they ask for


def known(file: dict[str, Any]) -> dict[str, promql.Metric]:
    """Return the metrics that exporters give, and those that the rules themselves record."""
    found = dict(promql.metrics())
    for rule in rules(file):
        if "record" in rule:
            labels = promql.parse(rule["expr"]).labels & {"namespace", "job", "pod"}
            found[rule["record"]] = promql.Metric("gauge", labels, ("Prometheus",))
    return found


def test_rules_use_what_is_exported_and_no_other_label() -> None:
    metrics = known(prod())
    for rule in rules(prod()):
        found = promql.mistakes(promql.parse(rule["expr"]), metrics)
        assert not found, (rule.get("alert") or rule["record"], found)


@pytest.mark.parametrize("name", ALERTING)
def test_rules_look_at_their_own_environment_and_release_only(name: str) -> None:
    namespace = of_environment(name)[0].namespace
    for rule in rules(rules_of(name, BACKUPS)):
        for selector in promql.parse(rule["expr"]).selectors:
            matchers = {(m.label, m.operator): m.value for m in selector.matchers}
            asked = [matchers.pop((label, "="), None) for label in NAMESPACES]
            assert set(asked) - {None} == {namespace}, rule
            own = [v for v in matchers.values() if re.match(r"(data-)?linea-stack-", v)]
            assert len(own) == (selector.metric not in OF_THE_NAMESPACE), (rule, selector)


def test_a_job_in_a_rule_is_one_that_a_servicemonitor_or_a_probe_sets() -> None:
    _, manifests = of_environment("prod")
    made = {
        change["replacement"]
        for monitor in of_kind(manifests, "ServiceMonitor")
        for endpoint in monitor.object["spec"]["endpoints"]
        for change in endpoint["relabelings"]
        if change["targetLabel"] == "job"
    }
    made |= {probe.object["spec"]["jobName"] for probe in of_kind(manifests, "Probe")}
    asked = {
        job
        for rule in rules(prod())
        for selector in promql.parse(rule["expr"]).selectors
        for matcher in selector.matchers
        if matcher.label == "job"
        for job in matcher.value.split("|")
    }
    assert asked == made


def test_each_public_host_with_a_module_is_probed_by_https() -> None:
    found, _ = of_environment("prod")
    own = {
        "ingress": {"ethstats": {"host": "stats.linea.example.com"}},
        "networkPolicy": {"ethstatsFrom": [{"ipBlock": {"cidr": "10.30.0.0/22"}}]},
    }
    values = environment.merge(found.values, own)
    manifests = helm.template(CHART, ROOT, values, found.namespace, found.kubernetes_version)
    targets = {
        tuple(probe.object["spec"]["targets"]["staticConfig"]["static"]): probe.object["spec"]
        for probe in of_kind(manifests, "Probe")
    }
    hosts = {name: values["ingress"][name]["host"] for name in ("rpc", "ethstats")}
    assert targets.keys() == {(f"https://{host}/",) for host in hosts.values()}
    labels = [spec["targets"]["staticConfig"]["labels"] for spec in targets.values()]
    assert labels == [{"namespace": found.namespace}] * 2
    ws = {"metrics": {"probe": {"modules": {"ws": "websocket", "ethstats": ""}}}}
    values = environment.merge(values, ws)
    made = helm.template(CHART, ROOT, values, found.namespace, found.kubernetes_version)
    modules = {
        p.object["spec"]["jobName"]: p.object["spec"]["module"] for p in of_kind(made, "Probe")
    }
    assert modules == {"linea-stack-rpc": "http_2xx", "linea-stack-ws": "websocket"}


# What they follow from


def test_no_rule_is_made_until_asked_for() -> None:
    assert not of_kind(of({}), "PrometheusRule")
    assert not of_kind(of_environment("dev")[1], "PrometheusRule")


def test_rules_without_a_place_for_their_pages_are_refused() -> None:
    with pytest.raises(UserError, match="runbookUrl is empty: alerts would not link"):
        of({"metrics": {"prometheusRule": {"enabled": True}}})


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"txSender": {"enabled": False}}, {"LineaTxSenderStuck"}),
        ({"ethstats": {"enabled": False}}, {"LineaEthStatsUnavailable"}),
        ({"secrets": {"provider": "existing"}}, {"LineaSecretNotReady"}),
        ({"metrics": {"prometheusRule": {"externalSecrets": False}}}, {"LineaSecretNotReady"}),
        ({"metrics": {"prometheusRule": {"argocd": False}}}, {"LineaApplicationNotSynced"}),
        ({"metrics": {"probe": {"enabled": False}}}, PUBLIC),
        ({"ingress": {"enabled": False}}, PUBLIC),
        (
            {"backup": {"enabled": False}},
            {"LineaBackupTooOld", "LineaBackupFailed", "LineaBackupOfOldHead"},
        ),
        ({"backup": {"source": {"existingClaim": "stopped"}}}, {"LineaBackupOfOldHead"}),
        ({"restore": {"drill": {"enabled": False}}}, {"LineaRestoreDrillTooOld"}),
        ({"besu": {"autoscaling": {"enabled": False}}}, {"LineaAutoscalerAtMax"}),
        (
            {
                "besu": {"enabled": False},
                "backup": {"enabled": False},
                "txSender": {"rpc": {"service": "sequencer"}},
            },
            {name for name in names_of_cases() if "Rpc" in name or "Backup" in name}
            | {"LineaAutoscalerAtMax"}
            | PUBLIC,
        ),
    ],
    ids=[
        "tx-sender",
        "ethstats",
        "own-secrets",
        "external-secrets",
        "argocd",
        "probe",
        "ingress",
        "backup",
        "existing-claim",
        "drill",
        "autoscaler",
        "besu",
    ],
)
def test_what_does_not_run_raises_no_alert(change: dict[str, Any], gone: set[str]) -> None:
    left = rules_of("prod", BACKUPS, change)
    assert alerts(prod()).keys() - alerts(left).keys() == gone
    missing = alerts(left)["LineaMetricsMissing"]["expr"]
    assert ("externalsecret" in missing) == ("LineaSecretNotReady" not in gone)
    assert ("probe_success" in missing) == (not gone & PUBLIC)
    assert ("argocd_app_info" in missing) == ("LineaApplicationNotSynced" not in gone)
    if "besu" in change and not change["besu"].get("enabled", True):
        assert "linea-stack-besu" not in missing
        assert "linea-stack-maru" in missing


@pytest.mark.parametrize(
    ("validators", "ready", "expected"),
    [
        (1, 1, set()),
        (1, 0, {"LineaQuorumLost"}),
        (4, 4, set()),
        (4, 3, {"LineaQuorumAtRisk", "LineaValidatorMissing"}),
        (4, 2, {"LineaQuorumLost", "LineaValidatorMissing"}),
        (4, 0, {"LineaQuorumLost", "LineaValidatorMissing"}),
    ],
)
def test_how_many_validators_are_needed_follows_from_the_values(
    validators: int, ready: int, expected: set[str], tmp_path: Path
) -> None:
    found, _ = of_environment("prod")
    change = {
        "sequencer": {"replicas": validators},
        "maru": {"replicas": validators},
        "network": {"validators": found.values["network"]["validators"][:validators]},
    }
    ready_pods = "kube_statefulset_status_replicas_ready"
    series = f'{ready_pods}{{namespace="linea-prod", statefulset="linea-stack-maru"}}'
    firing = 'ALERTS{alertname=~"Linea(Quorum|Validator).*", alertstate="firing"}'
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(expected)]
    test = {"expr": f"count by (alertname) ({firing})", "eval_time": "25m", "exp_samples": samples}
    case = {
        "interval": "1m",
        "input_series": [{"series": series, "values": f"{ready}x30"}],
        "promql_expr_test": [test],
    }
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules_of("prod", change)))
    (tmp_path / "case.yaml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": [case]})
    )
    promtool(tmp_path, "test", "rules", "case.yaml")


def test_a_stuck_sender_wakes_somebody_where_users_depend_on_it() -> None:
    assert alerts(prod())["LineaTxSenderStuck"]["labels"] == {"severity": "warning"}
    own = {"metrics": {"prometheusRule": {"txSenderSeverity": "critical"}}}
    changed = alerts(rules_of("prod", own))["LineaTxSenderStuck"]
    assert changed["labels"] == {"severity": "critical"}


def test_a_lone_validator_needs_no_peer_and_is_missed_by_one_alert_only() -> None:
    found, _ = of_environment("prod")
    alone = {"replicas": 1}
    network = {"validators": found.values["network"]["validators"][:1]}
    made = alerts(rules_of("prod", {"sequencer": alone, "maru": alone, "network": network}))
    assert not made.keys() & {"LineaQuorumAtRisk", "LineaValidatorMissing"}
    peers = promql.parse(made["LineaPeersLow"]["expr"])
    jobs = {m.value for s in peers.selectors for m in s.matchers if m.label == "job"}
    assert jobs == {"linea-stack-besu", "linea-stack-besu-maru"}


def test_with_empty_blocks_a_chain_that_stands_still_is_never_well() -> None:
    told = alerts(rules_of("prod", {"maru": {"allowEmptyBlocks": True}}))["LineaChainStalled"]
    assert promql.parse(told["expr"]).metrics == {"ethereum_blockchain_height"}


def test_thresholds_are_those_of_the_values() -> None:
    own = {
        "backupMaxAgeSeconds": 1000000,
        "restoreDrillMaxAgeSeconds": 2000000,
        "rpcErrorPercent": 0.25,
        "rpcSeconds": 0.4,
        "rpcSlowPercent": 5,
    }
    probe = {"certificateDays": 30}
    made = rules_of("prod", BACKUPS, {"metrics": {"prometheusRule": own, "probe": probe}})
    changed = alerts(made)
    assert "> 1000000\n" in changed["LineaBackupTooOld"]["expr"]
    assert "> 2000000\n" in changed["LineaRestoreDrillTooOld"]["expr"]
    assert "< 30 * 86400\n" in changed["LineaCertificateExpires"]["expr"]
    assert "> 14.4 * 0.25 / 100" in changed["LineaRpcErrorBudgetBurnsFast"]["expr"]
    assert "> 1 * 5 / 100" in changed["LineaRpcLatencyBudgetBurnsSlowly"]["expr"]
    (slow,) = [r for r in rules(made) if r.get("record", "").endswith("rpc_slow:ratio_rate5m")]
    assert "> bool 0.4)" in slow["expr"]


# Their pages


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == alerts(prod()).keys()


PARTS = ("## What it means", "## What to look at", "## What to do", "## What not to do")


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_a_page_says_what_it_means_what_to_do_and_what_not_to_do(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.startswith(f"# {path.stem}\n")
    assert [line for line in text.splitlines() if line.startswith("## ")] == list(PARTS)
    assert "```console" in text


def test_the_index_lists_each_alert_with_its_severity() -> None:
    text = INDEX.read_text("utf-8")
    rows = re.findall(r"^\| \[(Linea\w+)\]\(runbooks/(\w+)\.md\) \| (\w+) \|", text, re.MULTILINE)
    assert all(name == page for name, page, _ in rows)
    found = {name: rule["labels"]["severity"] for name, rule in alerts(prod()).items()}
    assert {name: severity for name, _, severity in rows} == found
    assert len(rows) == len(found)


def test_inhibitions_are_of_alerts_that_there_are_and_none_silences_itself() -> None:
    (block,) = re.findall(r"```yaml\n(inhibit_rules:.*?)```", INDEX.read_text("utf-8"), re.DOTALL)
    there = alerts(prod()).keys()
    for rule in yaml.safe_load(block)["inhibit_rules"]:
        sides = []
        for side in ("source_matchers", "target_matchers"):
            (matcher,) = rule[side]
            found = re.fullmatch(r'alertname=~?"([^"]+)"', matcher)
            assert found, matcher
            parts = found[1].split("|")
            matched = [{name for name in there if re.fullmatch(part, name)} for part in parts]
            assert all(matched), matcher
            sides.append(set().union(*matched))
        assert not sides[0] & sides[1], rule
        assert rule["equal"][0] == "namespace"


def test_a_page_that_says_to_revert_a_change_names_the_way_back_of_an_upgrade() -> None:
    reverting = [
        text
        for path in RUNBOOKS.glob("*.md")
        if re.search(r"\brevert\b", text := path.read_text("utf-8"), re.IGNORECASE)
    ]
    assert len(reverting) >= 6
    assert all("../upgrades.md#the-way-back" in text for text in reverting)
    assert "### The way back\n" in (ROOT / "docs/upgrades.md").read_text("utf-8")


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_queries_of_a_page_ask_for_what_there_is(path: Path) -> None:
    metrics = known(prod())
    for block in re.findall(r"```promql\n(.*?)```", path.read_text("utf-8"), re.DOTALL):
        for query in block.strip().split("\n\n"):
            assert not promql.mistakes(promql.parse(query), metrics), query


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_commands_of_a_page_name_what_there_is_in_prod(path: Path) -> None:
    _, manifests = of_environment("prod")
    there = {manifest.name for manifest in manifests}
    containers: dict[str, set[str]] = {}
    for manifest, template in pods(manifests):
        names = {container["name"] for container in template["spec"]["containers"]}
        containers[manifest.name] = names
        if manifest.kind == "StatefulSet":
            pod = [f"{manifest.name}-{ordinal}" for ordinal in ("$i", *range(4))]
            containers |= dict.fromkeys(pod, names)
            there |= {*pod, *(f"data-{name}" for name in pod)}
    text = path.read_text("utf-8")
    there |= {f"linea-stack-{name}" for name in ("backup-by-hand", "restore-drill-by-hand", "$p")}
    assert set(re.findall(r"\b(?:data-)?linea-stack-[a-z0-9-]*(?:\$[ip])?", text)) <= there
    for pod, container in re.findall(r"(linea-stack-[^ ]+) -c ([a-z-]+)", text):
        assert container in containers[pod], (pod, container)
    assert set(re.findall(r"\bkubectl -n (\S+)", text)) <= {"linea-prod", "argocd"}
    assert set(re.findall(r"\bget application (\S+)", text)) <= {"linea-prod"}
    # The command line of Argo CD would have to be installed and logged in.
    assert not re.search(r"\bargocd app\b", text)
