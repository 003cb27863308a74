"""When evidence becomes an alarm and when an alarm may go, told as a story of captures and people."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_agent.alarm import MAX_SHELVE_US, AlarmLogic, Judged, Severity
from gateway_agent.settings import AlarmSettings

SETTINGS = AlarmSettings(on_count=3, of_count=5, off_count=5)
HOUR_US = 3_600_000_000


class Story:
    """An alarm, and what happens to it; `told` is what everybody hears."""

    def __init__(self, settings: AlarmSettings = SETTINGS) -> None:
        self.alarm = AlarmLogic(settings)
        self.now_us = 0
        self.told: list[str] = []
        self._captures = 0

    def captures(self, letters: str) -> str:
        """`.` calm, `-` in the dead band, `a` alert, `d` danger, `B` alert of damage that does not heal."""
        severities: dict[str, Severity] = {"a": "alert", "B": "alert", "d": "danger"}
        for letter in letters:
            self._captures += 1
            self.now_us += 1_000_000
            judged = Judged(
                f"c{self._captures}", self.now_us, severities.get(letter, "none"), letter == ".", latches=letter == "B"
            )
            self.told += [change.state for change in self.alarm.handle(judged)]
        return self.alarm.state

    def act(self, action: str) -> str:
        acts: dict[str, Callable[[], list[object]]] = {
            "acknowledge": self.alarm.acknowledge,  # type: ignore[dict-item]
            "maintain": self.alarm.maintain,  # type: ignore[dict-item]
            "unshelve": self.alarm.unshelve,  # type: ignore[dict-item]
            "shelve": lambda: self.alarm.shelve(self.now_us + HOUR_US, now_us=self.now_us),  # type: ignore[dict-item,return-value]
        }
        self.told += [change.state for change in acts[action]()]  # type: ignore[attr-defined]
        return self.alarm.state


@pytest.fixture
def story() -> Story:
    return Story()


def test_two_captures_above_the_limit_of_five_raise_nothing(story: Story) -> None:
    assert story.captures("a...a....a.a") == "normal"
    assert story.told == []


@pytest.mark.parametrize("letters", ["aaa", "a.a.a", "aa..a", "d.a.a", "-a-aa"])
def test_three_of_five_captures_raise_the_alarm_once(story: Story, letters: str) -> None:
    assert story.captures(letters) == "unacknowledged"
    assert story.captures("aaaa") == "unacknowledged"
    assert story.told == ["unacknowledged"]


def test_the_alarm_returns_only_after_five_calm_captures_in_a_row(story: Story) -> None:
    story.captures("aaa")
    assert story.captures("....-....") == "unacknowledged"
    assert story.captures(".") == "returned"
    assert story.told == ["unacknowledged", "returned"]


def test_captures_in_the_dead_band_hold_the_alarm_for_ever(story: Story) -> None:
    story.captures("aaa")
    assert story.captures("-" * 100) == "unacknowledged"


def test_an_acknowledged_alarm_that_calms_down_is_over(story: Story) -> None:
    story.captures("aaa")
    assert story.act("acknowledge") == "acknowledged"
    assert story.captures(".....") == "normal"
    assert not story.alarm.active


def test_a_returned_alarm_waits_to_be_seen_and_rises_again_under_its_name(story: Story) -> None:
    story.captures("aaa.....")
    name = story.alarm.alarm_id
    assert story.captures("..") == "returned"
    assert story.captures("aaa") == "unacknowledged"
    assert story.alarm.alarm_id == name
    story.captures(".....")
    assert story.act("acknowledge") == "normal"


def test_the_next_alarm_has_another_name(story: Story) -> None:
    story.captures("aaa")
    first = story.alarm.alarm_id
    story.act("acknowledge")
    story.captures(".....aaa")
    assert len(first) == len(story.alarm.alarm_id) == 16
    assert story.alarm.alarm_id != first


def test_dangerous_captures_turn_an_acknowledged_alert_into_an_unacknowledged_danger(story: Story) -> None:
    story.captures("aaa")
    story.act("acknowledge")
    assert story.captures("d") == "acknowledged"
    assert story.captures("d") == "unacknowledged"
    assert story.alarm.priority == "danger"


def test_a_dangerous_capture_counts_twice_and_an_alert_once() -> None:
    assert Story().captures("d") == "normal"
    assert Story().captures("dd") == "unacknowledged"
    assert Story().captures("da") == "unacknowledged"
    assert Story().captures("aa") == "normal"


def test_danger_stays_until_a_person_has_seen_it_however_calm_it_becomes(story: Story) -> None:
    story.captures("ddd")
    assert story.captures("." * 50) == "latched"
    assert story.alarm.active
    assert story.act("acknowledge") == "normal"


def test_danger_that_was_seen_calms_down_like_any_other(story: Story) -> None:
    story.captures("ddd")
    story.act("acknowledge")
    assert story.captures(".....") == "normal"


def test_damage_that_does_not_heal_stays_until_maintenance(story: Story) -> None:
    story.captures("aaB")
    assert story.act("acknowledge") == "acknowledged"
    assert story.captures("." * 50) == "latched"
    assert story.act("acknowledge") == "latched"
    assert story.act("maintain") == "normal"
    assert story.captures("..aa") == "normal"


def test_maintenance_forgets_what_came_before_it(story: Story) -> None:
    story.captures("aa")
    story.act("maintain")
    assert story.captures("a.a") == "normal"


def test_maintenance_without_an_alarm_tells_nothing(story: Story) -> None:
    story.act("maintain")
    assert story.told == []


def test_acknowledging_nothing_tells_nothing(story: Story) -> None:
    story.act("acknowledge")
    assert story.told == []


def test_shelving_hides_the_alarm_and_shows_it_again_as_it_is(story: Story) -> None:
    story.captures("aaa")
    assert story.act("shelve") == "shelved"
    assert story.captures("....") == "shelved"
    assert story.act("unshelve") == "unacknowledged"
    assert story.act("unshelve") == "unacknowledged"
    assert story.told == ["unacknowledged", "shelved", "unacknowledged"]


def test_an_alarm_that_rises_while_shelved_is_there_afterwards(story: Story) -> None:
    story.act("shelve")
    assert story.captures("aaa") == "shelved"
    story.now_us += HOUR_US
    assert story.captures("a") == "unacknowledged"


@pytest.mark.parametrize("asked_us", [MAX_SHELVE_US + 1, 10 * MAX_SHELVE_US, 1 << 60])
def test_shelving_ends_after_twelve_hours_whatever_was_asked_for(story: Story, asked_us: int) -> None:
    story.captures("aaa")
    story.alarm.shelve(asked_us, now_us=0)
    assert story.alarm.expire_shelf(MAX_SHELVE_US - 1) == []
    assert story.alarm.state == "shelved"
    assert [change.state for change in story.alarm.expire_shelf(MAX_SHELVE_US)] == ["unacknowledged"]


def test_more_captures_than_counted_can_be_asked_to_be_calm() -> None:
    story = Story(AlarmSettings(on_count=1, of_count=1, off_count=2))
    assert story.captures("a") == "unacknowledged"
    assert story.captures(".") == "unacknowledged"
    assert story.captures(".") == "returned"


EVENTS = st.lists(
    st.text("..--aadB", min_size=1, max_size=6) | st.sampled_from(["acknowledge", "maintain", "shelve", "unshelve"]),
    max_size=25,
)


def happen(story: Story, event: str) -> None:
    if event in ("acknowledge", "maintain", "shelve", "unshelve"):
        story.act(event)
    else:
        story.captures(event)


@given(EVENTS, st.data())
def test_a_restart_at_any_point_changes_nothing(events: list[str], data: st.DataObject) -> None:
    restart_at = data.draw(st.integers(0, len(events)))
    straight, restarted = Story(), Story()
    for number, event in enumerate(events):
        if number == restart_at:
            restarted.alarm = AlarmLogic.load(SETTINGS, restarted.alarm.dump())
        happen(straight, event)
        happen(restarted, event)
        assert restarted.told == straight.told
        assert restarted.alarm.dump() == straight.alarm.dump()


@given(EVENTS)
def test_whatever_happens_danger_never_goes_unseen_and_an_alarm_needs_its_evidence(events: list[str]) -> None:
    story = Story()
    for event in events:
        before, recent = story.alarm.dump(), list(story.alarm.dump()["recent"])
        happen(story, event)
        after = story.alarm.dump()
        if before["below"] == "unacknowledged" and before["latch"] == "acknowledge" and event not in (
            "acknowledge", "maintain",
        ):  # fmt: skip
            assert after["below"] in {"unacknowledged", "latched"}
        if before["below"] == "normal" and after["below"] == "unacknowledged":
            weights = [{"none": 0, "alert": 1, "danger": 2}[s] for s in recent]
            assert sum({"a": 1, "d": 2, "B": 2}.get(letter, 0) for letter in event) + sum(weights) >= 3
        if before["latch"] == "maintenance" and event != "maintain":
            assert after["latch"] == "maintenance"
