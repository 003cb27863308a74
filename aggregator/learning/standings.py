"""This file knows where the state of the choice is kept: in the database, a row a member, for the next round."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from aggregator.database import writing
from aggregator.learning.selection import Standing, after_round
from aggregator.learning.waiting import Level
from schemas.member_condition import MemberCondition
from schemas.site_tables import gateway, machine, member_standing, point

KEPT_MEMBERS = 10_000  # as many as may be invited; of more, those not heard of for longest are forgotten
UNKNOWN_TYPE = "unknown"
BACKLOG_S = 600.0  # records that have waited so long for their link make it count half


class Standings:
    """What is remembered of the members of one level."""

    def __init__(self, engine: Engine, level: Level, clock_us: Callable[[], int]) -> None:
        self._engine = engine
        self._level = level
        self._clock_us = clock_us

    def of(self, members: Sequence[str]) -> dict[str, Standing]:
        """Standing of each, with its machines' type as it is now; a new one has nothing against it.

        What a member says of power, load and rows is of its last answer; link and fresh data are as seen from here.
        """
        with self._engine.connect() as connection:
            seen = conditions_seen(connection, members, self._clock_us())
            return {
                member: replace(one, condition=_both(one.condition, seen.get(member, MemberCondition())))
                for member, one in self._of(connection, members).items()
            }

    def note_condition(self, member: str, condition: MemberCondition) -> None:
        """Remember what a member says of itself."""
        if condition == MemberCondition():
            return
        with writing(self._engine) as connection:
            self._write(connection, {member: self._of(connection, [member])[member]}, condition)

    def note_round(
        self, connection: Connection, present: Sequence[str], asked: Sequence[str], contributed: Mapping[str, float]
    ) -> None:
        """Remember how a round went, in the transaction that ends it; see `selection.after_round`."""
        self._write(connection, after_round(self._of(connection, present), asked, contributed))
        mine = member_standing.c.level == self._level
        newest = sa.select(member_standing.c.at_us).where(mine).order_by(member_standing.c.at_us.desc())
        last_kept = connection.execute(newest.offset(KEPT_MEMBERS - 1).limit(1)).scalar()
        if last_kept is not None:
            connection.execute(sa.delete(member_standing).where(mine, member_standing.c.at_us < last_kept))

    def _of(self, connection: Connection, members: Sequence[str]) -> dict[str, Standing]:
        rows = connection.execute(
            sa.select(member_standing).where(
                member_standing.c.level == self._level, member_standing.c.member.in_(list(members))
            )
        )
        types = machine_types(connection, members)
        known = {
            row.member: Standing(
                types[row.member], row.rounds_passed, row.wins, row.losses, row.contribution,
                MemberCondition(**row.condition),
            )
            for row in rows
        }  # fmt: skip
        return {member: known.get(member) or Standing(kind) for member, kind in types.items()}

    def _write(
        self, connection: Connection, standings: Mapping[str, Standing], condition: MemberCondition | None = None
    ) -> None:
        for member, one in standings.items():
            mine = (member_standing.c.level == self._level) & (member_standing.c.member == member)
            values = {**asdict(one), "condition": asdict(condition or one.condition), "at_us": self._clock_us()}
            if not connection.execute(sa.update(member_standing).where(mine).values(values)).rowcount:
                connection.execute(
                    sa.insert(member_standing).values(level=self._level, member=member, **values)
                )  # fmt: skip


def conditions_seen(connection: Connection, gateways: Sequence[str], now_us: int) -> dict[str, MemberCondition]:
    """What a site sees of its gateways' links and data, from their last status and their newest measurement."""
    mine = gateway.c.gateway.in_(list(gateways))
    statuses = {row.gateway: row.status or {} for row in connection.execute(sa.select(gateway).where(mine))}
    newest = connection.execute(
        sa.select(point.c.gateway, sa.func.max(point.c.last_measured_us).label("at_us"))
        .where(point.c.gateway.in_(list(gateways)))
        .group_by(point.c.gateway)
    )
    ages_s = {row.gateway: max(0.0, (now_us - row.at_us) / 1e6) for row in newest if row.at_us is not None}
    return {
        name: MemberCondition(
            link_share=1.0 / (1.0 + float(status.get("outbox_oldest_s", 0.0)) / BACKLOG_S),
            newest_row_age_s=ages_s.get(name),
        )
        for name, status in statuses.items()
    }


def _both(said: MemberCondition, seen: MemberCondition) -> MemberCondition:
    known = {name: value for name, value in asdict(seen).items() if value is not None}
    return replace(said, **known)


def machine_types(connection: Connection, gateways: Sequence[str]) -> dict[str, str]:
    """What each gateway's machines are, by their nameplates: the kind most of its points are on."""
    found: dict[str, dict[str, int]] = {name: {} for name in gateways}
    joined = point.join(machine, machine.c.machine == point.c.machine)
    rows = connection.execute(
        sa.select(point.c.gateway, machine.c.nameplate).select_from(joined).where(point.c.gateway.in_(list(gateways)))
    )
    for name, plate in rows:
        kind = str((plate or {}).get("kind", UNKNOWN_TYPE))[:64]
        found[name][kind] = found[name].get(kind, 0) + 1
    return {
        name: min(kinds, key=lambda kind: (-kinds[kind], kind)) if kinds else UNKNOWN_TYPE
        for name, kinds in found.items()
    }
