"""The keys of ``objective.command.outputs`` and ``data``: where numbers are found in files."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, Strict, Tag, model_validator

from distfd.config.field_types import (
    MOST,
    Count,
    FromZero,
    InputFile,
    ModuleName,
    OneGroup,
    Regex,
    Text,
    WorkFile,
    only,
    union,
)
from distfd.config.section_base import Section, refuse, wrong


def _pointer(text: str) -> str:
    if (text and not text.startswith("/")) or any(part[:1] not in ("0", "1") for part in text.split("~")[1:]):
        raise wrong(
            "must be a JSON pointer (RFC 6901): /key/0/key, with ~1 for / and ~0 for ~ inside a key", f"/{text}"
        )
    return text


def _from_an_end(number: int) -> int:
    if number == 0:
        raise wrong("must be >= 1")
    return number


Pointer = Annotated[str, AfterValidator(_pointer)]
Index = FromZero
Indices = Annotated[tuple[Index, ...], Strict(strict=False), Field(min_length=1)]
Ordinal = Annotated[int, Field(ge=-MOST, le=MOST), AfterValidator(_from_an_end)]
"""From 1, or from the end by -1."""
Column = Annotated[
    Annotated[Count, Tag("<number>")] | Annotated[Text, Tag("<text>")], union("must be a column's name or number")
]
Line = Annotated[
    Annotated[Ordinal, Tag("<number>")] | Annotated[Regex, Tag("<text>")],
    union("must be a line's number, or a regular expression that finds it"),
]
_ROW = "must be a row's number from 1 below the header, -1 for the last, or all"
Row = Annotated[
    Annotated[Ordinal, Tag("<number>")] | Annotated[Literal["all"], only("all", _ROW), Tag("<text>")], union(_ROW)
]
_WHICH = "must be first, last, all, or a number from 1 or, from the end, -1"
Which = Annotated[
    Annotated[Ordinal, Tag("<number>")] | Annotated[Literal["first", "last", "all"], Tag("<text>")], union(_WHICH)
]
DELIMITERS = ("tab", "comma", "semicolon", "whitespace")
"""Those that have a name."""
Cells = Annotated[
    Annotated[float, Tag("<number>")] | Annotated[str, Tag("<text>")], union("must be a number or a text")
]
_AT = "must be an index from 0, or a list with one for each dimension, all, or {array: name, index: ...} of an .npz"
At = Annotated[
    Annotated[Index, Tag("<number>")]
    | Annotated[Indices, Tag("<list>")]
    | Annotated[Literal["all"], only("all", _AT), Tag("<text>")],
    union(_AT),
]


class Member(Section):
    """An array of an .npz archive."""

    array: Text
    """Its name."""
    index: At = "all"
    """Which element; all of it by default."""


Places = Annotated[
    Annotated[int, Tag("<number>")]
    | Annotated[tuple[int, ...], Strict(strict=False), Field(min_length=1), Tag("<list>")]
    | Annotated[Literal["all"], only("all", "must be an index, a list of them, or all"), Tag("<text>")],
    union("must be an index, a list of them, or all"),
]


class LibraryArray(Section):
    """An array in a file that a library reads."""

    array: Text
    """Its name in the file."""
    index: Places = "all"
    """Which element, from 0, or from the end by -1; a list has one for each dimension. All of it by default."""


AtOrMember = Annotated[
    Annotated[Index, Tag("<number>")]
    | Annotated[Indices, Tag("<list>")]
    | Annotated[Literal["all"], only("all", _AT), Tag("<text>")]
    | Annotated[Member, Tag("<mapping>")],
    union(_AT),
]


class Cell(Section):
    """A cell of a table."""

    column: Column
    """The column's name in the header, or its number from 1."""
    row: Row | None = None
    """The row's number from 1, below the header; -1 is the last row, and all is the whole column."""
    where: Annotated[dict[Text, Cells], Field(min_length=1)] | None = None
    """Instead of row: the one row that has these values, {header: value}."""
    delimiter: Text = ","
    """One character, tab, comma, semicolon, or whitespace for any run of blanks."""
    skip: FromZero = 0
    """How many lines to skip before the header."""
    header: bool = True
    """false: the table has no header, and column must be a number."""
    comment: Text | None = None
    """Skip lines that begin with this; the last of them before the first row of numbers is the header."""
    decimal: Literal[".", ","] = "."
    """The decimal mark."""
    start: Regex | None = None
    """The table begins after the first line in which this is found."""
    until: Regex | None = None
    """The table ends before the next line in which this is found."""

    @model_validator(mode="after")
    def _one_row(self) -> Self:
        if self.row is None and self.where is None:
            refuse("csv", [(("row",), "is missing", None)])
        if self.row is not None and self.where is not None:
            refuse("csv", [(("where",), "row is given too", None)])
        if len(self.delimiter) != 1 and self.delimiter not in DELIMITERS:
            refuse("csv", [(("delimiter",), f"must be one character, or {', '.join(DELIMITERS)}", self.delimiter)])
        if self.decimal == "," and self.delimiter in (",", "comma"):
            refuse("csv", [(("decimal",), "is the delimiter too; say delimiter: semicolon, tab or whitespace", ",")])
        if not self.header and (isinstance(self.column, str) or self.where):
            refuse("csv", [(("header",), "without one there are no names, only numbers of columns", False)])
        return self


