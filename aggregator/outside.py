"""This file knows how a running aggregator looks from outside: alive, ready, its figures, and on which port."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator.carriers.superlink_watch import STATES
from aggregator.figures import families
from aggregator.meters import Meters
from aggregator.recorder import Recorder
from aggregator.settings import AggregatorSettings
from aggregator.status import Live, read_status
from schemas.database import open_database
from schemas.logs import event, unsaid_lines
from schemas.metrics import Family, memory_bytes
from schemas.settings import ObserveSettings
from schemas.signing import KeyRing

if TYPE_CHECKING:
    from schemas.observe_server import ObserveServer

log = logging.getLogger(__name__)


class Connected(Protocol):
    """Whatever has a connection to the broker."""

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and not gone since."""


class Working(Protocol):
    """Whatever may end by itself."""

    @property
    def alive(self) -> bool:
        """Whether it works."""


@dataclass(slots=True)
class Outside:
    """What can be seen of an aggregator; every method may be called from any thread.

    Attributes:
        recorder: None for an enterprise, to which no records come.
    """

    settings: AggregatorSettings
    keys: KeyRing
    recorder: Recorder | None
    links: Mapping[str, Connected]
    parts: Mapping[str, Working]
    meters: Meters
    dropped: Callable[[], Mapping[str, int]] = dict
    now_us: Callable[[], int] = lambda: time.time_ns() // 1000
    carried: Callable[[], Mapping[str, Any]] = dict
    _reader: Engine = field(init=False)
    _server: "ObserveServer | None" = field(default=None, init=False)
    _cannot_write: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._reader = open_database(self.settings.database, read_only=True)

    def live(self) -> Live:
        """What only the running aggregator knows, as of now."""
        recorder = self.recorder
        live: Live = {
            "said_at_us": self.now_us(),
            "links": {name: int(link.connected) for name, link in self.links.items()},
            "memory_bytes": memory_bytes(),
            "log_lines_not_written": unsaid_lines(),
            "learning_dropped": dict(self.dropped()),
        }
        carried = self.carried()
        if carried:
            live["superlink"] = {"state": carried["state"], "text": carried["text"]}
            live["superlink_state"] = {state: int(state == carried["state"]) for state in STATES}
            live["superlink_runs"] = dict(carried["runs"])
        if recorder is not None:
            live |= {
                "reconnects": {"historian": max(0, recorder.counters.connections - 1)},
                "queue": recorder.queued,
                "queue_limit": self.settings.historian.queue_messages,
                "database_away": int(recorder.database_away),
                "messages": recorder.counters.messages,
            }
        return live

    def write_live(self) -> None:
        """Leave it in a file, for `status` beside us; a reader sees the old one or the new one."""
        file = self.settings.live_file
        draft = file.with_suffix(".new")
        try:
            draft.write_text(json.dumps(self.live()))
            draft.replace(file)
        except OSError as error:
            if not self._cannot_write:
                event(log, logging.WARNING, "live_file_not_written", file=str(file), text=str(error))
            self._cannot_write = True
        else:
            self._cannot_write = False

    def alive(self) -> dict[str, str]:
        """Why this process is no good any more; feeds the watchdog."""
        return {
            f"{name}_ended": f"{name} has ended by itself or hangs; the log says why"
            for name, part in self.parts.items()
            if not part.alive
        }

    def ready(self) -> dict[str, str]:
        """Why nothing can be taken in right now."""
        broker = self.settings.broker
        reasons = {
            f"link_{name}_down": f"broker {broker.host}:{broker.port} is not connected"
            for name, link in self.links.items()
            if not link.connected
        }
        if self.recorder is not None and self.recorder.database_away:
            reasons["database_away"] = "messages wait for the database"
        try:
            with self._reader.connect() as connection:
                connection.execute(sa.select(1))
        except sa.exc.DBAPIError as error:
            reasons["database_away"] = str(error.orig)
        if not len(self.keys):
            reasons["no_keys"] = f"{self.settings.keys_file} lists nobody; enrol gateways"
        return reasons

    def families(self) -> list[Family]:
        """Every metric as of now; without what is durable while the database is away."""
        try:
            status = read_status(self._reader, self.live(), now_us=self.now_us)
        except sa.exc.DBAPIError as error:
            event(log, logging.WARNING, "database_not_readable", text=str(error.orig))
            return self.meters.families()
        return families(status, self.meters)

    def listen(self, settings: ObserveSettings) -> None:
        """Show ourselves as these settings want it; the way it was stays when that cannot be.

        Raises:
            SecretMissing: The token cannot be read.
            OSError: The port cannot be had.
        """
        if settings.port is None and self._server is None:
            return
        from schemas.observe_server import Observed, listen_as

        self._server = listen_as(settings, self._server, Observed(self.families, self.alive, self.ready))

    def stop(self) -> None:
        """Show ourselves no more."""
        if self._server is not None:
            self._server.stop()
        self._server = None
        self._reader.dispose()
