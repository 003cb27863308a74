"""This file knows how a person stops, resumes, promotes or takes back a release.

What is asked is written to the release's row; `aggregator.rollout` does it within a second, and writes down by whom.
"""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aggregator.desk_answers import Decision, Handler, RequestRefused
from schemas.requests import FIRST_OF_TWO, SECOND_WITHIN_S, Action, Request
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


def ask_roll_back(
    connection: Connection, version: int | None, note: str, *, actor: str, now_us: int, people: int = 1
) -> str:  # fmt: skip
    """Have a release taken back; `aggregator.rollout` does it, at an enterprise `aggregator.learning.fleet`.

    Args:
        connection: The caller's.
        version: Which; None for the one on its way, else the current one.
        note: Why.
        actor: Who asks.
        now_us: Now.
        people: How many must ask for it; the first of two stops a release on its way meanwhile.

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
    if people > 1 and not _wanted_by_another(connection, row.release_version, actor, now_us):
        stops = row.state == "candidate"
        if stops:
            _pause_row(connection, row.release_version, paused=True)
        _tell(connection, row, actor, now_us, f"{FIRST_OF_TWO}{note.strip()}")
        return (
            f"release {row.release_version} is taken back once a second person asks for it within "
            f"{SECOND_WITHIN_S / 60:.0f} minutes" + ("; it goes no further until then" if stops else "")
        )
    _ask(connection, row.release_version, "roll_back_release", actor, note)
    _tell(connection, row, actor, now_us, f"roll-back asked for: {note.strip()}")
    return f"release {row.release_version} is taken back; the one before goes out again as a new release"


def _wanted_by_another(connection: Connection, version: int, actor: str, now_us: int) -> bool:
    c = release_event.c
    lately = (c.release_version == version) & (c.at_us >= now_us - round(SECOND_WITHIN_S * 1e6))
    query = sa.select(c.event_id).where(lately, c.actor != actor, c.text.startswith(FIRST_OF_TWO, autoescape=True))
    return connection.execute(query.limit(1)).scalar() is not None


def _set_paused(connection: Connection, asked: Request, now_us: int, *, paused: bool) -> Decision:
    row = _row(connection, _version(asked))
    if row.state != "candidate":
        raise RequestRefused(f"release {row.release_version} is not on its way: it is {row.stage or row.state}")
    _pause_row(connection, row.release_version, paused=paused)
    said = "paused" if paused else "resumed"
    _tell(connection, row, asked.actor, now_us, said)
    return Decision(f"rollout of release {row.release_version} {said}")


def _pause_row(connection: Connection, version: int, *, paused: bool) -> None:
    connection.execute(sa.update(release).where(release.c.release_version == version).values(paused=paused))


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


def handlers(people: Callable[[], int] = lambda: 1) -> dict[Action, Handler]:
    """Who carries out what is asked of releases, where so many people must ask for one to be taken back."""

    def roll_back(connection: Connection, asked: Request, now_us: int) -> Decision:
        said = ask_roll_back(
            connection, _version(asked), asked.note, actor=asked.actor, now_us=now_us, people=people()
        )  # fmt: skip
        return Decision(said)

    return {
        "promote_release": _promote,
        "pause_rollout": _pause,
        "resume_rollout": _resume,
        "roll_back_release": roll_back,
    }
