"""Update the locks in tools/ to what their inputs pin; review the diff."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from scripts.checks import api_schemas
from scripts.core import go_toolchain, programs, progress, toolchain
from scripts.core.findings import UsageError
from scripts.kubernetes import api_deprecations, support

LOCKS = ("nox", "pipeline", "tests", "cluster", "lint", "site", "lock", "policy")
"""Locks in tools/python/, each after those whose versions it shares."""

TIMEOUT_S = 600

TABLE = api_deprecations.TABLE


EXAMPLES = (
    "nox -s lock",
    "nox -s lock -- --upgrade",
    "nox -s lock -- --kubernetes 1.38",
    "nox -s lock -- --support",
)
INTERRUPTED = "each lock is entirely old or entirely new; run it again"
ON_PROGRAM = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument(
        "--upgrade", action="store_true", help="use the newest Python packages that *.in allows"
    )
    parser.add_argument(
        "--kubernetes",
        action="append",
        default=[],
        metavar="VERSION",
        help="pin another version: 1.38 for its latest patch version, or 1.38.1",
    )
    parser.add_argument(
        "--support",
        nargs="?",
        const=support.SOURCE,
        metavar="REPOSITORY",
        help="update only the table of when Kubernetes' versions lose support; "
        f"default: {support.SOURCE}",
    )


def run(_: Path, options: argparse.Namespace) -> int:
    """Lock everything, and return the exit code."""
    for version in options.kubernetes:
        if not re.fullmatch(r"v?1\.\d+(\.\d+)?", version):
            raise UsageError(f"{version} is not a Kubernetes version: write 1.38 or 1.38.1")
    if options.support:
        date_support(options.support)
        return 0
    for name in LOCKS:
        python(name, options.upgrade)
    pin_go()
    for folder in toolchain.modules():
        follow_kubernetes(folder)
        go(folder)
    pin_schemas(options.kubernetes)
    list_removed()
    return 0


def python(name: str, upgrade: bool) -> None:
    """Compile tools/python/<name>.in; without upgrade, versions in the lock are kept."""
    command = [sys.executable, "-m", "uv", "pip", "compile", f"{name}.in", "-o", f"{name}.txt"]
    command += ["--universal", "--generate-hashes", "--python-version=3.11", "--no-config"]
    command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    command += ["--quiet", "--no-cache", "--system-certs", *(["--upgrade"] if upgrade else [])]
    done = programs.run(command, f"{name}.txt", TIMEOUT_S, cwd=toolchain.PINS / "python")
    if done.returncode:
        raise UsageError(f"cannot lock tools/python/{name}.in:\n{done.stderr.strip()}")


def go(folder: Path) -> None:
    """Tidy the go.mod and go.sum of a folder of tools, whose go.mod people edit."""
    with toolchain.locked(), progress.progress(f"locking {folder.name}"):
        toolchain.go(["mod", "tidy"], folder, f"the lock of {folder.name}", folder / "go.sum")


def pin_go() -> None:
    """Write tools/go/go.sum for the version in its go.mod, which people and bots edit.

    New hashes come from Go's checksum database; the archive of each platform is downloaded for it.
    """
    pinned, of = go_toolchain.sums(), go_toolchain.version()
    wanted = [go_toolchain.module_version(of, where) for where in go_toolchain.PLATFORMS]
    if [*pinned] == wanted:
        return
    with toolchain.locked(), toolchain.scratch() as temporary:
        (temporary / "go.mod").write_text(api_schemas.go_mod())
        lines = []
        for name in wanted:
            line, _ = (
                (f"{go_toolchain.MODULE} {name} {pinned[name]}", "")
                if name in pinned
                else _sums(go_toolchain.MODULE, name, temporary)
            )
            lines.append(line)
            print(f"pinned Go {name.removeprefix('v0.0.1-go')}", flush=True)
    new = go_toolchain.PINS / "go.sum.new"
    new.write_text("".join(f"{line}\n" for line in lines))
    os.replace(new, go_toolchain.PINS / "go.sum")


def follow_kubernetes(folder: Path) -> None:
    """Write the version of k8s.io/kubernetes in a go.mod to all that is released with it.

    That are the modules of its staging area, with v0.34.4 for v1.34.4, and our own programs that
    are built with it. So a person or a bot edits one line.
    """
    path = folder / "go.mod"
    text = path.read_text("utf-8")
    pin = re.search(rf"^\t{re.escape(api_schemas.KUBERNETES)} v1\.(\d+\.\d+)\b", text, re.M)
    if not pin or not re.fullmatch(r"kubernetes-1\.\d+", folder.name):
        return
    minor = pin[1].partition(".")[0]
    staged = rf"^(\t(k8s\.io/\S+) => \2 v0\.){minor}\.\d+$"
    text = re.sub(staged, rf"\g<1>{pin[1]}", text, flags=re.M)
    text = re.sub(rf"^(\ttools/\S+ v1\.){minor}\.\d+\b", rf"\g<1>{pin[1]}", text, flags=re.M)
    if text != path.read_text("utf-8"):
        new = path.with_suffix(".new")
        new.write_text(text, "utf-8")
        os.replace(new, path)


def built_versions() -> dict[str, str]:
    """Return minor version → the version of Kubernetes whose programs are built here."""
    folders = toolchain.PINS.glob("kubernetes-*/go.mod")
    pin = re.compile(rf"^\t{re.escape(api_schemas.KUBERNETES)} (v(1\.\d+)\.\d+)\b", re.M)
    found = (pin.search(path.read_text("utf-8")) for path in folders)
    return {match[2]: match[1] for match in found if match}


def pin_schemas(kubernetes_versions: Sequence[str]) -> None:
    """Write tools/schemas/go.sum: the modules of go.mod and the Kubernetes versions.

    kubernetes_versions: replace those of the same minor version, as do those of built programs.
    Present pins keep their checksums; those of new pins come from Go's checksum database.
    """
    go_sum, go_mod = api_schemas.PINS / "go.sum", (api_schemas.PINS / "go.mod").read_text("utf-8")
    before = api_schemas.pinned()
    wanted = [(path, version) for path, version in re.findall(r"^\t(\S+) (v\S+)", go_mod, re.M)]
    kubernetes = {m.minor: m.version for m in before if m.path == api_schemas.KUBERNETES}
    kubernetes |= built_versions()
    sums = {(module.path, module.version): module.sums for module in before}
    with toolchain.locked(), toolchain.scratch() as temporary:
        shutil.copy(go_sum, temporary / "go.sum")
        (temporary / "go.mod").write_text(api_schemas.go_mod())
        for wanted_version in kubernetes_versions:
            query = f"{api_schemas.KUBERNETES}@v{wanted_version.removeprefix('v')}"
            arguments = ["list", "-m", "-f", "{{.Version}}", query]
            version = toolchain.go(arguments, temporary, query, go_sum).strip()
            kubernetes[version.removeprefix("v").rpartition(".")[0]] = version
        wanted += [(api_schemas.KUBERNETES, version) for version in kubernetes.values()]
        for path, version in wanted:
            if (path, version) not in sums:
                sums[path, version] = _sums(path, version, temporary)
                print(f"pinned {path} {version}", flush=True)
    lines = sorted((line for key in wanted for line in sums[key]), key=_order)
    new = go_sum.with_suffix(".new")
    new.write_text("".join(f"{line}\n" for line in lines))
    os.replace(new, go_sum)


def list_removed() -> None:
    """Update the table of removed API versions to the newest pinned Kubernetes.

    k8s.io/api has the same minor and patch version as Kubernetes: v0.37.2 for v1.37.2.
    """
    newest = [
        module.version for module in api_schemas.pinned() if module.path == api_schemas.KUBERNETES
    ]
    version = newest[-1].replace("v1.", "v0.", 1)
    with toolchain.locked(), toolchain.scratch() as temporary:
        (temporary / "go.mod").write_text(api_schemas.go_mod())
        with progress.progress(f"downloading k8s.io/api {version}"):
            module = api_schemas.download(
                temporary, f"k8s.io/api@{version}", "the table of removed APIs"
            )
        rows = api_deprecations.load(TABLE) | api_deprecations.read(Path(module["Dir"]))
    new = TABLE.with_suffix(".new")
    new.write_text(api_deprecations.dump(rows), "utf-8")
    os.replace(new, TABLE)


def date_support(repository: str) -> None:
    """Update the table of when versions of Kubernetes lose support, from a clone of its source.

    repository: its address, or the folder of a clone.
    """
    where = str(Path(repository).resolve()) if Path(repository).is_dir() else repository
    with toolchain.locked(), toolchain.scratch() as temporary:
        with progress.progress(f"cloning {repository}"):
            # A bare clone: only two of its many files are read.
            _git(["clone", "--quiet", "--bare", "--depth=1", "--", where, "clone"], temporary)
        clone = temporary / "clone"
        pages = (_git(["show", f"HEAD:{page}"], clone) for page in (support.UPSTREAM, support.EKS))
        versions = support.read(*pages)
        commit, day = _git(["log", "-1", "--format=%H %cs"], clone).split()
    found = support.Table(support.SOURCE, commit, date.fromisoformat(day), versions)
    new = support.TABLE.with_suffix(".new")
    new.write_text(support.dump(found), "utf-8")
    os.replace(new, support.TABLE)
    newest = next(iter(versions), "none")
    print(f"{support.TABLE.name}: {len(versions)} versions up to {newest}, as of {day}", flush=True)


def _git(arguments: Sequence[str], cwd: Path) -> str:
    done = programs.run(["git", *arguments], "the table of support", TIMEOUT_S, cwd=cwd)
    if done.returncode:
        raise UsageError(f"cannot read the table of support: {done.stderr.strip()}")
    return done.stdout


def _sums(path: str, version: str, temporary: Path) -> tuple[str, str]:
    with progress.progress(f"downloading {path} {version}"):
        module = api_schemas.download(temporary, f"{path}@{version}", f"{path} {version}")
    shutil.rmtree(temporary / "modules")
    files = f"{path} {version} {module['Sum']}"
    return files, f"{path} {version}/go.mod {module['GoModSum']}"


def _order(line: str) -> tuple[str, list[int], str]:
    path, version, _ = line.split()
    return path, [int(number) for number in re.findall(r"\d+", version)], version
