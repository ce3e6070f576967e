"""All looks, in the order in which a run would meet what they find."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from distfd.core.files import at_home
from distfd.doctor.cluster import cluster_findings
from distfd.doctor.finding import Finding
from distfd.doctor.machine import machine_findings
from distfd.doctor.software import software_findings
from distfd.doctor.storage import storage_findings
from distfd.executors.ray.options import KEEP_IDLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distfd.config.schema import Config


def examine(config: Config | None = None) -> list[Finding]:
    """Look at everything that a run of this configuration, or of any, depends on; nothing is started or changed.

    Parameters
    ----------
    config : Config, optional
        Whose cluster, output and program are looked at; else what holds without one.
    """
    cluster = None if config is None else config.cluster
    output = Path((config and config.output) or "runs").absolute()
    looks: list[Callable[[], Iterator[Finding]]] = [
        lambda: software_findings([] if config is None else _programs(config)),
        lambda: machine_findings(None if cluster is None else cluster.num_cpus, os.environ),
        lambda: cluster_findings(
            None if cluster is None else cluster.address,
            os.environ,
            at_home("~"),
            KEEP_IDLE if cluster is None else cluster.keep_idle,
        ),
        lambda: storage_findings(output),
    ]
    found: list[Finding] = []
    for look in looks:
        try:
            found += look()
        except Exception as error:  # one look that fails must not hide what the others find
            text = f"could not be looked at: {type(error).__name__}: {error}"
            found.append(Finding("doctor", text, "warning", "look there by hand; the other lines hold"))
    return found


def _programs(config: Config) -> list[str]:
    """The programs that must be installed: not those that stand in the work directory, or are built there."""
    command = config.objective.command
    if command is None:
        return []
    first = [argv[0] for argv in (*command.pre, *command.programs, *command.post)]
    return list(dict.fromkeys(name for name in first if "/" not in name or Path(name).is_absolute()))
