"""Previews the cost of a job, without evaluations."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from distfd.config.sections import SERIAL
from distfd.core.describe import coordinate_label
from distfd.differentiation.base_point import BasePoint
from distfd.differentiation.coordinate_stencils import place_lines
from distfd.differentiation.failure_ladder import HALVINGS
from distfd.differentiation.method import Request
from distfd.differentiation.noise_survey import EVALUATIONS
from distfd.differentiation.second_differences import SECOND
from distfd.differentiation.stencils import RICHARDSON, resolve_scheme
from distfd.differentiation.steps import nominal_steps
from distfd.evaluation.second_derivatives import check_memory_for_hessian
from distfd.executors.serial import SerialExecutor
from distfd.jobs.build import make_evaluator, make_objective, movable, steps, steps_beyond_x, unused_sigma
from distfd.jobs.earlier_run import EarlierRun, look_at_output
from distfd.jobs.forecast import forecast, forecast_fields, simulated
from distfd.objectives.function import PythonObjective
from distfd.scheduling.optional_points import fits_in_idle_slots
from distfd.workers.cores import countable_cores

if TYPE_CHECKING:
    from distfd.config.load import LoadedConfig
    from distfd.config.problem import Problem
    from distfd.config.schema import Config
    from distfd.evaluation.keywords import Kind
    from distfd.jobs.forecast import Assumed
    from distfd.objectives.base import Objective


_SHOWN = 20
"""Largest number of parameters whose steps are printed."""
_MOST_STEPS = 10_000
"""Largest number of parameters whose steps are in the JSON answer."""


@dataclass(frozen=True)
class JobPlan:
    """The expected cost of a job.

    Attributes
    ----------
    rows : tuple of (str, str)
        Titles and texts; ``str`` of the plan prints one a line.
    fields : dict
        The same for programs, as listed in docs/command-line.md.
    """

    rows: tuple[tuple[str, str], ...]
    fields: dict[str, Any]

    def __str__(self) -> str:
        return "\n".join(f"{title + ':' if title else '':<13} {text}" for title, text in self.rows)


def preview(loaded: LoadedConfig, assumed: Assumed | None = None, *, no_import: bool = False) -> str:
    """`plan_job` as text."""
    return str(plan_job(loaded, assumed, no_import=no_import))


def plan_job(loaded: LoadedConfig, assumed: Assumed | None = None, *, no_import: bool = False) -> JobPlan:
    """Evaluations, rounds and resources of a job.

    Parameters
    ----------
    loaded : LoadedConfig
    assumed : Assumed, optional
        The assumed cluster and duration of J, for which the first wave is simulated.
    no_import : bool
        Whether to run no code of the job: its module is not imported, and its program is not looked for.

    Raises
    ------
    InputError
        If the objective cannot be used, or a step is too small for floating point or a program's inputs.
    """
    config, problem = loaded.config, loaded.config.problem()
    objective = PythonObjective(_never) if no_import else make_objective(loaded, problem)
    points, optional = first_wave(loaded, problem, objective)
    own = optional if config.derivative.scheme == "complex-step" else 0  # a complex step always has its check
    n = points - optional + own
    slots, where = _slots(config) if assumed is None else (assumed.slots, "assumed")
    moving = int((~problem.fixed).sum())
    more, check = (0, "") if own or config.task == "noise" else _check(config, n, optional, slots)
    effort = _effort(config, n, moving, slots, more)
    scheme = _scheme(config, n - own, moving) + _checked(own)
    planned = _steps(config, problem, objective)
    there = look_at_output(
        loaded, problem, None if no_import else objective, lambda: _looked_up(loaded, problem, objective)
    )
    rows = [
        ("task", config.task),
        ("parameters", f"{len(problem.names)}, of which {moving} move"),
        ("scheme", scheme),
        *_step_rows(planned),
        ("evaluations", effort.text + _times(config)),
        *([("check", check)] if check else []),
        ("slots", f"{slots} ({where})" if slots else where),
        ("rounds", effort.rounds_text),
        ("each needs", _needs(config)),
        ("output", _place(config, there)),
        *[("note", note) for note in (unused_sigma(config), steps_beyond_x(config, problem)) if note],
    ]
    fields = {
        "config": str(loaded.path),
        "task": config.task,
        "n_parameters": len(problem.names),
        "n_moving": moving,
        "scheme": config.derivative.scheme,
        "scheme_text": scheme,
        "steps": [planned.entry(k) for k in range(len(planned.names))],
        "evaluations": {"usual": effort.usual, "most": effort.most, "of": _times(config).strip() or "of the job"},
        "check_evaluations": more + own,
        "check_text": check or None,
        "slots": slots,
        "slots_text": where,
        "rounds": effort.rounds,
        "rounds_text": effort.rounds_text,
        "resources": config.resources.model_dump(),
        "output": None if config.output is None else str(config.output),
        "n_known": there.n_known,
        "n_reused": there.n_reused,
        "simulation": None,
    }
    if assumed is not None:
        found = simulated(n + more, assumed)
        rows += forecast(n + more, len(problem.names), assumed, found)
        fields["simulation"] = forecast_fields(n + more, assumed, found)
    return JobPlan(tuple(rows), fields)


def first_wave(loaded: LoadedConfig, problem: Problem, objective: Objective) -> tuple[int, int]:
    """The number of points in a job's first wave, and how many of them are optional.

    For a large Hessian, the number is extrapolated: it is a quadratic function of the number of moving coordinates.

    Raises
    ------
    InputError
        If a step is too small for floating point or a program's inputs, or a Hessian's points need more memory than
        there is.
    """
    moving = np.flatnonzero(~problem.fixed)
    if loaded.config.task != "hessian" or len(moving) <= max(_SAMPLES):
        request = first_request(loaded, problem, objective)
        return (EVALUATIONS, 0) if request is None else (len(request.points), len(request.optional))
    check_memory_for_hessian(len(moving), two_distances=resolve_scheme(loaded.config.derivative.scheme).order >= 4)
    found = []
    for n in _SAMPLES:
        fixed = problem.fixed.copy()
        fixed[moving[n:]] = True
        request = first_request(loaded, replace(problem, fixed=fixed), objective)
        assert request is not None, "a Hessian begins with a request"
        found.append((len(request.points) - len(request.optional), len(request.optional)))
    own, optional = np.array(found).T
    k = len(moving) - _SAMPLES[0]  # Newton's interpolation formula; the samples are 1 apart
    first, second = own[1] - own[0], own[2] - 2 * own[1] + own[0]
    whole = int(own[0]) + k * int(first) + k * (k - 1) // 2 * int(second)
    return whole + int(optional[-1]), int(optional[-1])


_SAMPLES = (60, 61, 62)
"""Numbers of coordinates for which the points of a Hessian are made and counted."""


def first_request(loaded: LoadedConfig, problem: Problem, objective: Objective) -> Request | None:
    """The first request of a job's derivative; None for the task noise.

    Raises
    ------
    InputError
        If a step is too small for floating point or a program's inputs.
    """
    config = loaded.config
    searches = config.task in ("minimize", "least_squares")
    with (
        make_evaluator(config, problem, objective, executor=SerialExecutor()) as evaluator,
        evaluator.checked(config.derivative.check, rides=not searches),
    ):
        kind = {"minimize": "gradient", "least_squares": "jacobian"}.get(config.task, config.task)
        if config.task == "minimize" and config.minimize.constraints:
            kind = "jacobian"
        request = None if kind == "noise" else evaluator.method(problem.x0, cast("Kind", kind)).advance(())
    assert request is None or isinstance(request, Request), "a derivative begins with a request"
    return request


def _place(config: Config, there: EarlierRun) -> str:
    if not config.output:
        return "none given; run asks for one"
    return f"{config.output} ({there.text})" if there.text else config.output


def _looked_up(loaded: LoadedConfig, problem: Problem, objective: Objective) -> Request | None:
    """The first points, for a lookup in a store; None if there are too many, or they are not known."""
    large = loaded.config.task == "hessian" and int((~problem.fixed).sum()) > max(_SAMPLES)
    return None if large else first_request(loaded, problem, objective)


@dataclass(frozen=True)
class _Steps:
    """Steps of the parameters that move; all arrays have the same length, and are empty if steps are not known yet."""

    names: tuple[str, ...] = ()
    x: tuple[float, ...] = ()
    meant: tuple[float, ...] = ()
    written: tuple[float, ...] = ()
    """The steps after rounding in a program's input that has fewer digits."""
    notes: tuple[str, ...] = ()
    total: int = 0
    """Number of parameters that move; of more than 10,000, the arrays have the first ones."""

    def entry(self, k: int) -> dict[str, Any]:
        """The entry of one step in the JSON answer."""
        return {"name": self.names[k], "x": self.x[k], "step": self.meant[k], "step_as_written": self.written[k]}


