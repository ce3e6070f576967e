"""The nodes of an evaluation that spans several, as J and its programs are told of them."""

from __future__ import annotations

import os

HOSTS = "DISTFD_HOSTS"
"""The environment variable: names with commas between them, the worker's own node first."""
HOSTS_FILE = "hosts.txt"
"""In a program's work directory: a name a line, as MPI launchers read it."""


def hosts() -> list[str]:
    """The names; empty where an evaluation has one node."""
    return [name for name in os.environ.get(HOSTS, "").split(",") if name]
