"""``distfd init --command``: from a deck with marked numbers to a configuration that runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from distfd.cli.deck_draft import draft
from distfd.config.load import load_config
from distfd.errors import InputError
from distfd.jobs.single_evaluation import evaluate_once

DECK = 'width {{ width = 0.25 }}\nload {{load=2.0D1 | fmt("8.3f")}} # of {{ width = 0.25 }}\n{% odd %} {#1}\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deck.inp").write_text(DECK)
    (tmp_path / "solve.sh").write_text("read word width < deck.inp; echo J = $width; cat deck.inp\n")
    return tmp_path


def write(files: dict[Path, str]) -> None:
    for path, text in files.items():
        path.write_text(text)


def test_what_is_drafted_is_valid_and_runs(folder: Path) -> None:
    made = draft("sh solve.sh 'deck.inp'", ["deck.inp"])
    write(made.files)
    assert str(made.config) == "deck.yaml"
    assert (folder / "deck.inp.j2").read_text().splitlines()[:2] == [
        "width {{ width }}",
        'load {{ load | fmt("8.3f") }} # of {{ width }}',
    ]
    loaded = load_config(made.config)
    assert loaded.config.problem().names == ("width", "load")
    assert loaded.config.problem().x0.tolist() == [0.25, 20.0]
    command = loaded.config.objective.command
    assert command is not None
    assert command.argv == ("sh", "solve.sh", "deck.inp")
    assert command.copy_ == (str(folder / "solve.sh"),)
    said: list[str] = []
    evaluate_once(loaded, "x0", said.append)
    assert said[-1].startswith("J = 0.25\n")
    assert "    2  load   20.000 # of 0.25\n    3  {% odd %} {#1}" in said[1], "what is Jinja's by chance is kept"


def test_elsewhere(folder: Path) -> None:
    (folder / "sub").mkdir()
    made = draft("./solve.sh -i deck.inp 1:30", ["deck.inp"], to="sub/case.yaml")
    write(made.files)
    command = load_config(made.config).config.objective.command
    assert command is not None
    assert command.argv == ("./solve.sh", "-i", "deck.inp", "1:30")
    assert (folder / "sub" / "deck.inp.j2").exists()


@pytest.mark.parametrize(
    ("deck", "pattern"),
    [
        ("width 3\n", "no number is marked"),
        ("{{ width = wide }}\n", "deck.inp:1: 'wide' is not a number"),
        ("\n{{ 2w = 3 }}\n", "deck.inp:2: '2w' is no name"),
        ("{{ lambda = 3 }}\n", "'lambda' is no name"),
        ("{{ a = 3 }} {{ a = 4 }}\n", "a = 4, and elsewhere it is 3.0"),
    ],
)
def test_wrong_marks_are_named(folder: Path, deck: str, pattern: str) -> None:
    (folder / "deck.inp").write_text(deck)
    with pytest.raises(InputError, match=pattern):
        draft("solver deck.inp", ["deck.inp"])


def test_a_parameter_may_be_named_again(folder: Path) -> None:
    """As a template has it; what else looks like Jinja is the deck's own."""
    (folder / "deck.inp").write_text("{{ again }} {{ a | fmt('.3f') }}\n{{ a = 3 }}\n")
    (folder / "second.inp").write_text("{{a}} {{ b }} {{ b = 1 }}")
    files = draft("solver", ["deck.inp", "second.inp"]).files
    texts = {path.name: text for path, text in files.items()}
    assert texts["deck.inp.j2"] == "{{ '{{' }} again }} {{ a | fmt('.3f') }}\n{{ a }}\n"
    assert texts["second.inp.j2"] == "{{a}} {{ b }} {{ b }}"


def test_the_draft_names_the_tasks_that_there_are(folder: Path) -> None:
    line = next(line for line in draft("solver", ["deck.inp"]).files[Path("deck.yaml")].splitlines() if "task:" in line)
    for task in line.split("others: ")[1].split(", "):
        (folder / "c.yaml").write_text(f"task: {task}\nobjective: {{python: m:f}}\nx0: [1]\n")
        load_config(folder / "c.yaml")
    assert {"jacobian", "hessian", "minimize", "noise"} <= set(line.split("others: ")[1].split(", "))


def test_nothing_is_overwritten(folder: Path) -> None:
    (folder / "deck.yaml").write_text("mine")
    with pytest.raises(InputError, match=r"deck\.yaml is there already"):
        draft("solver", ["deck.inp"])
    for command, decks in (("solver", []), ("", ["deck.inp"]), ("solver", ["nowhere"])):
        with pytest.raises(InputError):
            draft(command, decks)
