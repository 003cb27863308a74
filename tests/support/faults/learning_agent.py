"""One part of a plant that learns, as a process of its own that dies, or has another die, at a moment it is told.

    python -m tests.support.faults.learning_agent aggregator SITE.toml | gateway NAME FOLDER

Beside an aggregator's settings lies `first`, the release to start from. `KILL_AT=published:after:2` in the environment
kills the process with -9 right after (or before) the second commit that publishes. With a file named in `ASK_TO_KILL`
it is somebody else who is to die there: the process writes the file, waits until it is gone, and goes on; several
moments, with commas between them, then come one after the other.

Every merge is noted in a journal beside the settings before it is acted on, with what it was calculated from; a
gateway notes what it keeps and sends likewise.
"""

import contextlib
import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.database import open_current
from aggregator.learning import service
from aggregator.learning.service import Learning
from aggregator.settings import AggregatorSettings
from gateway_agent import federation, release_shelf
from gateway_agent.model_slot import TrainStep
from gateway_agent.personal_parameters import PersonalShelf
from gateway_agent.release_shelf import ReleaseShelf
from gateway_agent.training import OwnParameters
from schemas.flower_codec import load_message
from schemas.learning_task import TrainingReply
from schemas.member_link import MemberLink
from schemas.release import read_release_folder
from schemas.settings import BrokerSettings, load_settings
from schemas.signing import KeyRing, Signer
from schemas.supervision import Asked, notify
from tests.support.learning import SmallGateway, healthy_rows

KILL_AT, ASK_TO_KILL, TOO_FEW_ROWS = "KILL_AT", "ASK_TO_KILL", "TOO_FEW_ROWS"
COMMITS = {
    "offered": ("INSERT INTO learning_round", ""),
    "answer_stored": ("INSERT INTO round_update", ""),
    "merged": ("UPDATE learning_round", "merged"),
    "published": ("INSERT INTO release", ""),
    "offer_named": ('UPDATE site_offer SET "key"', ""),
    "acknowledged": ("UPDATE site_offer SET state", "stored"),
    "buffer_stored": ("INSERT INTO waiting_update", ""),
    "told": ("INSERT INTO rollout", ""),
}
"""Phase of an aggregator -> how a statement of its commit begins, and a value that is among its parameters."""

CALLS: dict[str, tuple[Any, str, str]] = {
    "training": (federation, "train", ""),
    "training_step": (TrainStep, "__call__", ""),
    "own_kept": (PersonalShelf, "keep", ""),
    "update_sent": (MemberLink, "_send", "train"),
    "judging": (federation, "held_back_loss", ""),
    "judgement_sent": (MemberLink, "_send", "evaluate"),
    "verdict_heard": (MemberLink, "_hear", ""),
    "release_saved": (release_shelf, "_save", ""),
    "release_named": (ReleaseShelf, "_write", "highest_version"),
}
"""Phase of a gateway -> whose function it is, and what it is called with, or for, there."""

LOOK_S = 0.01


class Moments:
    """Moments of this process at which something dies: a phase, before or after it, its n-th time since the last."""

    def __init__(self, said: str, die: Callable[[], None]) -> None:
        self._next = deque(said.split(",") if said else ())
        self._die = die
        self._seen = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def passing(self, phase: str) -> Iterator[None]:
        """Go through a phase, and die before or after it if that is the next moment."""
        when = self._note(phase)
        if when == "before":
            self._die()
        yield
        if when == "after":
            self._die()

    def _note(self, phase: str) -> str:
        with self._lock:
            if not self._next:
                return ""
            wanted, when, number = self._next[0].split(":")
            self._seen += wanted == phase
            if wanted != phase or self._seen < int(number):
                return ""
            self._seen = 0
            self._next.popleft()
            return when


def moments() -> Moments:
    """Those that the environment names."""
    asks = os.environ.get(ASK_TO_KILL)
    return Moments(os.environ.get(KILL_AT, ""), _die if asks is None else lambda: _ask_to_kill(Path(asks)))


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _ask_to_kill(file: Path) -> None:
    file.touch()
    while file.exists():
        time.sleep(LOOK_S)


