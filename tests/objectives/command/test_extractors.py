"""Each kind of output: what it reads, and that it names what it cannot read."""

from __future__ import annotations

import json
import math
import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distfd.errors import InputError
from distfd.objectives.command import text_files
from distfd.objectives.command.outputs import parse_output
from distfd.objectives.command.user_function import UserFunction
from distfd.objectives.command.values import LARGEST, OutputError, as_value, number

if TYPE_CHECKING:
    from pathlib import Path


def read(tmp_path: Path, content: str | bytes, **kind: Any) -> Any:
    path = tmp_path / "out"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    output = parse_output("J", {"file": "out", **kind}, str(tmp_path))
    assert not isinstance(output.extractor, UserFunction)
    return as_value(output.extractor.read(path))


def npy(tmp_path: Path, array: Any) -> bytes:
    np.save(tmp_path / "made.npy", array)
    return (tmp_path / "made.npy").read_bytes()


DOCUMENT = json.dumps(
    {"a": {"b": [1, {"c/d": 2.5, "e~f": 3}]}, "": 4, "list": [1, 2.5], "s": "1.5", "t": True, "n": None}
)


@pytest.mark.parametrize(
    ("pointer", "expected"), [("/a/b/0", 1), ("/a/b/1/c~1d", 2.5), ("/a/b/1/e~0f", 3), ("/", 4), ("/list", [1, 2.5])]
)
def test_json(tmp_path: Path, pointer: str, expected: Any) -> None:
    np.testing.assert_array_equal(read(tmp_path, DOCUMENT, json=pointer), expected)


@pytest.mark.parametrize("pointer", ["/x", "/a/b/2", "/a/b/-1", "/a/b/01", "/a/b/0/0", "/s", "/t", "/n", "/a", ""])
def test_json_refused(tmp_path: Path, pointer: str) -> None:
    with pytest.raises(OutputError):
        read(tmp_path, DOCUMENT, json=pointer)


@pytest.mark.parametrize("text", ["", "{", DOCUMENT[:-5], "[" * 100_000, "\x00", "[1, [2]]", "[1, true]", "[null]"])
def test_json_cut_or_odd(tmp_path: Path, text: str) -> None:
    with pytest.raises(OutputError):
        read(tmp_path, text, json="")


def test_integers_of_more_digits_than_python_reads(tmp_path: Path) -> None:
    digits = "9" * 100_000
    assert read(tmp_path, f"[{digits}, 1.5]", json="/1") == 1.5
    assert read(tmp_path, f"[{digits}]", json="/0") == math.inf
    with pytest.raises(OutputError, match="has no element"):
        read(tmp_path, "[1]", json=f"/{digits}")


def test_json_whole_document_and_non_finite(tmp_path: Path) -> None:
    assert read(tmp_path, "3.25", json="") == 3.25
    assert math.isnan(read(tmp_path, "NaN", json=""))


TABLE = "time, load,stress\n0,1,2.5\n1,2,-3D-1\n\n2,3,4e2\n"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"column": "stress", "row": 1}, 2.5),
        ({"column": "stress", "row": 2}, -0.3),
        ({"column": "load", "row": 3}, 3),
        ({"column": 3, "row": -1}, 400),
        ({"column": "load"}, [1, 2, 3]),
    ],
)
def test_csv(tmp_path: Path, spec: dict[str, Any], expected: Any) -> None:
    np.testing.assert_array_equal(read(tmp_path, TABLE, csv=spec), expected)
    np.testing.assert_array_equal(read(tmp_path, TABLE.replace("\n", "\r\n"), csv=spec), expected)


def test_csv_other_delimiter(tmp_path: Path) -> None:
    assert read(tmp_path, "a;b\n1;2\n", csv={"column": "b", "row": 1, "delimiter": ";"}) == 2


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        (TABLE, {"column": "strain", "row": 1}),
        (TABLE, {"column": 4, "row": 1}),
        (TABLE, {"column": "load", "row": 4}),
        (TABLE, {"column": "load", "row": -4}),
        (TABLE[: TABLE.index("3,4e2")], {"column": "time", "row": 3}),  # cut within the row
        ("a,a\n1,2\n", {"column": "a", "row": 1}),
        ("a,b\n1,\n", {"column": "b", "row": 1}),
        ("a,b\n1,2x\n", {"column": "b", "row": 1}),
        ('a,b\n1,"2\n', {"column": "b", "row": 1}),
        ("", {"column": "a", "row": 1}),
    ],
)
def test_csv_refused(tmp_path: Path, text: str, spec: dict[str, Any]) -> None:
    with pytest.raises(OutputError):
        read(tmp_path, text, csv=spec)


def test_regex(tmp_path: Path) -> None:
    assert read(tmp_path, "x\nmass = 1.25 kg\ny\n", regex=r"^mass = (\S+) kg$") == 1.25
    assert read(tmp_path, b"caf\xe9 mass = 2\xff\n", regex=r"mass = ([0-9]+)") == 2


@pytest.mark.parametrize(
    "text", ["", "mass = 1\nmass = 2\n", "Mass = 1\n", "mass = ****\n", "mass = 1_0\n", "mass = 1.2.3\n"]
)
def test_regex_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(OutputError):
        read(tmp_path, text, regex=r"^mass = (\S+)$")


