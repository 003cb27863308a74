"""The broker hears that messages are safe in the order in which they came, each once, whatever is safe first."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_agent.broker_order import BrokerOrder
from gateway_agent.waiting import Waiting
from schemas.link import Received


def message(number: int, *, connection: int = 1, qos: int = 1) -> Received:
    return Received("t", b"%d" % number, qos, False, number % 65535 + 1 if qos else 0, connection)


@dataclass
class Piece:
    """A piece whose capture is finished when the test says so."""

    finished: bool = False
    waiting: Waiting = field(init=False)

    def __post_init__(self) -> None:
        self.waiting = Waiting(lambda: self.finished)


@given(st.data())
def test_whatever_is_committed_first_the_broker_hears_in_order_of_arrival_and_of_each_once(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 40), "messages")
    pieces = {n: Piece() for n in data.draw(st.sets(st.integers(0, count - 1)), "pieces")}
    order = BrokerOrder(1000)
    came = [message(n) for n in range(count)]
    for number, one in enumerate(came):
        order.came(one, pieces[number].waiting if number in pieces else None)
    told: list[Received] = []
    for number in data.draw(st.permutations(range(count)), "safe in this order"):
        safe = [came[number]]
        if number in pieces:
            pieces[number].finished = True
            safe = order.finished_pieces()
            assert safe == [came[number]]
        told += order.safe(safe)
        assert told == came[: len(told)]
    assert told == came
    assert order.finished_pieces() == order.let_go_early() == order.safe(came) == []


def test_a_piece_holds_back_all_that_came_after_it_until_its_capture_is_safe() -> None:
    order, piece = BrokerOrder(100), Piece()
    first, fragment, last = (message(n) for n in range(3))
    order.came(first)
    order.came(fragment, piece.waiting)
    order.came(last)
    assert order.finished_pieces() == []
    assert order.safe([last]) == []
    assert order.safe([first]) == [first]
    piece.finished = True
    assert order.finished_pieces() == [fragment]
    assert order.finished_pieces() == []
    assert order.safe([fragment]) == [fragment, last]


@given(most=st.integers(1, 8), steps=st.lists(st.booleans(), min_size=1, max_size=60))
def test_unfinished_captures_never_keep_the_window_closed(most: int, steps: list[bool]) -> None:
    """Each step a message comes, True for a piece of a capture that is never whole; then one turn of the worker."""
    order = BrokerOrder(most)
    under_way: list[Received] = []
    early: list[Received] = []
    for number, is_piece in enumerate(steps):
        one = message(number)
        under_way.append(one)
        order.came(one, Piece().waiting if is_piece else None)
        let_go = order.let_go_early()
        early += let_go
        assert all(steps[int(was.payload)] for was in let_go)
        for told in order.safe(([] if is_piece else [one]) + let_go):
            assert told == under_way.pop(0)
        assert len(under_way) <= most
    assert len(early) == len(set(early))


def test_fewer_than_may_wait_are_not_let_go() -> None:
    order = BrokerOrder(3)
    for number in range(3):
        order.came(message(number), Piece().waiting)
    assert order.let_go_early() == []
    order.came(message(3), Piece().waiting)
    assert order.let_go_early() == [message(0)]
    assert order.let_go_early() == []


def test_what_is_being_judged_is_never_let_go_early() -> None:
    order = BrokerOrder(1)
    order.came(message(0))
    for number in range(1, 5):
        order.came(message(number), Piece().waiting)
    assert order.let_go_early() == []


def test_a_new_connection_forgets_what_came_on_the_one_before() -> None:
    order, piece = BrokerOrder(1), Piece()
    old = [message(n) for n in range(3)]
    order.came(old[0], piece.waiting)
    for one in old[1:]:
        order.came(one)
    order.safe(old[1:])
    again = message(0, connection=2)
    order.came(again)
    piece.finished = True
    assert order.finished_pieces() == order.let_go_early() == []
    assert order.safe(old) == []
    assert order.safe([again]) == [again]


def test_a_late_message_of_an_older_connection_holds_nothing_back() -> None:
    order = BrokerOrder(10)
    order.came(message(0, connection=2))
    order.came(message(1, connection=1), Piece().waiting)
    order.came(message(2, connection=2))
    assert order.safe([message(0, connection=2), message(1, connection=1), message(2, connection=2)]) == [
        message(0, connection=2),
        message(2, connection=2),
    ]


@pytest.mark.parametrize("piece", [None, Piece().waiting])
def test_what_needs_no_acknowledgement_takes_no_place(piece: Waiting | None) -> None:
    order = BrokerOrder(1)
    for _ in range(5):
        order.came(message(0, qos=0), piece)
    order.came(message(1))
    assert order.safe([message(0, qos=0), message(1)]) == [message(1)]


def test_a_number_that_the_broker_uses_again_stands_for_the_new_message() -> None:
    order = BrokerOrder(10)
    order.came(message(0))
    order.came(message(1))
    assert order.safe([message(0)]) == [message(0)]
    order.came(message(0))
    assert order.safe([message(0)]) == []
    assert order.safe([message(1)]) == [message(1), message(0)]
