"""This file knows every setting of an aggregator, its bounds and its default, for site and enterprise alike."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from schemas.database import sqlite_url
from schemas.nameplate import Nameplate
from schemas.names import Name
from schemas.settings import BrokerSettings, ObserveSettings, Settings, is_loopback

Role = Literal["site", "enterprise"]


class LearningSettings(Settings):
    """When members are asked to learn, and what makes a round count."""

    enabled: bool = True
    round_interval_s: float = Field(default=900.0, ge=1.0, description="From the start of a round to that of the next.")
    deadline_s: float = Field(default=60.0, ge=1.0, le=3600.0, description="How long a round waits for its members.")
    quorum_share: float = Field(default=0.5, gt=0.0, le=1.0, description="Of the invited; fewer void the round.")
    min_members: int = Field(default=1, ge=1, le=10_000, description="No round is offered to fewer.")
    max_rounds: int = Field(default=0, ge=0, description="Stop after so many; 0 never stops.")
    steps: int = Field(default=60, ge=1, le=10_000, description="Training steps a member does in a round.")
    learning_rate: float = Field(default=1e-3, gt=0.0, le=0.1)
    proximal: float = Field(default=0.01, ge=0.0, le=10.0, description="Pull back to the release's parameters.")
    first_release: Path | None = Field(
        default=None, description="A folder of `aggregator fit` to start from; else the one gateways came with."
    )


class UplinkSettings(Settings):
    """Where the enterprise is, for a site that takes part there; the site's own rounds never wait for it."""

    enterprise: Name
    broker: BrokerSettings


class BrokerServerSettings(Settings):
    """The broker that `aggregator broker` runs for this site or enterprise."""

    kind: Literal["auto", "mosquitto", "embedded"] = Field(
        default="auto", description="auto: mosquitto where it is installed, else the embedded broker."
    )
    host: str = Field(default="127.0.0.1", description="The address to listen on; the embedded one only on loopback.")
    port: int = Field(default=8883, ge=1, le=65535)
    reached_as: tuple[str, ...] = Field(
        default=(), description="Names and addresses under which clients reach it; the first goes into bundles."
    )
    folder: Path = Field(default=Path("broker"), description="Generated settings and the broker's own memory.")
    max_packet_bytes: int = Field(default=2 << 20, ge=262_144, le=64 << 20)
    max_queued_messages: int = Field(default=100_000, ge=1000, description="Kept for one client that is away.")
    max_queued_bytes: int = Field(default=256 << 20, ge=1 << 20, description="Kept for one client that is away.")
    max_connections: int = Field(default=2000, ge=4, le=100_000)

    @model_validator(mode="after")
    def _embedded_stays_at_home(self) -> Self:
        if self.kind == "embedded" and not is_loopback(self.host):
            raise ValueError(
                f"the embedded broker has no certificates and listens on the loopback only, {self.host} found; "
                "install mosquitto to serve a network"
            )
        return self


class HistorianSettings(Settings):
    """How records are taken in."""

    batch_messages: int = Field(default=32, ge=1, le=500, description="At most so many messages in one commit.")
    batch_wait_s: float = Field(default=0.05, ge=0.0, le=1.0)
    queue_messages: int = Field(default=1000, ge=8, le=10_000, description="When full, the broker holds the rest.")
    dead_letter_rows: int = Field(default=1000, ge=10, le=1_000_000, description="Kept to look at; all are counted.")


class DeskSettings(Settings):
    """How what people ask for is carried out."""

    poll_s: float = Field(default=0.5, ge=0.05, le=30.0)
    repeat_s: float = Field(default=10.0, ge=0.2, le=600.0, description="Until a gateway has answered a command.")
    patience_s: float = Field(default=7 * 86400.0, ge=1.0, description="After that an unanswered request is refused.")


class AggregatorSettings(Settings):
    """All settings of one aggregator."""

    role: Role = "site"
    name: Name
    broker: BrokerSettings
    folder: Path = Field(default=Path("var"), description="Database, certificate authority and list of clients.")
    database_url: str = Field(default="", description="SQLAlchemy URL; SQLite in the folder when empty.")
    signing_key_file: Path = Path("signing.key")
    keys_file: Path = Path("keys.toml")
    broker_server: BrokerServerSettings = BrokerServerSettings()
    learning: LearningSettings = LearningSettings()
    uplink: UplinkSettings | None = None
    historian: HistorianSettings = HistorianSettings()
    desk: DeskSettings = DeskSettings()
    observe: ObserveSettings = ObserveSettings()
    offline_after_s: float = Field(default=60.0, ge=1.0, description="Silence until a gateway counts as away.")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    machines: tuple[Nameplate, ...] = Field(default=(), description="What the dashboard shows beside a machine.")

    @property
    def database(self) -> str:
        """The URL of the database in use."""
        return self.database_url or sqlite_url(self.folder / f"{self.role}.db")

    @property
    def lock_file(self) -> Path:
        """What a running aggregator holds locked."""
        return self.folder / f"{self.role}.lock"

    @property
    def live_file(self) -> Path:
        """Where a running aggregator leaves what only it knows, for `status` beside it."""
        return self.folder / f"{self.role}-live.json"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [plate.machine for plate in self.machines]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"machines {twice} are listed twice")
        if self.role == "enterprise" and self.uplink is not None:
            raise ValueError("an enterprise has no uplink; remove [uplink], or set role = 'site'")
        if self.uplink is not None and self.uplink.enterprise == self.name:
            raise ValueError(f"site and enterprise are both called {self.name!r}; their names must differ")
        return self