def test_regex_refused_names_the_text(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\*\*\*\*"):
        read(tmp_path, "mass = ****\n", regex=r"^mass = (\S+)$")


FIXED = "node      ux        uy\n   1-1.234E+01-5.678E+00\n   2 1.0D-03    2.5\nend"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"line": 2, "from": 5, "to": 14}, -12.34),
        ({"line": 2, "from": 15, "to": 24}, -5.678),
        ({"line": r"^ +2", "from": 6, "to": 12}, 1e-3),
        ({"line": -2, "from": 13, "to": 99}, 2.5),
    ],
)
def test_columns(tmp_path: Path, spec: dict[str, Any], expected: float) -> None:
    assert read(tmp_path, FIXED, columns=spec) == expected


@pytest.mark.parametrize(
    "spec",
    [
        {"line": 9, "from": 1, "to": 2},
        {"line": -9, "from": 1, "to": 2},
        {"line": "1", "from": 1, "to": 200},  # several lines match
        {"line": "zzz", "from": 1, "to": 2},
        {"line": 2, "from": 5, "to": 24},  # two numbers that ran together
        {"line": 2, "from": 40, "to": 50},
        {"line": 3, "from": 13, "to": 14},  # blank
        {"line": 4, "from": 1, "to": 5},  # the last line, without its newline: cut
    ],
)
def test_columns_refused(tmp_path: Path, spec: dict[str, Any]) -> None:
    with pytest.raises(OutputError):
        read(tmp_path, FIXED, columns=spec)


@pytest.mark.parametrize(
    ("line", "first", "last", "whole"),
    [
        ("dp    8798.179", 8, 14, "8798.179"),
        ("dp    8798.179", 7, 13, "8798.179"),
        ("dp   -8798.179", 7, 14, "-8798.179"),
        ("1.5E-03 2.0", 1, 4, "1.5E-03"),
        ("1.5E-03 2.0", 7, 7, "1.5E-03"),
        ("1.5D+03", 1, 3, "1.5D+03"),
        ("12345", 2, 4, "12345"),
        ("x=12345", 4, 7, "12345"),
    ],
)
def test_columns_that_cut_a_number_are_refused(tmp_path: Path, line: str, first: int, last: int, whole: str) -> None:
    with pytest.raises(OutputError, match=re.escape(f"line 1: columns {first}-{last} cut the number {whole!r}")):
        read(tmp_path, line + "\n", columns={"line": 1, "from": first, "to": last})


@pytest.mark.parametrize(
    ("text", "pattern", "whole"),
    [
        ("cd = 2,25", r"([0-9.]+)$", "2,25"),
        ("cd = 2,25", r"cd = ([0-9.]+)", "2,25"),
        ("cd = 2,25e-3;", r"cd = ([0-9.]+)", "2,25e-3"),
        ("cd = 1,234.5", r"cd = ([0-9.]+)", "1,234.5"),
        ("cd = 1.5e-3", r"cd = ([0-9.]+)", "1.5e-3"),
        ("cd = 1.5D+03 N", r"cd = ([0-9.]+) ?", "1.5D+03"),
        ("cd = 1.5-103", r"cd = ([0-9.]+)", "1.5-103"),
        ("cd = 1.5e-3 N", r"cd = ([0-9.]+).* N", "1.5e-3"),
        ("cd = 12.75", r"cd = ([0-9]+)", "12.75"),
        ("cd = 125", r"cd.*([0-9.]+)", "125"),
        ("cd = 12.5", r"cd.*([0-9]+)", "12.5"),
        ("cd = -12.5", r"cd.*?([0-9.]+)", "-12.5"),
        ("-12.5 N", r"([0-9.]+) N", "-12.5"),
        ("cd: (-12.5)", r"([0-9.]+)", "-12.5"),
        ("cd = +1.25", r"cd = .([0-9])", "+1.25"),
        ("cd = -12.5", r"cd\D+([0-9.]+)", "-12.5"),
        ("cd = -12.5", r"cd = [-+]?([0-9.]+)", "-12.5"),
        ("cd = 1.5e-3", r"cd.*([0-9]+)", "1.5e-3"),
        ("cd = -1.5e-3", r"cd\D+([0-9.]+)", "-1.5e-3"),
        ("mode-1.5e-3", r"([0-9.]+)$", "-1.5e-3"),
        ("cd = 12", r"cd = ([0-9])", "12"),
        ("cd = 1'234.5", r"cd = ([0-9.]+)", "1'234.5"),
        ("cd = 1\u2019234'567.5", r"cd = ([0-9.]+)", "1\u2019234'567.5"),
        ("cd = 1_234.5 N", r"([0-9.]+) N", "1_234.5"),
        ("cd = -1\xa0234,5", r"cd = (\S+)", "-1\xa0234,5"),
        ("cd = 1\u202f234", r"cd = (\S+)", "1\u202f234"),
        ("cd = \u221212.5", r"cd = .?([0-9.]+)", "-12.5"),
        ("cd = 1 062.5", r"cd = (\S+)", "1 062.5"),
        ("cd = 1 062.5", r"([0-9.]+)$", "1 062.5"),
        ("cd = -21 162 062,5", r"cd = (\S+)", "-21 162 062,5"),
    ],
)
@pytest.mark.parametrize("large", [False, True])
def test_a_group_that_cuts_a_number_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, text: str, pattern: str, whole: str, large: bool
) -> None:
    if large:
        monkeypatch.setattr(text_files, "LARGEST", -1)
    with pytest.raises(OutputError, match=re.escape(f"a part of the number {whole!r}")):
        read(tmp_path, f"first\n{text}\nlast\n", regex=pattern)


