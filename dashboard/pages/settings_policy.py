"""This file knows what the plant keeps where and for how long, what leaves it, and how it is backed up, in words."""

import streamlit as st

from dashboard import words
from dashboard.languages import tr
from dashboard.pages.addresses import LEARNING
from dashboard.runtime import Dashboard


def show_policy(board: Dashboard) -> None:
    """Show retention, privacy and backup."""
    st.subheader(tr("How long what is kept"))
    st.dataframe(
        [
            {tr("What"): what, tr("Where"): where, tr("How long"): how_long, tr("Setting"): setting}
            for what, where, how_long, setting in _kept()
        ],
        hide_index=True, width="stretch",
    )  # fmt: skip
    st.subheader(tr("What leaves the plant"))
    st.markdown(
        tr(
            "Raw vibration stays on the gateway until somebody asks for one capture, with a reason. Notices name the "
            "machine, the likely cause and the time; nothing measured. Model updates leave only where an enterprise is "
            "named in the settings, and each is counted: see [what left the plant]({address}).",
            address=LEARNING,
        )
    )
    st.markdown(
        tr(
            "Addresses and secrets of channels are in files of the site service; neither this page nor the database "
            "has them."
        )
    )
    st.subheader(tr("Backup"))
    st.markdown(
        tr(
            "`aggregator backup --settings site.toml --out FILE` writes the site's database while it runs; "
            "`gateway-agent backup` does so for what a gateway has learnt. Keep both, and the signing keys, apart from "
            "the machines they are of; try the way back once."
        )
    )
    st.caption(tr("This site's database: {url}", url=words.plain(board.reader.shown_url)))


def _kept() -> list[tuple[str, str, str, str]]:
    return [
        (tr("Raw captures"), tr("gateway"), tr("a ring on disk, 365 days at most"), "store.raw_bytes, store.raw_days"),
        (tr("Raw captures behind alarms, evidence and labels"), tr("gateway"), tr("beyond the ring, while they fit"),
         "store.pinned_bytes"),
        (tr("Results of each capture"), tr("gateway"), tr("five years"), "store.health_days"),
        (tr("Results, alarms, evidence, cases"), tr("site"), tr("for ever"), words.NOT_KNOWN),
        (tr("Input that could not be used"), tr("site"), tr("the newest 1000; all are counted"),
         "historian.dead_letter_rows"),
        (tr("What was told to whom"), tr("site"), tr("90 days"), "notifications.keep_days"),
        (tr("Versions of tables"), tr("site"), tr("the newest 200 of each"), words.NOT_KNOWN),
        (tr("Audit log"), tr("site"), tr("for ever"), words.NOT_KNOWN),
    ]  # fmt: skip
