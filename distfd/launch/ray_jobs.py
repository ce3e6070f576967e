"""A job of a Ray cluster that runs: its job server gets the config's folder, and starts the run on the head."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from distfd.core.errors import ClusterError, InputError
from distfd.launch.pack import read_printed
from distfd.launch.submission import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from distfd.launch.submission import Submission

_LEFT_HERE = (".git", ".venv", "__pycache__", "runs", "*.pyc")
"""What no job needs of the config's folder, as .gitignore has it."""
_AGAIN = 2.0
"""Seconds between two tries to reach the job server, and how many there are,"""
_TRIES = 15
_LOOK = 0.5
"""and between two looks at a job that is about to end."""


@dataclass(frozen=True)
class RayLauncher:
    """To the job server of a Ray cluster.

    Parameters
    ----------
    order : Order
    address : str
        ``http://HEAD:8265``, or ``ray://HEAD:10001``.
    """

    order: Submission
    address: str

    @property
    def directory(self) -> str:
        """The run's directory on the head."""
        return f"{self.order.loaded.config.launch.directory or '~/distfd'}/{self.order.name}"

    @property
    def entrypoint(self) -> str:
        """The shell command of the job; ``exec``, so that a signal to stop reaches distfd."""
        where = override("output", self.directory), "cluster.address=auto"
        return f"exec {shlex.join(self.order.command('python', *where))}"

    @property
    def runtime_env(self) -> dict[str, Any]:
        """The user's, with the config's folder as working directory."""
        given = dict(self.order.loaded.config.launch.ray.runtime_env)
        left = [*_LEFT_HERE, *given.pop("excludes", ()), *_inside(self.order.output, self.order.folder)]
        return {"working_dir": str(self.order.folder), "excludes": left, **given}

    def describe(self) -> str:
        """The command that does the same by hand."""
        import json

        command = ["ray", "job", "submit", "--address", self.address, "--submission-id", f"{self.order.name}-1"]
        command += ["--runtime-env-json", json.dumps(self.runtime_env), "--"]
        return f"{shlex.join(command)} {shlex.quote(self.entrypoint)}"

    def start(self, say: Callable[[str], None]) -> RayJob:
        """Submit the job, or find it where it runs already.

        Raises
        ------
        ClusterError
            If the job server cannot be reached, or refuses.
        """
        client = _client(self.address)
        with _told("the job was not taken"):
            for info in client.list_jobs():
                if str(info.submission_id).startswith(f"{self.order.name}-") and not info.status.is_terminal():
                    say(f"it runs already, as {info.submission_id}")
                    return RayJob(client, str(info.submission_id), self)
            made = client.submit_job(
                entrypoint=self.entrypoint,
                runtime_env=self.runtime_env,
                submission_id=f"{self.order.name}-{time.time_ns() // 1_000_000}",
            )
        return RayJob(client, made, self)


@dataclass
class RayJob:
    """A job at the job server."""

    client: Any
    name: str
    launcher: RayLauncher

    @property
    def title(self) -> str:
        """What it is called there."""
        return f"{self.name} at {self.launcher.address}"

    def follow(self, say: Callable[[str], None]) -> int:
        """Hand on its lines until it has ended; its exit code."""
        printed = Lines(say)
        for _ in range(_TRIES):
            try:
                asyncio.run(self._tail(printed))
                break
            except (RuntimeError, OSError):  # the connection was cut, and the job goes on
                printed.begin_anew()
                time.sleep(_AGAIN)
        printed.end()
        info = self._ended()
        if info.driver_exit_code is None and info.status.name != "SUCCEEDED":
            say(f"{info.status.name.lower()}: {info.message or 'the job server does not say why'}")
        # A program that a signal ended: Ray gives what Popen gives, a shell what everybody expects.
        code = 4 if info.driver_exit_code is None else int(info.driver_exit_code)
        return 128 - code if code < 0 else 0 if info.status.name == "SUCCEEDED" else code or 4

    async def _tail(self, printed: Lines) -> None:
        async for text in self.client.tail_job_logs(self.name):
            printed.add(text)

    def stop(self) -> None:
        """Have it end as by Ctrl-C."""
        with _told(f"{self.name} could not be stopped"):
            self.client.stop_job(self.name)
            self._ended()

    def bring_back(self, archive: IO[bytes]) -> bool:
        """Have another job print the run's directory."""
        launcher = self.launcher
        command = shlex.join(["python", "-m", "distfd.launch.pack", launcher.directory])
        with _told("the run's directory could not be brought back"):
            name = self.client.submit_job(entrypoint=command, runtime_env=launcher.runtime_env)
            fetching = RayJob(self.client, name, launcher)
            fetching._ended()
            text = self.client.get_job_logs(name)
        read_printed(text, archive)
        return True

    def _ended(self) -> Any:
        """What is known of the job once it has ended."""
        with _told(f"{self.name} is lost"):
            while not (info := self.client.get_job_info(self.name)).status.is_terminal():
                time.sleep(_LOOK)
        return info


class Lines:
    """Pieces of a log, handed on as whole lines; what comes a second time is dropped."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._open = ""
        self._taken = 0
        self._dropping = 0

    def add(self, text: str) -> None:
        """The next piece."""
        dropped = min(self._dropping, len(text))
        self._dropping -= dropped
        self._taken += len(text) - dropped
        *whole, self._open = (self._open + text[dropped:]).split("\n")
        for line in whole:
            self._say(line.rstrip("\r"))

    def begin_anew(self) -> None:
        """The log will come once more from its beginning."""
        self._dropping = self._taken

    def end(self) -> None:
        """Hand on a last line that did not end."""
        if self._open:
            self._say(self._open)
        self._open = ""


def _inside(output: Path, folder: Path) -> Iterator[str]:
    """The run's own directory, where it is in the config's folder: it would be sent with every job."""
    with contextlib.suppress(ValueError):
        yield f"/{output.relative_to(folder).as_posix()}"


def _client(address: str) -> Any:
    from distfd.executors.ray.connection import use_token

    use_token()
    try:
        import aiohttp  # noqa: F401  # of ray[default], as its client of jobs needs
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise InputError(f"submitting to a Ray cluster needs {error.name}: pip install 'distfd[cluster]'") from None
    # As elsewhere (ray.init's logging_level): what Ray uploads, and how, is not what a user asked for.
    for name in ("ray", "ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Ray prefers what the environment says to what it is told.
    kept = os.environ.get("RAY_API_SERVER_ADDRESS")
    os.environ["RAY_API_SERVER_ADDRESS"] = address
    try:
        with _told(f"--to {address}: no job server answers there"):
            return JobSubmissionClient(address)
    finally:
        del os.environ["RAY_API_SERVER_ADDRESS"]
        if kept is not None:
            os.environ["RAY_API_SERVER_ADDRESS"] = kept


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Ray's client raises whatever happens to it: RuntimeError with a page of text, ConnectionError and others."""
    try:
        yield
    except (InputError, ClusterError):
        raise
    except Exception as error:
        text = (str(error).strip().splitlines() or [""])[-1]
        raise ClusterError(f"{what}: {type(error).__name__}: {text}") from error
