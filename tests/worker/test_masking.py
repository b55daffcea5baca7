"""Secrets in output, wherever the reads cut it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headway.worker.masking import Mask

LETTERS = "abc"
SECRETS = st.lists(st.text(LETTERS, min_size=1, max_size=5), min_size=1, max_size=4)


@given(secrets=SECRETS, pieces=st.lists(st.text(LETTERS + "\n", max_size=7), max_size=12))
def test_no_secret_is_shown_however_the_stream_is_cut(secrets: list[str], pieces: list[str]) -> None:
    mask = Mask(secrets)
    shown = b"".join(mask.feed(piece.encode()) for piece in pieces) + mask.flush()
    for secret in secrets:
        assert secret.encode() not in shown
    rest = shown.replace(b"***", b"")
    whole = "".join(pieces).encode()
    assert len(rest) <= len(whole)


@given(pieces=st.lists(st.binary(max_size=9), max_size=9))
def test_without_secrets_everything_is_shown_at_once(pieces: list[bytes]) -> None:
    mask = Mask([])
    assert [mask.feed(piece) for piece in pieces] == pieces
    assert mask.flush() == b""


@given(st.lists(st.text("xyz", min_size=1, max_size=6), max_size=20))
def test_output_without_secrets_is_unchanged(pieces: list[str]) -> None:
    mask = Mask(["qqq", "xq"])
    shown = b"".join(mask.feed(piece.encode()) for piece in pieces) + mask.flush()
    assert shown == "".join(pieces).encode()


def test_each_line_of_a_long_secret_is_masked_and_texts_too() -> None:
    mask = Mask(["first line\nsecond line\n"])
    assert mask.feed(b"a second line b\n") + mask.flush() == b"a *** b\n"
    assert mask.text("the first line, the second line") == "the ***, the ***"


def test_only_the_beginning_of_a_secret_waits() -> None:
    mask = Mask(["secret"])
    assert mask.feed(b"loss=0.5 sec") == b"loss=0.5 "
    assert mask.feed(b"onds\n") == b"seconds\n"
