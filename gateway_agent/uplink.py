"""This file knows how records reach the site: in batches, urgent first, and kept until the site says it has them.

The broker's acknowledgement deletes nothing here; only the site's own, sent after its commit, does. What has not
been acknowledged within `RESEND_S` is sent again; the site knows a record by (gateway, boot, sequence). A site that
does not answer gets one batch at a time, ever more rarely: the broker would keep all the others for it, too, and an
alarm raised meanwhile would come behind them.
"""

import contextlib
import logging
import threading
from collections.abc import Callable

from gateway_agent.errors import StoreFull
from gateway_agent.store import Store, Waiting
from schemas.link import Connection, PayloadTooLarge
from schemas.logs import event
from schemas.messages import RecordsAck
from schemas.names import check_name
from schemas.signing import SEAL_BYTES, Signer
from schemas.topics import RECORDS

log = logging.getLogger(__name__)

RESEND_S, RESEND_MOST_S = 10.0, 60.0  # the pause doubles while the site does not answer
FORGOTTEN_RESEND_S = 1.0  # the first, where the broker lets fall what comes before the site is back, too
WINDOW_RECORDS = 2000  # sent and not yet acknowledged by the site
BATCH_RECORDS = 200
_FRAME_BYTES = 160


class Uplink:
    """Sends the outbox to the site; one thread runs it, any thread hands acknowledgements in."""

    def __init__(
        self, site: str, gateway: str, store: Store, link: Connection, signer: Signer, *,
        monotonic_s: Callable[[], float], committed: threading.Event,
    ) -> None:  # fmt: skip
        self._topic = RECORDS.path(site=site, gateway=gateway)
        self._gateway = check_name(gateway)
        self._store = store
        self._link = link
        self._signer = signer
        self._monotonic_s = monotonic_s
        self._committed = committed
        self._lock = threading.Lock()
        self._sent_at_s: dict[int, float] = {}
        self._resend_s = RESEND_S
        self._stopping = False

    @property
    def under_way(self) -> int:
        """Records sent whose acknowledgement has not come."""
        return len(self._sent_at_s)

    def forget_what_was_sent(self, *, broker_remembers: bool = True) -> None:
        """The broker was away: whatever was under way is sent again.

        One that has lost its memory does not know the site any more, and keeps nothing for it until it is back:
        until the site answers, one batch is tried after 1, 2, 4 ... s.
        """
        with self._lock:
            self._sent_at_s.clear()
            self._resend_s = RESEND_S if broker_remembers else FORGOTTEN_RESEND_S
        self._committed.set()

    def acknowledge(self, ack: RecordsAck) -> int:
        """The site has stored these; return how many records left the outbox."""
        if ack.gateway != self._gateway or ack.boot != self._store.boot:
            event(log, logging.WARNING, "ack_of_another_store", gateway=ack.gateway, boot=ack.boot)
            return 0
        gone = self._store.forget(ack.through, ack.also)
        also = set(ack.also)
        with self._lock:
            self._sent_at_s = {n: at for n, at in self._sent_at_s.items() if n > ack.through and n not in also}
            self._resend_s = RESEND_S
        self._committed.set()
        return gone

    def stop(self) -> None:
        """End soon."""
        self._stopping = True
        self._committed.set()

    def run(self) -> None:
        """Send until stopped."""
        while not self._stopping:
            self._committed.wait(1.0)
            self._committed.clear()
            self.turn()

    def turn(self) -> None:
        """Send what may be sent now."""
        while not self._stopping and self._link.connected and self._send_some():
            pass

    def _send_some(self) -> bool:
        """Send one batch; tell whether there may be more to send now."""
        now_s = self._monotonic_s()
        with self._lock:
            if any(now_s - at >= self._resend_s for at in self._sent_at_s.values()):
                self._sent_at_s.clear()
                self._resend_s = min(2 * self._resend_s, RESEND_MOST_S)
            under_way = set(self._sent_at_s)
            window = WINDOW_RECORDS if self._resend_s == RESEND_S else BATCH_RECORDS
        if len(under_way) >= window:
            return False
        waiting = self._store.waiting(BATCH_RECORDS, besides=under_way)
        if not waiting:
            return False
        part = self._that_fits(waiting)
        try:
            taken = self._link.publish(self._topic, self._signer.seal(self._topic, self._batch(part)))
        except PayloadTooLarge as error:  # a record that does not fit even alone
            event(log, logging.ERROR, "record_too_large", sequence=part[0].sequence, kind=part[0].kind, text=str(error))
            with contextlib.suppress(StoreFull):  # tried again with the next commit
                self._store.give_up(part[0].sequence, f"{part[0].kind} of {len(part[0].body)} bytes fits no packet")
                self._committed.set()
            return False
        if not taken:
            self._link.wait_window(1.0)
            return False
        with self._lock:
            for record in part:
                self._sent_at_s[record.sequence] = now_s
        return True

    def _that_fits(self, waiting: list[Waiting]) -> list[Waiting]:
        room = self._link.max_payload_bytes - SEAL_BYTES - _FRAME_BYTES
        part: list[Waiting] = []
        for record in waiting:
            room -= len(record.body) + 48
            if room < 0 and part:
                break
            part.append(record)
        return part

    def _batch(self, part: list[Waiting]) -> bytes:
        """Write a RecordBatch around records that are JSON already."""
        records = b",".join(b'{"sequence":%d,"record":%s}' % (w.sequence, w.body) for w in part)
        return b'{"kind":"record_batch","version":1,"gateway":"%s","boot":%d,"records":[%s]}' % (
            self._gateway.encode(), self._store.boot, records,
        )  # fmt: skip