def _steps(config: Config, problem: Problem, objective: Objective) -> _Steps:
    """The step of each parameter, and the step that results if it is written with fewer digits."""
    step = steps(config, problem)
    if config.task == "noise" or isinstance(step, str) or config.derivative.accuracy is not None:
        return _Steps()
    stencil = SECOND if config.task == "hessian" else resolve_scheme(config.derivative.scheme)
    lower, upper = (np.array(limits) for limits in movable(problem))
    moving = np.flatnonzero(lower != upper)
    total, moving = len(moving), moving[:_MOST_STEPS]
    if stencil.imaginary or not len(moving):
        return _Steps()
    scale = None if np.isnan(problem.scale).all() else problem.scale
    h = nominal_steps(problem.x0, stencil, step, scale)[moving]
    label = coordinate_label(problem.names)
    meant = place_lines(BasePoint(problem.x0, lower, upper, label), moving, h, stencil).step
    read = meant
    if objective.reads_text:
        objective = objective.named(problem.names)
        read = place_lines(BasePoint(problem.x0, lower, upper, label, objective.written), moving, h, stencil).step
    at = moving.tolist()
    return _Steps(
        tuple(problem.names[k] for k in at),
        tuple(problem.x0[moving].tolist()),
        tuple(meant.tolist()),
        tuple(read.tolist()),
        tuple(_at_zero(config, problem, k) for k in at),
        total,
    )


