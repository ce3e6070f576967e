"""What notebooks show of objects that have no page of their own is short."""

import numpy as np

import distfd


def bowl(x: np.ndarray) -> float:
    return float(np.sum((x - 1) ** 2))


def test_results_are_tables() -> None:
    x = np.array([2.0, 3.0])
    sweep = distfd.step_sweep(bowl, x, executor="serial")
    lines = repr(sweep).splitlines()
    assert lines[0].startswith("noise of J: ")
    assert [line.split()[:3] for line in lines[3:5]] == [["coordinate", "0", "2"], ["coordinate", "1", "3"]]
    assert len(lines) == 7
    assert len(str(sweep).splitlines()) > len(lines)
    check = distfd.check_gradient(bowl, lambda x: 2 * (x - 1), x, executor="serial")
    assert repr(check) == str(check)
    assert repr(check).startswith("the gradient agrees with J in 2 of 2 components")
    noise = distfd.noise_level(bowl, x, executor="serial")
    assert repr(noise).startswith("noise of J: ")
    assert repr(noise).endswith(f"{noise.n_evaluations} evaluations")


def test_a_sweep_of_several_outputs_is_a_table() -> None:
    sweep = distfd.step_sweep(
        lambda x: np.array([x[0], 3 * x[1]]), np.array([1.0, 2.0]), vector=True, executor="serial"
    )
    lines = repr(sweep).splitlines()
    assert lines[3].endswith("output 0")
    assert lines[4].endswith("output 1")


def test_sessions_and_executors_are_lines() -> None:
    assert repr(distfd.SerialExecutor()) == "<SerialExecutor(num_threads=1): 1 slot, in this process>"
    assert repr(distfd.RayExecutor(num_cpus=3)) == "<RayExecutor(num_cpus=3): not open>"
    with distfd.Evaluator(bowl, scheme="central", executor="serial") as ev:
        told = "<Evaluator: scheme 'central', step SciPy's, SerialExecutor with 1 slot, MemoryStore>"
        assert repr(ev) == told
    with distfd.Evaluator(bowl, step=np.full(1000, 1e-4), executor="serial") as ev:
        assert "\n" not in repr(ev)
        assert len(repr(ev)) < 200
