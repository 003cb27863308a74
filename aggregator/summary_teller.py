"""This file knows how a site tells its enterprise how its plant stands: signed, counted in the ledger, every so often.

Over a connection of its own: learning and summaries do not wait for each other. What could not be handed to the
broker is not kept: the next one says the newest.
"""

import logging
from collections.abc import Callable

from sqlalchemy.engine import Engine

from aggregator.learning.ledger import FenceLedger
from aggregator.settings import UplinkSettings
from aggregator.site_summary import summarise
from schemas.link import Link
from schemas.logs import event
from schemas.messages import encode
from schemas.signing import Signer
from schemas.topics import SITE_SUMMARY

log = logging.getLogger(__name__)


class SummaryTeller:
    """Tells; `step` is one look whether it is time."""

    def __init__(
        self, engine: Engine, settings: UplinkSettings, site: str, *, signer: Signer, now_us: Callable[[], int],
        now_s: Callable[[], float],
    ) -> None:  # fmt: skip
        self._engine = engine
        self._settings = settings
        self._site = site
        self._signer = signer
        self._now_us = now_us
        self._now_s = now_s
        self._due_s = now_s()
        self._ledger = FenceLedger(engine, now_us)
        self.link = Link(settings.broker, f"{site}-summary", persistent=False)

    def step(self) -> None:
        """Tell the newest counts, where it is time and the enterprise's broker is there."""
        if self._now_s() < self._due_s or not self.link.connected:
            return
        topic = SITE_SUMMARY.path(site=self._settings.enterprise, member=self._site)
        with self._engine.connect() as connection:
            summary = summarise(
                connection, self._site, now_us=self._now_us(), interval_s=self._settings.summary_interval_s,
                name_machines=self._settings.summary_names_machines,
            )  # fmt: skip
        sealed = self._signer.seal(topic, encode(summary))
        if not self.link.publish(topic, sealed):
            return
        self._due_s = self._now_s() + self._settings.summary_interval_s
        self._ledger.count(SITE_SUMMARY, len(sealed))
        self._ledger.flush()
        event(log, logging.DEBUG, "summary_told", bytes=len(sealed), machines=summary.machines)
