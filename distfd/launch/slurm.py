"""A batch job of Slurm: a script that runs the job, and has it queued again when its time is up."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from distfd.core.errors import ClusterError, StoreError
from distfd.core.files import check_own_folder, make_folders, open_plain, read_plain, replace_file
from distfd.launch.submission import override

if TYPE_CHECKING:
    from collections.abc import Callable

    from distfd.launch.submission import Submission

_TEMPLATE = Path(__file__).with_name("slurm.sh.j2")
_LOOK = 1.0
"""Seconds between two looks at the log, and at the queue."""
_LOOKS = 5
"""Looks at the log for each look at the queue, which all users share."""


@dataclass(frozen=True)
class SlurmLauncher:
    """To Slurm's queue. Config, run directory and Python are on a file system that all nodes share.

    Parameters
    ----------
    order : Order
    """

    order: Submission

    @property
    def folder(self) -> Path:
        """Where script and logs are: beside the run's directory, which --fresh may put aside."""
        return self.order.output.with_name(self.order.output.name + ".slurm")

    def describe(self) -> str:
        """The script."""
        import jinja2

        wanted, config = self.order.loaded.config.launch.slurm, self.order.loaded.config
        alone = wanted.nodes == 1
        where = [override("output", str(self.order.output)), f"cluster.address={'local' if alone else 'auto'}"]
        command = self.order.command(sys.executable, *where, config=str(self.order.loaded.path))
        made = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True)  # noqa: S701  # a shell script
        made.filters["quote"] = shlex.quote
        return made.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
            name=self.order.name,
            nodes=wanted.nodes,
            notice=wanted.notice,
            options=wanted.options,
            setup=wanted.setup,
            folder=str(self.folder),
            # sbatch puts numbers in the place of %j and the like, and % for %%.
            log_folder=str(self.folder).replace("%", "%%"),
            command=shlex.join(command),
            count_cpus=alone and config.cluster.num_cpus is None,
            ray=str(Path(sys.executable).with_name("ray")),
        )

    def start(self, say: Callable[[str], None]) -> SlurmJob:
        """Submit the job, or find it where it is queued already.

        Raises
        ------
        ClusterError
            If Slurm cannot be reached, or refuses.
        StoreError
            If the script cannot be written.
        """
        queued = _slurm("squeue", "--me", "--noheader", f"--name={self.order.name}", "--format=%i").split()
        if queued:
            say(f"it is queued already, as job {queued[0]}")
            return SlurmJob(queued[0], self.folder)
        script = self.folder / "job.sh"
        try:
            make_folders(self.folder)
            check_own_folder(self.folder)
            text = self.describe()
            replace_file(script, lambda file: file.write(text.encode()))
        except OSError as error:
            raise StoreError(f"{script} cannot be written: {error.strerror or error}") from error
        answer = _slurm("sbatch", "--parsable", str(script))
        return SlurmJob(answer.strip().split(";")[0], self.folder)


@dataclass
class SlurmJob:
    """A job of Slurm."""

    number: str
    folder: Path

    @property
    def title(self) -> str:
        """What it is called there."""
        return f"Slurm's job {self.number}, whose log is {self._log}"

    @property
    def _log(self) -> Path:
        return self.folder / f"{self.number}.log"

    def follow(self, say: Callable[[str], None]) -> int:
        """Hand on its lines until it has left the queue for good; its exit code."""
        position, looks, waited = 0, 0, ""
        while True:
            ended = looks % _LOOKS == 0 and self._has_ended()
            position = self._hand_on(position, say)
            if ended:
                break
            if looks % _LOOKS == 0 and (waits := self._waits_for()) != waited:
                waited = waits
                if waits:
                    say(f"waiting, says Slurm: {waits}")
            looks += 1
            time.sleep(_LOOK)
        try:
            return int(read_plain(self.folder / f"{self.number}.exit", 100))
        except (OSError, ValueError):
            say("the job ended without a word from distfd: cancelled, or its node was lost")
            return 4

    def stop(self) -> None:
        """Have it end as by Ctrl-C, and not be queued again."""
        _slurm("scancel", self.number)

    def bring_back(self, archive: IO[bytes]) -> bool:  # noqa: ARG002  # the protocol's
        """The run's directory is on a shared file system."""
        return False

    def _hand_on(self, position: int, say: Callable[[str], None]) -> int:
        """Whole lines from a place in the log on; the place behind them."""
        try:
            with open_plain(self._log) as file:
                file.seek(position)
                whole, newline, _ = file.read().rpartition(b"\n")
        except OSError:  # not there yet
            return position
        for line in whole.decode(errors="replace").split("\n") if newline else ():
            say(line)
        return position + len(whole) + len(newline)

    def _has_ended(self) -> bool:
        state = self._state()
        return state is None or state in (
            "BOOT_FAIL",
            "CANCELLED",
            "COMPLETED",
            "DEADLINE",
            "FAILED",
            "NODE_FAIL",
            "OUT_OF_MEMORY",
            "REVOKED",
            "TIMEOUT",
        )

    def _state(self) -> str | None:
        """Slurm's word; None where it has forgotten the job."""
        try:
            shown = _slurm("scontrol", "show", "job", self.number)
        except ClusterError as error:
            if "Invalid job id" in str(error):
                return None
            raise
        found = re.search(r"\bJobState=(\w+)", shown)
        return found[1] if found else None

    def _waits_for(self) -> str:
        shown = _slurm("squeue", "--noheader", "--jobs", self.number, "--format=%T %r").split(maxsplit=1)
        return shown[1].strip() if len(shown) > 1 and shown[0] == "PENDING" and shown[1].strip() != "None" else ""


def _slurm(*command: str) -> str:
    """What one of Slurm's programs answers."""
    try:
        ran = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")  # noqa: S603  # no shell
    except FileNotFoundError:
        raise ClusterError(f"--to slurm: {command[0]} is not there; submit from a login node of the cluster") from None
    if ran.returncode:
        raise ClusterError(f"{shlex.join(command)}: {ran.stderr.strip() or f'exit code {ran.returncode}'}")
    return ran.stdout
