"""Manifests → what the tools of security teams say of them: kube-score and checkov, offline.

A tool that could not do its work is a UsageError, never an empty list: each must have judged
every object that makes pods.
"""

from __future__ import annotations

import csv
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.core import paths, programs, repository, toolchain, yamlio
from scripts.core.findings import UsageError
from scripts.kubernetes import containers
from scripts.kubernetes.manifest import PODS, Manifest

TIMEOUT_S = 600

CHECKOV = repository.ROOT / ".nox" / "policy" / "bin" / "python"
"""Of an environment of its own: its pins are not those of the others."""

OPTIONAL = ("container-seccomp-profile", "container-ports-check")
"""Of kube-score's tests that are off at first, those that fit.

Not those that ask for requests equal to limits: what is not part of the chain may use a node's
spare memory and is the first to go where it is short, which protects the validators.
"""

_PASSED = 10
"""kube-score's grade of an object that is as it should be."""

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
"""kube-score's test → the field of the container that it names."""

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
"""Check of either tool → the field of the pod's spec, where the tool names none."""

_OF_OBJECT = {
    "cronjob-has-deadline": ("spec", "startingDeadlineSeconds"),
    "deployment-replicas": ("spec", "replicas"),
    "deployment-strategy": ("spec", "strategy"),
    "horizontalpodautoscaler-replicas": ("spec", "minReplicas"),
    "service-type": ("spec", "type"),
    "stable-version": ("apiVersion",),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """What a tool has against an object."""

    check: str
    """The tool and its own name of the check: checkov/CKV_K8S_40."""
    manifest: Manifest
    path: tuple[str | int, ...]
    """To the field, as far as it is known; empty where it is not."""
    message: str


def scan(manifests: Sequence[Manifest], kubernetes_version: str) -> list[Problem]:
    """Return what both tools say of an environment's manifests.

    All environments in one run of checkov would be faster, and wrong: it takes a NetworkPolicy of
    one for a pod of another (CKV2_K8S_6).
    Raises UsageError where a tool is not there or could not do its work.
    """
    files = {f"{number}.yaml": manifest for number, manifest in enumerate(manifests)}
    with tempfile.TemporaryDirectory(prefix="policy-") as temporary:
        folder = Path(temporary) / "manifests"
        folder.mkdir()
        for name, manifest in files.items():
            (folder / name).write_text(yamlio.dump(manifest.object), "utf-8")
        return [
            *_kube_score(files, folder, kubernetes_version),
            *_checkov(files, folder),
        ]


def known(tool: str) -> set[str]:
    """Return the names of all checks of a tool, `kube-score` or `checkov`; it is asked."""
    with tempfile.TemporaryDirectory(prefix="policy-") as temporary:
        folder = Path(temporary) / "empty"
        folder.mkdir()
        if tool == "kube-score":
            told = _run([toolchain.tool(tool), "list"], tool, folder)
            return {f"{tool}/{row[0]}" for row in csv.reader(told.splitlines()) if row}
        told = _run([*_checkov_command(), "--list"], tool, folder)
        return {f"{tool}/{check}" for check in re.findall(r"CKV2?_K8S_\d+", told)}


def _kube_score(
    files: Mapping[str, Manifest], folder: Path, kubernetes_version: str
) -> Iterator[Problem]:
    tool = "kube-score"
    command: list[str | Path] = [toolchain.tool(tool), "score", "--output-format=json"]
    command += [f"--kubernetes-version=v{kubernetes_version}"]
    command += [f"--enable-optional-test={name}" for name in OPTIONAL]
    # What is not to be found stands in base/policy.yaml, never in an annotation.
    command += ["--disable-ignore-checks-annotations", "--disable-optional-checks-annotations"]
    results = _json(_run([*command, *files], tool, folder), tool) or []
    _judged(tool, files, (Path(found["file_name"]).name for found in results))
    for found in results:
        manifest = files[Path(found["file_name"]).name]
        for check in found["checks"]:
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
                yield Problem(f"{tool}/{name}", manifest, path, message)


def _checkov(files: Mapping[str, Manifest], folder: Path) -> Iterator[Problem]:
    tool = "checkov"
    command = [*_checkov_command(), "--directory=.", "--output=json", "--compact"]
    found = _json(_run(command, tool, folder), tool)
    try:
        results = found["results"]
        broken = results["parsing_errors"]
        everything = [
            (kind, result)
            for kind in ("failed_checks", "skipped_checks", "passed_checks")
            for result in results[kind]
        ]
    except (KeyError, TypeError):
        raise UsageError(f"{tool} has judged nothing: {str(found)[:500]}") from None
    if broken:
        names = ", ".join(files[Path(file).name].label for file in broken)
        raise UsageError(f"{tool} can't read {names}")
    _judged(tool, files, (Path(result["file_path"]).name for _, result in everything))
    for kind, result in everything:
        manifest = files[Path(result["file_path"]).name]
        name = result["check_id"]
        message = result["check_name"]
        if kind == "skipped_checks":
            # Such a waiver is nowhere told or found stale.
            path: tuple[str | int, ...] = ("metadata", "annotations")
            message = f"an annotation turns this check off: {message}"
        elif kind == "failed_checks":
            path = _path(manifest, (result["check_result"].get("evaluated_keys") or [""])[-1])
            path = path or _field(manifest, name, "")
        else:
            continue
        yield Problem(f"{tool}/{name}", manifest, path, message)


def _checkov_command() -> list[str | Path]:
    if not CHECKOV.exists():
        raise UsageError("checkov is not installed: run nox -s policy")
    # Without the last it would ask its maker's server for more about each check.
    return [CHECKOV, "-I", "-m", "checkov.main", "--framework=kubernetes", "--skip-download"]


def _run(command: Sequence[str | Path], tool: str, folder: Path) -> str:
    """Return what a tool prints. It knows no settings but ours, and its home is thrown away."""
    environment = {"PATH": os.defpath, "HOME": str(folder.parent), "TMPDIR": str(folder.parent)}
    environment["PYTHONUTF8"] = "1"
    done = programs.run(command, tool, TIMEOUT_S, cwd=folder, environment=environment)
    # 1 says that something was found, and, without output, that something went wrong.
    if done.returncode not in (0, 1) or not done.stdout.strip():
        told = (done.stderr or done.stdout).strip()
        raise UsageError(f"{tool} ended with {done.returncode}: {told[-2000:]}")
    return done.stdout


def _json(text: str, tool: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise UsageError(f"{tool} did not answer in JSON: {text[-2000:]}") from None


def _judged(tool: str, files: Mapping[str, Manifest], seen: Iterable[str]) -> None:
    """Raise UsageError where a tool has passed over an object that makes pods."""
    seen = set(seen)
    missed = [m.label for file, m in files.items() if _pod(m) and file not in seen]
    if missed:
        raise UsageError(f"{tool} has said nothing of {', '.join(missed)}")


def _pod(manifest: Manifest) -> tuple[str | int, ...]:
    """Return the path of the object's pod's spec, empty where it makes no pods."""
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
    """Return checkov's spec/containers/[0]/image as a path, empty where the object has no such.

    Of its last keys the object may lack some: they are what is missing.
    """
    parts = [part for part in keys.split("/") if part]
    path = tuple(int(part[1:-1]) if re.fullmatch(r"\[\d+\]", part) else part for part in parts)
    return path if path and paths.has(manifest.object, path[:1]) else ()
