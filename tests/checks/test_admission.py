"""Kubernetes' own validation: it rejects what the rules say it rejects, and nothing that is right.

tests/e2e/test_rejected.py asks real API servers about the same examples and gets the same answers:
each wrong one is rejected, each right one accepted. Here, those of its NOT_HERE are asked, too.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from scripts.checks import admission
from scripts.core import programs, toolchain
from scripts.core.findings import UsageError
from scripts.kubernetes import api_validation
from scripts.kubernetes.api_validation import Rejection
from scripts.kubernetes.manifest import Manifest
from scripts.rules.rule import Rule, is_rejected
from tests import git, optional_tools
from tests.checks import mutants
from tests.conftest import EXAMPLE, ROOT, Repository
from tests.objects import ENVIRONMENTS
from tests.rules import examples
from tests.rules.rejected import ALWAYS, CHANGES, REJECTED, brought, of, wrong

VERSIONS = api_validation.versions()
BESU = "overlays/prod/patches/besu.yaml"

versions = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture(autouse=True)
def built() -> None:
    """Skip a test if the programs are not built."""
    optional_tools.needs(*(f"admission-{version}" for version in VERSIONS))


def manifest(kind: str, spec: Any = None, api: str = "v1", **fields: Any) -> Manifest:
    """Return an object with a name, and what else it has."""
    made = {"apiVersion": api, "kind": kind, "metadata": {"name": "it"}, **fields}
    return Manifest(made if spec is None else {**made, "spec": spec}, "test")


def rejections(*changes: api_validation.Change, version: str = VERSIONS[0]) -> list[Rejection]:
    """Return why objects are rejected, which must be checked."""
    answer = api_validation.ask(changes, version)
    assert answer.checked == len(changes), answer.skipped
    return answer.rejections


def pod(**spec: Any) -> Manifest:
    """Return a pod with one container, and other fields."""
    return manifest("Pod", {"containers": [{"name": "it", "image": "it"}], **spec})


# Rules


@versions
@pytest.mark.parametrize("rule", ALWAYS, ids=lambda rule: rule.id)
def test_wrong_objects_are_rejected(rule: Rule, version: str) -> None:
    for example in of(rule.id, "wrong"):
        _, rejected = wrong(rule, example, version)
        found = rejections(*((each, None) for each in rejected), version=version)
        assert {id(each.manifest) for each in found} == {id(each) for each in rejected}, example.id


@versions
@pytest.mark.parametrize("rule", ALWAYS, ids=lambda rule: rule.id)
def test_right_objects_are_accepted(rule: Rule, version: str) -> None:
    """Otherwise a wrong example may be rejected for another reason than the rule's."""
    for example in of(rule.id, "right"):
        answer = api_validation.ask([(each, None) for each in brought(example)], version)
        assert not answer.rejections, example.id


@versions
@pytest.mark.parametrize("rule", CHANGES, ids=lambda rule: rule.id)
def test_wrong_changes_are_rejected(rule: Rule, version: str) -> None:
    for example in of(rule.id, "wrong"):
        laid, rejected = wrong(rule, example, version)
        old = {each.label: each for each in laid.objects.before or ()}
        found = rejections(*((each, old[each.label]) for each in rejected), version=version)
        changed = {id(each.manifest) for each in found if each.is_change}
        assert changed == {id(each) for each in rejected}, example.id


@versions
@pytest.mark.parametrize("rule", CHANGES, ids=lambda rule: rule.id)
def test_right_changes_are_accepted(rule: Rule, version: str) -> None:
    for example in of(rule.id, "right"):
        answer = api_validation.ask(admission.changes(examples.laid(example).objects), version)
        assert not [each for each in answer.rejections if each.is_change], example.id


@versions
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_environment_is_accepted(name: str, version: str) -> None:
    objects = examples.objects(name)
    everything = [(each, None) for each in objects.manifests]
    answer = api_validation.ask([*everything, *((each, each) for each, _ in everything)], version)
    assert not answer.rejections
    assert answer.checked == 2 * sum(not each.is_custom for each in objects.manifests)


