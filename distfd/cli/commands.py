"""The command line."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distfd.cli import terminal
from distfd.cli.inspection_commands import add_commands, say, say_json
from distfd.cli.interrupts import guarded
from distfd.cli.listing_commands import add_listing
from distfd.cli.options import ConfigFile, Debug, LogFormat, Overrides, Quiet, examples
from distfd.cli.submit_command import add_submit
from distfd.cli.ui_command import add_ui, page_beside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distfd.jobs.forecast import Assumed
    from distfd.jobs.run import Job
    from distfd.observers.progress import Progress
    from distfd.run_directory.directory import RunDirectory


app = typer.Typer(
    name="distfd",
    epilog=examples("distfd init && distfd run config.yaml", "distfd COMMAND --help"),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def distfd(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Finite-difference derivatives of expensive black boxes, every evaluation a Ray task."""
    if version:
        from distfd.run_directory.result_fields import versions

        found = versions()
        say(f"distfd {found.pop('distfd', '')} ({', '.join(f'{name} {number}' for name, number in found.items())})")
        raise typer.Exit(0)


@app.command(
    epilog=examples(
        "distfd run job.yaml",
        "distfd run job.yaml derivative.scheme=central output=runs/central",
        "distfd run job.yaml --ui               with a live page in the browser",
        "distfd run job.yaml --evaluate x0      one evaluation, shown step by step",
    )
)
def run(
    config: ConfigFile,
    overrides: Overrides = None,
    *,
    fresh: Annotated[bool, typer.Option("--fresh", help="Rename an earlier run and begin a new one.")] = False,
    evaluate: Annotated[
        str | None,
        typer.Option(
            "--evaluate", metavar="X", help="Only evaluate J once, at x0 or 1,2,3, and show how; nothing is stored."
        ),
    ] = None,
    show_output: Annotated[
        bool, typer.Option("--show-output", help="Print what J prints, on standard error; else it is in output.log.")
    ] = False,
    ui: Annotated[bool, typer.Option("--ui", help="Show the run in the browser while it goes on.")] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="With --ui: only print the page's address.")] = False,
    quiet: Quiet = False,
    log_format: LogFormat = "text",
    debug: Debug = False,
) -> None:
    """Do what CONFIG says; run it again to resume."""
    from distfd.config.load import load_config

    if evaluate is not None:
        from distfd.jobs.single_evaluation import evaluate_once

        evaluate_once(load_config(config, overrides or ()), evaluate, say)
        return
    from distfd.cli.result_table import has_text, show_result
    from distfd.config.sections import SERIAL
    from distfd.core.errors import EvaluationError
    from distfd.jobs.run import Job
    from distfd.workers.emergency_exit import offer_emergency_exit

    with _progress(quiet, log_format, printing=show_output) as progress, contextlib.ExitStack() as page:
        loaded = load_config(config, overrides or ())

        def prepare(directory: RunDirectory) -> None:
            if not debug:
                serial = loaded.config.cluster.address == SERIAL  # then J alone prints
                terminal.divert(directory.printed if serial else directory.noise, show_output=show_output)
            progress.say(f"{loaded.config.task} of {loaded.path.name}")
            if ui:
                page.enter_context(page_beside(directory.path, progress.say, browser=not no_open))
            progress.hold("starting workers")

        job = Job(loaded, progress, progress.say, show_output=show_output, prepare=prepare)
        try:
            with offer_emergency_exit(lambda reason: _end_lost(job, reason)):
                result = job.run(fresh=fresh)
        except EvaluationError as error:
            printed = job.directory.printed
            note = f"\n  printed: what J printed is in {printed}" if has_text(printed) and not show_output else ""
            raise EvaluationError(f"{error}{note}", error.evaluation) from error
    with terminal.answering():
        show_result(result, job.directory)
    if result["status"] != "done":
        raise typer.Exit(3)


@contextlib.contextmanager
def _progress(quiet: bool, log_format: str, *, printing: bool = False) -> Iterator[Progress]:
    """The display of progress; no panel if J also prints to the terminal, as its output would break the panel."""
    from distfd.core.errors import InputError
    from distfd.observers.progress import Progress

    if log_format not in ("text", "json"):
        raise InputError(f"--log-format: must be text or json (given {log_format!r})")
    if log_format == "json":
        terminal.speak_json()
    style = "none" if quiet else "json" if log_format == "json" else "lines" if printing else "auto"
    with Progress(terminal.stream(), style=style) as progress:
        if quiet:
            yield progress
        else:
            with terminal.spoken_by(progress.say):
                yield progress


