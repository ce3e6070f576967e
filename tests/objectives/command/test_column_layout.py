"""Numbers without a width in lines that look like fixed columns: told where they shift what stands beside them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.objectives.command.column_layout import pitch
from distfd.objectives.command.objective import CommandObjective

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = '{a = substr($0, 1, 8) + 0; b = substr($0, 9, 8) + 0; printf "%.12f\\n", a * b}'
"""A program that reads columns of 8 characters, and multiplies the first by the second."""

OUTPUTS = {"J": {"file": "stdout", "regex": "(.+)"}}


def gradient(folder: Path, deck: str, x: float, step: float = 1e-3) -> tuple[float, list[str]]:
    (folder / "deck.j2").write_text(deck)
    made = CommandObjective(
        ["awk", COLUMNS, "deck"],
        inputs={"deck": "deck.j2"},
        outputs=OUTPUTS,
        names=("a",),
        base=folder,
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = distfd.gradient(made, [x], executor="serial", scheme="central", step=distfd.AbsoluteStep(step))
    return float(found[0]), [str(one.message) for one in told]


@pytest.mark.parametrize("mark", ['{{ a | fmt(".3f") }}', '{{ "%.3f" | format(a) }}', "{{ a | round(3) }}", "{{ a }}"])
@pytest.mark.parametrize("behind", ["        2.5     1.0\n", "        2.5     1.0\r\n"])
def test_a_number_that_grows_among_columns_is_told(tmp_path: Path, mark: str, behind: str) -> None:
    found, told = gradient(tmp_path, mark + behind, 9.999, 0.01)
    assert found != pytest.approx(2.5, rel=0.1), "the program reads other numbers on one side of x"
    shift = [text for text in told if "shifts the rest of its line" in text]
    assert len(shift) == 1, "once, though every point is written twice"
    assert "deck.j2:1, {{" in shift[0]
    assert "'9.999' becomes '10.009'" in shift[0]
    assert "columns of 8 characters" in shift[0]


def test_columns_cut_alike_on_both_sides_are_told(tmp_path: Path) -> None:
    """The neighbour loses its last digits at both points of the difference, so that J does not even jump."""
    found, told = gradient(tmp_path, "{{ a }}       2.5123  1.0     \n", 5.0, 0.125)
    assert found != pytest.approx(2.5123)
    assert any("'5' becomes '4.875'" in text for text in told)
    found, told = gradient(tmp_path, "{{ a | fit(8) }}2.5123  1.0     \n", 5.0, 0.125)
    assert found == pytest.approx(2.5123)
    assert told == []


@pytest.mark.parametrize(
    "deck",
    [
        "{{ a }} 2.5 1.0\n",
        "{{ a }},    2.5,     1.0\n",
        "a = {{ a }}\n",
        "{{ a }}\t2.5\t1.0\n",
        "        2.5     {{ a }}\n",
        "C   {{ a }}   0.250000   0.330000\n",
        "{{ a }}     2.5\n",
        '{{ a | fmt("6.3f") }}\n',
        '{{ a | fmt(".3f") }}   2.5     1.0     \n',  # what is shifted stays in its columns
    ],
)
def test_free_format_is_not_suspected(tmp_path: Path, deck: str) -> None:
    _, told = gradient(tmp_path, deck, 9.999)
    assert not [text for text in told if "shifts" in text]


@pytest.mark.parametrize(
    ("line", "mark", "width"),
    [
        (f"{'GRID':8}{1:>8}{'':8}{5:>8}{2.5:>8}{1:>8}", "5", 8),
        (f"{'GRID':8}{1:<8}{'':8}{5:<8}{2.5:<8}{1:<8}", "5", 8),
        (f"{'GRID':8}{1:>8}{'':8}{5:<8}{2.5:>8}{1:>8}", "5", 8),
        (f"{'GRID':8}{1:>8}{'':8}{5:<8}{2.5:<8}{1:<8}", "5", 8),
        (f"{'GRID':8}{5:<8}{2.5:<8}{1:>8}", "5", None),
        (f"{5:<10}{2.5:>10}{10:>10}", "5", 10),
        (f"{5:<12}{2.5:>12}{10:>12}", "5", 12),
        (f"{5:<15}{2.5:>15}{10:>15}", "5", 15),
        (f"{'TITLE':10}{5:^10}{2.5:>10}{10:>10}", "5", 10),
        (f"{5:>16}{2.5:>16}{1:>16}", "5", 8),  # of a multiple the smallest: it fits in any case
        (f"{5:>16}{2.5:>16}{1:<16}", "5", None),
        ("5 2.5 1.0 3.0", "5", None),
        (f"{'GRID':8}{1:>8}{5:>7}", "5", 8),
        (f"{'GRID':8}{5:>8}", "5", None),
        ("5      2.5     1.0 # 3", "5", None),
        ("5,      2.5     1.0", "5", None),
        ("55555555     2.5     1.0", "55555555", 8),
        ("555555555    2.5     1.0", "555555555", None),
        ("", "", None),
    ],
)
def test_the_width_of_columns(line: str, mark: str, width: int | None) -> None:
    begin = line.index(mark)
    assert pitch(line, begin, begin + len(mark)) == width


def test_what_moves_between_iterates_is_told(tmp_path: Path) -> None:
    """All points of one gradient may have the same width, and another one than those of the gradient before."""
    (tmp_path / "deck.j2").write_text('{{ a | fmt(".3f") }}        2.5     1.0\n')
    made: Any = CommandObjective(["true"], inputs={"deck": "deck.j2"}, outputs=OUTPUTS, names=("a",), base=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.written(np.array([9.5]), np.array([0]), np.array([[9.25, 9.75]]))
    with pytest.warns(UserWarning, match=r"'9\.500' becomes '10\.500', which leaves"):
        made.written(np.array([10.5]), np.array([0]), np.array([[10.25, 10.75]]))


def test_a_whole_number_is_told_of_a_format_for_whole_numbers(tmp_path: Path) -> None:
    (tmp_path / "deck.j2").write_text("{{ n }}            2.5     1.0\n")
    options: dict[str, Any] = {"outputs": OUTPUTS, "names": ("n",), "integers": ("n",), "base": tmp_path}
    made = CommandObjective(["true"], inputs={"deck": "deck.j2"}, **options)
    with pytest.warns(UserWarning, match=r"'9' becomes '10', .* put a mark with \| fmt\(\"8d\"\) in place"):
        made.written(np.array([9.0]), np.array([0]), np.array([[10.0]]))
