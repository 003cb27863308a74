"""This file knows what the demonstration plant consists of: who is there, where their files lie, who plays what."""

from dataclasses import dataclass
from pathlib import Path

ENTERPRISE = "group"
PHONE, PROGRAM = "shift-phone", "maintenance"
"""Channels of every site: to people, and to the maintenance system."""


@dataclass(frozen=True, slots=True)
class GatewayPlace:
    """One gateway with the sensors beside it.

    Attributes:
        site: The site's name.
        name: The gateway's name.
        folder: Its bundle, settings and memory.
        sensors_folder: The same of its sensors.
        machines: Nameplates as TOML tables, in the order they are listed.
        commissioning_captures: Good captures until a point is ready.
    """

    site: str
    name: str
    folder: Path
    sensors_folder: Path
    machines: tuple[dict[str, object], ...]
    commissioning_captures: int

    @property
    def sensors(self) -> str:
        """Under which name its sensors are enrolled."""
        return f"{self.name}-sensors"

    @property
    def machine_names(self) -> tuple[str, ...]:
        """The machines it listens to."""
        return tuple(str(plate["machine"]) for plate in self.machines)


@dataclass(frozen=True, slots=True)
class AggregatorPlace:
    """A site or the enterprise: its broker, its aggregator and its dashboard.

    Attributes:
        role: `site` or `enterprise`.
        name: Its name.
        folder: Settings, database, certificate authority.
        broker_port: Where its broker listens on the loopback.
        dashboard_port: Where its dashboard listens; None where it has none.
    """

    role: str
    name: str
    folder: Path
    broker_port: int
    dashboard_port: int | None

    @property
    def settings_file(self) -> Path:
        """What `aggregator --settings` is given."""
        return self.folder / f"{self.role}.toml"

    @property
    def own_bundle(self) -> Path:
        """The bundle with which it connects to its own broker."""
        return self.folder / "own"

    @property
    def uplink_bundle(self) -> Path:
        """The bundle with which a site connects to the enterprise's broker."""
        return self.folder / "uplink"

    @property
    def dashboard_folder(self) -> Path:
        """Settings, key and token of its dashboard."""
        return self.folder / "dashboard"

    @property
    def database(self) -> Path:
        """Its SQLite file."""
        return self.folder / "var" / f"{self.role}.db"


@dataclass(frozen=True, slots=True)
class MessagesPlace:
    """What stands in for a phone and a maintenance system: where it listens, and what lies in files beside it.

    Attributes:
        folder: The words below, in files that only their owner can read.
        port: On the loopback.
        word: Under which everything lies.
    """

    folder: Path
    port: int
    word: str

    @property
    def word_file(self) -> Path:
        """Holds the word."""
        return self.folder / "word"

    @property
    def secret_file(self) -> Path:
        """Holds the key by which the maintenance system knows that it was the plant."""
        return self.folder / "webhook.secret"

    def url_file(self, site: str, channel: str) -> Path:
        """Holds the address of a site's channel."""
        return self.folder / f"{site}-{channel}.url"


@dataclass(frozen=True, slots=True)
class Expected:
    """What is going to happen, for people to read and for a check to hold.

    Attributes:
        failing: (site, machine) of every machine that gets an alarm.
        begins_s: When the first of them begins to fail, seconds after the sensors start.
        words: The same in words, one line each.
    """

    failing: frozenset[tuple[str, str]]
    begins_s: float
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DemoPlant:
    """All of it."""

    folder: Path
    enterprise: AggregatorPlace
    sites: tuple[AggregatorPlace, ...]
    gateways: tuple[GatewayPlace, ...]
    messages: MessagesPlace
    expected: Expected

    @property
    def aggregators(self) -> tuple[AggregatorPlace, ...]:
        """The enterprise first: sites look for it when they start."""
        return (self.enterprise, *self.sites)

    def gateways_of(self, site: str) -> tuple[GatewayPlace, ...]:
        """The gateways of one site."""
        return tuple(gateway for gateway in self.gateways if gateway.site == site)
