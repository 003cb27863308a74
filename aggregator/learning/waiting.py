"""This file knows the updates that wait for a merge: gateways' late answers at a site, sites' offers at an enterprise.

waiting -> taken, with the round that opens -> merged, with its release; or refused, with a reason. A row changes in
the transaction of the round it belongs to, so it is merged once, whatever is killed in between.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from aggregator.learning.bases import OTHER_MODEL, graphs_of
from aggregator.learning.offers import MOST_ROUNDS
from aggregator.merge.staleness import staleness_share
from aggregator.merge.validate import Update
from schemas.site_tables import round_update, waiting_update

KEPT_WAITING = 256  # of all members together; 50,000 parameters make 50 MB of it
KEPT_DONE = 1000  # without their parameters: to know one that comes again

Level = Literal["site", "enterprise"]
Stored = Literal["stored", "known", "full"]


@dataclass(frozen=True, slots=True, eq=False)
class LateUpdate:
    """An update that came outside a round, judged alone; `key` is the same however often it comes."""

    key: str
    update: Update
    detail: Mapping[str, Any]


class WaitingUpdates:
    """The waiting updates of one level in the database."""

    def __init__(
        self, engine: Engine, level: Level, clock_us: Callable[[], int], *, kept_waiting: int = KEPT_WAITING
    ) -> None:
        self._engine = engine
        self._level = level
        self._clock_us = clock_us
        self._kept_waiting = kept_waiting

    def add(self, connection: Connection, late: LateUpdate, *, make_room: bool) -> Stored:
        """Store one, in the caller's transaction.

        When full: with `make_room` the one learnt from the oldest release is refused in its place (nobody would send
        this one again); without, nothing is stored, and its sender keeps it.
        """
        if self._known(connection, late.update.member, late.key):
            return "known"
        if self._waiting_count(connection) >= self._kept_waiting:
            if not make_room:
                return "full"
            self._refuse(connection, self._oldest(connection), "no_room")
        delta = np.ascontiguousarray(late.update.delta, "<f4").tobytes()
        self._insert(
            connection, late.update.member, late.key, base_version=late.update.base_version,
            weight=late.update.weight, state="waiting", reason="", digest=hashlib.sha256(delta).hexdigest(),
            delta=delta, metrics=dict(late.detail),
        )  # fmt: skip
        return "stored"

    def note_refused(self, connection: Connection, member: str, key: str, reason: str) -> None:
        """Remember that one was refused, so that it is refused again; what it held is not kept."""
        self._insert(
            connection, member, key, base_version=0, weight=0.0, state="refused", reason=reason[:32], digest="",
            delta=None, metrics={},
        )  # fmt: skip
        self._forget_old(connection)

    def fate(self, connection: Connection, member: str, key: str) -> tuple[str, str] | None:
        """State and reason of one; None when it was never seen, or long ago."""
        query = sa.select(waiting_update.c.state, waiting_update.c.reason).where(self._one(member, key))
        row = connection.execute(query).one_or_none()
        return None if row is None else (row.state, row.reason)

    def take(
        self, connection: Connection, round_id: int, base_version: int, max_staleness: int
    ) -> list[dict[str, Any]]:
        """Give all that wait to a round that opens, but for those too far behind, or of another network: refused.

        Returns:
            What is taken, for the round's own record: member, key, staleness and the share that counts.
        """
        waits = self._in_state("waiting")
        rows = connection.execute(
            sa.select(
                waiting_update.c.update_id, waiting_update.c.member, waiting_update.c.key, waiting_update.c.base_version
            )
            .where(waits)
            .order_by(waiting_update.c.update_id)
        ).all()
        taken = []
        graphs = graphs_of(connection, (base_version, *(row.base_version for row in rows)))
        wanted = graphs.get(base_version)
        for row in rows:
            behind = base_version - row.base_version
            mine = waiting_update.c.update_id == row.update_id
            if graphs.get(row.base_version, wanted) != wanted:
                self._refuse(connection, mine, OTHER_MODEL)
                continue
            if not 0 <= behind <= max_staleness:
                self._refuse(connection, mine, "too_stale")
                continue
            connection.execute(sa.update(waiting_update).where(mine).values(state="taken", round_id=round_id))
            share = round(staleness_share(behind), 4)
            taken.append({"member": row.member, "key": row.key, "staleness": behind, "share": share})
        return taken

    def of_round(self, round_id: int) -> list[Update]:
        """What a round has taken, in the order it came."""
        query = sa.select(waiting_update).where(self._taken_by(round_id)).order_by(waiting_update.c.update_id)
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            Update(
                row["member"], row["base_version"], np.frombuffer(row["delta"], "<f4"), row["weight"],
                rounds=min(int(row["metrics"].get("rounds", 1)), MOST_ROUNDS),
            )
            for row in rows
        ]  # fmt: skip

    def end(self, connection: Connection, round_id: int) -> None:
        """What the round has taken is merged, or was refused beside the others."""
        judged = connection.execute(
            sa.select(round_update.c.member, round_update.c.accepted, round_update.c.reason).where(
                round_update.c.round_id == round_id
            )
        ).all()
        mine = self._taken_by(round_id)
        for row in judged:
            if not row.accepted:
                self._refuse(connection, mine & (waiting_update.c.member == row.member), row.reason or "not_merged")
        connection.execute(sa.update(waiting_update).where(mine).values(state="merged", delta=None))
        self._forget_old(connection)

    def give_back(self, connection: Connection, round_id: int) -> None:
        """The round came to nothing through no fault of theirs: they wait for the next."""
        connection.execute(
            sa.update(waiting_update).where(self._taken_by(round_id)).values(state="waiting", round_id=None)
        )

    def give_up(self, connection: Connection, round_id: int, reason: str) -> None:
        """The round was judged bad with them in it: they would spoil the next as well."""
        self._refuse(connection, self._taken_by(round_id), reason)

    def waiting_members(self) -> dict[str, int]:
        """Who has something waiting, and when the oldest of it came, in microseconds since 1970 UTC."""
        query = (
            sa.select(waiting_update.c.member, sa.func.min(waiting_update.c.received_at_us).label("oldest_us"))
            .where(self._in_state("waiting"))
            .group_by(waiting_update.c.member)
        )
        with self._engine.connect() as connection:
            return {row.member: row.oldest_us for row in connection.execute(query)}

    def members_with(self, connection: Connection, key: str) -> set[str]:
        """Members of whom one with this key is known."""
        mine = (waiting_update.c.level == self._level) & (waiting_update.c.key == key)
        return set(connection.execute(sa.select(waiting_update.c.member).where(mine)).scalars())

    def _known(self, connection: Connection, member: str, key: str) -> bool:
        return self.fate(connection, member, key) is not None

    def _insert(self, connection: Connection, member: str, key: str, **values: Any) -> None:
        row = {"level": self._level, "member": member, "key": key, "received_at_us": self._clock_us(), **values}
        connection.execute(sa.insert(waiting_update).values(row))

    @staticmethod
    def _refuse(connection: Connection, which: sa.ColumnElement[bool], reason: str) -> None:
        values = {"state": "refused", "reason": reason[:32], "delta": None}
        connection.execute(sa.update(waiting_update).where(which).values(values))

    def _waiting_count(self, connection: Connection) -> int:
        query = sa.select(sa.func.count()).select_from(waiting_update)
        held = self._in_state("waiting") | self._in_state("taken")
        return connection.execute(query.where(held)).scalar_one()

    def _oldest(self, connection: Connection) -> sa.ColumnElement[bool]:
        query = sa.select(waiting_update.c.update_id).where(self._in_state("waiting"))
        first = query.order_by(waiting_update.c.base_version, waiting_update.c.update_id).limit(1)
        return waiting_update.c.update_id == connection.execute(first).scalar()

    def _forget_old(self, connection: Connection) -> None:
        done = waiting_update.c.state.in_(("merged", "refused")) & (waiting_update.c.level == self._level)
        newest = sa.select(waiting_update.c.update_id).where(done).order_by(waiting_update.c.update_id.desc())
        last_kept = connection.execute(newest.offset(KEPT_DONE - 1).limit(1)).scalar()
        if last_kept is not None:
            connection.execute(sa.delete(waiting_update).where(done, waiting_update.c.update_id < last_kept))

    def _in_state(self, state: str) -> sa.ColumnElement[bool]:
        return (waiting_update.c.level == self._level) & (waiting_update.c.state == state)

    def _taken_by(self, round_id: int) -> sa.ColumnElement[bool]:
        return self._in_state("taken") & (waiting_update.c.round_id == round_id)

    def _one(self, member: str, key: str) -> sa.ColumnElement[bool]:
        is_it = (waiting_update.c.member == member) & (waiting_update.c.key == key)
        return (waiting_update.c.level == self._level) & is_it
