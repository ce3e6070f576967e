"""The section of the configuration file for ``distfd submit``: how a job is handed to a cluster."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, Strict

from distfd.config.field_types import Count, Positive, Size, Text
from distfd.config.section_base import OR_NULL, Section, wrong


def _remote(text: str) -> str:
    if not text.startswith(("/", "~/")):
        raise wrong("must be a directory on the cluster: absolute, or below ~/")
    return text.rstrip("/") or "/"


def _line(text: str) -> str:
    if any(c in text for c in "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029") or "\0" in text:
        raise wrong("must be one line")
    return text


def _option(text: str) -> str:
    if not re.fullmatch(r"--?[\w-]+(=.*)?", text):
        raise wrong("must be an option of sbatch, such as --time=8:00:00")
    return text


def _resource_name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", text):
        raise wrong("must be a name of Kubernetes: small letters, digits, - and .")
    return text


def _empty(value: Any) -> Any:
    """A section whose keys are all commented out is null to YAML."""
    return {} if value is None else value


Lines = Annotated[tuple[Annotated[Text, AfterValidator(_line)], ...], Strict(strict=False)]
Options = Annotated[tuple[Annotated[Text, AfterValidator(_line), AfterValidator(_option)], ...], Strict(strict=False)]
ResourceName = Annotated[Text, AfterValidator(_resource_name)]


class RayJobs(Section):
    """For --to http://HEAD:8265 and --to ray://HEAD:10001."""

    runtime_env: dict[str, Any] = Field(default={})
    """Ray's runtime environment of the job, such as {pip: [distfd]}; the config's folder is always sent too."""


class Slurm(Section):
    """For --to slurm."""

    nodes: Count = 1
    """Nodes of the allocation; more than one are joined by Ray."""
    options: Options = ()
    """Further options of sbatch, such as --time=8:00:00 or --partition=long."""
    setup: Lines = ()
    """Lines of shell before distfd, such as module load or source .../activate."""
    notice: Count = 120
    """Seconds before the end of its time at which the job stops evaluating, to be queued again."""


class KubeRay(Section):
    """For --to kuberay."""

    image: Text = "rayproject/ray:2.60.0"
    """A container image with Ray, distfd, and what J needs."""
    namespace: ResourceName = "default"
    """Where the job and its claim are."""
    claim: ResourceName = "distfd"
    """A PersistentVolumeClaim that head and workers can write to (ReadWriteMany); runs are kept on it."""
    folder: Annotated[Text, AfterValidator(_remote)] | None = None
    """The config's folder inside the image or on the claim (mounted at /distfd); null sends it along, up to 900 kB."""
    workers: Count = 1
    """Pods that evaluate."""
    cpus: Positive = 1.0
    """Cores of each."""
    memory: Size = 2**32
    """Memory of each, in bytes or as text such as 4GiB."""
    retries: Annotated[int, Field(ge=0)] = 3
    """How many new clusters to start after a failed one; each resumes the run."""
    token: bool = True
    """Only holders of a token that KubeRay makes can use the cluster (needs KubeRay 1.5.1, Ray 2.52)."""


class Launch(Section):
    """How distfd submit hands the job to a cluster. It does not change what is computed."""

    directory: Annotated[Text, AfterValidator(_remote)] | None = None
    """Where the cluster keeps runs; null: ~/distfd on the head of a Ray cluster, /distfd/runs on KubeRay's claim."""
    ray: Annotated[RayJobs, BeforeValidator(_empty), OR_NULL] = RayJobs()
    """A Ray cluster that is already running."""
    slurm: Annotated[Slurm, BeforeValidator(_empty), OR_NULL] = Slurm()
    """A batch job of Slurm."""
    kuberay: Annotated[KubeRay, BeforeValidator(_empty), OR_NULL] = KubeRay()
    """A cluster of its own on Kubernetes."""
