"""This file knows how what waits in the outbox reaches people and programs: once as far as they can tell, in bounds.

    waiting ──due──▶ sending ──taken──▶ sent                    a crash while sending: waiting again, same key
       ▲                │ not taken: back-off
       └────────────────┤
                        └──too long──▶ dead                     acknowledged or over meanwhile: dropped
    waiting, many at once ──▶ merged, and one summary waits instead

"Sending" is committed before the attempt and "sent" after it. A process killed between the two cannot know whether
the receiver has it: it tells again, with the same key, by which the receiver can.
"""

import logging
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, Row

from aggregator.database import writing
from aggregator.notice_outbox import CASE_KINDS, queue
from aggregator.notice_senders import tell_people, tell_program
from aggregator.notice_texts import Told, Voice
from aggregator.settings import NotificationSettings
from schemas.logs import event
from schemas.site_tables import delivery, machine, machine_case, notice_channel

log = logging.getLogger(__name__)

AT_ONCE = 500  # rows looked at in one step
SENT_A_STEP = 20  # a slow channel must not keep shelves from ending
KEPT_DEAD = 200
PRUNE_EVERY_S = 3600.0
_WEIGHT = {"danger": 3, "alert": 2, "notice": 1}
_LIMITED = (*CASE_KINDS, "summary")
_UNDONE = ("waiting", "sending")  # nobody else sends: what is "sending" when we look was interrupted


