"""This file knows how a person stops, resumes, promotes or takes back a release.

What is asked is written to the release's row; `aggregator.rollout` does it within a second, and writes down by whom.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aggregator.desk_answers import Decision, Handler, RequestRefused
from schemas.requests import Action, Request
from schemas.site_tables import release, release_event

FEWEST_WORDS = 3  # letters of a reason for taking a release back: others will read it when it matters


def _promote(connection: Connection, asked: Request, now_us: int) -> Decision:
    row = _row(connection, _version(asked))
    if row.state != "candidate" or row.stage is None:
        raise RequestRefused(f"release {row.release_version} is not on its way: it is {row.stage or row.state}")
    _ask(connection, row.release_version, asked.action, asked.actor, asked.note)
    _tell(connection, row, asked.actor, now_us, "next stage asked for")
    return Decision(f"release {row.release_version} goes to its next stage; what speaks against it still counts")


def _pause(connection: Connection, asked: Request, now_us: int) -> Decision:
    return _set_paused(connection, asked, now_us, paused=True)


def _resume(connection: Connection, asked: Request, now_us: int) -> Decision:
    return _set_paused(connection, asked, now_us, paused=False)


def _roll_back(connection: Connection, asked: Request, now_us: int) -> Decision:
    version = _version(asked)
    return Decision(ask_roll_back(connection, version, asked.note, actor=asked.actor, now_us=now_us))


def ask_roll_back(connection: Connection, version: int | None, note: str, *, actor: str, now_us: int) -> str:
    """Have a release taken back; `aggregator.rollout` does it, at an enterprise `aggregator.learning.fleet`.

    Args:
        connection: The caller's.
        version: Which; None for the one on its way, else the current one.
        note: Why.
        actor: Who asks.
        now_us: Now.

    Returns:
        What will happen, in words.

    Raises:
        RequestRefused: There is no such release, it is taken back already, nothing is before it, or the note says too
            little.
    """
    row = _row(connection, version)
    if row.state not in {"candidate", "current"}:
        raise RequestRefused(f"release {row.release_version} is {row.state} already")
    if len(note.strip()) < FEWEST_WORDS:
        raise RequestRefused("say in the note why it is taken back")
    before = connection.execute(
        sa.select(sa.func.count())
        .select_from(release)
        .where(release.c.release_version < row.release_version, release.c.state == "superseded")
    ).scalar_one()
    if row.state == "current" and not before:
        raise RequestRefused(f"release {row.release_version} is the first: there is nothing to go back to")
    _ask(connection, row.release_version, "roll_back_release", actor, note)
    _tell(connection, row, actor, now_us, f"roll-back asked for: {note.strip()}")
    return f"release {row.release_version} is taken back; the one before goes out again as a new release"


def _set_paused(connection: Connection, asked: Request, now_us: int, *, paused: bool) -> Decision:
    row = _row(connection, _version(asked))
    if row.state != "candidate":
        raise RequestRefused(f"release {row.release_version} is not on its way: it is {row.stage or row.state}")
    connection.execute(sa.update(release).where(release.c.release_version == row.release_version).values(paused=paused))
    said = "paused" if paused else "resumed"
    _tell(connection, row, asked.actor, now_us, said)
    return Decision(f"rollout of release {row.release_version} {said}")


def _version(asked: Request) -> int | None:
    """The release that is meant, where one is named."""
    version = asked.values.get("release_version")
    if version is not None and (not isinstance(version, int) or isinstance(version, bool)):
        raise RequestRefused(f"release_version is {version!r}; the number of a release needed")
    return version


def _row(connection: Connection, version: int | None) -> Any:
    """The release of that version, or the newest candidate on its way, or the current one."""
    columns = (release.c.release_version, release.c.state, release.c.stage)
    query = sa.select(*columns).where(release.c.state.in_(("candidate", "current")))
    if version is not None:
        query = sa.select(*columns).where(release.c.release_version == version)
    on_its_way = (release.c.state == "candidate").desc(), release.c.stage.is_(None), release.c.release_version.desc()
    row = connection.execute(query.order_by(*on_its_way)).first()
    if row is None:
        raise RequestRefused(f"there is no release {version}" if version is not None else "there is no release yet")
    return row


def _ask(connection: Connection, version: int, action: Action, actor: str, note: str) -> None:
    wanted = {"action": action, "actor": actor, "note": note.strip()[:500]}
    connection.execute(sa.update(release).where(release.c.release_version == version).values(asked=wanted))


def _tell(connection: Connection, row: Any, actor: str, now_us: int, text: str) -> None:
    connection.execute(
        sa.insert(release_event).values(
            release_version=row.release_version, at_us=now_us, stage=row.stage or row.state, actor=actor,
            text=text, evidence={},
        )
    )  # fmt: skip


HANDLERS: dict[Action, Handler] = {
    "promote_release": _promote,
    "pause_rollout": _pause,
    "resume_rollout": _resume,
    "roll_back_release": _roll_back,
}
