"""Sync waves, AppProjects and Applications of the environments; the root application."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.checks.kubeconform import check
from scripts.environments import environment, layout
from scripts.environments.environment import Environment
from scripts.kubernetes import sync
from scripts.kubernetes.manifest import Manifest
from scripts.rendering import applications, helm, pipeline
from tests.conftest import EXAMPLE, ROOT, Repository, copy
from tests.objects import ENVIRONMENTS, FULL, of_environment, of_kind, one, pods, references

WAVE = "argocd.argoproj.io/sync-wave"
OPTIONS = "argocd.argoproj.io/sync-options"


@pytest.fixture(scope="module", params=[*ENVIRONMENTS, "fullest"])
def arranged(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Environment, list[Manifest]]:
    """Return each environment with its objects, and one with all optional objects."""
    if request.param != "fullest":
        return of_environment(request.param)
    repository = copy(tmp_path_factory.mktemp("fullest") / "repository")
    text = FULL.read_text("utf-8").replace("provider: plain", "provider: existing")
    repository.write("overlays/dev/values.yaml", text)
    found = environment.load(repository.root, "dev")
    return found, pipeline.objects(repository.root, found)


def changed(repository: Repository, text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the AppProject and the Application of dev with other settings."""
    file = repository / "overlays/dev/environment.yaml"
    repository.write("overlays/dev/environment.yaml", file.read_text("utf-8") + text)
    found = environment.load(repository.root, "dev")
    project, application = pipeline.settings(found, pipeline.objects(repository.root, found))
    return project.object, application.object


def wave(manifest: Manifest) -> int:
    return int(manifest.metadata["annotations"][WAVE])


def committed(kind: str, name: str) -> dict[str, Any]:
    text = (EXAMPLE / "argocd" / kind / f"{name}.yaml").read_text("utf-8")
    return dict(yaml.safe_load(text))


def test_a_pod_is_synced_after_what_it_needs(arranged: tuple[Environment, list[Manifest]]) -> None:
    _, manifests = arranged
    waves = {(m.kind, m.name): wave(m) for m in manifests}
    for workload, template in pods(manifests):
        for needed in references(template):
            assert waves.get(needed, wave(workload)) <= wave(workload), (workload.label, needed)
        if workload.kind == "StatefulSet":
            service = "Service", workload.object["spec"]["serviceName"]
            assert waves[service] <= wave(workload), workload.label


def test_pods_are_synced_after_their_policies(arranged: tuple[Environment, list[Manifest]]) -> None:
    _, manifests = arranged
    first = min(wave(workload) for workload, _ in pods(manifests))
    for kind in ("NetworkPolicy", "PodDisruptionBudget"):
        for policy in of_kind(manifests, kind):
            assert wave(policy) < first, policy.label


def test_components_start_in_the_order_of_their_dependencies(
    arranged: tuple[Environment, list[Manifest]],
) -> None:
    _, manifests = arranged
    waves = {m.component: wave(m) for m, _ in pods(manifests)}
    # Otherwise a change of both would restart the halves of two validators at the same time.
    assert waves["sequencer"] < waves["maru"] < waves["besu"] < waves["tx-sender"]


def test_a_sequencer_is_ready_without_its_maru(
    arranged: tuple[Environment, list[Manifest]],
) -> None:
    """Maru has a later wave, so Argo CD would wait for ever; tests/chart/ runs synced.sh."""
    _, manifests = arranged
    (sequencer,) = [t for m, t in pods(manifests) if m.component == "sequencer"]
    container = sequencer["spec"]["containers"][0]
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert container["readinessProbe"]["exec"]["command"][-1] == "/config/synced.sh"
    assert "-maru-N." in variables["MARU"]
    assert "NEEDS_PEER" not in variables


def test_objects_whose_health_depends_on_the_outside_are_in_the_last_wave(
    arranged: tuple[Environment, list[Manifest]],
) -> None:
    """The TX Sender is ready only while the chain makes blocks; a CronJob after a good Job."""
    _, manifests = arranged
    late = ("tx-sender", "backup", "restore-drill")
    ours = [m for m, _ in pods(manifests) if m.component not in late and not sync.is_hook(m)]
    outside = [
        m
        for m in manifests
        if m.kind in ("CronJob", "Ingress", "HorizontalPodAutoscaler")
        or m.group == "monitoring.coreos.com"
        or m.object.get("spec", {}).get("type") == "LoadBalancer"
        or (m.kind, m.component) == ("Deployment", "tx-sender")
    ]
    # All are in one wave, so that each is applied even if another one is not healthy.
    (last,) = {wave(m) for m in outside}
    assert last > max(wave(m) for m in ours)


