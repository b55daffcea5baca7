import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headway.manifests.columns import texts
from headway.manifests.keyhash import VECTORS, hash64, hash_column, priorities

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)


def test_the_vectors_hold_for_ever() -> None:
    assert {text: hash64(text) for text in VECTORS} == VECTORS
    assert hash_column(texts(VECTORS)).tolist() == list(VECTORS.values())


@given(st.lists(TEXT, max_size=50), st.integers(0, 5))
def test_columns_agree_with_the_definition(values: list[str], skip: int) -> None:
    assert hash_column(texts(values)).tolist() == [hash64(value) for value in values]
    assert hash_column(texts(values)[skip:]).tolist() == [hash64(value) for value in values[skip:]]


def test_very_long_texts_beside_short_ones_and_more_rows_than_a_block() -> None:
    values = [f"{i}" * (1 + 5000 * (i == 40_000)) for i in range(70_000)]
    hashes = hash_column(texts(values))
    for row in (0, 32_767, 32_768, 40_000, 69_999):
        assert int(hashes[row]) == hash64(values[row])
    assert len(np.unique(hashes)) == len(values)


def test_a_seed_gives_another_order_of_the_same_units() -> None:
    units = hash_column(texts(f"key {i}" for i in range(5000)))
    orders = [np.argsort(priorities(units.copy(), seed=seed)) for seed in (0, 0, 1)]
    assert (orders[0] == orders[1]).all()
    assert (orders[0] != orders[2]).mean() > 0.99


def test_hashes_are_spread_evenly() -> None:
    hashes = hash_column(texts(f"class_{i % 7}/img_{i:08d}.jpg" for i in range(100_000)))
    counts = np.bincount((hashes >> np.uint64(56)).astype(np.int64), minlength=256)
    assert abs(counts - counts.mean()).max() < 6 * counts.mean() ** 0.5
