"""What people type after ``distfd init --command``: it becomes keys where there are such, and a shell's where not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from distfd.cli.deck_draft import draft
from distfd.cli.typed_command import read_command
from distfd.config.load import load_config
from distfd.errors import InputError
from distfd.jobs.single_evaluation import evaluate_once

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("line", "steps", "more"),
    [
        ("solver deck.inp", [["solver", "deck.inp"]], {}),
        ("solver < deck.inp", [["solver"]], {"stdin": "deck.inp"}),
        ("solver <deck.inp -v", [["solver", "-v"]], {"stdin": "deck.inp"}),
        ("mesh a.geo && solve -n 2", [["mesh", "a.geo"], ["solve", "-n", "2"]], {}),
        ("OMP_NUM_THREADS=2 MODE='a b' solver x", [["solver", "x"]], {"env": {"OMP_NUM_THREADS": "2", "MODE": "a b"}}),
        ("A=1 one && A=1 two", [["one"], ["two"]], {"env": {"A": "1"}}),
        ("solver --set width=3", [["solver", "--set", "width=3"]], {}),
        ("solver \"my deck.inp\" 'it''s' a\\ b", [["solver", "my deck.inp", "its", "a b"]], {}),
        ("solver '*.dat' \"<\" '$HOME' '&&'", [["solver", "*.dat", "<", "$HOME", "&&"]], {}),
        ("solver deck.inp > out.log 2>&1", [["solver", "deck.inp"]], {}),
        ("solver 2> err.txt", [["solver"]], {}),
        ('solver --name="a b"', [["solver", "--name=a b"]], {}),
        ("solver deck.inp &> out.log", [["solver", "deck.inp"]], {}),
        ("solver deck.inp >| out.log # the first of them", [["solver", "deck.inp"]], {}),
        ("solver \\\n  deck.inp \\\n", [["solver", "deck.inp"]], {}),
        ("solver a#b '#' x[1", [["solver", "a#b", "#", "x[1"]], {}),
    ],
)
def test_what_keys_can_say(line: str, steps: list[list[str]], more: dict[str, Any]) -> None:
    found = read_command(line)
    assert found.steps == steps
    assert (found.env, found.stdin) == (more.get("env", {}), more.get("stdin"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("solver *.dat", "its *.dat"),
        ("solver $HOME/mesh.dat", "its $HOME/mesh.dat"),
        ('solver "$HOME/mesh.dat"', "its $HOME/mesh.dat"),
        ("solver ~/mesh.dat", "its ~/mesh.dat"),
        ("solver `cat name`", "its `cat"),
        ("solver | grep J", "its |"),
        ("mesh; solve", "its ;"),
        ("mesh || true", "its ||"),
        ("cd case && solve", "its cd"),
        ("A=1 cd case && solve", "its cd"),
        ("mesh < a && solve", "its <"),
        ("A=1 one && A=2 two", "the values of A"),
        ("one &&", "its &&"),
        ("solver &", "its &"),
        ("solver << END\n1\nEND", "its <<"),
        ("! solver", "its !"),
        ("mesh > a.msh && solve a.msh", "its >, as what one program prints another one reads"),
        ("mesh 2> a && solve < a", "its >, as what one program prints another one reads"),
    ],
)
def test_what_is_left_to_a_shell_is_told(line: str, reason: str) -> None:
    found = read_command(line)
    assert found.steps == [["sh", "-c", line]]
    assert found.remarks == [f"a shell runs it, for {reason}"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("solver <<< 1", "its <<<"),
        ("solver |& tee log", "its |&"),
        ("diff <(solver) a", "its <("),
        ("cat {a,b}.inp", "its {a,b}.inp"),
        ("source env.sh && solver", "its source"),
        ("[[ -f a ]] && solver", "its [["),
    ],
)
def test_what_bash_alone_knows_is_left_to_it(line: str, reason: str) -> None:
    found = read_command(line)
    assert found.steps == [["bash", "-c", line]]
    assert found.remarks == [f"a shell runs it, for {reason}"]


def test_it_is_told_where_a_redirection_went() -> None:
    found = read_command("solver > out.log 2> err.log").remarks
    assert found == [
        "what it prints is the file stdout in its work directory, not out.log",
        "what it prints is the file stderr in its work directory, not err.log",
    ]
    assert read_command("solver 2>&1 >/dev/null 2>/dev/null").remarks == []


@pytest.mark.parametrize("line", ["", "  ", "A=1", "'open", 'solver "open', "solver <", "< deck.inp"])
def test_what_is_no_command_is_refused(line: str) -> None:
    with pytest.raises(InputError, match="--command: "):
        read_command(line)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deck.inp").write_text("{{ width = 0.25 }}\n")
    (tmp_path / "rate.txt").write_text("2\n")
    (tmp_path / "to_j.sed").write_text("s/^/J = /\n")
    (tmp_path / "show.sh").write_text("#!/bin/sh\necho J = $(cat deck.inp)\n")
    (tmp_path / "show.sh").chmod(0o755)
    return tmp_path


def one_evaluation(command: str, decks: list[str]) -> str:
    made = draft(command, decks)
    for path, text in made.files.items():
        path.write_text(text)
    said: list[str] = []
    evaluate_once(load_config(made.config), "x0", said.append)
    return said[-1]


@pytest.mark.parametrize(
    "command",
    [
        "sed 's/^/J = /' < deck.inp",
        "cp deck.inp copied && sed 's/^/J = /' copied",
        "LC_ALL=C sed 's/^/J = /' deck.inp > out.log 2>&1",
        "cat *.inp | sed 's/^/J = /'",
        "read rate < rate.txt; echo J = $(cat deck.inp)",
        "sed 's/^/J = /' ./deck.inp",
        "cat ./deck.inp > copied && sed 's/^/J = /' copied",
        'cat <<< "J = $(cat deck.inp)"',
        "./show.sh; true",
        "sed --file=to_j.sed deck.inp",
        "mkdir new && cp deck.inp new && cd new && ../show.sh",
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_is_drafted_runs(command: str) -> None:
    assert one_evaluation(command, ["deck.inp"]).startswith("J = 0.25\n")


@pytest.mark.parametrize(
    ("command", "name", "value"),
    [
        ("echo J = {{ width = 0.25 }}", "echo", 0.25),
        ("echo 'J = {{ width = 0.25 | fmt(\"6.4f\") }}'", "echo", 0.25),
        ("echo J = {{ -width }} and {{ width = 0.25 }}", "echo", -0.25),
        ("W={{ width = 0.25 }} sh -c 'echo J = $W'", "sh", 0.25),
        ("echo {{ width = 0.25 }} | sed 's/^/J = /'", "sh", 0.25),
        ("echo --width={{width=0.25}} && echo J = {{ 2 * width }}", "echo", 0.5),
    ],
)
@pytest.mark.usefixtures("folder")
def test_numbers_marked_in_the_command_need_no_deck(command: str, name: str, value: float) -> None:
    assert one_evaluation(command, []).startswith(f"J = {value}\n")
    config = load_config(f"{name}.yaml").config
    assert config.problem().names == ("width",)
    assert str(config.output).endswith(f"runs/{name}")


def test_numbers_marked_in_the_command_and_in_a_deck(folder: Path) -> None:
    (folder / "deck.inp").write_text("J = {{ width = 0.25 }} {{ depth * 1e-3 }}\n")
    assert one_evaluation("sh -c 'cat deck.inp; echo {{ depth = 4 }}'", ["deck.inp"]).startswith("J = 0.25\n")
    assert load_config("deck.yaml").config.problem().names == ("depth", "width")


@pytest.mark.parametrize(
    ("command", "pattern"),
    [
        ("solver {{ 3a = 3 }}", "--command:1: '3a' is no name"),
        ("solver {{ a = 3 }} {{ a = 4 }}", "--command:1: a = 4, and elsewhere it is 3.0"),
        ("solver {{ a }}", "numbers may also be marked in the command"),
    ],
)
def test_wrong_marks_in_the_command_are_named(command: str, pattern: str) -> None:
    with pytest.raises(InputError, match=pattern):
        draft(command, [])


@pytest.mark.parametrize("command", ["./Allrun", "case/Allrun", "sh case/Allrun", "cd case && ./Allrun"])
def test_decks_in_the_folders_of_a_case(folder: Path, command: str) -> None:
    """As OpenFOAM has them: the configuration stands beside the case, which is copied whole."""
    for name, text in (("0/U", "{{ speed = 1.5 }}\n"), ("1/U", "{{ other = 2 }}\n"), ("system/mesh", "10\n")):
        (folder / "case" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "case" / name).write_text(text)
    script = folder / "case" / "Allrun"
    script.write_text('#!/bin/sh\ncd "$(dirname "$0")"\necho J = $(cat 0/U) > log; cat log; cat system/mesh 1/U\n')
    script.chmod(0o755)
    if command == "case/Allrun":
        command = "sh case/Allrun"  # what is in the work directory alone is not run by its path
    assert one_evaluation(command, ["case/0/U", "case/1/U"]).startswith("J = 1.5\n")
    assert sorted(path.name for path in folder.iterdir() if path.suffix in (".yaml", ".j2")) == [
        "U.j2",
        "case-1-U.j2",
        "case.yaml",
    ]
    config = load_config("case.yaml").config
    assert config.objective.command is not None
    assert config.objective.command.copy_ == (str(folder / "case"),)
    assert config.problem().names == ("speed", "other")


def test_patterns_in_copy_and_link(folder: Path) -> None:
    for name in ("b.dat", "a.dat", "a[1].dat"):
        (folder / name).write_text("1\n")
    text = "objective: {{command: {{argv: [sh, -c, 'ls *.dat *.txt; echo J=1'], copy: [{}], link: ['rate*'],"
    text += " outputs: {{J: {{file: stdout, regex: 'J=(.*)'}}}}}}}}\nx0: [1]\noutput: run\n"
    (folder / "job.yaml").write_text(text.format("'[ab].dat', '*.dat'"))
    command = load_config("job.yaml").config.objective.command
    assert command is not None
    assert [path.rpartition("/")[2] for path in command.copy_] == ["a.dat", "b.dat", "a[1].dat"]
    said: list[str] = []
    evaluate_once(load_config("job.yaml"), "x0", said.append)
    assert said[-1].startswith("J = 1.0\n")
    (folder / "job.yaml").write_text(text.format("'a[1].dat'"))
    command = load_config("job.yaml").config.objective.command
    assert command is not None
    assert [path.rpartition("/")[2] for path in command.copy_] == ["a[1].dat"], "a file of that very name"
    (folder / "job.yaml").write_text(text.format("'*.nothing'"))
    with pytest.raises(InputError, match=r"objective\.command\.copy\.0: matches no file"):
        load_config("job.yaml")
