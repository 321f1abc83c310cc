"""Run kube-score and checkov, the tools of security teams, on manifests, offline.

A tool that fails, or skips an object that makes pods, is a UsageError, never an empty result.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.core import paths, programs, repository, toolchain, yamlio
from scripts.core.findings import UsageError
from scripts.kubernetes import containers
from scripts.kubernetes.manifest import PODS, Manifest

TIMEOUT_S = 600

CHECKOV = repository.ROOT / ".nox" / "policy" / "bin" / "python"
"""The Python of its own virtual environment: checkov pins other versions than the other locks."""

RUNS = Path(__file__).with_name("checkov_runs.py")
"""The program that runs checkov on all environments, with that Python."""

OPTIONAL = ("container-seccomp-profile", "container-ports-check")
"""The optional tests of kube-score that we turn on.

The tests that demand requests equal to limits stay off: pods that are not part of the chain may use
the spare memory of a node, and are evicted first if memory runs short, which protects validators.
"""

_PASSED = 10
"""The grade that kube-score gives an object that passes."""

_OF_CONTAINER = {
    "container-image-pull-policy": ("imagePullPolicy",),
    "container-image-tag": ("image",),
    "container-resources": ("resources",),
    "container-ephemeral-storage-request-and-limit": ("resources",),
    "container-ports-check": ("ports",),
    "container-seccomp-profile": ("securityContext", "seccompProfile"),
    "container-security-context-privileged": ("securityContext", "privileged"),
    "container-security-context-readonlyrootfilesystem": (
        "securityContext",
        "readOnlyRootFilesystem",
    ),
    "environment-variable-key-duplication": ("env",),
}
"""Test of kube-score → the field of the container that it names."""

_OF_POD = {
    "container-security-context-user-group-id": ("securityContext", "runAsUser"),
    "deployment-has-host-podantiaffinity": ("affinity",),
    "pod-topology-spread-constraints": ("topologySpreadConstraints",),
    "statefulset-has-host-podantiaffinity": ("affinity",),
    "CKV_K8S_17": ("hostPID",),
    "CKV_K8S_18": ("hostIPC",),
    "CKV_K8S_19": ("hostNetwork",),
    "CKV_K8S_23": ("securityContext", "runAsNonRoot"),
    "CKV_K8S_27": ("volumes",),
    "CKV_K8S_29": ("securityContext",),
    "CKV_K8S_31": ("securityContext", "seccompProfile"),
    "CKV_K8S_38": ("automountServiceAccountToken",),
    "CKV_K8S_40": ("securityContext", "runAsUser"),
}
"""Check of either tool → the field of the pod's spec, if the tool names none."""

_OF_OBJECT = {
    "cronjob-has-deadline": ("spec", "startingDeadlineSeconds"),
    "deployment-replicas": ("spec", "replicas"),
    "deployment-strategy": ("spec", "strategy"),
    "horizontalpodautoscaler-replicas": ("spec", "minReplicas"),
    "service-type": ("spec", "type"),
    "stable-version": ("apiVersion",),
}


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """A check of a tool that an object fails."""

    check: str
    """The tool, and the tool's name of the check: checkov/CKV_K8S_40."""
    manifest: Manifest
    path: tuple[str | int, ...]
    """To the field; empty if the field is not known."""
    message: str


def scan(
    environments: Sequence[tuple[Sequence[Manifest], str]],
) -> list[list[FailedCheck]]:
    """Return the checks of both tools that the manifests of each environment fail.

    environments: manifests, and the minor version of Kubernetes. Each environment is checked on its
    own: checkov would apply NetworkPolicies of one environment to pods of another (CKV2_K8S_6).
    Raises UsageError if a tool is missing or fails.
    """
    with tempfile.TemporaryDirectory(prefix="policy-") as temporary:
        folders, named = [], list[dict[str, Manifest]]()
        for number, (manifests, _) in enumerate(environments):
            folder = Path(temporary) / str(number) / "manifests"
            folder.mkdir(parents=True)
            files = {f"{place}.yaml": manifest for place, manifest in enumerate(manifests)}
            for name, manifest in files.items():
                (folder / name).write_text(yamlio.dump(manifest.object), "utf-8")
            folders.append(folder)
            named.append(files)
        versions = [version for _, version in environments]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            scored = list(pool.map(_kube_score, named, folders, versions))
        outputs = _checkov_outputs(folders)
        return [
            [*score, *_checkov(files, output)]
            for files, score, output in zip(named, scored, outputs, strict=True)
        ]


