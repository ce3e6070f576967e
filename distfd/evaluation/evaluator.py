"""The session that users hold: one objective, its slots and its store, over many calls."""

from __future__ import annotations

import contextlib
import reprlib
import sys
import weakref
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self

import numpy as np

from distfd.core.describe import coordinate_label, numbered_output
from distfd.core.errors import InputError
from distfd.core.points import dense_points
from distfd.core.unknown_keywords import answers_misuse
from distfd.differentiation.diagnostics import solver_noise_warnings
from distfd.differentiation.given_value import GivenValue
from distfd.differentiation.method import Answer, Value, Values, check_x
from distfd.differentiation.steps import NoiseStep
from distfd.evaluation.derivative_context import DerivativeContext
from distfd.evaluation.derivative_future import Pending
from distfd.evaluation.derivative_methods import DerivativeMethods
from distfd.evaluation.gradient_check import check_given
from distfd.evaluation.map_calls import map_calls
from distfd.evaluation.method_registry import make_method
from distfd.evaluation.options import EvaluationOptions
from distfd.evaluation.outcome import give_warnings, make_result, out_of_range_error, scalar
from distfd.evaluation.parameter_layout import ParameterLayout
from distfd.evaluation.run_method import answer_from_store, iterate_method, run_method
from distfd.evaluation.session import known_value
from distfd.evaluation.session_factory import open_session
from distfd.evaluation.structured_options import split_options
from distfd.evaluation.tally import Tally
from distfd.results.events import Differentiated

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from distfd.core.points import Points
    from distfd.core.structure import Structure
    from distfd.differentiation.method import Answer, Method
    from distfd.differentiation.sparse_jacobian import ProbedStructure
    from distfd.differentiation.stencils import Stencil
    from distfd.differentiation.steps import AbsoluteStep
    from distfd.evaluation.derivative_setting import Setting
    from distfd.evaluation.gradient_check import GradientCheck
    from distfd.evaluation.keywords import (
        BoundsLike,
        ExecutorName,
        Kind,
        OnFailure,
        PointLike,
        RecycleOptions,
        Scheme,
        WarmMode,
    )
    from distfd.evaluation.options import DerivativeOptions
    from distfd.evaluation.run_method import A
    from distfd.executors.base import Executor
    from distfd.objectives.output_parts import OutputPart
    from distfd.observers.base import Observer
    from distfd.results import events
    from distfd.results.derivative_result import DerivativeResult
    from distfd.stores.base import Store
    from distfd.workers.recycle import Recycle


