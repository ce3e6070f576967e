"""``distfd init --command``: from a deck with marked numbers to a configuration that runs."""

from __future__ import annotations

import resource
import stat
from pathlib import Path

import pytest

from distfd.cli.deck_draft import draft
from distfd.cli.draft import put_aside
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


def test_an_argument_that_is_longer_than_any_name_is_an_argument(folder: Path) -> None:
    (folder / "deck.inp").write_text("{{ a = 1 }}")
    for argument in ("x" * 5000, "x/" * 5000):
        draft(f"true {argument} deck.inp", ["deck.inp"], to="long.yaml")


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
        ("{{ 2.5 }} {{ b = 3 }}\n", r"\{\{ 2\.5 \}\} has no name: write \{\{ name = 2\.5 \}\}"),
        ("a\n{{ 1.5D-3 | fmt('8.3f') }}\n", "deck.inp:2: .* has no name"),
        ("{{ wing.span = 2.5 }}\n", "'wing.span' is no name"),
        ("{{ a-b = 2.5 }} {{ c = 3 }}\n", "'a-b' is no name"),
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


def test_all_wrong_marks_are_named_at_once(folder: Path) -> None:
    (folder / "deck.inp").write_text("R1 a b {{ rc1 = 4.7k }}\nC1 {{ c = 10uF }} {{ d = wide }} {{ e = 1 }}\n")
    with pytest.raises(InputError) as caught:
        draft("ngspice -b deck.inp", ["deck.inp"])
    first, second, third = str(caught.value).splitlines()
    assert first.startswith("deck.inp:1: '4.7k' is not a number")
    assert "{{ rc1 = 4.7 }}k, or write the number in full (column 8)" in first
    assert "{{ c = 10 }}uF" in second
    assert third.startswith("deck.inp:2: 'wide' is not a number")


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


# ---- formulas of what is marked elsewhere


def drafted(folder: Path, deck: str) -> str:
    (folder / "deck.inp").write_text(deck)
    return draft("solver deck.inp", ["deck.inp"]).files[Path("deck.inp.j2")]


@pytest.mark.parametrize(
    "formula",
    [
        "{{ -half }}",
        "{{ 2 * half }}",
        "{{ half * other }}",
        '{{ (2 * half) | fmt("7.4f") }}',
        "{{half**2}}",
        "{{ x[0] }}",
    ],
)
def test_a_formula_of_marked_parameters_is_kept(folder: Path, formula: str) -> None:
    deck = f"a {{{{ half = 0.5 }}}} {{{{ other = 2 }}}}\nb {formula}\n"
    kept = "{{ x[0] }}" not in formula
    assert drafted(folder, deck).splitlines()[1] == (f"b {formula}" if kept else "b {{ '{{' }} x[0] }}")


def test_what_is_drafted_of_a_formula_is_written(folder: Path) -> None:
    (folder / "deck.inp").write_text("a {{ half = 0.5 }}\nb {{ -half }}\n")
    made = draft("cat deck.inp", ["deck.inp"])
    write(made.files)
    config = made.config.read_text().replace("'^J\\s*=\\s*(\\S+)'", r"'^b (\S+)'")
    made.config.write_text(config)
    said: list[str] = []
    evaluate_once(load_config(made.config), "x0", said.append)
    assert said[-1].startswith("J = -0.5\n")


@pytest.mark.parametrize(
    ("formula", "pattern"),
    [
        ("{{ half * q }}", r"deck\.inp:2: \{\{ half \* q \}\} uses q, which is marked nowhere: mark it too"),
        ("{{ half = }}", r"deck\.inp:2: there is only blank space; a mark is \{\{ name = number \}\}"),
        (
            "{{ -half = -0.5 }}",
            r"gives a formula a value: mark half where it stands alone, .* write \{\{ -half \}\} here",
        ),
        ("{{ 2 half }}", r"deck\.inp:2: \{\{ 2 half \}\} names half, and is no expression"),
        ("{% if half > 1 %}", r"deck\.inp:2: \{% if half > 1 %\} uses half"),
    ],
)
def test_what_cannot_be_a_formula_is_told(folder: Path, formula: str, pattern: str) -> None:
    with pytest.raises(InputError, match=pattern):
        drafted(folder, f"a {{{{ half = 0.5 }}}}\nb {formula}\n")


def test_braces_of_the_decks_own_are_kept(folder: Path) -> None:
    text = drafted(folder, "a {{ half = 0.5 }} {{ theirs }} {% raw %} ${#v}\n")
    assert text == "a {{ half }} {{ '{{' }} theirs }} {{ '{%' }} raw %} ${{ '{#' }}v}\n"


# ---- steps


def test_a_value_of_0_gets_a_scale(folder: Path) -> None:
    (folder / "deck.inp").write_text("a {{ a = 0.0 }} {{ b = 3 }} {{ c = 0.000 | fmt('8.3f') }}\n")
    made = draft("solver deck.inp", ["deck.inp"])
    write(made.files)
    problem = load_config(made.config).config.problem()
    assert problem.scale[[0, 2]].tolist() == [1.0, 1.0]
    assert "CHANGE scale" in made.config.read_text()