def version() -> str:
    """Return what the result depends on, apart from the manifests: tools, options, our code."""
    parts = [toolchain.tool("kube-score").name, *OPTIONAL]
    with contextlib.suppress(OSError):  # then no run of checkov succeeds
        parts.append((CHECKOV.parent.parent / "installed.json").read_text("utf-8"))
    return "\0".join(parts)


def known(tool: str) -> set[str]:
    """Return the names of all checks that a tool, `kube-score` or `checkov`, lists."""
    with tempfile.TemporaryDirectory(prefix="policy-") as temporary:
        folder = Path(temporary) / "empty"
        folder.mkdir()
        if tool == "kube-score":
            output = _run([toolchain.tool(tool), "list"], tool, folder)
            return {f"{tool}/{row[0]}" for row in csv.reader(output.splitlines()) if row}
        output = _run([*_isolated(), "-m", "checkov.main", *_ARGUMENTS, "--list"], tool, folder)
        return {f"{tool}/{check}" for check in re.findall(r"CKV2?_K8S_\d+", output)}


def _kube_score(
    files: Mapping[str, Manifest], folder: Path, kubernetes_version: str
) -> list[FailedCheck]:
    return list(_scored(files, folder, kubernetes_version))


def _scored(
    files: Mapping[str, Manifest], folder: Path, kubernetes_version: str
) -> Iterator[FailedCheck]:
    tool = "kube-score"
    command: list[str | Path] = [toolchain.tool(tool), "score", "--output-format=json"]
    command += [f"--kubernetes-version=v{kubernetes_version}"]
    command += [f"--enable-optional-test={name}" for name in OPTIONAL]
    # Waivers belong into base/policy.yaml, never into annotations.
    command += ["--disable-ignore-checks-annotations", "--disable-optional-checks-annotations"]
    results = _json(_run([*command, *files], tool, folder), tool) or []
    _check_none_skipped(tool, files, (Path(result["file_name"]).name for result in results))
    for result in results:
        manifest = files[Path(result["file_name"]).name]
        for check in result["checks"]:
            if check["skipped"] or check["grade"] >= _PASSED:
                continue
            name = check["check"]["id"]
            for comment in check["comments"] or [{"path": "", "summary": check["check"]["name"]}]:
                message = comment["summary"]
                if comment["path"]:
                    message += f" ({comment['path']})"
                path = _field(manifest, name, comment["path"])
                if path[-1:] == ("resources",):
                    path = (*path, "limits" if "limit" in message.lower() else "requests")
                yield FailedCheck(f"{tool}/{name}", manifest, path, message)


def _checkov_outputs(folders: Sequence[Path]) -> list[str]:
    """Return what checkov prints about each folder; one process imports it for all of them."""
    if not folders:
        return []
    tool, home = "checkov", folders[0].parent.parent
    request = {
        "arguments": [*_ARGUMENTS, "--directory=.", "--output=json", "--compact"],
        "folders": [str(folder) for folder in folders],
        "processes": os.cpu_count() or 1,
        "timeout_s": TIMEOUT_S,
    }
    done = programs.run(
        [*_isolated(), RUNS],
        tool,
        TIMEOUT_S * (1 + len(folders)),
        cwd=home,
        environment=_environment(home),
        given=json.dumps(request),
    )
    if done.returncode:
        raise _failure(tool, done.returncode, done.stderr or done.stdout)
    outputs = []
    for folder, code in zip(folders, _json(done.stdout, tool), strict=True):
        printed, errors = (
            (folder.parent / name).read_text("utf-8", "replace") for name in ("stdout", "stderr")
        )
        # As in _run: 1 means failed checks, and without output a crash.
        if code not in (0, 1) or not printed.strip():
            raise _failure(tool, code, errors or printed)
        outputs.append(printed)
    return outputs


