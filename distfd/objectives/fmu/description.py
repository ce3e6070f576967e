"""An FMU's description of itself, modelDescription.xml, read without running any of the FMU's code."""

from __future__ import annotations

import importlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError, MissingSimulatorError
from distfd.core.suggestions import did_you_mean
from distfd.objectives.fmu.archive import DESCRIPTION, Contents, alone, read_contents

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

INSTALL = 'pip install "distfd[fmu]"'
KINDS = ("co-simulation", "model-exchange")
"""The kinds of FMI that can be simulated; if an FMU has both, the first is used by default."""
EXCHANGE = KINDS[1]
_LARGEST_REFERENCE = 2**32 - 1
"""Largest value reference: FMI 2 and 3 number variables by unsigned integers of 32 bits."""
_SHOWN = 12
"""Largest number of names in a message."""


def library(name: str = "fmpy") -> Any:
    """FMPy, or one of its modules, imported.

    Raises
    ------
    MissingSimulatorError
        If FMPy is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingSimulatorError(f"FMPy, which runs FMUs, is not installed ({error}): {INSTALL}") from error


@dataclass(frozen=True)
class Variable:
    """One variable of an FMU.

    Attributes
    ----------
    type : str
        The type in its FMI version: Real, Float64, Integer, Int32, Boolean, Enumeration, String ...
    start : float or None
        Its start value, if that is one number.
    lower, upper : float
        Its min and max, infinite where it has none.
    size : int
        Number of its elements; 0 for a scalar.
    """

    name: str
    type: str
    reference: int
    causality: str
    variability: str
    initial: str | None
    start: float | None
    lower: float
    upper: float
    nominal: float | None
    unit: str
    size: int
    description: str

    @property
    def is_real(self) -> bool:
        """Whether the variable is a floating-point number."""
        return self.type in ("Real", "Float64", "Float32")

    @property
    def is_integer(self) -> bool:
        """Whether the variable is an integer."""
        return self.type == "Integer" or self.type.startswith(("Int", "UInt"))

    @property
    def is_number(self) -> bool:
        """Whether its value can be an output: a number, a Boolean, or an enumeration, which is stored as a number."""
        return self.is_real or self.is_integer or self.type in ("Boolean", "Enumeration")

    def why_not_set(self) -> str:  # noqa: PLR0911  # one return a reason
        """Why it cannot be set before the simulation starts, in words that follow its name; "" if it can be.

        The rules are those of FMI 2.0.4, section 2.2.7, and FMI 3.0, section 2.4.7.4.
        """
        kind = f"has causality {self.causality} and variability {self.variability}"
        if self.causality == "independent":
            return "is the time; start_time and stop_time say where it begins and ends"
        if self.causality == "calculatedParameter":
            return "is calculated by the FMU from other parameters (causality calculatedParameter)"
        if self.causality == "structuralParameter":
            return "is a structural parameter, which changes the model's size"
        if self.variability == "constant":
            return "is a constant of the FMU (variability constant)"
        if self.causality == "input" or self.initial == "exact":
            return ""
        if self.initial == "approx":
            return f'{kind}, and initial="approx": its start value is a guess, from which the FMU calculates another'
        return (
            f"{kind}, and the FMU calculates it: only parameters, inputs, and start values with initial=exact are set"
        )


@dataclass(frozen=True)
class Interface:
    """How an FMU is simulated: with its own solver, or, for model exchange, with distfd's."""

    kind: str
    """One of `KINDS`."""
    identifier: str
    needs_tool: bool
    once: bool
    """Whether a process can only ever have one instance of the FMU."""
    variable_step: bool
    fixed_step: float | None

    @property
    def is_exchange(self) -> bool:
        """Whether the FMU has only equations, which a solver of distfd integrates."""
        return self.kind == EXCHANGE


@dataclass(frozen=True)
class Description:
    """The contents of an FMU's description, as plain data."""

    file: str
    version: str
    """The FMI version."""
    model: str
    tool: str
    variables: Mapping[str, Variable]
    interface: Interface
    kinds: tuple[str, ...]
    """The `KINDS` that the FMU supports; ``interface`` is for the one in use."""
    start_time: float | None
    stop_time: float | None
    step: float | None
    tolerance: float | None
    categories: tuple[str, ...]
    """The categories of the FMU's log."""
    binaries: tuple[str, ...]
    """The platforms for which the FMU has a compiled library."""
    has_sources: bool

    @property
    def major(self) -> int:
        """The FMI version's first number: 2 or 3."""
        return int(self.version.partition(".")[0])

    @property
    def parameters(self) -> tuple[Variable, ...]:
        """The parameters that distfd can move: scalar and real."""
        found = (v for v in self.variables.values() if v.causality == "parameter" and v.is_real and not v.size)
        return tuple(v for v in found if not v.why_not_set())

    def variable(self, name: str, what: str) -> Variable:
        """The variable with this name.

        Raises
        ------
        InputError
            If there is none; the message lists the names, and the one that was probably meant.
        """
        if (found := self.variables.get(name)) is not None:
            return found
        raise InputError(f"{what}: {Path(self.file).name} has no variable {name!r}{self._near(name)}")

    def why_not_here(self) -> str:
        """Why the FMU cannot run on this machine: it has no binary for it; "" if it can."""
        fmpy, name = library(), Path(self.file).name
        platform = fmpy.platform if self.major == 2 else fmpy.platform_tuple
        if platform in self.binaries:
            return ""
        there = ", ".join(self.binaries) or "none at all"
        more = f"; it has C sources: python -m fmpy compile {name} builds one" if self.has_sources else ""
        return f"{name} has no binary for this platform, {platform}; it has {there}{more}"

    def _near(self, name: str) -> str:
        if near := did_you_mean(name, self.variables):
            return near
        tail = name.rpartition(".")[2].lower()
        inside = [known for known in self.variables if tail and tail in known.lower().split(".")]
        if inside:
            return f"; did you mean {inside[0]!r}?"
        return f"; its parameters are {listed(v.name for v in self.parameters)}"


