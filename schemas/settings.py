"""This file knows how settings are read: TOML first, environment on top, unknown keys refused, secrets in files."""

import ipaddress
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.errors import SecretMissing, SettingsError

ENVIRONMENT_PREFIX = "UNDERTONE_"
NOT_SETTINGS = frozenset({"UNDERTONE_RECORDINGS"})  # names a folder of recordings for tests and benchmarks


class Settings(BaseModel):
    """Base of every settings group: closed to unknown keys, frozen once loaded."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class BrokerSettings(Settings):
    """How to reach an MQTT broker. Without certificates only the loopback is allowed."""

    host: str = "127.0.0.1"
    port: int = Field(default=1883, ge=1, le=65535)
    username: str | None = None
    password_file: Path | None = Field(default=None, description="One line; never in the TOML itself.")
    ca_file: Path | None = Field(default=None, description="The site's own CA; turns TLS on.")
    certificate_file: Path | None = None
    key_file: Path | None = None
    keepalive_s: int = Field(default=30, ge=5, le=600, description="Silence until we count as gone.")
    session_expiry_s: int = Field(default=7 * 86400, ge=60, description="How long the broker keeps for us.")
    max_packet_bytes: int = Field(default=262_144, ge=16_384, description="Larger payloads go in fragments.")
    allow_plaintext_beyond_loopback: bool = False
    allow_anonymous: bool = False

    @model_validator(mode="after")
    def _secure(self) -> Self:
        if self.ca_file is None and not is_loopback(self.host) and not self.allow_plaintext_beyond_loopback:
            raise ValueError(
                f"broker {self.host} is not on this machine and no ca_file is set; enrol this client, or set "
                "allow_plaintext_beyond_loopback = true if you accept that everybody on the network can read and write"
            )
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together; one is missing")
        known = self.certificate_file is not None or (self.username is not None and self.password_file is not None)
        if not known and not self.allow_anonymous:
            raise ValueError(
                "no client certificate and no username with password_file; enrol this client, or set "
                "allow_anonymous = true on a broker that lets everybody in"
            )
        return self


class ObserveSettings(Settings):
    """Where metrics and health are shown over HTTP. Nothing listens without a port."""

    port: int | None = Field(default=None, ge=1, le=65535, description="Off when absent.")
    host: str = "127.0.0.1"
    token_file: Path | None = Field(default=None, description="One line; asked for as `Authorization: Bearer ...`.")
    allow_anonymous_beyond_loopback: bool = False

    @model_validator(mode="after")
    def _secure(self) -> Self:
        if not is_loopback(self.host) and self.token_file is None and not self.allow_anonymous_beyond_loopback:
            raise ValueError(
                f"{self.host} can be reached from outside and no token_file is set; set one, or "
                "allow_anonymous_beyond_loopback = true if you accept that everybody on the network can read"
            )
        return self


_S = TypeVar("_S", bound=Settings)


def user_folder() -> Path:
    """Where this user's own files of the product lie (XDG base directories)."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "undertone"


def read_secret(path: Path) -> str:
    """Read a one-line secret.

    Raises:
        SecretMissing: The file is not there, not readable or empty.
    """
    try:
        secret = path.read_text().strip()
    except OSError as error:
        raise SecretMissing(f"secret {path} cannot be read: {error.strerror}; enrol again or fix its rights") from error
    if not secret:
        raise SecretMissing(f"secret {path} is empty; enrol again")
    return secret


def load_settings(
    kind: type[_S], path: Path | None, environment: Mapping[str, str] | None = None, *, base: Path | None = None
) -> _S:
    """Read settings of one service.

    Values of the environment win: `UNDERTONE_BROKER__PORT=8883` sets `port` in `[broker]`. Relative paths in the
    file are relative to the file.

    Args:
        kind: The service's settings class.
        path: The TOML file; only defaults and environment if None.
        environment: Defaults to that of the process.
        base: What relative paths are relative to; the folder of the file by default.

    Raises:
        SettingsError: The file or a value cannot be used; the message names each setting.
    """
    table: dict[str, Any] = {}
    if path is not None:
        try:
            table = tomllib.loads(path.read_text())
        except FileNotFoundError as error:
            raise SettingsError(
                f"settings file {path} is not there; see deploy/examples for one to start from"
            ) from error
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"settings file {path} cannot be read: {error}") from error
    for name, value in (os.environ if environment is None else environment).items():
        if name.startswith(ENVIRONMENT_PREFIX) and name not in NOT_SETTINGS:
            _place(table, name, value)
    if base is None:
        base = path.resolve().parent if path is not None else Path.cwd()
    try:
        return _resolve_paths(kind.model_validate(table), base)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(str(p) for p in item['loc']) or 'settings'}: {item['msg']}"
            for item in error.errors(include_url=False)
        ]
        raise SettingsError(
            f"settings {path or 'from the environment'} cannot be used:\n" + "\n".join(lines)
        ) from error


def _place(table: dict[str, Any], name: str, value: str) -> None:
    *groups, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
    for group in groups:
        table = table.setdefault(group, {})
        if not isinstance(table, dict):
            raise SettingsError(f"environment variable {name} puts a group where a value stands")
    try:
        table[key] = json.loads(value) if value[:1] in {"[", "{"} else value
    except ValueError as error:
        raise SettingsError(f"environment variable {name} starts like JSON and is none: {error}") from error


def _resolve_paths(settings: _S, base: Path) -> _S:
    changes: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, Path) and not value.is_absolute():
            changes[name] = base / value
        elif isinstance(value, Settings):
            changes[name] = _resolve_paths(value, base)
        elif isinstance(value, tuple) and value and isinstance(value[0], Settings):
            changes[name] = tuple(_resolve_paths(item, base) for item in value)
    return settings.model_copy(update=changes) if changes else settings


def describe(settings: Settings) -> str:
    """Show settings as JSON, for the log at start; secrets are only ever named by their file."""
    return settings.model_dump_json(indent=2)
