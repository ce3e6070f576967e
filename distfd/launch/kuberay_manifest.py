"""The manifest of a KubeRay RayJob: a cluster of its own on Kubernetes that runs one job and goes away."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import distfd.launch.kuberay_config_map as files
from distfd.launch.submission import override

if TYPE_CHECKING:
    from distfd.config.launch_section import KubeRay
    from distfd.launch.submission import Submission

CLAIM = "/distfd"
"""Where the claim is mounted in every pod,"""
CONFIG = "/etc/distfd"
"""and the config's folder, where it is sent along."""
_KEPT = 600
"""Seconds for which the cluster is kept when the job is done: the run's directory is read from its head."""


def directory(order: Submission) -> str:
    """The run's directory on the claim."""
    return f"{order.loaded.config.launch.directory or f'{CLAIM}/runs'}/{order.name}"


def manifests(order: Submission) -> list[dict[str, Any]]:
    """What is applied: the config's folder, unless it is there already, and the job.

    Fields of the RayJob: https://docs.ray.io/en/latest/cluster/kubernetes/references/api.html

    Raises
    ------
    InputError
        If the folder is too large to be sent along.
    """
    wanted = order.loaded.config.launch.kuberay
    sent = [] if wanted.folder else [files.config_map(order)]
    return [*sent, _ray_job(order, wanted)]


def manifest_text(found: list[dict[str, Any]]) -> str:
    """Manifests as YAML, with files as they are read."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """With texts of several lines as such, and without anchors."""

        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    made: str = yaml.dump_all(found, Dumper=Dumper, sort_keys=False, width=10**6)
    return made


def _ray_job(order: Submission, wanted: KubeRay) -> dict[str, Any]:
    folder = wanted.folder or CONFIG
    where = override("output", directory(order)), "cluster.address=auto"
    command = order.command("python", *where, config=f"{folder}/{order.loaded.path.name}")
    # A run that another cluster left behind is locked by nobody and resumes; so does each retry.
    spec: dict[str, Any] = {
        "entrypoint": shlex.join(command),
        "submissionMode": "K8sJobMode",
        "backoffLimit": wanted.retries,
        # The submitter only reads the log; the job runs on the head, and must not be started twice.
        "submitterConfig": {"backoffLimit": 0},
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": _KEPT,
        "rayClusterSpec": {
            **({"authOptions": {"mode": "token"}} if wanted.token else {}),
            "headGroupSpec": {
                # The head keeps the run and its store, and evaluates nothing.
                "rayStartParams": {"num-cpus": "0"},
                "template": _pod("ray-head", order, wanted),
            },
            "workerGroupSpecs": [
                {
                    "groupName": "evaluations",
                    "replicas": wanted.workers,
                    "minReplicas": wanted.workers,
                    "maxReplicas": wanted.workers,
                    "rayStartParams": {},
                    "template": _pod("ray-worker", order, wanted),
                }
            ],
        },
    }
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": order.name, "namespace": wanted.namespace},
        "spec": spec,
    }


def _pod(name: str, order: Submission, wanted: KubeRay) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = [{"name": "runs", "persistentVolumeClaim": {"claimName": wanted.claim}}]
    mounts = [{"name": "runs", "mountPath": CLAIM}]
    if wanted.folder is None:
        volumes.append({"name": "config", "configMap": {"name": order.name, "items": files.items(order)}})
        mounts.append({"name": "config", "mountPath": CONFIG})
    amounts = {"cpu": f"{wanted.cpus:g}", "memory": str(wanted.memory)}
    container = {
        "name": name,
        "image": wanted.image,
        "resources": {"requests": amounts, "limits": amounts},
        "volumeMounts": mounts,
    }
    return {"spec": {"containers": [container], "volumes": volumes}}