def listed(names: Iterable[str]) -> str:
    """Names in a row; of many, the first ones."""
    known = list(names)
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return (", ".join(known[:_SHOWN]) or "none") + more


def read_description(file: str | Path, kind: str | None = None) -> Description:
    """Reads an FMU's modelDescription.xml; none of the FMU's code is run.

    Parameters
    ----------
    file : path
    kind : str, optional
        One of `KINDS`, to be used for the simulation; by default the first that the FMU supports.

    Raises
    ------
    InputError
        If the file is missing or not an FMU, its FMI version is neither 2 nor 3, or it does not support this kind.
    MissingSimulatorError
        If FMPy is not installed.
    """
    library()
    path = Path(file)
    contents = read_contents(path)
    if not contents.version.startswith(("2.", "3.")):
        raise InputError(f"file: {path} is an FMU of FMI {contents.version[:20]}; FMI 2 and 3 can be used")
    try:
        found = parsed(contents.xml)
    except Exception as error:  # FMPy raises exceptions of many classes
        raise InputError(f"file: {path}: its {DESCRIPTION} cannot be read: {_one_line(error)}") from error
    there = [
        known
        for known, given in zip(KINDS, (found.coSimulation, found.modelExchange), strict=True)
        if given is not None
    ]
    if not there:
        tool = f", {found.generationTool}," if found.generationTool else ""
        raise InputError(
            f"file: {path.name} is for scheduled execution alone; have the tool that made it{tool} export it for "
            "co-simulation or model exchange"
        )
    if kind is not None and kind not in there:
        if kind not in KINDS:
            raise InputError(f"kind: is {' or '.join(KINDS)} (given {kind!r}){did_you_mean(kind, KINDS)}")
        raise InputError(f"kind: {path.name} is for {there[0]} alone, not for {kind}; leave kind out")
    try:
        return _description(path, found, contents, kind or there[0], tuple(there))
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"file: {path}: its {DESCRIPTION} is wrong: {_one_line(error)}") from error


def parsed(xml: bytes) -> Any:
    """FMPy's form of a modelDescription.xml that `read_contents` has checked."""
    return library("fmpy.model_description").read_model_description(alone(xml), validate=False)


def _description(path: Path, found: Any, contents: Contents, kind: str, kinds: tuple[str, ...]) -> Description:
    given, experiment = found.modelExchange if kind == EXCHANGE else found.coSimulation, found.defaultExperiment
    identifier = str(given.modelIdentifier)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", identifier):  # it names a file in binaries/, and C functions
        raise ValueError(f"modelIdentifier {identifier[:80]!r} is no identifier of C")
    times = {
        key: None if experiment is None else _number(getattr(experiment, own))
        for key, own in (
            ("start_time", "startTime"),
            ("stop_time", "stopTime"),
            ("step", "stepSize"),
            ("tolerance", "tolerance"),
        )
    }
    parts = [name.split("/") for name in contents.names]
    suffixes = (".so", ".dll", ".dylib")
    libraries = [
        each[1]
        for each in parts
        if len(each) == 3
        and each[0] == "binaries"
        and each[2].endswith(suffixes)
        and each[2].rpartition(".")[0] == identifier
    ]
    return Description(
        file=str(path),
        version=str(found.fmiVersion),
        model=str(found.modelName),
        tool=str(found.generationTool or ""),
        variables={variable.name: _variable(variable) for variable in found.modelVariables},
        interface=Interface(
            kind=kind,
            identifier=identifier,
            needs_tool=bool(given.needsExecutionTool),
            once=bool(given.canBeInstantiatedOnlyOncePerProcess),
            variable_step=kind == EXCHANGE or bool(given.canHandleVariableCommunicationStepSize),
            fixed_step=_number(getattr(given, "fixedInternalStepSize", None)),
        ),
        kinds=kinds,
        categories=tuple(category.name for category in found.logCategories if category.name),
        binaries=tuple(sorted(set(libraries))),
        has_sources=any(name.startswith("sources/") and name.endswith(".c") for name in contents.names),
        **times,
    )


def _variable(given: Any) -> Variable:
    declared = given.declaredType
    lower, upper, nominal = (
        _number(getattr(given, key)) if getattr(given, key) is not None else _number(getattr(declared, key, None))
        for key in ("min", "max", "nominal")
    )
    is_text = given.type in ("String", "Binary", "Clock")
    reference = int(given.valueReference)
    if not 0 <= reference <= _LARGEST_REFERENCE:
        raise ValueError(f"{given.name} has valueReference {reference}")
    start = {"true": "1", "false": "0"}.get(str(given.start).strip().lower(), given.start)
    return Variable(
        name=given.name,
        type=given.type,
        reference=reference,
        causality=given.causality,
        variability=given.variability,
        initial=given.initial,
        start=None if is_text or given.shape else _number(start),
        lower=-math.inf if lower is None else lower,
        upper=math.inf if upper is None else upper,
        nominal=nominal,
        unit=given.unit or getattr(declared, "unit", None) or "",
        size=math.prod(given.shape) if given.shape else 0,
        description=given.description or "",
    )


def _number(text: Any) -> float | None:
    return None if text is None else float(text)


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
