"""The keyword options of `distfd.Evaluator` as types, for all functions that take the same ones."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar, Literal, ParamSpec, Protocol, TypeAlias, TypedDict, TypeVar

from distfd.core.unknown_keywords import answering

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Container, Mapping, Sequence

    from numpy.typing import ArrayLike
    from scipy.optimize import Bounds

    from distfd.differentiation.stencils import Stencil
    from distfd.differentiation.steps import AbsoluteStep, NoiseStep
    from distfd.executors.base import Executor
    from distfd.observers.base import Observer
    from distfd.stores.base import Store
    from distfd.workers.recycle import Recycle

    class IsDataclass(Protocol):
        """An instance of a dataclass."""

        __dataclass_fields__: ClassVar[dict[str, Any]]

    BoundsLike: TypeAlias = Bounds | Sequence[tuple[float | None, float | None]] | Mapping[Any, Any] | Sequence[Any]
    Named: TypeAlias = Mapping[Any, Any] | IsDataclass | Sequence[Any]
    PointLike: TypeAlias = ArrayLike | Named
    Tree = TypeVar("Tree", bound=Named)

Scheme: TypeAlias = Literal[
    "forward", "backward", "forward2", "backward2", "central", "central4", "complex-step", "richardson"
]
Kind: TypeAlias = Literal["gradient", "jacobian", "hessian", "hvp", "jvp", "directional"]
OnFailure: TypeAlias = Literal["raise", "nan", "repair"]
WarmMode: TypeAlias = Literal["baseline", "iterate"]
Verbosity: TypeAlias = Literal[0, 1, 2] | bool
ExecutorName: TypeAlias = Literal["ray", "serial"]

P = ParamSpec("P")
R = TypeVar("R")


class RecycleOptions(TypedDict, total=False):
    """When a worker's process is replaced by a fresh one."""

    evaluations: int | None
    memory: int | None


class SessionOptions(TypedDict, total=False):
    """The options of `distfd.Evaluator`, which documents them, but for bounds."""

    scheme: Scheme | Stencil
    step: PointLike | AbsoluteStep | NoiseStep | Literal["auto"] | None
    accuracy: float | None
    scale: PointLike | None
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] | None
    executor: ExecutorName | Executor
    store: str | os.PathLike[str] | Store | None
    timeout: float | None
    retries: int | Mapping[str, int] | None
    on_failure: OnFailure
    deterministic: bool | None
    observers: Sequence[Observer]
    names: Sequence[str] | None
    version: str | None
    warm: WarmMode | None
    recycle: Recycle | RecycleOptions | None
    setup_timeout: float | None
    check: bool | None


class EvaluatorOptions(SessionOptions, total=False):
    """All options of `distfd.Evaluator`, which documents them."""

    bounds: BoundsLike | None


def lists_options_of(
    source: Callable[..., Any], *, answers: Container[str] = ()
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function that hands ``**options`` on to ``source``: help() and notebooks list what may be given.

    A keyword that it does not have is a TypeError that says what to give in its place; ``answers`` are those which the
    function itself answers.
    """
    known = [p for p in inspect.signature(source).parameters.values() if p.kind is p.KEYWORD_ONLY]

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        own = inspect.signature(function)
        kept = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        names = {p.name for p in kept}
        listed = own.replace(parameters=kept + [p for p in known if p.name not in names])
        return answering(function, function.__name__, listed, answers)

    return decorate
