"""The image lock: tags become digests, so that the image that runs is the one reviewed."""

from __future__ import annotations

import copy

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.environments import image_lock
from scripts.kubernetes.manifest import Manifest
from scripts.rendering import helm
from tests.conftest import EXAMPLE, ROOT, Repository
from tests.objects import CHART, ENVIRONMENTS, FULL, containers, of_environment, pods

LOCK = image_lock.LOCK
DIGEST = f"sha256:{'ab' * 32}"
OTHER = f"sha256:{'cd' * 32}"


def default(component: str) -> str:
    """Return the chart's default image of a component."""
    image = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))[component]["image"]
    return f"{image['repository']}:{image['tag']}"


BESU, SENDER = default("besu"), default("txSender")


def lock(repository: Repository, digests: dict[str, str]) -> None:
    """Write a lock with these digests, and render."""
    repository.write(LOCK, "".join(f"{name}: {digest}\n" for name, digest in digests.items()))
    done = repository.run("render")
    assert done.code == 0, done.out


def image_of(repository: Repository, name: str, kind: str = "statefulset") -> str:
    """Return the image of the first container of an object of dev."""
    file = repository / f"overlays/dev/manifests/{kind}-linea-stack-{name}.yaml"
    spec = yaml.safe_load(file.read_text("utf-8"))["spec"]["template"]["spec"]
    return str(spec["containers"][0]["image"])


@pytest.mark.parametrize(
    ("name", "registry"),
    [
        ("hyperledger/besu:1", "docker.io"),
        ("redis:1", "docker.io"),
        ("ghcr.io/foundry-rs/foundry:1", "ghcr.io"),
        ("localhost/a:1", "localhost"),
        ("localhost:5000/a:1", "localhost:5000"),
        ("registry:5000/a/b:1", "registry:5000"),
    ],
)
def test_the_registry_is_the_first_part_that_is_a_host(name: str, registry: str) -> None:
    assert image_lock.registry(name) == registry


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("a/b:1", ("a/b:1", "1", "")),
        ("a/b", ("a/b", "", "")),
        ("localhost:5000/a", ("localhost:5000/a", "", "")),
        (f"localhost:5000/a:2@{DIGEST}", ("localhost:5000/a:2", "2", DIGEST)),
        (f"a@{DIGEST}", ("a", "", DIGEST)),
    ],
)
def test_the_port_of_a_registry_is_not_a_tag(image: str, parts: tuple[str, str, str]) -> None:
    reference = image_lock.parse(image)
    assert (reference.name, reference.tag, reference.digest) == parts


def everything() -> list[Manifest]:
    """Return objects of all kinds with pods: sets, Deployments, a CronJob, init containers."""
    values = yaml.safe_load(FULL.read_text("utf-8"))
    for component in values.values():
        if isinstance(component, dict) and "image" in component:
            component["image"].pop("digest", None)
    return helm.template(CHART, ROOT, values, "linea", "1.34")


def all_images(manifests: list[Manifest]) -> list[str]:
    """Return the images of all containers, by other code than that of the pipeline."""
    return [
        container["image"] for _, template in pods(manifests) for container in containers(template)
    ]


def test_every_container_is_pinned_also_init_containers_and_jobs() -> None:
    manifests = everything()
    digests = dict.fromkeys(all_images(manifests), DIGEST)
    kinds = {manifest.kind for manifest, _ in pods(manifests)}
    assert kinds >= {"CronJob", "Deployment", "StatefulSet"}
    assert any("initContainers" in template["spec"] for _, template in pods(manifests))
    pinned = all_images(image_lock.pin(manifests, digests))
    assert pinned == [f"{image}@{DIGEST}" for image in all_images(manifests)]


