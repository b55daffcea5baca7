"""The stable 64-bit hash that decides which channel a file goes to: ours, so that it is the same for ever.

In: keys, digests or group names as Arrow columns. Out: numpy columns of `uint64`. Next: `headway.manifests.assign`.

The hash, written down: let `n` be the number of bytes, `w[0..]` the bytes as little-endian 64-bit words, the last one
filled up with zero bytes, and all arithmetic modulo 2**64::

    mix(x) = x ^= x >> 33; x *= 0xff51afd7ed558ccd; x ^= x >> 33; x *= 0xc4ceb9fe1a85ec53; x ^= x >> 33
    h = mix(n + 0x9e3779b97f4a7c15)
    for each word w: h = mix((h ^ w) + 0x9e3779b97f4a7c15)

Test vectors: `VECTORS`. It spreads well; it is no defence against somebody who makes up colliding names, and need not
be: files with one hash only stay together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from headway.manifests.columns import Bytes, Hashes, parts

VECTORS: dict[str, int] = {
    "": 0x9CA066F1A4AB2EEA,
    "a": 0x954885E329AE01CC,
    "cat/1.png": 0xD15AFB394DFC49B1,
    "12345678": 0x5027D208E639D984,
    "123456789": 0xE0BF96248E79C11E,
    "images/shoe/0001.jpeg": 0x87232B8DDB9F941B,
    "Füße/日本.png": 0xDEAF4C4AA5058AAD,
    "0" * 64: 0x2BC9BD35A7547811,
}
"""Text -> hash; these never change."""

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53
_ROWS = 32_768  # rows handled at once: the temporaries stay in the processor's cache


def hash64(data: bytes | str) -> int:
    """The hash of one value, in plain Python: what the columns below must agree with."""
    data = data.encode() if isinstance(data, str) else data
    h = _mix_int(len(data) + _GOLDEN & _MASK)
    for start in range(0, len(data), 8):
        h = _mix_int((h ^ int.from_bytes(data[start : start + 8], "little")) + _GOLDEN & _MASK)
    return h


def _mix_int(x: int) -> int:
    x = (x ^ x >> 33) * _FIRST & _MASK
    x = (x ^ x >> 33) * _SECOND & _MASK
    return x ^ x >> 33


def mix(x: Hashes) -> Hashes:
    """The finaliser on a whole column; `x` is overwritten."""
    shifted = x >> np.uint64(33)
    for factor in (_FIRST, _SECOND):
        x ^= shifted
        x *= np.uint64(factor)
        np.right_shift(x, np.uint64(33), out=shifted)
    x ^= shifted
    return x


def priorities(units: Hashes, *, seed: int) -> Hashes:
    """The order in which units are chosen under a seed: another permutation of the 64-bit numbers for each seed."""
    return mix(units ^ np.uint64(_mix_int(seed + _GOLDEN & _MASK)))


def hash_column(column: Any) -> Hashes:
    """The hash of each text of an Arrow string column."""
    data, offsets = parts(column)
    return hash_slices(data, offsets[:-1], np.diff(offsets))


def hash_slices(data: Bytes, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> Hashes:
    """The hash of `data[start:start + length]` for each row; neighbouring rows should lie near each other."""
    out = np.empty(len(starts), np.uint64)
    for first in range(0, len(starts), _ROWS):
        rows = slice(first, first + _ROWS)
        start, length = starts[rows], lengths[rows]
        low, high = int(start.min()), int((start + length).max())
        block = np.zeros(high - low + 8, np.uint8)
        block[: high - low] = data[low:high]
        out[rows] = _hash_block(block, start - low, length)
    return out


def _hash_block(block: Bytes, start: npt.NDArray[np.int64], length: npt.NDArray[np.int64]) -> Hashes:
    words: Hashes = np.ndarray((len(block) - 7,), "<u8", block.data, 0, (1,))  # a word at every byte
    golden = np.uint64(_GOLDEN)
    h = mix(length.astype(np.uint64) + golden)
    left, at = length, start
    active: npt.NDArray[np.int64] | None = None  # None: all rows still have bytes
    while True:
        going = left > 0
        if not going.all():
            if not going.any():
                return h
            active = np.flatnonzero(going) if active is None else active[going]
            left, at = left[going], at[going]
        word = words[at].astype(np.uint64, copy=False)
        if left.min() < 8:  # the last word of a row: only the bytes that are its own
            word &= _LOW_BYTES[np.minimum(left, 8)]
        if active is None:
            h ^= word
            h += golden
            h = mix(h)
        else:
            h[active] = mix((h[active] ^ word) + golden)
        left, at = left - 8, at + 8


_LOW_BYTES: Hashes = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)
