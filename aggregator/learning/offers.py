"""This file knows what a site has to offer its enterprise: durable from the site's release until it is acknowledged.

A round's delta is written with the release it makes. Rounds that go on from there are added to an offer that was not
sent yet: while the enterprise is away its site needs no more room, and one message says it all afterwards.
"""

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection, Engine

from aggregator.database import writing
from schemas.learning_task import TrainingReply
from schemas.offer import Acknowledgement, Offer
from schemas.site_tables import site_offer

MOST_ROUNDS = 8  # in one offer; its way may be so many times as long, and no longer, beside the other sites'
KEPT_WAITING = 8  # offers: 64 rounds of a quarter of an hour; then the oldest is given up, and says so
KEPT_DONE = 100  # without their parameters, to look at


@dataclass(frozen=True, slots=True, eq=False)
class SiteRound:
    """What one round of the site has come to, on the release `from_version`, as the release `made_version`."""

    round_id: int
    from_version: int
    made_version: int
    base_version: int
    base_digest: str
    delta: NDArray[np.float32]
    weight: float
    metrics: Mapping[str, float]


class Offers:
    """The offers of one site in its database."""

    def __init__(self, engine: Engine, site: str, clock_us: Callable[[], int]) -> None:
        self._engine = engine
        self._site = site
        self._clock_us = clock_us
        self._changed = threading.Condition()
        self._count = 0

    def add(self, connection: Connection, made: SiteRound) -> None:
        """Offer what a round has changed, in the transaction that releases it; `wake` comes after the commit."""
        last, metrics = self._last_unsent(connection), {**made.metrics, "made_version": made.made_version}
        fits = (
            last is not None
            and (last.base_version, last.base_digest) == (made.base_version, made.base_digest)
            and last.metrics["made_version"] == made.from_version
            and last.rounds < MOST_ROUNDS
        )
        if fits:
            assert last is not None
            delta = np.frombuffer(last.delta, "<f4") + made.delta
            values = {
                "last_round": made.round_id, "rounds": last.rounds + 1, "delta": delta.astype("<f4").tobytes(),
                "weight": max(last.weight, made.weight),  # the same gateways' rows, not as many again
                "metrics": {**metrics, "loss_before": last.metrics["loss_before"]},
            }  # fmt: skip
            mine = site_offer.c.offer_id == last.offer_id
            connection.execute(sa.update(site_offer).where(mine).values(values))
            return
        connection.execute(
            sa.insert(site_offer).values(
                key="", state="waiting", first_round=made.round_id, last_round=made.round_id, rounds=1,
                base_version=made.base_version, base_digest=made.base_digest, made_at_us=self._clock_us(),
                weight=made.weight, delta=made.delta.astype("<f4").tobytes(), metrics=metrics, text="",
            )
        )  # fmt: skip
        self._give_up_oldest(connection)

    def wake(self) -> None:
        """There may be something new to send."""
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    @property
    def changes(self) -> int:
        """Counts what `wake` has announced."""
        with self._changed:
            return self._count

    def wait_change(self, since: int, timeout_s: float) -> None:
        """Return when something has changed since `changes` was that, or after a while."""
        with self._changed:
            self._changed.wait_for(lambda: self._count != since, timeout_s)

    def next(self) -> Offer | None:
        """The oldest that was not acknowledged, with its name for ever; nothing is added to it from now on."""
        with writing(self._engine) as connection:
            waits = sa.select(site_offer).where(site_offer.c.state == "waiting").order_by(site_offer.c.offer_id)
            row = connection.execute(waits.limit(1)).one_or_none()
            if row is None:
                return None
            key = row.key or self._name(row)
            if not row.key:
                connection.execute(
                    sa.update(site_offer).where(site_offer.c.offer_id == row.offer_id).values(key=key)
                )  # fmt: skip
        learnt = TrainingReply(
            base_version=row.base_version, delta=np.frombuffer(row.delta, "<f4"), weight=row.weight,
            loss_before=row.metrics["loss_before"], loss_after=row.metrics["loss_after"],
            held_back_rows=int(row.metrics["held_back_rows"]),
        )  # fmt: skip
        return Offer(key, row.base_digest, row.first_round, row.last_round, row.rounds, learnt)

    def close(self, said: Acknowledgement) -> bool:
        """Take what the enterprise says became of an offer; tell whether that was still open."""
        with writing(self._engine) as connection:
            mine = (site_offer.c.key == said.key) & (site_offer.c.state == "waiting")
            changed = connection.execute(
                sa.update(site_offer).where(mine).values(state=said.fate, text=said.text[:2000], delta=None)
            ).rowcount
            done = sa.select(site_offer.c.offer_id).where(site_offer.c.state != "waiting")
            newest = done.order_by(site_offer.c.offer_id.desc()).offset(KEPT_DONE - 1).limit(1)
            last_kept = connection.execute(newest).scalar()
            if last_kept is not None:
                old = (site_offer.c.state != "waiting") & (site_offer.c.offer_id < last_kept)
                connection.execute(sa.delete(site_offer).where(old))
        self.wake()
        return bool(changed)

    def _last_unsent(self, connection: Connection) -> sa.Row[Any] | None:
        unsent = (site_offer.c.state == "waiting") & (site_offer.c.key == "")
        query = sa.select(site_offer).where(unsent).order_by(site_offer.c.offer_id.desc())
        return connection.execute(query.limit(1)).one_or_none()

    def _give_up_oldest(self, connection: Connection) -> None:
        waits = sa.select(site_offer.c.offer_id).where(site_offer.c.state == "waiting")
        waiting = connection.execute(waits.order_by(site_offer.c.offer_id)).scalars().all()
        for offer_id in waiting[:-KEPT_WAITING]:
            text = f"{KEPT_WAITING} newer offers wait for the enterprise; this one had to make room"
            connection.execute(
                sa.update(site_offer)
                .where(site_offer.c.offer_id == offer_id)
                .values(state="given_up", text=text, delta=None)
            )

    def _name(self, row: sa.Row[Any]) -> str:
        """Another for each offer, also of a site that has lost its database and counts from 1 again."""
        said = f"{self._site}|{row.base_digest}|{row.first_round}|{row.last_round}|{row.made_at_us}|"
        return hashlib.sha256(said.encode() + row.delta).hexdigest()