@pytest.mark.parametrize(
    ("printed", "step"), [("1.23456", "2.0e-3"), ("1.23456789", "1.0e-3"), ("1.23e-7", "1.0e-1"), ("0.25", "1.0e-3")]
)
def test_the_drafted_step_follows_the_digits_that_are_read(
    folder: Path, printed: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "deck.inp").write_text("width {{ width = 0.25 }}\n")
    made = draft(f"echo 'J = {printed}'", ["deck.inp"])
    write(made.files)
    said: list[str] = []
    evaluate_once(load_config(made.config), "x0", said.append)
    (line,) = [line for line in made.config.read_text().splitlines() if line.startswith("  step:")]
    assert ("# drafted" in line) == (printed == "0.25")
    found = load_config(made.config).config.derivative.step
    expected = {"1.23456": 1e-2, "1.23456789": 1e-3, "1.23e-7": 1e-1, "0.25": 1e-3}[printed]
    assert found == pytest.approx(expected, rel=0.6)
    # What is not drafted any more is left alone, but told of.
    made.config.write_text(made.config.read_text().replace(line, "  step: 1.0e-9"))
    said.clear()
    evaluate_once(load_config(made.config), "x0", said.append)
    assert load_config(made.config).config.derivative.step == 1e-9
    assert any("derivative.step is 1e-09" in text for text in said) == (printed != "0.25")


def test_a_drafted_step_is_set_once_and_by_digits_as_written(folder: Path) -> None:
    (folder / "deck.inp").write_text("width {{ width = 0.25 }}\n")
    made = draft("echo 'J = -1.084730E+01'", ["deck.inp"])
    write(made.files)
    before = made.config.read_text()
    said: list[str] = []
    evaluate_once(load_config(made.config, ["parameters.width.value=0.5"]), "x0", said.append)
    assert made.config.read_text() == before, "a what-if changes no file"
    evaluate_once(load_config(made.config), "x0", said.append)
    assert "J is written with 7 digits: the drafted derivative.step is now 5.0e-3" in "\n".join(said)
    after = made.config.read_text()
    assert "for the 7 digits of J" in after
    assert "# drafted" not in after
    assert "that J has" not in after
    made.config.write_text(after.replace("-1.084730E+01", "-1.08E+01"))
    text = made.config.read_text()
    evaluate_once(load_config(made.config), "x0", said.append)
    assert made.config.read_text() == text, "and it is changed once only"


def test_a_configuration_is_never_half_written(folder: Path) -> None:
    """Nor is another name of the file changed, or a link to it replaced."""
    (folder / "deck.inp").write_text("width {{ width = 0.25 }}\n")
    made = draft("echo 'J = -1.084730E+01'", ["deck.inp"])
    write(made.files)
    before = made.config.read_bytes().replace(b"\n", b"\r\n")
    made.config.write_bytes(before)
    said: list[str] = []
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limit[1]))  # as on a disk that is full
    try:
        evaluate_once(load_config(made.config), "x0", said.append)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert made.config.read_bytes() == before
    assert "set derivative.step to 5.0e-3" in "\n".join(said)
    assert "cannot be written: File too large" in "\n".join(said)
    (folder / "second").hardlink_to(made.config)
    (folder / "link.yaml").symlink_to(made.config)
    made.config.chmod(0o640)
    evaluate_once(load_config(folder / "link.yaml"), "x0", said.append)
    assert (folder / "second").read_bytes() == before
    assert (folder / "link.yaml").is_symlink()
    after = made.config.read_bytes()
    assert b"for the 7 digits of J" in after
    assert after.count(b"\n") == after.count(b"\r\n") == before.count(b"\n") - 1
    assert stat.S_IMODE(made.config.stat().st_mode) == 0o640


# ---- decks of CalculiX, Abaqus and Nastran

PLATE = """*INCLUDE, INPUT=mesh/plate.msh
*MATERIAL, NAME=STEEL
*DENSITY
{{ rho = 7.85e-9 }}
*SHELL SECTION
{{ t = 8.0 | fmt("8.4f") }}
*CLOAD
2001, 3, {{ -t }}
"""


@pytest.fixture
def plate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plate.inp").write_text(PLATE)
    (tmp_path / "mesh").mkdir()
    (tmp_path / "mesh" / "plate.msh").write_text("*NODE\n")
    return tmp_path


@pytest.mark.parametrize("command", ["ccx plate", "/opt/ccx_2.21 -i plate", "abaqus job=plate", "solver plate.inp"])
def test_numbers_of_abaqus_decks_keep_within_20_characters(plate: Path, command: str) -> None:
    made = draft(command, ["plate.inp"])
    lines = made.files[Path("plate.inp.j2")].splitlines()
    assert lines[3] == "{{ rho | fit(20) }}"
    assert lines[5] == '{{ t | fmt("8.4f") }}', "a format of one's own is kept"
    assert lines[7] == "2001, 3, {{ (-t) | fit(20) }}"
    assert "fit(20) in the templates" in made.files[made.config]


