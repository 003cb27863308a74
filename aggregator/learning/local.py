"""This file knows how rounds run within one process: the same apps, strategy and merge as on a plant's broker."""

from collections.abc import Callable, Mapping

from aggregator.carriers.local import LocalCarrier
from aggregator.learning.strategy import MergeStrategy, Parameters, Plan, RoundResult, run_rounds
from aggregator.learning.variation import VariationResult, learn_variation
from schemas.flower_codec import ClientCall


def run_local_rounds(
    members: Mapping[str, ClientCall],
    theta: Parameters,
    plan: Plan,
    *,
    rounds: int,
    on_round: Callable[[RoundResult], None] | None = None,
) -> tuple[Parameters, list[RoundResult]]:
    """Learn for so many rounds with members in this process.

    A void round changes nothing, and the next one starts from the same parameters with another seed.

    Args:
        members: The Flower app of each member, by name; a gateway's is `gateway_agent.federation.make_client_app`.
        theta: Parameters to start from, shape (P,).
        plan: What each round asks, and how it is merged.
        rounds: How many.
        on_round: Told each round as it ends.

    Returns:
        The parameters after the last good round, and what came of each.
    """
    carrier = LocalCarrier(members)
    strategy = MergeStrategy(carrier, plan, theta, base_version=1)
    for number in range(rounds):
        strategy.begin_at(number + 1)
        (result,) = run_rounds(carrier, strategy, rounds=1, deadline_s=float("inf"))
        if on_round is not None:
            on_round(result)
    return strategy.theta, strategy.results


def learn_local_variation(members: Mapping[str, ClientCall]) -> VariationResult:
    """Learn how healthy machines vary from members in this process; see `run_local_rounds`."""
    return learn_variation(LocalCarrier(members), name="fit", deadline_s=float("inf"), max_sessions=float("inf"))