def _checkov(files: Mapping[str, Manifest], printed: str) -> Iterator[FailedCheck]:
    tool = "checkov"
    output = _json(printed, tool)
    try:
        results = output["results"]
        broken = results["parsing_errors"]
        everything = [
            (kind, result)
            for kind in ("failed_checks", "skipped_checks", "passed_checks")
            for result in results[kind]
        ]
    except (KeyError, TypeError):
        raise UsageError(f"{tool} printed no results: {str(output)[:500]}") from None
    if broken:
        names = ", ".join(files[Path(file).name].label for file in broken)
        raise UsageError(f"{tool} cannot parse {names}")
    _check_none_skipped(tool, files, (Path(result["file_path"]).name for _, result in everything))
    for kind, result in everything:
        manifest = files[Path(result["file_path"]).name]
        name = result["check_id"]
        message = result["check_name"]
        if kind == "skipped_checks":
            # Such a waiver would have no reason, and would go unnoticed once it is unused.
            path: tuple[str | int, ...] = ("metadata", "annotations")
            message = f"an annotation turns this check off, not base/policy.yaml: {message}"
        elif kind == "failed_checks":
            path = _path(manifest, (result["check_result"].get("evaluated_keys") or [""])[-1])
            path = path or _field(manifest, name, "")
        else:
            continue
        yield FailedCheck(f"{tool}/{name}", manifest, path, message)


# Without --skip-download it asks a server of its vendor for details of each check.
_ARGUMENTS = ("--framework=kubernetes", "--skip-download")


def _isolated() -> list[str | Path]:
    if not CHECKOV.exists():
        raise UsageError("checkov is not installed: run nox -s policy")
    return [CHECKOV, "-I"]


def _run(command: Sequence[str | Path], tool: str, folder: Path) -> str:
    """Return what a tool prints."""
    environment = _environment(folder.parent)
    done = programs.run(command, tool, TIMEOUT_S, cwd=folder, environment=environment)
    # Exit code 1 means failed checks; without output, it means a crash.
    if done.returncode not in (0, 1) or not done.stdout.strip():
        raise _failure(tool, done.returncode, done.stderr or done.stdout)
    return done.stdout


def _environment(home: Path) -> dict[str, str]:
    """Return the environment variables of a tool: our settings only, and a temporary home."""
    return {"PATH": os.defpath, "HOME": str(home), "TMPDIR": str(home), "PYTHONUTF8": "1"}


def _failure(tool: str, code: int, output: str) -> UsageError:
    return UsageError(f"{tool} failed with exit code {code}: {output.strip()[-2000:]}")


def _json(text: str, tool: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise UsageError(f"{tool} printed no JSON: {text[-2000:]}") from None


def _check_none_skipped(tool: str, files: Mapping[str, Manifest], checked: Iterable[str]) -> None:
    """Raise UsageError if a tool has skipped an object that makes pods."""
    checked = set(checked)
    skipped = [m.label for file, m in files.items() if _pod(m) and file not in checked]
    if skipped:
        raise UsageError(f"{tool} skipped {', '.join(skipped)}, so its result is incomplete")


def _pod(manifest: Manifest) -> tuple[str | int, ...]:
    """Return the path of the spec of an object's pods; empty if it makes no pods."""
    return PODS.get(manifest.kind.lower(), ())


def _field(manifest: Manifest, check: str, container: str) -> tuple[str | int, ...]:
    """Return the path of the field that a check is about."""
    pod = _pod(manifest)
    if check in _OF_CONTAINER and container:
        for found in containers.of_object(manifest):
            if found.name == container:
                return (*found.path, *_OF_CONTAINER[check])
    if check in _OF_POD and pod:
        return (*pod, *_OF_POD[check])
    return _OF_OBJECT.get(check, ())


def _path(manifest: Manifest, keys: str) -> tuple[str | int, ...]:
    """Return checkov's spec/containers/[0]/image as a path; empty if the object has no such field.

    The object may lack the last keys: then the check demands them.
    """
    parts = [part for part in keys.split("/") if part]
    path = tuple(int(part[1:-1]) if re.fullmatch(r"\[\d+\]", part) else part for part in parts)
    return path if path and paths.has(manifest.object, path[:1]) else ()
