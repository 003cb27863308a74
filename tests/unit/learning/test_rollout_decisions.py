"""What a site does about one gateway, from nothing but what that gateway says."""

from aggregator.rollout import REPEAT_S, Decision, decide
from schemas.messages import GatewayStatus


def status(version: int, *, digest: str = "old", online: bool = True, problem: str = "") -> GatewayStatus:
    return GatewayStatus(
        gateway="gw-1", online=online, boot=1, at_us=0, software="test", release_version=version,
        release_digest=digest, release_problem=problem,
    )  # fmt: skip


def decided(said: GatewayStatus, *, offered_at_s: float | None = None, now_s: float = 100.0) -> Decision:
    return decide(4, "new", said, offered_at_s=offered_at_s, now_s=now_s)


def test_a_gateway_that_runs_an_older_release_is_offered_the_current_one() -> None:
    assert decided(status(3)) == Decision("offered", offer=True)


def test_a_gateway_that_runs_it_is_done() -> None:
    assert decided(status(4, digest="new")) == Decision("running", offer=False)


def test_the_version_alone_is_not_believed() -> None:
    assert decided(status(4, digest="other")).offer


def test_a_gateway_that_is_away_is_offered_nothing() -> None:
    assert decided(status(3, online=False)) == Decision(None, offer=False)


def test_an_offer_is_repeated_only_after_a_while() -> None:
    assert not decided(status(3), offered_at_s=100.0 - REPEAT_S / 2).offer
    assert decided(status(3), offered_at_s=100.0 - REPEAT_S).offer


def test_a_refusal_is_kept_with_its_text_and_the_offer_ends() -> None:
    text = "release 4 refused (bad_golden): golden scores differ"
    assert decided(status(3, problem=text)) == Decision("refused", offer=False, text=text)


def test_a_refusal_of_an_earlier_release_does_not_count_against_this_one() -> None:
    assert decided(status(3, problem="release 3 refused (disk): full")).offer


def test_a_gateway_with_a_newer_release_than_any_here_is_left_alone_and_named() -> None:
    decision = decided(status(9))
    assert (decision.state, decision.offer) == ("refused", False)
    assert "runs release 9" in decision.text
