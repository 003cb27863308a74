"""This file knows every setting of a gateway agent, its bounds and its default."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from gateway_agent.foreign.settings import ForeignMapping, check_mappings
from schemas.nameplate import Nameplate
from schemas.names import Name
from schemas.settings import BrokerSettings, ObserveSettings, Settings


class StoreSettings(Settings):
    """What is kept on disk, and how much of it."""

    folder: Path = Path("var")
    keep_raw: bool = Field(
        default=True, description="Without, nothing of a waveform is kept: results only, and no evidence on request."
    )
    raw_bytes: int = Field(
        default=2 << 30, ge=1 << 20, description="Ring of raw captures; the oldest segment goes first."
    )
    raw_days: float = Field(
        default=365.0, gt=0.0, le=3660.0, description="Raw captures leave the ring after this, a whole segment at once."
    )
    segment_bytes: int = Field(default=16 << 20, ge=1 << 16, description="The smallest piece the ring gives up.")
    pinned_bytes: int = Field(
        default=256 << 20, ge=1 << 20, description="Raw captures of alarms, evidence and labels, kept beyond the ring."
    )
    outbox_bytes: int = Field(
        default=256 << 20, ge=1 << 20, description="What may wait for the site; alarms are never dropped."
    )
    health_rows: int = Field(default=500_000, ge=1000, description="Rows of results kept here; the site has them all.")
    health_days: float = Field(default=1830.0, gt=0.0, le=36600.0, description="Results leave after this.")
    dead_letter_payload_bytes: int = Field(
        default=256 << 10, ge=0, le=4 << 20, description="What was refused is kept whole up to this; else its head."
    )
    dead_letter_bytes: int = Field(
        default=16 << 20, ge=0, description="All refused payloads together; the oldest keep only their head."
    )
    min_free_bytes: int = Field(
        default=64 << 20, ge=0, description="Below this the store refuses captures and says so."
    )


class IngestSettings(Settings):
    """How captures are taken in. The reader waits when the queue is full: the broker holds the rest."""

    reader: Literal["fast", "paho"] = Field(
        default="fast", description="What receives captures; both keep the same promises."
    )
    queue_captures: int = Field(default=256, ge=8, le=4096)
    batch_captures: int = Field(default=64, ge=1, le=512)
    batch_wait_s: float = Field(default=0.05, ge=0.0, le=1.0)
    fragment_bytes: int = Field(default=32 << 20, ge=1 << 16)
    fragment_age_s: float = Field(default=120.0, ge=1.0)
    silent_after_intervals: float = Field(
        default=3.0, ge=2.0, le=1000.0, description="Of a sensor's own, without a capture, until it counts as silent."
    )
    silent_after_s: float = Field(default=30.0, ge=1.0, description="And never before so many seconds.")


class CommissioningSettings(Settings):
    """How a point learns what healthy is."""

    captures: int = Field(default=40, ge=2, le=10_000, description="Good captures until the point is ready.")
    false_alarm_rate: float = Field(default=0.01, gt=0.0, le=0.2, description="Of single healthy captures.")
    detector: Literal["distance", "autoencoder"] = Field(
        default="distance", description="What decides: the distance in what the fleet knows, or the release's network."
    )


class AlarmSettings(Settings):
    """When evidence becomes an alarm (on-delay N of M, dead band, off-delay); a capture of danger counts twice."""

    on_count: int = Field(default=5, ge=1, le=20)
    of_count: int = Field(default=8, ge=1, le=50)
    off_count: int = Field(default=5, ge=1, le=100, description="Captures below the dead band until it returns.")
    dead_band: float = Field(default=0.10, ge=0.0, le=0.5)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.on_count > self.of_count:
            raise ValueError(f"on_count {self.on_count} found, at most of_count = {self.of_count} allowed")
        return self


class LearningSettings(Settings):
    """Whether and how this gateway takes part in learning."""

    take_part: bool = True
    carrier: Literal["mqtt", "superlink"] = Field(
        default="mqtt",
        description="As at the site; with superlink a SuperNode of this machine asks, at supernode_socket.",
    )
    supernode_socket: Path | None = Field(
        default=None, description="Where the SuperNode finds this agent: a path of at most 103 bytes."
    )
    supernode_group: str | None = Field(
        default=None, description="Whose members may ask; left out, the SuperNode must run as the agent's own user."
    )
    window_rows: int = Field(default=4096, ge=64, le=100_000, description="Healthy feature rows kept for training.")
    compare_every_s: float = Field(
        default=600.0, ge=1.0, le=86400.0,
        description="How often one machine is asked whether a model of its own would serve it better.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if (self.carrier == "superlink") != (self.supernode_socket is not None):
            raise ValueError(
                f"learning.carrier {self.carrier!r} with supernode_socket {self.supernode_socket} found; a SuperNode "
                "needs a socket, such as /run/undertone/learning.sock, and no other carrier does"
            )
        return self


class GatewaySettings(Settings):
    """All settings of one gateway agent."""

    site: Name
    gateway: Name
    broker: BrokerSettings
    signing_key_file: Path = Path("signing.key")
    keys_file: Path = Path("keys.toml")
    store: StoreSettings = StoreSettings()
    ingest: IngestSettings = IngestSettings()
    commissioning: CommissioningSettings = CommissioningSettings()
    alarm: AlarmSettings = AlarmSettings()
    learning: LearningSettings = LearningSettings()
    observe: ObserveSettings = ObserveSettings()
    accept_unknown_machines: bool = Field(default=False, description="Else their captures are dead letters.")
    status_interval_s: float = Field(default=10.0, ge=0.2, le=300.0)
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    machines: tuple[Nameplate, ...] = ()
    foreign: tuple[ForeignMapping, ...] = Field(
        default=(), max_length=64, description="Sensors of another language; docs/foreign-sensors.md."
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [plate.machine for plate in self.machines]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"machines {twice} are listed twice")
        check_mappings(self.foreign)
        return self
