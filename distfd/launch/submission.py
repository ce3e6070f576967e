"""What is to be run on a cluster: the command, the folder it needs, and where its run is kept."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from distfd.config.load import LoadedConfig

_OURS = ("launch.", "launch=", "output=", "cluster.address=")
"""Overrides of what means nothing on the cluster, or something else."""


@dataclass(frozen=True)
class Submission:
    """One job, as all kinds of clusters get it.

    Attributes
    ----------
    loaded : LoadedConfig
    overrides : tuple of str
        Those of the command line, which go along where they concern the run.
    """

    loaded: LoadedConfig
    overrides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _ = self.output

    @property
    def output(self) -> Path:
        """The run's directory here; absolute."""
        return self.loaded.output

    @property
    def folder(self) -> Path:
        """The config's folder, with the modules and files that it names."""
        return self.loaded.folder

    @property
    def name(self) -> str:
        """A name for the job on the cluster: the same for the same run of the same user, so that it is found again.

        Of small letters, digits and hyphens, 40 at most, as Kubernetes asks for.
        """
        who = f"{_user()}@{platform.node()}:{self.output}"
        title = re.sub("[^a-z0-9]+", "-", self.output.name.lower()).strip("-")[:20].strip("-")
        return f"distfd-{title or 'run'}-{hashlib.sha256(who.encode()).hexdigest()[:8]}"

    def command(self, python: str, *overrides: str, config: str | None = None) -> list[str]:
        """The program and arguments that run it.

        Parameters
        ----------
        python : str
            The interpreter, on the cluster.
        overrides : str
            Further ones; they win over the user's.
        config : str, optional
            The configuration file on the cluster; by default its bare name, in the current directory.
        """
        file = config or self.loaded.path.name
        kept = [text for text in self.overrides if not text.startswith(_OURS)]
        return [python, "-m", "distfd", "run", file, *kept, *overrides]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no entry in the passwd database, and no variable that names them
        return str(os.getuid())
