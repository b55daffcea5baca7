"""Secrets taken out of output, also where a secret is cut in two by the reads.

In: bytes as they come out of a pipe. Out: the same bytes with every secret replaced; the end of a piece that may be
the beginning of a secret waits for the next piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import final

MASK = "***"


@final
class Mask:
    """Replaces secrets in a stream of bytes.

    Args:
        secrets: their values; each line of one with several lines is a secret of its own.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        lines = {line.strip() for secret in secrets for line in [secret, *secret.splitlines()]}
        self._secrets = sorted((line.encode() for line in lines if line), key=len, reverse=True)
        self._pattern = re.compile(b"|".join(re.escape(secret) for secret in self._secrets))
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What of the stream up to now can be shown."""
        if not self._secrets:
            return data
        data = self._held + data
        cut = len(data) - self._open_end(data)
        while (start := self._cut_secret(data, cut)) is not None:
            cut = start
        self._held = data[cut:]
        return self._pattern.sub(MASK.encode(), data[:cut])

    def flush(self) -> bytes:
        """What was held back, at the end of the stream."""
        held, self._held = self._held, b""
        return self._pattern.sub(MASK.encode(), held) if self._secrets else held

    def text(self, text: str) -> str:
        """A whole text without the secrets."""
        for secret in self._secrets:
            text = text.replace(secret.decode(), MASK)
        return text

    def _cut_secret(self, data: bytes, cut: int) -> int | None:
        """Where a secret begins that lies on both sides of the cut."""
        for secret in self._secrets:
            start = data.find(secret, max(0, cut - len(secret) + 1))
            if -1 < start < cut < start + len(secret):
                return start
        return None

    def _open_end(self, data: bytes) -> int:
        """Length of the longest end of `data` that begins a secret and does not finish it."""
        for length in range(min(len(self._secrets[0]) - 1, len(data)), 0, -1):
            end = data[-length:]
            if any(len(secret) > length and secret.startswith(end) for secret in self._secrets):
                return length
        return 0
