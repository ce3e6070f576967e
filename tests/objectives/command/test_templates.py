"""Input decks: numbers round-trip, mistakes name file and line, nothing reaches out of the sandbox."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distfd.cli.deck_draft import draft
from distfd.errors import InputError
from distfd.objectives.command.inputs import write
from distfd.objectives.command.objective import CommandObjective, unused_parameters
from distfd.objectives.command.templates import Deck, Template, read_template

if TYPE_CHECKING:
    from pathlib import Path


def render(text: str, **variables: Any) -> str:
    return Deck(Template("deck.j2", text, 0o644)).render(variables)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_round_trip(value: float) -> None:
    assert float(render("{{ a }}", a=value)) == value
    assert float(render("{{ x[1] * 1 }}", x=(0.0, value))) == value


def test_the_shortest_digits_that_read_back() -> None:
    assert render("{{ a }}|{{ 2 }}|{{ 'text' }}|{{ 3 * a }}", a=0.1) == "0.1|2|text|0.30000000000000004"
    assert [render("{{ a }}", a=value) for value in (2.0, -0.0, 1e-5, 1e22, 1e5)] == [
        "2",
        "-0",
        "1e-05",
        "1e+22",
        "100000",
    ]


def test_fmt_writes_as_asked() -> None:
    assert render('{{ a | fmt("12.6e") }}|{{ a|fmt("08.3f") }}', a=-1.5) == "-1.500000e+00|-001.500"


@pytest.mark.parametrize("spec", ['"12.6q"', '"nonsense"', "12", '"d"'])
def test_bad_fmt_is_named(spec: str) -> None:
    with pytest.raises(InputError, match=r"deck\.j2:2: .*fmt"):
        render("first\n{{ a | fmt(" + spec + ") }}", a=1.0)


def test_fmt_of_an_unknown_name_says_which() -> None:
    with pytest.raises(InputError, match=r":2: 'q' is undefined; known: d"):
        render("first\n{{ q | fmt('10.3f') }}", d=1.0)


@pytest.mark.parametrize(
    "text",
    [
        "50.000{{ a | fmt('8.3f') }}",
        "{{ a | fmt('8.3f') }}50.000",
        "{{ a | fmt('8.3f') }}-3",
        "{{ b | fmt('8.3f') }}{{ a | fmt('8.3f') }}",
        "{{ a | fmt('8.3f') }}{{ a | fmt('8.3f') }}",
    ],
)
def test_a_number_too_wide_for_its_columns_must_not_run_into_another(text: str) -> None:
    wide = re.escape(next(mark for mark in re.findall(r"\{\{.*?\}\}", text) if "{{ a" in mark))
    with pytest.raises(
        InputError, match=rf"deck\.j2:2, {wide}: 12345\.000 is wider than its format .* \(line 2 of what is written\)"
    ):
        render("title\n" + text, a=12345.0, b=1.0)


def test_the_mark_that_is_too_wide_is_named_among_others_that_are_wide() -> None:
    text = "{% for v in x %}{{ v | fmt('3.1f') }} {% endfor %}\n\n{% if a %}{{ a | fmt('5.2f') }}5.0{% endif %}"
    with pytest.raises(InputError, match=r"deck\.j2:3, \{\{ a \| fmt\('5\.2f'\) \}\}: 100\.00 is wider"):
        render(text, x=(1.0, 10.0, 100.0), a=100.0)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("{{ a | fmt('8.3f') }} 50.000", "12345.000 50.000"),
        ("x={{ a | fmt('8.3f') }}mm", "x=12345.000mm"),
        ("{{ a | fmt('9.3f') }}50.000", "12345.00050.000"),  # it has its columns, and no more
        ("-{{ a | fmt('.3f') }}", "-12345.000"),
        ("1{{ a | fmt('.3f') }}", "112345.000"),  # no width was asked for
        ("{{ a | fmt('<+08.3f') }}\n7", "+12345.000\n7"),
    ],
)
def test_a_number_wider_than_its_format_is_written_whole(text: str, written: str) -> None:
    assert render(text, a=12345.0) == written


def test_what_a_wide_number_moves_is_told(tmp_path: Path) -> None:
    (tmp_path / "deck.j2").write_text(
        '{{ a | fmt("8.3f") }}  {{ b | fmt("8.3f") }}\n{{ b | fmt("3.3f") }}  \n{{ b }}\n'
    )

    def check(x: list[float]) -> None:
        outputs = {"J": {"file": "stdout", "regex": "(1)"}}
        objective = CommandObjective(
            ["true"], inputs={"deck": "deck.j2"}, outputs=outputs, names=("a", "b"), base=tmp_path
        )
        objective.check(np.array(x))

    check([1234.0, 12345.0])  # b moves nothing
    with pytest.warns(UserWarning, match=r"^deck: -1234\.000 is wider than its format, so that the rest of the line"):
        check([-1234.0, 1.0])


def test_unknown_name_tells_line_and_known_names() -> None:
    with pytest.raises(
        InputError, match=r"deck\.j2:3: 'widht' is undefined; known: height, width; did you mean width\?"
    ):
        render("one\n{{ width }}\n{{ widht }}\n", width=1.0, height=2.0)


@pytest.mark.parametrize(
    "text", ["{{ x[9] }}", "{{ nothing.at.all }}", "{% for k in nothing %}{% endfor %}", "{{ x }}", "{{ none }}"]
)
def test_nothing_is_written_in_silence(text: str) -> None:
    with pytest.raises(InputError, match=r"deck\.j2:1"):
        render(text, x=(1.0, 2.0))


@pytest.mark.parametrize("text", ["{{ a", "{% if a %}", "{% frob %}", "{{ a | nofilter }}"])
def test_syntax_error_tells_line(text: str) -> None:
    with pytest.raises(InputError, match=r"deck\.j2:2: "):
        render("\n" + text, a=1.0)


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ a.__class__ }}",
        "{{ '{0.__class__}'.format(a) }}",
        "{{ self.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ x.append(1) }}",
        "{% include '/etc/passwd' %}",
        "{% import 'deck2.j2' as d %}",
        "{% for k in range(10 ** 9) %}{% endfor %}",
    ],
)
def test_sandbox_holds(text: str) -> None:
    with pytest.raises(InputError):
        render(text, a=1.0, x=[1.0])


def test_text_is_kept_to_the_byte(tmp_path: Path) -> None:
    source, target = tmp_path / "deck.j2", tmp_path / "deck"
    source.write_bytes(b"caf\xe9 \xc3\xa9\r\n{{ a }}\r\n\r\nlast\r\n")
    source.chmod(0o755)
    write(Deck(read_template(source)), target, {"a": 0.5})
    assert target.read_bytes() == b"caf\xe9 \xc3\xa9\r\n0.5\r\n\r\nlast\r\n"
    assert target.stat().st_mode & 0o100


def test_missing_template_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.j2"):
        read_template(tmp_path / "nowhere.j2")


def test_long_lists_of_names_are_cut() -> None:
    with pytest.raises(InputError, match=r"\(300 names\)"):
        render("{{ q }}", **{f"p{k}": 1.0 for k in range(300)})


def test_a_whole_number_without_end_is_no_bug(tmp_path: Path) -> None:
    (tmp_path / "deck.j2").write_text("{{ " + "1" * 5000 + " }}")
    with pytest.raises(InputError, match=r"deck\.j2: has a whole number of thousands of digits"):
        CommandObjective(
            ["true"], inputs={"deck": "deck.j2"}, outputs={"J": {"file": "deck", "regex": "(.)"}}, base=tmp_path
        ).check([1.0])


@pytest.mark.parametrize(("encoding", "told"), [("utf-16", "UTF-16"), ("utf-16-be", "UTF-16-BE"), ("utf-32", "UTF-32")])
def test_a_deck_in_another_encoding_is_named(tmp_path: Path, encoding: str, told: str) -> None:
    """No mark is found in it, so that it went to the program as it was, and all derivatives were 0."""
    (tmp_path / "deck.j2").write_bytes("a = {{ a }}\n".encode(encoding))
    with pytest.raises(InputError, match=rf"template .*deck\.j2: is {told}, .*iconv -f {told} -t UTF-8"):
        read_template(tmp_path / "deck.j2")
    with pytest.raises(InputError, match=rf"--deck: .*deck\.j2: is {told}"):
        draft(f"cat {tmp_path}/deck.j2", [str(tmp_path / "deck.j2")])


@pytest.mark.parametrize("name", ["range", "dict", "cycler", "loop", "namespace", "super", "x"])
def test_a_parameter_may_be_called_like_something_of_jinja(tmp_path: Path, name: str) -> None:
    (tmp_path / "deck.j2").write_text(f"{{{{ {name} }}}} {{{{ {name} | string | replace('.', ',') }}}}\n")
    made = CommandObjective(
        ["sh", "-c", f"cat deck; echo {{{{ {name} }}}}"],
        inputs={"deck": "deck.j2"},
        outputs={"J": {"file": "stdout", "regex": r"^(\S+)$"}},
        names=(name, "other"),
        base=tmp_path,
    )
    assert unused_parameters(made, [2.25, 1.0]) == ["other"]
    assert made.make().evaluate(np.array([2.5, 1.0])) == 2.5
    assert made.written(np.array([2.25, 1.0]), np.array([0]), np.array([[2.5]])) == 0.25


@pytest.mark.parametrize("text", ["{{ self }}", "{{ {'a': 1} }}", "{{ x | map('abs') }}", "{{ namespace() }}"])
def test_what_is_no_number_and_no_text_is_not_written(text: str) -> None:
    with pytest.raises(InputError, match="no number and no text, but a "):
        render(text, x=(1.0,))


@pytest.mark.parametrize("text", [r"\frac{{a}{b}}", "{# {{ a }}", "a {% b"])
def test_a_deck_with_braces_of_its_own_is_told_what_to_do(text: str) -> None:
    with pytest.raises(InputError, match=r"deck\.j2:1: .*put \{% raw %\} before and \{% endraw %\} behind"):
        render(text, a=1.0)
