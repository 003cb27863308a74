"""A sensor is silent when its own usual interval says so, and not because nobody could be heard."""

from gateway_agent.silence import SilenceWatch

SECOND_US = 1_000_000


def watch_of(*, every_s: float, count: int = 6) -> SilenceWatch:
    """One point, heard `count` times, the last time at 0 s."""
    watch = SilenceWatch(intervals=3.0, least_s=2.0)
    for number in range(count):
        watch.hear("pump-07/de", int(number * every_s * SECOND_US), now_s=(number + 1 - count) * every_s)
    return watch


def test_sensor_is_silent_after_three_of_its_own_intervals_and_is_told_once():
    watch = watch_of(every_s=60.0)
    assert watch.fallen_silent(now_s=179.0) == []
    (one,) = watch.fallen_silent(now_s=180.0)
    assert (one.point, one.text()) == ("pump-07/de", "silent: nothing heard for 180 s, usually every 60 s")
    assert watch.fallen_silent(now_s=500.0) == []
    watch.hear("pump-07/de", 400 * SECOND_US, now_s=600.0)
    assert [one.point for one in watch.fallen_silent(now_s=780.0)] == ["pump-07/de"]


def test_fast_sensor_gets_the_least_patience():
    watch = watch_of(every_s=0.1)
    assert watch.fallen_silent(now_s=1.9) == []
    assert watch.fallen_silent(now_s=2.0) != []


def test_who_has_no_usual_interval_yet_is_not_judged():
    assert watch_of(every_s=1.0, count=4).fallen_silent(now_s=1e6) == []


def test_backlog_that_comes_at_once_is_no_fast_sensor():
    watch = SilenceWatch(intervals=3.0, least_s=2.0)
    for number in range(10):
        watch.hear("p/de", number * 60 * SECOND_US, now_s=0.0)
    assert watch.fallen_silent(now_s=170.0) == []
    assert watch.fallen_silent(now_s=181.0) != []


def test_while_the_broker_is_away_nobody_is_silent():
    watch = watch_of(every_s=1.0)
    watch.excuse(now_s=100.0)
    assert watch.fallen_silent(now_s=102.9) == []
    assert watch.fallen_silent(now_s=103.0) != []
