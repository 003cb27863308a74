"""This file knows the page of the audit log: who did what, when, about what, from where; for administrators."""

import csv
import datetime as dt
import io
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import streamlit as st

from dashboard import runtime, words
from dashboard.errors import DatabaseUnavailable
from dashboard.languages import tr
from dashboard.pages.explaining import explain_unavailable
from dashboard.pages.login import recognised_visitor
from dashboard.pages.notice import show_notice
from dashboard.queries.people import MAX_SHOWN, AuditFilter, AuditRecord, read_audit

SHOWN = 200
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def show_audit_log() -> None:
    """Show the newest rows that are wanted, and give all of them as CSV."""
    board = runtime.current()
    st.header(tr("Audit log"))
    visitor = recognised_visitor(board)
    if visitor is None or visitor.role != "admin":
        show_notice(tr("The audit log is read by administrators."))
        return
    wanted = _filter(st.context.timezone)
    try:
        with board.reader.read() as connection:
            rows = read_audit(connection, wanted, limit=SHOWN + 1)
    except DatabaseUnavailable as problem:
        explain_unavailable(problem, shown_url=board.reader.shown_url)
        return
    if not rows:
        st.markdown(tr("Nothing that fits is in the log."))
        return
    zone = st.context.timezone
    st.dataframe(
        [
            {
                tr("When"): words.moment(row.at_us, zone), tr("Who"): row.actor, tr("What"): row.action,
                tr("About"): row.about, tr("Answer"): row.text, tr("From"): row.came_from, tr("No."): row.audit_id,
            }
            for row in rows[:SHOWN]
        ],
        hide_index=True, width="stretch",
    )  # fmt: skip
    if len(rows) > SHOWN:
        st.caption(tr("The newest {count} are shown; the file has up to {most}.", count=SHOWN, most=MAX_SHOWN))

    def export() -> bytes:
        with board.reader.read() as connection:
            return as_csv(read_audit(connection, wanted, limit=MAX_SHOWN)).encode()

    st.download_button(tr("All of these as CSV"), export, "audit.csv", "text/csv", key="audit_csv", on_click="ignore")
    st.caption(tr("Each row is sealed with the one before: `aggregator audit verify --settings site.toml`"))


def as_csv(rows: Sequence[AuditRecord]) -> str:
    """Write rows as CSV; a text that a spreadsheet would take for a formula gets an apostrophe before it."""
    written = io.StringIO()
    table = csv.writer(written)
    table.writerow(("audit_id", "at_utc", "at_us", "actor", "action", "about", "text", "came_from", "seal"))
    for row in rows:
        at = dt.datetime.fromtimestamp(row.at_us / 1e6, dt.UTC).isoformat(timespec="milliseconds")
        texts = (row.actor, row.action, row.about, row.text, row.came_from)
        table.writerow((row.audit_id, at, row.at_us, *(_harmless(text) for text in texts), row.seal or ""))
    return written.getvalue()


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _filter(zone: str | None) -> AuditFilter:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        actor = st.text_input(tr("Who"), key="audit_actor", max_chars=64)
        action = st.text_input(tr("What"), key="audit_action", max_chars=32)
        about = st.text_input(tr("About"), key="audit_about", max_chars=64)
        days = st.date_input(tr("Days"), value=[], key="audit_days")
    here = ZoneInfo(zone) if zone else dt.UTC
    midnights = [dt.datetime.combine(day, dt.time(), here) for day in (days if isinstance(days, tuple) else (days,))]
    begin = int(midnights[0].timestamp() * 1e6) if midnights else None
    end = int((midnights[-1] + dt.timedelta(days=1)).timestamp() * 1e6) if midnights else None
    return AuditFilter(actor.strip(), action.strip(), about.strip(), begin, end)
