"""The one table of everything that is said, walked row by row."""

import contextlib
import importlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import NameError_, TopicError
from schemas.topics import ROOT, TOPICS, Topic, topic_of
from tests.contract.golden_contract import GOLDEN

EVERY = pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
UNSAFE = [
    "#",
    "+",
    "a/b",
    "a+",
    "#b",
    "Pump",
    "pump_07",
    "-a",
    "",
    " ",
    "a b",
    "ä",
    "a\0",
    "a" * 33,
    "..",
    "$sys",
    "a\n",
]
NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True)


def levels(topic: Topic) -> list[str]:
    return [level[1:-1] for level in topic.pattern.split("/") if level.startswith("{")]


def named(topic: Topic) -> dict[str, str]:
    return {level: f"a-{level}" for level in levels(topic)}


def matches(filter_: str, path: str) -> bool:
    """As a broker would, without `#`."""
    wanted, found = filter_.split("/"), path.split("/")
    return len(wanted) == len(found) and all(w in ("+", f) for w, f in zip(wanted, found, strict=True))


@EVERY
def test_the_message_of_every_row_exists(topic: Topic) -> None:
    for part in topic.message.split(" of "):
        module, _, name = part.partition(".")
        if name and " " not in name:
            if name == "ReleaseBundle":
                assert hasattr(importlib.import_module("schemas.release"), "read_release_bundle")
                continue
            assert hasattr(importlib.import_module(f"schemas.{module}"), name), part


@EVERY
def test_the_message_of_every_row_has_golden_bytes(topic: Topic) -> None:
    names = {type(golden.thing).__name__ for golden in GOLDEN} | {"ReleaseBundle"}
    assert topic.message.split(" of ")[0].partition(".")[2] in names


@EVERY
def test_a_path_gives_its_row_and_names_back(topic: Topic) -> None:
    path = topic.path(**named(topic))
    assert path.startswith(f"{ROOT}/")
    assert topic_of(path) == (topic, named(topic))


@EVERY
def test_a_filter_hears_every_path_of_its_row_and_of_no_other(topic: Topic) -> None:
    for filter_ in (topic.filter(), topic.filter(site="a-site"), topic.filter(**named(topic))):
        heard = [other for other in TOPICS if matches(filter_, other.path(**named(other)))]
        assert heard == [topic]


@EVERY
@pytest.mark.parametrize("name", UNSAFE)
def test_a_name_the_broker_could_misread_is_refused_in_paths_and_filters(topic: Topic, name: str) -> None:
    for level in levels(topic):
        with pytest.raises(NameError_, match="lower-case letters, digits and hyphens"):
            topic.path(**{**named(topic), level: name})
        with pytest.raises(NameError_):
            topic.filter(**{level: name})


@EVERY
def test_a_path_with_a_name_missing_is_refused_by_that_name(topic: Topic) -> None:
    for level in levels(topic):
        with pytest.raises(TopicError, match=level):
            topic.path(**{key: name for key, name in named(topic).items() if key != level})


@EVERY
def test_what_leaves_the_plant_is_sealed_and_only_learning(topic: Topic) -> None:
    assert topic.sealed or not topic.leaves_plant
    assert topic.leaves_plant == ("/learning/" in topic.pattern)


@EVERY
def test_only_sensors_and_the_answers_to_them_go_unsealed(topic: Topic) -> None:
    assert topic.sealed == ("sensor" not in (topic.writer, topic.reader))


def test_names_and_patterns_are_there_once() -> None:
    assert len({topic.name for topic in TOPICS}) == len({topic.pattern for topic in TOPICS}) == len(TOPICS)


@pytest.mark.parametrize("path", ["", "ut/v1", "ut/v2/a/gateway/b/records", "ut/v1/a/gateway/b/nothing", "$SYS/x"])
def test_a_topic_of_no_row_is_refused_with_its_path(path: str) -> None:
    with pytest.raises(TopicError, match="not in the table"):
        topic_of(path)


@given(st.sampled_from(TOPICS), st.data())
def test_any_safe_names_come_back(topic: Topic, data: st.DataObject) -> None:
    names = {level: data.draw(NAMES) for level in levels(topic)}
    assert topic_of(topic.path(**names)) == (topic, names)


@given(st.text(max_size=60))
def test_any_text_as_a_topic_is_a_row_or_refused(path: str) -> None:
    with contextlib.suppress(TopicError):
        topic_of(path)
