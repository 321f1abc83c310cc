"""Run a container of a pod on this machine, as no kubelet here does: its volumes are folders."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.cluster.api_client import ApiClient, Object
from tests.conftest import Run
from tests.e2e.steps import HANG_S


@dataclass(frozen=True, slots=True)
class Volumes:
    """Folders for the volumes of pods; what is in a PersistentVolume outlives its pods."""

    api: ApiClient
    folder: Path

    def of(self, pod: Object, name: str) -> Path:
        """Return the folder of a pod's volume: of its PersistentVolume, if it is one."""
        metadata = pod["metadata"]
        space = metadata["namespace"]
        volume = next(each for each in pod["spec"]["volumes"] if each["name"] == name)
        if "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]["claimName"]
            spec = self.api.get("PersistentVolumeClaim", claim, space)["spec"]
            return self._made(spec["volumeName"])
        folder = self._made(f"{metadata['uid']}-{name}")
        if "configMap" in volume:
            config = self.api.get("ConfigMap", volume["configMap"]["name"], space)
            for file, text in config["data"].items():
                (folder / file).write_text(text, "utf-8")
        return folder

    def _made(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def run(self, pod: Object, container: Object, environment: Mapping[str, str]) -> Run:
        """Run a container to its end, with variables besides its own.

        Paths in its command and its variables that are in a volume are those of the folder.
        """
        mounts = {
            each["mountPath"]: self.of(pod, each["name"]) / each.get("subPath", "")
            for each in container["volumeMounts"]
        }

        def here(text: str) -> str:
            """Return a path in the container as that of this machine."""
            for path, folder in mounts.items():
                if text == path or text.startswith(f"{path}/"):
                    return f"{folder}{text.removeprefix(path)}"
            return text

        own = {each["name"]: here(each["value"]) for each in container["env"] if "value" in each}
        tmp = {"TMPDIR": here("/tmp")} if "/tmp" in mounts else {}
        done = subprocess.run(
            [here(word) for word in container["command"]],
            env={"PATH": os.environ["PATH"]} | own | tmp | dict(environment),
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )
        return Run(done.returncode, done.stdout, done.stderr)
