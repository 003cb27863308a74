"""This file knows what of a round is written down, and writes it before anybody acts on it.

offered -> merged -> released, or void from either of the first two. An update is stored when it comes, so that a
restart in the middle asks only those who have not answered. Deltas go when the round has ended. What waited when the
round opened is its own until then, see `aggregator.learning.waiting`.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from aggregator.database import writing
from aggregator.learning.waiting import LateUpdate, WaitingUpdates
from aggregator.merge.pipeline import MergeOutcome
from aggregator.merge.validate import ReadLater, Rejection, Update, norm
from schemas.site_tables import learning_round, round_update

RoundLevel = Literal["site", "enterprise"]
ASKED_AS = "asked_as"
DELTA = sa.select(round_update.c.delta).where(
    round_update.c.round_id == sa.bindparam("round_id"), round_update.c.member == sa.bindparam("member")
)
RECENT_ROUNDS, RECENT_NORMS = 20, 256  # a quarter of a day; honest norms halve in so many, see robust_rules.md


@dataclass(frozen=True, slots=True)
class Said:
    """What a member says of its losses, on rows it held back."""

    loss_before: float
    loss_after: float
    held_back_rows: int


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A member's update that passed alone, and what it says of its losses."""

    update: Update
    said: Said


@dataclass(frozen=True, slots=True)
class OpenRound:
    """A round that has not ended; one that is `from_buffer` asks nobody to learn, it merges what has waited."""

    round_id: int
    base_version: int
    state: str
    started_at_us: int
    invited: tuple[str, ...]
    for_enterprise: bool
    from_buffer: bool = False


