"""A case on the shelf: out of sight for a while, never silently when it is a danger, and back by itself."""

import pytest
from sqlalchemy.engine import Engine

from schemas import site_tables as tables
from tests.support import gateway_talk as talk
from tests.support.work_office import WorkOffice


@pytest.fixture
def office(engine: Engine) -> WorkOffice:
    made = WorkOffice(engine)
    made.hear(talk.alarm())
    return made


def shelve(office: WorkOffice, *, hours: object = 4, note: str = "scaffold in the way") -> tuple[str, str]:
    row = office.ask("shelve", note=note, values={"hours": hours})
    return row.state, row.answer


def test_shelved_case_carries_until_when_who_and_why(office: WorkOffice) -> None:
    assert shelve(office) == ("done", "case 1 is on the shelf for 4 h")
    case = office.case()
    assert (case.state, case.shelved_by, case.shelved_reason) == ("open", "anna", "scaffold in the way")
    assert case.shelved_until_us == office.now_us() + 4 * 3_600_000_000
    assert office.kinds()[-1] == "shelved"


@pytest.mark.parametrize(
    ("hours", "note", "why"),
    [
        (12.01, "x", "at most 12 h"),
        (0, "x", "more than 0"),
        (-3, "x", "more than 0"),
        (1e300, "x", "at most 12 h"),
        ("four", "x", "number of hours"),
        (True, "x", "number of hours"),
        (4, "  ", "needs a reason"),
    ],
)
def test_shelving_without_reason_or_for_too_long_is_refused(
    office: WorkOffice, hours: object, note: str, why: str
) -> None:
    state, answer = shelve(office, hours=hours, note=note)
    assert state == "refused"
    assert why in answer
    assert office.case().shelved_until_us is None


def test_twelve_hours_are_allowed(office: WorkOffice) -> None:
    assert shelve(office, hours=12)[0] == "done"


def test_case_comes_back_by_itself_and_says_so(office: WorkOffice) -> None:
    shelve(office, hours=2)
    office.now_s += 2 * 3600 - 1
    office.shelves.step()
    assert office.case().shelved_until_us is not None
    office.now_s += 1
    office.shelves.step()
    assert office.case().shelved_until_us is None
    last = office.rows(tables.case_event)[-1]
    assert (last.kind, last.actor, last.text) == ("unshelved", "site", "the time on the shelf is over")
    office.shelves.step()
    assert office.kinds().count("unshelved") == 1


def test_person_takes_it_off_the_shelf(office: WorkOffice) -> None:
    shelve(office)
    assert office.ask("unshelve").state == "done"
    assert office.case().shelved_until_us is None
    assert "not on the shelf" in office.ask("unshelve").answer


def test_danger_is_not_shelved_before_somebody_has_acknowledged_it(engine: Engine) -> None:
    office = WorkOffice(engine)
    office.hear(talk.alarm(priority="danger"))
    state, answer = shelve(office)
    assert (state, answer) == ("refused", "a danger cannot be shelved before somebody has acknowledged it")
    office.ask("acknowledge")
    assert shelve(office)[0] == "done"


def test_case_that_gets_worse_falls_off_the_shelf(office: WorkOffice) -> None:
    shelve(office)
    office.hear(talk.alarm(priority="danger", reason="zone D", point="pump-07/nde"))
    assert office.case().shelved_until_us is None
    assert office.kinds()[-2:] == ["worse", "unshelved"]


def test_another_point_of_the_same_priority_leaves_it_on_the_shelf(office: WorkOffice) -> None:
    shelve(office)
    office.hear(talk.alarm(point="pump-07/nde"))
    assert office.case().shelved_until_us is not None


def test_case_that_ends_leaves_nothing_on_the_shelf(office: WorkOffice) -> None:
    shelve(office)
    office.hear(talk.alarm("normal"))
    case = office.case()
    assert (case.state, case.shelved_until_us, case.shelved_by) == ("closed", None, None)
    assert "no open case" in shelve(office)[1]


def test_viewer_shelves_nothing(office: WorkOffice) -> None:
    row = office.ask("shelve", role="viewer", note="x", values={"hours": 1})
    assert (row.state, office.case().shelved_until_us) == ("refused", None)