def test_only_deleting_data_needs_a_confirmation(
    arranged: tuple[Environment, list[Manifest]],
) -> None:
    _, manifests = arranged
    confirmed = {m.label for m in manifests if OPTIONS in m.metadata["annotations"]}
    data = {
        m.label
        for m in manifests
        if m.kind == "PersistentVolumeClaim" or m.object.get("spec", {}).get("volumeClaimTemplates")
    }
    assert confirmed == data
    assert data
    for manifest in manifests:
        if manifest.label in data:
            options = manifest.metadata["annotations"][OPTIONS].split(",")
            assert {"Prune=confirm", "Delete=confirm"} <= set(options)


def test_volumes_are_retained_when_their_statefulset_is_deleted(
    arranged: tuple[Environment, list[Manifest]],
) -> None:
    _, manifests = arranged
    for manifest in of_kind(manifests, "StatefulSet"):
        policy = manifest.object["spec"]["persistentVolumeClaimRetentionPolicy"]
        assert policy == {"whenDeleted": "Retain", "whenScaled": "Retain"}, manifest.label


def kinds(project: dict[str, Any]) -> set[tuple[str, str]]:
    allowed = project["spec"]["namespaceResourceWhitelist"]
    return {(kind["group"], kind["kind"]) for kind in allowed}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_project_permits_exactly_the_kinds_of_the_chart(name: str) -> None:
    # Also kinds that the environment has no longer: Argo CD prunes only kinds that are permitted.
    fullest = yaml.safe_load((ROOT / "chart/ci/full-values.yaml").read_text("utf-8"))
    manifests = helm.template(ROOT / "chart", ROOT, fullest, "x", "1.34")
    assert kinds(committed("projects", name)) == {(m.group, m.kind) for m in manifests} - {
        ("", "Secret")
    }


def test_a_project_permits_the_kind_of_a_patched_object(
    arranged: tuple[Environment, list[Manifest]],
) -> None:
    found, manifests = arranged
    other = Manifest({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "a"}}, "")
    assert ("apps", "DaemonSet") in kinds(applications.project(found, [*manifests, other]))
    assert ("apps", "DaemonSet") not in kinds(applications.project(found, manifests))


def test_a_project_permits_one_repository_and_the_namespaces_in_use(
    arranged: tuple[Environment, list[Manifest]],
) -> None:
    found, manifests = arranged
    spec = applications.project(found, manifests)["spec"]
    assert spec["sourceRepos"] == [found.repository["url"]]
    used = {m.namespace for m in manifests} | {found.namespace}
    assert {place["namespace"] for place in spec["destinations"]} == used
    assert {place["server"] for place in spec["destinations"]} == {found.cluster["server"]}


def test_the_only_cluster_scoped_object_that_a_project_permits_is_its_namespace(
    arranged: tuple[Environment, list[Manifest]],
) -> None:
    found, manifests = arranged
    spec = applications.project(found, manifests)["spec"]
    own = {"group": "", "kind": "Namespace", "name": found.namespace}
    assert spec["clusterResourceWhitelist"] == [own]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_no_project_has_a_wildcard(name: str) -> None:
    assert "*" not in yaml.safe_dump(committed("projects", name))


