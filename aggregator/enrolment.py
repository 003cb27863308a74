"""This file knows how somebody joins the plant, stays, and is thrown out: one bundle a client, one list of all.

enroll   certificate, broker password, signing key, settings: everything a client needs, in one folder
renew    a new certificate with a new key for the same name; the old one runs out by itself
revoke   off the list of keys, onto the list of revoked certificates, out of the broker
"""

import datetime as dt
import secrets
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from aggregator.broker_files import (
    ServedBy,
    ServerFiles,
    access_list,
    address_for_clients,
    broker_table,
    gateway_settings,
    mosquitto_settings,
    names_of_server,
)
from aggregator.certificates import Authority, write_private
from aggregator.client_list import Client, Clients, Kind, alone, read_clients, write_clients
from aggregator.errors import EnrolmentRefused
from aggregator.settings import AggregatorSettings
from schemas.errors import SettingsError
from schemas.foreign_topics import check_foreign_filter
from schemas.names import check_name
from schemas.signing import AllowedKey, KeyRing, Role, Signer

PASSWORD_BYTES = 24
_SIGNS_AS: dict[Kind, Role] = {
    "gateway": "gateway",
    "dashboard": "dashboard",
    "site": "site",
    "enterprise": "enterprise",
    "releaser": "releaser",
}  # sensors do not sign: the gateway beside them vouches
_TOLD_TO_CLIENTS: frozenset[Role] = frozenset({"site", "enterprise", "releaser"})
_KINDS_AT: dict[str, frozenset[Kind]] = {
    "site": frozenset({"gateway", "sensors", "dashboard", "site", "enterprise", "releaser"}),
    "enterprise": frozenset({"dashboard", "site", "enterprise", "releaser"}),
}


