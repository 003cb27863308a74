"""This file knows how stock Flower processes carry the learning: SuperLink, SuperNodes, and the app they run.

For a site that already runs Flower. The app is a folder with two lines of code: where the `ServerApp` and the
`ClientApp` are. A SuperNode runs what its SuperLink sends it: as a user of its own, who can read nothing of ours, and
without installing anything at run time.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from pydantic import Field, model_validator

from schemas.settings import Settings

QUIET: Final = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
"""Environment of every Flower process: nothing is said to anybody outside the plant, and nothing is installed."""


class FlowerTls(Settings):
    """How Flower's processes know each other. Without certificates only where `insecure` says so."""

    ca_file: Path | None = Field(default=None, description="The CA whose certificates the processes believe.")
    certificate_file: Path | None = Field(default=None, description="Of this process, for its own address.")
    key_file: Path | None = None
    insecure: bool = Field(default=False, description="No TLS and no check of nodes: everybody may join and read.")

    @model_validator(mode="after")
    def _secure(self) -> Self:
        files = (self.ca_file, self.certificate_file, self.key_file)
        if not self.insecure and None in files:
            raise ValueError(
                "ca_file, certificate_file and key_file are needed for Flower's TLS; make them with your own CA, or "
                "set insecure = true if you accept that everybody who reaches the port can join and read"
            )
        return self

    def options(self) -> list[str]:
        """Options of a process that listens."""
        if self.insecure:
            return ["--insecure"]
        return [
            "--ssl-ca-certfile", str(self.ca_file), "--ssl-certfile", str(self.certificate_file),
            "--ssl-keyfile", str(self.key_file),
        ]  # fmt: skip


class SuperLinkSettings(Settings):
    """One stock SuperLink."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    tls: FlowerTls
    database: Path | None = Field(default=None, description="In memory when absent.")

    @property
    def address(self) -> str:
        """As `--superlink` of a SuperNode and `address` of Flower's own settings want it."""
        return f"{self.host}:{self.port}"


class SuperNodeSettings(Settings):
    """One stock SuperNode, beside one gateway."""

    superlink: str = Field(description="host:port")
    tls: FlowerTls
    private_key_file: Path | None = Field(default=None, description="ECDSA; its public half is registered, see docs.")
    port: int = Field(default=9094, ge=1, le=65535, description="Where its own app processes reach it.")
    node_config: dict[str, str] = Field(default={}, description="What its ClientApp finds in its context.")
    trusted_entities_file: Path | None = Field(
        default=None, description="Whose apps, signed by Flower's hub, it runs; ours is not, and runs only when absent."
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.private_key_file is None and not self.tls.insecure:
            raise ValueError(
                "private_key_file is needed: the SuperLink lets registered keys in and nobody else; "
                "make one with ssh-keygen -t ecdsa -b 384"
            )
        return self


def superlink_command(settings: SuperLinkSettings) -> list[str]:
    """The command of a SuperLink that lets registered nodes in and installs nothing."""
    command = [
        "flower-superlink", "--host", settings.host, "--port", str(settings.port),
        "--disable-runtime-dependency-installation", *settings.tls.options(),
    ]  # fmt: skip
    if not settings.tls.insecure:
        command.append("--enable-supernode-auth")
    if settings.database is not None:
        command += ["--database", str(settings.database)]
    return command


def supernode_command(settings: SuperNodeSettings) -> list[str]:
    """The command of a SuperNode; it checks its SuperLink's certificate and shows its own key."""
    command = [
        "flower-supernode", "--superlink", settings.superlink, "--host", "127.0.0.1", "--port", str(settings.port),
        *settings.tls.options(),
    ]  # fmt: skip
    if not settings.tls.insecure:
        command += ["--root-certificates", str(settings.tls.ca_file)]
        command += ["--auth-supernode-private-key", str(settings.private_key_file)]
    if settings.node_config:
        command += ["--node-config", _pairs(settings.node_config)]
    if settings.trusted_entities_file is not None:
        command += ["--trusted-entities", str(settings.trusted_entities_file)]
    return command


def register_command(public_key_file: Path, member: str, connection: str) -> list[str]:
    """The command that lets a member's SuperNode in, under the member's name."""
    return ["flwr", "supernode", "register", str(public_key_file), connection, "--name", member]


def run_command(app: Path, connection: str, config: Mapping[str, str]) -> list[str]:
    """The command that starts an app."""
    return ["flwr", "run", str(app), connection, "--run-config", _pairs(config)]


def write_connection(flower_home: Path, name: str, address: str, *, ca_file: Path | None) -> None:
    """Write how Flower's own commands reach a SuperLink, without TLS when there is no CA.

    Args:
        flower_home: Becomes FLWR_HOME.
        name: What the commands call it.
        address: host:port.
        ca_file: The CA whose certificates are believed.
    """
    flower_home.mkdir(parents=True, exist_ok=True)
    how = "insecure = true" if ca_file is None else f"root-certificates = {json.dumps(str(ca_file.absolute()))}"
    (flower_home / "config.toml").write_text(
        f'[superlink]\ndefault = "{name}"\n\n[superlink.{name}]\naddress = "{address}"\n{how}\n'
    )


def write_app(folder: Path, *, server: str, client: str, config: Mapping[str, str]) -> Path:
    """Write the folder that `flwr run` takes.

    Args:
        folder: Made if it is not there.
        server: `module:name` of the ServerApp, installed beside the SuperLink.
        client: `module:name` of the ClientApp, installed beside every SuperNode.
        config: Keys of the run's settings with their defaults; only these can be given to `flwr run`.
    """
    package = folder / "undertone_app"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text("")
    for part, place in (("server", server), ("client", client)):
        module, _, name = place.partition(":")
        (package / f"{part}.py").write_text(f"from {module} import {name} as app\n\n__all__ = ['app']\n")
    settings = "".join(f"{key} = {json.dumps(value)}\n" for key, value in config.items())
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n\n'
        '[project]\nname = "undertone-app"\nversion = "1.0.0"\ndescription = "Learning of a plant"\n'
        'license = "Apache-2.0"\ndependencies = []\n\n'
        '[tool.flwr.app]\npublisher = "undertone"\n\n'
        '[tool.flwr.app.components]\nserverapp = "undertone_app.server:app"\nclientapp = "undertone_app.client:app"\n\n'
        f"[tool.flwr.app.config]\n{settings}"
    )
    return folder


def _pairs(values: Mapping[str, str]) -> str:
    return " ".join(f"{key}={json.dumps(value)}" for key, value in values.items())
