"""The errors that distfd raises, each with the exit code of the command line."""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distfd.core.records import Evaluation


class DistfdError(Exception):
    """Base of all errors that distfd raises on purpose."""

    exit_code = 1


class InputError(DistfdError, ValueError):
    """An argument, option or configuration value that cannot be used."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration file or override that cannot be used; says file, line, column and key."""


class MissingSimulatorError(InputError):
    """The program or module that computes J is not installed; says what to install."""


class EvaluationError(DistfdError):
    """One or more evaluations of J failed for good.

    Attributes
    ----------
    evaluation : Evaluation or None
        The record of the failed evaluation that the message describes.
    missing : sequence of int
        Coordinates that failed points were to serve; all of the request's where J has no value at x itself.
    value : float or (m,) ndarray, optional
        J(x), where that is known.
    """

    exit_code = 3

    def __init__(
        self, message: str, evaluation: Evaluation | None = None, missing: Sequence[int] = (), value: Any = None
    ) -> None:
        super().__init__(message)
        self.evaluation = evaluation
        self.missing = missing
        self.value = value


class CancelledEvaluationError(InputError, CancelledError):
    """The result of an evaluation was asked for that had been cancelled; a concurrent.futures.CancelledError too."""


class ClusterError(DistfdError):
    """The Ray cluster cannot be reached, was lost, or can never fit an evaluation."""

    exit_code = 4


class ClusterLostError(ClusterError):
    """The Ray cluster was there and is gone, or answers no more; what was finished is kept."""


class TimeUpError(DistfdError):
    """The time of the job is up before all was evaluated; what was finished is kept, and the same call goes on."""

    exit_code = 130


class StoreError(DistfdError):
    """The store cannot be read, written or locked."""

    exit_code = 5


class DerivativeWarning(UserWarning):
    """A derivative was computed, and there is reason to doubt it.

    Attributes
    ----------
    result : DerivativeResult or None
        The derivative, for whoever has warnings raised as errors and would otherwise lose what it took to compute it.
    """

    result: Any = None
