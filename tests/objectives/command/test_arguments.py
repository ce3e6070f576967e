"""Marks in arguments, in variables of the environment and in stdin's name: they are written, as those of decks are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.core.failures import ProgramError
from distfd.errors import InputError
from distfd.objectives.command.objective import CommandObjective

if TYPE_CHECKING:
    from pathlib import Path

# What is printed with few digits is told of as well; here that is the point.
pytestmark = pytest.mark.filterwarnings("ignore:rounding hides the derivative")

OUTPUTS = {"J": {"file": "stdout", "regex": "(.+)"}}
X = np.array([1.5, 4.0])


def program(folder: Path, argv: list[str] | None, **options: Any) -> CommandObjective:
    options = {"outputs": OUTPUTS, "names": ("a", "b"), "base": folder, "work": folder / "work", **options}
    return CommandObjective(argv, **options)


def value(made: CommandObjective) -> Any:
    return made.make().evaluate(X)


def test_an_argument(tmp_path: Path) -> None:
    code = "BEGIN {print 2 * ARGV[2] + ARGV[3]}"
    made = program(tmp_path, ["awk", code, "--etemp", "{{ a }}", "{{ b | fmt('.2f') }}"])
    assert value(made) == 7.0
    np.testing.assert_allclose(distfd.gradient(made, X, executor="serial", step=0.01), [2.0, 1.0], rtol=1e-9)


def test_the_step_of_an_argument_is_as_written(tmp_path: Path) -> None:
    made = program(tmp_path, ["awk", "BEGIN {print ARGV[1] + ARGV[2]}", "{{ a | fmt('.3f') }}", "{{ b }}"])
    found = distfd.differentiate(made, X, executor="serial", step=distfd.AbsoluteStep([0.0014, 1.0]))
    np.testing.assert_allclose(found.derivative, [1.0, 1.0], rtol=1e-9)
    assert found.step[0] == pytest.approx(0.001)
    with pytest.raises(InputError, match=r"a \(coordinate 0\).*argv\[2\] does not change: fmt\('.3f'\) swallows it"):
        distfd.gradient(made, X, executor="serial", step=1e-6)


def test_a_shell_command_keeps_its_other_braces(tmp_path: Path) -> None:
    code = "v='{{ a }}'; w=${#v}; { echo $v; } # {% raw %}"
    assert value(program(tmp_path, ["sh", "-c", code])) == 1.5
    assert (
        value(program(tmp_path, ["awk", "{{print $1 + 1}}"], stdin="deck", inputs=deck(tmp_path, "{{ a }}\n"))) == 2.5
    )


def deck(folder: Path, text: str) -> dict[str, str]:
    (folder / "deck.j2").write_text(text)
    return {"deck": "deck.j2"}


def test_a_variable_of_the_environment(tmp_path: Path) -> None:
    env = {"PRESSURE": "{{ a + b }}", "NONE": None, "P": "2"}
    made = program(tmp_path, ["sh", "-c", "echo $PRESSURE$NONE"], env=env)
    assert value(made) == 5.5
    np.testing.assert_allclose(distfd.gradient(made, X, executor="serial"), [1.0, 1.0], rtol=1e-6)


def test_stdin_and_commands(tmp_path: Path) -> None:
    commands = [["sh", "-c", "echo {{ b }} > at-{{ a }}"], ["cat", "at-1.5"]]
    assert value(program(tmp_path, None, commands=commands)) == 4.0
    made = program(tmp_path, ["cat"], pre=[["sh", "-c", "echo 7 > at-{{ a }}"]], stdin="at-{{ a }}")
    assert value(made) == 7.0


def test_what_is_run_by_hand_is_what_was_run(tmp_path: Path) -> None:
    made = program(tmp_path, ["sh", "-c", "echo $Q; exit {{ b | int }}"], env={"Q": "it is {{ a }}"})
    with pytest.raises(ProgramError, match=r"sh -c 'echo \$Q; exit 4': it ended with return code 4"):
        value(made)
    (folder,) = (tmp_path / "work").iterdir()
    script = (folder / "rerun.sh").read_text()
    assert "export Q='it is 1.5'" in script
    assert "'echo $Q; exit 4'" in script


@pytest.mark.parametrize(
    ("argument", "pattern"),
    [
        ("{{ etmp }}", r"argv\[1\]: '\{\{ etmp \}\}' uses etmp, which is no parameter; did you mean 'etemp'"),
        ("{{ 2 * q }}", "uses q, which is no parameter; known: etemp, x"),
        ("{{ etemp | nofilter }}", r"argv\[1\]:1: No filter named 'nofilter'"),
        ("{{ etemp + q }}", r"argv\[1\]:1: 'q' is undefined"),
        ("{{ 2 * etemp | fmt('.2f') }}", "there is no arithmetic"),
    ],
)
def test_a_mark_that_is_wrong_is_named(tmp_path: Path, argument: str, pattern: str) -> None:
    made = program(tmp_path, ["echo", argument], names=("etemp",))
    with pytest.raises(InputError, match=pattern):
        made.make().evaluate(np.ones(1))
    with pytest.raises(InputError, match=pattern):
        made.check([1.0])


def test_only_marks_change_the_fingerprint(tmp_path: Path) -> None:
    """What a version that took them as they stand has stored is another J; all else is the same as ever."""
    from distfd.objectives.command.arguments import marked_texts

    plain, marked = program(tmp_path, ["echo", "{a}"]), program(tmp_path, ["echo", "{{ a }}"])
    assert marked_texts(plain, plain.names) == {}
    assert set(marked_texts(marked, marked.names)) == {"argv[1]"}
    unnamed = program(tmp_path, ["echo", "{{ x[0] }}"], names=None)
    assert len({made.fingerprint() for made in (plain, marked, unnamed)}) == 3


# ---- parameters that nothing uses


@pytest.mark.parametrize(
    ("options", "unused"),
    [
        ({"argv": ["echo", "{{ a }}"]}, ["b"]),
        ({"argv": ["echo", "{{ a }}"], "env": {"B": "{{ b }}"}}, []),
        ({"argv": ["echo", "1"]}, []),  # it reads parameters.json
        ({"argv": ["echo", "{{ a }}"], "unused": ["b"]}, []),
        ({"argv": ["echo", "{{ x[1] }}"]}, ["a"]),
        ({"argv": ["echo", "{{ x | join(',') }}"]}, []),
        ({"argv": ["echo", "{{ x | length }}"]}, ["a", "b"]),
    ],
)
def test_a_parameter_that_nothing_uses_is_found(tmp_path: Path, options: dict[str, Any], unused: list[str]) -> None:
    from distfd.objectives.command.objective import unused_parameters

    assert unused_parameters(program(tmp_path, **options), X) == unused


def test_a_name_of_an_output_and_a_parameter_is_told(tmp_path: Path) -> None:
    made = program(tmp_path, ["echo", "{{ a * J }}"], names=("a", "J"), outputs={"J": OUTPUTS["J"]}, value="2 * J")
    with pytest.warns(UserWarning, match="value: J is what is read from the program, not the parameter"):
        made.check(X)
    made = program(tmp_path, ["echo", "{{ a }}"], names=("a",), value="2 * J + a")
    made.check(X[:1])
