"""Makes the objective and the Evaluator that a configuration describes."""

from __future__ import annotations

import contextlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from distfd.config.npy_vectors import read_numbers
from distfd.config.sections import SERIAL
from distfd.core.errors import InputError, MissingSimulatorError
from distfd.differentiation.stencils import resolve_scheme
from distfd.differentiation.steps import AbsoluteStep, MixedStep, nominal_steps
from distfd.evaluation.evaluator import Evaluator
from distfd.executors.serial import SerialExecutor
from distfd.objectives.command.objective import CommandObjective, unused_parameters
from distfd.objectives.fmu.objective import FMUObjective
from distfd.objectives.function import PythonObjective, load_name
from distfd.objectives.simulator import SimulatorObjective
from distfd.optimization.method_options import check_fit_options, check_options
from distfd.run_directory.directory import RunDirectory
from distfd.workers.recycle import Recycle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distfd.config.load import LoadedConfig
    from distfd.config.problem import Problem
    from distfd.config.schema import Config
    from distfd.executors.base import Executor
    from distfd.objectives.base import Objective
    from distfd.observers.base import Observer
    from distfd.stores.base import Store


def make_objective(loaded: LoadedConfig, problem: Problem, work: Path | None = None) -> Objective:
    """The objective J; its module is imported, or its program is looked for.

    Parameters
    ----------
    work : Path, optional
        The folder for the work directories of external programs.

    Raises
    ------
    MissingSimulatorError
        If the module or program does not exist.
    InputError
        If it exists but cannot be used.
    """
    given = loaded.config.objective
    kind = next(kind for kind in ("python", "simulator", "command", "fmu") if getattr(given, kind) is not None)
    try:
        if given.python is not None:
            return PythonObjective(_function(given.python, loaded.folder), given.args, given.kwargs, given.version)
        if given.simulator is not None:
            simulator = _simulator(given.simulator, loaded.folder)
            return SimulatorObjective(simulator, given.args, given.kwargs, given.version)
        if given.fmu is not None:
            return _fmu(loaded, problem)
        return _command(loaded, problem, work)
    except InputError as error:
        if kind == "command" and not isinstance(error, MissingSimulatorError):
            raise  # the error is about a file, and names the place itself
        raise type(error)(loaded.mistake(("objective", kind), str(error))) from error


def _function(name: str, folder: Path) -> Callable[..., Any]:
    fun = load_name(name, folder)
    if inspect.isclass(fun) and hasattr(fun, "evaluate"):
        raise InputError(f"{name} is a simulator class; write objective.simulator")
    if not callable(fun):
        raise InputError(f"{name} is a {type(fun).__name__} and cannot be called")
    return cast("Callable[..., Any]", fun)


def _simulator(name: str, folder: Path) -> type[Any]:
    simulator = load_name(name, folder)
    if not inspect.isclass(simulator) or not hasattr(simulator, "evaluate"):
        raise InputError(f"{name} is not a class with a method evaluate(x); a function goes under objective.python")
    return simulator


def make_evaluator(
    config: Config,
    problem: Problem,
    objective: Objective,
    *,
    executor: Executor | None = None,
    store: Store | None = None,
    observers: Sequence[Observer] = (),
) -> Evaluator:
    """The Evaluator of a configuration; its executor follows from ``cluster``, unless one is given."""
    evaluation = config.evaluation
    return Evaluator(
        objective,
        scheme=config.derivative.scheme,
        step=steps(config, problem),
        bounds=_bounds(problem),
        scale=None if np.isnan(problem.scale).all() else problem.scale,
        executor=executor or make_executor(config),
        store=store,
        accuracy=config.derivative.accuracy,
        timeout=evaluation.timeout,
        retries=evaluation.retries.model_dump(),
        on_failure=evaluation.on_failure,
        deterministic=config.duplicates,
        observers=observers,
        names=problem.names,
        warm=config.objective.warm,
        recycle=Recycle(**evaluation.recycle.model_dump()),
        setup_timeout=evaluation.setup_timeout,
        check=config.derivative.check,
    )


def check_solver(loaded: LoadedConfig, problem: Problem) -> None:
    """Checks that the method of an optimisation takes its options.

    Raises
    ------
    InputError
        If it does not.
    """
    task, wanted, d = loaded.config.task, loaded.config.minimize, len(problem.x0)
    if task not in ("minimize", "least_squares"):
        return
    try:
        if task == "minimize":
            check_options(wanted.method, with_arrays(wanted.options), d, wanted.tolerance)
        else:
            check_fit_options(wanted.method, d, tolerance=wanted.tolerance, **fit_arguments(wanted.options))
    except InputError as error:
        raise InputError(loaded.mistake(("minimize", "options"), str(error).removeprefix("options: "))) from error


