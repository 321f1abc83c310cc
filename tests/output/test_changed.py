"""Which environments a change concerns: no finding of validate is lost with the others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.checks import validation
from scripts.core.findings import UsageError
from scripts.environments import layout
from scripts.output import changed
from scripts.output.changed import SHARED, Changed
from tests.conftest import EXAMPLE, ROOT, Repository
from tests.git import commit, git

NAMES = ("dev", "prod", "staging")


@pytest.fixture
def kept(repository: Repository) -> Repository:
    """Return a copy of the example, committed to git."""
    git(repository.root, "init", "-q", "-b", "main")
    repository.write(".gitignore", ".render/\n")
    commit(repository.root)
    return repository


@pytest.mark.parametrize(
    ("files", "judged", "shared"),
    [
        ((), (), ()),
        (("overlays/dev/values.yaml",), ("dev",), ()),
        (("overlays/dev/manifests/a.yaml", "overlays/prod/patches/a.yaml"), ("dev", "prod"), ()),
        (("argocd/applications/prod.yaml",), ("prod",), ()),
        (("argocd/projects/staging.yaml",), ("staging",), ()),
        (("overlays/dev",), ("dev",), ()),  # a link, or a submodule
        (("overlays/gone/values.yaml", "argocd/root.yaml"), (), ()),
        (("docs/eks.md", "tests/a.py", ".github/workflows/a.yaml", "README.md"), (), ()),
        (("chart/values.yaml", "overlays/dev/values.yaml"), NAMES, ("chart/values.yaml",)),
        (("base/images.yaml",), NAMES, ("base/images.yaml",)),
        (("scripts/a.py",), NAMES, ("scripts/a.py",)),
        (
            ("docs/runbooks/A.md", "docs/metrics.md"),
            NAMES,
            ("docs/metrics.md", "docs/runbooks/A.md"),
        ),
        (("tools/kubeconform/go.mod",), NAMES, ("tools/kubeconform/go.mod",)),
        (("tools/python/pipeline.txt",), NAMES, ("tools/python/pipeline.txt",)),
        (("tools/python/lint.txt", "tools/geth/go.mod"), (), ()),
    ],
)
def test_a_file_concerns_its_environment_or_all(
    files: tuple[str, ...], judged: tuple[str, ...], shared: tuple[str, ...]
) -> None:
    left_out = tuple(name for name in NAMES if name not in judged)
    assert changed.of_files(files, NAMES) == Changed(judged, left_out, shared)


def test_what_is_not_committed_counts_and_what_has_moved_counts_twice(kept: Repository) -> None:
    root = kept.root
    assert changed.since(root, "main", NAMES) == Changed((), NAMES, ())
    kept.replace("overlays/dev/values.yaml", "besu:", "# x\nbesu:")
    kept.write("overlays/staging/patches/new.yaml", "")
    assert changed.since(root, "main", NAMES).environments == ("dev", "staging")
    git(root, "checkout", "-q", ".")
    git(root, "clean", "-fdq")
    git(root, "mv", "overlays/dev/values.yaml", "overlays/prod/other.yaml")
    assert changed.since(root, "main", NAMES).environments == ("dev", "prod")
    commit(root)
    assert changed.since(root, "HEAD", NAMES).environments == ()
    assert changed.since(root, "HEAD^", NAMES).environments == ("dev", "prod")
    with pytest.raises(UsageError, match="unknown revision nope"):
        changed.since(root, "nope", NAMES)


def test_validating_what_has_changed_finds_what_validating_all_does(kept: Repository) -> None:
    """A new, a removed and a changed environment, of which two have the same as unchanged ones."""
    root = kept.root
    shutil.copytree(kept / "overlays/dev", kept / "overlays/qa")
    kept.replace("overlays/qa/environment.yaml", "name: dev", "name: qa")
    shutil.rmtree(kept / "overlays/dev")
    host = "rpc.linea.example.com"
    text = (kept / "overlays/staging/values.yaml").read_text("utf-8")
    kept.write("overlays/staging/values.yaml", text.replace("rpc.staging.linea.example.com", host))
    kept.write("overlays/staging/manifests/a.yaml", "")
    names = layout.environments(root)
    found = changed.since(root, "main", names)
    assert found == Changed(("qa", "staging"), ("prod",), ())
    every = validation.validate(root, names, "main").findings
    some = validation.validate(root, names, "main", checked=found.environments, is_cached=False)
    assert set(some.findings) == set(every)
    assert {"unmanaged-file", "stale-output"} <= {each.rule for each in every}


READS = """
import json, os, sys
opened = set()
def seen(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        opened.add(os.path.abspath(os.fsdecode(arguments[0])))
sys.addaudithook(seen)
from scripts.core import parallel
parallel.PROCESSES = 1  # what other processes open is not seen here
from scripts.__main__ import main
code = main(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    json.dump(sorted(opened), file)
sys.exit(code)
"""


def test_validate_reads_nothing_that_counts_as_unchanged(tmp_path: Path) -> None:
    """Every file of the program and of the repository that it opens is listed."""
    report = tmp_path / "opened.json"
    command = [
        sys.executable,
        "-c",
        READS,
        str(report),
        "--repository",
        str(EXAMPLE),
        "validate",
        "--no-cache",
    ]
    variables = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    whole = (".github/", ".git/", ".render/", ".nox/", ".tools/", "noxfile.py", "argocd/root.yaml")
    others = set()
    for top in (EXAMPLE, ROOT):
        for path in map(Path, json.loads(report.read_text())):
            if path.is_relative_to(top) and path.is_file() and "__pycache__" not in path.parts:
                name = path.relative_to(top).as_posix()
                if not name.startswith((*SHARED, *whole)) and not layout.environment_of(name):
                    others.add(name)
    # The pins of other tools only say which there are.
    assert not {name for name in others if not name.startswith("tools/")}, others
