"""What becomes of a machine's case, told as a table: what stood, what came, what stands."""

from collections.abc import Sequence

import pytest

from aggregator.cases import (
    AlarmChange,
    Case,
    Settled,
    on_acknowledge,
    on_alarm,
    on_close,
    on_label,
    on_maintenance,
    on_note,
)
from schemas.messages import AlarmState, Diagnosis, Priority

MACHINE = "pump-07"
DE, NDE = "pump-07/de", "pump-07/nde"


def change(
    state: AlarmState, point: str = DE, priority: Priority = "alert", reason: str = "outer race",
    diagnosis: Sequence[tuple[str, float]] = (), *, overtaken: bool = False,
) -> AlarmChange:  # fmt: skip
    said = tuple(Diagnosis(label=label, confidence=confidence) for label, confidence in diagnosis)
    return AlarmChange(point, state, priority, reason, 0, said, overtaken)


def play(*changes: AlarmChange | str) -> Case | None:
    """A story: changes of alarms, and words for what a person does."""
    case: Case | None = None
    for one in changes:
        if isinstance(one, AlarmChange):
            case = on_alarm(case if case and case.state != "closed" else None, MACHINE, one).case or case
        else:
            assert case is not None
            case = {"acknowledge": on_acknowledge, "close": on_close, "maintenance": on_maintenance}[one](
                case, "anna", ""
            ).case
    return case


@pytest.mark.parametrize("state", ["unacknowledged", "acknowledged", "latched"])
def test_an_alarm_opens_a_case(state: AlarmState) -> None:
    outcome = on_alarm(None, MACHINE, change(state))
    assert outcome.case is not None
    assert (outcome.case.state, outcome.case.title) == ("open", "outer race")
    assert [entry.kind for entry in outcome.entries] == ["opened"]


@pytest.mark.parametrize("state", ["normal", "returned", "shelved", "suppressed"])
def test_the_end_of_an_alarm_opens_nothing(state: AlarmState) -> None:
    assert on_alarm(None, MACHINE, change(state)).case is None


TABLE = [
    # what came                                                              state, priority, title
    ([change("unacknowledged")], ("open", "alert", "outer race")),
    ([change("unacknowledged"), change("normal")], ("closed", "alert", "outer race")),
    ([change("unacknowledged"), change("returned")], ("open", "alert", "outer race")),
    ([change("unacknowledged"), change("returned"), change("normal")], ("closed", "alert", "outer race")),
    ([change("unacknowledged"), change("latched")], ("open", "alert", "outer race")),
    ([change("unacknowledged"), change("shelved")], ("open", "alert", "outer race")),
    ([change("unacknowledged"), change("unacknowledged", NDE), change("normal")], ("open", "alert", "outer race")),
    ([change("unacknowledged"), change("unacknowledged", NDE), change("normal"), change("normal", NDE)],
     ("closed", "alert", "outer race")),
    ([change("unacknowledged"), change("unacknowledged", NDE, "danger", "zone D")], ("open", "danger", "zone D")),
    ([change("unacknowledged", priority="danger", reason="zone D"), change("unacknowledged", NDE, "notice", "drift")],
     ("open", "danger", "zone D")),
    ([change("unacknowledged", priority="danger", reason="zone D"), change("normal", priority="notice", reason="ok")],
     ("closed", "danger", "zone D")),
    ([change("unacknowledged"), change("acknowledged", reason="inner race", diagnosis=[("inner", 0.9)])],
     ("open", "alert", "inner race")),
    ([change("unacknowledged", diagnosis=[("outer", 0.8)]), change("unacknowledged", NDE, reason="?",
     diagnosis=[("unknown", 0.99)])], ("open", "alert", "outer race")),
    ([change("unacknowledged"), "acknowledge"], ("acknowledged", "alert", "outer race")),
    ([change("unacknowledged"), "acknowledge", change("acknowledged")], ("acknowledged", "alert", "outer race")),
    ([change("unacknowledged"), "acknowledge", change("unacknowledged")], ("acknowledged", "alert", "outer race")),
    ([change("unacknowledged"), "acknowledge", change("acknowledged"), change("normal")],
     ("closed", "alert", "outer race")),
    ([change("unacknowledged"), "acknowledge", change("unacknowledged", NDE, reason="gear")],
     ("open", "alert", "outer race")),
    ([change("unacknowledged"), "acknowledge", change("acknowledged", priority="danger", reason="zone D")],
     ("open", "danger", "zone D")),
    ([change("unacknowledged"), "acknowledge", change("returned"), change("unacknowledged")],
     ("open", "alert", "outer race")),
    ([change("unacknowledged"), "close"], ("closed", "alert", "outer race")),
    ([change("unacknowledged"), "maintenance"], ("closed", "alert", "outer race")),
    ([change("unacknowledged"), "close", change("unacknowledged", reason="again")], ("open", "alert", "again")),
]  # fmt: skip