def fit_arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """``minimize.options`` of a fit as keywords of distfd's function, where some are arguments of their own."""
    given = with_arrays(options)
    apart: dict[str, Any] = {key: given[key] for key in ("loss", "f_scale", "x_scale") if key in given}
    return {**apart, "options": {key: value for key, value in given.items() if key not in apart}}


def sigma_of(config: Config) -> Any:
    """Standard deviations of a fit's residuals: None, a number, or an array."""
    command = config.objective.command
    given = config.minimize.sigma if command is None else command.sigma
    return read_numbers(given) if isinstance(given, str) else given


def steps_beyond_x(config: Config, problem: Problem) -> str:
    """A warning about default steps that are larger than the parameter itself; empty if there are none."""
    if config.task == "noise" or config.derivative.step is not None or config.derivative.accuracy is not None:
        return ""
    stencil = resolve_scheme(config.derivative.scheme)
    if stencil.imaginary:
        return ""
    h = np.abs(nominal_steps(problem.x0, stencil, None, None))
    given = np.isfinite(problem.scale) | np.isfinite(problem.absolute) | np.isfinite(problem.step)
    rows = np.flatnonzero((h > np.abs(problem.x0)) & (problem.x0 != 0) & ~given & ~problem.fixed)
    if not len(rows):
        return ""
    k = int(rows[0])
    name, x = problem.names[k], float(problem.x0[k])
    more = f", and so for {len(rows) - 1} more" if len(rows) > 1 else ""
    return (
        f"the default step of {name} is {h[k]:.2g}, and {name} itself is {x:.3g}: say how large it typically is, "
        f"{{name: {name}, value: {x!r}, scale: {abs(x):.1e}}}{more}"
    )


def unused_sigma(config: Config) -> str:
    """A warning about a program's sigma that the task does not use; empty if there is none."""
    command = config.objective.command
    if command is None or command.sigma is None or config.task == "least_squares":
        return ""
    return f"objective.command.sigma is for task least_squares; task {config.task} takes the outputs as value says"


def with_arrays(options: Mapping[str, Any]) -> dict[str, Any]:
    """``minimize.options`` with lists of numbers as arrays, which some of SciPy's methods require."""
    given = dict(options)
    for key, value in options.items():
        with contextlib.suppress(TypeError, ValueError):  # not numbers, or rows of different lengths
            given[key] = np.array(value, dtype=np.float64) if isinstance(value, (list, tuple)) else value
    return given


def movable(problem: Problem) -> tuple[list[float], list[float]]:
    """Lower and upper bounds, both equal to x for a fixed coordinate."""
    lower = np.where(problem.fixed, problem.x0, problem.lower)
    upper = np.where(problem.fixed, problem.x0, problem.upper)
    return lower.tolist(), upper.tolist()


def _bounds(problem: Problem) -> Any:
    """The bounds as pairs; if both of two coordinates are fixed, as Bounds, which cannot be mistaken for arrays."""
    lower, upper = movable(problem)
    if len(lower) == 2 and lower == upper:
        from scipy.optimize import Bounds

        return Bounds(lower, upper)
    return list(zip(lower, upper, strict=True))


def steps(config: Config, problem: Problem) -> Any:
    """``derivative.step``, with parameters' own steps of the same kind inserted."""
    given: Any = config.derivative.step
    if given == "auto":
        has_own = ~(np.isnan(problem.step) & np.isnan(problem.absolute))
        if has_own.any():
            first = problem.names[int(np.flatnonzero(has_own)[0])]
            raise InputError(
                f"derivative.step: auto finds the step of every parameter, but {first} has a step of its own; "
                "remove one of them"
            )
        return given
    absolute = hasattr(given, "absolute")
    common = given.absolute if absolute else given
    own = ~np.isnan(problem.step)
    if not own.any():
        numbers = common if common is None else np.asarray(common, dtype=float)
    else:
        rest = np.full(problem.x0.shape, np.nan) if common is None else np.broadcast_to(common, problem.x0.shape)
        numbers = np.where(own, problem.step, rest)
    if np.isnan(problem.absolute).all():
        return AbsoluteStep(numbers) if absolute and numbers is not None else numbers
    if absolute and numbers is not None:
        return AbsoluteStep(np.where(np.isnan(problem.absolute), numbers, problem.absolute))
    return MixedStep(problem.absolute, numbers)


