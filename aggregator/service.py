"""This file knows how an aggregator is put together, for a site and for an enterprise, and how it starts and stops."""

import importlib.util
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aggregator import desk_people, desk_rollout, desk_work
from aggregator.client_list import read_clients
from aggregator.database import may_pass, open_current
from aggregator.enrolled_book import EnrolledBook
from aggregator.errors import PartFailed
from aggregator.historian import Historian
from aggregator.key_list import WatchedKeys
from aggregator.meters import MeteredHistorian, Meters
from aggregator.notifications import Notifier
from aggregator.outside import Connected, Outside
from aggregator.own_limits import OwnLimits
from aggregator.planner_figures import PlannerFigures
from aggregator.plate_sender import PlateSender
from aggregator.recorder import Recorder
from aggregator.reload import TakesSettings, reload
from aggregator.requests_desk import RequestsDesk
from aggregator.settings import AggregatorSettings
from aggregator.summary_book import SummaryBook
from aggregator.summary_teller import SummaryTeller
from aggregator.work_round import Shelves, Step, WorkRound
from schemas.collector import tune_collector
from schemas.errors import ReleaseRejected
from schemas.link import Link
from schemas.logs import event
from schemas.release import Release, read_release_folder
from schemas.settings import describe
from schemas.signing import KeyRing, Signer
from schemas.supervision import Asked, notify, watchdog_interval_s

if TYPE_CHECKING:
    from aggregator.learning.service import Learning

log = logging.getLogger(__name__)

BUILTIN = "builtin_release"  # a folder of the gateway agent
LOOK_S = 0.5  # how often the parts are looked at, and the list of keys
LIVE_EVERY_S = 2.0  # how often is written down what `status` beside us cannot know


class Part(Protocol):
    """One part of the service: starts in the background, stops in order, and says whether it works."""

    def start(self) -> None:
        """Begin, and return."""

    def stop(self) -> None:
        """End, and return when ended."""

    @property
    def alive(self) -> bool:
        """Whether it works."""


