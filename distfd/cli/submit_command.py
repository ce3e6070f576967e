"""The command that hands a job to a cluster."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from distfd.cli.inspection_commands import say
from distfd.cli.options import ConfigFile, Debug, Overrides, examples


def add_submit(app: typer.Typer) -> None:
    """Give the app this command."""
    app.command(
        epilog=examples(
            "distfd submit job.yaml --to http://head:8265",
            "distfd submit job.yaml --to slurm launch.slurm.nodes=4",
            "distfd submit job.yaml --to kuberay --dry-run > rayjob.yaml",
        ),
        short_help="Run CONFIG on a cluster, and bring its run's directory back.",
    )(submit)


def submit(
    config: ConfigFile,
    overrides: Overrides = None,
    *,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="WHERE",
            help="http://HEAD:8265 or ray://HEAD:10001 of Ray, slurm, or kuberay.  [required]",
            show_default=False,
        ),
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be submitted, and do nothing.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Do not follow the job; the same command can later.")
    ] = False,
    debug: Debug = False,  # noqa: ARG001  # see main()
) -> None:
    """Run CONFIG on a cluster: submit it, follow its log, and bring its run's directory back."""
    from distfd.config.load import load_config
    from distfd.launch.submission import Submission
    from distfd.launch.submit import make_launcher
    from distfd.launch.submit import submit as hand_over

    loaded = load_config(config, overrides or ())
    if dry_run:
        say(make_launcher(Submission(loaded, tuple(overrides or ())), to).describe().rstrip("\n"))
        return
    code, _ = hand_over(loaded, overrides or (), to, follow=not detach, say=say, ask=_ask)
    raise typer.Exit(code)


def _ask(question: str) -> bool:
    """Yes only from somebody who is there to say so."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    try:
        return typer.confirm(f"\n{question}", err=True)
    except (typer.Abort, KeyboardInterrupt):  # Ctrl-C once more: leave it
        return False
