"""What an FMU says of itself in its modelDescription.xml: read without running any of its code."""

from __future__ import annotations

import hashlib
import importlib
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfd.core.errors import InputError, MissingSimulatorError
from distfd.core.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

INSTALL = 'pip install "distfd[fmu]"'
LARGEST_XML = 256 * 2**20
"""Bytes of a modelDescription.xml beyond which it is not read: the largest that tools write have some 100 MB."""

CO_SIMULATION, MODEL_EXCHANGE = "co-simulation", "model-exchange"
_SHOWN = 12
"""Names that a message lists."""


def library(name: str = "fmpy") -> Any:
    """FMPy, or one of its modules.

    Raises
    ------
    MissingSimulatorError
        If it is not installed.
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
        As its FMI version has it: Real, Float64, Integer, Int32, Boolean, Enumeration, String ...
    start : float or None
        Its start value, if that is one number.
    lower, upper : float
        Its min and max, infinite where there is none.
    size : int
        The number of its elements; 0 for one that is no array.
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
        """Whether it is a floating-point number."""
        return self.type in ("Real", "Float64", "Float32")

    @property
    def is_integer(self) -> bool:
        """Whether it is a whole number."""
        return self.type == "Integer" or self.type.startswith(("Int", "UInt"))

    @property
    def is_number(self) -> bool:
        """Whether its value can be an output: a number, or a Boolean or an enumeration's number."""
        return self.is_real or self.is_integer or self.type in ("Boolean", "Enumeration")

    def why_not_set(self) -> str:  # noqa: PLR0911  # one return a reason
        """Why no value can be given to it before the simulation starts, in words that follow its name; "" if one can.

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
    """One of the ways in which an FMU can be simulated."""

    identifier: str
    needs_tool: bool
    once: bool
    """Whether a process can have only one instance of it, ever."""
    variable_step: bool
    fixed_step: float | None


@dataclass(frozen=True)
class Description:
    """What an FMU says of itself; plain data."""

    file: str
    version: str
    """Of FMI."""
    model: str
    tool: str
    variables: Mapping[str, Variable]
    interfaces: Mapping[str, Interface]
    start_time: float | None
    stop_time: float | None
    step: float | None
    tolerance: float | None
    categories: tuple[str, ...]
    """Of its log."""
    binaries: tuple[str, ...]
    """The platforms for which it has some."""
    has_sources: bool

    @property
    def major(self) -> int:
        """The FMI version's first number: 2 or 3."""
        return int(self.version.partition(".")[0])

    @property
    def parameters(self) -> tuple[Variable, ...]:
        """The variables that are parameters which distfd can move: scalar and real."""
        found = (v for v in self.variables.values() if v.causality == "parameter" and v.is_real and not v.size)
        return tuple(v for v in found if not v.why_not_set())

    def variable(self, name: str, what: str) -> Variable:
        """The variable of this name.

        Raises
        ------
        InputError
            If there is none; says which there are, and which was meant.
        """
        if (found := self.variables.get(name)) is not None:
            return found
        raise InputError(f"{what}: {Path(self.file).name} has no variable {name!r}{self._near(name)}")

    def _near(self, name: str) -> str:
        if near := did_you_mean(name, self.variables):
            return near
        tail = name.rpartition(".")[2].lower()
        inside = [known for known in self.variables if tail and tail in known.lower().split(".")]
        if inside:
            return f"; did you mean {inside[0]!r}?"
        return f"; its parameters are {listed(v.name for v in self.parameters)}"


def listed(names: Iterable[str]) -> str:
    """Names in a row, the first of many."""
    known = list(names)
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return (", ".join(known[:_SHOWN]) or "none") + more


def content_hash(file: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_description(file: str | Path) -> Description:
    """Read an FMU's modelDescription.xml; none of its code is run.

    Raises
    ------
    InputError
        If the file is missing, no FMU, or of a version of FMI that is not 2 or 3.
    MissingSimulatorError
        If FMPy is not installed.
    """
    reader = library("fmpy.model_description")
    path = Path(file)
    if not path.is_file():
        there = [other.name for other in path.parent.glob("*.fmu")] if path.parent.is_dir() else []
        what = "is a folder, not an FMU" if path.is_dir() else "does not exist"
        raise InputError(f"file: {path} {what}{did_you_mean(path.name, there)}")
    binaries, has_sources = _content(path)
    try:
        found = reader.read_model_description(str(path), validate=False)
    except Exception as error:  # of many classes
        raise InputError(f"file: {path}: its modelDescription.xml cannot be read: {_one_line(error)}") from error
    if not str(found.fmiVersion).startswith(("2.", "3.")):
        raise InputError(f"file: {path} is an FMU of FMI {found.fmiVersion}; FMI 2 and 3 can be used")
    try:
        return _description(path, found, binaries, has_sources)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"file: {path}: its modelDescription.xml is wrong: {_one_line(error)}") from error


def _content(path: Path) -> tuple[tuple[str, ...], bool]:
    """The platforms of an FMU's binaries, and whether it has C sources."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if "modelDescription.xml" not in names:
                raise InputError(f"file: {path} is no FMU: it is a ZIP archive without a modelDescription.xml")
            size = archive.getinfo("modelDescription.xml").file_size
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"file: {path} is no FMU, which is a ZIP archive: {error}") from error
    except OSError as error:
        raise InputError(f"file: {path}: {error.strerror or error}") from error
    if size > LARGEST_XML:
        raise InputError(f"file: {path}: its modelDescription.xml has {size / 2**20:.0f} MiB, which is too large")
    parts = [name.split("/") for name in names]
    platforms = sorted({each[1] for each in parts if len(each) > 2 and each[0] == "binaries" and each[2]})
    return tuple(platforms), any(name.startswith("sources/") and name.endswith(".c") for name in names)


def _description(path: Path, found: Any, binaries: tuple[str, ...], has_sources: bool) -> Description:
    interfaces = {
        kind: Interface(
            identifier=str(given.modelIdentifier),
            needs_tool=bool(given.needsExecutionTool),
            once=bool(given.canBeInstantiatedOnlyOncePerProcess),
            variable_step=bool(getattr(given, "canHandleVariableCommunicationStepSize", True)),
            fixed_step=_number(getattr(given, "fixedInternalStepSize", None)),
        )
        for kind, given in ((CO_SIMULATION, found.coSimulation), (MODEL_EXCHANGE, found.modelExchange))
        if given is not None
    }
    experiment = found.defaultExperiment
    times = {
        key: None if experiment is None else _number(getattr(experiment, given))
        for key, given in (
            ("start_time", "startTime"),
            ("stop_time", "stopTime"),
            ("step", "stepSize"),
            ("tolerance", "tolerance"),
        )
    }
    return Description(
        file=str(path),
        version=str(found.fmiVersion),
        model=str(found.modelName),
        tool=str(found.generationTool or ""),
        variables={variable.name: _variable(variable) for variable in found.modelVariables},
        interfaces=interfaces,
        categories=tuple(category.name for category in found.logCategories if category.name),
        binaries=binaries,
        has_sources=has_sources,
        **times,
    )


def _variable(given: Any) -> Variable:
    declared = given.declaredType
    lower, upper, nominal = (
        _number(getattr(given, key)) if getattr(given, key) is not None else _number(getattr(declared, key, None))
        for key in ("min", "max", "nominal")
    )
    is_text = given.type in ("String", "Binary", "Clock")
    start = {"true": "1", "false": "0"}.get(str(given.start).strip().lower(), given.start)
    return Variable(
        name=given.name,
        type=given.type,
        reference=int(given.valueReference),
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