@pytest.mark.parametrize(
    ("text", "pattern", "value"),
    [
        ("cd = 2,25", r"cd = ([0-9.]+),", 2),
        ("2,25,7", r"^([0-9.]+)", 2),
        ("2.5,25", r"^([0-9.]+)", 2.5),
        ("2.5,25", r"([0-9.]+)$", 25),
        ("It is 12.", r"is ([0-9]+)", 12),
        ("It is 12. And 3.", r"is ([0-9]+)", 12),
        ("run-12.5", r"run-([0-9.]+)", 12.5),
        ("run-12.5", r"([0-9.]+)", 12.5),
        ("mode-12.5", r"([0-9.]+)", 12.5),
        ("mode 12.5", r"mode\s+([0-9.]+)", 12.5),
        ("x[3]-4", r"([0-9.]+)$", 4),
        ("drop = -12.5", r"drop = -([0-9.]+)", 12.5),
        ("drop = -12.5", r"drop = [-]([0-9.]+)", 12.5),
        ("rise = +12.5", r"rise = \+([0-9.]+)", 12.5),
        ("v1.2.3", r"v([0-9]+)", 1),
        ("2026-11-29", r"^([0-9]+)", 2026),
        ("10:25", r"^([0-9]+)", 10),
        ("mode1 3.5", r"mode1 ([0-9.]+)", 3.5),
        ("H2O 3.5", r"([0-9.]+)$", 3.5),
        ("1.5 -2.5", r"^([0-9.]+)", 1.5),
        ("1.5e3 N", r"([-+.0-9eEdD]+)", 1500),
        ("12.5kN", r"([0-9.]+)", 12.5),
        ("1e", r"([0-9.]+)e", 1),
        ("cd = \u221212.5", r"cd = (\S+)", -12.5),
        ("cd = - 12.5", r"cd = (-?\s*[0-9.]+)", -12.5),
        ("cd = - 12.5", r"cd = -\s*([0-9.]+)", 12.5),
        ("- 12.5", r"([0-9.]+)", 12.5),
        ("cd - 12.5", r"([0-9.]+)", 12.5),
        ("1.5 x 10^3 N", r"([0-9.]+) x 10\^3 N", 1.5),
        ("1.5 e", r"([0-9.]+)", 1.5),
        ("1.5 x 2.5", r"^([0-9.]+)", 1.5),
        ("12'30", r"^([0-9]+)", 12),
        ("mode_1_200", r"([0-9]+)$", 200),
        ("cd = 1 062.5", r"cd = ([0-9]) ", 1),
        ("cd = 1 062.5", r"cd = [0-9] (\S+)", 62.5),
        ("node 1 234.5", r"node (\S+)", 1),
        ("run 12 005", r"run (\S+)", 12),
        ("x = 2.5 062.5", r"x = (\S+)", 2.5),
        ("J = 1.5(12) mm", r"J = ([0-9.]+)", 1.5),
        ("J = 1.5 +/- 0.12 e", r"J = ([0-9.]+)", 1.5),
        ("J = (1.5 \xb1 0.12) eV", r"J = \(([0-9.]+)", 1.5),
        ("J = 1.5 m\xb2", r"J = ([0-9.]+)", 1.5),
        ("J = 1.5 x 10 mm", r"J = ([0-9.]+)", 1.5),
        ("1\xa0234", r"^([0-9]+)\xa0", 1),
    ],
)
def test_a_group_beside_other_text_is_read(tmp_path: Path, text: str, pattern: str, value: float) -> None:
    assert read(tmp_path, f"first\n{text}\nlast\n", regex=pattern, which="first") == value


