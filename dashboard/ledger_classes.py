"""This file knows what crosses the fence of the plant: each class of message, what is in it, and an example as text.

The classes are the rows of `schemas.topics` that leave the plant; an example is made of what this site has stored, and
says so when there was nothing to make it of.
"""

import json
from dataclasses import dataclass

from dashboard import words
from dashboard.languages import tr
from dashboard.queries.federation import Federation
from schemas.messages import MemberPresence
from schemas.site_summary import SiteSummary
from schemas.topics import MEMBER, REPLY, SITE_SUMMARY, TASK, TOPICS, Topic

CLASSES: tuple[Topic, ...] = tuple(topic for topic in TOPICS if topic.leaves_plant)


@dataclass(frozen=True, slots=True)
class Example:
    """One message of a class, as text; `stored` when it is of this site and not made up."""

    text: str
    stored: bool


def class_words(topic: str) -> str:
    """Say what a class is."""
    return {
        MEMBER.name: tr("presence: that this site takes part"),
        TASK.name: tr("tasks of the enterprise"),
        REPLY.name: tr("model updates"),
        SITE_SUMMARY.name: tr("summary: how many machines stand how"),
    }.get(topic, topic)


def class_content(topic: str) -> str:
    """Say what is in it."""
    return {
        MEMBER.name: tr("name of the site, a number of the session, the time"),
        TASK.name: tr(
            "comes in: parameters of the fleet's model and how to learn; nothing of the plant leaves with it"
        ),
        REPLY.name: tr(
            "changes of model parameters learnt from the machines, how many captures they rest on, losses on captures "
            "that were held back; what became of the fleet's release here, in the words of its history with names of "
            "gateways and people, AUROC and loss"
        ),
        SITE_SUMMARY.name: tr(
            "counts of machines, points and gateways by state, the age of the newest data, numbers of model and "
            "software; no measured value. Names of the worst machines and their likeliest cause only where "
            "`uplink.summary_names_machines` is set"
        ),
    }.get(topic, "")


def example_of(topic: str, found: Federation) -> Example:
    """One message of a class."""
    if topic == REPLY.name:
        return _reply(found)
    if topic == MEMBER.name:
        presence = MemberPresence(member="plant-a", node_id=12345, session=678, at_us=1_790_000_000_000_000)
        return Example(json.dumps(presence.model_dump(), indent=1), stored=False)
    if topic == SITE_SUMMARY.name:
        summary = SiteSummary(
            site="plant-a", at_us=1_790_000_000_000_000, interval_s=300.0, newest_data_us=1_789_999_988_000_000,
            states={"danger": 1, "learning": 2, "normal": 39}, acknowledged=1, points=84, points_assessable=80,
            gateways=3, gateways_online=3, gateways_current=3, release_version=12, fleet_version=4, software="0.1.0",
        )  # fmt: skip
        return Example(json.dumps(summary.model_dump(mode="json"), indent=1), stored=False)
    lines = ["round: 12", "base_version: 4", "graph: sha256 …", "steps: 60", "learning_rate: 0.001", "theta: float32 …"]
    return Example("\n".join(lines), stored=False)


def _reply(found: Federation) -> Example:
    """The newest offer; else the newest update of a gateway, which is what an answer to the enterprise is made of."""
    if found.offers:
        offer = found.offers[0]
        head = " ".join(f"{value:+.5f}" for value in offer.head)
        delta = (
            tr("{count} numbers (float32), {size}; the first: {head}", count=offer.delta_bytes // 4,
               size=words.size(offer.delta_bytes), head=head)
            if offer.delta_bytes
            else tr("numbers (float32), not kept here after the enterprise has taken them")
        )  # fmt: skip
        lines = {
            "key": offer.key or tr("not sent yet"), "base_version": offer.base_version,
            "base_digest": f"{offer.base_digest[:16]}…", "first_round": offer.first_round,
            "last_round": offer.last_round, "rounds": offer.rounds, "weight": f"{offer.weight:g}",
            **{name: f"{value:g}" for name, value in offer.figures.items()}, "delta": delta,
        }  # fmt: skip
        return Example("\n".join(f"{name}: {value}" for name, value in lines.items()), stored=True)
    update = next((one for one in found.updates if one.accepted), None)
    if update is None:
        lines = {
            "base_version": 4, "weight": 240, "loss_before": 0.412, "loss_after": 0.377, "held_back_rows": 60,
            "delta": "float32 …",
        }  # fmt: skip
        return Example("\n".join(f"{name}: {value}" for name, value in lines.items()), stored=False)
    lines = {
        "member": update.member, "round": update.round_id, "weight": f"{update.weight:g}",
        **{name: f"{value:g}" for name, value in update.figures.items()},
        "delta": tr("numbers (float32), {size}, length {norm}; not kept here after the round",
                    size=words.size(update.size_bytes), norm=words.number(update.norm)),
    }  # fmt: skip
    return Example("\n".join(f"{name}: {value}" for name, value in lines.items()), stored=True)