@pytest.mark.parametrize("name", mutants.ENVIRONMENTS)
def test_every_mutant_that_the_rules_call_rejected_is_rejected(name: str) -> None:
    """Mutants are nobody's examples of a rule."""
    old = {each.label: each for each in examples.objects(name).manifests}
    called = [
        problem.manifest
        for mutant in mutants.mutants(name)
        for rule in REJECTED
        for _, problem in rule.check([mutant.objects])
        if is_rejected(rule, problem, VERSIONS[0])
    ]
    found = rejections(*((each, old.get(each.label)) for each in called))
    assert len(called) > 10
    rejected = {id(each.manifest) for each in found}
    assert not [each.label for each in called if id(each) not in rejected]


# The program


def test_there_is_a_program_for_each_api_server_with_its_version() -> None:
    servers = [name for name in toolchain.names() if name.startswith("kube-apiserver-")]
    assert [f"kube-apiserver-{version}" for version in VERSIONS] == servers
    for version in VERSIONS:
        assert toolchain.version(f"admission-{version}") == toolchain.version(
            f"kube-apiserver-{version}"
        )
        done = programs.run([toolchain.tool(f"admission-{version}")], "it", 600, cwd=ROOT)
        assert json.loads(done.stdout)["kubernetes"] == toolchain.version(f"admission-{version}")


@pytest.mark.parametrize(
    ("version", "asked"), [("1.19", "1.34"), ("1.34", "1.34"), ("1.36", "1.34"), ("1.40", "1.37")]
)
def test_the_nearest_version_is_asked(version: str, asked: str) -> None:
    assert api_validation.nearest(version) == asked


@pytest.mark.parametrize(
    ("made", "path", "type", "value"),
    [
        (pod(nodeSelector={"a": "b c"}), ("spec", "nodeSelector"), "FieldValueInvalid", "b c"),
        (pod(restartPolicy="No"), ("spec", "restartPolicy"), "FieldValueNotSupported", "No"),
        (pod(activeDeadlineSeconds=-1), ("spec", "activeDeadlineSeconds"), "FieldValueInvalid", -1),
        (pod(volumes=[{}]), ("spec", "volumes", 0, "name"), "FieldValueRequired", None),
        (pod(replicas=1), ("spec", "replicas"), "Merge", None),
        (
            pod(containers=[{"name": "it", "image": "it"}, {"name": "it", "image": "it"}]),
            ("spec", "containers", 1),
            "Merge",
            None,
        ),
        (
            pod(hostAliases=[{"ip": "::1"}, {"ip": "here", "hostnames": ["a"]}]),
            ("spec", "hostAliases", 1, "ip"),
            "FieldValueInvalid",
            "here",
        ),
        (
            manifest("ConfigMap", data={"a/b": "c"}),
            ("data", "a/b"),
            "FieldValueInvalid",
            "a/b",
        ),
        (manifest("ConfigMap", data={"a": "b" * 1_100_000}), (), "FieldValueTooLong", None),
        (
            manifest(
                "Service", {"ports": [{"port": 1}], "loadBalancerSourceRanges": ["10.0.0.0/8"]}
            ),
            ("spec", "loadBalancerSourceRanges"),
            "FieldValueForbidden",
            None,
        ),
    ],
)
def test_a_rejection_has_the_field_and_the_value(
    made: Manifest, path: tuple[str | int, ...], type: str, value: Any
) -> None:
    found = [each for each in rejections((made, None)) if each.type == type]
    assert [(each.path, each.value) for each in found][:1] == [(path, value)], found


def test_what_the_cluster_decides_is_accepted() -> None:
    """Privileged pods, its addresses and node ports; pod security says more about pods."""
    privileged = {"name": "it", "image": "it", "securityContext": {"privileged": True}}
    ports = [{"port": 1, "nodePort": 40000}]
    families = {"ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": "RequireDualStack"}
    made = [
        pod(containers=[privileged]),
        manifest("Service", {"ports": ports, "type": "NodePort", "clusterIP": "172.20.0.1"}),
        manifest("Service", {"ports": ports, "type": "NodePort", **families}),
    ]
    assert not rejections(*((each, None) for each in made))