class RoundBook:
    """The rounds of one level in the database.

    Attributes:
        waiting: What came outside a round.
    """

    def __init__(self, engine: Engine, level: RoundLevel, clock_us: Callable[[], int]) -> None:
        self._engine = engine
        self._level = level
        self._clock_us = clock_us
        self.waiting = WaitingUpdates(engine, level, clock_us)

    def open_round(
        self,
        base_version: int,
        invited: Sequence[str],
        *,
        for_enterprise: bool = False,
        from_buffer: bool = False,
        max_staleness: int = 0,
        notes: Mapping[str, Any] | None = None,
    ) -> OpenRound:
        """Write down that members are about to be asked, and take what waits for a merge.

        Args:
            base_version: The release to start from.
            invited: Members to be asked, or of a round `from_buffer` those whose updates are merged.
            for_enterprise: Whether the enterprise asked for it; it takes nothing that waits.
            from_buffer: Whether nobody is asked to learn.
            max_staleness: What waits and is further behind is refused.
            notes: More to remember of the round, as JSON.
        """
        now_us = self._clock_us()
        metrics = {
            "invited": list(invited), "for_enterprise": for_enterprise, "from_buffer": from_buffer, **(notes or {})
        }  # fmt: skip
        with writing(self._engine) as connection:
            result = connection.execute(
                sa.insert(learning_round).values(
                    level=self._level,
                    state="offered",
                    base_version=base_version,
                    started_at_us=now_us,
                    invited=len(invited),
                    metrics=metrics,
                )
            )
            key = result.inserted_primary_key
            assert key is not None
            round_id = int(key[0])
            if not for_enterprise:
                taken = self.waiting.take(connection, round_id, base_version, max_staleness)
                self._set(connection, round_id, add_metrics={"late": taken})
        return OpenRound(round_id, base_version, "offered", now_us, tuple(invited), for_enterprise, from_buffer)

    def unfinished(self) -> list[OpenRound]:
        """Rounds a former life of this process has left open, oldest first."""
        query = sa.select(learning_round).where(
            learning_round.c.level == self._level, learning_round.c.state.in_(("offered", "merged"))
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(learning_round.c.round_id)).mappings().all()
        return [
            OpenRound(
                row["round_id"], row["base_version"], row["state"], row["started_at_us"],
                tuple(row["metrics"].get("invited", ())), bool(row["metrics"].get("for_enterprise", False)),
                bool(row["metrics"].get("from_buffer", False)),
            )
            for row in rows
        ]  # fmt: skip

    def note_answer(self, round_id: int, answer: Answer, size_bytes: int) -> None:
        """Store an update that passed alone; a second one of the same member changes nothing."""
        update = answer.update
        delta = update.delta.astype("<f4")
        self._note(
            round_id, update.member, reason="", weight=update.weight, norm=norm(delta), bytes=size_bytes,
            digest=hashlib.sha256(delta.tobytes()).hexdigest(), delta=delta.tobytes(),
            metrics={"base_version": update.base_version, "staleness": update.staleness, **asdict(answer.said)},
        )  # fmt: skip

    def note_rejection(self, round_id: int, rejection: Rejection, size_bytes: int = 0) -> bool:
        """Store why a member does not take part, unless something of it is stored; what it sent is not kept."""
        return self._note(
            round_id, rejection.member, reason=rejection.reason[:32], bytes=size_bytes,
            metrics={"text": rejection.text[:2000]},
        )  # fmt: skip

    def note_asked(self, round_id: int, asked_as: str) -> None:
        """Write down what members were asked, in a word: the norms of two rounds compare where it is the same."""
        with writing(self._engine) as connection:
            self._set(connection, round_id, add_metrics={ASKED_AS: asked_as})

    def note_carried(self, round_id: int, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Write down by what a round was carried that can fail beside us, and how often it did in the meantime."""
        runs = {name: after["runs"][name] - count for name, count in before["runs"].items()}
        with writing(self._engine) as connection:
            self._set(connection, round_id, add_metrics={"superlink": {"state": after["state"], "runs": runs}})

    def recent_norms(self, before_round: int, asked_as: str) -> list[float]:
        """Norms that the last rounds have merged where the same was asked, newest first.

        Rounds that came to nothing count as rounds: what nobody can reach any more is forgotten after so many.
        """
        c, u = learning_round.c, round_update.c
        rounds = sa.select(c.round_id, c.state, c.metrics).where(c.level == self._level, c.round_id < before_round)
        with self._engine.connect() as connection:
            last = connection.execute(rounds.order_by(c.round_id.desc()).limit(RECENT_ROUNDS))
            alike = [row.round_id for row in last if row.state == "released" and row.metrics.get(ASKED_AS) == asked_as]
            norms = (
                sa.select(u.norm)
                .where(u.round_id.in_(alike), u.accepted, u.norm.is_not(None))
                .order_by(u.round_id.desc(), u.member)
                .limit(RECENT_NORMS)
            )
            return list(connection.execute(norms).scalars())

    def was_invited(self, round_id: int, member: str) -> bool:
        """Whether a member was asked in a round of this level."""
        with self._engine.connect() as connection:
            return member in self._invited(connection, round_id)

    def note_uninvited(self, round_id: int, rejection: Rejection) -> bool:
        """Store that a member answered a round that had not asked it; whether this is new, and such a round known."""
        with self._engine.connect() as connection:
            if not self._invited(connection, round_id):
                return False
        return self.note_rejection(round_id, rejection)

    def _invited(self, connection: Connection, round_id: int) -> tuple[str, ...]:
        mine = (learning_round.c.round_id == round_id) & (learning_round.c.level == self._level)
        metrics = connection.execute(sa.select(learning_round.c.metrics).where(mine)).scalar_one_or_none()
        return () if metrics is None else tuple(metrics.get("invited", ()))

    @staticmethod
    def present(connection: Connection, round_id: int) -> list[str]:
        """Who was there when a round opened, asked or not."""
        mine = learning_round.c.round_id == round_id
        metrics = connection.execute(sa.select(learning_round.c.metrics).where(mine)).scalar_one()
        return list(metrics.get("present") or metrics.get("invited", ()))

    def asked(self, round_id: int, member: str) -> int | None:
        """What a member was given to start from in a round; None when it was not asked, or has answered in time."""
        with self._engine.connect() as connection:
            return self._asked(connection, round_id, member)

    def note_late(self, round_id: int, member: str, answer: Answer | None, reason: str = "late") -> bool:
        """Write that a member did answer, after its round had been decided without it.

        Args:
            round_id: The round it was asked in.
            member: Who.
            answer: What it has learnt, for the next merge; None when that cannot be used.
            reason: Why not; in a word.

        Returns:
            Whether the answer waits for the next merge now.
        """
        mine = (round_update.c.round_id == round_id) & (round_update.c.member == member)
        with writing(self._engine) as connection:
            if self._asked(connection, round_id, member) is None:
                return False
            connection.execute(
                sa.update(round_update).where(mine, round_update.c.reason == "no_reply").values(reason=reason[:32])
            )
            if answer is None:
                return False
            late = LateUpdate(str(round_id), answer.update, asdict(answer.said))
            return self.waiting.add(connection, late, make_room=True) == "stored"

    def _asked(self, connection: Connection, round_id: int, member: str) -> int | None:
        row = connection.execute(
            sa.select(learning_round.c.base_version, learning_round.c.metrics).where(
                learning_round.c.round_id == round_id, learning_round.c.level == self._level
            )
        ).one_or_none()
        if row is None or member not in row.metrics.get("invited", ()) or row.metrics.get("from_buffer"):
            return None
        mine = (round_update.c.round_id == round_id) & (round_update.c.member == member)
        known = connection.execute(sa.select(round_update.c.reason).where(mine)).scalar_one_or_none()
        return row.base_version if known in {None, "no_reply", "late"} else None

    def said(self, round_id: int) -> dict[str, Said]:
        """What the members whose updates are stored have said, by their names."""
        columns = round_update.c.member, round_update.c.metrics
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(*columns).where(self._stored_in(round_id))).all()
        return {row.member: Said(**{one.name: row.metrics[one.name] for one in fields(Said)}) for row in rows}

    def updates(self, round_id: int) -> Sequence[Update]:
        """Updates stored so far, by name of the member; each delta is read from the database when it is asked for."""
        columns = round_update.c.member, round_update.c.weight, round_update.c.metrics
        query = sa.select(*columns).where(self._stored_in(round_id)).order_by(round_update.c.member)
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()

        def read(place: int) -> Update:
            member, weight, metrics = rows[place]
            delta = np.frombuffer(self._delta(round_id, member), "<f4")
            return Update(member, int(metrics["base_version"]), delta, weight, int(metrics["staleness"]))

        return ReadLater(len(rows), read)

    def _delta(self, round_id: int, member: str) -> bytes:
        with self._engine.connect() as connection:
            found: bytes = connection.execute(DELTA, {"round_id": round_id, "member": member}).scalar_one()
        return found

    @staticmethod
    def _stored_in(round_id: int) -> sa.ColumnElement[bool]:
        return (round_update.c.round_id == round_id) & round_update.c.delta.is_not(None)

    def answered(self, round_id: int) -> set[str]:
        """Members whose answer, good or bad, is stored."""
        query = sa.select(round_update.c.member).where(round_update.c.round_id == round_id)
        with self._engine.connect() as connection:
            return set(connection.execute(query).scalars())

    def note_merge(
        self,
        round_id: int,
        outcome: MergeOutcome,
        digest: str,
        metrics: Mapping[str, float],
        useful: Mapping[str, float] | None = None,
    ) -> None:
        """Write down what the merge has come to, before anything is done with it; `useful`: members' contributions."""
        with writing(self._engine) as connection:
            for member, rejection in outcome.rejected.items():
                self._judge(connection, round_id, member, accepted=False, weight=0.0, reason=rejection.reason)
                self._add_metrics(connection, round_id, member, {"text": rejection.text[:2000]})
            for member, weight in outcome.accepted.items():
                self._judge(
                    connection,
                    round_id,
                    member,
                    accepted=True,
                    weight=weight,
                    reason="",
                    norm=outcome.norms.get(member),
                )
            for member, contribution in (useful or {}).items():
                self._add_metrics(connection, round_id, member, {"contribution": round(contribution, 4)})
            self._set(
                connection, round_id, state="merged", rule=outcome.rule_used, digest=digest,
                accepted=len(outcome.accepted), text="; ".join(outcome.notes), add_metrics=metrics,
            )  # fmt: skip

    def note_void(
        self, round_id: int, text: str, metrics: Mapping[str, float] | None = None, *, worse: bool = False
    ) -> None:
        """End a round without a release; what it had taken waits on, unless members were worse off with it."""
        with writing(self._engine) as connection:
            self._end(connection, round_id, state="void", text=text, add_metrics=metrics or {})
            if worse:
                self.waiting.give_up(connection, round_id, "worse")
            else:
                self.waiting.give_back(connection, round_id)

    def note_release(
        self, connection: Connection, round_id: int, release_version: int, metrics: Mapping[str, float]
    ) -> None:
        """End a round with a release, in the transaction that publishes it."""
        self._end(connection, round_id, state="released", release_version=release_version, add_metrics=metrics)
        self.waiting.end(connection, round_id)

    def note_traffic(self, round_id: int, *, bytes_down: int, bytes_up: int) -> None:
        """Write down what the round has cost."""
        with writing(self._engine) as connection:
            connection.execute(
                sa.update(learning_round)
                .where(learning_round.c.round_id == round_id)
                .values(
                    bytes_down=learning_round.c.bytes_down + bytes_down, bytes_up=learning_round.c.bytes_up + bytes_up
                )
            )

    def _note(self, round_id: int, member: str, **values: Any) -> bool:
        with writing(self._engine) as connection:
            mine = (round_update.c.round_id == round_id) & (round_update.c.member == member)
            if connection.execute(sa.select(round_update.c.member).where(mine)).first() is not None:
                return False
            row = {"accepted": False, "received_at_us": self._clock_us(), **values}
            connection.execute(sa.insert(round_update).values(round_id=round_id, member=member, **row))
        return True

    def _judge(self, connection: Connection, round_id: int, member: str, **values: Any) -> None:
        mine = (round_update.c.round_id == round_id) & (round_update.c.member == member)
        if not connection.execute(sa.update(round_update).where(mine).values(**values)).rowcount:
            row = {"received_at_us": self._clock_us(), "metrics": {"late": True}, **values}
            connection.execute(sa.insert(round_update).values(round_id=round_id, member=member, **row))

    @staticmethod
    def _add_metrics(connection: Connection, round_id: int, member: str, more: Mapping[str, Any]) -> None:
        mine = (round_update.c.round_id == round_id) & (round_update.c.member == member)
        metrics = connection.execute(sa.select(round_update.c.metrics).where(mine)).scalar_one()
        connection.execute(sa.update(round_update).where(mine).values(metrics={**metrics, **more}))

    def _end(self, connection: Connection, round_id: int, **values: Any) -> None:
        row = connection.execute(
            sa.select(learning_round.c.metrics).where(learning_round.c.round_id == round_id)
        ).scalar_one()
        known = connection.execute(
            sa.select(round_update.c.member).where(round_update.c.round_id == round_id)
        ).scalars()
        late = self.waiting.members_with(connection, str(round_id))
        for member in sorted(set(row.get("invited", ())) - set(known)):
            connection.execute(
                sa.insert(round_update).values(
                    round_id=round_id,
                    member=member,
                    received_at_us=self._clock_us(),
                    accepted=False,
                    reason="late" if member in late else "no_reply",
                    metrics={},
                )
            )
        mine = round_update.c.round_id == round_id
        connection.execute(sa.update(round_update).where(mine).values(delta=None))
        accepted = connection.execute(
            sa.select(sa.func.count()).select_from(round_update).where(mine, round_update.c.accepted)
        ).scalar_one()
        total = connection.execute(sa.select(sa.func.count()).select_from(round_update).where(mine)).scalar_one()
        self._set(
            connection, round_id, ended_at_us=self._clock_us(), accepted=accepted, rejected=total - accepted, **values
        )

    @staticmethod
    def _set(connection: Connection, round_id: int, *, add_metrics: Mapping[str, Any], **values: Any) -> None:
        mine = learning_round.c.round_id == round_id
        metrics = connection.execute(sa.select(learning_round.c.metrics).where(mine)).scalar_one()
        connection.execute(sa.update(learning_round).where(mine).values(metrics={**metrics, **add_metrics}, **values))
