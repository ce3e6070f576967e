"""Numbers replaced in JSON and YAML files: the rest stays as it was, and what is no number is refused."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from distfd.errors import InputError
from distfd.objectives.command.inputs import compiled, read_input

if TYPE_CHECKING:
    from pathlib import Path

CASE = {"wing": {"span": 10, "ribs": [{"t": 0.1}, {"t": 0.2}]}, "name": "a/b", "on": True, "none": None}
TEXT = """\
# a case
wing:
  span: 10      # metres
  ribs: [{t: 0.1}, {t: .2e-0}]
name: "12"      # a text
flag: true
"""


def edited(folder: Path, name: str, text: str, changes: dict[str, Any], **variables: float) -> str:
    (folder / name).write_text(text)
    _, source = read_input("target", {"edit": name, "set": changes}, folder)
    return compiled(source).render({"x": tuple(variables.values()), **variables})


def test_json(tmp_path: Path) -> None:
    changes = {"/wing/span": "a", "/wing/ribs/1/t": "2 * b", "/wing/ribs/0/t": 'a | fmt(".2f")'}
    found = json.loads(edited(tmp_path, "c.json", json.dumps(CASE), changes, a=1 / 3, b=0.1))
    assert found == {**CASE, "wing": {"span": 1 / 3, "ribs": [{"t": 0.33}, {"t": 0.2}]}}


def test_yaml_keeps_everything_else_to_the_letter(tmp_path: Path) -> None:
    changes = {"/wing/ribs/1/t": "x[1]", "/wing/span": "a"}
    found = edited(tmp_path, "c.yaml", TEXT, changes, a=1e-7, b=2.5)
    assert found == TEXT.replace("span: 10 ", "span: 1.0e-07 ").replace(".2e-0", "2.5")


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_yaml_reads_the_same_number_back(tmp_path_factory: pytest.TempPathFactory, value: float) -> None:
    """By PyYAML, which takes 1e-05 for a text."""
    found = edited(tmp_path_factory.mktemp("edit"), "c.yml", TEXT, {"/wing/span": "a"}, a=value)
    assert yaml.safe_load(found)["wing"]["span"] == value


@pytest.mark.parametrize("name", ["c.json", "c.yaml"])
@pytest.mark.parametrize(
    ("pointer", "pattern"),
    [
        ("/wing/spam", "/wing/spam: .*'spam'.*span, ribs"),
        ("/wing/ribs/2/t", "no element '2'"),
        (f"/wing/ribs/{'9' * 5000}/t", "no element '999"),
        ("/name", "/name: holds .*a number can be replaced"),
        ("/flag", "/flag: holds .*a number can be replaced"),
        ("/wing", "/wing: holds .*a number can be replaced"),
        ("/wing/span/m", "nothing below|has no 'm'"),
    ],
)
def test_what_is_no_number_is_refused(tmp_path: Path, name: str, pointer: str, pattern: str) -> None:
    text = json.dumps(yaml.safe_load(TEXT)) if name == "c.json" else TEXT
    with pytest.raises(InputError, match=pattern):
        edited(tmp_path, name, text, {pointer: "a"}, a=1.0)


@pytest.mark.parametrize(
    ("name", "text", "changes", "pattern"),
    [
        ("c.json", "{", {"/a": "a"}, r"c\.json is not JSON"),
        ("c.yaml", "a: [", {"/a": "a"}, r"c\.yaml is not YAML"),
        ("c.yaml", "a: &n {t: 1}\nb: *n\n", {"/a/t": "a"}, "by an alias"),
        ("c.yaml", "a: 1\n---\na: 2\n", {"/a": "a"}, "is not YAML"),
        ("c.json", "3", {"": "a"}, "the whole document"),
        ("c.toml", "a=3", {"/a": "a"}, "c.toml is none of .json, "),
        ("c.json", '{"a": 1}', {"/a": "b"}, r"/a:1: 'b' is undefined; known: a, x"),
        ("c.json", '{"a": 1}', {"/a": "'text'"}, r"/a: 'text' is not a number"),
        ("c.json", '{"a": 1}', {"a": "a"}, "a pointer starts with /"),
        ("c.json", '{"a": 1}', {}, "set is empty"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, name: str, text: str, changes: dict[str, Any], pattern: str) -> None:
    with pytest.raises(InputError, match=pattern):
        edited(tmp_path, name, text, changes, a=1.0)


@pytest.mark.parametrize("spec", [3, {"edit": "c.json"}, {"edit": "c.json", "set": 3}, {"template": "c.j2"}])
def test_other_descriptions_are_refused(tmp_path: Path, spec: Any) -> None:
    with pytest.raises(InputError, match="needs a template, or"):
        read_input("target", spec, tmp_path)


# ---- INI, namelists and XML: everything else stays to the letter

INI = "top = 1 ; a remark\n[Flow]\n# mach = 9\nmach= 0.8   # of it\nalpha : 2.5e0\nname = x\n[Mesh]\nalpha = 3\n"
NML = """\
! a remark with alpha = 9
&FLOW
  Alpha = 2.5d0, beta(2) = 3.0 4.0 ! and beta = 1
  name = 'alpha = 7', flag = .true.
  list = 1., 2., 3.
