"""This file knows the carrier of a simulated fleet: Flower's simulation on Ray (extra `simulation`).

Ray runs the members' apps in workers of its own, each worker whichever member is due: an app is made there from its
member's name, once, and stays. Nobody's keys are looked at: it is for trying a fleet out, not for a plant.
"""

import functools
import importlib.util
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from aggregator.carriers.flower_grid import FlowerGridCarrier, Names
from schemas.flower_codec import ClientCall, tell_nobody

WHO = f"{MessageType.QUERY}.who"
_PARTITION = "partition-id"
READY_WITHIN_S = 180.0  # Ray starts processes of its own; a busy machine takes half a minute
STOP_WITHIN_S = 60.0

MakeApp = Callable[[str], ClientCall]
"""Makes a member's app from its name; a function of a module, which Ray's workers import."""


class SimulationMissing(RuntimeError):
    """Ray is not installed, or did not start."""


class FleetApp(ClientApp):
    """Every member in turn: Flower's simulation runs one app and tells it which of its numbered nodes it is."""

    def __init__(self, names: Sequence[str], make_app: MakeApp) -> None:
        super().__init__()
        self._names = tuple(names)
        self._make_app = make_app

    def __call__(self, message: Message, context: Context) -> Message:
        """Let the member answer whose node this is."""
        name = self._names[int(context.node_config[_PARTITION])]
        if message.metadata.message_type == WHO:
            return Message(RecordDict({"who": ConfigRecord({"name": name})}), reply_to=message)
        return _app_of(self._make_app, name)(message, context)


@functools.cache  # bounded by the fleet: an app for each member a worker has been
def _app_of(make_app: MakeApp, name: str) -> ClientCall:
    return make_app(name)


@contextmanager
def simulated_fleet(
    names: Sequence[str], make_app: MakeApp, *, cpus_a_member: float = 1.0
) -> Iterator[FlowerGridCarrier]:
    """Run Flower's simulation with these members for as long as the context lasts; one at a time in a process.

    Args:
        names: The members.
        make_app: See `MakeApp`.
        cpus_a_member: Of this machine's, while a member answers; so many run at once as fit.

    Raises:
        SimulationMissing: Ray is not installed, or did not start in time.
    """
    if importlib.util.find_spec("ray") is None:
        raise SimulationMissing("ray is not installed; pip install 'undertone[simulation]'")
    from flwr.simulation import run_simulation

    tell_nobody()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    grids: queue.Queue[Grid] = queue.Queue(1)
    over = threading.Event()
    server = ServerApp()

    @server.main()
    def lend_grid(grid: Grid, _context: Context) -> None:
        grids.put(grid)
        over.wait()

    resources = {"num_cpus": cpus_a_member, "num_gpus": 0.0}
    flower = threading.Thread(
        target=run_simulation, name="flower-simulation", daemon=True,
        args=(server, FleetApp(names, make_app), len(names)),
        kwargs={"backend_config": {"client_resources": resources}},
    )  # fmt: skip
    flower.start()
    try:
        try:
            grid = grids.get(timeout=READY_WITHIN_S)
        except queue.Empty:
            raise SimulationMissing(f"Flower's simulation did not start in {READY_WITHIN_S:g} s") from None
        known = call_roll(grid, len(names))
        carrier = FlowerGridCarrier(grid, lambda _grid: known)
        try:
            yield carrier
        finally:
            carrier.stop()
    finally:
        over.set()
        flower.join(STOP_WITHIN_S)


def call_roll(grid: Grid, count: int) -> Names:
    """Ask every node which member it is.

    Raises:
        SimulationMissing: Fewer than `count` nodes said so in time.
    """
    asked = [Message(RecordDict(), node, WHO, group_id="roll") for node in _wait_nodes(grid, count)]
    replies = grid.send_and_receive(asked, timeout=READY_WITHIN_S)
    names = {
        reply.metadata.src_node_id: str(reply.content.config_records["who"]["name"])
        for reply in replies
        if not reply.has_error()
    }
    if len(names) < count:
        raise SimulationMissing(f"{len(names)} of {count} simulated members answered in {READY_WITHIN_S:g} s")
    return names


def _wait_nodes(grid: Grid, count: int) -> list[int]:
    tick = threading.Event()
    for _ in range(int(READY_WITHIN_S / 0.1)):
        if len(nodes := list(grid.get_node_ids())) >= count:
            return nodes
        tick.wait(0.1)
    raise SimulationMissing(f"{count} simulated nodes were not there in {READY_WITHIN_S:g} s")
