"""The command line."""

from distfd.cli.commands import main

__all__ = ["main"]