def test_other_decks_are_written_in_full(plate: Path) -> None:
    (plate / "deck.inp").write_text("rho {{ rho = 7.85e-9 }}\n")
    assert draft("solver deck.inp", ["deck.inp"]).files[Path("deck.inp.j2")] == "rho {{ rho }}\n"


def test_fields_of_nastran_decks(plate: Path) -> None:
    (plate / "wing.bdf").write_text("BEGIN BULK\nMAT1    1       {{ E = 7.1e4 }}\nGRID*   1       {{ x1 = 2.5 }}\n")
    made = draft("solver wing.bdf", ["wing.bdf"])
    text = made.files[Path("wing.bdf.j2")]
    assert text == "BEGIN BULK\nMAT1    1       {{ E | nastran(8) }}\nGRID*   1       {{ x1 | nastran(16) }}\n"


@pytest.mark.parametrize(
    ("line", "template"),
    [
        (
            "NODE           {{ a = 5.000 }}     {{ b = 2.500 }}     1.000",
            "NODE       {{ a | fit(9) }} {{ b | fit(9) }}     1.000",
        ),
        (
            "NODE2     {{ a = 5.000 }}     2.500     {{ b = 1.000 }}",
            "NODE2     {{ a | fit(9) }} 2.500      {{ b | fit(9) }}",
        ),
        ("{{ a = 5.25 }}    {{ b = 2.5 }}     1.0     ", "{{ a | fit(7) }} {{ b | fit(7) }} 1.0     "),
        ("       5{{ a = 2.500000 }}       8{{ b = 1.5 }}", "       5{{ a }}       8{{ b }}"),
        ("{{ a = 5.25 }} {{ b = 2.5 }} 1.0", "{{ a }} {{ b }} 1.0"),
        (
            '    {{ a = 2.50 | fmt("4.2f") }}     {{ b = 1.0 }}     2.0',
            '    {{ a | fmt("4.2f") }} {{ b | fit(7) }}     2.0',
        ),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_marks_in_columns_keep_their_columns(folder: Path, line: str, template: str, newline: str) -> None:
    """``{{ a }}`` for 5.000 would be 5 at x and 5.0005 beside it, and shift what stands behind."""
    (folder / "beam.dat").write_bytes(f"first{newline}{line}{newline}last".encode())
    made = draft("sh beam.dat", ["beam.dat"])
    assert made.files[Path("beam.dat.j2")] == f"first{newline}{template}{newline}last"
    assert ("beam.dat:2 seems to have columns of" in made.files[made.config].replace("\n    # ", " ")) == (
        "fit(" in template
    )


def test_files_that_a_deck_names_are_copied(plate: Path) -> None:
    made = draft("ccx plate", ["plate.inp"])
    write(made.files)
    command = load_config(made.config).config.objective.command
    assert command is not None
    assert command.copy_ == (str(plate / "mesh"),)
    assert command.fails_if == r"^ *\*ERROR"
    assert command.outputs["J"].file == "plate.dat"
    (plate / "sub").mkdir()
    below = draft("ccx plate", ["plate.inp"], to="sub/job.yaml")
    assert "copy: [../mesh]" in below.files[below.config] or 'copy: ["../mesh"]' in below.files[below.config]


def test_a_deck_in_a_folder_is_run_there(plate: Path) -> None:
    (plate / "case").mkdir()
    (plate / "plate.inp").rename(plate / "case" / "plate.inp")
    (plate / "mesh").rename(plate / "case" / "mesh")
    made = draft("ccx plate", ["case/plate.inp"])
    write(made.files)
    command = load_config(made.config).config.objective.command
    assert command is not None
    assert command.argv == ("sh", "-c", "cd case && exec ccx plate")
    assert command.outputs["J"].file == "case/plate.dat"
    assert command.fails_if == r"^ *\*ERROR"
    assert list(command.inputs) == ["case/plate.inp"]


@pytest.mark.parametrize(
    ("command", "file"),
    [("nec2c -i deck.inp -o out.txt", "out.txt"), ("nec2c --output=out.txt", "out.txt"), ("nec2c deck.inp", "stdout")],
)
def test_the_file_that_the_command_names_is_read(folder: Path, command: str, file: str) -> None:
    made = draft(command, ["deck.inp"])
    write(made.files)
    found = load_config(made.config).config.objective.command
    assert found is not None
    assert found.outputs["J"].file == file


def test_a_shell_needs_no_hint(folder: Path) -> None:
    made = draft("sh solve.sh", ["deck.inp"])
    assert "hint" not in made.files[made.config]


def test_what_is_there_is_put_aside(folder: Path) -> None:
    for content in ("first", "second"):
        (folder / "deck.yaml").write_text(content)
        assert put_aside(folder / "deck.yaml").read_text() == content
    assert (folder / "deck.yaml.old").read_text() == "first"
    assert (folder / "deck.yaml.old2").read_text() == "second"
    (folder / "deck.yaml").write_text("mine")
    assert draft("solver", ["deck.inp"], force=True).config == Path("deck.yaml")
    assert (folder / "deck.yaml").read_text() == "mine", "a draft writes nothing"