def _step_rows(found: _Steps) -> list[tuple[str, str]]:
    """Steps as rows of text; of very many parameters, the first ones."""
    n = found.total
    width = max(map(len, found.names[:_SHOWN]), default=0)
    rows: list[tuple[str, str]] = []
    for k in range(min(n, _SHOWN)):
        one, other = found.meant[k], found.written[k]
        text = f"{found.names[k]:<{width}} {found.x[k]:>12.6g} {_signed(one)}"
        if abs(other - one) > 1e-6 * abs(one):
            text += f", as written {_signed(other)}"
        rows.append(("" if rows else "steps", text + found.notes[k]))
    return [*rows, *([("", f"... and {n - _SHOWN} more")] if n > _SHOWN else [])]


def _signed(step: float) -> str:
    return f"{'-' if step < 0 else '+'} {abs(step):.6g}"


def _at_zero(config: Config, problem: Problem, k: int) -> str:
    """A remark on a relative step at x = 0, where the scheme's default step is used instead."""
    own = np.isfinite(problem.scale[k]) or np.isfinite(problem.absolute[k])
    given = config.derivative.step is not None or np.isfinite(problem.step[k])
    if problem.x0[k] or own or hasattr(config.derivative.step, "absolute") or not given:
        return ""
    return "  (relative to 0, so the scheme's own: give it a scale, or step: {absolute: h})"


def _never(x: object) -> float:
    """Replaces J if that is not imported, as nothing is evaluated here."""
    raise AssertionError(f"J is not evaluated by a plan, at {x}")


