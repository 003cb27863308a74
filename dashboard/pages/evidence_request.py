"""This file knows how a person asks a gateway for spectra and waveform, with a reason, and sees what became of it."""

from collections.abc import Sequence

import streamlit as st

from dashboard import words
from dashboard.errors import RequestNotWritten
from dashboard.languages import tr
from dashboard.pages.login import recognised_visitor
from dashboard.pages.notice import show_notice
from dashboard.queries.machine import EvidenceEntry
from dashboard.queries.records import GatewayRecord
from dashboard.request_writer import Asked
from dashboard.runtime import Dashboard
from schemas.names import machine_of
from schemas.requests import ALLOWED, evidence_reason

MAX_REASON = 300
SITE_PATIENCE_S = 15.0  # the site service looks twice a second
GATEWAY_PATIENCE_S = 60.0  # a gateway answers within seconds; its broker may need longer to find it again
TOLD = 3


def show_request(board: Dashboard, point: str) -> None:
    """Show the form that asks for a new capture's spectra and waveform."""
    visitor = recognised_visitor(board)
    allowed = visitor is not None and visitor.role in ALLOWED["request_evidence"]
    with st.form(f"request_evidence:{point}", border=True, clear_on_submit=True):
        st.markdown(
            f"**{tr('Ask the gateway for spectra and waveform')}**  \n"
            + tr("The newest capture leaves its gateway for this site once, with your name and reason, and no further.")
        )
        reason = st.text_input(
            tr("Reason"), max_chars=MAX_REASON, placeholder=tr("What you want to check"), disabled=not allowed
        )
        pressed = st.form_submit_button(tr("Request new capture"), disabled=not allowed)
    if not allowed:
        st.caption(tr("Your role may look, but not request; ask a technician."))
    if not pressed:
        return
    if not reason.strip():
        show_notice(tr("Say why: nothing was asked."))
        return
    if visitor is None:
        show_notice(tr("Your session is over; sign in again. Nothing was asked."))
        return
    try:
        board.writer.ask("request_evidence", visitor, machine_of(point), point=point, note=reason.strip())
    except RequestNotWritten as problem:
        show_notice(tr("Nothing was asked: {problem}", problem=words.plain(str(problem))))
        return
    st.rerun()


def request_words(
    asked: Asked, entries: Sequence[EvidenceEntry], gateway: GatewayRecord | None, *, now_us: int, zone: str | None
) -> str:
    """Say what became of one request: by whom, since when, and what to do if nothing comes.

    Args:
        asked: The request, and how far it got.
        entries: Evidence of the point that is here.
        gateway: The one that measures the point; None if the site does not know it.
        now_us: The time to judge by.
        zone: The viewer's.
    """
    request = asked.request
    who = tr("Asked by {who}: {why}", who=words.plain(request.actor), why=words.plain(request.note))
    since = words.moment(request.asked_at_us, zone)
    waited_s = (now_us - request.asked_at_us) / 1e6
    if asked.state == "refused":
        return f"✕ {who}. " + tr("**Refused**: {answer}", answer=words.plain(asked.answer))
    if asked.state == "done":
        wanted = evidence_reason(request.actor, request.note)
        arrived = next((entry for entry in entries if entry.why == wanted), None)
        if arrived is not None:
            return f"✓ {who}. " + tr(
                "Arrived: the capture of {moment}.", moment=words.moment(arrived.measured_at_us, zone)
            )
        return f"… {who}. " + tr("The gateway has answered; the spectra are on their way since {since}.", since=since)
    if asked.state == "new":
        if waited_s > SITE_PATIENCE_S:
            return f"… {who}. " + tr(
                "Since {since} the site service has not taken it up. Next: does `aggregator run` run, and is this "
                "dashboard's key on its list?",
                since=since,
            )
        return f"… {who}. " + tr("Sent to the site service.")
    if waited_s < GATEWAY_PATIENCE_S:
        return f"… {who}. " + tr("Sent to the gateway, which has not answered yet.")
    return f"… {who}. " + _unanswered(gateway, since, now_us)


def _unanswered(gateway: GatewayRecord | None, since: str, now_us: int) -> str:
    if gateway is None:
        return tr("No answer since {since}: the site does not know the gateway of this point.", since=since)
    seen = tr("never") if gateway.last_seen_us is None else words.age((now_us - gateway.last_seen_us) / 1e6)
    name = words.plain(gateway.gateway)
    if gateway.online:
        return tr(
            "No answer since {since}, although gateway {name} is online (heard {seen}). Next: look at its log; the "
            "site goes on asking.",
            since=since, name=name, seen=seen,
        )  # fmt: skip
    return tr(
        "No answer since {since}: gateway {name} is away (heard {seen}). It is asked again when it comes back. Next: "
        "check its power and its way to the broker.",
        since=since, name=name, seen=seen,
    )  # fmt: skip
