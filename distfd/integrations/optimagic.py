"""optimagic's parallel parts (numerical derivatives, multistart, parallel optimisers) on distfd's slots."""

from __future__ import annotations

import functools
import traceback
from typing import TYPE_CHECKING, Any

from distfd.integrations.arguments import check_evaluator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from distfd.evaluation.evaluator import Evaluator


def batch_evaluator(evaluator: Evaluator) -> Callable[..., list[Any]]:
    """A batch evaluator of optimagic's, which calls functions on an Evaluator's slots, past its store.

    Parameters
    ----------
    evaluator : Evaluator
        Whose slots, timeout and retries are used: a call whose process dies is made again elsewhere.

    Returns
    -------
    callable
        ``(func, arguments, *, n_cores, error_handling, unpack_symbol) -> list``, as optimagic's own. ``n_cores`` is not
        looked at, as the slots are what there is. With error_handling "continue" what ``func`` raises is returned, as
        the text of its traceback; a process that has died for good, or a timeout, is raised in any case.
        It can be pickled: a copy in another process makes the calls there, one after the other.
    """
    check_evaluator(evaluator, "distfd.optimagic.batch_evaluator")
    return _BatchEvaluator(evaluator)


class _BatchEvaluator:
    """Calls on an Evaluator's slots; a pickled copy makes the calls one after the other, in its own process.

    optimagic ships functions that hold their batch evaluator, and an Evaluator cannot leave its process: its locks and
    its connection stay. A call on a slot that calls the batch evaluator again (a local optimisation of a multistart,
    with numerical derivatives) has one slot, its own.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def __call__(
        self,
        func: Callable[..., Any],
        arguments: Iterable[Any],
        *,
        n_cores: int = 1,  # noqa: ARG002  # optimagic's signature
        error_handling: Any = "continue",
        unpack_symbol: str | None = None,
    ) -> list[Any]:
        """The results of ``func`` at each of the arguments, in their order."""
        call = functools.partial(_call, func, unpack_symbol, _raises(error_handling))
        return self._evaluator.map_function(call, arguments)

    def __copy__(self) -> _BatchEvaluator:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> _BatchEvaluator:
        # A copy in this process goes on with the slots.
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _one_after_the_other, ()


def _one_after_the_other() -> Callable[..., list[Any]]:
    """What a pickled batch evaluator becomes."""
    return _in_this_process


def _in_this_process(
    func: Callable[..., Any],
    arguments: Iterable[Any],
    *,
    n_cores: int = 1,  # noqa: ARG001  # optimagic's signature
    error_handling: Any = "continue",
    unpack_symbol: str | None = None,
) -> list[Any]:
    return [_call(func, unpack_symbol, _raises(error_handling), argument) for argument in arguments]


def _raises(error_handling: Any) -> bool:
    """Whether errors of the function are raised, by an enum of optimagic's or its word."""
    return str(getattr(error_handling, "value", error_handling)).startswith("raise")


def _call(func: Callable[..., Any], unpack_symbol: str | None, raises: bool, argument: Any) -> Any:
    """Call as optimagic's `unpack` and `catch` would."""
    try:
        if unpack_symbol == "*":
            return func(*argument)
        return func(**argument) if unpack_symbol == "**" else func(argument)
    except Exception:
        if raises:
            raise
        return traceback.format_exc()
