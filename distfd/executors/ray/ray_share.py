"""Who gets how many slots of a cluster that several drivers use, and which slots are given back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


def fair_slots(me: str, wants: Mapping[str, float], capacity: int) -> int:
    """Slots of one driver where all are to have as much as they want, or else the same (max-min fairness).

    Each driver computes this for itself; as all see the same wants, their slots add up to the capacity.

    Parameters
    ----------
    me : str
    wants : mapping
        By driver, the share of the cluster that it can use at most, 0 to 1.
    capacity : int
        Evaluations such as mine that fit into the whole cluster.

    References
    ----------
    Bertsekas & Gallager, Data Networks, 2nd ed. (1992), section 6.5.2: max-min flow control by water-filling.
    """
    left, shares = 1.0, {}
    rest = sorted(wants, key=lambda name: (wants[name], name))
    for k, name in enumerate(rest):
        shares[name] = min(wants[name], left / (len(rest) - k))
        left -= shares[name]
    before = sum(shares[name] for name in sorted(shares) if name < me)
    # Whole slots by the difference of rounded sums, so that none is left over.
    return max(1, int(capacity * (before + shares[me]) + 1e-6) - int(capacity * before + 1e-6))


def slots_to_leave(slots: Iterable[int], count: int, up: Collection[int], busy: Collection[int]) -> list[int]:
    """Which slots are given back: those that never came up first, then the idle ones, then those that are at work."""
    return sorted(slots, key=lambda slot: (slot in busy, slot in up, -slot))[: max(0, count)]
