"""What runs is the image that was reviewed: tags become digests by a lock."""

from __future__ import annotations

import copy

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.environments import image_lock
from scripts.kubernetes.manifest import Manifest
from scripts.rendering import helm
from tests.conftest import ROOT, Repository
from tests.objects import CHART, ENVIRONMENTS, FULL, containers, of_environment, pods

LOCK = image_lock.LOCK
DIGEST = f"sha256:{'ab' * 32}"
OTHER = f"sha256:{'cd' * 32}"


def default(component: str) -> str:
    """Return the image that the chart has for a component."""
    image = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))[component]["image"]
    return f"{image['repository']}:{image['tag']}"


BESU, SENDER = default("besu"), default("txSender")


def lock(repository: Repository, digests: dict[str, str]) -> None:
    """Give the repository a lock of these digests, and the output that it leads to."""
    repository.write(LOCK, "".join(f"{name}: {digest}\n" for name, digest in digests.items()))
    done = repository.run("render")
    assert done.code == 0, done.out


def image_of(repository: Repository, name: str, kind: str = "statefulset") -> str:
    """Return the image of the first container that an object of dev runs."""
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
def test_the_registry_of_an_image_is_the_one_that_is_asked(name: str, registry: str) -> None:
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
def test_a_registrys_port_is_no_tag(image: str, parts: tuple[str, str, str]) -> None:
    found = image_lock.parse(image)
    assert (found.name, found.tag, found.digest) == parts


def everything() -> list[Manifest]:
    """Return objects of every kind with pods: sets, Deployments, a CronJob, init containers."""
    values = yaml.safe_load(FULL.read_text("utf-8"))
    for component in values.values():
        if isinstance(component, dict) and "image" in component:
            component["image"].pop("digest", None)
    return helm.template(CHART, ROOT, values, "linea", "1.34")


def all_images(manifests: list[Manifest]) -> list[str]:
    """Return the images of all containers, found another way than the pipeline does."""
    return [one["image"] for _, template in pods(manifests) for one in containers(template)]


def test_every_container_is_pinned_init_containers_and_jobs_too() -> None:
    made = everything()
    digests = dict.fromkeys(all_images(made), DIGEST)
    kinds = {manifest.kind for manifest, _ in pods(made)}
    assert kinds >= {"CronJob", "Deployment", "StatefulSet"}
    assert any("initContainers" in template["spec"] for _, template in pods(made))
    pinned = all_images(image_lock.pin(made, digests))
    assert pinned == [f"{image}@{DIGEST}" for image in all_images(made)]


def without_images(manifests: list[Manifest]) -> list[Manifest]:
    stripped = copy.deepcopy(manifests)
    for _, template in pods(stripped):
        for one in containers(template):
            del one["image"]
    return stripped


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(["everything", *ENVIRONMENTS]),
    st.dictionaries(
        st.sampled_from([BESU, SENDER, default("maru"), default("backup"), "a/b:1"]),
        st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True),
    ),
)
def test_pinning_changes_nothing_but_images_and_is_done_once(
    source: str, digests: dict[str, str]
) -> None:
    made = everything() if source == "everything" else of_environment(source)[1]
    before = copy.deepcopy(made)
    pinned = image_lock.pin(made, digests)
    assert made == before
    assert without_images(pinned) == without_images(made)
    for old, new in zip(all_images(made), all_images(pinned), strict=True):
        assert new == (f"{old}@{digests[old]}" if old in digests else old)
    assert image_lock.pin(pinned, digests) == pinned
    again = dict.fromkeys(digests, OTHER)
    assert image_lock.pin(pinned, again) == image_lock.pin(pinned, {}) == pinned


def test_the_environments_run_what_is_locked() -> None:
    digests = image_lock.load(ROOT).data
    for name in ENVIRONMENTS:
        found = all_images(of_environment(name)[1])
        references = [image_lock.parse(image) for image in found]
        assert [one.digest for one in references] == [digests.get(r.name, "") for r in references]
        assert f"{SENDER}@{digests[SENDER]}" in found