def without_images(manifests: list[Manifest]) -> list[Manifest]:
    stripped = copy.deepcopy(manifests)
    for _, template in pods(stripped):
        for container in containers(template):
            del container["image"]
    return stripped


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(["everything", *ENVIRONMENTS]),
    st.dictionaries(
        st.sampled_from([BESU, SENDER, default("maru"), default("backup"), "a/b:1"]),
        st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True),
    ),
)
def test_pinning_changes_images_only_and_is_idempotent(
    source: str, digests: dict[str, str]
) -> None:
    manifests = everything() if source == "everything" else of_environment(source)[1]
    before = copy.deepcopy(manifests)
    pinned = image_lock.pin(manifests, digests)
    assert manifests == before
    assert without_images(pinned) == without_images(manifests)
    for old, new in zip(all_images(manifests), all_images(pinned), strict=True):
        assert new == (f"{old}@{digests[old]}" if old in digests else old)
    assert image_lock.pin(pinned, digests) == pinned
    again = dict.fromkeys(digests, OTHER)
    assert image_lock.pin(pinned, again) == image_lock.pin(pinned, {}) == pinned


def test_the_environments_run_the_locked_digests() -> None:
    digests = image_lock.load(EXAMPLE).data
    for name in ENVIRONMENTS:
        images = all_images(of_environment(name)[1])
        references = [image_lock.parse(image) for image in images]
        assert [r.digest for r in references] == [digests.get(r.name, "") for r in references]
        assert f"{SENDER}@{digests[SENDER]}" in images


def test_a_tag_that_an_environment_changes_does_not_get_the_old_digest(
    repository: Repository,
) -> None:
    repository.write(
        "overlays/dev/values.yaml",
        "txSender: {image: {tag: v9}}\n",
    )
    assert repository.run("render", "dev").code == 0
    image = image_of(repository, "tx-sender", "deployment")
    assert image == f"{SENDER.partition(':')[0]}:v9"


def test_no_default_of_the_chart_has_a_digest() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    digests = [
        component["image"]["digest"]
        for component in values.values()
        if isinstance(component, dict) and "image" in component
    ]
    assert digests == [""] * 6


def test_a_digest_beside_its_own_tag_stays(repository: Repository) -> None:
    values = f"besu: {{image: {{tag: v9, digest: '{DIGEST}'}}}}\n"
    repository.write("overlays/dev/values.yaml", values)
    done = repository.run("render", "dev")
    assert done.code == 0, done.out
    assert image_of(repository, "besu") == f"{BESU.partition(':')[0]}:v9@{DIGEST}"


@pytest.mark.parametrize(
    ("base", "own", "is_stale"),
    [
        (f"{{tag: '1', digest: '{DIGEST}'}}", "{tag: '2'}", True),
        (f"{{tag: '1', digest: '{DIGEST}'}}", "{repository: a/b}", True),
        (f"{{digest: '{DIGEST}'}}", "{tag: '2'}", True),
        (f"{{tag: '1', digest: '{DIGEST}'}}", "{tag: '1'}", False),
        (f"{{tag: '1', digest: '{DIGEST}'}}", "{tag: '2', digest: ''}", False),
        (f"{{tag: '1', digest: '{DIGEST}'}}", f"{{tag: '2', digest: '{OTHER}'}}", False),
        ("{tag: '1'}", f"{{digest: '{DIGEST}'}}", False),
    ],
)
def test_a_new_tag_with_the_digest_of_a_weaker_file_is_a_finding(
    repository: Repository, base: str, own: str, is_stale: bool
) -> None:
    text = (repository / "base/profiles/small.yaml").read_text("utf-8")
    repository.write("base/profiles/small.yaml", f"{text}ethstats: {{image: {base}}}\n")
    repository.write("overlays/dev/values.yaml", f"ethstats: {{image: {own}}}\n")
    done = repository.run("render", "dev")
    assert ("error  stale-digest" in done.out) == is_stale
    assert done.code == is_stale


def test_the_lock_is_an_input_of_render(repository: Repository) -> None:
    lock(repository, {})
    assert repository.run("render").out.startswith("up to date: dev")
    repository.write(LOCK, f"{BESU}: {DIGEST}\n")
    done = repository.run("render", "--check")
    assert done.code == 1
    assert f"+        image: {BESU}@{DIGEST}\n" in done.out
    assert repository.run("render", "dev").out == "dev: 1 changed\n"
    assert image_of(repository, "besu") == f"{BESU}@{DIGEST}"


