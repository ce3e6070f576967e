"""Exceptions of J on their way from a worker to the driver, where one may not be able to write or read them."""

from __future__ import annotations

import contextlib
import pickle
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from distfd.core.records import Batch


class _Packed(Exception):  # noqa: N818  # it stands for an exception on its way
    """An exception as bytes."""


def with_packed_exceptions(batch: Batch, dumps: Callable[[Any], bytes]) -> Batch:
    """The batch with the exceptions of its failures as bytes; what ``dumps`` cannot write is left out.

    The text and the traceback of a failure travel in any case.
    """
    if not batch.failures:
        return batch

    def packed(error: BaseException | None) -> BaseException | None:
        with contextlib.suppress(Exception):
            return None if error is None else _Packed(dumps(error))
        return None

    failures = {k: replace(failure, exception=packed(failure.exception)) for k, failure in batch.failures.items()}
    return replace(batch, failures=failures)


def with_exceptions(batch: Batch) -> Batch:
    """The batch again with exceptions, those that can be read here: not where a class's module is missing."""
    if not batch.failures:
        return batch
    failures = {}
    for k, failure in batch.failures.items():
        error = None
        if isinstance(failure.exception, _Packed):
            with contextlib.suppress(Exception):
                error = pickle.loads(failure.exception.args[0])  # noqa: S301  # from a worker of this driver's own
        failures[k] = replace(failure, exception=error if isinstance(error, BaseException) else None)
    return replace(batch, failures=failures)
