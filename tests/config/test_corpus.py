"""Every key of whole configurations, spoilt in every way: exit 2, at its line, nothing run and nothing made."""

from __future__ import annotations

import re
import signal
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from bad_corpus import ANY, FMU, GOOD, PROGRAM, SEARCH, Line, lines, replaced

from distfd.cli import terminal
from distfd.cli.commands import app
from distfd.cli.interrupts import guarded
from distfd.config import load_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OWN_CODE = "      mine:\n        python: post:read\n"
"""What is imported once everything in the file is right."""

FILES = {
    "mesh.dat": "1\n",
    "table.csv": "name,v\nb,1\n",
    "deck.j2": "{{ width }}\n",
    "case.json": '{"width": 1}\n',
    "prepare": "",
    "solve": "",
    "clean": "",
    "post.py": "raise SystemExit('executed')\n",
    "model.py": "from pathlib import Path\nPath(__file__).with_name('executed').touch()\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the configurations name, and traps: to import a module of theirs leaves a mark."""
    here = tmp_path_factory.mktemp("corpus")
    for name, text in FILES.items():
        (here / name).write_text(text)
    return here


@pytest.fixture(autouse=True)
def _handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The command line sets signal handlers, how warnings are shown, and where it speaks, for its whole process."""
    monkeypatch.setattr(terminal, "stream", lambda: sys.stderr)
    before, shown = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}, warnings.showwarning
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    warnings.showwarning = shown


def refused(folder: Path, capsys: pytest.CaptureFixture[str], text: str | bytes, *overrides: str) -> list[str]:
    """The lines of the message by which ``distfd run`` refuses a configuration."""
    path = folder / "c.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = sorted(folder.rglob("*"))
    code = guarded(lambda: app(["run", str(path), *overrides], standalone_mode=False), debug=False)
    told = capsys.readouterr()
    assert (code, told.out) == (2, "")
    assert "Traceback" not in told.err
    assert sorted(folder.rglob("*")) == before, "nothing is made, and nothing was executed"
    assert told.err.startswith("distfd: ")
    return told.err.removeprefix("distfd: ").replace(f"{path}:", "").strip().split("\n")


@pytest.mark.parametrize("name", GOOD)
def test_they_are_good(folder: Path, name: str) -> None:
    path = folder / "good.yaml"
    path.write_text(GOOD[name])
    load_config(path)
    path.unlink()


CASES = [(name, line) for name, text in GOOD.items() for line in lines(text)]


def at(found: list[str], line: Line, column: str = r"\d+") -> list[str]:
    """What is told of this line."""
    return [told for told in found if re.match(rf"{line.number}:{column}: ", told)]


@pytest.mark.parametrize(("name", "line"), CASES, ids=[f"{name}-{line.path}" for name, line in CASES])
class TestEveryKey:
    """What can be wrong of any key."""

    def test_of_a_type_that_nothing_has(
        self, folder: Path, capsys: pytest.CaptureFixture[str], name: str, line: Line
    ) -> None:
        if line.path.endswith(ANY):
            pytest.skip("the user's own")
        found = refused(folder, capsys, replaced(GOOD[name], line, "[{zz: []}]"))
        (told, *_) = [t for t in at(found, line) if "must be" in t] or [
            t for t in at(found, line) if "unknown key" in t
        ]
        assert told.split(": ")[1].startswith(line.path)

    @pytest.mark.slow
    def test_given_twice(self, folder: Path, capsys: pytest.CaptureFixture[str], name: str, line: Line) -> None:
        rows = GOOD[name].splitlines()
        key = rows[line.number - 1][line.column - 1 :].split(":")[0]
        again = " " * (line.column - 1) + f"{key}: 1"
        # Behind all that is below the first, so that it is a key of the same mapping.
        end = next(
            (k for k in range(line.number, len(rows)) if len(rows[k]) - len(rows[k].lstrip(" -")) < line.column),
            len(rows),
        )
        rows.insert(end, again)
        found = refused(folder, capsys, "\n".join(rows) + "\n")
        assert f"{end + 1}:{line.column}: {line.path}: given twice, first at line {line.number}" in found

    @pytest.mark.slow
    @pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.nightly)], ids=["some", "all"])
    def test_as_no_value_is_written(
        self, folder: Path, capsys: pytest.CaptureFixture[str], name: str, line: Line, every: bool
    ) -> None:
        values = ["*here", "&here 1", "!!python/name:os.system x", "!x 1", "010", "'\\", "{"]
        for value in values if every else values[line.number % 4 :: 4]:  # of another line the others
            found = refused(folder, capsys, replaced(GOOD[name], line, value))
            if value in ("'\\", "{"):
                assert "not valid YAML" in found[0], value
            else:
                assert [t for t in at(found, line) if t.split(": ")[1] == line.path], value

    def test_misspelt(self, folder: Path, capsys: pytest.CaptureFixture[str], name: str, line: Line) -> None:
        key = line.path.rsplit(".", 1)[-1]
        own = re.search(
            r"(env|custom|kwargs|options|outputs|data|where|inputs|set|start|prior|sigma)\.[^.]*$|\"", line.path
        )
        if own or len(key) < 3:
            pytest.skip("the user's own name")
        rows = GOOD[name].splitlines()
        wrong = key[1] + key[0] + key[2:]
        start = line.column - 1
        rows[line.number - 1] = rows[line.number - 1][:start] + rows[line.number - 1][start:].replace(key, wrong, 1)
        found = refused(folder, capsys, "\n".join(rows) + "\n")
        (told,) = [t for t in at(found, line, str(line.column)) if "unknown key" in t]
        assert told.endswith(f"did you mean {line.path}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "line", "value"),
    [
        (name, line, value)
        for name, line in CASES
        for value in ("-1", "1e999", ".nan", "on", "9" * 20)
        if re.search(r"num_|nodes|max_|evaluations|crash|error$|timeout|memory|skip|from|accuracy|tolerance", line.path)
        and not (value == "9" * 20 and re.search(r"accuracy|tolerance|num_.pus$|custom", line.path))
    ],
)
def test_no_number_of_its_kind(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, line: Line, value: str
) -> None:
    found = refused(folder, capsys, replaced(GOOD[name], line, value))
    (told,) = at(found, line)
    assert told.split(": ")[1] == line.path
    assert "must be" in told


CONFLICTS: list[tuple[str, str, str]] = [
    (FMU.replace("times: [0, 1]", "time: t\n        times: [0, 1]"), "objective.fmu.inputs.p.time", "belongs to file"),
    (FMU.replace("[0, 2]", "[0, 2, 3]"), "objective.fmu.inputs.p.values", "has 3 numbers, and times has 2"),
    (FMU.replace("        values: [0, 2]\n", ""), "objective.fmu.inputs.p.values", "is missing"),
    (FMU.replace("at: last", "at: last\n        times: [1]"), "objective.fmu.outputs.level.times", "at is given too"),
    (FMU.replace("    value: [level, course, residuals]\n", ""), "objective.fmu.value", "as there are several outputs"),
    (FMU.replace("level, course", "levle, course"), "objective.fmu.value", "'levle' is no output"),
    (FMU.replace("task: jacobian", "task: gradient"), "objective.fmu.value", "a list makes a vector"),
    (FMU.replace("  version", "  warm: baseline\n  version"), "objective.warm", "is not for an FMU"),
    (FMU.replace("  version", "  args: [1]\n  version"), "objective.args", "an FMU takes none"),
    (FMU + "derivative: {scheme: complex-step}\n", "derivative.scheme", "an FMU reads real numbers"),
    (PROGRAM + "x0: [1]\n", "x0", "exactly one of parameters and x0 is allowed"),
    (PROGRAM + "bounds: {lower: 0}\n", "bounds", "belongs to x0"),
    (
        PROGRAM.replace("argv: [sh, solve]", "argv: [sh, solve]\n    commands: [[a]]"),
        "objective.command.commands",
        "argv",
    ),
    (PROGRAM.replace("value: 1.5", "value: 2.5"), "parameters.0.value", "outside its bounds: above its upper, 2.0"),
    (PROGRAM.replace("  warm: baseline\n", ""), "objective.command.restart", "is of use with objective.warm alone"),
    (PROGRAM.replace("scheme: central", "scheme: complex-step"), "derivative.scheme", "a program reads real numbers"),
    (PROGRAM.replace("value: mass", "value: maas"), "objective.command.value", "'maas' is no output"),
    (PROGRAM.replace("mass + tip", "__import__('os')"), "objective.command.value", "calls no known function"),
    (PROGRAM.replace("mass + tip", "mass.__class__"), "objective.command.value", "is not allowed"),
    (PROGRAM.replace("mass + tip", "[mass for k in tip]"), "objective.command.value", "not an expression"),
    (PROGRAM.replace("mass + tip", "'[mass for k in tip]'"), "objective.command.value", "is not allowed"),
    (PROGRAM.replace("mass + tip", "+" * 9000 + "mass"), "objective.command.value", "expression"),
    (PROGRAM.replace("mass + tip", "9" * 9000), "objective.command.value", "an integer of more than 300 digits"),
    (
        PROGRAM.replace("deck.inp: deck.j2", "../deck.inp: deck.j2"),
        'objective.command.inputs."../deck.inp"',
        "without ..",
    ),
    (PROGRAM.replace("deck.inp: deck.j2", "/deck.inp: deck.j2"), 'objective.command.inputs."/deck.inp"', "without .."),
    (PROGRAM.replace("deck.inp: deck.j2", "a/../../d: deck.j2"), 'objective.command.inputs."a/../../d"', "without .."),
    (PROGRAM.replace("deck.inp: deck.j2", f"{'d' * 300}: deck.j2"), "objective.command.inputs", "at most 255 bytes"),
    (PROGRAM.replace("deck.inp: deck.j2", '"d\\0": deck.j2'), "", "a key contains an invalid character"),
    (PROGRAM.replace("inp: deck.j2", "inp: /dev/zero"), 'objective.command.inputs."deck.inp"', "not a plain file"),
    (PROGRAM.replace("inp: deck.j2", "inp: /tmp"), 'objective.command.inputs."deck.inp"', "not a plain file"),
    (PROGRAM.replace("[mesh.dat]", "[/dev/zero]"), "objective.command.copy.0", "not a plain file"),
    (
        PROGRAM.replace("file: table.csv", "file: /dev/stdin"),
        "objective.command.data.measured.file",
        "not a plain file",
    ),
    (PROGRAM.replace("output: run", f"output: {'r' * 300}"), "output", "at most 255 bytes"),
    (
        PROGRAM.replace('LEVEL: "3"', "LEVEL: 31415926"),
        "objective.command.env.LEVEL",
        "must be text; did you mean it in",
    ),
    (SEARCH.replace("x0: [1, 2]", "x0: [5, 2]"), "bounds.upper.0", "is below x0, which is 5"),
    (SEARCH.replace("x0: [1, 2]", "x0: no.npy"), "x0", "cannot be read as an .npy file"),
    (SEARCH.replace("lower: 0", "lower: 4"), "bounds.lower", "is above"),
    (SEARCH.replace("method: L-BFGS-B", "method: BFGS"), "minimize.method", "does not keep to bounds"),
    (SEARCH.replace("python: model:cost", "python: model"), "objective.python", "must be module:name"),
    (SEARCH.replace("python: model:cost", "python: os:system:x"), "objective.python", "must be module:name"),
    (SEARCH.replace("python: model:cost", "python: '../model:cost'"), "objective.python", "must be module:name"),
]


@pytest.mark.parametrize(("text", "path", "fragment"), CONFLICTS, ids=[f"{k}-{c[2]}" for k, c in enumerate(CONFLICTS)])
def test_what_contradicts_itself_or_leads_out(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str, path: str, fragment: str
) -> None:
    found = refused(folder, capsys, text)
    assert [t for t in found if re.match(r"\d+:\d+: ", t) and path in t.split(": ")[1] and fragment in t], found
    assert "31415926" not in "".join(found), "the value of a variable may be a secret"


OVERRIDES: list[tuple[str, str]] = [
    ("task=gradent", "override task=gradent: task: must be one of"),
    ("derivative.stpe=1", "derivative.stpe: unknown key (1); did you mean derivative.step"),
    ("derivative.step=-1", "derivative.step: must be > 0 (-1)"),
    ("derivative.step=010", "a number that begins with 0"),
    ("derivative.step=[1", "not valid YAML"),
    ("derivative.step=*a", "aliases are not read"),
    ("derivative.step=!!python/name:os.system x", "tags are not read"),
    ("derivative.step=" + "[" * 1000, "nested more than 50 deep"),
    ("derivative=1", "derivative: must be a mapping"),
    ("task.a=1", "task is no mapping here, so it has no key a"),
    ("x0=[1,2]", "x0: exactly one of parameters and x0 is allowed, and parameters is given too; to replace it add"),
    ("parameters.3.value=1", "parameters has 1 items, counted from 0"),
    ("parameters.widht.value=1", "did you mean parameters.width"),
    ("parameters.width.value=9", "outside its bounds"),
    ("cluster.num_cpus=0", "cluster.num_cpus: must be >= 1 (0)"),
    ("cluster.num_cpus=1e3", "did you mean 1000"),
    ("evaluation.timeout=soon", "must be a number of seconds"),
    ("=1", "must be key.path=value"),
    ("novalue", "must be key.path=value"),
    (".=1", "must be key.path=value"),
    ("a..b=1", "must be key.path=value"),
    ("a" + ".a" * 60 + "=1", "nested more than 50 deep"),
    ("\x1b[31m=1", "must be key.path=value"),
    ("objective.command.inputs=3", "objective.command.inputs: must be a mapping"),
    (
        "objective.command.env.KEY=31415926",
        "override objective.command.env.KEY=...: objective.command.env.KEY: must be",
    ),
    ("objective.command.env=31415926", "override objective.command.env=...: objective.command.env: must be a mapping"),
    ("objective.command.keep=" + "k" * 9_000_000, "must be one of failed, all, none, archive"),
]


@pytest.mark.parametrize(("override", "fragment"), OVERRIDES, ids=[o[:40] for o, _ in OVERRIDES])
def test_overrides(folder: Path, capsys: pytest.CaptureFixture[str], override: str, fragment: str) -> None:
    found = refused(folder, capsys, PROGRAM, override)
    assert found[0].startswith("override ")
    assert any(fragment in told for told in found), found
    assert "31415926" not in "".join(found)
    assert len("".join(found)) < 1000


SECRETS = ["0123456789", "*s3cr3t", "&s3cr3t x", "!s3cr3t x", r'"\0s3cr3t"', "[s3cr3t, *s3cr3t]", "{a: s3cr3t}"]


@pytest.mark.parametrize("value", [*SECRETS, "'s3cr3t {{ nosuch }}'"])
def test_values_of_variables_are_in_no_error(folder: Path, capsys: pytest.CaptureFixture[str], value: str) -> None:
    good = PROGRAM.replace(OWN_CODE, "")
    wrong = good.replace('LEVEL: "3"', f"LEVEL: {value}")
    told = refused(folder, capsys, wrong)
    for override in (f"env.LEVEL={value}", f"env={{LEVEL: {value}}}"):
        told += refused(folder, capsys, good, f"objective.command.{override}")
    told += refused(folder, capsys, good, f"objective.command={{argv: [sh], env: {{LEVEL: {value}}}}}")
    held = good.replace('LEVEL: "3"', "LEVEL: s3cr3t")
    told += refused(folder, capsys, held, "objective.command.env.LEVEL.a=1")
    told += refused(folder, capsys, "objective: {comand: {env: {LEVEL: s3cr3t}}}\nx0: [1]\n")
    assert len(told) >= 6
    assert not re.search("s3cr3t|123456789", "".join(told)), told


TEMPLATES: list[tuple[str, str]] = [
    ("{{ width", ":1: "),
    ("a\n{% if width %}", ":2: "),
    ("{% endfor %}", ":1: "),
    ("{% frob %}", ":1: Encountered unknown tag 'frob'"),
    ("{{ width | nofilter }}", ":1: No filter named 'nofilter'"),
    ("{{ width + }}", ":1: "),
    ("a\nb\n{{ widht }}", ":3: 'widht' is undefined; known: warm, width, x; did you mean width"),
    ("{{ x[7] }}", ":1: "),
    ("{{ x }}", "write its elements one by one"),
    ("{{ none }}", "is None"),
    ("{{ x.index }}", "is a function"),
    ("{{ range }}", "is a function"),
    ("{{ width | fmt('q') }}", ":1: fmt('q') cannot write"),
    ("{{ width | fmt('0.999999999f') }}", "fmt needs a format"),
    ("{{ width | random }}", "No filter named 'random'"),
    ("{{ lipsum() }}", "'lipsum' is undefined"),
    ("{{ 1 / 0 }}", "division by zero"),
    ("{{ ''.__class__.__mro__ }}", "is unsafe"),
    ("{{ width | attr('__class__') }}", "is unsafe"),
    ("{{ '{0.__class__}'.format(width) }}", "is unsafe"),
    ("{{ '{0.__class__}'.format_map({'0': width}) }}", ":1: "),
    ("{{ cycler.__init__.__globals__.os.popen('touch executed').read() }}", ":1: "),
    ("{{ self.__init__.__globals__ }}", ":1: "),
    ("{{ self._TemplateReference__context }}", "is unsafe"),
    ("{{ namespace.__init__.__globals__ }}", ":1: "),
    ("{{ x | map('attr', '__class__') | first }}", "is unsafe"),
    ("{{ x | groupby('__class__') }}", ":1: "),
    ("{% set x.a = 1 %}", ":1: "),
    ("{{ [].append(1) }}", ":1: "),
    ("{% include '/etc/passwd' %}", "templates cannot include others"),
    ("{% extends '../deck.j2' %}", "templates cannot include others"),
    ("{% import 'os' as o %}", "templates cannot include others"),
    ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "it calls or includes itself without end"),
    ("{% for k in range(10 ** 9) %}{% endfor %}", "Range too big"),
    (
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        ":1: its loops take more than 4,000,000 turns",
    ),
    ("{{ 'a' * 10 ** 9 }}", "a text or list without end"),
    ("{{ [0] * 10 ** 9 }}", "a text or list without end"),
    ("{{ 9 ** (9 ** 9) }}", "millions of digits"),
    ("{{ 'a' | center(10 ** 10) }}", "an argument is above"),
    ("{{ 'a'.ljust(10 ** 10) }}", "an argument is above"),
    ("{{ '%1000000000d' % 1 }}", "a width of 8 digits"),
    ("{{ '%1000000000d' | format(1) }}", "a width of 8 digits"),
    ("{{ '{:1000000000}'.format(1) }}", "a width of 8 digits"),
    ("{{ ('a' * 10 ** 5).replace('a', 'b' * 10 ** 5) }}", "a text without end"),
    (
        "{% set n = namespace(t='aaaaaaaa') %}{% for k in range(60) %}{% set n.t = n.t ~ n.t %}{% endfor %}",
        "a text of more than",
    ),
    ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "is nested too deeply"),
    ("{{ " + "-" * 50_000 + "1 }}", "is nested too deeply"),
    ("{% if 1 %}" * 3000 + "{% endif %}" * 3000, "is nested too deeply"),
]


@pytest.mark.parametrize(("text", "fragment"), TEMPLATES, ids=[f"{k}-{t[:30]}" for k, (t, _) in enumerate(TEMPLATES)])
def test_templates(folder: Path, capsys: pytest.CaptureFixture[str], text: str, fragment: str) -> None:
    deck = folder / "deck.j2"
    deck.write_text(text)
    (told,) = refused(folder, capsys, PROGRAM.replace(OWN_CODE, ""))
    assert told.startswith(f"template {deck}:")
    assert fragment in told


def test_how_many_there_are() -> None:
    assert len(CASES) * 5 + len(CONFLICTS) + len(OVERRIDES) + len(TEMPLATES) > 500


def test_the_good_ones_have_every_key() -> None:
    from distfd.config.allowed_keys import key_paths
    from distfd.config.schema import Config

    known = {".".join(map(str, path)) for path in key_paths(Config)}
    told: set[str] = {line.path for _, line in CASES}
    other: dict[str, Any] = dict.fromkeys(
        (
            *("objective.command.commands", "objective.simulator", "minimize.constraints"),
            *("cluster.stop_before", "cluster.max_wall_time", "cluster.request_slots", "cluster.runtime_env"),
            "resources.labels",
        ),
        "elsewhere",
    )
    launch = {path for path in known if path.split(".")[0] == "launch"}  # tests/launch
    assert known - launch - told - set(other) == set()
