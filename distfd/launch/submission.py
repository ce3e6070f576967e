"""What is to be run on a cluster: the command, the folder it needs, and where its run is kept."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import platform
import re
import sys
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distfd.core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from distfd.config.load import LoadedConfig

_OURS = ("launch.", "launch=", "output=", "cluster.address=")
"""Overrides of what means nothing on the cluster, or something else."""


def refuse_control_characters(what: str, text: str) -> None:
    """Refuse what would end a line of a script, or what no manifest can hold.

    Raises
    ------
    InputError
    """
    bad = next((c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c != "\t"), None)
    if bad is not None:
        raise InputError(
            f"{what}: {text!r:.200} has the character {bad!r}, which cannot be in a script or manifest; rename it"
        )


def override(key: str, value: str) -> str:
    """``key=value`` for a command line, with a value that YAML reads back as this very text."""
    plain = re.fullmatch(r"(/|~/)[\w./+@=-]*( [\w./+@=-]+)*", value, re.ASCII)
    return f"{key}={value if plain else json.dumps(value, ensure_ascii=False)}"


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
        launch = self.loaded.config.launch
        for what, text in (
            ("output", str(self.output)),
            ("the configuration's path", str(self.loaded.path)),
            *(("override", text) for text in self.overrides),
            ("launch.directory", launch.directory or ""),
            *(("launch.slurm.options", text) for text in launch.slurm.options),
            *(("launch.slurm.setup", text) for text in launch.slurm.setup),
            ("launch.kuberay.image", launch.kuberay.image),
            ("launch.kuberay.folder", launch.kuberay.folder or ""),
            ("the interpreter's path", sys.executable),
        ):
            refuse_control_characters(what, text)

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
        kept = [text for text in self.overrides if not text.lstrip().startswith(_OURS)]
        return [python, "-m", "distfd", "run", file, *kept, *overrides]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no entry in the passwd database, and no variable that names them
        return str(os.getuid())
