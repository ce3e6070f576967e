"""Arguments and options that several commands share, and how their help ends."""

from __future__ import annotations

from typing import Annotated

import typer

ConfigFile = Annotated[str, typer.Argument(metavar="CONFIG", help="The YAML file that describes the job.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY.PATH=VALUE", help="Values to put over the file's, such as derivative.step=1e-4."),
]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show distfd's own traceback where something fails, and what Ray says.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress: the result, warnings and errors alone.")]
LogFormat = Annotated[
    str, typer.Option("--log-format", metavar="text|json", help="json: progress and errors as an object a line.")
]


def examples(*commands: str) -> str:
    """What stands below a command's help; the first mark keeps its lines as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)