class Evaluator(DerivativeMethods):
    """Computes J and its derivatives, and keeps workers and values from one call to the next.

    No value is computed twice: ``value`` and ``gradient`` at the same x share J(x). Between two calls you may change
    what J refers to, the environment and the working directory. Each call looks whether they have changed, and never
    mixes values of the old J with values of the new one.

    Parameters
    ----------
    fun : callable, class or objective
        ``fun(x, *args, **kwargs)`` with x (d,), a simulator class (see `distfd.objectives.simulator`), or an objective
        such as `CommandObjective`. Returns a number, or for Jacobians a one-dimensional array.
    scheme : str or Stencil
        "forward", "backward", "forward2", "backward2", "central", "central4", "complex-step",
        "richardson" (sixth order, with an error).
    step : None, float, (d,) array, AbsoluteStep, NoiseStep or "auto"
        A relative step, one for all coordinates or one for each; None for the scheme's default. "auto" is NoiseStep():
        it chooses steps by the noise of J, and gives every component an error bar.
    accuracy : float, optional
        The relative error that you accept. distfd computes forward differences first, and then better ones for the
        components that are less accurate. The steps are the given ones, or with "auto" those chosen by the noise.
    bounds : scipy.optimize.Bounds or d (lower, upper) pairs
        J is never evaluated outside the bounds.
    scale : (d,) array, optional
        Typical sizes of the coordinates, used only to choose steps.
    args, kwargs
        Further arguments of ``fun``.
    executor : "ray", "serial" or an Executor
    store : path, Store or None
        A path keeps values in an SQLite file; None keeps them in memory for the life of the Evaluator.
    timeout, retries, on_failure, setup_timeout
        See `distfd.evaluation.options.EvaluationOptions`.
    deterministic : bool, optional
        Whether J always gives the same value at the same x. If so, distfd evaluates a late point a second time on an
        idle slot, and takes the value that comes first. False: it never does. None: it does, unless evaluations take
        custom resources such as licences, of which the second copy would take another one.
    observers : sequence of callables
        distfd calls each with every event (`distfd.results.events`).
    names : sequence of str, optional
        Names of the coordinates, for messages.
    version : str, optional
        A text that you change whenever J changes in a way that its code does not show, such as a data file.
    warm : "baseline", "iterate" or None
        The state from which a simulator with ``snapshot`` and ``restore``, or a program with ``restart`` files,
        evaluates a point. None: all points start from the first state. "baseline": J(x) starts from the first state,
        in a round of its own; all other points start from the state that J(x) left. "iterate": all points, including
        J(x), start from the state that the last accepted x left: the x of the call before, or in `distfd.minimize`
        the last iterate.
    recycle : Recycle or mapping, optional
        When to replace a worker's process by a new one: ``{"evaluations": n, "memory": bytes}``.
    check : bool, optional
        Whether to compare a derivative with J at one more point, or a pair, at which all coordinates are moved at once:
        see `distfd.Consistency`. The derivative has the same bits with and without it. ``consistency`` has what it
        found, and a doubt is a warning. None: if a slot would be idle in the last round, so that it takes no time,
        and if evaluations take no custom resources. True: always, also for gradients and Jacobians that find their
        own steps; if there is a doubt, up to three more points show along which coordinates; for Hessians and their
        products three more points show the noise in J. False: never. Complex steps are instead checked at real points
        of their own, on any number of slots; False leaves these out too.

    Raises
    ------
    InputError
        If an option cannot be used.
    """

    @answers_misuse("Evaluator")
    def __init__(
        self,
        fun: Any,
        *,
        scheme: Scheme | Stencil = "forward",
        step: PointLike | AbsoluteStep | NoiseStep | Literal["auto"] | None = None,
        accuracy: float | None = None,
        bounds: BoundsLike | None = None,
        scale: PointLike | None = None,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        executor: ExecutorName | Executor = "ray",
        store: str | os.PathLike[str] | Store | None = None,
        timeout: float | None = None,
        retries: int | Mapping[str, int] | None = None,
        on_failure: OnFailure = "raise",
        deterministic: bool | None = None,
        observers: Sequence[Observer] = (),
        names: Sequence[str] | None = None,
        version: str | None = None,
        warm: WarmMode | None = None,
        recycle: Recycle | RecycleOptions | None = None,
        setup_timeout: float | None = None,
        check: bool | None = None,
    ) -> None:
        if check not in (None, True, False):
            raise InputError(f"check: must be True, False or None (was {check!r})")
        options, waiting = split_options(scheme, step, scale, bounds, names, accuracy)
        treatment = EvaluationOptions(timeout, retries, on_failure, setup_timeout)
        self._raises = treatment.on_failure == "raise"
        self._session, self._owns_store = open_session(
            fun,
            treatment,
            args=args,
            kwargs=kwargs,
            version=version,
            imaginary=options.stencil.imaginary,
            executor=executor,
            store=store,
            deterministic=deterministic,
            observers=observers,
            names=options.names,
            warm=warm,
            recycle=recycle,
        )
        if self._owns_store:
            # An Evaluator that is dropped gives its file back.
            weakref.finalize(self, self._session.store.close)
        drifts = self._session.warm is not None and self._session.warm.mode == "baseline"
        objective = self._session.objective
        self._layout = ParameterLayout(options, waiting, self._adopt, objective.parameter_names)
        options = self._layout.options
        self._label = coordinate_label(options.names)
        self._session.names = options.names
        written = objective.written if objective.reads_text else None
        repair = treatment.on_failure == "repair"
        self._around = DerivativeContext(
            options, self._label, repair, drifts, written, objective.writes_text, check, output=self._output_label
        )
        self._turn = self._session.executor.turn
        self._structure: ProbedStructure | None = None
        self._structured_for = self._session.salt
        self._open: Pending | None = None
        self._told: set[str] | None = None

    def __repr__(self) -> str:
        options, where = self._layout.options, self._session
        slots = f"{self.slots} slot{'' if self.slots == 1 else 's'}"
        executor = type(where.executor).__name__
        step = "SciPy's" if options.step is None else " ".join(reprlib.repr(options.step).split())
        how = f"scheme {options.scheme!r}, step {step}"
        return f"<Evaluator: {how}, {executor} with {slots}, {type(where.store).__name__}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an Evaluator cannot be pickled or copied, because it holds workers and a store; make one in each process, "
            "or share this one between threads"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the slots back and release the store; an Evaluator may be used again afterwards only in memory."""
        try:
            if self._open is not None:
                self._open.cancel()  # not while a thread of its future is at it
            self._session.stop()
            self._session.objective.tidy()
        finally:
            if self._owns_store:
                self._session.store.close()

    def start(self, *, wait: bool = False) -> None:
        """Start the slots now, instead of with the first call, so that they are up when it comes.

        Parameters
        ----------
        wait : bool
            Whether to wait until all are up; else the first call begins with those that are.
        """
        with self._turned(), self._session.wave():
            self._session.start(ready=wait)
            if wait:
                self._session.wait_until_up()

    def emit(self, event: events.Event) -> None:
        """Show an event to the observers."""
        self._session.emit(event)

    @property
    def slots(self) -> int:
        """Evaluations at once; 1 before the first call."""
        return self._session.pool.slots

    @property
    def structure(self) -> Structure | None:
        """How the numbers of x are arranged, since it was given as a dict or another structure; None for arrays."""
        return self._layout.structure

    def flatten(self, x: PointLike, what: str = "x0") -> NDArray[np.float64]:
        """The numbers of x, (d,), in the order in which coordinates are counted.

        With the first x that has a structure J becomes one that is given this structure; flat arrays of its numbers are
        taken as well, and have flat results: that is what optimisers need.

        Parameters
        ----------
        what : str
            What messages call it.

        Raises
        ------
        InputError
            If x has another structure than the first one had, or something else in it than real numbers.
        """
        return check_x(self._layout.flat(x, what))

    def unflatten(self, x: NDArray[np.float64]) -> Any:
        """Numbers (d,) in the structure of x; as they are, where it has none."""
        return self._layout.unflatten(x)

    def flat_bounds(self, bounds: Any) -> Any:
        """Bounds that are given by the names of x as d pairs; others as they are."""
        return self._layout.flat_bounds(bounds)

    def _adopt(self, options: DerivativeOptions, structure: Structure | None) -> None:
        """Take the options for flat numbers, and a J that is given a structure, if x has one."""
        with self._turn.held():
            self._settle()
            if structure is not None:
                objective = self._session.objective.structured(structure).named(structure.labels)
                self._session.adopt(objective, structure.labels)
                self._label = coordinate_label(structure.labels)
            self._around = replace(self._around, options=options, label=self._label)

    def value(self, x: PointLike) -> Any:
        """J(x): a float, or (m,) for a J with several outputs.

        Raises
        ------
        EvaluationError
            If J fails there for good.
        """
        answer, _ = self.solve(Value(dense_points([self._at(x)])), "value")
        return scalar(answer.value)

    def map(self, points: Iterable[PointLike]) -> NDArray[np.float64]:
        """J at each of n points: (n,), or (n, m) for several outputs; NaN where on_failure lets it fail."""
        if not isinstance(points, Iterable):
            raise InputError(f"points: must be a list of points, or an array (n, d) (was {points!r})")
        rows = [self._at(x) for x in points]
        if not rows:
            return np.empty(0)
        if len({len(x) for x in rows}) > 1:
            raise InputError("points: all must have the same number of coordinates")
        values = self.solve(Values(dense_points(rows), vector=True), "values")[0].values
        return values[:, 0] if values.shape[1] == 1 else values

    def map_function(self, fun: Callable[[Any], Any], iterable: Iterable[Any]) -> list[Any]:
        """``list(map(fun, iterable))`` on the slots, past the store: for wherever SciPy takes ``workers=``.

        Raises
        ------
        Exception
            What ``fun`` raised, at the first of the items at which it did.
        EvaluationError
            If a call came to nothing otherwise: its process died, or it ran past the timeout.
        """
        if not callable(fun):
            raise InputError(f"map_function: takes a function and what to map it over, as map does (was {fun!r})")
        items = list(iterable)
        with self._turned():
            return map_calls(self._session, fun, items)

    @contextlib.contextmanager
    def accepting(self) -> Iterator[None]:
        """Inside, with warm="iterate", points start from what J left where `accept` was last called.

        Outside, a baseline counts as accepted as soon as another x is asked for. And inside, a warning is given once.
        """
        self._told = set()
        try:
            with contextlib.nullcontext() if self._session.warm is None else self._session.warm.held():
                yield
        finally:
            self._told = None

    @property
    def warm(self) -> str | None:
        """From what state J starts, as it was given."""
        return None if self._session.warm is None else self._session.warm.mode

    def accept(self, x: PointLike) -> None:
        """Take x, of which J and its derivative are known, for the iterate from whose state what follows starts.

        Without warm="iterate" it says nothing.
        """
        if self._session.warm is not None:
            self._session.warm.accept(dense_points([self._layout.flat(x)]))

    def at(self, points: Points, *, lenient: bool = False) -> NDArray[Any]:
        """J at points that are written against one x, (n, m); bounds are the caller's affair.

        ``lenient`` lets NaN and inf pass as values.
        """
        return self.solve(Values(points, vector=True, lenient=lenient), "values")[0].values

    def differentiate(
        self, x: PointLike, *, kind: Kind = "gradient", f0: ArrayLike | None = None, **particulars: Any
    ) -> DerivativeResult:
        """The derivative with all that is known of it.

        Parameters
        ----------
        x : (d,) array, or a structure of numbers
            Of a dict, a pandas.Series, a dataclass or another structure the result has the same: see
            `distfd.results.structured_result.StructuredResult`.
        kind : str
            "gradient", "jacobian", "hessian", "hvp", "jvp" or "directional".
        f0 : number or (m,) array, optional
            J(x), where it is known: it is not evaluated, counts as reused, and is not stored. Values of a J with noise
            or states must be of the same kind as those that it returns now.
        **particulars
            What that kind needs beside x: ``sparsity``, ``v``, ``directions``.

        Raises
        ------
        InputError
            If x is not finite, or outside the bounds, or a step cannot be held.
        EvaluationError
            If a component has no value (where on_failure="raise"), or J fails at x itself.
        """
        at = self._at(x)
        particulars = self._layout.flat_particulars(particulars)
        with self._turned(), self._knowing(at, kind, f0):
            method: Method[Answer] = self._planned(at, kind, particulars)
            if self._session.given is not None:
                method = GivenValue(method, self._session.given.value)
            answer, tally = self._run(method, kind)
        return self._layout.as_given(x, self._derivative(at, kind, answer, tally))

    @contextlib.contextmanager
    def _knowing(self, at: NDArray[np.float64], kind: str, f0: ArrayLike | None) -> Iterator[None]:
        """Inside, J at this x is what the caller says, if anything."""
        if f0 is not None:
            if self._session.warm is not None:
                raise InputError(
                    "f0: cannot be given with warm, because points start from the state that J(x) leaves; leave "
                    "one of them out"
                )
            self._session.given = known_value(f0, dense_points([at]).keys(self._session.salt)[0], kind)
        try:
            yield
        finally:
            self._session.given = None

    def check_gradient(
        self,
        grad: Callable[[Any], PointLike] | PointLike,
        x: PointLike,
        *,
        components: str | Sequence[int] | None = None,
        directions: int | None = None,
        tolerance: float = 1e-5,
        step: Any = "auto",
    ) -> GradientCheck:
        """Hold a gradient against differences of J that have error bars; see `distfd.check_gradient`.

        Parameters
        ----------
        step : "auto" or NoiseStep
            The Evaluator's own step has no error bars, and is not used here.
        """
        if not ((isinstance(step, str) and step == "auto") or (isinstance(step, NoiseStep) and step.method == "probe")):
            raise InputError("check_gradient: needs error bars, which step='auto' or NoiseStep('probe') give")
        at = self._at(x)
        given = grad(self.unflatten(at.copy())) if callable(grad) else grad
        return check_given(
            self,
            self._layout.flat_gradient(given),
            at,
            components=components,
            directions=directions,
            tolerance=tolerance,
            noise=step.noise if isinstance(step, NoiseStep) else None,
        )

    @property
    def check(self) -> bool | None:
        """Whether derivatives are held against J at a point more, as it was given."""
        return self._around.check

    @contextlib.contextmanager
    def checked(self, check: bool | None, *, rides: bool = False) -> Iterator[None]:
        """Inside, ``check`` is this, whatever was given; and no check rides on an idle slot unless it ``rides``.

        So the points of a derivative do not depend on the slots that there are. What checks a complex step stays.
        """
        before = self._around.check, self._around.rides
        self._around = replace(self._around, check=check, rides=rides)
        try:
            yield
        finally:
            self._around = replace(self._around, check=before[0], rides=before[1])

    def begin(self, x: PointLike, *, kind: Kind | Literal["value"] = "gradient", **particulars: Any) -> Pending:
        """Send out all points of a derivative at x, and come back at once; arguments as for `differentiate`, but f0.

        The value can then be had before the rest, and the rest be cancelled if that is not wanted any more. One is open
        at a time: whatever else the Evaluator, or another one with this executor, is asked for finishes it first.
        ``kind="value"`` is J(x) alone.

        Returns
        -------
        Pending
            With ``value()``, and the methods of a future of concurrent.futures: ``result(timeout)``, ``exception``,
            ``done()``, ``running()``, ``cancel()``, ``cancelled()``, ``add_done_callback(function)``. In a coroutine it
            can be awaited; ``as_future()`` is a concurrent.futures.Future for `concurrent.futures.wait` and others.

        Raises
        ------
        InputError
            As `differentiate`.
        """
        if "f0" in particulars:
            raise InputError("f0: is for differentiate, gradient, jacobian and hessian; begin evaluates J(x) itself")
        at = self._at(x)
        particulars = self._layout.flat_particulars(particulars)
        tally = Tally()
        with self._turned():
            method = Value(dense_points([at])) if kind == "value" else self._planned(at, kind, particulars)
            self._open = Pending(
                at,
                iterate_method(self._session, method, kind, self._label, tally, raises=self._raises),
                tally,
                self._turn,
                lambda answer, tally: self._layout.as_given(x, self._derivative(at, kind, answer, tally)),
                check=self._session.check,
                note=self._session.note,
                limit=self._wait_until,
                vector=kind == "jacobian",
                partial=not self._raises,
            )
            self._turn.begun(self._open)
            if self._session.warm is None:
                self._open.pull()  # what the store had, or that the first points are with their slots
            return self._open

    def _wait_until(self, moment: float | None) -> None:
        self._session.until = moment

    @contextlib.contextmanager
    def _turned(self) -> Iterator[None]:
        """One call of the executor at a time; inside, no other wave is open in it, and J is what it is now."""
        with self._turn.held(sys._getframe(2)):  # noqa: SLF001  # of the method; contextlib's is between
            self._settle()
            self._session.refresh()
            try:
                yield
            finally:
                self._session.note()

    def _settle(self) -> None:
        """Finish the open wave, if there is one, be it that of another Evaluator that has this executor."""
        try:
            self._turn.settle()
        finally:
            self._open = None

    def _planned(self, x: ArrayLike, kind: Kind, particulars: dict[str, Any]) -> Method[Answer]:
        """A plan from what is known of J, for inside `_turned`: what was known of another J is forgotten there."""
        if isinstance(particulars.get("sparsity"), str) and particulars["sparsity"] == "probe":
            known = self._structure if self._structured_for == self._session.salt else None
            if known is not None and known.structure.shape[1] == np.size(np.asarray(x)):
                particulars = {**particulars, "sparsity": known}
        return self.method(x, kind, **particulars)

    def _derivative(self, at: NDArray[np.float64], kind: str, answer: Answer, tally: Tally) -> DerivativeResult:
        """The result of a call that asked for a derivative."""
        if answer.structure is not None:
            self._structure, self._structured_for = answer.structure, self._session.salt
        if self._raises and len(answer.missing):
            raise out_of_range_error(answer, self._label)
        if answer.error is None and kind in ("gradient", "jacobian"):
            answer = self._with_solver_noise(answer)
        result = self.result(at, answer, tally, kind)
        if kind != "value":
            self.emit(Differentiated(at, result))
        give_warnings(answer.warnings, self._told, result)
        return result

    def _with_solver_noise(self, answer: Answer) -> Answer:
        """The same, with a warning where the tolerance of J's solver drowns the steps."""
        tolerance = self._session.objective.solver_tolerance
        if tolerance is None or not isinstance(answer.derivative, np.ndarray):
            return answer
        found = solver_noise_warnings(self._label, answer.derivative, answer.value, answer.step, tolerance)
        return replace(answer, warnings=(*answer.warnings, *found))

    def method(self, x: PointLike, kind: Kind = "gradient", **particulars: Any) -> Method[Answer]:
        """The plan of a derivative at x; nothing is evaluated."""
        return make_method(kind, self.setting(x), **self._layout.flat_particulars(particulars))

    def setting(self, x: PointLike) -> Setting:
        """What every method at x is made from: x checked, its surroundings, and the options of derivatives."""
        flat = self._layout.flat(x)  # first, as it may say what the names and the options are
        return self._around.setting(flat, self._session.bits, self._session.known)

    @property
    def output_parts(self) -> tuple[OutputPart, ...] | None:
        """What J's outputs come from, where they have names: as `distfd.objectives.base.Objective.output_parts`."""
        return self._session.objective.output_parts

    def output_names(self, m: int) -> Sequence[str] | None:
        """What J's outputs are called, where J has m of them; None where they have no names."""
        return self._session.objective.output_names(m)

    def _output_label(self, j: int, m: int) -> str:
        names = self.output_names(m)
        return numbered_output(j, m) if names is None else f"output {names[j]}"

    def _at(self, x: PointLike) -> NDArray[np.float64]:
        flat = self._layout.flat(x)  # first, as it may say what the names are
        return self._around.site(flat).x

    def solve(self, method: Method[A], task: str, *, raises: bool | None = None) -> tuple[A, Tally]:
        """Evaluate what any method asks for until it answers; ``task`` is what observers are told of it.

        ``raises`` says whether any failure is an error; None: as on_failure has it.
        """
        with self._turned():
            return self._run(method, task, raises=raises)

    def known_answer(self, method: Method[A]) -> A | None:
        """What the method answers, if the store has all that it asks for; nothing is evaluated, and nothing is told."""
        return answer_from_store(self._session, method)

    def _run(self, method: Method[A], task: str, *, raises: bool | None = None) -> tuple[A, Tally]:
        raises = self._raises if raises is None else raises
        return run_method(self._session, method, task, self._label, raises=raises)

    def result(self, x: NDArray[np.float64], answer: Answer, tally: Tally, kind: str = "gradient") -> DerivativeResult:
        """A method's answer at x as a result."""
        options = self._layout.options
        slots = self.slots
        m = len(answer.value)
        outputs = self._session.objective.output_names(m) if m > 1 or kind in ("jacobian", "jvp") else None
        return make_result(
            answer,
            tally,
            options.stencil.name,
            self._label,
            slots=slots,
            kind=kind,
            x=x,
            names=options.names,
            outputs=outputs,
        )