def _times(config: Config) -> str:
    return {
        "minimize": " for each gradient of the minimisation",
        "least_squares": " for each Jacobian of the fit",
    }.get(config.task, "")


def _check(config: Config, n: int, optional: int, slots: int | None) -> tuple[int, str]:
    """The number of check points in the first wave, and a text on whether the derivative is checked."""
    wanted = config.derivative.check
    if wanted is False or (wanted is None and config.task in ("minimize", "least_squares")):
        return 0, "none (derivative.check: true adds one)"
    if wanted and not optional:
        later = "2 evaluations in a wave of their own, once the steps are known; 3 more where there is a doubt"
        return 0, later if config.task != "hessian" else "none, as the derivative has error bars"
    points = f"{optional} evaluation{'s' if optional != 1 else ''} more"
    if wanted:
        return optional, points if config.task == "hessian" else f"{points}; 3 more where there is a doubt"
    if slots is None and optional:
        return 0, f"{points}, if slots would be idle in the last round"
    why = "the derivative has error bars"
    if optional and config.resources.custom:
        why = "each evaluation takes custom resources"
    elif optional and fits_in_idle_slots(n, optional, slots or 1):
        return optional, f"{points}, on slots that would be idle in the last round"
    elif optional:
        idle = "no slot is" if optional == 1 else f"fewer than {optional} slots are"
        why = f"{idle} idle in the last round"
    return 0, f"none, as {why} (derivative.check: true adds one)"


@dataclass(frozen=True)
class _Effort:
    """Number of evaluations and rounds of the first waves.

    ``usual`` is what a method usually takes, ``most`` an upper bound, None if there is none; ``rounds`` is a lower
    bound, None if the number of slots is not known beforehand.
    """

    usual: int
    most: int | None
    text: str
    rounds: int | None
    rounds_text: str


def _effort(config: Config, n: int, moving: int, slots: int | None, more: int) -> _Effort:
    """Evaluations and rounds; for methods that find their points as they go, the usual number and the largest."""
    unknown = "as many as the cluster's slots need"
    if config.task == "noise":
        rounds = math.ceil(n / slots) if slots else None
        text = f"{rounds}, or twice that" if slots else unknown
        return _Effort(n, 2 * n - 1, f"{n}, or {2 * n - 1} where these do not tell", rounds, text)
    if config.derivative.step != "auto" and config.derivative.accuracy is None and not _reads_noise(config):
        most = None if config.evaluation.on_failure == "repair" else n + more
        return _Effort(n + more, most, f"{n + more}", *_rounds(config, n + more, slots))
    if config.task == "hessian":
        pairs = 2 * moving * (moving - 1)
        usual, most = EVALUATIONS + 4 * moving + pairs, 2 * EVALUATIONS - 1 + 20 * moving + 3 * pairs
        text = f"about {usual}, at most {most} (noise, then each parameter, then the pairs)"
        rounds = math.ceil(usual / slots) if slots else None
        return _Effort(usual, most, text, rounds, f"{rounds} or more, in 3 to 7 waves" if slots else unknown)
    if config.derivative.accuracy is not None:
        least = EVALUATIONS + moving
        text = f"{least} for the noise and forward differences, and 2 or more for each parameter that needs better ones"
        rounds = math.ceil(least / slots) if slots else None
        return _Effort(least, None, text, rounds, f"{rounds} or more, in 1 to 10 waves" if slots else unknown)
    usual, most = EVALUATIONS + 2 * moving + 2 * min(moving, 3), 4 * moving + 38
    text = f"about {usual}, at most {most} (noise, then a pair of probes a parameter, then the doubtful ones)"
    waves = (EVALUATIONS, 2 * moving, 2 * min(moving, 3))
    rounds = sum(math.ceil(w / slots) for w in waves) if slots else None
    return _Effort(usual, most, text, rounds, f"{rounds} or more, in 3 to 6 waves" if slots else unknown)


