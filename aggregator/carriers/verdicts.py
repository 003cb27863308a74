"""This file knows how members hear that their updates do not count: a gateway's people need not ask the site."""

import time
from collections.abc import Iterable

from aggregator.carriers.port import Carrier
from aggregator.merge.validate import Rejection
from schemas.verdict_task import VERDICT, Verdict

WAIT_S = 5.0  # a member that does not listen holds nothing up for longer; the round's table keeps the reason


def tell_rejected(carrier: Carrier, round_number: int, rejected: Iterable[Rejection]) -> None:
    """Tell each member that is there why it did not take part; who is away reads it at its site."""
    name = f"verdict-{round_number}-{time.time_ns()}"  # never the same: a member does a task it knows only once
    nodes = {carrier.member_of(node): node for node in carrier.get_node_ids()}
    messages = [
        carrier.create_message(Verdict(round_number, one.reason, one.text).record(), VERDICT, nodes[one.member], name)
        for one in rejected
        if one.member in nodes
    ]
    if messages:
        carrier.send_and_receive(messages, timeout=WAIT_S)