def watch_commits(engine: Engine, pass_through: Moments) -> None:
    """Have an aggregator's commits be its phases."""
    marked: dict[int, set[str]] = {}
    commit = engine.dialect.do_commit

    def mark(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        values = parameters.values() if isinstance(parameters, dict) else parameters
        for phase, (begins, value) in COMMITS.items():
            if statement.startswith(begins) and (not value or value in values):
                marked.setdefault(id(connection.connection.dbapi_connection), set()).add(phase)

    def do_commit(proxied: Any) -> None:
        with contextlib.ExitStack() as phases:
            for phase in marked.pop(id(getattr(proxied, "dbapi_connection", proxied)), ()):
                phases.enter_context(pass_through.passing(phase))
            commit(proxied)

    sa.event.listen(engine, "before_cursor_execute", mark)
    engine.dialect.do_commit = do_commit  # type: ignore[method-assign]  # no event comes after a commit


def watch_calls(pass_through: Moments) -> None:
    """Have a gateway's calls be its phases."""
    for phase, (owner, name, marks) in CALLS.items():
        setattr(owner, name, _watched(getattr(owner, name), phase, marks, pass_through))


def _watched(function: Any, phase: str, marks: str, pass_through: Moments) -> Any:
    def watched(*args: Any, **named: Any) -> Any:
        if marks and marks not in named and marks != _type_of_reply(args):
            return function(*args, **named)
        with pass_through.passing(phase):
            return function(*args, **named)

    return watched


def _type_of_reply(args: tuple[Any, ...]) -> str:
    return load_message(args[1]).metadata.message_type if len(args) > 1 and isinstance(args[1], bytes) else ""


def write_down(path: Path, line: dict[str, Any]) -> None:
    with path.open("a") as journal:
        journal.write(json.dumps(line) + "\n")
        journal.flush()
        os.fsync(journal.fileno())


def keep_journal(path: Path) -> None:
    """Note each merge: its round, its digest, and what it was calculated from."""
    note_merge = service._Recorder.note_merge

    def noted(recorder: Any, outcome: Any, digest: str, *more: Any) -> None:
        line = {"round": recorder._round_id, "merge": outcome.digest, "digest": digest, "of": sorted(outcome.accepted)}
        write_down(path, line)
        note_merge(recorder, outcome, digest, *more)

    service._Recorder.note_merge = noted  # type: ignore[method-assign]


def keep_gateway_journal(path: Path) -> None:
    """Note what each task starts from and comes to of what is the gateway's own, and each update that is sent."""
    keep, send = PersonalShelf.keep, MemberLink._send

    def kept(shelf: Any, release: Any, task: str, before: OwnParameters, now: OwnParameters) -> None:
        write_down(path, {"task": task, "before": digest_of_own(before), "now": digest_of_own(now)})
        keep(shelf, release, task, before, now)

    def sent(link: Any, reply: bytes) -> int:
        message = load_message(reply)
        if message.metadata.message_type == "train" and not message.has_error():
            delta = TrainingReply.read(message).delta
            round_id = int(message.metadata.group_id)
            write_down(path, {"round": round_id, "update": hashlib.sha256(delta.tobytes()).hexdigest()})
        return send(link, reply)

    PersonalShelf.keep, MemberLink._send = kept, sent  # type: ignore[method-assign]


def digest_of_own(own: OwnParameters) -> str:
    """Name what a gateway keeps for itself by its bytes; empty where it has nothing."""
    return "" if own.personal is None else hashlib.sha256(own.personal.tobytes()).hexdigest()


def run_aggregator(path: Path) -> None:
    """Run rounds by the settings until told to stop."""
    settings = load_settings(AggregatorSettings, path, {})
    keys = KeyRing.load(settings.keys_file)
    engine = open_current(settings.database)
    watch_commits(engine, moments())
    keep_journal(path.with_suffix(".journal"))
    learning = Learning(
        settings,
        engine,
        Signer.load(settings.signing_key_file),
        keys,
        first=read_release_folder(path.parent / "first", keys),
    )
    _run(learning)
    assert learning.fault is None, learning.fault


def run_gateway(name: str, folder: Path) -> None:
    """Learn for its site until told to stop."""
    keys = KeyRing.load(folder / "keys.toml")
    broker = BrokerSettings.model_validate_json((folder / f"{name}.broker.json").read_text())
    first = read_release_folder(folder / "first", keys)
    watch_calls(moments())
    keep_gateway_journal(folder / f"{name}.journal")
    seed, rows = int(name.rpartition("-")[2]), 10 if TOO_FEW_ROWS in os.environ else 320
    _run(
        SmallGateway(
            name, "site-a", broker, Signer.load(folder / f"{name}.key"), keys, folder / name, first,
            lambda: healthy_rows(seed, rows),
        )
    )  # fmt: skip


def _run(part: Learning | SmallGateway) -> None:
    stop = Asked()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    part.start()
    notify("READY=1")
    while not stop.wait(0.2):
        assert getattr(part, "fault", None) is None
    part.stop()


if __name__ == "__main__":
    if sys.argv[1] == "gateway":
        run_gateway(sys.argv[2], Path(sys.argv[3]))
    else:
        run_aggregator(Path(sys.argv[2]))