def _reads_noise(config: Config) -> bool:
    """Whether the scheme begins with lines that measure the noise."""
    return config.task == "hessian" and config.derivative.scheme == "richardson"


def _checked(checks: int) -> str:
    return (
        f", and {checks} real point{'s' if checks > 1 else ''} that check{'' if checks > 1 else 's'} it"
        if checks
        else ""
    )


def _rounds(config: Config, n: int, slots: int | None) -> tuple[int | None, str]:
    first = config.objective.warm == "baseline"
    if slots is None:
        return None, "as many as the cluster's slots need" + (", the baseline alone in the first" if first else "")
    if first:
        rounds = 1 + math.ceil((n - 1) / slots)
        return rounds, f"{rounds}: the baseline first, alone; the others start from its state"
    rounds = math.ceil(n / slots)
    text = f"{rounds}, in one wave"
    if config.evaluation.on_failure == "repair":
        text += f"; where J fails, up to {HALVINGS + 1} more, of a few evaluations each"
    return rounds, text


def _scheme(config: Config, n: int, moving: int) -> str:
    if config.task == "hessian":
        if config.derivative.step == "auto" or config.derivative.accuracy is not None or _reads_noise(config):
            return f"second differences at two distances, with steps from the noise, for {moving} x {moving} entries"
        order = "fourth" if config.derivative.scheme == "central4" else "second"
        how = f"{order}-order differences" if config.derivative.scheme != "complex-step" else "complex-step"
        return f"{how}: {n - 1} evaluations for {moving} x {moving} entries, and the baseline"
    if config.task == "noise":
        return "two lines of equally spaced points"
    if config.derivative.accuracy is not None:
        return f"forward, and central where the error is above {config.derivative.accuracy:g} of the component"
    if config.derivative.step == "auto":
        return "central, of second or fourth order, with steps from the noise"
    noise = EVALUATIONS - 1 if resolve_scheme(config.derivative.scheme) == RICHARDSON else 0
    return f"{config.derivative.scheme}: {_per_coordinate(n - noise, moving, noise)}"


def _per_coordinate(n: int, moving: int, noise: int = 0) -> str:
    each = (n - 1) // moving if moving else 0
    more = f", {noise} for the noise" if noise else ""
    return f"{each} evaluation{'s' if each != 1 else ''} a parameter{more}, and the baseline"


def _slots(config: Config) -> tuple[int | None, str]:
    """The number of slots of a private cluster, and a text; the slots of other clusters are not known beforehand."""
    cluster, needs = config.cluster, config.resources
    address = cluster.address or os.environ.get("RAY_ADDRESS") or "local"
    if address == SERIAL:
        return 1, "this process, without Ray"
    if address != "local":
        most = f", at most {cluster.max_slots}" if cluster.max_slots else ""
        return None, f"those of the cluster at {address}{most}"
    cpus = cluster.num_cpus or countable_cores()
    slots = int(cpus / needs.num_cpus) if needs.num_cpus else cpus
    return max(
        1, min(slots, cluster.max_slots or slots)
    ), f"a private cluster that counts {cpus} core{'s' if cpus > 1 else ''}{_hidden(cpus)}"


def _hidden(counted: int) -> str:
    """A remark on cores of the machine that this process may not use."""
    there = os.cpu_count() or 1
    return f" (of {there}: the others are not this process's to use)" if counted < there else ""


def _needs(config: Config) -> str:
    needs: dict[str, Any] = config.resources.model_dump()
    parts = [f"{needs['num_cpus']:g} CPU", f"{needs['num_gpus']:g} GPUs" if needs["num_gpus"] else ""]
    parts.append(f"{needs['memory'] / 2**20:.0f} MiB" if needs["memory"] else "")
    parts[0] += f" on each of {needs['nodes']} nodes" if needs["nodes"] > 1 else ""
    parts += [f"{amount:g} {name}" for name, amount in needs["custom"].items()]
    return ", ".join(part for part in parts if part)