@pytest.mark.parametrize(
    ("text", "kind", "pattern"),
    [
        ("J = 1.5 E+03", {"regex": r"J = (\S+)"}, "'1.5' is followed by an exponent, ' E\\+03'"),
        ("J = 1.5 x 10^3 N", {"regex": r"J = (\S+)"}, "is followed by an exponent, ' x 10\\^3'"),
        ("J = 1.5\xd710^-3", {"regex": "J = ([0-9.]+)"}, "is followed by an exponent"),
        ("J = 1.5*10**3", {"regex": "J = ([0-9.]+)"}, "is followed by an exponent"),
        ("J = 1.5*^3", {"regex": "J = ([0-9.]+)"}, "is followed by an exponent"),
        ("J = 1.5b3", {"regex": "J = ([0-9.]+)"}, "is followed by an exponent, 'b3'"),
        ("J = 1.5Q+03", {"regex": "J = ([0-9.]+)"}, "is followed by an exponent"),
        ("J = 1.5(12)e+03", {"regex": "J = ([0-9.]+)"}, "is followed by an exponent, '\\(12\\)e\\+03'"),
        ("J = 1.5(12) x 10^3", {"regex": "J = ([0-9.]+)"}, "is followed by an exponent"),
        ("J = (1.5 +/- 0.12)e+03", {"regex": r"J = .([0-9.]+)"}, "is followed by an exponent"),
        ("J = (1.5 \xb1 0.12) \xd7 10^3", {"regex": r"J = .([0-9.]+)"}, "is followed by an exponent"),
        ("J = 1.5 \xd7 10\u2075", {"token": {"line": "J", "field": 3}}, "is followed by an exponent"),
        ("J = 1.5\xb710\u207b\xb2 m\xb2", {"regex": "J = ([0-9.]+)"}, "is followed by an exponent"),
        ("J = 1 062.5", {"token": {"line": "J", "field": 3}}, "it is a part of '1 062.5'"),
        ("J = 1 062.5", {"token": {"line": "J", "field": 4}}, "it is a part of '1 062.5'; .*if these are two numbers"),
        ("J = 1 062.5", {"columns": {"line": 1, "from": 7, "to": 11}}, "cut the number '1 062.5'"),
        ("J = - 1.5", {"regex": r"([0-9.]+)$"}, "a minus stands before '1.5', with a blank"),
        ("(%o1)   - 1.5", {"regex": r"([0-9.]+)$"}, "a minus stands before '1.5'"),
        ("J: \u2212 1.5", {"regex": r"J: .\s([0-9.]+)"}, "a minus stands before '1.5'"),
        ("J = 1.5 E+03", {"token": {"line": "J", "field": 3}}, "field 3: .*is followed by an exponent"),
        ("J = 1.5 x 10^3", {"token": {"line": "J", "field": 3}}, "is followed by an exponent"),
        ("J = - 1.5", {"token": {"line": "J", "field": -1}}, "a minus stands before '1.5'"),
        ("J = 1\xa0234.5", {"token": {"line": "J", "field": 3}}, "it is a part of .*LC_ALL: C"),
        ("J = 1\xa0234.5", {"token": {"line": "J", "field": 4}}, "it is a part of"),
        ("J = 1'234.5", {"columns": {"line": 1, "from": 7, "to": 11}}, "cut the number"),
    ],
)
def test_a_number_without_its_sign_its_exponent_or_its_thousands_is_refused(
    tmp_path: Path, text: str, kind: dict[str, Any], pattern: str
) -> None:
    with pytest.raises(OutputError, match=pattern):
        read(tmp_path, text + "\n", **kind)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("J = 1.5\r\nend\r\n", {"regex": r"^J = (\S+)$"}),
        ("J = 1.5\nend\n", {"token": {"line": "J", "field": 3}}),
        ("J = 1.5\nend\n", {"columns": {"line": 1, "from": 5, "to": 7}}),
        ("n,J\r\n1,1.5\r\n", {"csv": {"column": "J", "row": 1}}),
        ('{"J": 1.5}', {"json": "/J"}),
    ],
)
@pytest.mark.parametrize("large", [False, True])
def test_encodings_of_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, text: str, kind: dict[str, Any], encoding: str, large: bool
) -> None:
    if large and "json" not in kind:
        monkeypatch.setattr(text_files, "LARGEST", -1)
    assert read(tmp_path, text.encode(encoding), **kind) == 1.5


def test_a_name_that_json_has_twice_is_refused_where_it_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="the document has 'J' twice"):
        read(tmp_path, '{"J": 1.5, "J": 2.5}', json="/J")
    assert read(tmp_path, '{"K": 1, "K": 2, "J": 3}', json="/J") == 3


@pytest.mark.parametrize("text", ["120000000000000000000", "-1" + "0" * 30, "[1, 18446744073709551616]"])
def test_whole_numbers_of_any_length(tmp_path: Path, text: str) -> None:
    np.testing.assert_array_equal(read(tmp_path, text, json=""), np.array(json.loads(text), dtype=float))


def test_points_between_thousands_where_a_comma_is_the_decimal_mark(tmp_path: Path) -> None:
    cell = {"column": "J", "row": 1, "delimiter": ";", "decimal": ","}
    with pytest.raises(OutputError, match=r"'1\.234' has a point where decimal is a comma"):
        read(tmp_path, "n;J\n1;1.234\n", csv=cell)
    for text, value in (("1,234", 1.234), ("0.234", 0.234), ("1.25", 1.25)):
        assert read(tmp_path, f"n;J\n1;{text}\n", csv=cell) == value


@pytest.mark.parametrize(
    ("line", "first", "last", "expected"),
    [
        ("12345.67812345.678", 10, 18, 12345.678),  # full columns leave no blank between them
        ("-1.142272E+01-1.5E+00", 1, 13, -11.42272),
        ("-1.142272E+01-1.5E+00", 14, 21, -1.5),
        ("mass12.5kg", 5, 8, 12.5),
        ("a=3,b=4", 3, 3, 3),
        ("deep 7 9", 5, 7, 7),
    ],
)
def test_what_touches_a_number_need_not_belong_to_it(
    tmp_path: Path, line: str, first: int, last: int, expected: float
) -> None:
    assert read(tmp_path, line + "\n", columns={"line": 1, "from": first, "to": last}) == expected


@given(
    st.floats(0.001, 99999.0),
    st.sampled_from([".3f", ".4e", ".10g"]),
    st.integers(0, 20),
    st.integers(1, 20),
)
def test_columns_give_the_printed_number_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, value: float, form: str, before: int, width: int
) -> None:
    """Never a part of it."""
    text = format(value, form)
    line = " " * 5 + text + " " * 20 + "\n"
    try:
        found = read(
            tmp_path_factory.mktemp("columns"), line, columns={"line": 1, "from": before + 1, "to": before + width}
        )
    except OutputError:
        return
    assert found == float(text)


