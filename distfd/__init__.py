"""distfd: finite-difference derivatives of expensive black boxes, every evaluation a Ray task."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distfd import plot as plot
    from distfd.api import (
        differentiate,
        directional,
        gradient,
        hessian,
        hvp,
        jacobian,
        jvp,
        noise_level,
        value_and_gradient,
    )
    from distfd.checking import step_sweep
    from distfd.errors import (
        ClusterError,
        ConfigError,
        DerivativeWarning,
        DistfdError,
        EvaluationError,
        InputError,
        MissingSimulatorError,
        StoreError,
    )
    from distfd.evaluator import Evaluator
    from distfd.executors.ray import RayExecutor
    from distfd.executors.serial import SerialExecutor
    from distfd.gradient_check import GradientCheck, check_gradient
    from distfd.numerics.noise_result import NoiseResult
    from distfd.numerics.stencils import Stencil
    from distfd.numerics.steps import AbsoluteStep, NoiseStep
    from distfd.numerics.sweep_result import StepSweep
    from distfd.objectives.command import CommandObjective
    from distfd.observers.display import Progress
    from distfd.optimize import least_squares, minimize
    from distfd.optimizing.constraints import Outputs
    from distfd.optimizing.limits import Limits
    from distfd.pending import Pending
    from distfd.records import Evaluation, Status
    from distfd.results import DerivativeResult
    from distfd.scipy_derivative import approx_derivative

__version__ = "0.1.0"

_HOMES = {
    "AbsoluteStep": "distfd.numerics.steps",
    "ClusterError": "distfd.errors",
    "CommandObjective": "distfd.objectives.command",
    "ConfigError": "distfd.errors",
    "DerivativeResult": "distfd.results",
    "DerivativeWarning": "distfd.errors",
    "DistfdError": "distfd.errors",
    "Evaluation": "distfd.records",
    "EvaluationError": "distfd.errors",
    "Evaluator": "distfd.evaluator",
    "GradientCheck": "distfd.gradient_check",
    "InputError": "distfd.errors",
    "Limits": "distfd.optimizing.limits",
    "MissingSimulatorError": "distfd.errors",
    "NoiseResult": "distfd.numerics.noise_result",
    "NoiseStep": "distfd.numerics.steps",
    "Outputs": "distfd.optimizing.constraints",
    "Pending": "distfd.pending",
    "Progress": "distfd.observers.display",
    "RayExecutor": "distfd.executors.ray",
    "SerialExecutor": "distfd.executors.serial",
    "Status": "distfd.records",
    "Stencil": "distfd.numerics.stencils",
    "StepSweep": "distfd.numerics.sweep_result",
    "StoreError": "distfd.errors",
    "approx_derivative": "distfd.scipy_derivative",
    "check_gradient": "distfd.gradient_check",
    "differentiate": "distfd.api",
    "directional": "distfd.api",
    "gradient": "distfd.api",
    "hessian": "distfd.api",
    "hvp": "distfd.api",
    "jacobian": "distfd.api",
    "jvp": "distfd.api",
    "least_squares": "distfd.optimize",
    "minimize": "distfd.optimize",
    "noise_level": "distfd.api",
    "step_sweep": "distfd.checking",
    "value_and_gradient": "distfd.api",
}

__all__ = [
    "AbsoluteStep",
    "ClusterError",
    "CommandObjective",
    "ConfigError",
    "DerivativeResult",
    "DerivativeWarning",
    "DistfdError",
    "Evaluation",
    "EvaluationError",
    "Evaluator",
    "GradientCheck",
    "InputError",
    "Limits",
    "MissingSimulatorError",
    "NoiseResult",
    "NoiseStep",
    "Outputs",
    "Pending",
    "Progress",
    "RayExecutor",
    "SerialExecutor",
    "Status",
    "Stencil",
    "StepSweep",
    "StoreError",
    "__version__",
    "approx_derivative",
    "check_gradient",
    "differentiate",
    "directional",
    "gradient",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "least_squares",
    "minimize",
    "noise_level",
    "step_sweep",
    "value_and_gradient",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import distfd`` costs next to nothing."""
    if name == "plot":
        # A module, and so no public name of its own; it is there without an import of its own.
        return importlib.import_module("distfd.plot")
    if name not in _HOMES:
        raise AttributeError(f"module 'distfd' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
