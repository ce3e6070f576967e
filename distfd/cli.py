"""The command line."""

from __future__ import annotations

import contextlib
import signal
import sys
import traceback
import warnings
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

_INTERRUPTED = "interrupted; what was finished is kept, and the same command again goes on from there"

app = typer.Typer(
    name="distfd",
    help="Finite-difference derivatives of expensive black boxes, every evaluation a Ray task.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigFile = Annotated[str, typer.Argument(metavar="CONFIG", help="The YAML file that describes the job.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Values to put over the file's, such as derivative.step=1e-4."),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show distfd's own traceback where something fails.")]


@app.command()
def run(
    config: ConfigFile,
    overrides: Overrides = None,
    *,
    fresh: Annotated[bool, typer.Option("--fresh", help="Put an earlier run aside and begin anew.")] = False,
    evaluate: Annotated[
        str | None,
        typer.Option(
            "--evaluate", metavar="X", help="Only evaluate J once, at x0 or 1,2,3, and show how; nothing is stored."
        ),
    ] = None,
    debug: Debug = False,  # noqa: ARG001  # read by main()
) -> None:
    """Do what CONFIG says; run it again to resume."""
    from distfd.config.load import load_config

    if evaluate is not None:
        from distfd.single import evaluate_once

        evaluate_once(load_config(config, overrides or ()), evaluate, _say)
        return
    from distfd.observers.progress import ProgressLines
    from distfd.report import summary
    from distfd.run import Job

    progress = ProgressLines()
    result = Job(load_config(config, overrides or ()), progress, progress.say).run(fresh=fresh)
    print(summary(result))  # noqa: T201  # the result is what standard output is for
    if result["status"] != "done":
        raise typer.Exit(3)


@app.command()
def plan(config: ConfigFile, overrides: Overrides = None, *, debug: Debug = False) -> None:  # noqa: ARG001  # see run
    """Show evaluations, rounds and resources without running any."""
    from distfd.config.load import load_config
    from distfd.preview import preview

    print(preview(load_config(config, overrides or ())))  # noqa: T201  # the answer


@app.command()
def validate(
    config: ConfigFile,
    overrides: Overrides = None,
    *,
    no_import: Annotated[
        bool, typer.Option("--no-import", help="Do not import the objective's module or look for its program.")
    ] = False,
    debug: Debug = False,  # noqa: ARG001  # see run
) -> None:
    """Check CONFIG, import its objective, look for its program; run nothing."""
    from distfd.config.load import load_config

    loaded = load_config(config, overrides or ())
    if not no_import:
        from distfd.build import make_objective

        make_objective(loaded, loaded.config.problem())
    print(f"{config}: valid")  # noqa: T201  # the answer


@app.command()
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
    debug: Debug = False,  # noqa: ARG001  # see run
) -> None:
    """Measure the noise, sweep the step, and say whether the derivative can be trusted and which step to set."""
    from distfd.check_job import check_job
    from distfd.check_report import check_text
    from distfd.config.load import load_config
    from distfd.observers.progress import ProgressLines

    progress = ProgressLines()
    found = check_job(
        load_config(config, overrides or ()),
        coordinates=None if coordinates is None else [name.strip() for name in coordinates.split(",") if name.strip()],
        tolerance=tolerance,
        plot=plot,
        json_file=json_file,
        observer=progress,
        say=progress.say,
    )
    print(check_text(found))  # noqa: T201  # the answer
    if found.result is not None and len(found.result.missing):
        raise typer.Exit(3)


@app.command()
def status(
    directory: Annotated[str, typer.Argument(metavar="RUN", help="The directory of a run.")],
    *,
    debug: Debug = False,  # noqa: ARG001  # see run
) -> None:
    """Tell how far a run is, without disturbing it."""
    from distfd.preview import status_text

    print(status_text(directory))  # noqa: T201  # the answer


@app.command()
def report(
    directory: Annotated[str, typer.Argument(metavar="RUN", help="The directory of a run.")],
    *,
    csv: Annotated[bool, typer.Option("--csv", help="Write derivative.csv and evaluations.csv there as well.")] = False,
    show: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
    debug: Debug = False,  # noqa: ARG001  # see run
) -> None:
    """Make report.html anew from what a run's directory holds, while it runs or after."""
    from pathlib import Path

    from distfd.reporting.write import write_report, write_tables
    from distfd.rundir import RunDirectory

    run = RunDirectory(Path(directory).absolute())
    made = [write_report(run), *(write_tables(run) if csv else ())]
    for path in made:
        _say(str(path))
    if show:
        import webbrowser

        webbrowser.open(made[0].as_uri())


@app.command()
def init(
    *,
    command: Annotated[
        str | None, typer.Option("--command", help="The program and its arguments, as you type them: 'ccx beam'.")
    ] = None,
    deck: Annotated[
        list[str] | None,
        typer.Option("--deck", help="Its input file, with numbers marked {{ width = 0.3 }}; may be given again."),
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="The YAML file to write; templates go beside it.")] = None,
    debug: Debug = False,  # noqa: ARG001  # see run
) -> None:
    """Draft a configuration for a program from its input files."""
    from distfd.draft import draft
    from distfd.errors import InputError

    if command is None:
        raise InputError("init: say what to run: --command 'solver deck.inp' --deck deck.inp")
    made = draft(command, deck or (), to)
    for path, text in made.files.items():
        path.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
    _say(f"wrote {', '.join(map(str, made.files))}")
    _say(f"next: change its outputs, then   distfd run {made.config} --evaluate x0")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # the answer


def main() -> None:
    """Entry point: run a command and exit with its code."""
    sys.exit(_guarded(lambda: app(standalone_mode=False), debug="--debug" in sys.argv))


def _guarded(command: Callable[[], Any], *, debug: bool) -> int:  # noqa: PLR0911  # one return an exit code
    """Run a command; whatever it raises becomes a message and an exit code."""
    from distfd.errors import DistfdError

    warnings.showwarning = _show_warning
    signal.signal(signal.SIGTERM, _terminated)
    try:
        code = int(command() or 0)
    except typer.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _fail(_INTERRUPTED, 130, debug=debug)
    except DistfdError as error:
        return _fail(str(error), error.exit_code, debug=debug)
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            # A mistake in the command itself. Its class has another home in each version of typer.
            error.show()
            return int(error.exit_code)
        text = f"this is a bug in distfd: {type(error).__name__}: {error}\nplease report it with what --debug shows"
        return _fail(text, 1, debug=debug)
    if code == 130:  # typer answers so where it caught the interrupt itself
        return _fail(_INTERRUPTED, 130, debug=False)
    # What there was to do is done: a signal from here on could only spoil the ending.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


def _fail(text: str, code: int, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"distfd: {text}", file=sys.stderr)  # noqa: T201  # the answer
    return code


def _terminated(signum: int, frame: object) -> None:  # noqa: ARG001  # as signal calls it
    """End as with Ctrl-C: children dead, store closed, resumable."""
    raise KeyboardInterrupt


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    with contextlib.suppress(OSError):  # nobody reads standard error any more, which ends nothing
        print(f"warning: {message}", file=sys.stderr)  # noqa: T201  # for the user, not for a log