@pytest.mark.parametrize(
    ("array", "index", "expected"),
    [
        ([1.5, 2.5], 1, 2.5),
        ([1.5, 2.5], -1, 2.5),
        ([[1, 2], [3, 4]], [1, 0], 3),
        ([[1, 2], [3, 4]], 1, [3, 4]),
        ([1, 2], [], [1, 2]),
        (7.0, 0, 7.0),
    ],
)
def test_npy(tmp_path: Path, array: Any, index: Any, expected: Any) -> None:
    np.testing.assert_array_equal(read(tmp_path, npy(tmp_path, np.array(array)), npy=index), expected)


def test_npy_refused(tmp_path: Path) -> None:
    whole = npy(tmp_path, np.arange(5.0))
    for content, index in [(whole, 5), (whole, [0, 0]), (whole[:-1], 0), (b"", 0), (b"junk", 0)]:
        with pytest.raises(OutputError):
            read(tmp_path, content, npy=index)
    for array in (np.array([1j]), np.array(["a"]), np.array([True]), np.array([object()])):
        with pytest.raises(OutputError):
            read(tmp_path, npy(tmp_path, array), npy=0)


def test_too_large_is_said_without_reading(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with path.open("wb") as file:
        os.truncate(file.fileno(), LARGEST + 1)
    for kind, pattern in (
        ({"json": ""}, "too large"),
        ({"regex": "(a)"}, "too large: 64 MiB; it may not be a text file, as a line"),
        ({"npy": 0}, "no .npy file"),
        ({"columns": {"line": 1, "from": 1, "to": 2}}, "too large: 64 MiB; it may not be a text file, as line 1"),
        ({"token": {"line": "a", "field": 1}}, "too large: 64 MiB; it may not be a text file, as line 1"),
        ({"csv": {"column": 1, "row": 1}}, "too large: 64 MiB; it may not be a text file, as line 1"),
    ):
        output = parse_output("J", {"file": "out", **kind}, str(tmp_path))
        assert not isinstance(output.extractor, UserFunction)
        with pytest.raises(OutputError, match=pattern):
            output.extractor.read(path)


# ---- files past the limit of those that are read whole


@pytest.fixture
def long_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A solver's log that is past the limit, set to 0.5 MB: 10,000 lines, and a last word."""
    path = tmp_path / "out"
    line = "iteration {:8d} residual = {:.5e} and some words to make it as long as such lines are\n"
    lines = [line.format(k, 1 / (k + 1)) for k in range(10_000)]
    path.write_text("".join([*lines, "FINAL\n\nenergy -76.026765 Hartree\n"]))
    monkeypatch.setattr(text_files, "LARGEST", 2**19)
    monkeypatch.setattr(text_files, "_PIECE", 10_007)
    monkeypatch.setattr(text_files, "_GUARD", 1_000)
    assert path.stat().st_size > 2**19
    return path


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ({"regex": r"^energy\s+(\S+)"}, -76.026765),
        ({"regex": r"residual = (\S+)", "which": "last"}, 1e-4),
        ({"regex": r"residual = (\S+)", "which": "first"}, 1.0),
        ({"regex": r"^iteration +(\d+) ", "which": 7_778}, 7_777.0),
        ({"regex": r"^iteration +(\d+) ", "which": -2}, 9_998.0),
        ({"regex": r"FINAL\s+energy (\S+)"}, -76.026765),
        ({"columns": {"line": -4, "from": 11, "to": 18}}, 9_999.0),
        ({"columns": {"line": 5_001, "from": 11, "to": 18}}, 5_000.0),
        ({"token": {"line": "^FINAL", "below": 2, "field": 2}}, -76.026765),
        ({"token": {"line": "residual", "field": 5}, "which": "last"}, 1e-4),
        ({"token": {"line": "residual", "field": 2, "below": 1}, "which": -2}, 9_999.0),
        ({"csv": {"column": 2, "row": -1, "header": False, "delimiter": "whitespace", "until": "^FINAL"}}, 9_999.0),
    ],
)
def test_a_log_of_any_length(long_log: Path, kind: dict[str, Any], value: float) -> None:
    output = parse_output("J", {"file": "out", **kind}, str(long_log.parent))
    assert not isinstance(output.extractor, UserFunction)
    assert output.extractor.read(long_log) == value


def test_all_matches_of_a_long_log_are_there_once(long_log: Path) -> None:
    output = parse_output("J", {"file": "out", "regex": r"^iteration +(\d+)", "which": "all"}, str(long_log.parent))
    assert not isinstance(output.extractor, UserFunction)
    np.testing.assert_array_equal(output.extractor.read(long_log), np.arange(1e4))


# ---- words of lines


LOG = """\
cycle 1
 TOTAL ENERGY
   a      b      c
   1.0   -2.5D+01   3,
cycle 2
 TOTAL ENERGY
   a      b      c
   1.5   3.95756-109   4,7
"""


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        ({"token": {"line": "TOTAL ENERGY", "below": 2, "field": 2}, "which": "first"}, -25.0),
        ({"token": {"line": "TOTAL ENERGY", "below": 2, "field": 2}, "which": "last"}, 3.95756e-109),
        ({"token": {"line": "TOTAL ENERGY", "below": 2, "field": 1}, "which": "all"}, [1.0, 1.5]),
        ({"token": {"line": "^cycle", "field": -1}, "which": 2}, 2.0),
        ({"token": {"line": "cycle 2", "field": 2}}, 2.0),
        ({"token": {"line": -1, "field": 1}}, 1.5),
        ({"token": {"line": 8, "field": 2, "delimiter": "comma"}}, 7.0),
    ],
)
def test_token(tmp_path: Path, spec: dict[str, Any], value: Any) -> None:
    np.testing.assert_array_equal(read(tmp_path, LOG.encode(), **spec), value)


