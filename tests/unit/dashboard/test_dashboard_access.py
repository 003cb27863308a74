"""Who gets in, and for how long."""

import pytest

from dashboard.access import GUESSES, MAX_SESSIONS, Door, Sessions, create_token
from schemas.errors import SecretMissing


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def door(tmp_path, clock):
    create_token(tmp_path / "token")
    sessions = Sessions(session_s=3600.0, idle_s=900.0, now_s=clock)
    return Door(tmp_path / "token", sessions, role="technician", now_s=clock)


def test_only_the_token_opens(door, tmp_path):
    token = (tmp_path / "token").read_text().strip()
    assert door.accepts(token)
    assert not door.accepts(token[:-1])
    assert not door.accepts("")
    assert not door.accepts("ä" * 32)


def test_token_file_is_never_overwritten(tmp_path):
    assert create_token(tmp_path / "token")
    before = (tmp_path / "token").read_text()
    assert not create_token(tmp_path / "token")
    assert (tmp_path / "token").read_text() == before


def test_new_token_counts_at_once_and_the_old_one_no_more(door, tmp_path):
    old = (tmp_path / "token").read_text().strip()
    (tmp_path / "token").write_text("another-one\n")
    assert door.accepts("another-one")
    assert not door.accepts(old)


def test_lost_token_file_lets_nobody_in(door, tmp_path):
    (tmp_path / "token").unlink()
    with pytest.raises(SecretMissing):
        door.accepts("")


def test_after_ten_wrong_tokens_even_the_right_one_waits(door, clock, tmp_path):
    for _ in range(GUESSES):
        assert not door.accepts("guess")
    token = (tmp_path / "token").read_text().strip()
    assert door.locked_for_s() > 0
    assert not door.accepts(token)
    clock.now_s += 61
    assert door.accepts(token)


def test_session_is_recognised_until_its_time_is_over_however_busy_it_was(door, clock):
    visitor, word = door.admit("  A.   Schmidt ")
    assert (visitor.name, visitor.role) == ("A. Schmidt", "technician")
    for _ in range(4):
        clock.now_s += 890
        assert door.recognise(word) == visitor
    clock.now_s += 40
    assert door.recognise(word) is None


def test_idle_session_is_over_even_if_its_page_refreshed_itself(door, clock):
    _, word = door.admit("A. Schmidt")
    for _ in range(8):
        clock.now_s += 100
        assert door.recognise(word, touch=False) is not None
    clock.now_s += 100
    assert door.recognise(word, touch=False) is None


def test_unknown_word_is_nobody(door):
    assert door.recognise("made-up") is None
    assert door.recognise(None) is None


def test_signed_out_session_is_over(door):
    _, word = door.admit("a")
    door.dismiss(word)
    assert door.recognise(word) is None


def test_name_is_shortened_and_never_empty(door):
    assert len(door.admit("x" * 500)[0].name) == 64
    assert door.admit(" \n ")[0].name == "unnamed"


def test_sessions_are_bounded(door):
    _, first = door.admit("first")
    for _ in range(MAX_SESSIONS):
        door.admit("more")
    assert door.recognise(first) is None