def test_a_tag_that_an_environment_changes_has_no_old_digest(repository: Repository) -> None:
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
        one["image"]["digest"]
        for one in values.values()
        if isinstance(one, dict) and "image" in one
    ]
    assert digests == [""] * 6


def test_a_digest_beside_its_own_tag_stays(repository: Repository) -> None:
    values = f"besu: {{image: {{tag: v9, digest: '{DIGEST}'}}}}\n"
    repository.write("overlays/dev/values.yaml", values)
    done = repository.run("render", "dev")
    assert done.code == 0, done.out
    assert image_of(repository, "besu") == f"{BESU.partition(':')[0]}:v9@{DIGEST}"


@pytest.mark.parametrize(
    ("base", "own", "told"),
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
def test_a_weaker_files_digest_does_not_win_over_a_stronger_files_tag(
    repository: Repository, base: str, own: str, told: bool
) -> None:
    text = (repository / "base/profiles/small.yaml").read_text("utf-8")
    repository.write("base/profiles/small.yaml", f"{text}ethstats: {{image: {base}}}\n")
    repository.write("overlays/dev/values.yaml", f"ethstats: {{image: {own}}}\n")
    done = repository.run("render", "dev")
    assert ("error  old-digest" in done.out) == told
    assert done.code == told


def test_the_lock_is_an_input_of_render(repository: Repository) -> None:
    lock(repository, {})
    assert repository.run("render").out.startswith("nothing to change in dev")
    repository.write(LOCK, f"{BESU}: {DIGEST}\n")
    done = repository.run("render", "--check")
    assert done.code == 1
    assert f"+        image: {BESU}@{DIGEST}\n" in done.out
    assert repository.run("render", "dev").out == "dev: 2 changed\n"
    assert image_of(repository, "besu") == f"{BESU}@{DIGEST}"


def test_what_a_patch_sees_has_no_digest_and_what_it_writes_gets_one(
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


def test_production_is_warned_of_each_image_that_goes_by_its_tag(repository: Repository) -> None:
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
def test_a_warning_is_no_error_in_any_format(repository: Repository, form: str, sign: str) -> None:
    lock(repository, {})
    done = repository.run("validate", "prod", "--format", form)
    assert done.code == 0
    assert sign in done.out
    assert "error" not in done.out.replace("errata01", "")


def test_development_may_go_by_tags(repository: Repository) -> None:
    lock(repository, {})
    assert image_of(repository, "besu") == BESU
    done = repository.run("validate", "dev")
    assert done.code == 0
    assert done.out.startswith("valid: dev\n")


def test_a_digest_that_no_environment_runs_is_told_where_all_are_looked_at(
    repository: Repository,
) -> None:
    lock(repository, {"a/b:1": DIGEST, BESU: DIGEST})
    done = repository.run("validate")
    assert done.code == 0, done.out
    unused = "unused-digest\n  this digest is unused: no environment runs a/b:1\n"
    assert f"{LOCK}:1:1  warning  {unused}" in done.out
    assert done.out.count("unused-digest") == 1
    assert "unused-digest" not in repository.run("validate", "dev", "prod").out


def test_latest_may_run_in_production_by_its_digest(repository: Repository) -> None:
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
            for one in containers(template):
                assert one["imagePullPolicy"] == "IfNotPresent", name


def test_the_secrets_for_pulling_reach_every_pod_that_of_helm_test_too() -> None:
    values = yaml.safe_load(FULL.read_text("utf-8"))
    texts = helm.command(CHART, values, "linea", "1.34")
    objects = [one for text in texts.values() for one in yaml.safe_load_all(text) if one]
    templates = list(pods([Manifest(one, "") for one in objects]))
    assert {manifest.kind for manifest, _ in templates} >= {"CronJob", "Pod", "StatefulSet"}
    for manifest, template in templates:
        assert template["spec"].get("imagePullSecrets") == values["imagePullSecrets"], (
            manifest.label
        )
