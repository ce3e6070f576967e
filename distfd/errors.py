"""The errors that distfd raises, each with the exit code that the command line answers with."""

from distfd.core.errors import (
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