/
&other alpha = 5 /
"""
NML2 = """\
&g
  b = 6.0,, 7.5, c(2:3) = 4.0 5.0, d(:) = 10.0, 11.0
  m(1,1) = 9.0, m(2,1) = 12.0
  t%u = 1, t%v(2)%w = 13.0
  r = 3*18.5 15.0, s = 2*, 'x', 16.0, e = , 17.0
/
"""
XML = """\
<?xml version="1.0"?>
<!-- <case t="9"/> -->
<case name="b\u00e9ta">
  <wing span='10.5' t="2">
    <rib>0.1</rib><rib> 0.2 </rib>
    <tip><chord>3</chord></tip>
  </wing>
</case>
"""


@pytest.mark.parametrize(
    ("name", "text", "changes", "change"),
    [
        ("c.ini", INI, {"/Flow/mach": "a"}, ("mach= 0.8", "mach= 0.125")),
        ("c.cfg", INI, {"/Mesh/alpha": "a"}, ("alpha = 3", "alpha = 0.125")),
        ("c.ini", INI, {"/top": "a"}, ("top = 1 ;", "top = 0.125 ;")),
        ("c.ini", INI, {"/Flow/alpha": "2 * a"}, ("2.5e0", "0.25")),
        ("c.nml", NML, {"/flow/alpha": "a"}, ("2.5d0", "0.125")),
        ("c.nml", NML, {"/flow/beta/2": "a"}, ("3.0 4.0", "0.125 4.0")),
        ("c.nml", NML, {"/FLOW/beta/3": "a"}, ("3.0 4.0", "3.0 0.125")),
        ("c.nml", NML, {"/flow/list/2": "a"}, ("2., 3.", "0.125, 3.")),
        ("c.namelist", NML, {"/other/alpha": "a"}, ("alpha = 5", "alpha = 0.125")),
        ("c.ini", "\ufeff" + INI, {"/Flow/mach": "a"}, ("mach= 0.8", "mach= 0.125")),
        ("c.ini", "\ufeff[Flow]\nmach = 1.5 m/s\n", {"/Flow/mach": "a"}, ("1.5", "0.125")),
        ("c.nml", NML2, {"/g/b/3": "a"}, ("7.5", "0.125")),
        ("c.nml", NML2, {"/g/c/2": "a"}, ("4.0", "0.125")),
        ("c.nml", NML2, {"/g/d/2": "a"}, ("11.0", "0.125")),
        ("c.nml", NML2, {"/g/m(2, 1)": "a"}, ("12.0", "0.125")),
        ("c.nml", NML2, {"/g/t%v(2)%w": "a"}, ("13.0", "0.125")),
        ("c.nml", NML2, {"/g/r/4": "a"}, ("15.0", "0.125")),
        ("c.nml", NML2, {"/g/s/4": "a"}, ("16.0", "0.125")),
        ("c.nml", NML2, {"/g/e/2": "a"}, ("17.0", "0.125")),
        ("c.xml", XML, {"/case/wing/@span": "a"}, ("'10.5'", "'0.125'")),
        ("c.xml", XML, {"/case/wing/@t": "a"}, ('t="2"', 't="0.125"')),
        ("c.xml", XML, {"/case/wing/rib[2]": "a"}, (" 0.2 ", " 0.125 ")),
        ("c.xml", XML, {"/case/wing/rib": "a"}, (">0.1<", ">0.125<")),
        ("c.xml", XML, {"/case/wing/rib[1]": "a"}, (">0.1<", ">0.125<")),
        ("c.xml", XML, {"/case/wing/tip/chord": "a"}, (">3<", ">0.125<")),
    ],
)
def test_one_number_is_replaced(
    tmp_path: Path, name: str, text: str, changes: dict[str, Any], change: tuple[str, str]
) -> None:
    old, new = change
    assert text.count(old) == 1
    assert edited(tmp_path, name, text, changes, a=0.125) == text.replace(old, new)


@pytest.mark.parametrize(
    ("name", "text", "pointer", "pattern"),
    [
        ("c.ini", INI, "/Flow/mack", r"is there 0 times; did you mean '/Flow/mach'"),
        ("c.ini", INI, "/Flow/name", r"holds 'x', and only a number"),
        ("c.ini", INI + "[Flow]\nmach = 2\n", "/Flow/mach", "is there 2 times"),
        ("c.nml", NML, "/flow/name", r"holds .*only a number"),
        ("c.nml", NML, "/flow/gamma", "is there 0 times"),
        ("c.nml", NML2, "/g/b/2", "is there 0 times"),
        ("c.nml", NML2, "/g/r/2", r"holds '3\*18\.5', and only a number"),
        ("c.nml", "a = 1\n", "/g/a", "is there 0 times; there are: none"),
        ("c.ini", "[Flow]\nmach = 1.5 2.5 ; 3\n", "/Flow/mach", r"holds '1\.5 2\.5', and only a number"),
        ("c.xml", XML, "/case/wing/rib[3]", "is there 0 times"),
        ("c.xml", XML, "/case/@name", "only a number"),
        ("c.xml", "<a><b></a>", "/a/b", "is not XML"),
    ],
)
def test_what_is_no_place_for_a_number_is_told(
    tmp_path: Path, name: str, text: str, pointer: str, pattern: str
) -> None:
    with pytest.raises(InputError, match=pattern):
        edited(tmp_path, name, text, {pointer: "a"}, a=1.0)


@pytest.mark.parametrize(
    ("name", "text", "pointer"),
    [
        ("c.json", '{"n": 4}', "/n"),
        ("c.yaml", "n: 4\n", "/n"),
        ("c.ini", "[s]\nn = 4\n", "/s/n"),
        ("c.nml", "&s n = 4 /\n", "/s/n"),
        ("c.xml", '<s n="4"/>', "/s/@n"),
    ],
)
def test_a_whole_number_has_no_point(tmp_path: Path, name: str, text: str, pointer: str) -> None:
    """Programs that read an integer refuse 6.0."""

    def number(expression: str, **variables: float) -> str:
        found = edited(tmp_path, name, text, {pointer: expression}, **variables)
        (written,) = re.findall(r"-?[0-9][0-9.]*", found)
        return str(written)

    assert number("n", n=6) == "6"
    assert number("-2 * n", n=6) == "-12"
    assert number("n / 4", n=6) == "1.5"
    assert number("n", n=6.0) == "6.0"
    assert number("n * a", n=6, a=2.0) == "12.0"


def test_json_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert json.loads(edited(tmp_path, "c.json", '\ufeff{"n": 4}', {"/n": "a"}, a=2.5)) == {"n": 2.5}
