"""This file knows how a page explains that there is nothing to show: what was found, what it means, what to do."""

from dataclasses import dataclass

import streamlit as st

from dashboard import words
from dashboard.errors import DatabaseUnavailable, ProblemKind
from dashboard.languages import tr
from dashboard.pages.notice import show_notice


@dataclass(frozen=True, slots=True)
class Explanation:
    """One page of words instead of one that looks as if all were well."""

    title: str
    meaning: str
    steps: tuple[str, ...]


UNAVAILABLE: dict[ProblemKind, Explanation] = {
    "missing": Explanation(
        "The site's database is not there",
        "The site service makes it when it starts for the first time. Until then nothing is known of any machine. "
        "Gateways go on measuring, judging and storing by themselves.",
        (
            "Start the site service: `aggregator run --settings site.toml`",
            "Check that `database_url` in `dashboard.toml` names the same database as the site's settings",
        ),
    ),
    "unreachable": Explanation(
        "The site's database cannot be reached",
        "It may be down, on another host, or closed to this user. Gateways go on without it and deliver later.",
        (
            "Check that the database runs, and its address in `database_url` of `dashboard.toml`",
            "Check that the user of this service may read it",
        ),
    ),
    "no_database": Explanation(
        "This is no readable database",
        "The file is there, but what is in it cannot be read as a database. It may be damaged.",
        (
            "Check `database_url` in `dashboard.toml`",
            "If it is the right file, stop the site service and restore the last backup",
        ),
    ),
    "unprepared": Explanation(
        "The site's database has no tables yet",
        "It was made, but no site service has prepared it.",
        ("Start the site service: `aggregator run --settings site.toml`",),
    ),
    "foreign": Explanation(
        "This database is not a site's",
        "It holds other tables than ours. Nothing was changed.",
        ("Name the site's database in `database_url` of `dashboard.toml`",),
    ),
    "wrong_version": Explanation(
        "The site's database is of another version than this dashboard",
        "Showing it would mean guessing. Nothing was changed.",
        (
            "Bring both to the same release; `aggregator migrate --settings site.toml` brings an older database up",
            "A newer one needs the newer dashboard",
        ),
    ),
    "locked": Explanation(
        "The site's database is locked",
        "Another program holds it exclusively, such as a backup or a migration. This page tries again by itself.",
        ("If it stays like this, find the program that holds the database and end it",),
    ),
}


def explain_unavailable(problem: DatabaseUnavailable, *, shown_url: str) -> None:
    """Explain why the database cannot be read."""
    found = UNAVAILABLE[problem.kind]
    st.header(tr(found.title))
    show_notice(tr("The state of the machines is not known. That no alarm is shown here means nothing."))
    st.markdown(tr(found.meaning))
    _show_steps(tuple(tr(step) for step in found.steps))
    st.caption(tr("Found: {detail} · database {url}", detail=words.plain(problem.detail), url=words.plain(shown_url)))


def explain_empty(gateways: int, online: int) -> None:
    """Explain that the site knows no machine yet."""
    st.header(tr("No machines yet"))
    st.markdown(
        tr(
            "The site's database is ready, but no gateway has reported a machine. An empty list is not good news: "
            "nothing is being watched here."
        )
    )
    steps: tuple[str, ...]
    if gateways:
        st.markdown(
            tr(
                "{online} of {count} gateways online; none has delivered a measurement so far.",
                online=online,
                count=gateways,
            )
        )
        steps = (
            tr(
                "Check that sensors send to the gateway: `gateway-agent status --json` counts captures and dead letters"
            ),
            tr("The first capture of a point makes its machine appear here by itself"),
        )
    else:
        st.markdown(tr("No gateway has joined this site."))
        steps = (
            tr("Enrol a gateway: `aggregator enroll GATEWAY --settings site.toml`"),
            tr("Start it with the bundle: `gateway-agent run --settings gateway.toml`"),
            tr("Or look at a plant that is simulated: `make demo`"),
        )
    _show_steps(steps)


def explain_unstarted(detail: str) -> None:
    """Explain that the page runs by itself."""
    st.header(tr("The dashboard was not started"))
    st.markdown(words.plain(detail))


def _show_steps(steps: tuple[str, ...]) -> None:
    st.markdown(f"**{tr('What to do')}**\n\n" + "\n".join(f"1. {step}" for step in steps))