class Columns(Section):
    """Characters of one line of a fixed-width file."""

    line: Line
    """The line's number from 1 (-1 is the last), or a regular expression that finds it."""
    from_: Count = Field(alias="from")
    """First character, from 1."""
    to: Count
    """Last character, inclusive."""

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.to < self.from_:
            refuse("columns", [(("to",), f"is before from, which is {self.from_}", self.to)])
        return self


class Token(Section):
    """A word of a line."""

    line: Line
    """The line's number from 1 (-1 is the last), or a regular expression that finds it."""
    field: Ordinal
    """Which word of the line: 1 is the first, -1 the last."""
    below: FromZero = 0
    """Read the word this many lines below the line that was found."""
    delimiter: Text = "whitespace"
    """What separates words: one character, tab, comma, semicolon, or whitespace."""

    @model_validator(mode="after")
    def _some_line(self) -> Self:
        if self.below and not isinstance(self.line, str):
            refuse("token", [(("below",), "goes with a line that is found by a regex", self.below)])
        if len(self.delimiter) != 1 and self.delimiter not in DELIMITERS:
            refuse("token", [(("delimiter",), f"must be one character, or {', '.join(DELIMITERS)}", self.delimiter)])
        return self


class _Numbers(Section):
    """Where in a file numbers are."""

    json_: Pointer | None = Field(default=None, alias="json")
    """A JSON pointer: /mass/0."""
    csv: Cell | None = None
    """A cell of a table."""
    regex: OneGroup | None = None
    """With one group, which holds the number; must match exactly once. ^ and $ match at every line."""
    columns: Columns | None = None
    """Characters of one line."""
    token: Token | None = None
    """A word of a line that is found by its number or by a regular expression."""
    npy: AtOrMember | None = None
    """An index from 0, or a list with one for each dimension; {array: name, index: ...} of an .npz."""
    mat: LibraryArray | None = None
    """A variable of MATLAB's .mat file."""
    hdf5: LibraryArray | None = None
    """A dataset of an HDF5 file; needs distfd[files]."""
    netcdf: LibraryArray | None = None
    """A variable of a NetCDF file; of NetCDF 4 needs distfd[files]."""
    vtk: LibraryArray | None = None
    """An array of a VTK file's points or cells; needs distfd[files]."""
    which: Which | None = None
    """Which match of a regex to take if there are several: first, last, all, or its number."""

    @model_validator(mode="after")
    def _which_of_several(self) -> Self:
        lines = [part.line for part in (self.columns, self.token) if part is not None]
        by_regex = self.regex is not None or any(isinstance(line, str) for line in lines)
        if self.which is not None and not by_regex:
            text = "goes with regex, or with columns or token whose line is found by a regex"
            refuse("output", [(("which",), text, self.which)])
        return self


class Output(_Numbers):
    """Where to find one output in what the program wrote."""

    one_of = ("json", "csv", "regex", "columns", "token", "npy", "mat", "hdf5", "netcdf", "vtk", "python")

    file: WorkFile | None = None
    """A file in the work directory, or stdout or stderr. Not needed with python."""
    python: ModuleName | None = None
    """A function that gets the path of the work directory and returns the output, as module:qualname."""

    @model_validator(mode="after")
    def _some_file(self) -> Self:
        if self.file is None and self.python is None:
            refuse("output", [(("file",), "is missing", None)])
        return self


class Data(_Numbers):
    """Measurements, read from a file beside the configuration."""

    one_of = ("json", "csv", "regex", "columns", "token", "npy", "mat", "hdf5", "netcdf", "vtk")

    file: InputFile
    """Relative to the configuration."""
