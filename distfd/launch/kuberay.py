"""To Kubernetes, by its own program kubectl, which knows the cluster and who one is there."""

from __future__ import annotations

import shlex
import subprocess
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from distfd.core.errors import ClusterError
from distfd.launch.kuberay_manifest import directory, manifest_text, manifests

if TYPE_CHECKING:
    from collections.abc import Callable

    from distfd.launch.submission import Submission

_LOOK = 2.0
"""Seconds between two looks at a job that writes nothing."""
_STATE = "{.status.jobDeploymentStatus}/{.status.jobStatus}"
_ENDED = ("Complete", "Failed")


@dataclass(frozen=True)
class KubeRayLauncher:
    """A RayJob of KubeRay.

    Parameters
    ----------
    order : Order
    """

    order: Submission

    def describe(self) -> str:
        """The manifests, for ``kubectl apply -f``."""
        return manifest_text(manifests(self.order))

    def start(self, say: Callable[[str], None]) -> KubeRayJob:
        """Apply the manifests, or find the job where it runs already.

        Raises
        ------
        ClusterError
            If kubectl is not there, or refuses.
        """
        job = KubeRayJob(self.order)
        state = job.state()
        if state and state.partition("/")[0] not in _ENDED:
            say(f"it runs already, as RayJob {self.order.name}")
            return job
        if state:
            # A RayJob runs once; what it left is on the claim.
            job.kubectl("delete", "rayjob", self.order.name, "--wait")
        job.kubectl("apply", "-f", "-", given=self.describe())
        return job


@dataclass
class KubeRayJob:
    """A RayJob that was applied."""

    order: Submission

    @property
    def title(self) -> str:
        """What it is called there."""
        return f"RayJob {self.order.name} in namespace {self._namespace}"

    def follow(self, say: Callable[[str], None]) -> int:
        """Hand on its lines until it has ended; its exit code."""
        told, since = "", ""
        while (state := self.state()).partition("/")[0] not in _ENDED:
            if state != told and state:
                say(f"KubeRay: {state.rstrip('/')}")
                told = state
            since = self._hand_on(say, since)
            time.sleep(_LOOK)
            if not state and told:
                raise ClusterError(
                    f"{self.title} is gone from Kubernetes; its results are on the volume claim {self._claim}"
                )
        self._hand_on(say, since)
        if state.endswith("/SUCCEEDED"):
            return 0
        say(self._ask("jsonpath={.status.message}") or "KubeRay does not say why")
        return 4

    def stop(self) -> None:
        """Have it end; what was finished is on the claim."""
        self.kubectl("delete", "rayjob", self.order.name, "--wait")

    def bring_back(self, archive: IO[bytes]) -> bool:
        """Have the head send the run's directory, as long as it is there."""
        cluster = self._ask("jsonpath={.status.rayClusterName}")
        chosen = f"ray.io/cluster={cluster},ray.io/node-type=head"
        pod = self.kubectl("get", "pod", "-l", chosen, "-o", "jsonpath={.items[0].metadata.name}") if cluster else ""
        if not pod:
            raise ClusterError(
                f"Ray's head pod is gone; find the run in {directory(self.order)} on the volume claim {self._claim}"
            )
        command = self._command("exec", pod, "-c", "ray-head", "--", "tar", "-C", directory(self.order), "-cz")
        command += ["--exclude=./work", "--exclude=./spool", "."]
        ran = subprocess.run(command, check=False, stdout=archive, stderr=subprocess.PIPE)  # noqa: S603  # no shell
        if ran.returncode:
            raise ClusterError(f"{shlex.join(command)}: {ran.stderr.decode(errors='replace').strip()}")
        return True

    def state(self) -> str:
        """KubeRay's words for it, deployment and job; empty where there is none."""
        return self._ask(f"jsonpath={_STATE}").strip("/")

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """What kubectl answers.

        Raises
        ------
        ClusterError
            If it is not there, or fails.
        """
        command = self._command(*arguments)
        try:
            ran = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace", input=given)  # noqa: S603  # no shell
        except FileNotFoundError:
            raise ClusterError(
                "--to kuberay: kubectl is not there; install it, or apply what --dry-run prints"
            ) from None
        if ran.returncode:
            raise ClusterError(f"{shlex.join(command)}: {ran.stderr.strip() or f'exit code {ran.returncode}'}")
        return ran.stdout.strip()

    @property
    def _namespace(self) -> str:
        return self.order.loaded.config.launch.kuberay.namespace

    @property
    def _claim(self) -> str:
        return self.order.loaded.config.launch.kuberay.claim

    def _command(self, *arguments: str) -> list[str]:
        return ["kubectl", "--namespace", self._namespace, *arguments]

    def _ask(self, form: str) -> str:
        return self.kubectl("get", "rayjob", self.order.name, "--ignore-not-found", "-o", form)

    def _hand_on(self, say: Callable[[str], None], since: str) -> str:
        """Lines of the submitter since the last that was seen; the time of that.

        ``kubectl logs -f`` ends with each pod, and a retry has another: asked again and again it shows all of them.
        """
        chosen = f"job-name={self.order.name}"
        asked = ["--since-time", since] if since else []
        try:
            text = self.kubectl("logs", "-l", chosen, "--tail=-1", "--timestamps", "--ignore-errors", *asked)
        except ClusterError:  # no pod yet, or none any more
            return since
        for line in text.splitlines():
            stamp, _, words = line.partition(" ")
            # since-time is inclusive, and goes by whole seconds.
            if stamp > since:
                since = stamp
                say(words)
        return since
