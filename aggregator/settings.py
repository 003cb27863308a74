"""This file knows every setting of an aggregator, its bounds and its default, for site and enterprise alike."""

from pathlib import Path
from typing import Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, model_validator

from aggregator.merge.rule_names import Rule
from schemas.database import sqlite_url
from schemas.nameplate import Nameplate
from schemas.names import Name
from schemas.settings import BrokerSettings, ObserveSettings, Settings, is_loopback

Role = Literal["site", "enterprise"]


class SuperLinkCarrierSettings(Settings):
    """A stock Flower SuperLink on this machine that carries the learning; it runs our relay as its ServerApp."""

    host: str = Field(default="127.0.0.1", description="As in the SuperLink's certificate.")
    port: int = Field(default=8000, ge=1, le=65535)
    ca_file: Path | None = Field(default=None, description="The CA that has signed the SuperLink's certificate.")
    insecure: bool = Field(default=False, description="No TLS and no check of nodes; on the loopback only.")
    socket: Path | None = Field(
        default=None, description="Where its relay finds us, a path of at most 103 bytes; folder/flower/relay.sock."
    )
    socket_group: str | None = Field(
        default=None, description="Whose members may carry; left out, the SuperLink must run as the same user."
    )
    flwr: Path | None = Field(default=None, description="Flower's command; left out, the one beside this program.")
    start_within_s: float = Field(default=60.0, ge=5.0, le=600.0, description="From a submission to its relay.")
    attempts: int = Field(
        default=10, ge=1, le=1000, description="Runs in a row that come to nothing; then no more until it restarts."
    )

    @model_validator(mode="after")
    def _secure(self) -> Self:
        if self.insecure and not is_loopback(self.host):
            raise ValueError(
                f"insecure = true with host {self.host!r} found, on the loopback only allowed; set ca_file, and start "
                "the SuperLink with --ssl-certfile, --ssl-keyfile and --enable-supernode-auth"
            )
        if self.insecure == (self.ca_file is not None):
            raise ValueError(
                f"ca_file {self.ca_file} with insecure = {str(self.insecure).lower()} found; set ca_file to the CA of "
                "the SuperLink's certificate, or insecure = true on a machine of your own to try it out"
            )
        return self

    @property
    def address(self) -> str:
        """As Flower's own commands want it."""
        return f"{self.host}:{self.port}"


class LearningSettings(Settings):
    """When members are asked to learn, and what makes a round count."""

    enabled: bool = True
    carrier: Literal["mqtt", "superlink"] = Field(
        default="mqtt", description="The plant's own broker, or a Flower SuperLink that the site runs already."
    )
    superlink: SuperLinkCarrierSettings | None = Field(default=None, description="With carrier superlink.")
    round_interval_s: float = Field(default=900.0, ge=1.0, description="From the start of a round to that of the next.")
    deadline_s: float = Field(default=60.0, ge=1.0, le=3600.0, description="How long a round waits for its members.")
    quorum_share: float = Field(default=0.5, gt=0.0, le=1.0, description="Of the invited; fewer void the round.")
    min_members: int = Field(default=1, ge=1, le=10_000, description="No round is offered to fewer.")
    wrong_members: int | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="Wrong members a round must withstand: fewer than twice as many and 3 accepted updates void it. "
        "Left out: 1 from 6 invited on, 2 from 9, 3 from 12, a fifth from 16; none below 6, and the pages say so.",
    )
    max_rounds: int = Field(default=0, ge=0, description="Stop after so many; 0 never stops.")
    steps: int = Field(default=60, ge=1, le=10_000, description="Training steps a member does in a round.")
    learning_rate: float = Field(default=1e-3, gt=0.0, le=0.1)
    proximal: float = Field(default=0.01, ge=0.0, le=10.0, description="Pull back to the release's parameters.")
    rule_settings: dict[str, float] = Field(
        default={}, max_length=32, description="Of the release's learning rule, such as pull or sigma; it has defaults."
    )
    max_staleness: int = Field(
        default=4, ge=0, le=40, description="An update learnt on a release so many versions back still counts, less."
    )
    upward: Literal["asynchronous", "synchronous"] = Field(
        default="asynchronous",
        description="Sites offer what they have learnt, or the enterprise asks and waits; the same at both.",
    )
    buffer_sites: int = Field(
        default=3,
        ge=1,
        le=1000,
        description="An enterprise merges once so many sites have offered, or all there, or after a round_interval.",
    )
    participants: Literal["auto", "all", "chosen"] = Field(
        default="auto",
        description="Ask all members, or choose by what they can and have contributed; auto: choose_from.",
    )
    choose_from: int = Field(default=30, ge=2, le=10_000, description="With auto, fewer members are all asked.")
    places: int = Field(default=20, ge=3, le=10_000, description="Members asked in a round, where they are chosen.")
    rule: Rule = Field(
        default="auto", description="How updates are merged; auto: by their number, see docs/proof/robust_rules.md."
    )
    root_member: Name | None = Field(
        default=None,
        description="For rule fltrust: the gateway that learns from healthy captures of all kinds of machine that the "
        "site's own people have checked; the others count as far as they agree with it.",
    )
    first_release: Path | None = Field(
        default=None, description="A folder of `aggregator fit` to start from; else the one gateways came with."
    )

    @model_validator(mode="after")
    def _is_carried(self) -> Self:
        if (self.carrier == "superlink") != (self.superlink is not None):
            there = "without" if self.superlink is None else "with"
            raise ValueError(
                f"carrier {self.carrier!r} {there} [learning.superlink] found; "
                'a SuperLink needs that table with host, port and ca_file, and carrier = "superlink" beside it'
            )
        return self

    @model_validator(mode="after")
    def _trusts_somebody(self) -> Self:
        if (self.rule == "fltrust") != (self.root_member is not None):
            raise ValueError(
                f"rule {self.rule!r} with root_member {self.root_member!r} found; "
                "fltrust needs a gateway whose rows are the site's own, and no other rule does"
            )
        return self


