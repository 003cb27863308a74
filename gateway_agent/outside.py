"""This file knows how a running gateway agent looks from outside: alive, ready, its figures, and on which port."""

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway_agent.errors import StoreError
from gateway_agent.federation import LearningMember
from gateway_agent.figures import families
from gateway_agent.judge import Judge
from gateway_agent.meters import Meters
from gateway_agent.settings import GatewaySettings
from gateway_agent.status import Live, alarms_by_state, read_status
from gateway_agent.uplink import Uplink
from gateway_agent.worker import Clocks, IngestWorker
from schemas.link import Connection
from schemas.logs import event, unsaid_lines
from schemas.metrics import Family, memory_bytes
from schemas.settings import ObserveSettings
from schemas.signing import KeyRing

if TYPE_CHECKING:
    from schemas.observe_server import ObserveServer

log = logging.getLogger(__name__)

STUCK_S = 60.0  # one batch that takes longer is a hang: the watchdog is not fed any more


@dataclass(slots=True)
class Outside:
    """What can be seen of an agent; every method may be called from any thread.

    Attributes:
        failed: What has ended a thread, if anything did.
    """

    settings: GatewaySettings
    clocks: Clocks
    keys: KeyRing
    judge: Judge
    worker: IngestWorker
    uplink: Uplink
    links: Mapping[str, Connection]
    meters: Meters
    failed: Callable[[], Exception | None]
    member: LearningMember | None
    _server: "ObserveServer | None" = field(default=None, init=False)

    def live(self) -> Live:
        """What only the running agent knows, as of now."""
        learning = self.member.report() if self.member is not None else None
        return {
            "said_at_us": self.clocks.wall_us(),
            "queue": self.worker.queued,
            "queue_limit": 2 * self.settings.ingest.queue_captures,
            "busy_s": round(self._busy_s(), 3),
            "disk_full": int(self.worker.disk_full),
            "disk_free_bytes": shutil.disk_usage(self.settings.store.folder).free,
            "memory_bytes": memory_bytes(),
            "links": {name: int(link.connected) for name, link in self.links.items()},
            "reconnects": dict.fromkeys(self.links, 0) | self.meters.reconnects(),
            "under_way": self.uplink.under_way,
            "records_acknowledged": self.meters.records_acknowledged,
            "alarms": alarms_by_state(self.judge),
            "learning_tasks": learning.tasks if learning is not None else {},
            "updates_refused": learning.refused if learning is not None else {},
            "log_lines_not_written": unsaid_lines(),
        }

    def alive(self) -> dict[str, str]:
        """Why this process is no good any more; feeds the watchdog. A full disk heals by itself, and is no reason."""
        reasons: dict[str, str] = {}
        failure = self.failed()
        if failure is not None:
            reasons["thread_failed"] = repr(failure)
        busy_s = self._busy_s()
        if busy_s >= STUCK_S and not self.worker.disk_full:
            reasons["worker_stuck"] = f"one batch has taken {busy_s:.0f} s, {STUCK_S:.0f} s allowed"
        return reasons

    def ready(self) -> dict[str, str]:
        """Why captures cannot be taken in and told to the site right now."""
        reasons = {
            f"link_{name}_down": f"broker {self.settings.broker.host}:{self.settings.broker.port} is not connected"
            for name, link in self.links.items()
            if not link.connected
        }
        store = self.settings.store
        free_bytes = shutil.disk_usage(store.folder).free
        if self.worker.disk_full or free_bytes < store.min_free_bytes:
            reasons["disk_full"] = f"{free_bytes} bytes free in {store.folder}; captures wait at the broker"
        if not any(key.role == "site" and key.name == self.settings.site for key in self.keys):
            reasons["no_site_key"] = f"{self.settings.keys_file} has no key of site {self.settings.site}; enrol again"
        return reasons

    def families(self) -> list[Family]:
        """Every metric as of now; without what is durable while the store cannot be read."""
        try:
            status = read_status(self.settings, self.live())
        except StoreError as error:
            event(log, logging.WARNING, "store_not_readable", text=str(error))
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

    def _busy_s(self) -> float:
        since_s = self.worker.busy_since_s
        return 0.0 if since_s is None else max(0.0, self.clocks.monotonic_s() - since_s)
