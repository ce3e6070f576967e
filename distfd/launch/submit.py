"""What ``distfd submit`` does, whatever kind of cluster it is: submit, follow, stop, bring back."""

from __future__ import annotations

import re
import tempfile
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError
from distfd.launch.retrieved_run import check_place, unpack
from distfd.launch.submission import Submission
from distfd.run_directory.directory import RunDirectory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distfd.config.load import LoadedConfig
    from distfd.launch.launcher import Job, Launcher


def make_launcher(order: Submission, to: str) -> Launcher:
    """The way to a cluster.

    Parameters
    ----------
    order : Order
    to : str
        ``http://HEAD:8265`` (or https), ``ray://HEAD:10001``, ``slurm`` or ``kuberay``.

    Raises
    ------
    InputError
        If it is none of these.
    """
    if to == "slurm":
        from distfd.launch.slurm import SlurmLauncher

        return SlurmLauncher(order)
    if to == "kuberay":
        from distfd.launch.kuberay import KubeRayLauncher

        return KubeRayLauncher(order)
    if re.fullmatch(r"(https?|ray)://[^/:@]+(:\d+)?/?", to):
        from distfd.launch.ray_jobs import RayLauncher

        return RayLauncher(order, to.rstrip("/"))
    raise InputError(f"--to: must be http://HEAD:8265, ray://HEAD:10001, slurm or kuberay (was {to!r})")


def submit(
    loaded: LoadedConfig,
    overrides: Sequence[str],
    to: str,
    *,
    follow: bool,
    say: Callable[[str], None],
    ask: Callable[[str], bool],
) -> tuple[int, dict[str, Any] | None]:
    """Submit a job, follow it to its end, and bring its run's directory back to ``output``.

    Parameters
    ----------
    loaded : LoadedConfig
    overrides : sequence of str
    to : str
        As for `make_launcher`.
    follow : bool
        False: return once it is submitted.
    say : callable
        Gets the job's lines, and what there is to say of it.
    ask : callable
        A question -> whether the answer is yes; asked on Ctrl-C.

    Returns
    -------
    int
        The job's exit code, one of distfd's.
    dict or None
        What result.json holds, once there is one.

    Raises
    ------
    DistfdError
    KeyboardInterrupt
    """
    order = Submission(loaded, tuple(overrides))
    launcher = make_launcher(order, to)
    if to != "slurm":
        check_place(order.output, order.name)
    job = launcher.start(say)
    say(f"submitted: {job.title}")
    if not follow:
        say("the same command follows it, and brings its run back once it has ended")
        return 0, None
    try:
        code = job.follow(say)
    except KeyboardInterrupt:
        if ask(f"stop {job.title}?"):
            job.stop()
            say("stopped; what was finished is kept, and the same command goes on from there")
        else:
            say("it goes on; the same command follows it again")
        raise
    return code, _brought(job, order, say)


def _brought(job: Job, order: Submission, say: Callable[[str], None]) -> dict[str, Any] | None:
    directory = RunDirectory(order.output)
    with tempfile.TemporaryFile() as archive:
        if job.bring_back(archive):
            archive.seek(0)
            kept = unpack(archive, order.output, order.name)
            say(f"brought back to {order.output}" + (f"; what stood there is kept as {kept}" if kept else ""))
    return directory.result()
