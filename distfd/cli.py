"""The command line."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distfd import terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distfd.observers.display import Progress
    from distfd.rundir import RunDirectory


def examples(*commands: str) -> str:
    """What stands below a command's help; the first mark keeps its lines as they are."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)


_INTERRUPTED = "interrupted; what was finished is kept, and the same command again goes on from there"

app = typer.Typer(
    name="distfd",
    epilog=examples("distfd init && distfd run config.yaml", "distfd COMMAND --help"),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigFile = Annotated[str, typer.Argument(metavar="CONFIG", help="The YAML file that describes the job.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Values to put over the file's, such as derivative.step=1e-4."),
]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show distfd's own traceback where something fails, and what Ray says.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress: the result, warnings and errors alone.")]
LogFormat = Annotated[
    str, typer.Option("--log-format", metavar="text|json", help="json: progress and errors as an object a line.")
]


@app.callback(invoke_without_command=True)
def distfd(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Finite-difference derivatives of expensive black boxes, every evaluation a Ray task."""
    if version:
        from distfd.report import versions

        found = versions()
        _say(f"distfd {found.pop('distfd', '')} ({', '.join(f'{name} {number}' for name, number in found.items())})")
        raise typer.Exit(0)


@app.command(
    epilog=examples(
        "distfd run job.yaml",
        "distfd run job.yaml derivative.scheme=central output=runs/central",
        "distfd run job.yaml --evaluate x0      one evaluation, shown step by step",
    )
)
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
    show_output: Annotated[
        bool, typer.Option("--show-output", help="Print what J prints, on standard error; else it is in output.log.")
    ] = False,
    quiet: Quiet = False,
    log_format: LogFormat = "text",
    debug: Debug = False,
) -> None:
    """Do what CONFIG says; run it again to resume."""
    from distfd.config.load import load_config

    if evaluate is not None:
        from distfd.single import evaluate_once

        evaluate_once(load_config(config, overrides or ()), evaluate, _say)
        return
    from distfd.result_table import show_result
    from distfd.run import Job

    with _progress(quiet, log_format, printing=show_output) as progress:
        loaded = load_config(config, overrides or ())

        def prepare(directory: RunDirectory) -> None:
            if not debug:
                terminal.divert(directory.noise)
            progress.say(f"{loaded.config.task} of {loaded.path.name}")
            progress.hold("starting workers")

        job = Job(loaded, progress, progress.say, show_output=show_output, prepare=prepare)
        with terminal.outputs_shown() if show_output else contextlib.nullcontext():
            result = job.run(fresh=fresh)
    show_result(result, job.directory)
    if result["status"] != "done":
        raise typer.Exit(3)


@contextlib.contextmanager
def _progress(quiet: bool, log_format: str, *, printing: bool = False) -> Iterator[Progress]:
    """What shows how far the command is; where J prints too, not in a panel that this would tear."""
    from distfd.errors import InputError
    from distfd.observers.display import Progress

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


@app.command(epilog=examples("distfd plan job.yaml derivative.scheme=central4"))
def plan(config: ConfigFile, overrides: Overrides = None, *, debug: Debug = False) -> None:  # noqa: ARG001  # see main()
    """Show evaluations, rounds and resources without running any."""
    from distfd.config.load import load_config
    from distfd.preview import preview

    print(preview(load_config(config, overrides or ())))  # noqa: T201  # the answer


@app.command(epilog=examples("distfd validate job.yaml"))
def validate(
    config: ConfigFile,
    overrides: Overrides = None,
    *,
    no_import: Annotated[
        bool, typer.Option("--no-import", help="Do not import the objective's module or look for its program.")
    ] = False,
    debug: Debug = False,  # noqa: ARG001  # see main()
) -> None:
    """Check CONFIG, import its objective, look for its program; run nothing."""
    from distfd.config.load import load_config

    loaded = load_config(config, overrides or ())
    if not no_import:
        from distfd.build import make_objective

        make_objective(loaded, loaded.config.problem())
    print(f"{config}: valid")  # noqa: T201  # the answer


@app.command(
    epilog=examples("distfd check job.yaml", "distfd check job.yaml --coordinates mass,width --plot sweep.png")
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
    from distfd.check_job import check_job
    from distfd.check_report import check_text
    from distfd.config.load import load_config

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
    print(check_text(found))  # noqa: T201  # the answer
    if found.result is not None and len(found.result.missing):
        raise typer.Exit(3)


@app.command(epilog=examples("distfd status runs/quickstart", "distfd status runs/quickstart --follow"))
def status(
    directory: Annotated[str, typer.Argument(metavar="RUN", help="The directory of a run.")],
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run ends, and exit with its code.")
    ] = False,
    debug: Debug = False,  # noqa: ARG001  # see main()
) -> None:
    """Tell how far a run is, without disturbing it."""
    from distfd import watch

    if not follow:
        _say(str(watch.run_status(directory)))
        return
    try:
        ended = watch.follow(directory, _say)
    except KeyboardInterrupt:  # of the watching, not of the run
        raise typer.Exit(130) from None
    _say(str(ended))
    raise typer.Exit(ended.exit_code)


@app.command(
    epilog=examples("distfd init && distfd run config.yaml", "distfd init --command 'solver deck.inp' --deck deck.inp")
)
def init(
    *,
    command: Annotated[
        str | None, typer.Option("--command", help="A program and its arguments, as you type them: 'ccx beam'.")
    ] = None,
    deck: Annotated[
        list[str] | None,
        typer.Option("--deck", help="Its input file, with numbers marked {{ width = 0.3 }}; may be given again."),
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="The YAML file to write; the others go beside it.")] = None,
    debug: Debug = False,  # noqa: ARG001  # see main()
) -> None:
    """Write a first configuration: with a small model, or for a program."""
    from distfd.draft import draft
    from distfd.errors import InputError
    from distfd.starter import starter

    if command is None and deck:
        raise InputError("init: say what reads the deck: --command 'solver deck.inp'")
    made = starter(to) if command is None else draft(command, deck or (), to)
    for path, text in made.files.items():
        path.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
    _say(f"wrote {', '.join(map(str, made.files))}")
    then = "" if command is None else "change its outputs, then   "
    _say(f"next: {then}distfd run {made.config}{'' if command is None else ' --evaluate x0'}")


@app.command(epilog=examples("distfd doctor", "distfd doctor job.yaml", "distfd doctor --json"))
def doctor(
    config: Annotated[
        str | None, typer.Argument(metavar="CONFIG", help="A job, whose cluster, program and output are looked at.")
    ] = None,
    overrides: Overrides = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,  # noqa: ARG001  # see main()
) -> None:
    """Look at all that runs depend on, and say what to do about it."""
    from distfd.config.load import load_config
    from distfd.doctor.examine import examine
    from distfd.doctor.finding import exit_code, findings_fields, findings_text

    found = examine(None if config is None else load_config(config, overrides or ()).config)
    if as_json:
        import json

        _say(json.dumps(findings_fields(found), indent=1))
    else:
        _say(findings_text(found))
    raise typer.Exit(exit_code(found))


@app.command(epilog=examples("distfd schema > distfd.schema.json"))
def schema(*, debug: Debug = False) -> None:  # noqa: ARG001  # see main()
    """Print the JSON schema of configuration files, for editors."""
    import json

    from distfd.config.load import json_schema

    _say(json.dumps(json_schema(), indent=1))


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # the answer


def main() -> None:
    """Entry point: run a command and exit with its code."""
    sys.exit(_guarded(lambda: app(standalone_mode=False, prog_name="distfd"), debug="--debug" in sys.argv))


def _guarded(command: Callable[[], Any], *, debug: bool) -> int:  # noqa: PLR0911  # one return an exit code
    """Run a command; whatever it raises becomes a message and an exit code."""
    from distfd.errors import DistfdError

    warnings.showwarning = terminal.show_warning
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
    terminal.error(text, code, debug=debug)
    return code


def _terminated(signum: int, frame: object) -> None:  # noqa: ARG001  # as signal calls it
    """End as with Ctrl-C: children dead, store closed, resumable."""
    raise KeyboardInterrupt