def test_objects_that_pods_need_but_git_does_not_have_are_expected_orphans(
    arranged: tuple[Environment, list[Manifest]],
) -> None:
    found, manifests = arranged
    orphans = applications.project(found, manifests)["spec"]["orphanedResources"]
    assert orphans["warn"] is True
    expected = {(orphan["kind"], orphan["name"]) for orphan in orphans["ignore"]}
    needed = {needed for _, template in pods(manifests) for needed in references(template)}
    needed -= {(m.kind, m.name) for m in manifests}
    # Argo CD reports only kinds that the project permits, and Secrets are not permitted.
    assert expected == {(kind, name) for kind, name in needed if kind != "Secret"}
    assert expected == {("ConfigMap", "linea-stack-genesis")} - {
        (m.kind, m.name) for m in manifests
    }


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_application_syncs_the_folder_of_manifests_into_its_namespace(name: str) -> None:
    found, _ = of_environment(name)
    spec = committed("applications", name)["spec"]
    assert spec["source"] == {
        "repoURL": found.repository["url"],
        "targetRevision": found.repository["revision"],
        "path": f"overlays/{name}/manifests",
    }
    assert (EXAMPLE / spec["source"]["path"]).is_dir()
    assert spec["destination"] == {
        "server": found.cluster["server"],
        "namespace": found.namespace,
    }
    assert spec["project"] == committed("projects", name)["metadata"]["name"] == f"linea-{name}"


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_manifest_is_in_the_namespace_of_its_application(name: str) -> None:
    found, manifests = of_environment(name)
    assert {manifest.namespace for manifest in manifests} == {found.namespace}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_application_creates_a_namespace_with_restricted_pod_security(name: str) -> None:
    policy = committed("applications", name)["spec"]["syncPolicy"]
    assert "CreateNamespace=true" in policy["syncOptions"]
    labels = policy["managedNamespaceMetadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_application_applies_server_side_and_retries_without_a_limit(name: str) -> None:
    policy = committed("applications", name)["spec"]["syncPolicy"]
    assert {"ServerSideApply=true", "RespectIgnoreDifferences=true"} <= set(policy["syncOptions"])
    # After a limited number of retries it would neither sync nor self-heal until the next commit.
    assert policy["retry"]["limit"] < 0
    assert policy["retry"]["refresh"] is True
    assert policy["retry"]["backoff"]["factor"] > 1


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_deleting_an_application_deletes_its_objects_after_a_confirmation(name: str) -> None:
    metadata = committed("applications", name)["metadata"]
    assert metadata["finalizers"] == ["resources-finalizer.argocd.argoproj.io/background"]
    # No Prune=confirm: while it waits, the root application would not sync other environments.
    for folder in ("applications", "projects"):
        annotations = committed(folder, name)["metadata"]["annotations"]
        assert annotations[OPTIONS] == "Prune=false,Delete=confirm"


def test_the_replicas_of_autoscaled_workloads_are_ignored(
    arranged: tuple[Environment, list[Manifest]],
) -> None:
    found, manifests = arranged
    spec = applications.application(found, manifests)["spec"]
    scaled = of_kind(manifests, "HorizontalPodAutoscaler")
    assert len(spec.get("ignoreDifferences", [])) == len(scaled)
    for scaler, ignored in zip(scaled, spec.get("ignoreDifferences", []), strict=True):
        target = scaler.object["spec"]["scaleTargetRef"]
        assert (ignored["kind"], ignored["name"]) == (target["kind"], target["name"])
        assert ignored["group"] == target["apiVersion"].partition("/")[0]
        assert ignored["namespace"] == scaler.namespace
        assert ignored["jsonPointers"] == ["/spec/replicas"]
        assert "replicas" not in one(manifests, target["kind"], target["name"])["spec"]
    owned = {scaler.object["spec"]["scaleTargetRef"]["name"] for scaler in scaled}
    for manifest in manifests:
        if manifest.kind in ("StatefulSet", "Deployment") and manifest.name not in owned:
            assert "replicas" in manifest.object["spec"], manifest.label


def test_prod_has_an_autoscaler_and_dev_has_none() -> None:
    assert "ignoreDifferences" not in committed("applications", "dev")["spec"]
    assert committed("applications", "prod")["spec"]["ignoreDifferences"]


@pytest.mark.parametrize("prune", [True, False])
@pytest.mark.parametrize("heal", [True, False])
def test_the_sync_settings_become_the_sync_policy(
    repository: Repository, prune: bool, heal: bool
) -> None:
    text = f"sync: {{prune: {str(prune).lower()}, selfHeal: {str(heal).lower()}}}\n"
    _, application = changed(repository, text)
    policy = application["spec"]["syncPolicy"]
    assert policy["automated"] == {"prune": prune, "selfHeal": heal}


def test_without_automated_sync_there_is_no_automated_policy(repository: Repository) -> None:
    _, application = changed(repository, "sync: {automated: false}\n")
    assert "automated" not in application["spec"]["syncPolicy"]
    assert "retry" in application["spec"]["syncPolicy"]


def test_a_cluster_can_be_given_by_name(repository: Repository) -> None:
    project, application = changed(repository, "cluster: {name: europe}\n")
    assert application["spec"]["destination"] == {"name": "europe", "namespace": "linea-dev"}
    assert project["spec"]["destinations"] == [{"name": "europe", "namespace": "linea-dev"}]


def test_an_environment_can_be_synced_as_a_service_account(repository: Repository) -> None:
    server = "https://10.0.0.1:6443"
    project, application = changed(
        repository, f"cluster: {{server: '{server}', serviceAccount: linea-syncer}}\n"
    )
    assert project["spec"]["destinationServiceAccounts"] == [
        {"server": server, "namespace": "linea-dev", "defaultServiceAccount": "linea-syncer"}
    ]
    assert "serviceAccount" not in str(application)
    assert {"kind": "ServiceAccount", "name": "linea-syncer"} in (
        project["spec"]["orphanedResources"]["ignore"]
    )
    assert root_documents()[0]["spec"]["destinationServiceAccounts"], "the root needs one, too"


def test_an_environment_can_follow_another_branch(repository: Repository) -> None:
    _, application = changed(repository, "repository: {revision: release-1}\n")
    assert application["spec"]["source"]["targetRevision"] == "release-1"
    assert application["spec"]["source"]["repoURL"] == of_environment("dev")[0].repository["url"]


def test_a_project_permits_the_namespace_of_each_manifest(
    repository: Repository,
) -> None:
    repository.write(
        "overlays/dev/values.yaml",
        "metrics: {serviceMonitor: {enabled: true, namespace: monitoring}}\n",
    )
    project, application = changed(repository, "")
    allowed = {place["namespace"] for place in project["spec"]["destinations"]}
    assert allowed == {"linea-dev", "monitoring"}
    assert application["spec"]["destination"]["namespace"] == "linea-dev"


def test_an_annotation_in_the_values_overrides_that_of_the_pipeline(repository: Repository) -> None:
    repository.write(
        "overlays/dev/values.yaml", f"besu: {{service: {{annotations: {{{WAVE}: '7'}}}}}}\n"
    )
    found = environment.load(repository.root, "dev")
    service = one(pipeline.objects(repository.root, found), "Service", "linea-stack-besu")
    assert service["metadata"]["annotations"][WAVE] == "7"


def root_documents() -> tuple[dict[str, Any], dict[str, Any]]:
    text = (EXAMPLE / layout.ROOT_FILE).read_text("utf-8")
    project, application = yaml.safe_load_all(text)
    return project, application


def test_the_root_application_syncs_all_rendered_files_but_none_applied_by_hand() -> None:
    _, application = root_documents()
    source = application["spec"]["source"]
    assert source["path"] == "argocd"
    folders = source["directory"]["include"].strip("{}").split(",")
    synced = {path for folder in folders for path in (EXAMPLE / "argocd").glob(folder)}
    by_hand = {EXAMPLE / "argocd" / name for name in ("root.yaml", "default-project.yaml")}
    assert synced == set((EXAMPLE / "argocd").rglob("*.yaml")) - by_hand


def test_the_root_project_permits_projects_and_applications_only() -> None:
    project, application = root_documents()
    kinds = {kind["kind"] for kind in project["spec"]["namespaceResourceWhitelist"]}
    assert kinds == {"AppProject", "Application"}
    assert not project["spec"]["clusterResourceWhitelist"]
    assert "*" not in yaml.safe_dump(project)
    assert application["spec"]["project"] == project["metadata"]["name"] == "linea-root"


def test_the_default_project_permits_nothing_and_nothing_uses_it() -> None:
    path = ROOT / "argocd" / "default-project.yaml"
    project = yaml.safe_load(path.read_text("utf-8"))
    assert (project["kind"], project["metadata"]["name"]) == ("AppProject", "default")
    permitted = {key for key, value in project["spec"].items() if isinstance(value, list) and value}
    assert permitted == {"namespaceResourceBlacklist"}
    # A list that is missing would leave Argo CD's own, which permits everything.
    lists = {"sourceRepos", "sourceNamespaces", "destinations"}
    assert lists | {f"{scope}ResourceWhitelist" for scope in ("cluster", "namespace")} <= {
        *project["spec"]
    }
    assert project["spec"]["namespaceResourceBlacklist"] == [{"group": "*", "kind": "*"}]
    assert check({path.name: path.read_text("utf-8")}, "1.34") == []
    commands = (ROOT / "argocd" / "README.md").read_text("utf-8")
    assert "--server-side --force-conflicts -f argocd/default-project.yaml\n" in commands
    for name in ENVIRONMENTS:
        assert committed("applications", name)["spec"]["project"] != "default"


def test_a_project_is_synced_before_its_application() -> None:
    for name in ENVIRONMENTS:
        annotations = committed("projects", name)["metadata"]["annotations"]
        assert int(annotations[WAVE]) < 0
        assert WAVE not in committed("applications", name)["metadata"]["annotations"]


def test_every_environment_has_a_namespace_of_its_own() -> None:
    places = [of_environment(name)[0] for name in ENVIRONMENTS]
    assert len({(p.cluster["server"], p.namespace) for p in places}) == len(places)


def test_deleting_the_root_application_does_not_delete_the_environments() -> None:
    _, application = root_documents()
    assert "finalizers" not in application["metadata"]


def test_an_application_reads_the_folder_that_render_writes() -> None:
    for name in ENVIRONMENTS:
        path = Path(committed("applications", name)["spec"]["source"]["path"])
        assert {p.suffix for p in (EXAMPLE / path).iterdir()} == {".yaml"}
