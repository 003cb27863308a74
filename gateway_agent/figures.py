"""This file knows which figures of a gateway are metrics, and where the same figure stands in `status --json`."""

from typing import Any

from gateway_agent.meters import PREFIX, Meters
from schemas.metrics import Family, Figure, families_of

FIGURES = (
    Figure("captures_stored_total", "counter", ("captures", "stored"), "Captures made durable."),
    Figure("captures_duplicate_total", "counter", ("captures", "duplicates"), "Captures that came again."),
    Figure("captures_missing", "gauge", ("captures", "gaps"), "Holes in sensors' sequences, less what came late."),
    Figure("dead_letters_total", "counter", ("captures", "dead_letters"), "Payloads refused.", label="reason"),
    Figure("dead_letters_again_total", "counter", ("dead_letters_again",), "Dead letters reinjected.", label="outcome"),
    Figure("control_refused_total", "counter", ("control_refused",), "Messages of the site refused.", label="reason"),
    Figure("given_up_total", "counter", ("given_up",), "What left on purpose: no room, or age.", label="what"),
    Figure("outbox_pending", "gauge", ("outbox", "pending"), "Records that wait for the site's acknowledgement."),
    Figure("outbox_oldest_seconds", "gauge", ("outbox", "oldest_s"), "How long the oldest of them has waited."),
    Figure("points", "gauge", ("points_by_state",), "Measurement points.", label="state"),
    Figure("release_version", "gauge", ("release", "version"), "Number of the release that judges."),
    Figure("alarms", "gauge", ("live", "alarms"), "Points by the state of their alarm.", label="state"),
    Figure("link_up", "gauge", ("live", "links"), "1 while the broker has accepted us.", label="link"),
    Figure("reconnects_total", "counter", ("live", "reconnects"), "Connections after the first.", label="link"),
    Figure("ingest_queue", "gauge", ("live", "queue"), "Captures received and not yet judged."),
    Figure("ingest_queue_limit", "gauge", ("live", "queue_limit"), "Beyond this the broker holds them."),
    Figure("ingest_busy_seconds", "gauge", ("live", "busy_s"), "How long the batch in hand has taken; 0 while idle."),
    Figure("records_under_way", "gauge", ("live", "under_way"), "Records sent and not yet acknowledged by the site."),
    Figure("records_acknowledged_total", "counter", ("live", "records_acknowledged"), "By the site, since the start."),
    Figure("learning_tasks_total", "counter", ("live", "learning_tasks"),
           "Tasks of the site's learning since the start, by what became of them.", label="what"),
    Figure("updates_refused_total", "counter", ("live", "updates_refused"),
           "What the site has not counted of this gateway's learning, since the start.", label="reason"),
    Figure("disk_full", "gauge", ("live", "disk_full"), "1 while captures wait at the broker for room on the disk."),
    Figure("disk_free_bytes", "gauge", ("live", "disk_free_bytes"), "Room left where the store lies."),
    Figure("memory_bytes", "gauge", ("live", "memory_bytes"), "Resident memory of the agent."),
    Figure("log_lines_not_written_total", "counter", ("live", "log_lines_not_written"), "Repeats, since the start."),
)  # fmt: skip
"""What is under `live` in the status is as the agent last told its store; as a metric it is as of now."""


def families(status: dict[str, Any], meters: Meters) -> list[Family]:
    """Everything that can be seen of a running agent."""
    return families_of(FIGURES, status, prefix=PREFIX) + meters.families()