class Desk:
    """Work that comes up again and again, such as the requests desk, with its thread."""

    def __init__(self, desk: Step, *, poll_s: float, name: str = "requests-desk") -> None:
        self._desk = desk
        self._poll_s = poll_s
        self._name = name
        self._stop = threading.Event()
        self._failed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the one in hand."""
        self._stop.set()
        self._thread.join(timeout=30)

    @property
    def alive(self) -> bool:
        """Whether it works."""
        return self._thread.is_alive() and not self._failed

    def _run(self) -> None:
        away = False
        try:
            while not self._stop.wait(self._poll_s):
                try:
                    self._desk.step()
                    away = False
                except sa.exc.OperationalError as error:
                    if not may_pass(error):
                        raise
                    if not away:
                        event(log, logging.WARNING, "database_away", problem=str(error.__cause__ or error))
                    away = True
        except Exception:
            self._failed = True
            log.exception("part_failed", extra={"fields": {"part": self._name}})


class Linked:
    """A part with a connection of its own, which comes before it and goes after it."""

    def __init__(self, part: Part, link: Link) -> None:
        self._part = part
        self._link = link

    def start(self) -> None:
        """Connect in the background, and begin."""
        self._link.start()
        self._part.start()

    def stop(self) -> None:
        """End, and disconnect."""
        self._part.stop()
        self._link.stop()

    @property
    def alive(self) -> bool:
        """Whether it works."""
        return self._part.alive


def first_release(settings: AggregatorSettings, keys: KeyRing) -> Release:
    """What the plant starts from: the release in the settings, or the one that every gateway came with.

    Raises:
        ReleaseRejected: It is damaged, or gateways would refuse its signer.
    """
    folder = settings.learning.first_release
    if folder is None:
        gateways = importlib.util.find_spec("gateway_agent")  # its files, not its code
        assert gateways is not None
        assert gateways.submodule_search_locations is not None
        return read_release_folder(Path(gateways.submodule_search_locations[0]) / BUILTIN, keys)
    release = read_release_folder(folder, keys)
    if not release.trusted:
        raise ReleaseRejected(
            "unknown_key",
            f"release {folder} is signed by {release.signer}, which is not on the list {settings.keys_file}; "
            "`aggregator enroll NAME --as releaser --key FILE` puts its signer there",
        )
    return release


class Service:
    """All parts of one aggregator."""

    def __init__(self, settings: AggregatorSettings, *, now_us: Callable[[], int] = lambda: time.time_ns() // 1000):
        self._settings = settings
        self._meters = Meters()
        self._historian: Historian | None = None
        self._recorder: Recorder | None = None
        self._learning: Learning | None = None
        self.engine: Engine = open_current(settings.database)
        self._signer = Signer.load(settings.signing_key_file)
        self._keys = WatchedKeys(settings.keys_file)
        self.parts: dict[str, Part] = {}
        if settings.role == "site":
            self._add_site_parts(now_us)
        else:
            self._add_enterprise_parts(now_us)
        if settings.learning.enabled:
            self._add_learning()
        links: dict[str, Connected] = {}
        if self._recorder is not None:
            links["historian"] = self._recorder.link
        if self._learning is not None and settings.learning.carrier == "mqtt":
            links["learning"] = self._learning.carrier
        dropped: Callable[[], Mapping[str, int]] = dict
        if self._learning is not None:
            dropped = self._learning.dropped
        self.outside = Outside(
            settings, self._keys, self._recorder, links, self.parts, self._meters, dropped, now_us,
            dict if self._learning is None else self._learning.carrier.story,
        )  # fmt: skip

    def _roll_back_people(self) -> int:
        return self._settings.rollout.roll_back_people

    def _add_site_parts(self, now_us: Callable[[], int]) -> None:
        settings = self._settings
        historian = MeteredHistorian(
            self.engine,
            self._meters,
            now_us=now_us,
            offline_after_s=settings.offline_after_s,
            dead_letter_rows=settings.historian.dead_letter_rows,
        )
        historian.write_nameplates(settings.machines)
        recorder = Recorder(settings, historian, signer=self._signer, keys=self._keys)
        desk = RequestsDesk(
            self.engine,
            site=settings.name,
            signer=self._signer,
            keys=self._keys,
            settings=settings.desk,
            publish=recorder.link.publish,
            now_us=now_us,
            now_s=time.monotonic,
            new_id=lambda: secrets.token_hex(16),
            handlers={
                **desk_people.HANDLERS,
                **desk_work.HANDLERS,
                **desk_rollout.handlers(self._roll_back_people),
            },
        )
        self._historian, self._recorder = historian, recorder
        self.parts["historian"] = recorder
        self.parts["requests_desk"] = Desk(desk, poll_s=settings.desk.poll_s)
        plates = PlateSender(
            self.engine,
            site=settings.name,
            signer=self._signer,
            publish=lambda topic, sealed: recorder.link.publish(topic, sealed, retained=True),
            now_us=now_us,
            now_s=time.monotonic,
        )
        book = EnrolledBook(
            self.engine, clients=lambda: read_clients(settings), keys=self._keys, now_s=time.monotonic
        )  # fmt: skip
        self.parts["fleet_round"] = Desk(WorkRound(plates, book), poll_s=settings.desk.poll_s, name="fleet-round")
        notices = settings.notifications
        work = WorkRound(
            PlannerFigures(self.engine, now_s=time.monotonic),
            Shelves(self.engine, now_us=now_us),
            OwnLimits(self.engine, now_us=now_us),
            Notifier(self.engine, notices, plant=settings.name, now_us=now_us),
        )
        self.parts["work_round"] = Desk(work, poll_s=notices.poll_s, name="work-round")

        if settings.uplink is not None and settings.uplink.summary:
            teller = SummaryTeller(
                self.engine, settings.uplink, settings.name,
                signer=self._signer, now_us=now_us, now_s=time.monotonic,
            )  # fmt: skip
            self.parts["summary"] = Linked(Desk(teller, poll_s=settings.desk.poll_s, name="summary"), teller.link)

    def _add_enterprise_parts(self, now_us: Callable[[], int]) -> None:
        """What sites tell of their plants, and what people ask for on the enterprise's own dashboard."""
        settings = self._settings
        self.parts["site_summaries"] = SummaryBook(
            self.engine, settings.broker, settings.name, keys=self._keys, now_us=now_us
        )
        desk = RequestsDesk(
            self.engine, site=settings.name, signer=self._signer, keys=self._keys, settings=settings.desk,
            publish=lambda _topic, _sealed: False, now_us=now_us, now_s=time.monotonic,
            new_id=lambda: secrets.token_hex(16),
            handlers={**desk_people.HANDLERS, **desk_rollout.handlers(self._roll_back_people)},
        )  # fmt: skip
        self.parts["requests_desk"] = Desk(desk, poll_s=settings.desk.poll_s)

    def _add_learning(self) -> None:
        from aggregator.learning.service import Learning

        first = first_release(self._settings, self._keys)
        self._learning = Learning(self._settings, self.engine, self._signer, self._keys, first=first)
        self.parts["learning"] = self._learning

    def listen(self) -> None:
        """Show ourselves, where the settings want that.

        Raises:
            SecretMissing: The token cannot be read; nothing is shown.
        """
        try:
            self.outside.listen(self._settings.observe)
        except OSError as error:  # records matter more than their figures; a reload tries again
            event(log, logging.ERROR, "observe_cannot_listen", host=self._settings.observe.host,
                  port=self._settings.observe.port, text=f"{error}; set another observe.port and reload")  # fmt: skip

    def start(self) -> None:
        """Start every part."""
        tune_collector()
        for part in self.parts.values():
            part.start()

    def reload(self, read_again: Callable[[], AggregatorSettings]) -> None:
        """Take over what has changed in the settings, as far as that can be while running."""
        parts: list[TakesSettings] = [part for part in (self._recorder, self._learning) if part is not None]
        self._settings = reload(
            self._settings, read_again, outside=self.outside, historian=self._historian, parts=parts
        )

    def stop(self) -> None:
        """Stop every part, last first, and close the database."""
        self.outside.stop()
        for name, part in reversed(self.parts.items()):
            try:
                part.stop()
            except Exception:
                log.exception("part_did_not_stop", extra={"fields": {"part": name}})
        self.engine.dispose()

    def look(self) -> None:
        """Take over a changed list of keys, and see that every part works.

        Raises:
            PartFailed: One does not.
        """
        self._keys.refresh()
        for name, part in self.parts.items():
            if not part.alive:
                raise PartFailed(f"{name} has ended by itself; the lines above say why")


