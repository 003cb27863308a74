"""This file knows the carrier of a site whose learning a stock SuperLink carries, from within the site's own process.

Rounds, merge and releases are those of any carrier. A member counts while its SuperNode is registered under its name
at the SuperLink and its key is on the site's list: who is revoked here is not asked there.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flwr.app import Error, Message

from aggregator.carriers.flower_grid import FlowerGridCarrier, Names, registered_names
from aggregator.carriers.relayed_grid import RelayedGrid
from aggregator.carriers.superlink_relay import OVERSIZED, UNUSABLE
from aggregator.carriers.superlink_supervisor import FlowerRuns, Supervisor
from aggregator.settings import SuperLinkCarrierSettings
from schemas.local_socket import Listener
from schemas.signing import KeyRing

OWN_REASONS = {UNUSABLE: "bad_message", OVERSIZED: "oversized"}


class SuperLinkCarrier(FlowerGridCarrier):
    """Carries between a site and its gateways' SuperNodes; made, it listens for relays.

    Args:
        settings: Which SuperLink.
        folder: The site's; Flower's command finds there what it needs.
        keys: Gateways on it may be members.

    Raises:
        SettingsError: The socket cannot be made.
        SecretMissing: Something Flower's command needs is not there.
    """

    returns_within_s = 60.0

    def __init__(self, settings: SuperLinkCarrierSettings, folder: Path, keys: KeyRing) -> None:
        home = folder / "flower"
        path = settings.socket or home / "relay.sock"
        runs = FlowerRuns(settings, home, path.absolute())
        self._relayed = RelayedGrid(Listener(path, settings.socket_group))
        super().__init__(self._relayed, lambda grid: members_among(registered_names(grid), keys), within_flower=False)
        self._supervisor = Supervisor(
            settings, runs, expect=self._relayed.expect,
            relayed=lambda: (self._relayed.connected, self._relayed.lost),
        )  # fmt: skip

    @property
    def connected(self) -> bool:
        """Whether a run's relay is there."""
        return self._relayed.connected

    @property
    def fault(self) -> Exception | None:
        """What ended a thread of ours, if anything did."""
        return self._supervisor.fault or self._relayed.fault

    def story(self) -> dict[str, Any]:
        """How the SuperLink stands, and how many runs it took."""
        return self._supervisor.story()

    def start(self) -> None:
        """Wait for relays, and see that there is a run."""
        self._relayed.start()
        self._supervisor.start()

    def stop(self) -> None:
        """End a `send_and_receive` under way, and the run."""
        super().stop()
        self._supervisor.stop()
        self._relayed.stop()

    def reason_of(self, error: Error) -> str:
        """What Flower's engines mean, or our relay."""
        return OWN_REASONS.get(error.code) or super().reason_of(error)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Send tasks and wait for replies, at most `timeout` seconds, whatever becomes of the run meanwhile."""
        replies = super().send_and_receive(messages, timeout=timeout)
        self._relayed.note_late(self._late)
        return replies


def members_among(nodes: Names, keys: KeyRing) -> Names:
    """Of nodes, those called after a gateway whose key is on the list."""
    gateways = {key.name for key in keys if key.role == "gateway"}
    return {node_id: name for node_id, name in nodes.items() if name in gateways}
