"""This file knows the review of labels: cases of which nobody said what they were, and labels against the diagnosis."""

from collections.abc import Sequence

import streamlit as st

from dashboard import sentences, words
from dashboard.languages import tr
from dashboard.pages.addresses import case_address
from dashboard.pages.asking import explain_may_not
from dashboard.queries.cases import CaseEntry, Label, read_labels, read_unlabelled
from dashboard.runtime import Dashboard

SHOWN_LABELS = 300


def show_labels(board: Dashboard) -> None:
    """Show what waits for a label, and what was said."""
    with board.reader.read() as connection:
        waiting = read_unlabelled(connection)
        labels = read_labels(connection, since_us=0, until_us=board.now_us(), limit=SHOWN_LABELS)
    st.caption(
        tr(
            "What a machine really had teaches: its gateway learns from it at once, the fleet when it next learns "
            "together. It also shows how often alarms were false."
        )
    )
    explain_may_not(board, "label")
    st.subheader(tr("Over, and nobody has said what it was ({count})", count=len(waiting)))
    if waiting:
        _table([_waiting_line(entry, board.now_us()) for entry in waiting])
    else:
        st.markdown(tr("None: every case that is over has a label."))
    against = contradicting(labels)
    st.subheader(tr("Labels against the diagnosis ({count})", count=len(against)))
    if against:
        _table([_label_line(label, board.now_us()) for label in against])
    else:
        st.markdown(tr("None."))
    st.subheader(tr("All labels ({count})", count=len(labels)))
    if labels:
        _table([_label_line(label, board.now_us()) for label in labels])
    else:
        st.markdown(tr("Nobody has named a cause yet."))


def contradicting(labels: Sequence[Label]) -> list[Label]:
    """Labels that say otherwise than the best diagnosis of their case; to be looked at by a second person."""
    return [label for label in labels if label.said_before not in {"", "unknown", label.label}]


def _table(rows: list[dict[str, str]]) -> None:
    st.dataframe(
        rows, hide_index=True, width="stretch",
        column_config={tr("Case"): st.column_config.LinkColumn(
            tr("Case"), display_text=r"case=(\d+)$", width="small")},
    )  # fmt: skip


def _waiting_line(entry: CaseEntry, now_us: int) -> dict[str, str]:
    best = entry.diagnosis[0] if entry.diagnosis else None
    said = words.NOT_KNOWN if best is None else f"{words.cause(best.label)} {words.confidence(best.confidence)}"
    over = words.NOT_KNOWN if entry.closed_at_us is None else words.age((now_us - entry.closed_at_us) / 1e6)
    return {
        tr("Case"): case_address(entry.case_id), tr("Machine"): f"{entry.title} ({entry.machine})",
        tr("Over"): over, tr("Diagnosis"): said, tr("Reason"): sentences.said(entry.reason),
    }  # fmt: skip


def _label_line(label: Label, now_us: int) -> dict[str, str]:
    return {
        tr("Case"): case_address(label.case_id), tr("Machine"): label.machine,
        tr("When"): words.age((now_us - label.at_us) / 1e6), tr("Who"): label.actor,
        tr("Cause"): words.cause(label.label),
        tr("Diagnosis"): words.cause(label.said_before) if label.said_before else words.NOT_KNOWN,
        tr("In words"): label.text,
    }  # fmt: skip