def test_an_object_in_another_namespace_is_a_new_one() -> None:
    old = manifest("ConfigMap", immutable=True, metadata={"name": "it", "namespace": "a"})
    new = manifest("ConfigMap", metadata={"name": "it", "namespace": "b"})
    assert not rejections((new, old))


def test_an_unknown_field_hides_no_other_mistake() -> None:
    made = pod(bogus=1, restartPolicy="No")
    assert {each.path[-1] for each in rejections((made, None))} == {"bogus", "restartPolicy"}


def test_a_secret_is_never_repeated() -> None:
    made = manifest("Secret", type="kubernetes.io/tls", stringData={"tls.crt?": "hush"})
    old = manifest("Secret", type="Opaque", stringData={"a": "hush"}, immutable=True)
    new = manifest("Secret", type="Opaque", stringData={"a": "hush hush"}, immutable=True)
    found = rejections((made, None), (new, old))
    assert len(found) > 1
    assert "hush" not in "".join(f"{each.value} {each.detail}" for each in found)


def test_custom_resources_are_counted_and_not_checked() -> None:
    made = manifest("Application", {}, "argoproj.io/v1alpha1")
    answer = api_validation.ask([(made, None), (made, None), (pod(), None)], VERSIONS[0])
    assert (answer.checked, answer.skipped) == (1, {"argoproj.io/v1alpha1 Application": 2})


def test_a_field_that_the_api_server_set_is_no_change() -> None:
    """A Service keeps its address, a claim its volume, a Job the labels of its pods."""
    template = {"containers": [{"name": "it", "image": "it"}], "restartPolicy": "Never"}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    made = [
        manifest("Service", {"type": "LoadBalancer", "ports": [{"port": 80}]}),
        manifest("PersistentVolumeClaim", claim),
        manifest("Job", {"template": {"spec": template}}, "batch/v1"),
    ]
    labelled = [
        replace(each, object={**each.object, "metadata": {"name": "it", "labels": {"a": "b"}}})
        for each in made
    ]
    assert not rejections(*zip(labelled, made, strict=True))


def test_what_no_cluster_has_is_no_old_version() -> None:
    """A change of an object that was never accepted creates it."""
    old, new = manifest("ConfigMap", data={"a/b": ""}, immutable=True), manifest("ConfigMap")
    assert not rejections((new, old))


def test_the_source_is_formatted() -> None:
    found = shutil.which("gofmt") or next(toolchain.STORE.glob("go-*/bin/gofmt"), None)
    if found is None:
        pytest.skip("Go is not installed: the tools were built before")
    command = [found, "-l", toolchain.PINS / "admission"]
    assert programs.run(command, "gofmt", 600, cwd=ROOT).stdout == ""


def test_input_that_is_no_request_is_an_error() -> None:
    program = toolchain.tool(f"admission-{VERSIONS[0]}")
    done = programs.run([program], "it", 600, cwd=ROOT, given='{"object": {"kind": "Pod"}')
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("admission: request 0: ")


def test_a_program_that_fails_is_an_error() -> None:
    failing = Manifest({"apiVersion": "v1"}, "test")
    with pytest.raises(UsageError, match="admission failed with exit code 1: admission: request"):
        api_validation.ask([(failing, None)], VERSIONS[0])


# The command


def patch(kind: str, *operations: tuple[str, Any]) -> str:
    """Return a patch of the object linea-stack-besu."""
    lines = "".join(
        f"  - {json.dumps({'op': 'add', 'path': path, 'value': value})}\n"
        for path, value in operations
    )
    return f"target: {{kind: {kind}, name: linea-stack-besu}}\npatch:\n{lines}"


def reported(repository: Repository, *arguments: str) -> list[tuple[str, int, str, str, str]]:
    """Return file, line, rule, message and fix of what the command reports."""
    done = repository.run("admission", "prod", "--format", "json", *arguments)
    assert done.code == 1, done.err
    return [
        (each["file"], each["line"], each["rule"], each["message"], each["fix"])
        for each in json.loads(done.out)["findings"]
    ]