class RolloutSettings(Settings):
    """How a new release goes out to the gateways of a site, stage by stage."""

    staged: bool = Field(default=True, description="Else every release goes to every gateway at once, untried.")
    canaries: int = Field(default=1, ge=1, le=1000, description="Gateways that go first; at most half, but one.")
    shadow_s: float = Field(default=3600.0, ge=0.0, description="Scored beside the one in use at least so long.")
    shadow_windows: int = Field(default=200, ge=0, description="And on at least so many captures of the canaries.")
    canary_s: float = Field(default=3600.0, ge=0.0, description="In use on the canaries at least so long.")
    shares: tuple[float, ...] = Field(default=(0.25,), max_length=8, description="Of the gateways, in steps.")
    share_s: float = Field(default=3600.0, ge=0.0, description="At least so long at each step, and watched at the end.")
    answer_s: float = Field(default=120.0, ge=0.0, description="How long gateways may take to judge a candidate.")
    valid_days: float = Field(
        default=30.0,
        ge=1.0,
        le=3660.0,
        description="So long gateways may take a release into use; the one in use goes out anew at half of it.",
    )
    roll_back_people: Literal[1, 2] = Field(
        default=1, description="Who must ask for a release to be taken back; the second within an hour."
    )
    most_auroc_loss: float = Field(default=0.01, ge=0.0, le=1.0, description="On synthetic faults.")
    most_loss_rise: float = Field(default=1.05, ge=1.0, le=10.0, description="Factor, on healthy captures held back.")

    @model_validator(mode="after")
    def _shares_are_shares(self) -> Self:
        if not all(0.0 < share < 1.0 for share in self.shares):
            raise ValueError(f"shares {self.shares} found, each between 0 and 1 allowed; everywhere comes by itself")
        return self


class UplinkSettings(Settings):
    """Where the enterprise is, for a site that takes part there; the site's own rounds never wait for it."""

    enterprise: Name
    broker: BrokerSettings
    repeat_s: float = Field(
        default=30.0,
        ge=0.2,
        le=900.0,
        description="Until an offer that was not acknowledged is sent again; it doubles.",
    )
    summary: bool = Field(
        default=True, description="Tell the enterprise how many machines stand how; the ledger counts it."
    )
    summary_interval_s: float = Field(default=300.0, ge=1.0, le=86_400.0)
    summary_names_machines: bool = Field(
        default=False, description="Name the five worst machines in it, with their likeliest cause."
    )


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


class ChannelSettings(Settings):
    """A way to tell somebody, by the name that routes use: mail, chat, text message, whatever apprise knows."""

    name: Name
    url_file: Path = Field(description="One line, an address as apprise writes it; it may hold passwords.")


class WebhookSettings(Settings):
    """A program that is told of work orders, and of cases by routes that name it; bodies are signed."""

    name: Name
    url_file: Path = Field(description="One line, https://...; http:// only to this machine.")
    secret_file: Path = Field(description="One line; the key of the signature (HMAC-SHA256).")
    allow_plaintext: bool = Field(default=False, description="Accept http:// to other machines.")


class NotificationSettings(Settings):
    """How people and programs are told; who is told of what is decided on the settings page."""

    language: Literal["en", "de"] = "en"
    zone: str = Field(default="UTC", description="Time zone of the plant, for times in messages.")
    dashboard_address: str = Field(
        default="", pattern=r"^(https?://[^\s]+)?$", description="What links in messages begin with; none when empty."
    )
    channels: tuple[ChannelSettings, ...] = ()
    webhooks: tuple[WebhookSettings, ...] = ()
    at_most: int = Field(default=10, ge=2, le=1000, description="Notices to one channel within `within_s`.")
    within_s: float = Field(default=600.0, ge=1.0, le=86400.0)
    timeout_s: float = Field(default=10.0, ge=0.5, le=120.0)
    retry_s: float = Field(default=10.0, ge=0.05, le=3600.0, description="After the first failure; doubles each time.")
    retry_longest_s: float = Field(default=3600.0, ge=0.05, le=86400.0)
    give_up_after_s: float = Field(
        default=2 * 86400.0, ge=1.0, description="Then a delivery is dead, and shown as such."
    )
    keep_days: float = Field(default=90.0, gt=0.0, le=3660.0, description="Deliveries that are done leave after this.")
    poll_s: float = Field(default=1.0, ge=0.05, le=60.0)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [*(one.name for one in self.channels), *(one.name for one in self.webhooks)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"channels {twice} are listed twice; webhooks share their names")
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"zone {self.zone!r} found, one such as Europe/Berlin expected") from error
        return self


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
    rollout: RolloutSettings = RolloutSettings()
    uplink: UplinkSettings | None = None
    historian: HistorianSettings = HistorianSettings()
    desk: DeskSettings = DeskSettings()
    notifications: NotificationSettings = NotificationSettings()
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
        if self.role == "enterprise" and self.learning.carrier != "mqtt":
            raise ValueError(
                f"carrier {self.learning.carrier!r} found for an enterprise, 'mqtt' allowed: sites reach it over its "
                "broker; a site may have its gateways' learning carried by a SuperLink"
            )
        if self.role == "enterprise" and self.uplink is not None:
            raise ValueError("an enterprise has no uplink; remove [uplink], or set role = 'site'")
        if self.uplink is not None and self.uplink.enterprise == self.name:
            raise ValueError(f"site and enterprise are both called {self.name!r}; their names must differ")
        return self
