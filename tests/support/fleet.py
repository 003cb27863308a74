"""Members and rounds that can be made anywhere from names alone: in a worker of Ray, in a process of a SuperNode.

`server` and `client` are what a stock SuperLink and its SuperNodes run; `python -m tests.support.fleet FILE` simulates
the same fleet on Ray. All leave what was merged in a file.
"""

import sys
from pathlib import Path

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from aggregator.carriers.flower_grid import FlowerGridCarrier
from aggregator.carriers.port import Carrier
from aggregator.carriers.ray_simulation import simulated_fleet
from aggregator.learning.strategy import MergeStrategy, Plan, RoundResult, run_rounds
from schemas.flower_codec import ClientCall
from schemas.release import TRAIN_STEP
from schemas.signing import Signer
from tests.support.learning import builtin, client_app, healthy_rows

FIRST = builtin(Signer.generate())  # parameters and graphs are the same whoever signed
MEMBERS = ("gw-1", "gw-2", "gw-3")
ROUNDS = 2


def make(name: str) -> ClientCall:
    """The Flower app of the gateway `gw-N`."""
    return client_app(FIRST, healthy_rows(int(name.removeprefix("gw-"))))


def rounds_over(carrier: Carrier, deadline_s: float = 60.0) -> list[RoundResult]:
    plan = Plan(graph=FIRST.manifest.files[TRAIN_STEP].sha256, steps=10, learning_rate=3e-3)
    strategy = MergeStrategy(carrier, plan, FIRST.parameters(), base_version=1)
    return run_rounds(carrier, strategy, rounds=ROUNDS, deadline_s=deadline_s)


server = ServerApp()


@server.main()
def serve(grid: Grid, context: Context) -> None:
    """Run the rounds as soon as the members are there."""
    learn(FlowerGridCarrier(grid), Path(str(context.run_config["out"])))


def learn(carrier: FlowerGridCarrier, out: Path) -> None:
    """Run the rounds and leave what was merged in the file `out`, whole or not at all."""
    if not carrier.wait_members(len(MEMBERS), 60):
        raise RuntimeError(f"members there: {[carrier.member_of(node) for node in carrier.get_node_ids()]}")
    merged = [result.theta for result in rounds_over(carrier)]
    draft = out.with_suffix(".part.npz")
    np.savez(draft, *[theta for theta in merged if theta is not None])
    draft.rename(out)


class OfNode(ClientApp):
    """The app of the member after which the node is called."""

    def __call__(self, message: Message, context: Context) -> Message:
        return make(str(context.node_config["member"]))(message, context)


client = OfNode()


def simulate(out: Path) -> None:
    import tests.support.fleet as importable  # Ray's workers cannot import what is called __main__

    with simulated_fleet(MEMBERS, importable.make) as carrier:
        learn(carrier, out)


if __name__ == "__main__":
    simulate(Path(sys.argv[1]))