@app.command(
    epilog=examples(
        "distfd plan job.yaml derivative.scheme=central4",
        "distfd plan job.yaml --slots 10000 --duration 5min --spread 0.3",
        "distfd plan job.yaml --json",
    ),
    short_help="Show evaluations, rounds and resources without running any.",
)
def plan(
    config: ConfigFile,
    overrides: Overrides = None,
    *,
    slots: Annotated[int | None, typer.Option("--slots", help="Simulate the wave on so many slots.")] = None,
    duration: Annotated[
        str | None, typer.Option("--duration", help="Duration of one evaluation in it: seconds, or 5min.")
    ] = None,
    spread: Annotated[
        float, typer.Option("--spread", help="Standard deviation of the durations (lognormal) over their mean.")
    ] = 0.0,
    no_import: Annotated[
        bool, typer.Option("--no-import", help="Do not import the objective's module or look for its program.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,  # noqa: ARG001  # see main()
) -> None:
    """Show evaluations, rounds and resources; import the objective or look for its program, and run nothing."""
    from distfd.config.load import load_config
    from distfd.jobs.preview import plan_job

    loaded = load_config(config, overrides or ())
    planned = plan_job(loaded, _assumed(slots, duration, spread), no_import=no_import)
    if as_json:
        say_json(planned.fields)
    else:
        say(str(planned))


def _assumed(slots: int | None, duration: str | None, spread: float) -> Assumed | None:
    """The assumptions for a simulated wave; None if none is wanted."""
    if slots is None and duration is None and spread == 0:
        return None
    from distfd.core.errors import InputError
    from distfd.core.quantities import seconds
    from distfd.jobs.forecast import Assumed

    if slots is None or duration is None:
        raise InputError("plan: a simulated wave needs both --slots and --duration")
    try:
        each = float(duration) if duration.replace(".", "", 1).isdigit() else seconds(duration)
    except ValueError as error:
        raise InputError(f"--duration: {error}") from None
    return Assumed(slots, each, spread)


@app.command(epilog=examples("distfd validate job.yaml"), short_help="Check CONFIG and what it names; run nothing.")
def validate(
    config: ConfigFile,
    overrides: Overrides = None,
    *,
    no_import: Annotated[
        bool, typer.Option("--no-import", help="Do not import the objective's module or look for its program.")
    ] = False,
    debug: Debug = False,  # noqa: ARG001  # see main()
) -> None:
    """Check CONFIG and what its method takes, import its objective, look for its program; run nothing."""
    from distfd.config.load import load_config
    from distfd.jobs.build import check_solver, make_objective
    from distfd.jobs.preview import first_request

    loaded = load_config(config, overrides or ())
    problem = loaded.config.problem()
    check_solver(loaded, problem)
    if not no_import:
        objective = make_objective(loaded, problem)
        if objective.reads_text:  # writes J's inputs at all points of the derivative and compares them
            first_request(loaded, problem, objective)
    say(f"{config}: valid")


@app.command(
    epilog=examples("distfd check job.yaml", "distfd check job.yaml --coordinates mass,width --plot sweep.png"),
    short_help="Say whether the derivative can be trusted, and which step to set.",
)
def check(
    config: ConfigFile,
    overrides: Overrides = None,
    *,
    coordinates: Annotated[
        str | None,
        typer.Option("--coordinates", metavar="NAME,NAME", help="Which to sweep; by default up to 5, doubtful first."),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option("--tolerance", help="The relative error that is good enough; derivative.accuracy, or 0.01."),
    ] = None,
    plot: Annotated[
        str | None, typer.Option("--plot", metavar="FILE.png", help="Draw the step sweep (needs matplotlib).")
    ] = None,
    json_file: Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write what was found.")] = None,
    quiet: Quiet = False,
    log_format: LogFormat = "text",
    debug: Debug = False,
) -> None:
    """Measure the noise, sweep the step, and say whether the derivative can be trusted and which step to set."""
    from distfd.checks.check_report import check_text
    from distfd.config.load import load_config
    from distfd.jobs.check import check_job

    names = None if coordinates is None else [name.strip() for name in coordinates.split(",") if name.strip()]
    with _progress(quiet, log_format) as progress:
        loaded = load_config(config, overrides or ())
        if not debug:
            terminal.divert(Path(os.devnull))
        progress.hold("starting workers")
        found = check_job(
            loaded,
            coordinates=names,
            tolerance=tolerance,
            plot=plot,
            json_file=json_file,
            observer=progress,
            say=progress.say,
        )
    say(check_text(found))
    if found.result is not None and len(found.result.missing):
        raise typer.Exit(3)


add_commands(app)
add_listing(app)
add_ui(app)
add_submit(app)


def main() -> None:
    """Entry point: run a command and exit with its code."""
    terminal.open_streams()
    sys.exit(guarded(lambda: app(standalone_mode=False, prog_name="distfd"), debug="--debug" in sys.argv))


def _end_lost(job: Job, reason: str) -> None:
    """Ends the process after the cluster is lost, while Ray blocks the main thread for ever."""
    from distfd.core.errors import ClusterLostError

    job.lost(reason)
    terminal.error(reason, ClusterLostError.exit_code, debug=False)
    os._exit(ClusterLostError.exit_code)
