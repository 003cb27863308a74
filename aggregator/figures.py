"""This file knows which figures of an aggregator are metrics, and where the same figure stands in `status --json`."""

from typing import Any

from aggregator.meters import PREFIX, Meters
from schemas.metrics import Family, Figure, families_of

FIGURES = (
    Figure("windows_stored_total", "counter", ("windows", "stored"), "Results of captures in the database."),
    Figure("windows_duplicate_total", "counter", ("windows", "duplicates"), "Records that came again."),
    Figure("given_up_total", "counter", ("given_up",), "Records and captures that gateways told they gave up."),
    Figure("dead_letters_total", "counter", ("dead_letters",), "Messages refused.", label="reason"),
    Figure("gateway_online", "gauge", ("gateways",), "1 while it counts as present.",
           label="gateway", entry="online"),
    Figure("gateway_last_seen_seconds", "gauge", ("gateways_seen_s",), "Age of its last word.", label="gateway"),
    Figure("gateway_last_sequence", "gauge", ("gateways",), "All its records up to here are stored.",
           label="gateway", entry="last_seq"),
    Figure("rounds_last", "gauge", ("rounds", "last"), "Number of the last round of learning."),
    Figure("updates_accepted_total", "counter", ("rounds", "accepted"), "Updates of members that were merged."),
    Figure("updates_rejected_total", "counter", ("rounds", "rejected"), "Updates of members refused.", label="reason"),
    Figure("release_version", "gauge", ("release", "version"), "Number of the current release."),
    Figure("cases_open", "gauge", ("cases", "open"), "Cases of machines not closed."),
    Figure("link_up", "gauge", ("live", "links"), "1 while the broker has accepted us.", label="link"),
    Figure("reconnects_total", "counter", ("live", "reconnects"), "Connections after the first.", label="link"),
    Figure("queue", "gauge", ("live", "queue"), "Messages received and not yet stored."),
    Figure("queue_limit", "gauge", ("live", "queue_limit"), "Beyond this the broker holds them."),
    Figure("database_away", "gauge", ("live", "database_away"), "1 while messages wait for the database."),
    Figure("messages_total", "counter", ("live", "messages"), "Messages stored or refused, since the start."),
    Figure("learning_dropped_total", "counter", ("live", "learning_dropped"),
           "Messages of the learning not used, or that came outside of a round, since the start.", label="reason"),
    Figure("superlink_state", "gauge", ("live", "superlink_state"),
           "1 for how a SuperLink that carries the learning stands.", label="state"),
    Figure("superlink_runs_total", "counter", ("live", "superlink_runs"),
           "Runs of such a SuperLink since the start, by what became of them.", label="what"),
    Figure("memory_bytes", "gauge", ("live", "memory_bytes"), "Resident memory of the aggregator."),
    Figure("log_lines_not_written_total", "counter", ("live", "log_lines_not_written"), "Repeats, since the start."),
)  # fmt: skip
"""What is under `live` in the status is as the aggregator last wrote it down; as a metric it is as of now."""


def families(status: dict[str, Any], meters: Meters) -> list[Family]:
    """Everything that can be seen of a running aggregator."""
    return families_of(FIGURES, status, prefix=PREFIX) + meters.families()
