from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.manifests.quotas import quota, share_out
from headway.manifests.split import Split

SHARES = st.tuples(st.integers(0, 49), st.integers(0, 49)).map(
    lambda p: (1 - Fraction(p[0] + p[1], 100), Fraction(p[0], 100), Fraction(p[1], 100))
)


@pytest.mark.parametrize(
    ("num", "at_least", "expected"),
    [
        (0, 1, [0, 0, 0]),
        (1, 1, [1, 0, 0]),
        (2, 1, [1, 1, 0]),
        (3, 1, [1, 1, 1]),
        (3, 0, [3, 0, 0]),
        (10, 1, [8, 1, 1]),
        (100, 0, [80, 10, 10]),
        (105, 0, [84, 11, 10]),
        (100, 20, [60, 20, 20]),
        (50, 20, [20, 20, 10]),
    ],
)
def test_examples(num: int, at_least: int, expected: list[int]) -> None:
    assert quota(num, Split().shares(), at_least=at_least) == expected


@given(st.integers(0, 10_000), SHARES, st.integers(0, 50))
def test_sums_and_minimums(num: int, shares: tuple[Fraction, ...], at_least: int) -> None:
    counts = quota(num, shares, at_least=at_least)
    assert sum(counts) == num
    assert min(counts) >= 0
    open_channels = [i for i, share in enumerate(shares) if share]
    if num >= at_least * len(open_channels):
        assert all(counts[i] >= at_least for i in open_channels)
    assert all(counts[i] == 0 for i, share in enumerate(shares) if not share)


@given(st.integers(0, 10_000), SHARES)
def test_without_a_minimum_no_count_is_a_whole_file_off(num: int, shares: tuple[Fraction, ...]) -> None:
    assert all(abs(count - num * share) < 1 for count, share in zip(quota(num, shares), shares, strict=True))


@given(st.tuples(*[st.integers(0, 50)] * 3), st.integers(0, 200), st.integers(0, 5))
def test_what_is_there_stays_and_the_new_ones_fill_what_lacks(
    have: tuple[int, ...], num_new: int, at_least: int
) -> None:
    shares = Split().shares()
    targets = quota(sum(have) + num_new, shares, at_least=at_least)
    given = share_out(num_new, targets=targets, have=have, floors=[at_least] * 3)
    assert sum(given) == num_new
    assert min(given) >= 0
    after = [h + g for h, g in zip(have, given, strict=True)]
    if all(h <= t for h, t in zip(have, targets, strict=True)):
        assert after == targets
    else:  # nobody gets more than its target while another one lacks
        assert all(g == 0 or a <= t for g, a, t in zip(given, after, targets, strict=True))


@pytest.mark.parametrize(
    "wrong",
    [
        {"validation": 1.0},
        {"test": -0.1},
        {"validation": 0.5, "test": 0.5},
        {"at_least": -1},
        {"at_least": 1.5},
        {"by": "name"},
        {"seed": -1},
        {"conflicts": "ignore"},
        {"validation": "0.1"},
    ],
)
def test_wrong_settings_are_refused_at_once(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Split|train"):
        Split(**wrong)  # type: ignore[arg-type]


def test_shares_are_what_was_written() -> None:
    assert Split(validation=0.1, test=0.2).shares() == (Fraction(7, 10), Fraction(1, 10), Fraction(2, 10))
