"""Every metric of an aggregator has its place in `status --json`, also before it has ever run."""

import json
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from aggregator.figures import FIGURES, families
from aggregator.meters import Meters
from aggregator.status import NOTHING_LIVE, in_words, read_live, read_status
from schemas.exposition import exposition


def test_every_figure_can_be_read_from_the_status_of_a_new_database(engine: Engine) -> None:
    status = read_status(engine)
    for figure in FIGURES:
        assert figure.label or figure.samples(status) == (((), 0.0),), figure.name


def test_names_are_unique_and_say_what_they_are(engine: Engine) -> None:
    told = families(read_status(engine), Meters())
    names = [family.name for family in told]
    assert len(names) == len(set(names))
    for family in told:
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name
    assert exposition(told).decode().count("# HELP") == len(names)


@pytest.mark.parametrize("content", [None, "", "{", "[1]"])
def test_what_was_left_by_nobody_or_cannot_be_read_counts_as_nothing(
    content: str | None, tmp_path: Path, engine: Engine
) -> None:
    file = tmp_path / "site-live.json"
    if content is not None:
        file.write_text(content)
    assert read_status(engine, read_live(file))["live"] == NOTHING_LIVE
    file.write_text(json.dumps({"queue": 3}))
    assert read_status(engine, read_live(file))["live"] == NOTHING_LIVE | {"queue": 3}


def test_messages_of_the_learning_that_were_not_used_are_counted_by_reason_in_metrics_and_status(
    engine: Engine,
) -> None:
    status = read_status(engine, NOTHING_LIVE | {"learning_dropped": {"wrong_speaker": 2, "late": 1}})
    told = exposition(families(status, Meters())).decode()
    assert 'undertone_aggregator_learning_dropped_total{reason="wrong_speaker"} 2.0' in told
    assert "learning messages not used: wrong_speaker 2, late 1" in in_words(status)
