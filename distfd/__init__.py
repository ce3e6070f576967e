"""distfd: finite-difference derivatives of expensive black boxes, every evaluation a Ray task."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distfd import plot as plot
    from distfd.checks.derivative_check import step_sweep
    from distfd.checks.gradient_check import GradientCheck, check_gradient
    from distfd.core.errors import (
        ClusterError,
        ConfigError,
        DerivativeWarning,
        DistfdError,
        EvaluationError,
        InputError,
        MissingSimulatorError,
        StoreError,
        TimeUpError,
    )
    from distfd.core.records import Evaluation, Status
    from distfd.differentiation.consistency import Consistency
    from distfd.differentiation.noise_result import NoiseResult
    from distfd.differentiation.stencils import Stencil
    from distfd.differentiation.steps import AbsoluteStep, NoiseStep
    from distfd.differentiation.sweep_result import StepSweep
    from distfd.evaluation.api import (
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
    from distfd.evaluation.derivative_future import Pending
    from distfd.evaluation.evaluator import Evaluator
    from distfd.evaluation.sensitivity import sensitivity
    from distfd.executors.ray.executor import RayExecutor, shutdown
    from distfd.executors.serial import SerialExecutor
    from distfd.integrations.scipy_derivative import approx_derivative
    from distfd.objectives.command.objective import CommandObjective
    from distfd.objectives.fmu.objective import FMUObjective
    from distfd.observers.progress import Progress
    from distfd.optimization.constraints import Outputs
    from distfd.optimization.curve_fit import curve_fit
    from distfd.optimization.least_squares import least_squares
    from distfd.optimization.limits import Limits
    from distfd.optimization.minimize import minimize
    from distfd.results.derivative_result import DerivativeResult
    from distfd.results.sensitivity_result import SensitivityResult

__version__ = "0.1.0"

_HOMES = {
    "AbsoluteStep": "distfd.differentiation.steps",
    "ClusterError": "distfd.core.errors",
    "CommandObjective": "distfd.objectives.command.objective",
    "ConfigError": "distfd.core.errors",
    "Consistency": "distfd.differentiation.consistency",
    "DerivativeResult": "distfd.results.derivative_result",
    "DerivativeWarning": "distfd.core.errors",
    "DistfdError": "distfd.core.errors",
    "Evaluation": "distfd.core.records",
    "EvaluationError": "distfd.core.errors",
    "Evaluator": "distfd.evaluation.evaluator",
    "FMUObjective": "distfd.objectives.fmu.objective",
    "GradientCheck": "distfd.checks.gradient_check",
    "InputError": "distfd.core.errors",
    "Limits": "distfd.optimization.limits",
    "MissingSimulatorError": "distfd.core.errors",
    "NoiseResult": "distfd.differentiation.noise_result",
    "NoiseStep": "distfd.differentiation.steps",
    "Outputs": "distfd.optimization.constraints",
    "Pending": "distfd.evaluation.derivative_future",
    "Progress": "distfd.observers.progress",
    "RayExecutor": "distfd.executors.ray.executor",
    "SensitivityResult": "distfd.results.sensitivity_result",
    "SerialExecutor": "distfd.executors.serial",
    "Status": "distfd.core.records",
    "Stencil": "distfd.differentiation.stencils",
    "StepSweep": "distfd.differentiation.sweep_result",
    "StoreError": "distfd.core.errors",
    "TimeUpError": "distfd.core.errors",
    "approx_derivative": "distfd.integrations.scipy_derivative",
    "check_gradient": "distfd.checks.gradient_check",
    "curve_fit": "distfd.optimization.curve_fit",
    "differentiate": "distfd.evaluation.api",
    "directional": "distfd.evaluation.api",
    "gradient": "distfd.evaluation.api",
    "hessian": "distfd.evaluation.api",
    "hvp": "distfd.evaluation.api",
    "jacobian": "distfd.evaluation.api",
    "jvp": "distfd.evaluation.api",
    "least_squares": "distfd.optimization.least_squares",
    "minimize": "distfd.optimization.minimize",
    "noise_level": "distfd.evaluation.api",
    "sensitivity": "distfd.evaluation.sensitivity",
    "shutdown": "distfd.executors.ray.executor",
    "step_sweep": "distfd.checks.derivative_check",
    "value_and_gradient": "distfd.evaluation.api",
}

__all__ = [
    "AbsoluteStep",
    "ClusterError",
    "CommandObjective",
    "ConfigError",
    "Consistency",
    "DerivativeResult",
    "DerivativeWarning",
    "DistfdError",
    "Evaluation",
    "EvaluationError",
    "Evaluator",
    "FMUObjective",
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
    "SensitivityResult",
    "SerialExecutor",
    "Status",
    "Stencil",
    "StepSweep",
    "StoreError",
    "TimeUpError",
    "__version__",
    "approx_derivative",
    "check_gradient",
    "curve_fit",
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
    "sensitivity",
    "shutdown",
    "step_sweep",
    "value_and_gradient",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import distfd`` costs next to nothing."""
    if name in ("plot", "events", "errors"):
        # Modules, and so no public names of their own; they are there without an import of their own.
        return importlib.import_module(f"distfd.{name}")
    if name not in _HOMES:
        from distfd.core.other_names import what_to_call

        raise AttributeError(f"module 'distfd' has no attribute {name!r}{what_to_call(name, __all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