@pytest.mark.parametrize(
    ("spec", "pattern"),
    [
        ({"token": {"line": "TOTAL", "below": 2, "field": 1}}, "matches 2 times, and must match exactly once"),
        ({"token": {"line": "cycle 2", "below": 9, "field": 1}}, "the line 9 below a match of 'cycle 2' is missing"),
        ({"token": {"line": "cycle 2", "field": 3}}, "line 5 has no field 3, only 2: 'cycle 2'"),
        ({"token": {"line": 4, "field": -1}}, "line 4, field -1: '3,' is not a number"),
        ({"token": {"line": 99, "field": 1}}, "it has no line 99, only 8"),
        ({"token": {"line": "nowhere", "field": 1}, "which": "last"}, "matches 0 times"),
    ],
)
def test_a_token_that_is_not_there(tmp_path: Path, spec: dict[str, Any], pattern: str) -> None:
    with pytest.raises(OutputError, match=pattern):
        read(tmp_path, LOG.encode(), **spec)


# ---- tables as programs write them


@pytest.mark.parametrize(
    ("text", "spec", "value"),
    [
        ("# Time Cd Cl\n0.1 1.0 2.0\n0.2 1.5 2.5\n", {"column": "Cl", "row": -1, "delimiter": "whitespace"}, 2.5),
        ("#Time\tCd\n0.1\t1.0\n", {"column": "Time", "row": 1, "delimiter": "tab"}, 0.1),
        (
            "# Forces\n# magUInf : 10\n# Time \t Cd \t Cl\n0.1\t1.0\t2.0\n0.2\t1.5\t2.5\n",
            {"column": "Cd", "row": -1, "delimiter": "whitespace", "comment": "#"},
            1.5,
        ),
        ("% a remark\nx,y\n1,2\n% another\n3,4\n", {"column": "y", "row": "all", "comment": "%"}, [2.0, 4.0]),
        ("\ufeffx;y\n1,5;2,25\n", {"column": "y", "row": 1, "delimiter": "semicolon", "decimal": ","}, 2.25),
        ("\ufeffx;y\n1,5;2,25\n", {"column": "x", "row": 1, "delimiter": ";", "decimal": ","}, 1.5),
        ("x;y\n1,5;2,25\n1,7;3\n", {"column": "y", "where": {"x": 1.7}, "delimiter": ";", "decimal": ","}, 3.0),
        (
            "x y\n1 2\n3 4\n\nEnd of the run.\n",
            {"column": "y", "row": -1, "delimiter": "whitespace", "until": "^$"},
            4.0,
        ),
        (
            "log\nRESULTS at 3\n n  u\n 1  0.5\n 2  0.7\nend of table here\n",
            {"column": "u", "row": -1, "delimiter": "whitespace", "start": "^RESULTS", "until": "^end"},
            0.7,
        ),
        ("a\r\nx,y\r\n1,2\r\n", {"column": "y", "row": 1, "skip": 1}, 2.0),
        ('x,y\n"1","2.1+5"\n', {"column": "y", "row": 1}, 2.1e5),
    ],
)
def test_tables(tmp_path: Path, text: str, spec: dict[str, Any], value: Any) -> None:
    np.testing.assert_array_equal(read(tmp_path, text.encode(), csv=spec), value)


@pytest.mark.parametrize(
    ("text", "spec", "pattern"),
    [
        (
            "x y\n1 2\nEnd of the run\n",
            {"column": "y", "row": -1, "delimiter": "whitespace"},
            "say by `until` where it ends",
        ),
        ("x y\n1 2\n", {"column": "y", "row": 1, "start": "nowhere"}, "start: no line matches 'nowhere'"),
        ("x\n", {"column": "x", "row": -1}, "no row -1, only 0 below the header"),
        ("# only\n", {"column": "x", "row": -1, "comment": "#"}, "it is empty"),
    ],
)
def test_a_table_that_is_none(tmp_path: Path, text: str, spec: dict[str, Any], pattern: str) -> None:
    with pytest.raises(OutputError, match=pattern):
        read(tmp_path, text.encode(), csv=spec)


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"file": "f"},
        {"json": ""},
        {"file": "f", "json": "", "regex": "(a)"},
        {"file": "f", "josn": ""},
        {"file": "f", "json": "no/slash"},
        {"file": "f", "json": "/~2"},
        {"file": "f", "json": 3},
        {"file": "f", "regex": "("},
        {"file": "f", "regex": "no group"},
        {"file": "f", "regex": "(two) (groups)"},
        {"file": "f", "regex": 3},
        {"file": "f", "csv": {"row": 1}},
        {"file": "f", "csv": {"column": "a", "row": 0}},
        {"file": "f", "csv": {"column": "a", "row": True}},
        {"file": "f", "csv": {"column": 0, "row": 1}},
        {"file": "f", "csv": {"column": "a", "rwo": 1}},
        {"file": "f", "csv": {"column": "a", "delimiter": ""}},
        {"file": "f", "csv": "a"},
        {"file": "f", "columns": {"line": 1, "from": 3, "to": 2}},
        {"file": "f", "columns": {"line": 0, "from": 1, "to": 2}},
        {"file": "f", "columns": {"line": "(", "from": 1, "to": 2}},
        {"file": "f", "columns": {"line": 1, "from": 0, "to": 2}},
        {"file": "f", "npy": "a"},
        {"file": "f", "npy": 1.5},
        {"file": "/etc/passwd", "json": ""},
        {"file": "../f", "json": ""},
        {"file": "a/../../f", "json": ""},
        {"file": "f\0", "json": ""},
        {"file": "", "json": ""},
        {"python": "nocolon"},
        {"python": "mod:a.b"},
        {"python": "bad-mod:f"},
        "text",
    ],
)
def test_bad_descriptions_are_named(tmp_path: Path, spec: Any) -> None:
    with pytest.raises(InputError, match="outputs: drag: "):
        parse_output("drag", spec, str(tmp_path))