def test_a_mistake_that_no_rule_knows_is_reported_at_its_line(repository: Repository) -> None:
    mistake = ("/spec/template/spec/dnsConfig", {"nameservers": ["dns"]})
    repository.write(BESU, patch("StatefulSet", mistake))
    (found,) = reported(repository)
    assert found == (
        BESU,
        3,
        "rejected-object",
        (
            'Kubernetes 1.34 rejects "dns" for spec.template.spec.dnsConfig.nameservers[0]: must be'
            " a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff); the sync fails"
        ),
        "write a value that is a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
    )


def test_what_another_layer_reports_is_reported_in_its_words(repository: Repository) -> None:
    container = "/spec/template/spec/containers/0"
    mistakes = [
        ("/spec/bogus", 1),
        (f"{container}/volumeMounts/-", {"name": "nothing", "mountPath": "/x"}),
        (f"{container}/imagePullPolicy", "Sometimes"),
    ]
    repository.write(BESU, patch("StatefulSet", *mistakes))
    assert [(line, rule) for _, line, rule, _, _ in reported(repository)] == [
        (3, "kubernetes-schema"),
        (4, "unknown-volume-mount"),
        (5, "invalid-enum-value"),
    ]


def test_a_change_is_checked_against_a_revision(repository: Repository) -> None:
    git.committed(repository.root, {})
    repository.write(BESU, patch("StatefulSet", ("/spec/podManagementPolicy", "OrderedReady")))
    assert repository.run("admission", "prod").code == 0
    (found,) = reported(repository, "--against", "HEAD")
    assert found[:3] == (BESU, 3, "immutable-statefulset-field-changed")


def test_a_waived_change_is_not_reported(repository: Repository) -> None:
    git.committed(repository.root, {})
    repository.write(BESU, patch("StatefulSet", ("/spec/podManagementPolicy", "OrderedReady")))
    waiver = {
        "rule": "immutable-statefulset-field-changed",
        "object": "StatefulSet/linea-stack-besu",
        "reason": "The StatefulSet is recreated by hand, around its pods.",
        "until": "2999-12-31",
    }
    with (repository / "overlays/prod/environment.yaml").open("a") as file:
        file.write(f"waivers: {json.dumps([waiver])}\n")
    done = repository.run("admission", "prod", "--against", "HEAD")
    assert (done.code, done.out.splitlines()[-1]) == (0, "accepted: prod")


def test_a_change_that_no_rule_knows_is_reported() -> None:
    api = "rbac.authorization.k8s.io/v1"
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "it"}
    old = manifest("RoleBinding", api=api, roleRef=role)
    new = manifest("RoleBinding", api=api, roleRef={**role, "name": "other"})
    (rejection,) = rejections((new, old))
    found = admission.finding(rejection, ("it.yaml", 1, 2), "1.34", "prod")
    assert (found.rule, found.message, found.fix) == (
        "rejected-change",
        "Kubernetes 1.34 rejects the change of roleRef: cannot change roleRef; the sync fails",
        'undo the change; to make it, see "What a change may not do" in docs/environments.md',
    )


def test_the_supported_values_are_the_fix() -> None:
    (rejection,) = rejections((pod(restartPolicy="No"), None))
    found = admission.finding(rejection, ("it.yaml", 1, 2), "1.34", "prod")
    assert found.message == 'Kubernetes 1.34 rejects "No" for spec.restartPolicy; the sync fails'
    assert found.fix == "write one of Always, OnFailure, Never"


def test_invalid_inputs_are_reported(repository: Repository) -> None:
    repository.write("overlays/prod/values.yaml", "besu: 1\n")
    assert "wrong-type" in {rule for _, _, rule, _, _ in reported(repository)}


def test_the_output_says_what_was_checked_and_needs_no_network() -> None:
    alone = ["unshare", "--map-root-user", "--net"]
    if (
        not shutil.which("unshare")
        or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this machine does not allow a process without a network")
    for version in VERSIONS:
        toolchain.tool(f"admission-{version}")
    command = [*alone, sys.executable, "-m", "scripts", "--repository", str(EXAMPLE), "admission"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    checked, skipped, accepted = done.stdout.splitlines()
    assert re.fullmatch(r"checked as Kubernetes 1\.34 does: \d+ objects", checked)
    assert "3 argoproj.io/v1alpha1 Application, " in skipped
    assert accepted == f"accepted: {', '.join(ENVIRONMENTS)}"
