"""The whole configuration file. Import this late: it needs pydantic."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, Strict, ValidationInfo, field_validator, model_validator

from distfd.config.command_section import sigma_mistakes
from distfd.config.field_types import DistinctTexts, OutputFolder, Start
from distfd.config.launch_section import Launch
from distfd.config.problem import Problem, bounds_mistakes, count, make_problem
from distfd.config.section_base import OR_NULL, KeyPath, Section, refuse
from distfd.config.sections import (
    FITTERS,
    SERIAL,
    AbsoluteStep,
    Bounds,
    Cluster,
    Derivative,
    Evaluation,
    Minimize,
    Objective,
    Parameter,
    Resources,
)
from distfd.core.suggestions import did_you_mean

TASKS = Literal["gradient", "jacobian", "hessian", "minimize", "least_squares", "noise"]
BOUNDED_METHODS = ("L-BFGS", "L-BFGS-B", "TNC", "SLSQP", "trust-constr", "trf", "dogbox", "model")
"""Methods that respect bounds."""
CONSTRAINED_METHODS = ("SLSQP", "trust-constr")


def _empty(value: Any) -> Any:
    """An empty mapping for null, which is how YAML reads a section whose keys are all commented out."""
    return {} if value is None else value


def _constraint_mistakes(minimize: Minimize, objective: Objective | None) -> list[tuple[KeyPath, str, Any]]:
    """Mistakes in constraints: with a program, each needs an expression; with other objectives, none may have one."""
    if objective is None:
        return []
    if objective.command is not None or objective.fmu is not None:
        text = "is missing: an expression of the outputs"
        return [
            (("constraints", k, "value"), text, None) for k, c in enumerate(minimize.constraints) if c.value is None
        ]
    text = "is for programs; a Python function returns [J, c1, c2 ...]"
    return [(("constraints", k, "value"), text, c.value) for k, c in enumerate(minimize.constraints) if c.value]


def _one_number_of_fmu(objective: Objective, task: str | None) -> Objective:
    """Checks that a task that needs a single number does not get a vector."""
    fmu = objective.fmu
    if fmu is None or task not in ("gradient", "hessian", "minimize"):
        return objective
    if isinstance(fmu.value, tuple) and len(fmu.value) > 1:
        text = f"a list makes a vector, and task {task} needs one number; use task jacobian"
        refuse("objective", [(("fmu", "value"), text, fmu.value)])
    if fmu.value is None and (vectors := [name for name, output in fmu.outputs.items() if output.is_vector]):
        text = f"is a vector, and task {task} needs one number; use task jacobian or least_squares, or set value"
        refuse("objective", [(("fmu", "outputs", vectors[0]), text, None)])
    return objective


def _weighting_mistakes(
    minimize: Minimize, objective: Objective | None, task: str, names: tuple[str, ...]
) -> list[tuple[KeyPath, str, Any]]:
    """Mistakes in sigma and prior: only fits have them, a program's sigma is beside its data, priors have names."""
    given = [key for key in ("sigma", "absolute_sigma", "prior") if getattr(minimize, key) not in (None, {})]
    if task == "minimize":
        return [((key,), "is for task least_squares", None) for key in given]
    if "sigma" in given and objective is not None and objective.command is not None:
        return [(("sigma",), "belongs beside a program's data, to objective.command.sigma", minimize.sigma)]
    if isinstance(minimize.sigma, dict) and objective is not None:
        if objective.fmu is None:
            text = "J's outputs have no names, as only a program's and an FMU's have; give a number, a list or a file"
            return [(("sigma",), text, None)]
        if found := sigma_mistakes(minimize.sigma, objective.fmu.value, tuple(objective.fmu.outputs)):
            return found
    return [
        (("prior", name), f"is no parameter{did_you_mean(name, names) or f'; they are {few(names)}'}", name)
        for name in minimize.prior
        if names and name not in names
    ]


def few(names: tuple[str, ...]) -> str:
    """The first of these names, as text."""
    return ", ".join(names[:_FEW]) + (" ..." if len(names) > _FEW else "")


_FEW = 10
"""Largest number of names in a message."""


