"""Templates that would take without end are ended; what numbers and loops over parameters need is written at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import distfd
from distfd.errors import InputError
from distfd.objectives.command import bounded_templates
from distfd.objectives.command.bounded_templates import LimitedDeck, make_deck
from distfd.objectives.command.objective import CommandObjective
from distfd.objectives.command.templates import Deck, Template

ROOT = Path(__file__).parents[3]
VARIABLES = {"x": (1 / 3, -2.5), "a": 1 / 3, "b": -2.5}

THRICE = "".join(f"{{% for {name} in range(2) %}}" for name in "ijk")
TWICE = "{% macro f(n) %}{% if n > 0 %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}"
WITHOUT_END = [
    TWICE,
    "{{ ('a' * 90000000)|wordwrap(1) }}",
    "{{ (range(90000)|list * 2900)|map('string')|map('length')|sum }}",
    "{{ (range(90000)|list * 2900)|sort|length }}",
    "{{ ((7**5000000) * (7**900000)) % 3 }}",
    "{% set ns = namespace(l=[]) %}{% for i in range(90000) %}{% set ns.l = ns.l + ['a' * 2000000 ~ i] %}{% endfor %}",
]

TAME = [
    "a = {{ a }}",
    '{{ a | fmt("8.3f") }} {{ 2 * a - b**2 }} {{ (a + b) | round(3) }}',
    "{% for v in x %}{{ loop.index }} {{ v }}\n{% endfor %}",
    "{% for k in range(2) %}{{ x[k] }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{% if a > 0 and b < 1 %}up{% elif a is defined %}down{% else %}none{% endif %}",
    '{% set half = a / 2 %}{{ half }} {{ "%7.4f" % a }} {{ "%7.4f" | format(b) }} {{ a if a > b else b }}',
    "{{ a | fit(8) }}{{ b | nastran(16) }}{{ -b }}",
]
WILD = [
    "{{ a ~ b }}",
    "{{ 'ab' * 3 }}",
    "{% macro line(v) %}{{ v }}\n{% endmacro %}{{ line(a) }}{{ line(b) }}",
    "{{ x | join(', ') }}",
    f"{THRICE}{{{{ i + j + k }}}}{3 * '{% endfor %}'}",
    "{% filter upper %}a = {{ a }}{% endfilter %}",
    "{{ x | length }} {{ x | sum }}",
]


FORKS = """
import os
from distfd.objectives.command.bounded_templates import make_deck
from distfd.objectives.command.templates import Template

deck = make_deck(Template("t", "{{ a ~ 1 }}", 0o600))
deck.render({"a": 1.0})
pid = os.fork()
text = deck.render({"a": 2.0})
if not pid:
    os._exit(text != "2.01")
print(text, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def template(text: str) -> Template:
    return Template("deck.j2", text, 0o644)


@pytest.mark.parametrize("text", WITHOUT_END)
def test_a_template_without_end_is_ended(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_templates, "SECONDS", 0.5)
    with pytest.raises(InputError, match=r"template deck\.j2: takes more than"):
        make_deck(template(text)).render(VARIABLES)
    assert make_deck(template("{{ a ~ 'x' }}")).render({"a": 2.0}) == "2.0x", "the next one has a helper of its own"


def test_memory_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_templates, "SECONDS", 60.0)
    text = "{% set ns = namespace(l=[]) %}"
    text += "{% for i in range(99) %}{% set ns.l = ns.l + ['a' * 200000000 ~ i] %}{% endfor %}"
    with pytest.raises(InputError, match="takes more than 3 GiB of memory"):
        make_deck(template(text)).render(VARIABLES)


@pytest.mark.parametrize("text", TAME)
def test_what_decks_mostly_are_is_written_at_once(text: str) -> None:
    assert isinstance(make_deck(template(text)), Deck)


@pytest.mark.parametrize("text", [*TAME, *WILD])
def test_the_helper_writes_the_same(text: str) -> None:
    here, there = Deck(template(text)), LimitedDeck(template(text))
    assert there.render(VARIABLES) == here.render(VARIABLES)
    assert there.parts(VARIABLES) == here.parts(VARIABLES)
    assert there.moved(VARIABLES) == here.moved(VARIABLES)
    assert (there.names, there.mode) == (here.names, here.mode)


def test_the_helper_takes_a_parameter_called_x() -> None:
    assert LimitedDeck(template("{{ x | string | replace('.', ',') }}")).render({"x": 2.25}) == "2,25"


@pytest.mark.parametrize("text", WILD)
def test_texts_and_macros_are_left_to_the_helper(text: str) -> None:
    assert isinstance(make_deck(template(text)), LimitedDeck)


@pytest.mark.parametrize("text", ["{% macro f() %}{{ aa }}{% endmacro %}\n{{ f() }}", "{% for %}", "{{ x | nothing }}"])
def test_mistakes_are_told_as_they_are_elsewhere(text: str) -> None:
    told = []
    for make in (Deck, LimitedDeck):
        with pytest.raises(InputError) as caught:
            make(template(text)).render(VARIABLES)
        told.append(str(caught.value))
    assert told[0] == told[1]


def test_odd_bytes_go_both_ways() -> None:
    raw = b"\xff\xfe {{ x | join(',') }} \xc3\xa9"
    deck = make_deck(template(raw.decode("utf-8", "surrogateescape")))
    assert isinstance(deck, LimitedDeck)
    written = deck.render({"x": (float("nan"), -0.0, 5e-324)}).encode("utf-8", "surrogateescape")
    assert written == b"\xff\xfe nan,-0.0,5e-324 \xc3\xa9"


def test_a_fork_has_a_helper_of_its_own() -> None:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "2.01 0\n"


def test_a_program_with_such_a_deck_has_a_derivative_and_one_without_end_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def objective(text: str) -> CommandObjective:
        (tmp_path / "deck.j2").write_text(text)
        argv = ["sh", "-c", "awk '{ printf \"%.12g\\n\", $1 * $1 + 3 * $2 }' deck"]
        outputs = {"J": {"file": "stdout", "regex": "(.+)"}}
        return CommandObjective(
            argv, inputs={"deck": "deck.j2"}, outputs=outputs, names=("a", "b"), work=tmp_path / "work", base=tmp_path
        )

    macro = "{% macro line(v) %}{{ v }} {% endmacro %}{{ line(a) }}{{ line(b) }}\n"
    found = distfd.gradient(objective(macro), [2.0, 1.0], step=0.125, scheme="central", executor="serial")
    assert found == pytest.approx([4.0, 3.0], abs=1e-3)
    monkeypatch.setattr(bounded_templates, "SECONDS", 0.5)
    with pytest.raises(InputError, match="takes more than"):
        objective(TWICE).check([2.0, 1.0])


@pytest.mark.parametrize("how", [["-"], ["-c", FORKS]])
def test_it_is_found_whatever_the_path_is(how: list[str]) -> None:
    """With the current directory as "" on the path, and without PYTHONPATH."""
    code = FORKS if how == ["-"] else None
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", *how],
        env=env,
        cwd=ROOT,
        input=code,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout == "2.01 0\n", run.stderr
