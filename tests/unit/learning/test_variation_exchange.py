"""The two questions by which a fleet learns how sound machines vary: what an answer may hold, and how loud it is."""

import numpy as np
import pytest
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from aggregator.carriers.local import LocalCarrier
from aggregator.learning.variation import learn_variation
from gateway_agent.session_sums import Session, answer_variation
from schemas.flower_codec import ClientCall
from schemas.variation import SessionSums, Variation
from schemas.variation_task import ACTION, VariationMessage
from tests.support.sessions import LAYOUT, session
from vibration.detection_features import DETECTION_COUNT


def honest(seed: int) -> ClientCall:
    """A gateway of one sound machine."""
    app = ClientApp()
    heard = [Session(session(seed, 20), LAYOUT)]

    @app.query(ACTION)
    def tell(message: Message, _context: Context) -> Message:
        known = VariationMessage.read(message).known
        return Message(VariationMessage(answer_variation(heard, known)).record(), reply_to=message)

    return app


def saying(sums: SessionSums) -> ClientCall:
    """A member that answers both questions alike."""
    app = ClientApp()

    @app.query(ACTION)
    def tell(message: Message, _context: Context) -> Message:
        return Message(VariationMessage(Variation({LAYOUT: sums})).record(), reply_to=message)

    return app


def test_each_question_is_answered_once_and_nothing_is_counted_twice() -> None:
    learnt = learn_variation(LocalCarrier({f"gw-{n}": honest(n) for n in range(4)}), name="x", deadline_s=5.0)
    assert (learnt.known.sessions, learnt.known.layouts[LAYOUT].played) == (4.0, 4.0)


@pytest.mark.parametrize("played", [1.0, 1e6])
def test_plays_in_the_answer_to_the_first_question_are_not_heard(played: float) -> None:
    """They once came past the cap, a million from one gateway."""
    loud = SessionSums(1.0, np.zeros(DETECTION_COUNT), played, np.full(6, played))
    members = {**{f"gw-{n}": honest(n) for n in range(4)}, "gw-loud": saying(loud)}
    learnt = learn_variation(LocalCarrier(members), name="x", deadline_s=5.0, max_sessions=8.0)
    sums = learnt.known.layouts[LAYOUT]
    assert sums.sessions == pytest.approx(5.0)
    assert sums.played == pytest.approx(4.0 + min(played, 8.0))