class Notifier:
    """Works off the table `delivery`; `step` is one look at it."""

    def __init__(
        self, engine: Engine, settings: NotificationSettings, *, plant: str, now_us: Callable[[], int]
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._now_us = now_us
        self._people = {channel.name: channel for channel in settings.channels}
        self._programs = {webhook.name: webhook for webhook in settings.webhooks}
        self._voice = Voice(plant, settings.language, settings.zone, settings.dashboard_address)
        self._started = False
        self._closed_until_us: dict[str, int] = {}
        self._pruned_us = 0

    def step(self) -> None:
        """Tell what is due."""
        if not self._started:
            self._start()
        now_us = self._now_us()
        if now_us - self._pruned_us > PRUNE_EVERY_S * 1e6:
            self._prune(now_us)
            self._pruned_us = now_us
        chosen: list[Row[Any]] = []
        waiting = (
            sa.select(delivery)
            .where(delivery.c.state.in_(_UNDONE), delivery.c.due_at_us <= now_us)
            .order_by(delivery.c.due_at_us, delivery.c.delivery_id)
            .limit(AT_ONCE)
        )
        with self._engine.connect() as connection:
            if connection.execute(waiting).first() is None:
                return  # nobody else is kept from writing, once a second, for nothing
        with writing(self._engine) as connection:
            due = connection.execute(waiting).all()
            for channel, rows in groupby(sorted(due, key=lambda row: row.channel), key=lambda row: row.channel):
                chosen += self._choose(connection, channel, list(rows), now_us)
        for row in chosen[:SENT_A_STEP]:
            if self._closed_until_us.get(row.channel, 0) <= now_us:
                self._send(row)

    def _start(self) -> None:
        """Make the channels of the settings known."""
        kinds = dict.fromkeys(self._people, "message") | dict.fromkeys(self._programs, "webhook")
        with writing(self._engine) as connection:
            known = set(connection.execute(sa.select(notice_channel.c.channel)).scalars())
            for name, kind in kinds.items():
                if name in known:
                    connection.execute(
                        sa.update(notice_channel).where(notice_channel.c.channel == name).values(kind=kind)
                    )
                else:
                    connection.execute(sa.insert(notice_channel).values(channel=name, kind=kind, problem="", dropped=0))
            connection.execute(sa.delete(notice_channel).where(notice_channel.c.channel.not_in(list(kinds))))
        self._started = True

    def _choose(self, connection: Connection, channel: str, rows: list[Row[Any]], now_us: int) -> list[Row[Any]]:
        """What of a channel's due rows is sent now; many become one."""
        if channel not in self._people and channel not in self._programs:
            text = f"no channel {channel!r} in the aggregator's settings"
            _finish(connection, [row.delivery_id for row in rows], "dead", now_us, text)
            return []
        if self._closed_until_us.get(channel, 0) > now_us:
            return []
        interrupted = [row for row in rows if row.state == "sending"]  # by its own key again, in no summary
        free = interrupted + [row for row in rows if row.kind not in _LIMITED and row not in interrupted]
        wanted = [row for row in rows if row.kind in _LIMITED and row not in interrupted]
        wanted = self._still_wanted(connection, wanted, now_us)
        wanted.sort(key=lambda row: (-_WEIGHT.get(row.priority, 0), row.delivery_id))
        told = connection.execute(
            sa.select(sa.func.count()).where(
                delivery.c.channel == channel,
                delivery.c.done_at_us > now_us - int(self._settings.within_s * 1e6),
                delivery.c.state == "sent",
                delivery.c.kind.in_(_LIMITED),
            )
        ).scalar_one()
        # The last place is kept for a danger, which must not wait behind the rest.
        kept = 0 if wanted and wanted[0].priority == "danger" else 1
        places = self._settings.at_most - told - len(interrupted) - kept
        if len(wanted) <= places:
            return wanted + free
        if places < 1:
            return free
        return [self._merge(connection, channel, wanted, now_us), *free]

    def _still_wanted(self, connection: Connection, rows: Sequence[Row[Any]], now_us: int) -> list[Row[Any]]:
        numbers = {row.case_id for row in rows if row.case_id is not None}
        cases = {
            row.case_id: row
            for row in connection.execute(
                sa.select(machine_case.c.case_id, machine_case.c.state, machine_case.c.shelved_until_us).where(
                    machine_case.c.case_id.in_(numbers)
                )
            )
        }
        wanted = []
        for row in rows:
            case = cases.get(row.case_id)
            if row.kind != "summary" and (case is None or case.state == "closed"):
                _finish(connection, [row.delivery_id], "dropped", now_us, "the case was over before it was told")
            elif row.payload.get("after_min") and case is not None and (case.state != "open" or case.shelved_until_us):
                _finish(connection, [row.delivery_id], "dropped", now_us, "acknowledged in time")
            else:
                wanted.append(row)
        return wanted

    def _merge(self, connection: Connection, channel: str, rows: Sequence[Row[Any]], now_us: int) -> Row[Any]:
        numbers: list[int] = []
        for row in rows:
            numbers += row.payload["deliveries"] if row.kind == "summary" else [row.delivery_id]
        lost = connection.execute(
            sa.select(notice_channel.c.dropped).where(notice_channel.c.channel == channel)
        ).scalar_one_or_none()
        told_of = connection.execute(
            sa.select(sa.func.max(delivery.c.delivery_id)).where(
                delivery.c.channel == channel, delivery.c.kind == "summary"
            )
        ).scalar_one_or_none()
        before = 0
        if told_of is not None:
            payload = connection.execute(
                sa.select(delivery.c.payload).where(delivery.c.delivery_id == told_of)
            ).scalar_one()
            before = int(payload.get("lost_ever", 0))
        payload = {"deliveries": numbers, "lost": max(0, (lost or 0) - before), "lost_ever": lost or 0}
        # Merged ones make room before the summary asks for its place.
        _finish(connection, [row.delivery_id for row in rows], "merged", now_us, "told in a summary")
        key = queue(connection, channel, "summary", rows[0].priority, payload, due_at_us=now_us, now_us=now_us)
        assert key is not None
        return connection.execute(sa.select(delivery).where(delivery.c.key == key)).one()

    def _send(self, row: Row[Any]) -> None:
        with writing(self._engine) as connection:
            connection.execute(
                sa.update(delivery)
                .where(delivery.c.delivery_id == row.delivery_id)
                .values(state="sending", attempts=row.attempts + 1)
            )
            told = self._told(connection, row)
        problem = self._tell(row, told)
        now_us = self._now_us()
        with writing(self._engine) as connection:
            if not problem:
                _finish(connection, [row.delivery_id], "sent", now_us, "")
                values: dict[str, Any] = {"delivered_at_us": now_us, "problem": "", "problem_at_us": None}
            else:
                self._put_back(connection, row, problem, now_us)
                values = {"problem": problem, "problem_at_us": now_us}
            connection.execute(
                sa.update(notice_channel).where(notice_channel.c.channel == row.channel).values(**values)
            )
        event(log, logging.WARNING if problem else logging.INFO, "notice", channel=row.channel, kind=row.kind,
              key=row.key, attempt=row.attempts + 1, delivered=not problem, problem=problem)  # fmt: skip

    def _put_back(self, connection: Connection, row: Row[Any], problem: str, now_us: int) -> None:
        settings = self._settings
        if now_us - row.created_at_us > settings.give_up_after_s * 1e6:
            _finish(connection, [row.delivery_id], "dead", now_us, problem)
            return
        wait_s = min(settings.retry_longest_s, settings.retry_s * 2.0 ** min(row.attempts, 30))
        # A quarter of it depends on the key: what failed together does not come back together.
        wait_s *= 1.0 - 0.25 * int(row.key[:4], 16) / 0xFFFF
        due_at_us = now_us + int(wait_s * 1e6)
        connection.execute(
            sa.update(delivery)
            .where(delivery.c.delivery_id == row.delivery_id)
            .values(state="waiting", due_at_us=due_at_us, text=problem)
        )
        self._closed_until_us[row.channel] = now_us + int(min(wait_s, settings.retry_s) * 1e6)

    def _told(self, connection: Connection, row: Row[Any]) -> list[Told]:
        """What a row is about, as the database knows it now."""
        if row.kind not in _LIMITED:
            return []
        rows = [row]
        if row.kind == "summary":
            rows = list(
                connection.execute(
                    sa.select(delivery).where(delivery.c.delivery_id.in_(row.payload["deliveries"][:AT_ONCE]))
                ).all()
            )
        titles = {
            found.machine: found.title
            for found in connection.execute(
                sa.select(machine.c.machine, machine.c.title).where(
                    machine.c.machine.in_({one.machine for one in rows})
                )
            )
        }
        causes = {
            case_id: diagnosis[0]["label"] if diagnosis else ""
            for case_id, diagnosis in connection.execute(
                sa.select(machine_case.c.case_id, machine_case.c.diagnosis).where(
                    machine_case.c.case_id.in_({one.case_id for one in rows})
                )
            )
        }
        told = [
            Told(
                kind=one.kind, priority=one.priority, machine=one.machine, title=titles.get(one.machine, ""),
                case_id=one.case_id, cause=causes.get(one.case_id, ""), at_us=one.payload["at_us"],
                after_min=one.payload.get("after_min", 0),
            )
            for one in rows
        ]  # fmt: skip
        return sorted(told, key=lambda one: (-_WEIGHT.get(one.priority, 0), one.case_id))

    def _tell(self, row: Row[Any], told: list[Told]) -> str:
        title, body = self._words(row, told)
        timeout_s = self._settings.timeout_s
        person = self._people.get(row.channel)
        if person is not None:
            return tell_people(person, title, body, timeout_s=timeout_s)
        content = {"event": row.kind, "plant": self._voice.plant, "key": row.key, "priority": row.priority}
        if row.kind == "work_order":
            content |= {"order": row.payload}
        else:
            content |= {"title": title, "text": body, "cases": [
                {"case_id": one.case_id, "machine": one.machine, "priority": one.priority, "cause": one.cause}
                for one in told
            ]}  # fmt: skip
        return tell_program(
            self._programs[row.channel], content, key=row.key, timestamp_s=self._now_us() // 1_000_000,
            timeout_s=timeout_s,
        )  # fmt: skip

    def _words(self, row: Row[Any], told: list[Told]) -> tuple[str, str]:
        if row.kind == "summary":
            return self._voice.summary(told, row.payload["lost"], row.key)
        if row.kind in CASE_KINDS:
            return self._voice.notice(told[0], row.key)
        return self._voice.test(row.channel, str(row.payload.get("actor", "")), row.created_at_us, row.key)

    def _prune(self, now_us: int) -> None:
        oldest_us = now_us - int(self._settings.keep_days * 86_400e6)
        with writing(self._engine) as connection:
            connection.execute(sa.delete(delivery).where(delivery.c.done_at_us < oldest_us))
            kept = (
                sa.select(delivery.c.delivery_id)
                .where(delivery.c.state == "dead")
                .order_by(delivery.c.delivery_id.desc())
                .limit(KEPT_DEAD)
            )
            connection.execute(
                sa.delete(delivery).where(delivery.c.state == "dead", delivery.c.delivery_id.not_in(kept))
            )


def _finish(connection: Connection, numbers: Sequence[int], state: str, now_us: int, text: str) -> None:
    connection.execute(
        sa.update(delivery).where(delivery.c.delivery_id.in_(numbers)).values(state=state, done_at_us=now_us, text=text)
    )
