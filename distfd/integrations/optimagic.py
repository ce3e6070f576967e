"""optimagic's parallel parts (numerical derivatives, multistart, parallel optimisers) on distfd's slots."""

from __future__ import annotations

import functools
import traceback
from typing import TYPE_CHECKING, Any

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
    """
    return _BatchEvaluator(evaluator)


class _BatchEvaluator:
    """Calls functions on an Evaluator's slots; in the process of such a slot, one after another there.

    The functions that optimagic hands over hold all of its problem, this object included: they take it to the slots.
    """

    def __init__(self, evaluator: Evaluator | None = None) -> None:
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
        # An enum of optimagic's, or its word.
        raises = str(getattr(error_handling, "value", error_handling)).startswith("raise")
        call = functools.partial(_call, func, unpack_symbol, raises)
        return list(map(call, arguments)) if self._evaluator is None else self._evaluator.map_function(call, arguments)

    def __reduce__(self) -> tuple[type[_BatchEvaluator], tuple[()]]:
        return _BatchEvaluator, ()

    def __deepcopy__(self, memo: dict[int, Any]) -> _BatchEvaluator:
        return self  # optimagic copies its options, in this process


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
