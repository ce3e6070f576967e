"""What an evaluation leaves changed in its process is put back before the next point."""

from __future__ import annotations

import decimal
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd

if TYPE_CHECKING:
    from collections.abc import Callable


def _directory(folder: Path) -> None:
    (folder / "below").mkdir(exist_ok=True)
    os.chdir("below")


def _variable(_: Path) -> None:
    os.environ["LEFT_BY_J"] = os.environ.get("LEFT_BY_J", "") + "x"


def _variable_gone(_: Path) -> None:
    os.environ.pop("SET_BEFORE", None)


def _zone(_: Path) -> None:
    os.environ["TZ"] = f"XYZ{time.timezone // 3600 + 1}"
    time.tzset()


def _numpy(_: Path) -> None:
    np.seterr(over="raise" if np.geterr()["over"] == "warn" else "ignore")


def _decimal(_: Path) -> None:
    decimal.getcontext().prec += 1


def _arguments(_: Path) -> None:
    sys.argv.append("--again")


def _mask(_: Path) -> None:
    os.umask((os.umask(0) + 1) % 0o777)


def _handler(_: Path) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN if before is signal.SIG_DFL else signal.SIG_DFL)


def _timer(_: Path) -> None:
    signal.setitimer(signal.ITIMER_REAL, 3600 + signal.getitimer(signal.ITIMER_REAL)[0])


def _stream(_: Path) -> None:
    sys.stdout = sys.stderr if sys.stdout is not sys.stderr else sys.__stdout__


def _descriptor(folder: Path) -> None:
    with (folder / "elsewhere").open("w") as file:
        os.dup2(file.fileno(), 0)


def _closed(_: Path) -> None:
    os.close(0)


READ: list[tuple[Callable[[Path], None], Callable[[], Any]]] = [
    (_directory, os.getcwd),
    (_variable, lambda: os.environ.get("LEFT_BY_J", "")),
    (_variable_gone, lambda: os.environ.get("SET_BEFORE", "gone")),
    (_zone, lambda: (os.environ.get("TZ"), time.timezone)),
    (_numpy, lambda: sorted(np.geterr().items())),
    (_decimal, lambda: decimal.getcontext().prec),
    (_arguments, lambda: list(sys.argv)),
    (_mask, lambda: (mask := os.umask(0), os.umask(mask))[0]),
    (_handler, lambda: signal.getsignal(signal.SIGUSR1)),
    (_timer, lambda: signal.getitimer(signal.ITIMER_REAL)[0] > 0),
    (_stream, lambda: sys.stdout),
    (_descriptor, lambda: (os.fstat(0).st_dev, os.fstat(0).st_ino)),
    (_closed, lambda: (os.fstat(0).st_dev, os.fstat(0).st_ino)),
]


@pytest.mark.parametrize(("leave", "read"), READ, ids=lambda each: getattr(each, "__name__", ""))
def test_every_point_finds_what_the_first_one_found(
    leave: Callable[[Path], None],
    read: Callable[[], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SET_BEFORE", "1")
    found = []

    def fun(x: Any) -> float:
        found.append(read())
        leave(tmp_path)
        return float(x @ x)

    with capfd.disabled():
        before = read()
        gradient = distfd.gradient(fun, [1.0, 2.0, 3.0], executor="serial")
        after = read()
    assert gradient == pytest.approx([2.0, 4.0, 6.0])
    assert found == [before] * 4
    assert after == before


LATE = """
import decimal, os, sys
import numpy as np
import late_inner
os.environ["LATE_GAIN"] = "3"
del os.environ["LATE_GONE"]
decimal.getcontext().prec = 9
np.seterr(under="raise")
sys.argv.append("--late")
os.chdir("late_folder")
"""


@pytest.mark.parametrize("on_ray", [False, True], ids=["serial", "ray"])
def test_what_a_module_does_when_it_is_imported_late_is_kept(
    on_ray: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["program"])
    monkeypatch.setenv("LATE_GONE", "1")
    monkeypatch.setenv("LATE_GAIN", "1")
    monkeypatch.delenv("LEFT_BY_J", raising=False)
    (tmp_path / "late_folder").mkdir()
    (tmp_path / "late_module.py").write_text(LATE)
    (tmp_path / "late_inner.py").write_text("import os\nos.environ['LATE_INNER'] = '1'\n")

    def fun(x: Any) -> float:
        import late_module  # type: ignore[import-not-found]  # noqa: F401  # it is made above

        kept = (
            ("LATE_GONE" not in os.environ and os.environ["LATE_GAIN"] == "3" and "LATE_INNER" in os.environ)
            and (decimal.getcontext().prec == 9 and np.geterr()["under"] == "raise" and sys.argv[-1] == "--late")
            and Path.cwd().name == "late_folder"
        )
        fresh = "LEFT_BY_J" not in os.environ and np.geterr()["over"] == "warn"
        os.environ["LEFT_BY_J"] = "1"  # that is J's own, and not the module's
        np.seterr(over="ignore")
        return float(kept and fresh) * float(x @ x)

    executor: Any = "serial"
    if on_ray:
        request.getfixturevalue("private_ray")
        executor = distfd.RayExecutor(max_slots=1)
    try:
        with np.errstate(over="warn"), decimal.localcontext():
            gradient = distfd.gradient(fun, [1.0, 2.0], executor=executor)
    finally:
        for name in ("late_module", "late_inner"):
            sys.modules.pop(name, None)
        os.environ.pop("LATE_INNER", None)
        if on_ray:
            executor.close()
    assert gradient == pytest.approx([2.0, 4.0])
    assert not [finder for finder in sys.meta_path if type(finder).__name__ == "_ImportWatch"]


def test_what_a_simulators_setup_leaves_is_there_at_every_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scratch").mkdir()
    found = []

    class Simulator:
        def setup(self) -> None:
            os.chdir("scratch")

        def reset(self) -> None: ...

        def evaluate(self, x: Any) -> float:
            found.append(Path.cwd().name)
            os.chdir("/")
            return float(x.sum())

    assert distfd.gradient(Simulator, [1.0, 2.0], executor="serial") == pytest.approx([1.0, 1.0])
    assert set(found) == {"scratch"}


def test_a_directory_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def fun(x: Any) -> float:
        work = tmp_path / "work"
        work.mkdir(parents=True, exist_ok=True)
        if Path.cwd() == tmp_path:
            os.chdir(work)
            tmp_path.rename(tmp_path.with_name("moved"))
        return float(x.sum())

    with pytest.warns(RuntimeWarning, match="working directory .* cannot be entered again"):
        distfd.differentiate(fun, [1.0], executor="serial")
    os.chdir("/")


@pytest.mark.usefixtures("private_ray")
def test_on_ray_too(tmp_path: Path) -> None:
    def fun(x: Any) -> float:
        seen = os.environ.get("LEFT_BY_J", ""), Path.cwd().name, np.geterr()["under"], decimal.getcontext().prec
        os.environ["LEFT_BY_J"] = "1"
        os.chdir("/usr")
        np.seterr(under="raise")
        decimal.getcontext().prec = 5
        os.close(1)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return float(x @ x) + (100.0 if seen[0] or seen[1] == "usr" or seen[2] == "raise" or seen[3] == 5 else 0.0)

    with distfd.Evaluator(fun, executor=distfd.RayExecutor(max_slots=2)) as evaluator:
        assert evaluator.map([[float(k)] for k in range(30)]) == pytest.approx([float(k * k) for k in range(30)])
        assert evaluator.gradient([1.0, 2.0, 3.0]) == pytest.approx([2.0, 4.0, 6.0])
