"""One part of a plant that learns as a process of its own, to be killed at a commit it names itself.

    python -m tests.support.faults.learning_agent aggregator SITE.toml | gateway NAME FOLDER

Beside an aggregator's settings lies `first`, the release to start from. `KILL_AT=published:after:2` in the environment
kills the process with -9 right after (or before) the second commit that publishes. Every merge is noted in a journal
beside the settings before it is acted on, with what it was calculated from.
"""

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.database import open_current
from aggregator.learning import service
from aggregator.learning.service import Learning
from aggregator.settings import AggregatorSettings
from schemas.release import read_release_folder
from schemas.settings import BrokerSettings, load_settings
from schemas.signing import KeyRing, Signer
from schemas.supervision import Asked, notify
from tests.support.learning import SmallGateway, healthy_rows

KILL_AT = "KILL_AT"
PHASES = {
    "offered": ("INSERT INTO learning_round", ""),
    "answer_stored": ("INSERT INTO round_update", ""),
    "merged": ("UPDATE learning_round", "merged"),
    "published": ("INSERT INTO release", ""),
    "offer_named": ('UPDATE site_offer SET "key"', ""),
    "acknowledged": ("UPDATE site_offer SET state", "stored"),
    "buffer_stored": ("INSERT INTO waiting_update", ""),
    "told": ("INSERT INTO rollout", ""),
}
"""Phase -> how a statement of its commit begins, and a value that is among its parameters."""


class KillSwitch:
    """Kills this process beside the n-th commit of a phase."""

    def __init__(self, engine: Engine, at: str) -> None:
        phase, self._when, number = at.split(":")
        self._begins, self._value = PHASES[phase]
        self._number = int(number)
        self._seen: Counter[str] = Counter()
        self._marked: set[int] = set()
        self._commit = engine.dialect.do_commit
        sa.event.listen(engine, "before_cursor_execute", self._mark)
        engine.dialect.do_commit = self._do_commit  # type: ignore[method-assign]  # no event comes after a commit

    def _mark(self, connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        values = parameters.values() if isinstance(parameters, dict) else parameters
        if statement.startswith(self._begins) and (not self._value or self._value in values):
            self._marked.add(id(connection.connection.dbapi_connection))

    def _do_commit(self, proxied: Any) -> None:
        wire = id(getattr(proxied, "dbapi_connection", proxied))
        if wire in self._marked:
            self._marked.discard(wire)
            self._seen["commits"] += 1
            if self._seen["commits"] == self._number and self._when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
        self._commit(proxied)
        if self._seen["commits"] == self._number and self._when == "after":
            os.kill(os.getpid(), signal.SIGKILL)


def keep_journal(path: Path) -> None:
    """Note each merge: its round, its digest, and what it was calculated from."""
    note_merge = service._Recorder.note_merge

    def noted(recorder: Any, outcome: Any, digest: str, *more: Any) -> None:
        line = {"round": recorder._round_id, "merge": outcome.digest, "digest": digest, "of": sorted(outcome.accepted)}
        with path.open("a") as journal:
            journal.write(json.dumps(line) + "\n")
            journal.flush()
            os.fsync(journal.fileno())
        note_merge(recorder, outcome, digest, *more)

    service._Recorder.note_merge = noted  # type: ignore[method-assign]


def run_aggregator(path: Path) -> None:
    """Run rounds by the settings until told to stop."""
    settings = load_settings(AggregatorSettings, path, {})
    keys = KeyRing.load(settings.keys_file)
    engine = open_current(settings.database)
    if at := os.environ.get(KILL_AT):
        KillSwitch(engine, at)
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
    seed = int(name.rpartition("-")[2])
    _run(
        SmallGateway(
            name, "site-a", broker, Signer.load(folder / f"{name}.key"), keys, folder / name, first,
            lambda: healthy_rows(seed),
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
