"""This file knows which settings of a running gateway agent can be taken over, and why the others need a restart."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from gateway_agent.batch import URGENT, Batch
from gateway_agent.intake import Intake
from gateway_agent.judge import Judge, bearing_orders
from gateway_agent.outside import Outside
from gateway_agent.settings import GatewaySettings
from gateway_agent.site_plates import SitePlates
from gateway_agent.worker import IngestWorker
from schemas.errors import ContractError
from schemas.logs import event
from schemas.reload import compare, take_over

log = logging.getLogger(__name__)

RELOADABLE = {
    "log_level": "at once",
    "status_interval_s": "at once",
    "observe": "at once; the token is read anew each time",
    "machines": "from the next capture: new machines are heard, changed nameplates count, others are refused",
    "accept_unknown_machines": "from the next capture",
    "alarm": "from the next capture; an alarm that stands stays",
    "ingest.batch_captures": "from the next batch",
    "ingest.batch_wait_s": "from the next batch",
}
"""Setting or group -> when a reload takes it over."""

NEEDS_RESTART = {
    "site": "it names the agent's topics and keys",
    "gateway": "it names the agent's topics, keys and broker session",
    "broker": "connections are made once",
    "signing_key_file": "keys are read once",
    "keys_file": "keys are read once",
    "store": "the store is opened once",
    "ingest": "the window is agreed with the broker when it is connected",
    "commissioning": "limits that are calibrated keep what they were calibrated with, until maintenance is recorded",
    "learning": "the member joins its site's learning once",
    "foreign": "what is subscribed to is fixed when the broker is connected",
}
"""Setting or group -> why only a restart takes it over."""


@dataclass(slots=True)
class Reload:
    """Takes changed settings over, in the main thread; what concerns captures in the ingest worker's."""

    read: Callable[[], GatewaySettings]
    outside: Outside
    intake: Intake
    worker: IngestWorker
    plates: SitePlates

    def carry_out(self, running: GatewaySettings) -> GatewaySettings:
        """Read the settings again; what is in force afterwards. Settings that cannot be used change nothing."""
        try:
            read = self.read()
            for plate in read.machines:
                bearing_orders(plate)
            self.outside.listen(read.observe)
        except (ContractError, OSError) as error:
            event(log, logging.ERROR, "settings_not_reloaded", text=f"{error}; nothing has changed")
            return running
        changes = compare(running, read, reloadable=RELOADABLE)
        for name in changes.at_restart:
            event(log, logging.WARNING, "setting_needs_restart", setting=name,
                  text=f"{name} stays as it was until the agent is restarted: {_why(name)}")  # fmt: skip
        settings = take_over(running, read, changes.now)
        self.outside.settings = settings
        logging.getLogger().setLevel(settings.log_level)

        def take_in(judge: Judge, batch: Batch) -> None:
            use_plates(judge, batch, self.plates.over(settings))
            self.worker.use_settings(settings.ingest)
            self.intake.machines = frozenset(plate.machine for plate in settings.machines)
            self.intake.accept_unknown_machines = settings.accept_unknown_machines

        self.worker.do(take_in)
        event(log, logging.INFO, "settings_reloaded", changed=list(changes.now), at_restart=list(changes.at_restart))
        return settings


def use_plates(judge: Judge, batch: Batch, settings: GatewaySettings) -> None:
    """Judge by the nameplates of these settings from the next capture on, and tell of each point that it concerns."""
    for point, records in judge.use_settings(settings, at_us=batch.now_us).items():
        batch.records += [(URGENT, record) for record in records]
        batch.point_states[point] = judge.monitors[point].dump()


def _why(name: str) -> str:
    return NEEDS_RESTART.get(name.partition(".")[0], "it is read once")