def make_executor(config: Config, *, show_output: bool = False) -> Executor:
    """The executor by ``cluster`` and ``resources``: Ray or this process; J's output is shown only if asked for."""
    cluster = config.cluster
    if cluster.address == SERIAL:
        return SerialExecutor(num_threads=max(1, int(config.resources.num_cpus)))
    from distfd.executors.ray.executor import RayExecutor

    return RayExecutor(
        address=cluster.address,
        num_cpus=cluster.num_cpus,
        max_slots=cluster.max_slots,
        request_slots=cluster.request_slots,
        runtime_env=cluster.runtime_env,
        stop_before=cluster.stop_before,
        max_wall_time=cluster.max_wall_time,
        show_output=show_output,
        keep_idle=cluster.keep_idle,
        resources=config.resources.model_dump(),
    )


def _command(loaded: LoadedConfig, problem: Problem, work: Path | None) -> Objective:
    command = loaded.config.objective.command
    assert command is not None, "the schema asks for one of four"
    output = loaded.config.output
    objective = CommandObjective(
        list(command.argv) if command.argv is not None else None,
        commands=None if command.commands is None else [list(argv) for argv in command.commands],
        pre=command.pre,
        post=command.post,
        stdin=command.stdin,
        inputs={
            name: given if isinstance(given, str) else {"edit": given.edit, "set": dict(given.set)}
            for name, given in command.inputs.items()
        },
        outputs={name: output.model_dump(by_alias=True, exclude_none=True) for name, output in command.outputs.items()},
        data={name: data.model_dump(by_alias=True, exclude_none=True) for name, data in command.data.items()},
        value=_value(loaded.config),
        copy=command.copy_,
        link=command.link,
        env=command.env,
        pass_env=command.pass_env,
        hint=command.hint,
        fails_if=command.fails_if,
        retry_if=loaded.config.evaluation.retry_if,
        retry_delay=loaded.config.evaluation.retry_delay,
        log=command.log,
        restart=command.restart,
        names=None if loaded.config.parameters is None else problem.names,
        base=loaded.folder,
        work=command.work or work,
        keep=command.keep,
        archive=None if output is None else RunDirectory(Path(output).absolute()).archives,
        unused=[
            name for name, fixed in zip(problem.names, problem.fixed, strict=True) if fixed or name in problem.unused
        ],
        integers=problem.integers,
        value_names=command.names,
        wait_for=None if command.wait_for is None else command.wait_for.model_dump(),
        version=loaded.config.objective.version,
    )
    _check_used(objective, problem)
    objective.check(problem.x0)
    return objective


def _fmu(loaded: LoadedConfig, problem: Problem) -> Objective:
    fmu = loaded.config.objective.fmu
    assert fmu is not None, "the schema asks for one of four"
    if loaded.config.parameters is None:
        raise InputError(
            "x0: has no names, and an FMU needs them; give parameters instead, each with the name of an FMU variable"
        )
    given = fmu.model_dump(exclude_none=True)
    objective = FMUObjective(
        **{**given, "value": _value(loaded.config)},
        names=problem.names,
        base=loaded.folder,
        version=loaded.config.objective.version,
    )
    for name, lower, upper in zip(problem.names, problem.lower.tolist(), problem.upper.tolist(), strict=True):
        known = objective.description.variables[name]
        for key, bound, own in (("lower", lower, known.lower), ("upper", upper, known.upper)):
            if np.isfinite(bound) and (bound < known.lower or bound > known.upper):
                raise InputError(
                    f"parameters: {name}: {key} is {bound:g}, beyond the FMU's own limit of {own:g}; choose one inside"
                )
    objective.check(problem.x0)
    return objective


def _check_used(objective: CommandObjective, problem: Problem) -> None:
    """Refuses a parameter that nothing uses: its derivative would silently be 0."""
    unused = unused_parameters(objective, problem.x0)
    if unused:
        one = len(unused) == 1
        raise InputError(
            f"parameters: no template, edit or argument of objective.command uses {', '.join(unused[:20])}"
            f"{f' and {len(unused) - 20} more' if len(unused) > 20 else ''}, but others are used: write "
            f"{{{{ {unused[0]} }}}} where {'its number stands' if one else 'their numbers stand'}; if the program "
            f"takes {'it' if one else 'them'} from parameters.json, or {'it is' if one else 'they are'} meant to do "
            "have no effect, add unused: ok to the parameter"
        )


def _value(config: Config) -> str | list[str] | None:
    """J's expression or expressions, followed by those of constraints."""
    command = config.objective.command or config.objective.fmu
    assert command is not None, "only commands and FMUs have expressions"
    value = command.value if isinstance(command.value, str) or command.value is None else list(command.value)
    constraints = config.minimize.constraints if config.task == "minimize" else ()
    if not constraints:
        return value
    if value is None and len(command.outputs) > 1:
        raise InputError(
            "value: is missing, and there are several outputs; give the one that is J, or an expression of them"
        )
    first = [value] if isinstance(value, str) else value or [next(iter(command.outputs))]
    return [*first, *(constraint.value or "" for constraint in constraints)]
