"""Labels and error tags: whatever comes in, what goes out is short, visible and safe."""

import unicodedata
from enum import Enum, StrEnum
from urllib.error import URLError

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from holdfast.metrics import MetricsService, error_tag, label

ANY_TEXT = st.text(st.characters(codec=None))  # lone surrogates and control characters included
UNSEEN = (
    *range(0x20), *range(0x7F, 0xA0), 0xAD, *range(0x200B, 0x2010), *range(0x2028, 0x2030),
    *range(0x2060, 0x206A), 0xFEFF, 0xD800, 0xDFFF,
)  # fmt: skip


def value_of(value: object) -> str | None:
    return dict(label(it=value)).get("it")


@given(ANY_TEXT)
def test_any_text_becomes_a_normalised_visible_value_or_none(text: str) -> None:
    """Normalised, nothing unseen, at most 120 characters and the dots, and stable when cleaned again."""
    value = value_of(text)
    if value is not None:
        assert value == unicodedata.normalize("NFKC", value)
        assert not {ord(character) for character in value} & set(UNSEEN)
        assert len(value) <= 123
        assert value_of(value) == value


@given(st.dictionaries(ANY_TEXT, st.one_of(ANY_TEXT, st.none(), st.integers(), st.floats(), st.binary())))
def test_no_mapping_makes_label_raise(pairs: dict[str, object]) -> None:
    """Pairs without a value are dropped, the others have text on both sides."""
    assert all(name and value for name, value in label(pairs))


@given(st.lists(st.tuples(ANY_TEXT, ANY_TEXT), min_size=1, max_size=5))
def test_no_label_value_breaks_a_scrape(pairs: list[tuple[str, str]]) -> None:
    """Both formats parse, and give back the value that label() made."""
    metrics = MetricsService()
    expected: dict[frozenset[tuple[str, str]], int] = {}
    for entity_type, error in pairs:
        labels = label(entity_type=entity_type, type=error)
        metrics.inc(metrics.cluster.errors, labels)
        expected[labels] = expected.get(labels, 0) + 1
    for accept, parse in (("text/plain", parse_text), ("application/openmetrics-text", parse_openmetrics)):
        families = parse(metrics.exposition(accept)[1].decode())
        samples = [one for family in families for one in family.samples if one.name == "cluster_errors_total"]
        assert {frozenset(one.labels.items()): one.value for one in samples} == expected


@pytest.mark.parametrize("code", UNSEEN)
def test_characters_nobody_sees_are_removed(code: int) -> None:
    """Two values that look the same are the same."""
    assert value_of(f"a{chr(code)}b") == "ab"


def test_the_missing_and_the_empty_are_absent() -> None:
    """None, nothing, and what has nothing to show."""
    assert label({"a": None, "b": "", "c": "\u200b\n"}, d=None) == frozenset()


def test_keywords_win_over_the_mapping_and_both_count() -> None:
    """One call, one value per name."""
    assert label({"a": 1, "b": 2}, a=3) == {("a", "3"), ("b", "2")}


def test_long_values_are_cut() -> None:
    """120 characters and three dots, also where one character becomes many."""
    assert value_of("x" * 120) == "x" * 120
    assert value_of("x" * 121) == "x" * 120 + "..."
    assert value_of("\ufdfa" * 1000) == unicodedata.normalize("NFKC", "\ufdfa" * 1000)[:120] + "..."


def test_compatibility_forms_are_one() -> None:
    """Full-width letters, ligatures and marks set apart become what they look like."""
    assert value_of("\uff23\uff41\uff52\uff54") == "Cart"
    assert value_of("\ufb01le") == "file"
    assert value_of("e\u200b\u0301") == "\u00e9"


def test_enums_show_their_value_and_hostile_objects_their_class() -> None:
    """The content of a string enum is meant, not its member's name; an object that cannot be shown has a class."""

    class Priority(StrEnum):
        HIGH = "high"

    class Old(str, Enum):  # noqa: UP042 - its str() is not its value
        LOW = "low"

    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError

    assert [value_of(one) for one in (Priority.HIGH, Old.LOW, Hostile(), 5, True)] == [
        "high", "low", "Hostile", "5", "True",
    ]  # fmt: skip


class Reasoned(Exception):
    def __init__(self, reason: object) -> None:
        self.reason = reason


@pytest.mark.parametrize(
    ("error", "tag"),
    [
        (Reasoned("MailboxFull"), "MailboxFull"),
        (Reasoned("a" * 64), "a" * 64),
        (Reasoned("a" * 65), "Reasoned"),
        (Reasoned("two words"), "Reasoned"),
        (Reasoned(""), "Reasoned"),
        (Reasoned(5), "Reasoned"),
        (Reasoned(None), "Reasoned"),
        (KeyError("x"), "KeyError"),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "truncated"), "UnicodeDecodeError"),
        (UnicodeEncodeError("utf-8", "x", 0, 1, "surrogates"), "UnicodeEncodeError"),
        (URLError("timeout"), "URLError"),
    ],
)
def test_an_error_is_named_by_its_reason_or_its_class(error: BaseException, tag: str) -> None:
    """A reason is an identifier of at most 64 characters, and not what other libraries call so."""
    assert error_tag(error) == tag


def test_a_reason_that_raises_is_none() -> None:
    """Naming an error never makes another one."""

    class Tricky(Exception):
        @property
        def reason(self) -> str:
            raise RuntimeError

    assert error_tag(Tricky()) == "Tricky"


@given(st.one_of(ANY_TEXT, st.integers(), st.none(), st.binary()))
def test_an_error_tag_is_always_an_identifier(reason: object) -> None:
    """So that it can be a label of a closed set."""
    assert error_tag(Reasoned(reason)).isidentifier()
