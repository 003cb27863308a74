"""This file knows who is enrolled: names, kinds, certificates, and broker passwords where there are no certificates."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from aggregator.certificates import write_private
from aggregator.settings import AggregatorSettings
from schemas.errors import SettingsError
from schemas.foreign_topics import check_foreign_filter
from schemas.names import Name

Kind = Literal["gateway", "sensors", "dashboard", "site", "enterprise", "releaser"]


class Client(BaseModel):
    """One client on the list.

    Attributes:
        gateway: For sensors: to which gateway they may speak.
        writes: For sensors of another language: the topics they may write, and their gateway read; they get no others.
        serials: Certificates issued to it that may still be valid.
        password: For the embedded broker, which has no certificates; none when revoked.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    kind: Kind
    gateway: Name | None = None
    writes: tuple[Annotated[str, AfterValidator(check_foreign_filter)], ...] = ()
    serials: tuple[int, ...] = ()
    password: str = ""
    not_after_us: int = 0
    revoked: bool = False


class Clients(BaseModel):
    """Everybody who was ever enrolled, and the serial numbers that no longer hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    clients: tuple[Client, ...] = ()
    revoked_serials: tuple[int, ...] = ()

    def find(self, name: str) -> Client | None:
        """The client of this name."""
        return next((client for client in self.clients if client.name == name), None)

    def with_client(self, client: Client) -> "Clients":
        """Return the list with this client in place of the one of the same name."""
        others = tuple(one for one in self.clients if one.name != client.name)
        return self.model_copy(update={"clients": (*others, client)})

    def without_certificates_of(self, client: Client) -> "Clients":
        """Return the list with all certificates of a client revoked."""
        serials = dict.fromkeys((*self.revoked_serials, *client.serials))
        return self.model_copy(update={"revoked_serials": tuple(serials)})


def clients_file(settings: AggregatorSettings) -> Path:
    """Where the list is kept; it holds passwords and only its owner can read it."""
    return settings.folder / "clients.json"


def read_clients(settings: AggregatorSettings) -> Clients:
    """Read the list; empty where nobody was enrolled yet.

    Raises:
        SettingsError: It cannot be read.
    """
    path = clients_file(settings)
    try:
        return Clients.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Clients()
    except (OSError, ValidationError) as error:
        raise SettingsError(f"list of clients {path} cannot be read ({error}); restore it from a backup") from error


def write_clients(settings: AggregatorSettings, clients: Clients) -> None:
    """Write the list, whole or not at all."""
    write_private(clients_file(settings), clients.model_dump_json(indent=1).encode())


@contextlib.contextmanager
def alone(settings: AggregatorSettings) -> Iterator[None]:
    """Let one process at a time change the list."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    with (settings.folder / "clients.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
