"""The sections of the configuration file: keys, types and defaults."""

import re
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    Tag,
    TypeAdapter,
    model_validator,
)

from distfd.config.command_section import Command
from distfd.config.field_types import (
    MOST,
    Count,
    Duration,
    Environment,
    FromZero,
    Limit,
    ModuleName,
    NotNegative,
    ParameterName,
    Positive,
    Positives,
    Regex,
    Sigma,
    Size,
    Steps,
    Text,
    only,
    union,
)
from distfd.config.fmu_section import Fmu
from distfd.config.section_base import OR_NULL, Also, KeyPath, Section, refuse, wrong
from distfd.core.errors import InputError
from distfd.evaluation.keywords import OnFailure, Scheme, WarmMode
from distfd.executors.ray.options import check_growth, check_runtime_env
from distfd.optimization.scipy_methods import Fitter, Minimizer

FITTERS: tuple[str, ...] = get_args(Fitter)
"""Methods of task least_squares; the others are those of task minimize."""


def _version(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _every_cause(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST:
        return {"error": value, "crash": value, "timeout": value}
    if value is not None and not isinstance(value, (dict, Retries)):
        raise wrong("must be a whole number >= 0, or a mapping with error, crash and timeout")
    return {} if value is None else value


SERIAL = "serial"
"""In place of a cluster's address: no cluster."""


def _address(text: str) -> str:
    if text in ("local", "auto", SERIAL):
        return text
    found = re.fullmatch(r"(?:ray://)?(?:[\w.-]+|\[[0-9a-fA-F:.]+\])(?::(\d{1,5}))?", text)
    if not found or not found[1] or not 0 < int(found[1]) < 2**16:
        port = "10001" if text.startswith("ray://") else "6379"
        near = f"{text}:{port}" if found and not found[1] else ""
        raise wrong("must be local, auto, serial, host:port or ray://host:port", near)
    return text


def _own_resources(custom: dict[str, float]) -> dict[str, float]:
    builtin = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
    taken = [name for name in custom if name in builtin]
    refuse("custom", [((name,), f"belongs in resources.{builtin[name]}", custom[name]) for name in taken])
    return custom


class Objective(Section):
    """J: a Python function, a simulator class, a program, or an FMU."""

    one_of = ("python", "simulator", "command", "fmu")

    python: ModuleName | None = None
    """A function, as module:qualname."""
    simulator: ModuleName | None = None
    """A class with evaluate(x), as module:qualname; made once in each worker process."""
    command: Command | None = None
    """An external program."""
    fmu: Fmu | None = None
    """A Functional Mock-up Unit."""
    args: Annotated[tuple[Any, ...], Strict(strict=False)] = ()
    """Further arguments for the function after x, or arguments for the class."""
    kwargs: dict[str, Any] = Field(default={})
    """Further keyword arguments for the function or the class."""
    version: Annotated[Text, BeforeValidator(_version), Also({"type": "integer"})] | None = None
    """A version that you change when J changes in a way that its code does not show, such as a data file."""
    warm: WarmMode | None = None
    """baseline: all points start from the state that J(x) left; iterate: from the one that the last accepted x left."""

    @model_validator(mode="after")
    def _arguments_reach(self) -> Self:
        given = [(key, getattr(self, key)) for key in ("args", "kwargs") if getattr(self, key)]
        if self.command is not None:
            refuse("objective", [((key,), "a command takes none; put it into argv or env", v) for key, v in given])
        if self.fmu is not None:
            refuse("objective", [((key,), "an FMU takes none; see its start and inputs", v) for key, v in given])
        return self

    @model_validator(mode="after")
    def _has_a_state(self) -> Self:
        restart = () if self.command is None else self.command.restart
        if self.warm is not None and self.fmu is not None:
            text = "is not for an FMU: each simulation begins at its start time"
            refuse("objective", [(("warm",), text, self.warm)])
        if self.warm is not None and self.python is not None:
            text = "needs a state: a simulator with snapshot() and restore(state), or a program with restart files"
            refuse("objective", [(("warm",), text, self.warm)])
        if self.warm is not None and self.command is not None and not restart:
            text = "needs objective.command.restart, the files from which the program can start again"
            refuse("objective", [(("warm",), text, self.warm)])
        if self.warm is None and restart:
            text = "is of use with objective.warm alone; set that to baseline or iterate"
            refuse("objective", [(("command", "restart"), text, restart[0])])
        return self


class OwnStep(Section):
    """A step taken as it is, without regard to the size or sign of the parameter."""

    absolute: Positive
    """In the parameter's own units."""


_POSITIVE = TypeAdapter(Positive, config=ConfigDict(strict=True, allow_inf_nan=False))


def _own_step(value: Any) -> Any:
    """One union member only, so that a mistake is reported once."""
    if value is None or isinstance(value, OwnStep):
        return value
    if isinstance(value, dict):
        return OwnStep.model_validate(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _POSITIVE.validate_python(float(value))
    raise wrong("must be a number > 0, or {absolute: number}")


# Not a tagged union, so that the recorded JSON schema keeps the number beside null.
ParameterStep = Annotated[Positive | OwnStep | None, BeforeValidator(_own_step)]


class Parameter(Section):
    """One coordinate of x."""

    name: ParameterName
    """The name in templates and messages; for an FMU, the name of its variable."""
    value: float
    """The value at which to differentiate, or from which an optimisation starts."""
    lower: float | None = None
    """J is never evaluated below this; null is no bound."""
    upper: float | None = None
    """J is never evaluated above this; null is no bound."""
    scale: Positive | None = None
    """Typical size, by which relative steps are multiplied."""
    step: ParameterStep = None
    """The step of this parameter alone: of derivative.step's kind, or {absolute: h}."""
    fixed: bool = False
    """true: keep this parameter as it is; its derivative is 0 and takes no evaluation."""
    type: Literal["integer"] | None = None
    """integer: a whole number, with a step of whole numbers (1 where it has none), written without a point."""
    unused: Literal["ok"] | None = None
    """ok: no error if no template or edit of objective.command uses this parameter."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        lower, upper, value = self.lower, self.upper, self.value
        if lower is not None and upper is not None and lower > upper:
            refuse("parameter", [(("lower",), f"{self.name} has its lower above its upper, which is {upper!r}", lower)])
        if lower is not None and value < lower:
            refuse("parameter", [(("value",), f"{self.name} is outside its bounds: below its lower, {lower!r}", value)])
        if upper is not None and value > upper:
            refuse("parameter", [(("value",), f"{self.name} is outside its bounds: above its upper, {upper!r}", value)])
        if self.type == "integer":
            self._check_whole()
        return self

    def _check_whole(self) -> None:
        """Checks that an integer parameter's values and steps are integers."""
        given = {"value": self.value, "lower": self.lower, "upper": self.upper}
        found: list[tuple[KeyPath, str, Any]] = [
            ((key,), f"{self.name} is of type integer, and this is no whole number", number)
            for key, number in given.items()
            if number is not None and not number.is_integer()
        ]
        text = f"{self.name} is of type integer: its step is a whole number, {{absolute: 1}}"
        if isinstance(self.step, float):
            found.append((("step",), f"{text}; a relative step is usually not whole", self.step))
        elif self.step is not None and not self.step.absolute.is_integer():
            found.append((("step", "absolute"), text, self.step.absolute))
        refuse("parameter", found)


class Bounds(Section):
    """Bounds of x0: one number for all, a list, or an .npy file."""

    lower: Limit | None = None
    """J is never evaluated below this; null, also inside a list, is no bound."""
    upper: Limit | None = None
    """J is never evaluated above this; null, also inside a list, is no bound."""


class AbsoluteStep(Section):
    """Steps taken as they are, without regard to the size or sign of x."""

    absolute: Steps
    """One for all, or a list."""


_STEP = "must be null, a number > 0, a list of them, {absolute: number or list}, or auto"
Step = Annotated[
    Annotated[Positive, Tag("<number>")]
    | Annotated[Positives, Tag("<list>")]
    | Annotated[AbsoluteStep, Tag("<mapping>")]
    | Annotated[Literal["auto"], only("auto", _STEP), Tag("<text>")],
    union(_STEP),
]
_SPECULATIVE = "must be true, false or auto"
Speculative = Annotated[
    Annotated[bool, Tag("<flag>")] | Annotated[Literal["auto"], only("auto", _SPECULATIVE), Tag("<text>")],
    union(_SPECULATIVE),
]


class Derivative(Section):
    """How derivatives are taken."""

    scheme: Scheme = "forward"
    """The finite-difference scheme."""
    step: Step | None = None
    """Relative steps (a number or a list), {absolute: h}, auto; null for the scheme's own."""
    accuracy: Positive | None = None
    """The relative error that you accept; components that are less accurate get better differences."""
    check: bool | None = None
    """Compare the derivative with J at one more point. null: if a slot would be idle; true: always; false: never."""


class Retries(Section):
    """Further tries after the first, by cause. A lost node never counts as a try."""

    error: FromZero = 0
    """J raised an exception, or returned something that is not a value."""
    crash: FromZero = 2
    """J's process died."""
    timeout: FromZero = 0
    """J took longer than evaluation.timeout."""


class Recycle(Section):
    """When a worker's process is replaced by a new one. distfd checks this after each evaluation."""

    evaluations: Count | None = None
    """Replace it after this many evaluations; 1 gives each evaluation a process of its own."""
    memory: Size | None = None
    """Replace it when it holds this much memory: bytes, or text such as 2GiB."""


class Evaluation(Section):
    """How each evaluation is run."""

    timeout: Annotated[Duration, Field(gt=0)] | None = None
    """Seconds, or text such as 10min; the clock starts when the evaluation does."""
    setup_timeout: Annotated[Duration, Field(gt=0)] | None = None
    """The limit for J's constructor and setup() in each process; null: as timeout, but at least 30 s."""
    retries: Annotated[Retries, BeforeValidator(_every_cause), OR_NULL, Also({"type": "integer", "minimum": 0})] = (
        Retries()
    )
    """One number for all causes, or a mapping."""
    on_failure: OnFailure = "raise"
    """What happens to a component whose evaluations failed for good. raise: an error; nan: it is missing, and named;
    repair: it is computed from other points (only for gradients and dense Jacobians), and named."""
    deterministic: bool | None = None
    """false: never start a second copy of a late evaluation. null: start one, unless resources.custom is used."""
    retry_if: Regex | None = None
    """A regular expression: if it is found in a log, wait and try again."""
    retry_delay: Annotated[Duration, Field(ge=0)] = 0.0
    """How long to wait for retry_if, within the timeout; 0: 0.1 s, doubled each time up to 10 s."""
    recycle: Annotated[Recycle, BeforeValidator(lambda value: {} if value is None else value), OR_NULL] = Recycle()
    """When workers' processes are replaced."""


class Resources(Section):
    """What one evaluation holds while it runs."""

    num_cpus: NotNegative = 1.0
    """CPU cores."""
    num_gpus: NotNegative = 0.0
    """GPUs; above 1 only whole ones."""
    memory: Size | None = None
    """Bytes, or text such as 4GiB."""
    custom: Annotated[dict[Text, Positive], AfterValidator(_own_resources)] = Field(default={})
    """The cluster's own resources by name, such as licences."""
    labels: dict[Text, Text] = Field(default={})
    """Labels of the nodes it may run on, as Ray has them: {label: value}; also !value, in(a, b) and !in(a, b)."""
    nodes: Count = 1
    """How many nodes one evaluation spans, for MPI; num_cpus, num_gpus and memory are then for each node."""

    @model_validator(mode="after")
    def _countable(self) -> Self:
        if self.num_gpus > 1 and not self.num_gpus.is_integer():
            refuse("resources", [(("num_gpus",), "above 1 must be whole", self.num_gpus)])
        if not (self.num_cpus or self.num_gpus or self.memory or self.custom):
            refuse(
                "resources",
                [(("num_cpus",), "an evaluation must need some resource, or the number of slots has no limit", 0)],
            )
        return self


class Cluster(Section):
    """Where evaluations run."""

    address: Annotated[str, AfterValidator(_address)] | None = None
    """null: RAY_ADDRESS if set, else a private cluster; local: a private one; auto: a running one; or host:port.

    serial: no Ray; one evaluation after the other in distfd's own process.
    """
    num_cpus: Count | None = None
    """Cores of a private cluster; null for all that this process may use."""
    max_slots: Count | None = None
    """Never more evaluations at a time than this."""
    request_slots: Count | None = None
    """Ask the cluster's autoscaler for room for this many evaluations at a time; any further room is used too."""
    stop_before: Annotated[Duration, Field(gt=0)] | None = None
    """Stop this long before the end of the Slurm job, or of max_wall_time, and start nothing that would end later."""
    max_wall_time: Annotated[Duration, Field(gt=0)] | None = None
    """Seconds, or text such as 8h, that this session of the run may take; it ends as interrupted, and resumes."""
    keep_idle: Annotated[Duration, Field(ge=0)] = 30.0
    """Seconds, or text such as 5min, for which a function's idle workers stay for the next session of the process; 0:
    never. They end with a command in any case."""
    runtime_env: Environment = Field(default={})
    """Ray's, for the workers: env_vars, pip, uv, working_dir, py_modules ... (all but env_vars need ray[default])."""

    @model_validator(mode="after")
    def _without_ray(self) -> Self:
        if self.address == SERIAL:
            keys = ("num_cpus", "request_slots", "stop_before", "max_wall_time", "runtime_env")
            text = "is Ray's, and address: serial runs without Ray"
            refuse(
                "cluster", [((key,), text, value) for key in keys if (value := getattr(self, key)) not in (None, {})]
            )
        return self

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.stop_before and self.max_wall_time and self.stop_before >= self.max_wall_time:
            text = f"must be shorter than max_wall_time, which is {self.max_wall_time:g} s"
            refuse("cluster", [(("stop_before",), text, self.stop_before)])
        try:
            key = "request_slots"
            check_growth(self.address, self.max_slots, self.request_slots)
            key = "runtime_env"
            check_runtime_env(self.runtime_env)
        except InputError as error:
            text = str(error).removeprefix(f"{key}: ").removeprefix(f"{key}.")
            refuse("cluster", [((key,), text, getattr(self, key))])
        return self


class Constraint(Section):
    """One more number from each evaluation, and its limits."""

    value: Text | None = None
    """For a program: an expression of its outputs. A Python function returns [J, c1, c2 ...] and needs no value."""
    lower: float | None = None
    """The number must not be below this; null is no limit."""
    upper: float | None = None
    """The number must not be above this; null is no limit. If it equals lower, the constraint is an equation."""

    @model_validator(mode="after")
    def _limits(self) -> Self:
        if self.lower is None and self.upper is None:
            refuse("constraint", [(("lower",), "a constraint needs lower, upper or both", None)])
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            refuse("constraint", [(("lower",), f"is above upper, which is {self.upper!r}", self.lower)])
        return self


class Prior(Section):
    """What you know about a parameter before the fit."""

    value: float
    """The value that you expect."""
    sigma: Positive
    """Its standard deviation: how far from the value the parameter may well be."""


class Minimize(Section):
    """How J is minimised, or residuals are fitted."""

    method: Literal[Minimizer, Fitter] = "L-BFGS-B"
    """One of scipy.optimize.minimize's, or L-BFGS; for task least_squares trf (its default), dogbox, lm or model."""
    max_iterations: Count | None = None
    """Stop after this many iterations."""
    max_evaluations: Count | None = None
    """Stop after this many evaluations of J, including those for gradients."""
    max_wall_time: Annotated[Duration, Field(gt=0)] | None = None
    """Stop when this session has taken this long: seconds, or text such as 8h."""
    target: float | None = None
    """Stop when J is this low; for least squares, when the cost (half the sum of squares) is."""
    tolerance: Positive | None = None
    """SciPy's tol; for least squares ftol, xtol and gtol."""
    constraints: Annotated[tuple[Constraint, ...], Strict(strict=False)] = ()
    """Further numbers from each evaluation, with limits; only for SLSQP and trust-constr."""
    speculative: Speculative = "auto"
    """Compute the gradient of a trial point together with its value; auto: if that takes no extra round."""
    slots: Count | None = None
    """How many evaluations a round of L-BFGS or model may have; null: as many as there are slots."""
    sigma: Sigma | None = None
    """For least squares: standard deviations of the residuals: a number, a list, a file, or an FMU's {output: number}.

    For a program use objective.command.sigma.
    """
    absolute_sigma: bool | None = None
    """For least squares: true: sigma is absolute; false: only its ratios count; null: true if sigma is given."""
    prior: dict[str, Prior] = Field(default={})
    """For least squares: what you know about parameters, by name; each adds a residual (parameter - value) / sigma."""
    options: dict[str, Any] = Field(default={})
    """Further options of the method, as SciPy names them."""
