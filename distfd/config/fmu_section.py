"""The keys of ``objective.fmu``: a Functional Mock-up Unit as J."""

from typing import Annotated, Literal, Self

from pydantic import Field, Strict, Tag, model_validator

from distfd.config.command_section import Folder, Value, unreadable_values
from distfd.config.field_types import Name, Numbers, Positive, Text, union
from distfd.config.section_base import Section, refuse


class Series(Section):
    """Two columns of a CSV file with a header."""

    file: Folder
    """Relative to the configuration."""
    time: Text | None = None
    """The column of times; null: time or t, or else the first."""
    column: Text | None = None
    """The column of values; null: the one that has the output's name."""


class Drive(Section):
    """The values of an input over time: two columns of a CSV file, or a list of times and values."""

    one_of = ("file", "times")

    file: Folder | None = None
    """A CSV file with a header, relative to the configuration."""
    time: Text | None = None
    """The column of times; null: time or t, or else the first."""
    column: Text | None = None
    """The column of values; null: the one that has the input's name."""
    times: Numbers | None = None
    """Times in increasing order; two equal times make a jump."""
    values: Numbers | None = None
    """One value for each time; values in between are interpolated."""

    @model_validator(mode="after")
    def _keys_belong(self) -> Self:
        if self.file is not None and self.values is not None:
            refuse("input", [(("values",), "belongs to times, and file is given", self.values)])
        given = [(key, getattr(self, key)) for key in ("time", "column")]
        if self.times is not None:
            refuse("input", [((key,), "belongs to file, and times is given", v) for key, v in given if v is not None])
            if self.values is None:
                refuse("input", [(("values",), "is missing: one for each of times", None)])
            elif len(self.values) != len(self.times):
                text = f"has {len(self.values)} numbers, and times has {len(self.times)}"
                refuse("input", [(("values",), text, self.values)])
        return self


File = Annotated[Folder, Tag("<text>")]
Signal = Annotated[
    Annotated[float, Tag("<number>")] | File | Annotated[Drive, Tag("<mapping>")],
    union("must be a number, a CSV file, {file, time, column}, or {times, values}"),
]
Measured = Annotated[File | Annotated[Series, Tag("<mapping>")], union("must be a CSV file, or {file, time, column}")]
Start = Annotated[
    Annotated[float, Tag("<number>")] | Annotated[bool, Tag("<flag>")] | Annotated[str, Tag("<text>")],
    union("must be a number, true or false, or a text"),
]


class FmuOutput(Section):
    """A variable, and which of its values over time to take."""

    variable: Text | None = None
    """The variable's name in the FMU; null: the same as the output's name."""
    at: Literal["last", "max", "min", "mean"] | None = None
    """Take its last, largest, smallest or mean value; by default the last."""
    times: Numbers | None = None
    """Take its values at these times, a vector."""
    data: Measured | None = None
    """A CSV file of measurements: take the residuals, value minus measurement, at the times of the file."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [key for key in ("at", "times", "data") if getattr(self, key) is not None]
        if len(given) > 1:
            refuse("output", [((given[1],), f"{given[0]} is given too", None)])
        return self

    @property
    def is_vector(self) -> bool:
        """Whether it is more than one number, as far as that is known here."""
        return self.data is not None or (self.times is not None and len(self.times) > 1)


class Fmu(Section):
    """A Functional Mock-up Unit (distfd[fmu]); parameters go by the names of its variables."""

    file: Folder
    """The .fmu, relative to the configuration. Its code runs in the workers: use none that you do not trust."""
    kind: Literal["co-simulation", "model-exchange"] | None = None
    """co-simulation: by the FMU's own solver; model-exchange: by CVode; null: co-simulation if the FMU has it."""
    start_time: float | None = None
    """When the simulation begins; null: the FMU's own start time, or 0."""
    stop_time: float | None = None
    """When the simulation ends; null: the FMU's own stop time."""
    step: Positive | None = None
    """The communication step; null: the FMU's own, or a 500th of the time."""
    tolerance: Positive | None = None
    """The solver's relative tolerance; null: the FMU's own, or 1e-8 for model exchange if it has none."""
    inputs: dict[Text, Signal] = Field(default={})
    """Values of inputs over time: a number, a CSV file, {file, time, column}, or {times, values}."""
    start: dict[Text, Start] = Field(default={})
    """Start values of variables that are not among the parameters, instead of the FMU's own."""
    outputs: Annotated[dict[Name, FmuOutput], Strict(strict=False), Field(min_length=1)]
    """What to take from the simulation, by name."""
    value: Value | None = None
    """J as an expression of outputs; a list makes a vector. By default the only output."""
    reset: bool | None = None
    """true: reset the FMU between points; false: make a new instance for each; null: compare both, and choose."""
    logging: bool = False
    """Have the FMU log everything that it can."""

    @model_validator(mode="after")
    def _readable_value(self) -> Self:
        if self.value is None and len(self.outputs) > 1:
            text = f"is needed, as there are several outputs: {', '.join(self.outputs)}"
            refuse("fmu", [(("value",), text, None)])
        refuse("fmu", unreadable_values(self.value, tuple(self.outputs)))
        return self
