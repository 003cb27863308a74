"""This file knows how a server learns how healthy machines vary: it asks every member twice, and adds up."""

from dataclasses import dataclass

import numpy as np
from flwr.app import Message

from aggregator.carriers.port import Carrier
from aggregator.merge.validate import Rejection
from schemas.errors import MessageRejected
from schemas.variation import SessionSums, Variation, merge
from schemas.variation_task import VARIATION, VariationMessage
from vibration.detection_features import DETECTION_COUNT

# A gateway has tens of points, a recording a handful of sessions: who claims more speaks no louder for it.
MAX_SESSIONS_A_MEMBER = 64.0


@dataclass(frozen=True, slots=True, eq=False)
class VariationResult:
    """What came of one exchange.

    Attributes:
        known: Sums of all whose answers could be used.
        members: How many those were.
        rejected: Who did not take part, and why.
    """

    known: Variation
    members: int
    rejected: tuple[Rejection, ...]


def learn_variation(
    carrier: Carrier, *, name: str, deadline_s: float, max_sessions: float = MAX_SESSIONS_A_MEMBER
) -> VariationResult:
    """Ask every member that is there for its sums, and then for its plays with those of all.

    Args:
        carrier: How members are reached.
        name: Names the exchange among the carrier's messages.
        deadline_s: For each of the two questions.
        max_sessions: Most that one member may speak for.
    """
    told, refused = ask_variation(carrier, None, name=f"{name}-sums", deadline_s=deadline_s)
    sums = merge((_told_only(part) for part in told.values()), max_sessions=max_sessions)
    if not sums.sessions:
        return VariationResult(sums, 0, tuple(refused))
    played, refused_to_play = ask_variation(carrier, sums, name=f"{name}-plays", deadline_s=deadline_s)
    plays = merge((_played_only(part) for member, part in played.items() if member in told), max_sessions=max_sessions)
    return VariationResult(sums + plays, len(told), (*refused, *refused_to_play))


def _told_only(part: Variation) -> Variation:
    """The answer to the first question; plays have no place in it, and would be counted twice."""
    return Variation({layout: SessionSums(s.sessions, s.log_ratio) for layout, s in part.layouts.items()})


def _played_only(part: Variation) -> Variation:
    nothing = np.zeros(DETECTION_COUNT)
    return Variation({layout: SessionSums(0.0, nothing, s.played, s.plays) for layout, s in part.layouts.items()})


def ask_variation(
    carrier: Carrier, known: Variation | None, *, name: str, deadline_s: float
) -> tuple[dict[str, Variation], list[Rejection]]:
    """Ask one of the two questions; what each member answered, and who did not."""
    content = VariationMessage(known)
    names = {node: carrier.member_of(node) for node in carrier.get_node_ids()}
    messages: list[Message] = [
        carrier.create_message(content.record(), VARIATION, node, name) for node, member in names.items() if member
    ]
    answers: dict[str, Variation] = {}
    rejected: list[Rejection] = []
    for reply in carrier.send_and_receive(messages, timeout=deadline_s):
        member = names.get(reply.metadata.src_node_id)
        if member is None:
            continue
        if reply.has_error():
            rejected.append(Rejection(member, "refused", reply.error.reason or "no reason given"))
            continue
        try:
            answers[member] = VariationMessage.read(reply).known or Variation()
        except MessageRejected as error:
            rejected.append(Rejection(member, error.reason, str(error)))
    return answers, rejected