def test_patches_see_images_without_digest_and_their_images_are_pinned(
    repository: Repository,
) -> None:
    path = "/spec/template/spec/containers/0/image"
    repository.write(
        "overlays/dev/patches/image.yaml",
        "target: {kind: Deployment, name: linea-stack-tx-sender}\npatch:\n"
        f"  - {{op: test, path: {path}, value: '{SENDER}'}}\n"
        f"  - {{op: replace, path: {path}, value: 'a/b:1'}}\n",
    )
    lock(repository, {SENDER: OTHER, "a/b:1": DIGEST})
    assert image_of(repository, "tx-sender", "deployment") == f"a/b:1@{DIGEST}"


def test_each_image_without_a_digest_in_production_is_a_warning(repository: Repository) -> None:
    file = "overlays/prod/values.yaml"
    values = yaml.safe_load((repository / file).read_text("utf-8"))
    values["txSender"] = {"image": {"tag": "v9"}}
    repository.write(file, yaml.safe_dump(values))
    line = 1 + (repository / file).read_text("utf-8").splitlines().index("    tag: v9")
    lock(repository, {default("maru"): DIGEST})
    done = repository.run("validate", "prod")
    assert done.code == 0, done.out
    assert " warnings\nvalid: prod\n" in done.out
    name = SENDER.partition(":")[0]
    warning = f"{file}:{line}:5  warning  image-without-digest\n  {name}:v9 has no digest in prod: "
    assert warning in done.out
    # One for the image, however many containers run it.
    assert done.out.count(f"\n  {BESU} has no digest in prod: ") == 1
    assert default("maru") not in done.out


@pytest.mark.parametrize(
    ("form", "sign"), [("github", "::warning "), ("sarif", '"level": "warning"')]
)
def test_a_warning_is_not_an_error_in_any_format(
    repository: Repository, form: str, sign: str
) -> None:
    lock(repository, {})
    done = repository.run("validate", "prod", "--format", form)
    assert done.code == 0
    assert sign in done.out
    assert "error" not in done.out.replace("errata01", "")


def test_development_may_run_images_without_a_digest(repository: Repository) -> None:
    lock(repository, {})
    assert image_of(repository, "besu") == BESU
    done = repository.run("validate", "dev")
    assert done.code == 0
    assert done.out.startswith("valid: dev\n")


def test_an_unused_digest_is_a_warning_when_all_environments_are_validated(
    repository: Repository,
) -> None:
    lock(repository, {"a/b:1": f"sha256:{'cd' * 32}", BESU: DIGEST})
    done = repository.run("validate")
    assert done.code == 0, done.out
    unused = "unused-digest\n  the digest is unused: no environment runs a/b:1\n"
    assert f"{LOCK}:1:1  warning  {unused}" in done.out
    assert done.out.count("unused-digest") == 1
    assert "unused-digest" not in repository.run("validate", "dev", "prod").out


def test_latest_is_allowed_in_production_with_a_digest(repository: Repository) -> None:
    path, image = "/spec/template/spec/containers/0/image", "puppeth/ethstats:latest"
    repository.write(
        "overlays/prod/patches/image.yaml",
        "target: {kind: Deployment, name: linea-stack-ethstats}\npatch:\n"
        f"  - {{op: add, path: {path}, value: '{image}'}}\n",
    )
    assert repository.run("render", "prod").code == 1
    lock(repository, {image: DIGEST})


def test_a_node_that_has_the_image_needs_no_registry() -> None:
    for name in ENVIRONMENTS:
        for _, template in pods(of_environment(name)[1]):
            for container in containers(template):
                assert container["imagePullPolicy"] == "IfNotPresent", name


def test_every_pod_has_the_image_pull_secrets_also_that_of_helm_test() -> None:
    values = yaml.safe_load(FULL.read_text("utf-8"))
    texts = helm.command(CHART, values, "linea", "1.34")
    objects = [data for text in texts.values() for data in yaml.safe_load_all(text) if data]
    templates = list(pods([Manifest(data, "") for data in objects]))
    assert {manifest.kind for manifest, _ in templates} >= {"CronJob", "Pod", "StatefulSet"}
    for manifest, template in templates:
        assert template["spec"].get("imagePullSecrets") == values["imagePullSecrets"], (
            manifest.label
        )
