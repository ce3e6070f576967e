"""Exceptions by which a model says how an evaluation failed."""

from __future__ import annotations

from distfd.records import Status


class EvaluationFailure(Exception):  # noqa: N818  # a failure is data here, not an error of the program
    """An evaluation that failed in a known way; ``detail`` holds what the user will want to read."""

    status = Status.ERROR

    def __init__(self, text: str, detail: str = "") -> None:
        super().__init__(text)
        self.detail = detail