class Office:
    """Enrols, renews and revokes the clients of one site or enterprise."""

    def __init__(self, settings: AggregatorSettings, *, by: ServedBy, now: Callable[[], dt.datetime]) -> None:
        self._settings = settings
        self._by = by
        self._now = now

    def enroll(
        self,
        name: str,
        kind: Kind,
        out: Path,
        *,
        gateway: str | None = None,
        writes: tuple[str, ...] = (),
        key_file: Path | None = None,
        replace: bool = False,
    ) -> Client:
        """Make a client known and write its bundle.

        Args:
            name: What it is called on the broker, in topics and on the list.
            kind: What it may do.
            out: The folder of the bundle; settings that stand there already are kept.
            gateway: For sensors: the gateway they speak to.
            writes: For sensors of another language: their topics; the gateway may read them from then on.
            key_file: A public key that it has already, instead of a new signing key.
            replace: Whether a client of this name gives way; its certificates are revoked.

        Raises:
            NameError_: The name is not safe.
            TopicError: One of the topics would let it write, or the gateway read, what is another's.
            EnrolmentRefused: It is taken, or such a client cannot be enrolled here.
        """
        check_name(name)
        if writes and kind != "sensors":
            raise EnrolmentRefused(f"topics of their own are for sensors, and not for a {kind}; leave --writes out")
        for topic in writes:
            check_foreign_filter(topic)
        own = name == self._settings.name
        with alone(self._settings):
            clients = read_clients(self._settings)
            self._check(clients, name, kind, gateway=gateway, key_file=key_file, replace=replace)
            before = clients.find(name)
            if before is not None:
                clients = clients.without_certificates_of(before)
            client = Client(name=name, kind=kind, gateway=gateway, writes=writes)
            ring = self._own_ring()
            if before is not None and before.kind in _SIGNS_AS and not own:
                ring = ring.without(name, _SIGNS_AS[before.kind])
            signer = None
            if not own and kind in _SIGNS_AS:
                signer = Signer.generate() if key_file is None else None
                public = signer.public if signer else _read_public(key_file, name, _SIGNS_AS[kind])
                ring = ring.with_key(AllowedKey(name, _SIGNS_AS[kind], public))
            if self._connects(kind, own=own):
                client = self._certify(client, out, password=secrets.token_urlsafe(PASSWORD_BYTES))
                self._write_settings(client, out)
            if signer is not None:
                signer.save(out / "signing.key")
            self._write_keys(ring, client, out)
            self._take_over(clients.with_client(client), ring)
        return client

    def renew(self, name: str, out: Path) -> Client:
        """Write a new certificate with a new key, and the present list of keys, for a client on the list.

        The old certificate holds until it runs out, so that the client can change over when it suits.

        Raises:
            EnrolmentRefused: The client is not on the list, or is revoked.
        """
        with alone(self._settings):
            clients = read_clients(self._settings)
            client = clients.find(name)
            if client is None or client.revoked:
                found = "is revoked" if client else "is not enrolled"
                raise EnrolmentRefused(f"{name} {found}; `aggregator enroll {name}` makes a new bundle")
            ring = self._own_ring()
            if self._connects(client.kind, own=name == self._settings.name):
                client = self._certify(client, out, password=client.password)
            self._write_keys(ring, client, out)
            self._take_over(clients.with_client(client), ring)
        return client

    def revoke(self, name: str) -> Client:
        """Throw a client out: nothing it signs is believed, and the broker lets it in no more.

        Raises:
            EnrolmentRefused: It is not on the list, or is this aggregator itself.
        """
        with alone(self._settings):
            clients = read_clients(self._settings)
            client = clients.find(name)
            if client is None:
                known = ", ".join(one.name for one in clients.clients) or "nobody"
                raise EnrolmentRefused(f"{name} is not enrolled; enrolled: {known}")
            if name == self._settings.name:
                raise EnrolmentRefused(
                    f"{name} is this aggregator itself; `aggregator enroll {name} --replace` renews it"
                )
            ring = self._own_ring()
            if client.kind in _SIGNS_AS:
                ring = ring.without(name, _SIGNS_AS[client.kind])
            revoked = client.model_copy(update={"revoked": True, "password": "", "serials": ()})
            self._take_over(clients.without_certificates_of(client).with_client(revoked), ring)
        return revoked

    def _check(
        self, clients: Clients, name: str, kind: Kind, *, gateway: str | None, key_file: Path | None, replace: bool
    ) -> None:
        role, own = self._settings.role, self._settings.name
        if kind not in _KINDS_AT[role]:
            raise EnrolmentRefused(
                f"a {kind} is not enrolled at an {role}; allowed: {', '.join(sorted(_KINDS_AT[role]))}"
            )
        if name == own and kind != role:
            raise EnrolmentRefused(f"{own!r} is the name of this {role} itself; a {kind} needs another")
        if kind == "site" and role == "site" and name != own:
            raise EnrolmentRefused(
                f"this site is called {own!r}, not {name!r}; other sites are enrolled at the enterprise"
            )
        if kind == "enterprise" and role == "enterprise" and name != own:
            raise EnrolmentRefused(f"this enterprise is called {own!r}, not {name!r}")
        if (kind == "sensors") != (gateway is not None):
            raise EnrolmentRefused("sensors need the gateway they speak to, and nobody else does: --gateway NAME")
        if gateway is not None:
            beside = clients.find(gateway)
            if beside is None or beside.kind != "gateway" or beside.revoked:
                raise EnrolmentRefused(f"gateway {gateway} is not enrolled; enrol it first")
        if key_file is None and (kind == "releaser" or (kind == "enterprise" and role == "site")):
            raise EnrolmentRefused(f"a {kind} brings its own public key: --key FILE (keys.toml or PEM)")
        before = clients.find(name)
        if before is not None and not replace:
            state = "revoked" if before.revoked else "enrolled"
            raise EnrolmentRefused(
                f"{name} is {state} already, as {before.kind}; --replace makes a new bundle and ends the old"
            )

    def _connects(self, kind: Kind, *, own: bool) -> bool:
        return own or kind in {"gateway", "sensors", "site"}

    def _own_ring(self) -> KeyRing:
        """The list of keys with our own on it; key and list are made on first use."""
        file = self._settings.signing_key_file
        if not file.exists():
            Signer.generate().save(file)
        signer = Signer.load(file)
        ring = KeyRing.load(self._settings.keys_file) if self._settings.keys_file.exists() else KeyRing(())
        return ring.with_key(AllowedKey(self._settings.name, self._settings.role, signer.public))

    def _certify(self, client: Client, out: Path, *, password: str) -> Client:
        authority = authority_of(self._settings, now=self._now())
        issued = authority.issue_client(client.name, now=self._now())
        out.mkdir(parents=True, exist_ok=True, mode=0o700)
        (out / "ca.crt").write_bytes(authority.certificate_file.read_bytes())
        (out / f"{client.kind}.crt").write_bytes(issued.certificate)
        write_private(out / f"{client.kind}.key", issued.key)
        write_private(out / "password", f"{password}\n".encode())
        return client.model_copy(
            update={
                "serials": (*client.serials, issued.serial),
                "password": password,
                "not_after_us": int(issued.not_after.timestamp() * 1e6),
            }
        )

    def _write_settings(self, client: Client, out: Path) -> None:
        server = self._settings.broker_server
        table = broker_table(
            address_for_clients(server), server.port, by=self._by, client=client.name, stem=client.kind
        )
        (out / "broker.toml").write_text(table)
        if client.kind == "gateway" and not (out / "gateway.toml").exists():
            (out / "gateway.toml").write_text(gateway_settings(self._settings.name, client.name, table))

    def _write_keys(self, ring: KeyRing, client: Client, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True, mode=0o700)
        rows: list[AllowedKey] = list(ring.__iter__())
        KeyRing(key for key in rows if key.role in _TOLD_TO_CLIENTS).save(out / "keys.toml")
        role = _SIGNS_AS.get(client.kind)
        KeyRing(key for key in rows if (key.name, key.role) == (client.name, role)).save(out / "public.toml")

    def _take_over(self, clients: Clients, ring: KeyRing) -> None:
        write_clients(self._settings, clients)
        draft = self._settings.keys_file.with_name(f"{self._settings.keys_file.name}.new")
        ring.save(draft)
        draft.replace(self._settings.keys_file)
        if self._by == "mosquitto":
            write_mosquitto_files(self._settings, clients, now=self._now())


