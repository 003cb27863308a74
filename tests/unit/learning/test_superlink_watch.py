"""When a run is submitted to a SuperLink: told as a story with a clock of the test's own."""

from aggregator.carriers.superlink_watch import LONGEST_WAIT_S, STEADY_S, RunWatch, Submit, Told


class Story:
    """A watch, and what is seen of its SuperLink."""

    def __init__(self, attempts: int = 5) -> None:
        self.watch = RunWatch(start_within_s=60.0, attempts=attempts)
        self.now_s = 0.0

    def see(self, *, answers: bool = True, relayed: bool = False, after_s: float = 0.5, why: str = "") -> object:
        self.now_s += after_s
        return self.watch.look(self.now_s, answers=answers, relayed=relayed, why=why)

    def carries(self) -> None:
        assert isinstance(self.see(), Submit)
        assert self.see(relayed=True) == Told("carrying", f"run of attempt {self.watch.attempt}")

    def until_submitted(self, within_s: float = 600.0) -> float:
        began_s = self.now_s
        while not isinstance(self.see(), Submit):
            assert self.now_s - began_s < within_s
        return self.now_s - began_s


def test_superlink_that_does_not_answer_is_asked_for_ever_and_no_run_is_spent_on_it() -> None:
    story = Story()
    for _ in range(1000):
        assert not isinstance(story.see(answers=False), Submit)
    assert (story.watch.state, story.watch.attempt) == ("away", 0)
    assert story.see() == Submit(1)


def test_superlink_that_is_killed_in_a_run_gets_a_new_one_at_the_first_look_after_it_is_back() -> None:
    story = Story()
    story.carries()
    assert story.see(relayed=True, after_s=STEADY_S) is None
    assert story.see(answers=False, why="does not answer") == Told("away", "does not answer")
    assert story.see(answers=False, after_s=3600.0) is None
    assert story.see() == Submit(1)
    assert story.watch.losses == 1


def test_run_that_dies_after_it_was_steady_is_followed_at_once() -> None:
    story = Story()
    story.carries()
    story.see(relayed=True, after_s=STEADY_S)
    story.see(why="the relay has hung up")
    assert story.see() == Submit(1)


def test_superlink_that_goes_down_slowly_is_told_twice_and_asked_in_between() -> None:
    story = Story()
    story.carries()
    assert story.see(why="the relay has hung up") == Told("starting", "the relay has hung up")
    assert story.see(answers=False, why="does not answer") == Told("away", "does not answer")


def test_runs_that_die_at_once_come_later_each_time_and_after_so_many_no_more() -> None:
    story = Story(attempts=5)
    waits_s = []
    for number in range(1, 6):
        waits_s.append(story.until_submitted())
        assert story.watch.attempt == number
        story.see(relayed=True)
        story.see(why="the relay has hung up")
    assert waits_s == sorted(waits_s)
    assert waits_s[-1] > 4 * waits_s[1]
    told = story.see(after_s=LONGEST_WAIT_S)
    assert isinstance(told, Told)
    assert told.state == "given_up"
    assert "5 runs in a row" in told.text
    assert all(story.see(after_s=LONGEST_WAIT_S) is None for _ in range(100))


def test_refused_submissions_come_later_each_time_but_never_later_than_a_minute() -> None:
    story = Story(attempts=12)
    for _ in range(12):
        assert story.until_submitted() <= LONGEST_WAIT_S + 0.5
        story.watch.refused(story.now_s, "no such app")
    story.see(after_s=LONGEST_WAIT_S)
    assert story.watch.state == "given_up"
    assert "no such app" in story.watch.text


def test_given_up_ends_when_the_superlink_itself_has_been_away() -> None:
    story = Story(attempts=1)
    story.until_submitted()
    story.watch.refused(story.now_s, "no such app")
    assert isinstance(story.see(after_s=LONGEST_WAIT_S), Told)
    story.see(answers=False)
    assert story.see() == Submit(1)


def test_relay_that_does_not_come_in_time_is_given_another_run() -> None:
    story = Story()
    assert story.see() == Submit(1)
    assert story.see(after_s=59.0) is None
    assert story.see(after_s=1.5) == Submit(2)
    assert "not come in time" in story.watch.text
