"""This file knows every setting of the dashboard, its bounds and its default."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.names import Name
from schemas.requests import Role
from schemas.settings import Settings, is_loopback


class OidcSettings(Settings):
    """The plant's own provider of identities (OpenID Connect)."""

    server_metadata_url: str = Field(pattern="^https?://", description="Ends in .well-known/openid-configuration.")
    client_id: str = Field(min_length=1)
    client_secret_file: Path = Field(description="One line; what the provider gave for this client.")
    cookie_secret_file: Path = Field(default=Path("oidc-cookie.key"), description="Made at the first start.")
    reached_at: str = Field(
        default="", description="How browsers reach this page, https://screen.example; the address by default."
    )
    name_claim: str = Field(default="preferred_username", description="Under which people are known here.")
    role_claim: str = Field(default="groups", description="A word or a list of words.")
    roles: dict[str, Role] = Field(min_length=1, description="Word of the claim to role; the first that fits counts.")


class AccessSettings(Settings):
    """Who gets in, and as what."""

    by: Literal["people", "token", "oidc"] = Field(
        default="people",
        description="people: names and passwords kept by the site. token: one word for all. oidc: a "
        "provider of the plant.",
    )
    token_file: Path = Field(default=Path("access.token"), description="Made at the first start; one line.")
    token_role: Role = Field(default="technician", description="Role of everybody who shows the token.")
    session_h: float = Field(default=12.0, gt=0.0, le=24 * 31, description="Then a person signs in again.")
    idle_h: float = Field(default=4.0, gt=0.0, le=24 * 31, description="As long without opening a page, too.")
    oidc: OidcSettings | None = Field(default=None, description="The plant's provider; needed for by = 'oidc'.")
    allow_without_token: bool = Field(default=False, description="Everybody who reaches the page gets in.")


class LiveSettings(Settings):
    """How often live parts look again, and when silence counts."""

    refresh_s: float = Field(default=5.0, ge=1.0, le=300.0)
    stale_after_intervals: float = Field(default=3.0, ge=1.0, le=100.0, description="Missed captures of a point.")
    stale_floor_s: float = Field(default=30.0, ge=1.0, description="No point is stale before this age.")
    assumed_interval_s: float = Field(default=900.0, ge=1.0, description="Until a point's interval is known.")


HttpAddress = Annotated[str, Field(pattern=r"^https?://[^\s<>\"'`]+$", max_length=500)]


class DashboardSettings(Settings):
    """All settings of one dashboard."""

    role: Literal["site", "enterprise"] = Field(
        default="site", description="Whose database it is: machines of a site, or the sites of an enterprise."
    )
    site_addresses: dict[Name, HttpAddress] = Field(
        default={}, max_length=1000, description="Of an enterprise's sites: where each one's own dashboard is."
    )
    name: Name = Field(default="dashboard", description="Under this name the site lists the dashboard's key.")
    title: str = Field(default="Plant", min_length=1, max_length=60)
    database_url: str = Field(description="SQLAlchemy URL of the site's database.")
    signing_key_file: Path = Field(default=Path("dashboard.key"), description="Made at the first start.")
    host: str = "127.0.0.1"
    port: int = Field(default=8501, ge=1, le=65535)
    reached_as: tuple[str, ...] = Field(default=(), description="Further host names people type to get here.")
    allow_beyond_loopback: bool = False
    certificate_file: Path | None = Field(default=None, description="TLS; PEM, with its chain.")
    key_file: Path | None = None
    access: AccessSettings = AccessSettings()
    live: LiveSettings = LiveSettings()
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    @model_validator(mode="after")
    def _secure(self) -> Self:
        beyond = not is_loopback(self.host)
        if beyond and not self.allow_beyond_loopback:
            raise ValueError(
                f"host {self.host} can be reached from other machines; put a reverse proxy in front of 127.0.0.1, or "
                "set allow_beyond_loopback = true if you accept that everybody on the network can try to get in"
            )
        if beyond and self.access.allow_without_token:
            raise ValueError(
                f"host {self.host} can be reached from other machines and allow_without_token lets everybody in; "
                "one of the two must go"
            )
        if self.access.by == "oidc" and self.access.oidc is None:
            raise ValueError("access.by is 'oidc' and there is no [access.oidc]; it names the provider")
        if self.access.allow_without_token and self.access.by != "token":
            raise ValueError(
                f"allow_without_token goes with access.by = 'token' alone, {self.access.by!r} found; one of the two "
                "must go"
            )
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together; one is missing")
        return self

    @property
    def address(self) -> str:
        """What a person types into the browser on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104
        return f"{'http' if self.certificate_file is None else 'https'}://{host}:{self.port}/"