def _distinct_names(parameters: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
    first: dict[str, int] = {}
    found: list[tuple[KeyPath, str, Any]] = []
    for k, parameter in enumerate(parameters):
        if parameter.name in first:
            found.append(((k, "name"), f"is the name of parameters.{first[parameter.name]} too", parameter.name))
        first.setdefault(parameter.name, k)
    refuse("parameters", found)
    return parameters


Parameters = Annotated[
    tuple[Parameter, ...], Strict(strict=False), Field(min_length=1), AfterValidator(_distinct_names)
]


class Config(Section):
    """A whole configuration file."""

    one_of = ("parameters", "x0")

    task: TASKS = "gradient"
    """What to compute."""
    objective: Objective
    """What to differentiate: J."""
    parameters: Parameters | None = None
    """The coordinates of x, each with a name."""
    x0: Start | None = None
    """The coordinates of x as a list or an .npy file."""
    bounds: Annotated[Bounds, BeforeValidator(_empty), OR_NULL] = Bounds()
    """Bounds of x0; parameters have their own."""
    derivative: Annotated[Derivative, BeforeValidator(_empty), OR_NULL] = Derivative()
    """How derivatives are taken."""
    evaluation: Annotated[Evaluation, BeforeValidator(_empty), OR_NULL] = Evaluation()
    """How each evaluation is run."""
    resources: Annotated[Resources, BeforeValidator(_empty), OR_NULL] = Resources()
    """What one evaluation holds while it runs."""
    cluster: Annotated[Cluster, BeforeValidator(_empty), OR_NULL] = Cluster()
    """Where evaluations run."""
    minimize: Annotated[Minimize, BeforeValidator(_empty), OR_NULL, Field(validate_default=True)] = Minimize()
    """How J is minimised, or residuals are fitted."""
    launch: Annotated[Launch, BeforeValidator(_empty), OR_NULL] = Launch()
    """How distfd submit hands the job to a cluster."""
    output: OutputFolder | None = None
    """The run's directory, relative to the current one."""
    # The default is None, not (), so that config.yaml omits it and runs of earlier versions stay the same runs.
    tags: DistinctTexts | None = None
    """Words that you choose, shown by distfd ls and distfd ui to find the run by; they change nothing else."""

    def problem(self) -> Problem:
        """The coordinates as arrays; reads the .npy files that are named.

        Raises
        ------
        ValueError
            If an .npy file has changed since the configuration was loaded.
        """
        return make_problem(self.parameters, self.x0, self.bounds)

    @property
    def duplicates(self) -> bool:
        """Whether stragglers may be evaluated a second time elsewhere."""
        asked = self.evaluation.deterministic
        return not self.resources.custom if asked is None else asked

    @model_validator(mode="before")
    @classmethod
    def _names_beside(cls, data: Any, info: ValidationInfo) -> Any:
        """Tells expressions the names of the parameters, which may not have been validated yet."""
        listed = data.get("parameters") if isinstance(data, dict) else None
        if isinstance(info.context, dict) and isinstance(data, dict):
            objective = data.get("objective")
            info.context["fmu"] = isinstance(objective, dict) and objective.get("fmu") is not None
        if isinstance(info.context, dict) and isinstance(listed, list):
            names = (entry.get("name") for entry in listed if isinstance(entry, dict))
            info.context["parameters"] = tuple(name for name in names if isinstance(name, str))
        return data

    # Mistakes between two sections are checked with the later one, as soon as both are valid, whatever else is wrong.

    @field_validator("objective")
    @classmethod
    def _one_number(cls, objective: Objective, info: ValidationInfo) -> Objective:
        if objective.fmu is not None:
            return _one_number_of_fmu(objective, info.data.get("task"))
        if (
            objective.command is not None
            and objective.command.sigma is not None
            and info.data.get("task") == "minimize"
        ):
            text = "is for task least_squares, whose residuals it divides; task minimize takes J as value says"
            refuse("objective", [(("command", "sigma"), text, None)])
        value = objective.command.value if objective.command else None
        if isinstance(value, tuple) and len(value) > 1 and info.data.get("task") in ("gradient", "hessian", "minimize"):
            text = f"a list makes a vector, and task {info.data['task']} needs one number; use task jacobian"
            refuse("objective", [(("command", "value"), text, value)])
        return objective

    @field_validator("bounds")
    @classmethod
    def _around_x0(cls, bounds: Bounds, info: ValidationInfo) -> Bounds:
        x0 = info.data.get("x0")
        if info.data.get("parameters") is not None and bounds != Bounds():
            refuse("bounds", [((), "belongs to x0; parameters have lower and upper of their own", None)])
        if x0 is not None:
            refuse("bounds", bounds_mistakes(x0, bounds.lower, bounds.upper))
        return bounds

    @field_validator("derivative")
    @classmethod
    def _fits_objective_and_x(cls, derivative: Derivative, info: ValidationInfo) -> Derivative:
        step = derivative.step
        path: KeyPath = ("step",)
        if isinstance(step, AbsoluteStep):
            step, path = step.absolute, ("step", "absolute")
        objective = info.data.get("objective")
        reads_reals = objective is not None and (objective.command is not None or objective.fmu is not None)
        if derivative.scheme == "complex-step" and reads_reals:
            what = "an FMU" if objective is not None and objective.fmu is not None else "a program"
            text = f"gives J complex x, and {what} reads real numbers; use central or central4"
            refuse("derivative", [(("scheme",), text, derivative.scheme)])
        d = count(info.data.get("parameters"), info.data.get("x0"))
        if isinstance(step, tuple) and d and len(step) != d:
            refuse("derivative", [(path, f"has {len(step)} numbers for {d} parameters", step)])
        return derivative

    @field_validator("evaluation")
    @classmethod
    def _fits_objective_and_task(cls, evaluation: Evaluation, info: ValidationInfo) -> Evaluation:
        objective = info.data.get("objective")
        if evaluation.retry_if is not None and objective is not None and objective.command is None:
            refuse("evaluation", [(("retry_if",), "belongs to objective.command: only programs have a log", None)])
        if evaluation.on_failure == "repair" and info.data.get("task") in ("hessian", "noise"):
            text = f"is for gradients and Jacobians, and the task is {info.data['task']}; use nan or raise"
            refuse("evaluation", [(("on_failure",), text, "repair")])
        return evaluation

    @field_validator("cluster")
    @classmethod
    def _holds_what_an_evaluation_needs(cls, cluster: Cluster, info: ValidationInfo) -> Cluster:
        needs = info.data.get("resources")
        if cluster.address == SERIAL and needs is not None:
            keys = [key for key in ("num_gpus", "custom", "labels") if getattr(needs, key)]
            keys += ["nodes"] * (needs.nodes > 1)
            if keys:
                text = f"serial runs without Ray, and only Ray can assign resources.{keys[0]}"
                refuse("cluster", [(("address",), text, SERIAL)])
        return cluster

    @field_validator("minimize")
    @classmethod
    def _fits_task(cls, minimize: Minimize, info: ValidationInfo) -> Minimize:
        task = info.data.get("task")
        if task not in ("minimize", "least_squares"):
            return minimize
        if task == "least_squares" and "method" not in minimize.model_fields_set:
            minimize = minimize.model_copy(update={"method": "trf"})
        if (minimize.method in FITTERS) != (task == "least_squares"):
            fitting = ", ".join(FITTERS)
            text = f"belongs to task least_squares ({fitting})" if task == "minimize" else f"must be one of {fitting}"
            refuse("minimize", [(("method",), text, minimize.method)])
        parameters, bounds = info.data.get("parameters") or (), info.data.get("bounds", Bounds())
        if whole := [p.name for p in parameters if p.type == "integer" and not p.fixed]:
            text = f"{whole[0]} is of type integer, and an optimiser looks for values between; fix it (fixed: true)"
            refuse("minimize", [((), text, None)])
        bounded = bounds != Bounds() or any((p.lower, p.upper) != (None, None) for p in parameters)
        if bounded and minimize.method not in BOUNDED_METHODS:
            others = "trf or dogbox, or model" if task == "least_squares" else "L-BFGS-B, TNC, SLSQP or trust-constr"
            text = f"does not keep to bounds, and there are some; use {others}"
            refuse("minimize", [(("method",), text, minimize.method)])
        if minimize.constraints and minimize.method not in CONSTRAINED_METHODS:
            text = "takes no constraints, and there are some; use SLSQP or trust-constr"
            refuse("minimize", [(("method",), text, minimize.method)])
        refuse("minimize", _constraint_mistakes(minimize, info.data.get("objective")))
        names = tuple(p.name for p in parameters) or tuple(f"x{k}" for k in range(count(None, info.data.get("x0"))))
        refuse("minimize", _weighting_mistakes(minimize, info.data.get("objective"), task, names))
        return minimize
