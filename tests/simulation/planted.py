"""This file knows defects to plant: a simulation that does not find these finds nothing."""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import MappingProxyType

from sqlalchemy.engine import Connection

from aggregator.historian import Historian
from aggregator.stream_order import StreamOrder
from gateway_agent.errors import StoreFull
from gateway_agent.store import Store, Waiting
from gateway_agent.uplink import Uplink
from gateway_agent.worker import IngestWorker
from schemas.link import Connection as BrokerConnection
from schemas.link import Received
from schemas.messages import RecordBatch, decode
from schemas.signing import SEAL_BYTES
from schemas.topics import RECORDS, topic_of
from tests.simulation.broker_model import SimulatedLink
from tests.simulation.disk_model import DiskModel
from tests.simulation.gateways import Parts
from tests.simulation.outage import OUTAGE
from tests.simulation.world import Plan


class AcknowledgesBeforeCommit(IngestWorker):
    """Answers the broker for captures that are in memory only."""

    def attach(self, link: BrokerConnection) -> None:
        """Remember where to answer at once."""
        self._answers = link
        super().attach(link)

    def put(self, received: Received) -> None:
        """Take a message, and say so."""
        super().put(received)
        self._answers.acknowledge(received)


class ForgetsOnPuback(Uplink):
    """Believes the broker: what it has answered for is deleted from the outbox."""

    def turn(self) -> None:
        """Forget what was answered for since the last turn, then send."""
        assert isinstance(self._link, SimulatedLink)
        if self._link.on_answered is None:
            self._answered: list[int] = []
            self._link.on_answered = self._note
        with contextlib.suppress(StoreFull):
            self._store.forget(-1, self._answered)
            self._answered.clear()
        super().turn()

    def _note(self, topic: str, sealed: bytes) -> None:
        if topic_of(topic)[0] is RECORDS:
            self._answered += [one.sequence for one in decode(RecordBatch, sealed[SEAL_BYTES:]).records]


class DropsInSilence(Store):
    """Gives records up without a word when its outbox is full."""

    def _tell_gap(self, *_: object) -> int:
        return 0


class SendsInLine(Store):
    """Lets alarms wait behind everything that is older."""

    def waiting(self, count: int, *, besides: Iterable[int] = ()) -> list[Waiting]:
        """The next records for the site, in the order they were written."""
        return sorted(super().waiting(1 << 20, besides=besides), key=lambda record: record.sequence)[:count]


class NeverSyncs(DiskModel):
    """Says that it has synced, and has not."""

    def note_synced(self, file: os.stat_result) -> None:
        """Note nothing."""


@dataclass(slots=True)
class _ForgetfulOrder(StreamOrder):
    def take(self, sequence: int) -> bool:
        StreamOrder.take(self, sequence)
        return True


class StoresTwice(Historian):
    """Does not ask whether a record is there already."""

    def _stream(self, connection: Connection, gateway: str, boot: int) -> StreamOrder:
        known = super()._stream(connection, gateway, boot)
        if not isinstance(known, _ForgetfulOrder):
            known = self._streams[gateway, boot] = _ForgetfulOrder(known.through, known.ahead, known.given_up)
        return known


PLANTED = MappingProxyType({
    "ack_before_commit": Plan(parts=Parts(worker=AcknowledgesBeforeCommit)),
    "outbox_forgets_on_puback": Plan(parts=Parts(uplink=ForgetsOnPuback)),
    "segments_are_not_synced": Plan(parts=Parts(disk=NeverSyncs)),
    "drops_in_silence": Plan(parts=Parts(store=DropsInSilence)),
    "alarms_wait_in_line": replace(OUTAGE, parts=Parts(store=SendsInLine)),
    "site_stores_twice": Plan(historian=StoresTwice),
})  # fmt: skip
"""Name -> a plant with that defect."""
