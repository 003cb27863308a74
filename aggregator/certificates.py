"""This file knows the plant's own certificate authority: who is who on its broker, for thirty days at a time."""

import datetime as dt
import ipaddress
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from schemas.errors import SecretMissing
from schemas.names import check_name

AUTHORITY_DAYS = 3650
CLIENT_DAYS = 30
SERVER_DAYS = 397
SERVER_RENEWED_BEFORE_DAYS = 60
REVOCATIONS_DAYS = 30  # the broker refuses everybody on an outdated list: it is written anew every day
_BACKDATED = dt.timedelta(hours=1)  # a gateway's clock may be a little behind


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its private key, both PEM."""

    certificate: bytes
    key: bytes
    serial: int
    not_after: dt.datetime


class Authority:
    """The certificate authority of one site or enterprise, in its folder; made on first use."""

    def __init__(self, folder: Path, name: str, *, now: dt.datetime) -> None:
        self.certificate_file = folder / "ca.crt"
        self._key_file = folder / "ca.key"
        self._folder = folder
        if not self.certificate_file.exists() and not self._key_file.exists():
            self._make(check_name(name), now)
        try:
            self._certificate = x509.load_pem_x509_certificate(self.certificate_file.read_bytes())
            key = serialization.load_pem_private_key(self._key_file.read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise SecretMissing(
                f"certificate authority in {folder} cannot be read ({error}); restore ca.crt and ca.key from a backup"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise SecretMissing(f"certificate authority in {folder} has a key of another kind; restore it")
        self._key = key

    def _make(self, name: str, now: dt.datetime) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _common_name(f"undertone-{name}")
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + dt.timedelta(days=AUTHORITY_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        write_private(self._key_file, _pem(key))
        self.certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue_client(self, name: str, *, now: dt.datetime, days: int = CLIENT_DAYS) -> Issued:
        """Certify a client: the broker knows it by exactly this name.

        Raises:
            NameError_: The name could be read as another's topics.
        """
        return self._issue(check_name(name), ExtendedKeyUsageOID.CLIENT_AUTH, (), now=now, days=days)

    def issue_server(self, reached_as: Sequence[str], *, now: dt.datetime) -> Issued:
        """Certify the broker under every name and address by which clients reach it."""
        return self._issue("broker", ExtendedKeyUsageOID.SERVER_AUTH, reached_as, now=now, days=SERVER_DAYS)

    def _issue(
        self, name: str, usage: x509.ObjectIdentifier, reached_as: Sequence[str], *, now: dt.datetime, days: int
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        serial = x509.random_serial_number()
        not_after = now + dt.timedelta(days=days)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_common_name(name))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(min(now, not_after) - _BACKDATED)
            .not_valid_after(not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if reached_as:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(one) for one in dict.fromkeys(reached_as)]), critical=False
            )
        certificate = builder.sign(self._key, hashes.SHA256())
        return Issued(certificate.public_bytes(serialization.Encoding.PEM), _pem(key), serial, not_after)

    def revocations(self, serials: Iterable[int], *, now: dt.datetime) -> bytes:
        """The signed list of certificates that no longer hold, PEM."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now - _BACKDATED)
            .next_update(now + dt.timedelta(days=REVOCATIONS_DAYS))
        )
        for serial in sorted(set(serials)):
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            builder = builder.add_revoked_certificate(revoked)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def server_files(self, reached_as: Sequence[str], *, now: dt.datetime) -> tuple[Path, Path]:
        """The broker's certificate and key; made anew when they run out soon or a name has come."""
        certificate_file, key_file = self._folder / "server.crt", self._folder / "server.key"
        if not (key_file.exists() and _still_good(certificate_file, reached_as, now)):
            issued = self.issue_server(reached_as, now=now)
            write_private(key_file, issued.key)
            certificate_file.write_bytes(issued.certificate)
        return certificate_file, key_file


def _still_good(file: Path, reached_as: Sequence[str], now: dt.datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    lasts = certificate.not_valid_after_utc - now > dt.timedelta(days=SERVER_RENEWED_BEFORE_DAYS)
    return lasts and {_general_name(one) for one in reached_as} <= set(names)


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(reached_as: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(reached_as))
    except ValueError:
        return x509.DNSName(reached_as)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
