"""Commands that evaluate nothing: what is there, what is missing, and a first file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from distfd.cli import terminal
from distfd.cli.options import Debug, Overrides, examples
from distfd.core.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from distfd.run_directory.status import RunStatus


def add_commands(app: typer.Typer) -> None:
    """Give the app these commands."""
    app.command(
        epilog=examples(
            "distfd status runs/quickstart",
            "distfd status runs/quickstart --follow",
            "distfd status runs/quickstart --json",
        )
    )(status)
    app.command(
        epilog=examples(
            "distfd report runs/quickstart --open",
            "distfd report runs/quickstart --csv",
            "distfd report runs/quickstart --json",
        ),
        short_help="Make report.html anew, while a run goes on or after.",
    )(report)
    app.command(
        epilog=examples(
            "distfd init && distfd run config.yaml", "distfd init --command 'solver deck.inp' --deck deck.inp"
        ),
        short_help="Write a first configuration, for a small model or a program.",
    )(init)
    app.command(
        epilog=examples("distfd doctor", "distfd doctor job.yaml", "distfd doctor --json"),
        short_help="Check all that runs depend on, and say what to do about it.",
    )(doctor)
    app.command(
        epilog=examples("distfd schema > distfd.schema.json"),
        short_help="Print the JSON schema of configuration files, for editors.",
    )(schema)


def status(
    directory: Annotated[str, typer.Argument(metavar="RUN", help="The directory of a run.")],
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Repeat until the run ends, and exit with its code.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; with --follow an object a line, and the last one whole.")
    ] = False,
    debug: Debug = False,  # noqa: ARG001  # see main()
) -> None:
    """Tell how far a run is, without disturbing it."""
    from distfd.cli.result_table import show_result
    from distfd.run_directory import status as watch
    from distfd.run_directory.directory import RunDirectory

    try:
        found = _followed(directory, as_json=as_json) if follow else watch.run_status(directory)
    except KeyboardInterrupt:  # of the watching, not of the run
        raise typer.Exit(130) from None
    run = RunDirectory(Path(directory).absolute())
    if as_json:
        say_json(watch.status_fields(found, run), indent=None if follow else 1)
        raise typer.Exit(found.exit_code if follow else 0)
    if found.ended and (result := run.shown_result()) is not None:
        show_result(result, run)
    else:
        say(str(found))
    for line in watch.kept_text(run):
        say(line)
    raise typer.Exit(found.exit_code if follow else 0)


def _followed(directory: str, *, as_json: bool) -> RunStatus:
    """The run's end; on a terminal what is said of it until then stands in one place, elsewhere in lines."""
    from distfd.run_directory import status as watch

    out = terminal.answers()
    if as_json:
        return watch.follow(directory, say, told=lambda status: json.dumps(status.fields, allow_nan=False))
    if not out.isatty():
        return watch.follow(directory, say)
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(file=out), transient=True, auto_refresh=False) as live:
        return watch.follow(directory, lambda text: live.update(Text(printable(text)), refresh=True), every=0)


def report(
    directory: Annotated[str, typer.Argument(metavar="RUN", help="The directory of a run.")],
    *,
    csv: Annotated[
        bool, typer.Option("--csv", help="Write derivative.csv, evaluations.csv and a fit's residuals.csv too.")
    ] = False,
    show: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the page shows as JSON.")] = False,
    debug: Debug = False,  # noqa: ARG001  # see main()
) -> None:
    """Make report.html anew from what a run's directory holds, while it runs or after."""
    from distfd.reporting.run_data import read_run
    from distfd.reporting.write import write_report, write_tables
    from distfd.run_directory.directory import RunDirectory

    run = RunDirectory(Path(directory).absolute())
    made = [write_report(run), *(write_tables(run) if csv else ())]
    if as_json:
        from distfd.reporting.report_fields import report_fields

        say_json({**report_fields(read_run(run.path)), "files": [str(path) for path in made]})
    for path in () if as_json else made:
        say(str(path))
    if show:
        import webbrowser

        webbrowser.open(made[0].as_uri())


def init(
    *,
    command: Annotated[
        str | None, typer.Option("--command", help="A program and its arguments, as you type them: 'ccx beam'.")
    ] = None,
    deck: Annotated[
        list[str] | None,
        typer.Option("--deck", help="Its input file, with numbers marked {{ width = 0.3 }}; may be given again."),
    ] = None,
    fmu: Annotated[str | None, typer.Option("--fmu", help="An FMU, whose parameters and outputs are written.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="The YAML file to write; the others go beside it.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Where a file is there already, rename that to NAME.old; none is deleted.")
    ] = False,
    debug: Debug = False,  # noqa: ARG001  # see main()
) -> None:
    """Write a first configuration: with a small model, for a program, or for an FMU."""
    from distfd.cli.config_template import config_template
    from distfd.cli.deck_draft import draft
    from distfd.cli.draft import put_aside
    from distfd.cli.fmu_draft import fmu_draft
    from distfd.core.errors import InputError
    from distfd.core.files import write_named

    if command is None and deck:
        raise InputError("init: --deck needs the program that reads it: add --command 'solver deck.inp'")
    if fmu is not None and command is not None:
        raise InputError("init: give --command or --fmu, not both; each makes a configuration of its own")
    if fmu is not None:
        made = fmu_draft(fmu, to, force=force)
    else:
        made = config_template(to, force=force) if command is None else draft(command, deck or (), to, force=force)
    for path, text in made.files.items():
        if os.path.lexists(path):  # by --force
            say(f"put aside {path} as {put_aside(path)}")
        write_named(path, _writer(text))
    say(f"wrote {', '.join(map(str, made.files))}")
    then = "" if command is None else "change its outputs, then   "
    then = "" if command is None and fmu is None else then or "keep the parameters and outputs that matter, then   "
    say(f"next: {then}distfd run {made.config}{' --evaluate x0' if then else ''}")


def _writer(text: str) -> Callable[[IO[bytes]], object]:
    return lambda file: file.write(text.encode("utf-8", "surrogateescape"))


def doctor(
    config: Annotated[
        str | None, typer.Argument(metavar="CONFIG", help="A job, whose cluster, program and output are looked at.")
    ] = None,
    overrides: Overrides = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,  # noqa: ARG001  # see main()
) -> None:
    """Check all that runs depend on, and say what to do about it."""
    from distfd.config.load import load_config
    from distfd.doctor.examine import examine
    from distfd.doctor.finding import exit_code, findings_fields, findings_text

    found = examine(None if config is None else load_config(config, overrides or ()).config)
    if as_json:
        say(json.dumps(findings_fields(found), indent=1))
    else:
        say(findings_text(found))
    raise typer.Exit(exit_code(found))


def schema(*, debug: Debug = False) -> None:  # noqa: ARG001  # see main()
    """Print the JSON schema of configuration files, for editors."""
    from distfd.config.load import json_schema

    say(json.dumps(json_schema(), indent=1))


def say_json(fields: Any, indent: int | None = 1) -> None:
    """Print an answer for programs: what is not finite is null in it, and text is as it is, escaped as JSON does."""
    from distfd.run_directory.directory import plain

    say(json.dumps(plain(fields), indent=indent, allow_nan=False))


def say(text: str) -> None:
    """Print what was asked for."""
    print(printable(text), file=terminal.answers(), flush=True)
