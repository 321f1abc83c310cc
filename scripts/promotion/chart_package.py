"""The chart as one file, as Helm packs it, and with the same bytes on every machine.

Helm writes the time of each run into the archive, and compressors differ. Here the files are sorted
and have no times, and are stored without compression: the same chart is the same file everywhere,
so that everyone can check a published one against git.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.core import git
from scripts.core.findings import UsageError
from scripts.rendering import helm

BUILD_TYPE = "nox -s release"
_MOST_STORED = 0xFFFF
_MODE = 0o644


@dataclass(frozen=True, slots=True)
class Package:
    """A packed chart."""

    path: Path
    sha256: str


def package(chart: Path, folder: Path) -> Package:
    """Write the package of a chart into a folder; raises UsageError if Helm can't pack it."""
    with tempfile.TemporaryDirectory() as temporary:
        try:
            packed = helm.package(chart, Path(temporary))
        except helm.HelmError as error:
            raise UsageError(f"can't pack the chart: {error}") from None
        raw = _stored(_tar(packed))
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / packed.name
        target.write_bytes(raw)
    return Package(target, hashlib.sha256(raw).hexdigest())


def _tar(packed: Path) -> bytes:
    """Return the files of an archive as a tar file that depends on nothing but them."""
    output = io.BytesIO()
    with (
        tarfile.open(packed) as old,
        tarfile.open(fileobj=output, mode="w", format=tarfile.USTAR_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda each: each.name):
            file = old.extractfile(member)
            raw = file.read() if file else b""
            entry = tarfile.TarInfo(member.name)
            entry.size, entry.mode = len(raw), _MODE
            new.addfile(entry, io.BytesIO(raw))
    return output.getvalue()


def _stored(raw: bytes) -> bytes:
    """Return the bytes as a gzip file without compression (RFC 1951, 3.2.4 and RFC 1952)."""
    parts = [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"]
    for start in range(0, len(raw) or 1, _MOST_STORED):
        block = raw[start : start + _MOST_STORED]
        is_last = start + _MOST_STORED >= len(raw)
        length = len(block)
        parts += [struct.pack("<BHH", is_last, length, length ^ _MOST_STORED), block]
    parts.append(struct.pack("<II", zlib.crc32(raw), len(raw) & 0xFFFFFFFF))
    return b"".join(parts)


def provenance(root: Path, packed: Package, version: str, url: str) -> dict[str, Any] | None:
    """Return what an attestation of the package needs: SLSA's predicate, without the builder.

    url: of the repository. None if chart/ is not as it is in the last commit.
    Source: https://slsa.dev/spec/v1.0/provenance
    """
    commit = git.ask(root, "rev-parse", "--verify", "--quiet", "HEAD").strip()
    changed = git.ask(root, "status", "--porcelain", "--", "chart")
    if not commit or changed:
        return None
    tree = git.ask(root, "rev-parse", "HEAD:./chart").strip()
    tag = f"refs/tags/v{version}"
    source = f"git+{url}@{tag}"
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": packed.path.name, "digest": {"sha256": packed.sha256}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": f"{url}#{BUILD_TYPE}",
                "externalParameters": {"repository": url, "ref": tag, "version": version},
                "internalParameters": {"command": f"{BUILD_TYPE} -- {version}"},
                "resolvedDependencies": [
                    {"uri": source, "digest": {"gitCommit": commit}},
                    {"uri": f"{source}#chart", "digest": {"gitTree": tree}},
                ],
            }
        },
    }


def written(folder: Path, name: str, data: dict[str, Any]) -> Path:
    """Write a JSON file, and return its path."""
    path = folder / name
    path.write_text(json.dumps(data, indent=2) + "\n", "utf-8")
    return path
