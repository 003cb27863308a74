"""What was refused can be taken in again: by the same rules as ever, once, and in one commit with its mark."""

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from gateway_agent.batch import AGAIN_REFUSED, AGAIN_TAKEN, Batch, DeadLetter
from gateway_agent.command import main
from gateway_agent.dead_letters import Letter, ask_again, find
from gateway_agent.healthy_rows import HealthyRows
from gateway_agent.intake import Intake
from gateway_agent.judge import Judge
from gateway_agent.reinjection import AT_ONCE, Reinjection
from gateway_agent.settings import StoreSettings
from gateway_agent.store import Store, read_only
from gateway_agent.worker import Clocks
from schemas.capture import encode_capture
from schemas.database import open_database, sqlite_url
from schemas.fragments import Reassembly, split
from schemas.topics import CAPTURE, CAPTURE_FRAGMENT
from tests.support.captures import AT_US, gateway_settings, healthy, taken

NOW_US = AT_US + 100_000_000


def topic(machine: str = "pump-07") -> str:
    return CAPTURE.path(site="plant-a", gateway="gw-1", machine=machine, position="de")


class Desk:
    """A store with dead letters, and who takes them in again; a settings file for the command."""

    def __init__(self, folder: Path, **store: int) -> None:
        self.folder = folder
        self.store = Store(StoreSettings.model_validate({"folder": folder / "var", "min_free_bytes": 0, **store}))
        self.judge = Judge(gateway_settings(), known=self.store.knows,
                           recall=lambda p, b: self.store.highest_sequences(p, b, 1024))  # fmt: skip
        self.intake = Intake("plant-a", "gw-1", frozenset({"pump-07"}), False,
                             Reassembly(max_bytes=1 << 20, max_age_s=10.0))  # fmt: skip
        self.reinjection = Reinjection(
            folder / "var", self.store, self.intake, HealthyRows(64), Clocks(lambda: NOW_US, lambda: 0.0)
        )
        self.settings = folder / "gateway.toml"
        self.settings.write_text(
            'site = "plant-a"\ngateway = "gw-1"\n[broker]\nallow_anonymous = true\n'
            f'[store]\nfolder = "{folder / "var"}"\n'
        )

    def refuse(self, *letters: tuple[str, bytes], reason: str = "unknown_machine") -> None:
        dead = [DeadLetter(topic, reason, "because", payload, NOW_US) for topic, payload in letters]
        self.store.commit(Batch(NOW_US, dead_letters=dead))

    def ask(self, *letters: int) -> None:
        engine = open_database(sqlite_url(self.folder / "var" / "gateway.db"))
        with engine.begin() as connection:
            ask_again(connection, letters, now_us=NOW_US)
        engine.dispose()

    def take_in(self, *, commit: bool = True) -> None:
        batch = Batch(NOW_US)
        self.reinjection.carry_out(self.judge, batch)
        if commit:
            self.store.commit(batch)

    def close(self) -> None:
        self.reinjection.close()
        self.store.close()

    def letters(self) -> list[Letter]:
        with read_only(self.folder / "var") as connection:
            return find(connection)

    def say(self, *words: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main(["dead-letters", "--settings", str(self.settings), *words])
        return code, out.getvalue(), err.getvalue()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def test_a_letter_is_marked_in_the_commit_that_stores_its_capture_and_not_before(desk: Desk) -> None:
    desk.refuse((topic(), encode_capture(healthy(3))))
    assert not desk.reinjection.wanted()
    desk.ask(1)
    assert desk.reinjection.wanted()
    desk.take_in(commit=False)
    assert (desk.letters()[0].state, desk.store.captures_stored()) == ("asked", 0)
    desk.judge = Judge(gateway_settings(), known=desk.store.knows)  # killed there, and started again
    desk.take_in()
    assert (desk.letters()[0].state, desk.store.captures_stored()) == ("taken", 1)
    assert desk.store.raw_capture("pump-07/de", 1, 3) == encode_capture(healthy(3))
    assert desk.store.counts()[AGAIN_TAKEN] == 1
    assert not desk.reinjection.wanted()
    desk.take_in()
    assert desk.store.captures_stored() == 1


def test_pieces_are_joined_and_the_one_that_makes_the_capture_whole_is_marked(desk: Desk) -> None:
    pieces = split(encode_capture(healthy(3)), stream=1, item=3, piece_bytes=2000)
    fragments = CAPTURE_FRAGMENT.path(site="plant-a", gateway="gw-1", machine="pump-07", position="de")
    desk.refuse(*((fragments, piece) for piece in pieces))
    desk.ask(*range(1, len(pieces) + 1))
    desk.take_in()
    assert [letter.state for letter in desk.letters()] == [*["refused"] * (len(pieces) - 1), "taken"]
    assert desk.letters()[0].reason == "piece"
    assert desk.store.captures_stored() == 1


def test_a_capture_that_has_come_by_itself_meanwhile_is_stored_once(desk: Desk) -> None:
    desk.refuse((topic(), encode_capture(healthy(3))), (topic(), encode_capture(healthy(3))))
    desk.ask(1, 2)
    desk.take_in()
    assert [letter.state for letter in desk.letters()] == ["taken", "taken"]
    assert desk.store.captures_stored() == 1


def test_a_letter_that_fills_a_hole_is_no_longer_counted_as_missing(desk: Desk) -> None:
    for number in (2, 4):
        desk.store.commit(desk.judge.process([taken(healthy(number))], now_us=NOW_US).batch)
    assert desk.store.counts()["captures_gap"] == 1
    desk.refuse((topic(), encode_capture(healthy(3))))
    desk.ask(1)
    desk.take_in()
    assert desk.store.counts()["captures_gap"] == 0


def test_what_is_refused_again_has_its_new_reason_and_is_no_second_letter(desk: Desk) -> None:
    desk.refuse((topic("pump-08"), encode_capture(healthy(3))[:-9]))
    desk.ask(1)
    desk.take_in()
    desk.intake.machines = frozenset({"pump-08"})
    desk.ask(1)
    desk.take_in()
    (letter,) = desk.letters()
    assert (letter.state, letter.reason) == ("refused", "truncated")
    assert desk.store.counts() == {"dead:unknown_machine": 1, AGAIN_REFUSED: 2}


def test_many_are_taken_in_a_few_a_commit_in_the_order_they_came(desk: Desk) -> None:
    count = 2 * AT_ONCE + 1
    desk.refuse(*((topic(), encode_capture(healthy(number))) for number in range(count)))
    desk.ask(*range(1, count + 1))
    stored = []
    for _ in range(3):
        desk.take_in()
        stored.append(desk.store.captures_stored())
    assert stored == [AT_ONCE, 2 * AT_ONCE, count]
    assert not desk.reinjection.more


def test_of_what_was_too_large_to_keep_the_head_is_exported_and_nothing_is_taken_in(tmp_path: Path) -> None:
    desk = Desk(tmp_path, dead_letter_payload_bytes=100)
    desk.refuse((topic(), encode_capture(healthy(3))))
    code, _, err = desk.say("reinject", "1")
    assert (code, "only their head" in err) == (2, True)
    assert desk.say("reinject", "--reason", "unknown_machine")[0] == 0
    assert desk.letters()[0].state == "refused"
    assert desk.say("export", "1", "--out", str(tmp_path / "out"))[0] == 0
    told = json.loads((tmp_path / "out" / "letter-000001.json").read_text())
    assert (told["whole"], told["size_bytes"]) == (False, len(encode_capture(healthy(3))))
    assert (tmp_path / "out" / "letter-000001.bin").read_bytes() == encode_capture(healthy(3))[:256]
    desk.ask(1)  # asked for while it was whole, and then cut for want of room
    desk.take_in()
    assert "only its head" in desk.letters()[0].text
    desk.close()


def test_the_list_shows_each_letter_and_can_be_narrowed_to_a_reason(desk: Desk) -> None:
    desk.refuse((topic("pump-08"), b"a"))
    desk.refuse((topic(), b"bc"), reason="truncated")
    _, out, err = desk.say()
    assert [line.split()[0] for line in out.splitlines()] == ["1", "2"]
    assert "2 dead letters" in err
    _, out, _ = desk.say("--reason", "truncated", "--json")
    assert [json.loads(line)["size_bytes"] for line in out.splitlines()] == [2]
    _, out, _ = desk.say("show", "2")
    assert "62 63" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["reinject"], "name letters by ID"),
        (["reinject", "1", "--reason", "truncated"], "name letters by ID"),
        (["reinject", "1", "99"], "[99] are not there"),
        (["export", "--reason", "bad_crc", "--out", "x"], "no dead letter has reason 'bad_crc'"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_a_letter_that_cannot_be_meant_is_one_clear_line(desk: Desk, words: list[str], said: str) -> None:
    desk.refuse((topic(), b"a"))
    code, out, err = desk.say(*words)
    assert (code, out) == (2, "")
    assert said in err
    assert desk.letters()[0].state == "refused"


def test_without_a_store_the_command_says_so(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.close()
    (tmp_path / "var" / "gateway.db").unlink()
    code, _, err = desk.say()
    assert (code, "no store" in err) == (2, True)
