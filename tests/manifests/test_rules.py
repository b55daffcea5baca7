import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.manifests.columns import texts
from headway.manifests.rules import compile_rule


@pytest.mark.parametrize(
    ("rule", "key", "label"),
    [
        ("{label}/*", "cat/1.png", "cat"),
        ("{label}/*", 'big cat, "the\nbest"/1.png', 'big cat, "the\nbest"'),
        ("{label}/*", "cat/sub/1.png", None),
        ("{label}/*", "1.png", None),
        ("{label}/*", "cat/.DS_Store", None),
        ("{label}/*", ".git/config", None),
        ("{label}/**", "cat/a/b/1.png", "cat"),
        ("{label}/**", "cat/.a/1.png", None),
        ("images/{label}/**", "images/shoe/1.png", "shoe"),
        ("images/{label}/**", "other/shoe/1.png", None),
        ("images/{label}/**", "images/1.png", None),
        ("*/{label}/*", "2024/cat/1.png", "cat"),
        ("**/{label}/*", "2024/05/cat/1.png", "cat"),
        ("**/{label}/*", "cat/1.png", "cat"),
        ("{label}_*", "any/where/cat_1_2.png", "cat"),
        ("img?_{label}.png", "img7_dog.png", "dog"),
        ("{label}/{label}_*", "cat/cat_1.png", "cat"),
        ("{label}/{label}_*", "cat/dog_1.png", None),
        ("{label}/*.png", "cat/1.jpg", None),
        (r"^(?P<label>[a-z]+)\d*/", "cat7/x/1.png", "cat"),
        (r"_(?P<label>\w+)\.png$", "a/b_häschen.png", "häschen"),
        ({"a/1.png": "cat"}, "a/1.png", "cat"),
        ({"a/1.png": "cat"}, "a/2.png", None),
    ],
)
def test_labels(rule: object, key: str, label: str | None) -> None:
    compiled = compile_rule(rule)  # type: ignore[arg-type]
    assert compiled(key) == label
    column = compiled.column(texts([key, key]))
    assert [column.names[c] if c >= 0 else None for c in column.codes] == [label, label]


NAME = st.text(st.sampled_from("ab.é\n"), min_size=1, max_size=3)
KEY = st.lists(NAME, min_size=1, max_size=4).map("/".join)


@given(st.lists(KEY, max_size=30), st.sampled_from(["{label}/*", "{label}/**", "a/{label}/*", "é/{label}/**"]))
def test_the_fast_way_agrees_with_the_slow_one(keys: list[str], rule: str) -> None:
    compiled = compile_rule(rule)
    column = compiled.column(texts(keys))
    assert [column.names[c] if c >= 0 else None for c in column.codes] == [compiled(key) for key in keys]


@pytest.mark.parametrize(
    ("rule", "error", "text"),
    [
        ("*/*", ValueError, "does not say where the label is"),
        ("{class}/*", ValueError, r"'\{class\}' is not known"),
        ("(?P<label>[", ValueError, "no regular expression"),
        ("(?P<group>.)", ValueError, r"no group \(\?P<label>"),
        (7, TypeError, "a pattern, a regular expression or a table"),
        ({"a": ""}, TypeError, "not empty"),
    ],
)
def test_wrong_rules_are_refused(rule: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        compile_rule(rule)  # type: ignore[arg-type]


def test_groups_have_a_field_of_their_own() -> None:
    rule = compile_rule("{group}_*", field="group")
    assert [rule(key) for key in ("cat/p17_003.png", "dog/p17_1.png", "p.png")] == ["p17", "p17", None]