def authority_of(settings: AggregatorSettings, *, now: dt.datetime) -> Authority:
    """The certificate authority of this site or enterprise; made on first use."""
    return Authority(settings.folder / "authority", settings.name, now=now)


def write_mosquitto_files(settings: AggregatorSettings, clients: Clients, *, now: dt.datetime) -> Path:
    """Write everything mosquitto reads; return its settings file."""
    authority = authority_of(settings, now=now)
    server = settings.broker_server
    folder = server.folder
    (folder / "memory").mkdir(parents=True, exist_ok=True)
    certificate, key = authority.server_files(names_of_server(server), now=now)
    files = ServerFiles(
        authority=authority.certificate_file.resolve(),
        certificate=certificate.resolve(),
        key=key.resolve(),
        revocations=(folder / "revoked.pem").resolve(),
        access=(folder / "access.acl").resolve(),
        memory=(folder / "memory").resolve(),
    )
    write_private(files.revocations, authority.revocations(clients.revoked_serials, now=now))
    write_private(files.access, access_list(settings, clients).encode())
    config = folder / "mosquitto.conf"
    write_private(config, mosquitto_settings(server, files, owner=folder.owner()).encode())
    return config


def _read_public(file: Path | None, name: str, role: Role) -> bytes:
    assert file is not None
    try:
        content = file.read_bytes()
    except OSError as error:
        raise EnrolmentRefused(f"key {file} cannot be read: {error.strerror}") from error
    if content.startswith(b"-----BEGIN"):
        return _public_of_pem(content, file)
    try:
        rows: list[AllowedKey] = list(KeyRing.load(file).__iter__())
    except SettingsError as error:
        raise EnrolmentRefused(str(error)) from error
    found = [key for key in rows if (key.name, key.role) == (name, role)]
    if not found:
        listed = ", ".join(f"{key.role} {key.name}" for key in rows) or "nobody"
        raise EnrolmentRefused(f"key list {file} has no key of {role} {name}; it has: {listed}")
    return found[0].public


def _public_of_pem(content: bytes, file: Path) -> bytes:
    try:
        key: object = (
            load_pem_private_key(content, password=None) if b"PRIVATE" in content else load_pem_public_key(content)
        )
    except (ValueError, TypeError) as error:
        raise EnrolmentRefused(f"key {file} cannot be read: {error}") from error
    if isinstance(key, Ed25519PrivateKey):
        key = key.public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise EnrolmentRefused(f"key {file} is no ed25519 key")
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)
