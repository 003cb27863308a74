"""This file knows which settings of a running aggregator can be taken over, and why the others need a restart."""

import logging
from collections.abc import Callable
from typing import Protocol

import sqlalchemy as sa

from aggregator.historian import Historian
from aggregator.outside import Outside
from aggregator.settings import AggregatorSettings
from schemas.errors import ContractError
from schemas.logs import event
from schemas.reload import compare, take_over

log = logging.getLogger(__name__)

RELOADABLE = {
    "log_level": "at once",
    "observe": "at once; the token is read anew each time",
    "machines": "at once; what the dashboard shows of a machine that is no longer listed stays",
    "historian.batch_messages": "from the next commit",
    "historian.batch_wait_s": "from the next commit",
    "learning.round_interval_s": "from the next round",
    "learning.deadline_s": "from the next round",
    "learning.quorum_share": "from the next round",
    "learning.min_members": "from the next round",
    "learning.max_rounds": "from the next round",
    "learning.steps": "from the next round",
    "learning.learning_rate": "from the next round",
    "learning.proximal": "from the next round",
    "learning.rule_settings": "from the next round",
    "rollout": "at the next look; `staged` and `valid_days` from the next release on",
    "learning.max_staleness": "from the next round",
    "learning.buffer_sites": "from the next round",
    "learning.participants": "from the next round",
    "learning.choose_from": "from the next round",
    "learning.places": "from the next round",
}
"""Setting or group -> when a reload takes it over."""

NEEDS_RESTART = {
    "role": "it decides which parts there are",
    "name": "it names topics, keys and broker sessions",
    "broker": "connections are made once",
    "folder": "the database is opened once",
    "database_url": "the database is opened once",
    "signing_key_file": "it is read once",
    "keys_file": "the file is followed while running, its place is not",
    "broker_server": "it is read by `aggregator broker`; restart that",
    "learning": "it decides which parts there are",
    "uplink": "it decides which parts there are",
    "historian": "the queue is made once",
    "desk": "it is read once",
    "notifications": "channels are made once; routes, addresses and secrets are read anew each time",
    "offline_after_s": "it is read once",
}
"""Setting or group -> why only a restart takes it over."""


class TakesSettings(Protocol):
    """A part that can be given other settings while it works."""

    def use_settings(self, settings: AggregatorSettings) -> None:
        """Work by them from the next piece of work on."""


def reload(
    running: AggregatorSettings, read_again: Callable[[], AggregatorSettings], *, outside: Outside,
    historian: Historian | None, parts: list[TakesSettings],
) -> AggregatorSettings:  # fmt: skip
    """Read the settings again; what is in force afterwards. Settings that cannot be used change nothing."""
    try:
        read = read_again()
        outside.listen(read.observe)
    except (ContractError, OSError) as error:
        return _refuse(running, error)
    try:
        if historian is not None and read.machines != running.machines:
            historian.write_nameplates(read.machines)
    except sa.exc.DBAPIError as error:
        outside.listen(running.observe)
        return _refuse(running, error)
    changes = compare(running, read, reloadable=RELOADABLE)
    for name in changes.at_restart:
        event(log, logging.WARNING, "setting_needs_restart", setting=name,
              text=f"{name} stays as it was until the aggregator is restarted: {_why(name)}")  # fmt: skip
    settings = take_over(running, read, changes.now)
    outside.settings = settings
    logging.getLogger().setLevel(settings.log_level)
    for part in parts:
        part.use_settings(settings)
    event(log, logging.INFO, "settings_reloaded", changed=list(changes.now), at_restart=list(changes.at_restart))
    return settings


def _refuse(running: AggregatorSettings, error: Exception) -> AggregatorSettings:
    event(log, logging.ERROR, "settings_not_reloaded", text=f"{error}; nothing has changed")
    return running


def _why(name: str) -> str:
    return NEEDS_RESTART.get(name.partition(".")[0], "it is read once")
