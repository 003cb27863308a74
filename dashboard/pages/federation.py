"""This file knows the page of the learning: does it work, who takes part, which model runs where, what left."""

from itertools import groupby

import streamlit as st

from dashboard import runtime, words
from dashboard.errors import DatabaseUnavailable
from dashboard.pages.explaining import explain_unavailable
from dashboard.queries.federation import Federation, LedgerRow, read_federation
from dashboard.queries.records import RoundRecord

LEAVES = {
    "member": "that this site takes part in the learning (name, time)",
    "task": "answers to the enterprise's rounds",
    "reply": "model updates: changes of parameters, learnt from the machines",
}
PRIVACY = (
    "**No formal privacy guarantee.** Raw signals and spectra never leave the plant. Model updates are signed, "
    "encrypted on their way where certificates are in use, and limited in size. Still, an update tells something: who "
    "holds one can recognise the machine it came from and estimate its mean spectrum."
)


def show_federation() -> None:
    """Show rounds, members, releases and the ledger; a snapshot, read when the page is opened."""
    board = runtime.current()
    st.header("Learning together")
    try:
        with board.reader.read() as connection:
            found = read_federation(connection)
    except DatabaseUnavailable as problem:
        explain_unavailable(problem, shown_url=board.reader.shown_url)
        return
    now_us = board.now_us()
    if st.button("Read again", icon=":material/refresh:"):
        st.rerun()
    _show_rounds(found, now_us)
    _show_members(found, now_us)
    _show_releases(found, now_us)
    _show_ledger(found)


def round_row(found: RoundRecord, now_us: int) -> dict[str, str]:
    """Say how one round went."""
    lasted = "running" if found.ended_at_us is None else words.span((found.ended_at_us - found.started_at_us) / 1e6)
    return {
        "Round": f"{found.round_id} ({found.level})",
        "State": found.state,
        "Started": words.age((now_us - found.started_at_us) / 1e6),
        "Lasted": lasted,
        "Accepted": f"{found.accepted} of {found.invited}",
        "Rejected": str(found.rejected),
        "Down": words.size(found.bytes_down),
        "Up": words.size(found.bytes_up),
        "Rule": found.rule or words.NOT_KNOWN,
        "Release": words.NOT_KNOWN if found.release_version is None else str(found.release_version),
        "Remark": found.text,
    }


def _show_rounds(found: Federation, now_us: int) -> None:
    st.subheader("Rounds")
    if not found.rounds:
        st.markdown(
            "No round yet. A single gateway learns by itself; rounds begin when learning is enabled in the site's "
            "settings and enough gateways are online."
        )
        return
    last = found.rounds[0]
    if last.state == "void":
        st.markdown(
            f"The last round did not count: {words.plain(last.text) or 'no reason was given'}. Models stay as they are."
        )
    st.dataframe([round_row(entry, now_us) for entry in found.rounds], hide_index=True, width="stretch")


def _show_members(found: Federation, now_us: int) -> None:
    st.subheader("Members")
    newest = {
        member: max(entries, key=lambda entry: entry.round_id)
        for member, entries in groupby(sorted(found.updates, key=lambda u: u.member), key=lambda u: u.member)
    }
    gateways = {entry.gateway: entry for entry in found.gateways}
    rows = []
    for name in sorted({*newest, *gateways}):
        gateway, update = gateways.get(name), newest.get(name)
        verdict = "no update yet"
        if update is not None:
            verdict = (
                f"accepted, weight {update.weight:g}"
                if update.accepted
                else f"rejected: {words.rejection(update.reason)}"
            )
        seen = None if gateway is None else gateway.last_seen_us
        rows.append(
            {
                "Member": name,
                "Online": "site" if gateway is None else "yes" if gateway.online else "no",
                "Last seen": words.NOT_KNOWN if seen is None else words.age((now_us - seen) / 1e6),
                "Release": words.NOT_KNOWN if gateway is None else str(gateway.release_version),
                "Newest update": words.NOT_KNOWN if update is None else f"round {update.round_id}",
                "Verdict": verdict,
                "Norm": words.number(None if update is None else update.norm),
                "Sent": words.NOT_KNOWN if update is None else words.size(update.size_bytes),
            }
        )
    if rows:
        st.dataframe(rows, hide_index=True, width="stretch")
    else:
        st.markdown("No gateway has joined this site.")


def _show_releases(found: Federation, now_us: int) -> None:
    st.subheader("Model releases")
    if not found.releases:
        st.markdown("No release yet: gateways judge by the model that ships with the product.")
        return
    rows = []
    for entry in found.releases:
        on = [r for r in found.rollouts if r.version == entry.version]
        running = [r.gateway for r in on if r.state == "running"]
        refused = [f"{r.gateway}: {r.text}" for r in on if r.state == "refused"]
        waiting = [r.gateway for r in on if r.state == "offered"]
        rows.append(
            {
                "Release": str(entry.version),
                "State": entry.state,
                "Made": f"{words.age((now_us - entry.created_at_us) / 1e6)} ({entry.level})",
                "Size": words.size(entry.size_bytes),
                "Runs on": ", ".join(running) or words.NOT_KNOWN,
                "Offered to": ", ".join(waiting) or words.NOT_KNOWN,
                "Refused by": "; ".join(refused) or words.NOT_KNOWN,
                "Digest": entry.digest[:12],
            }
        )
    st.dataframe(rows, hide_index=True, width="stretch")


def ledger_rows(rows: tuple[LedgerRow, ...]) -> list[dict[str, str]]:
    """Say what left, by day and class."""
    return [
        {
            "Day (UTC)": row.day,
            "What": LEAVES.get(row.topic, row.topic),
            "Class": row.topic,
            "Messages": str(row.messages),
            "Size": words.size(row.size_bytes),
        }
        for row in rows
    ]


def _show_ledger(found: Federation) -> None:
    st.subheader("What left the plant")
    if not found.ledger:
        st.markdown("**Nothing has left this plant.**")
    else:
        total = sum(row.size_bytes for row in found.ledger)
        days = len({row.day for row in found.ledger})
        st.markdown(f"{words.size(total)} in {sum(row.messages for row in found.ledger)} messages on {days} days.")
        st.dataframe(ledger_rows(found.ledger), hide_index=True, width="stretch")
    st.markdown(PRIVACY)