@pytest.mark.parametrize(("story", "stands"), TABLE)
def test_a_story_ends_as_the_table_says(story: list[AlarmChange | str], stands: tuple[str, str, str]) -> None:
    case = play(*story)
    assert case is not None
    assert (case.state, case.priority, case.title) == stands


def test_two_points_of_one_machine_are_one_case() -> None:
    case = play(change("unacknowledged"), change("latched", NDE))
    assert case is not None
    assert case.points == {DE: "unacknowledged", NDE: "latched"}


def test_a_sensor_problem_never_opens_a_machine_case() -> None:
    assert on_alarm(None, MACHINE, change("unacknowledged", priority="sensor")).case is None


def test_a_sensor_problem_is_a_line_in_an_open_case_and_changes_nothing_else() -> None:
    case = play(change("unacknowledged"))
    outcome = on_alarm(case, MACHINE, change("unacknowledged", NDE, "sensor", "loose"))
    assert outcome.case == case
    assert [entry.kind for entry in outcome.entries] == ["sensor"]


def test_a_change_that_was_overtaken_is_history_and_no_news() -> None:
    case = play(change("unacknowledged"), change("normal"))
    assert on_alarm(None, MACHINE, change("unacknowledged", overtaken=True)).case is None
    running = play(change("unacknowledged"), change("acknowledged"))
    outcome = on_alarm(running, MACHINE, change("unacknowledged", overtaken=True))
    assert outcome.case == running
    assert case is not None


def test_normal_of_a_point_that_never_joined_does_not_join() -> None:
    case = play(change("unacknowledged"), change("normal", NDE))
    assert case is not None
    assert set(case.points) == {DE}


@pytest.mark.parametrize(
    ("settled", "came", "opens"),
    [
        (Settled("unacknowledged", "alert"), change("acknowledged"), False),
        (Settled("unacknowledged", "alert"), change("unacknowledged"), False),
        (Settled("unacknowledged", "alert"), change("acknowledged", priority="danger"), True),
        (Settled("acknowledged", "alert"), change("unacknowledged"), True),
        (Settled("returned", "danger"), change("unacknowledged"), True),
    ],
)
def test_an_alarm_whose_case_a_person_closed_opens_another_only_when_it_is_news(
    settled: Settled, came: AlarmChange, opens: bool
) -> None:
    assert (on_alarm(None, MACHINE, came, settled=settled).case is not None) == opens


def test_who_acknowledged_first_stays() -> None:
    case = play(change("unacknowledged"))
    assert case is not None
    first = on_acknowledge(case, "anna", "on it").case
    assert first is not None
    second = on_acknowledge(first, "ben", "me too")
    assert second.case is not None
    assert second.case.acknowledged_by == "anna"
    assert second.entries[0].actor == "ben"


def test_reopening_takes_the_name_away_and_says_why() -> None:
    case = play(change("unacknowledged"), "acknowledge")
    outcome = on_alarm(case, MACHINE, change("unacknowledged", NDE))
    assert outcome.case is not None
    assert outcome.case.acknowledged_by is None
    assert [entry.kind for entry in outcome.entries] == ["alarm", "reopened"]


def test_notes_and_labels_are_lines_in_the_history() -> None:
    case = play(change("unacknowledged"))
    assert case is not None
    assert on_note(case, "anna", "oil is black").entries[0].text == "oil is black"
    assert on_label(case, "anna", "outer", "seen").entries[0].text == "outer: seen"
    assert on_label(case, "anna", "outer", "").entries[0].text == "outer"
