"""The chart's pod, run by Docker: its containers with their variables, mounts and rights."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chart.rendering import manifests, pod_specs

_UNITS = {"Mi": "m", "Gi": "g"}


@dataclass
class Pod:
    """One pod of the chart for ``values``; ``secrets`` holds each Secret's keys and contents."""

    directory: Path
    image: str
    values: Mapping[str, Any]
    secrets: Mapping[str, Mapping[str, str]]

    def __post_init__(self) -> None:
        objects = manifests(self.values)
        self.specs = dict(pod_specs(objects))
        self.maps = {
            one["metadata"]["name"]: one["data"] for one in objects if one["kind"] == "ConfigMap"
        }
        self.spec = self.specs["passback-skyward-passback"]

    def initialise(self) -> list[str]:
        """Runs each init container to its end; returns what they printed."""
        return [self._finished(self.spec, one) for one in self.spec["initContainers"]]

    def test(self) -> str:
        """Runs the pod of ``helm test``; returns what it printed."""
        spec = self.specs["passback-skyward-passback-check"]
        return self._finished(spec, spec["containers"][0])

    @contextmanager
    def running(self, log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """The daemon's container; killed at the end where it did not stop."""
        with log.open("wb") as output:
            process = subprocess.Popen(
                self._command(self.spec, self.spec["containers"][0]),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(self.spec["terminationGracePeriodSeconds"])
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _finished(self, spec: dict[str, Any], container: dict[str, Any]) -> str:
        done = subprocess.run(
            self._command(spec, container), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{container['name']}: {done.stdout}{done.stderr}"
        return done.stdout

    def _command(self, spec: dict[str, Any], container: dict[str, Any]) -> list[str]:
        pod, own = spec["securityContext"], container["securityContext"]
        memory = container["resources"]["limits"]["memory"]
        command = ["docker", "run", "--rm", "--network", "host"]
        command += ["--user", f"{pod['runAsUser']}:{pod['runAsGroup']}"]
        command += ["--group-add", str(pod["fsGroup"])]
        command += ["--memory", memory[:-2] + _UNITS[memory[-2:]]]
        command += [f"--cap-drop={name}" for name in own["capabilities"]["drop"]]
        if own["readOnlyRootFilesystem"]:
            command += ["--read-only"]
        if not own["allowPrivilegeEscalation"]:
            command += ["--security-opt", "no-new-privileges"]
        for variable in container["env"]:
            command += ["--env", f"{variable['name']}={variable['value']}"]
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        for mount in container["volumeMounts"]:
            volume = volumes[mount["name"]]
            if "emptyDir" in volume:
                command += ["--tmpfs", mount["mountPath"]]
            else:
                command += ["--volume", f"{self._written(volume)}:{mount['mountPath']}:ro"]
        return [*command, self.image, *container["args"]]

    def _written(self, volume: dict[str, Any]) -> Path:
        """A volume's files, with the mode and the group that Kubernetes gives them."""
        source = volume.get("secret") or volume["projected"]
        directory = self.directory / str(volume["name"])
        directory.mkdir(mode=0o755, exist_ok=True)
        files: dict[str, str] = {}
        if "secretName" in source:
            content = self.secrets[source["secretName"]]
            files = {item["path"]: content[item["key"]] for item in source["items"]}
        for one in source.get("sources", []):
            if "configMap" in one:
                files |= self.maps[one["configMap"]["name"]]
            else:
                files |= self.secrets[one["secret"]["name"]]
        for name, text in files.items():
            file = directory / name
            file.unlink(missing_ok=True)
            file.write_text(text)
            if os.geteuid() == 0:
                os.chown(file, 0, 65532)
                file.chmod(source["defaultMode"])
        return directory