def test_near_misses_are_suggested(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean regex"):
        parse_output("J", {"file": "f", "regx": "(a)"}, str(tmp_path))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_printed_numbers_are_read_back(value: float) -> None:
    assert number(repr(value)) == value
    assert number(f"  {value:.17E} ") == value
    assert number(f"{value:.17e}".replace("e", "D")) == value


@pytest.mark.parametrize("text", ["inf", "-Infinity", "NaN", "+INF"])
def test_non_finite_numbers_are_numbers(text: str) -> None:
    assert not math.isfinite(number(text))


@given(st.text(max_size=12))
def test_what_is_read_is_what_python_reads(text: str) -> None:
    try:
        found = number(text)
    except OutputError:
        return
    expected = float(text.strip().lower().replace("d", "e") if text.strip()[-1].isdigit() else text)
    assert found == expected or (math.isnan(found) and math.isnan(expected))


@pytest.mark.parametrize(
    "found", [None, True, "1", 1j, [True], [1, "a"], [[1], [1, 2]], {"a": 1}, object(), [None], [1, True]]
)
def test_what_is_no_value(found: Any) -> None:
    with pytest.raises(OutputError):
        as_value(found)


def test_function_is_found_beside_the_config_and_reloaded_by_text(tmp_path: Path) -> None:
    for k in (1, 2):
        folder = tmp_path / str(k)
        folder.mkdir()
        (folder / "helper_of_mine.py").write_text("def twice(a):\n    return 2 * a\n")
        (folder / "extract.py").write_text(
            "from helper_of_mine import twice\n\ndef read(folder):\n"
            f"    return twice(float((folder / 'f').read_text())) + {k}\n"
        )
        (folder / "f").write_text("1.5")
    one, two = (UserFunction("extract:read", str(tmp_path / k)) for k in "12")
    assert one.source != two.source
    assert (one.load()(tmp_path / "1"), two.load()(tmp_path / "2")) == (4.0, 5.0)


def test_function_of_an_installed_module(tmp_path: Path) -> None:
    assert UserFunction("os.path:getsize", str(tmp_path)).load() is os.path.getsize


@pytest.mark.parametrize("name", ["no_such_module_here:f", "math:no_such_function", "math:pi"])
def test_function_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=name.partition(":")[0]):
        UserFunction(name, str(tmp_path)).load()


def test_function_may_use_a_dataclass(tmp_path: Path) -> None:
    (tmp_path / "extract.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n"
        "@dataclass\nclass Found:\n    J: float\n\ndef read(folder):\n    return Found(2.5).J\n"
    )
    assert UserFunction("extract:read", str(tmp_path)).load()(tmp_path) == 2.5


# ---- which of several


@given(values=st.lists(st.integers(-99, 99), min_size=1, max_size=6), data=st.data())
def test_which_match_is_meant(tmp_path_factory: pytest.TempPathFactory, values: list[int], data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("which")
    text = "".join(f"step {k}\nJ = {value:4d}\n" for k, value in enumerate(values))
    kinds: tuple[dict[str, Any], ...] = ({"regex": r"^J = +(\S+)$"}, {"columns": {"line": "^J", "from": 5, "to": 8}})
    for kind in kinds:
        assert read(folder, text, **kind, which="first") == values[0]
        assert read(folder, text, **kind, which="last") == values[-1]
        assert list(read(folder, text, **kind, which="all")) == values
        k = data.draw(st.integers(1, len(values)))
        assert read(folder, text, **kind, which=k) == values[k - 1]
        assert read(folder, text, **kind, which=-k) == values[-k]
        with pytest.raises(OutputError, match=f"{len(values)} times, and match {len(values) + 1} is asked for"):
            read(folder, text, **kind, which=len(values) + 1)


def test_several_matches_without_which_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"matches 2 times.*`which` can say"):
        read(tmp_path, "J = 1\nJ = 2\n", regex="J = (.)")
    with pytest.raises(OutputError, match="matches 0 times, and match all is asked for"):
        read(tmp_path, "none\n", regex="J = (.)", which="all")


@pytest.mark.parametrize(
    "kind",
    [
        {"regex": "(.)", "which": 0},
        {"regex": "(.)", "which": "second"},
        {"regex": "(.)", "which": True},
        {"json": "/a", "which": 1},
        {"python": "m:f", "which": 1},
        {"columns": {"line": 1, "from": 1, "to": 2}, "which": 1},
    ],
)
def test_which_is_checked(tmp_path: Path, kind: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="which"):
        read(tmp_path, "", **kind)


