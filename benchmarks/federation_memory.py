"""This file knows what taking part in the learning adds to a gateway's memory, beside what a SuperNode takes.

A process with what a gateway has anyway (its model in use, judge, store, broker client), then what federation and
training add to it: Flower, a member that serves, rounds of learning with a network of 18,720 parameters.

As a program it is that process: `python -m benchmarks.federation_memory GATEWAY_TOML`.
"""

import importlib.util
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

import gateway_agent.store  # an agent has these before it learns
import gateway_agent.worker  # noqa: F401
import schemas.link  # noqa: F401
from benchmarks.figures import Figure
from benchmarks.large_release import large_release, release_to_measure
from gateway_agent.memory import tune_allocator
from gateway_agent.model_slot import ModelSlot
from gateway_agent.settings import GatewaySettings
from schemas.metrics import memory_bytes
from schemas.settings import load_settings
from schemas.signing import KeyRing, Signer

MEMBER = "gw-1"
ROUNDS, FLOWER_ROUNDS, REPEATS = 5, 3, 3
TARGET_MB = 60.0
ROWS, FEATURES = 4096, 48  # as many as a gateway's window holds


def federation_memory_mb() -> Figure:
    """What the process holds after rounds of learning, less what it held before it imported anything for them."""
    if importlib.util.find_spec("jax") is None:
        note = "NOT MEASURED, JAX makes the network: make bench ONLY=... VENV=.venv-nightly LOCK=nightly"
        return Figure("federation_memory_mb", None, "MB", TARGET_MB, "below", None, None, (), note)
    with large_release() as release:
        repeats = tuple(_gained_mb() for _ in range(REPEATS))
        superlink_mb = _supernode_mb()
    note = (
        f"VmRSS after {ROUNDS} rounds of {release.manifest.parameter_count} parameters, less VmRSS with model, store "
        f"and broker client; beside it the most that one SuperNode and its app's processes held in the same rounds"
    )
    value = median(repeats)
    return Figure("federation_memory_mb", value, "MB", TARGET_MB, "below", value, superlink_mb, repeats, note)


FIGURES = (federation_memory_mb,)


def _gained_mb() -> float:
    from aggregator.learning.strategy import MergeStrategy, Plan, run_rounds
    from benchmarks.rounds import member_plant
    from schemas.release import TRAIN_STEP

    release = release_to_measure()
    with member_plant([MEMBER], "benchmarks.federation_memory") as (_, carrier, (member,)):
        plan = Plan(graph=release.manifest.files[TRAIN_STEP].sha256)
        strategy = MergeStrategy(carrier, plan, release.parameters(), base_version=1)
        results = run_rounds(carrier, strategy, rounds=ROUNDS, deadline_s=60)
        refused = [result.rejected for result in results if result.rejected]
        if refused:
            raise RuntimeError(f"the member refused: {refused[0]}")
        said, _ = member.communicate(b"\n", timeout=30)
    before, after = (int(line) for line in said.split())
    return (after - before) / 1e6


def _supernode_mb() -> float:
    from benchmarks.process_tree import watched
    from benchmarks.rounds import over_superlink_s

    with watched() as processes:
        over_superlink_s(FLOWER_ROUNDS, app="real", members=[MEMBER], node_environment=processes.mark_of_ours)
    return processes.peak_mb


def main(settings_file: Path) -> None:
    """Be a gateway that judges, then one that learns too; say what was held before, and at a line of input after."""
    tune_allocator()
    settings = load_settings(GatewaySettings, settings_file, {})
    release = release_to_measure()
    slot = ModelSlot()
    slot.load(release)
    rows = np.random.default_rng(1).standard_normal((ROWS, FEATURES), np.float32)
    slot.score(rows[:3])
    print(memory_bytes(), flush=True)

    from gateway_agent.federation import make_client_app
    from schemas.member_link import MemberLink, Membership

    app = make_client_app(lambda: release, slot.train_step, lambda: rows)
    MemberLink(
        settings.broker, Membership(settings.site, "site", settings.gateway), app,
        signer=Signer.load(settings.signing_key_file), keys=KeyRing.load(settings.keys_file),
        clock_us=lambda: time.time_ns() // 1000,
    ).start()  # fmt: skip
    sys.stdin.readline()
    print(memory_bytes(), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
