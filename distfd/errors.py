"""The errors that distfd raises, each with the exit code that the command line answers with."""

from distfd.core.errors import (
    CancelledEvaluationError,
    ClusterError,
    ClusterLostError,
    ConfigError,
    DerivativeWarning,
    DistfdError,
    EvaluationError,
    InputError,
    MissingSimulatorError,
    StoreError,
    TimeUpError,
)

__all__ = [
    "CancelledEvaluationError",
    "ClusterError",
    "ClusterLostError",
    "ConfigError",
    "DerivativeWarning",
    "DistfdError",
    "EvaluationError",
    "InputError",
    "MissingSimulatorError",
    "StoreError",
    "TimeUpError",
]
