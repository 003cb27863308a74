"""This file knows every setting of the simulator, its bounds and its default."""

from datetime import datetime
from pathlib import Path
from typing import Self

from pydantic import AwareDatetime, Field, model_validator

from schemas.names import Name
from schemas.settings import BrokerSettings, Settings


class SimulatorSettings(Settings):
    """All settings of one process that plays sensors: simulated ones or recordings."""

    site: Name
    gateway: Name | None = Field(default=None, description="Listens to every machine that is not under [gateways].")
    gateways: dict[Name, Name] = Field(default_factory=dict, description="Machine to gateway.")
    broker: BrokerSettings
    client_id: str | None = Field(
        default=None, min_length=1, max_length=64, description="Unique at the broker; the username if not set."
    )
    scenario: Path | None = Field(default=None, description="TOML; needed by `run` and not by `replay`.")
    variables: dict[str, float] = Field(default_factory=dict, description="Of the scenario; these win.")
    seed: int = Field(default=0, ge=0, lt=1 << 63)
    run: int | None = Field(default=None, ge=0, lt=1 << 63, description="Decides the sensors' boots; random if unset.")
    speed: float = Field(default=1.0, ge=0, le=100_000, description="Plant seconds a second; 0: as fast as it goes.")
    start_s: float = Field(default=0.0, ge=0, description="Where in the machines' lives to begin.")
    stop_s: float | None = Field(default=None, gt=0, description="Where to end; never if unset.")
    starts_at: AwareDatetime | None = Field(default=None, description="The sensors' date at the start; now if unset.")
    queue_deliveries: int = Field(default=2000, ge=1, le=100_000)
    resend_s: float = Field(default=15.0, gt=0, le=3600, description="Kept captures are sent again after so long.")
    linger_s: float = Field(default=10.0, ge=0, le=3600, description="At the end, wait so long for acknowledgements.")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.stop_s is not None and self.stop_s <= self.start_s:
            raise ValueError(f"stop_s is {self.stop_s}, after start_s = {self.start_s} expected")
        if self.starts_at is not None and not 2005 <= self.starts_at.year <= 2090:
            raise ValueError(f"starts_at is in {self.starts_at.year}; 2005 to 2090 allowed")
        return self

    @property
    def client(self) -> str:
        """What the broker knows us as."""
        return self.client_id or self.broker.username or f"sensors-{self.site}"

    def epoch_us(self, now: datetime) -> int:
        """Return the sensors' date at second 0 of the scenario, microseconds since 1970 UTC."""
        begins = self.starts_at or now
        return round((begins.timestamp() - self.start_s) * 1e6)
