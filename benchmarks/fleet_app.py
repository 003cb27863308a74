"""This file knows the apps that rounds are measured with: the same `ClientApp` and rounds on both sides of a ratio.

Two members. `small_member` has next to no work of its own: what a round of it takes is the carrier's. `real_member` is
a gateway's app as it is, with the release that ships with the product.

As a program it is a member in a process: `python -m benchmarks.fleet_app GATEWAY_TOML`, `small_member` over the broker.
"""

import functools
import json
import signal
import sys
import time
from pathlib import Path

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from numpy.typing import NDArray

from aggregator.carriers.flower_grid import FlowerGridCarrier
from aggregator.carriers.port import Carrier
from aggregator.learning.strategy import MergeStrategy, Plan, run_rounds
from aggregator.merge.rule_names import Rule
from benchmarks.large_release import release_to_measure
from gateway_agent.federation import make_client_app
from gateway_agent.model_slot import ModelSlot
from gateway_agent.settings import GatewaySettings
from schemas.flower_codec import ClientCall
from schemas.learning_task import EvaluationReply, LearningTask, TrainingReply
from schemas.member_link import MemberLink, Membership
from schemas.release import TRAIN_STEP, Release
from schemas.settings import load_settings
from schemas.signing import KeyRing, Signer

PARAMETERS = 50_000
MEMBERS = ("gw-1", "gw-2", "gw-3")
ROWS, FEATURES = 320, 48
MACHINES = 16  # of different scatter; a thousand members have one of these each
DEADLINE_S = 600.0

small_member = ClientApp()


@small_member.train()
def _answer_at_once(message: Message, _context: Context) -> Message:
    task = LearningTask.read(message)
    delta = np.full(task.theta.size, 1e-3, np.float32)
    delta[task.round_number % task.theta.size] *= 2
    return Message(TrainingReply(task.base_version, delta, 100.0, 1.0, 0.9, 20).record(), reply_to=message)


@small_member.evaluate()
def _judge_at_once(message: Message, _context: Context) -> Message:
    LearningTask.read(message)
    return Message(EvaluationReply(0.9, 20).record(), reply_to=message)


def rounds_s(carrier: Carrier, app: str, count: int, rule: Rule = "auto") -> list[float]:
    """Seconds that each of so many rounds of the members called `app` took, after one to warm up."""
    theta, plan = np.zeros(PARAMETERS, np.float32), Plan(graph="0" * 64, rule=rule)
    if app == "real":
        graph = release().manifest.files[TRAIN_STEP].sha256
        theta, plan = release().parameters(), Plan(graph=graph, steps=1, rule=rule)
    return _timed(carrier, MergeStrategy(carrier, plan, theta, base_version=1), count)


def _timed(carrier: Carrier, strategy: MergeStrategy, count: int) -> list[float]:
    taken_s = []
    for number in range(count + 1):
        strategy.begin_at(number + 1)
        began_s = time.perf_counter()
        (result,) = run_rounds(carrier, strategy, rounds=1, deadline_s=DEADLINE_S)
        taken_s.append(time.perf_counter() - began_s)
        if result.void or result.rejected:
            raise RuntimeError(f"round {number} is void: {result.void!r} {result.rejected[:3]}")
    return taken_s[1:]


@functools.cache
def release() -> Release:
    """The release that ships with the product, or the larger one."""
    return release_to_measure()


@functools.cache
def _slot() -> ModelSlot:
    slot = ModelSlot()
    slot.load(release())
    return slot


@functools.cache
def _machine_rows(machine: int) -> NDArray[np.float32]:
    draw = np.random.default_rng(machine)
    mixing = np.random.default_rng(7).standard_normal((3, FEATURES))
    rows = draw.standard_normal((ROWS, 3)) @ mixing / np.sqrt(3) + 0.2 * draw.standard_normal((ROWS, FEATURES))
    healthy: NDArray[np.float32] = rows.astype(np.float32)
    return healthy


def real_member(name: str) -> ClientCall:
    """A gateway's app; members of one process share the release, as they would share its files."""
    rows = _machine_rows(int(name.rpartition("-")[2]) % MACHINES)
    return make_client_app(release, _slot().train_step, lambda: rows)


def small_member_called(_name: str) -> ClientCall:
    """Every member is the same."""
    return small_member


APPS = {"small": small_member_called, "real": real_member}


class _OfNode(ClientApp):
    """The real member after which a SuperNode is called."""

    def __call__(self, message: Message, context: Context) -> Message:
        return real_member(str(context.node_config["member"]))(message, context)


real_client = _OfNode()
server = ServerApp()


@server.main()
def _measure(grid: Grid, context: Context) -> None:
    """What a stock SuperLink runs: rounds, and their seconds into a file."""
    told = {key: str(value) for key, value in context.run_config.items()}
    carrier = FlowerGridCarrier(grid)
    if not carrier.wait_members(int(told["members"]), DEADLINE_S):
        raise RuntimeError("members did not come")
    taken_s = rounds_s(carrier, told["app"], int(told["rounds"]))
    out = Path(told["out"])
    draft = out.with_suffix(".part")
    draft.write_text(json.dumps(taken_s))
    draft.rename(out)


def main(settings_file: Path) -> None:
    """Serve the small member until ended."""
    settings = load_settings(GatewaySettings, settings_file, {})
    MemberLink(
        settings.broker, Membership(settings.site, "site", settings.gateway), small_member,
        signer=Signer.load(settings.signing_key_file), keys=KeyRing.load(settings.keys_file),
        clock_us=lambda: time.time_ns() // 1000,
    ).start()  # fmt: skip
    signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