def run(
    settings: AggregatorSettings, *, stop: Asked, again: "SimpleQueue[None]",
    read_again: Callable[[], AggregatorSettings],
) -> int:  # fmt: skip
    """Run an aggregator until told to stop.

    Args:
        settings: As they are now.
        stop: When set, everything ends.
        again: When something is put in, settings are read again; a signal handler may.
        read_again: Reads them.

    Returns:
        The exit code: 1 when a part failed, so that the supervisor starts everything again.

    Raises:
        ContractError: The database, the keys or the settings cannot be used.
    """
    event(log, logging.INFO, "starting", role=settings.role, who=settings.name, settings=describe(settings))
    service = Service(settings)
    service.listen()
    watchdog_s = watchdog_interval_s()
    try:
        service.start()
        notify(f"READY=1\nSTATUS={settings.role} {settings.name}: {', '.join(service.parts) or 'nothing to do'}")
        event(log, logging.INFO, "ready", role=settings.role, who=settings.name, parts=list(service.parts))
        written_s = -LIVE_EVERY_S
        while not stop.wait(min(LOOK_S, watchdog_s or LOOK_S)):
            service.look()
            if not again.empty():
                again.get()
                notify("RELOADING=1")
                service.reload(read_again)
                notify("READY=1")
            if time.monotonic() - written_s >= LIVE_EVERY_S:
                written_s = time.monotonic()
                service.outside.write_live()
            notify("WATCHDOG=1")
    except PartFailed as error:
        event(log, logging.ERROR, "part_failed", problem=str(error))
        return 1
    finally:
        notify("STOPPING=1")
        service.stop()
    event(log, logging.INFO, "stopped", role=settings.role, who=settings.name)
    return 0
