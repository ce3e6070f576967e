"""Exceptions for failures of an external program, each with the status of the evaluation."""

from __future__ import annotations

from distfd.core.records import Status


class EvaluationFailure(Exception):  # noqa: N818  # a failed evaluation is data; EvaluationError is what the user sees
    """An evaluation that failed for a known reason.

    ``str(failure)`` is one line. Raised inside a worker, it becomes a `distfd.core.records.Failure`.

    Attributes
    ----------
    status : Status
        How the evaluation ended.
    detail : str
        The last lines of the program's output.
    """

    status = Status.ERROR

    def __init__(self, text: str, detail: str = "") -> None:
        # Only the text is an exception argument, so that str() is one line; pickling keeps detail in __dict__.
        super().__init__(text)
        self.detail = detail


class ProgramError(EvaluationFailure):
    """The program could not start, ended with an error, or left no usable output."""


class ProgramCrash(EvaluationFailure):
    """The program was ended by a signal."""

    status = Status.CRASH


class ProgramTimeout(EvaluationFailure):
    """The program was still running at the timeout, and was killed together with all processes that it had started."""

    status = Status.TIMEOUT
