"""A script in each work directory by which its evaluation can be run again by hand."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from distfd.workers.hosts import HOSTS
from distfd.workers.threads import VARIABLES

if TYPE_CHECKING:
    from distfd.objectives.command.spec import ProgramSpec

RERUN = "rerun.sh"


def rerun_script(objective: ProgramSpec) -> str:
    """The script's text; it holds no value of ``pass_env``, as those may be secret."""
    lines = [
        "#!/bin/sh",
        "# Runs this evaluation's commands again in this directory, as distfd did.",
        'cd "$(dirname "$0")" || exit 1',
    ]
    lines += [f"export {name}={shlex.quote(os.environ[name])}" for name in (*VARIABLES, HOSTS) if name in os.environ]
    for name in objective.shipped:
        lines.append(f': "${{{name}:?is handed on by pass_env; set it first}}"; export {name}')
    for name, value in objective.env.items():
        if value is not None:
            lines.append(f"export {name}={shlex.quote(str(value))}")
        elif name.endswith("*"):
            lines.append(f"for name in $(env | sed -n 's/^\\({name[:-1]}[A-Za-z0-9_]*\\)=.*/\\1/p'); do")
            lines.append('    unset "$name"\ndone')
        else:
            lines.append(f"unset {name}")
    for k, argv in enumerate(objective.steps):
        source = f" < {shlex.quote(objective.stdin)}" if objective.stdin and k in objective.fed else ""
        lines.append(f"{shlex.join(argv)}{source} || exit")
    return "\n".join(lines) + "\n"