# ---- tables

CASES = "# made by a program\ncase,mach,drag\ncruise,0.80,1.5\nclimb,0.8,2.5\ncruise,0.85,3.5\n"
BLANKS = "  case    mach   drag\n cruise   0.80    1.5\n\tclimb 0.8 2.5\n\ncruise\t0.85\t3.5\n"


@pytest.mark.parametrize(
    ("text", "cell", "value"),
    [
        (CASES, {"column": "drag", "where": {"case": "climb"}, "skip": 1}, 2.5),
        (CASES, {"column": 3, "where": {"case": "cruise", "mach": 0.8}, "skip": 1}, 1.5),
        (CASES, {"column": "drag", "where": {"mach": "0.850"}, "skip": 1}, 3.5),
        (BLANKS, {"column": "drag", "where": {"case": "climb"}, "delimiter": "whitespace"}, 2.5),
        (BLANKS, {"column": "mach", "row": -1, "delimiter": "whitespace"}, 0.85),
        (BLANKS, {"column": "drag", "row": "all", "delimiter": "whitespace"}, [1.5, 2.5, 3.5]),
        ("1 2\n3 4\n", {"column": 2, "row": 1, "delimiter": "whitespace", "header": False}, 2),
        ("1;2\n3;4\n", {"column": 2, "row": "all", "delimiter": ";", "header": False}, [2, 4]),
    ],
)
def test_table_cells(tmp_path: Path, text: str, cell: dict[str, Any], value: Any) -> None:
    np.testing.assert_array_equal(read(tmp_path, text, csv=cell), value)


@pytest.mark.parametrize(
    ("cell", "pattern"),
    [
        ({"where": {"case": "descent"}}, "0 rows have case = descent, and exactly one must"),
        ({"where": {"case": "cruise"}}, "2 rows have case = cruise"),
        ({"where": {"kase": "cruise"}}, "0 columns are called 'kase'"),
    ],
)
def test_no_row_or_several_are_named(tmp_path: Path, cell: dict[str, Any], pattern: str) -> None:
    with pytest.raises(OutputError, match=pattern):
        read(tmp_path, CASES, csv={"column": "drag", "skip": 1, **cell})


@pytest.mark.parametrize(("names", "text"), [("a b", "2.5 2\n3 4\n"), ("a", "2.5\n3.5\n")])
def test_a_first_row_of_numbers_is_no_header_without_a_word(tmp_path: Path, names: str, text: str) -> None:
    """It was left out, so that row 1 was the second, and a column lacked its first number."""
    cell: dict[str, Any] = {"column": 1, "delimiter": "whitespace"}
    for row in (1, "all"):
        with pytest.raises(OutputError, match=r"first row holds numbers alone, .* say header: false, and"):
            read(tmp_path, text, csv={**cell, "row": row})
    assert read(tmp_path, text, csv={**cell, "row": 1, "header": False}) == 2.5
    assert read(tmp_path, f"# {names}\n{text}", csv={**cell, "row": 1, "comment": "#"}) == 2.5
    assert read(tmp_path, f"{names}\n{text}", csv={**cell, "row": 1}) == 2.5


@pytest.mark.parametrize(("mark", "name"), [("\t", "tab"), (";", "semicolon"), ("  ", "whitespace")])
def test_another_delimiter_is_suggested(tmp_path: Path, mark: str, name: str) -> None:
    with pytest.raises(OutputError, match=f"0 columns are called 'J'; .*is the delimiter {name}"):
        read(tmp_path, f"a{mark}J\n1{mark}2\n", csv={"column": "J", "row": 1})


@pytest.mark.parametrize(
    "cell",
    [
        {"where": {}},
        {"where": {"a": 1}, "row": 1},
        {"row": "last"},
        {"delimiter": "  "},
        {"skip": -1},
        {"header": False, "row": 1},
    ],
)
def test_table_options_are_checked(tmp_path: Path, cell: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="csv: "):
        read(tmp_path, CASES, csv={"column": "drag", **cell})


# ---- arrays in archives


def test_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "made.npz", p=np.arange(6.0).reshape(2, 3), q=7.0)
    content = (tmp_path / "made.npz").read_bytes()
    assert read(tmp_path, content, npy={"array": "p", "index": [1, 2]}) == 5
    assert read(tmp_path, content, npy={"array": "q"}) == 7
    np.testing.assert_array_equal(read(tmp_path, content, npy={"array": "p", "index": 0}), [0, 1, 2])
    with pytest.raises(OutputError, match="no array 'r'; it has: 'p, q'"):
        read(tmp_path, content, npy={"array": "r"})
    with pytest.raises(OutputError, match=r"an .npz archive, not one array; write npy: \{array: one of 'p, q'\}"):
        read(tmp_path, content, npy=0)
    with pytest.raises(OutputError, match=r"no .npz file, or was cut"):
        read(tmp_path, content[:-30], npy={"array": "p"})
    with pytest.raises(OutputError, match="it is one array"):
        read(tmp_path, npy(tmp_path, np.arange(3.0)), npy={"array": "p"})
    np.testing.assert_array_equal(read(tmp_path, npy(tmp_path, np.arange(3.0)), npy="all"), [0, 1, 2])
    np.savez(tmp_path / "evil.npz", p=np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(OutputError, match="or was cut"):
        read(tmp_path, (tmp_path / "evil.npz").read_bytes(), npy={"array": "p"})
