"""Who joins, with what in the bundle, and what is left of them after they are thrown out."""

import datetime as dt
import stat
import tomllib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from aggregator.broker_files import ServedBy, access_of
from aggregator.certificates import CLIENT_DAYS
from aggregator.client_list import Client, read_clients
from aggregator.enrolment import Office
from aggregator.errors import EnrolmentRefused
from aggregator.key_list import WatchedKeys
from aggregator.settings import AggregatorSettings
from gateway_agent.settings import GatewaySettings
from schemas.errors import NameError_, SettingsError
from schemas.settings import BrokerSettings, load_settings
from schemas.signing import KeyRing, Signer

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def settings_in(folder: Path, *, role: str = "site", name: str = "plant-a") -> AggregatorSettings:
    folder.mkdir(exist_ok=True)
    return AggregatorSettings.model_validate(
        {
            "role": role,
            "name": name,
            "broker": {"allow_anonymous": True},
            "folder": folder / "var",
            "signing_key_file": folder / "signing.key",
            "keys_file": folder / "keys.toml",
            "broker_server": {"folder": folder / "broker", "port": 18883},
        }
    )


class Plant:
    """One site with its office."""

    def __init__(self, folder: Path, by: ServedBy = "mosquitto", *, role: str = "site", name: str = "plant-a") -> None:
        self.settings = settings_in(folder, role=role, name=name)
        self.office = Office(self.settings, by=by, now=lambda: NOW)
        self.folder = folder

    def roles(self) -> set[tuple[str, str]]:
        return {(key.role, key.name) for key in KeyRing.load(self.settings.keys_file).__iter__()}

    def acl(self) -> str:
        return (self.folder / "broker" / "access.acl").read_text()

    def revoked(self) -> set[int]:
        crl = x509.load_pem_x509_crl((self.folder / "broker" / "revoked.pem").read_bytes())
        return {one.serial_number for one in crl}


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path / "site")


def certificate_in(bundle: Path, kind: str = "gateway") -> x509.Certificate:
    return x509.load_pem_x509_certificate((bundle / f"{kind}.crt").read_bytes())


def names_in(bundle: Path) -> set[tuple[str, str]]:
    return {(key.role, key.name) for key in KeyRing.load(bundle / "keys.toml").__iter__()}


def test_bundle_of_a_gateway_holds_all_it_needs(plant: Plant, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    plant.office.enroll("gw-1", "gateway", out)
    assert {path.name for path in out.iterdir()} == {
        "ca.crt", "gateway.crt", "gateway.key", "password", "signing.key", "keys.toml", "public.toml", "broker.toml",
        "gateway.toml",
    }  # fmt: skip
    for name in ("gateway.key", "password", "signing.key"):
        assert stat.S_IMODE((out / name).stat().st_mode) == 0o600, name


@pytest.mark.parametrize("by", ["mosquitto", "embedded"])
def test_settings_in_the_bundle_load_as_those_of_a_gateway(tmp_path: Path, by: ServedBy) -> None:
    plant = Plant(tmp_path / "site", by)
    out = tmp_path / "bundle"
    plant.office.enroll("gw-1", "gateway", out)
    loaded = load_settings(GatewaySettings, out / "gateway.toml", {})
    assert (loaded.site, loaded.gateway, loaded.broker.port) == ("plant-a", "gw-1", 18883)
    assert Signer.load(loaded.signing_key_file)
    assert len(KeyRing.load(loaded.keys_file)) == 1
    files = (
        [loaded.broker.ca_file, loaded.broker.certificate_file, loaded.broker.key_file]
        if by == "mosquitto"
        else [loaded.broker.password_file]
    )
    assert all(file is not None and file.is_file() for file in files)


def test_certificate_names_the_gateway_and_holds_thirty_days(plant: Plant, tmp_path: Path) -> None:
    plant.office.enroll("gw-1", "gateway", tmp_path / "bundle")
    certificate = certificate_in(tmp_path / "bundle")
    assert [one.value for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["gw-1"]
    assert certificate.not_valid_after_utc - NOW == dt.timedelta(days=CLIENT_DAYS)
    authority = x509.load_pem_x509_certificate((tmp_path / "bundle" / "ca.crt").read_bytes())
    certificate.verify_directly_issued_by(authority)
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"


@pytest.mark.parametrize("name", ["gw1/x", "#", "+", "GW1", "gw 1", "", "-gw", "g" * 33])
def test_name_that_the_broker_could_misread_is_refused(plant: Plant, tmp_path: Path, name: str) -> None:
    with pytest.raises(NameError_):
        plant.office.enroll(name, "gateway", tmp_path / "bundle")
    assert read_clients(plant.settings).clients == ()


def test_gateway_is_on_the_sites_list_and_the_site_on_the_gateways(plant: Plant, tmp_path: Path) -> None:
    plant.office.enroll("gw-1", "gateway", tmp_path / "bundle")
    plant.office.enroll("gw-2", "gateway", tmp_path / "other")
    assert plant.roles() == {("site", "plant-a"), ("gateway", "gw-1"), ("gateway", "gw-2")}
    assert names_in(tmp_path / "other") == {("site", "plant-a")}


def test_same_name_twice_is_refused_and_changes_nothing(plant: Plant, tmp_path: Path) -> None:
    plant.office.enroll("gw-1", "gateway", tmp_path / "bundle")
    before = plant.settings.keys_file.read_text()
    with pytest.raises(EnrolmentRefused, match="--replace"):
        plant.office.enroll("gw-1", "dashboard", tmp_path / "second")
    assert plant.settings.keys_file.read_text() == before
    assert not (tmp_path / "second").exists()


def test_replacing_ends_the_old_bundle_and_keeps_settings_that_stand_there(plant: Plant, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    plant.office.enroll("gw-1", "gateway", out)
    (out / "gateway.toml").write_text("# edited\n")
    old_key, old_serial = Signer.load(out / "signing.key").public, certificate_in(out).serial_number
    plant.office.enroll("gw-1", "gateway", out, replace=True)
    assert (out / "gateway.toml").read_text() == "# edited\n"
    keys = [key.public for key in KeyRing.load(plant.settings.keys_file).__iter__() if key.name == "gw-1"]
    assert keys == [Signer.load(out / "signing.key").public]
    assert keys != [old_key]
    assert plant.revoked() == {old_serial}


def test_renewing_gives_a_new_key_for_the_same_name_and_leaves_the_old_certificate(
    plant: Plant, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    plant.office.enroll("gw-1", "gateway", out)
    old = certificate_in(out)
    password, signing = (out / "password").read_text(), (out / "signing.key").read_bytes()
    plant.office.renew("gw-1", out)
    new = certificate_in(out)
    assert new.subject == old.subject
    assert new.serial_number != old.serial_number
    assert new.public_key() != old.public_key()
    assert ((out / "password").read_text(), (out / "signing.key").read_bytes()) == (password, signing)
    assert plant.revoked() == set()


def test_revoked_gateway_loses_key_password_access_and_every_certificate(plant: Plant, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    plant.office.enroll("gw-1", "gateway", out)
    serials = {certificate_in(out).serial_number}
    plant.office.renew("gw-1", out)
    serials |= {certificate_in(out).serial_number}
    keys = WatchedKeys(plant.settings.keys_file)
    assert "user gw-1" in plant.acl()
    plant.office.revoke("gw-1")
    assert keys.refresh()
    assert keys.find(Signer.load(out / "signing.key").key_id) is None
    assert plant.revoked() == serials
    assert "user gw-1" not in plant.acl()
    client = read_clients(plant.settings).find("gw-1")
    assert client is not None
    assert (client.revoked, client.password) == (True, "")


def test_revoked_gateway_cannot_be_renewed_and_comes_back_only_as_a_new_one(plant: Plant, tmp_path: Path) -> None:
    plant.office.enroll("gw-1", "gateway", tmp_path / "bundle")
    plant.office.revoke("gw-1")
    with pytest.raises(EnrolmentRefused, match="revoked"):
        plant.office.renew("gw-1", tmp_path / "bundle")
    with pytest.raises(EnrolmentRefused, match="--replace"):
        plant.office.enroll("gw-1", "gateway", tmp_path / "bundle")
    plant.office.enroll("gw-1", "gateway", tmp_path / "bundle", replace=True)
    assert "user gw-1" in plant.acl()


def test_who_is_not_enrolled_can_be_neither_renewed_nor_revoked(plant: Plant, tmp_path: Path) -> None:
    with pytest.raises(EnrolmentRefused, match="not enrolled"):
        plant.office.renew("gw-9", tmp_path / "bundle")
    with pytest.raises(EnrolmentRefused, match="not enrolled; enrolled: nobody"):
        plant.office.revoke("gw-9")


def test_site_enrols_itself_with_the_key_it_signs_with(plant: Plant, tmp_path: Path) -> None:
    plant.office.enroll("plant-a", "site", tmp_path / "own")
    assert not (tmp_path / "own" / "signing.key").exists()
    assert plant.roles() == {("site", "plant-a")}
    assert "user plant-a\ntopic readwrite ut/v1/plant-a/#" in plant.acl()
    with pytest.raises(EnrolmentRefused, match="itself"):
        plant.office.revoke("plant-a")


def test_sensors_speak_only_for_the_gateway_beside_them(plant: Plant, tmp_path: Path) -> None:
    with pytest.raises(EnrolmentRefused, match="gw-1 is not enrolled"):
        plant.office.enroll("gw-1-sensors", "sensors", tmp_path / "sensors", gateway="gw-1")
    plant.office.enroll("gw-1", "gateway", tmp_path / "bundle")
    plant.office.enroll("gw-1-sensors", "sensors", tmp_path / "sensors", gateway="gw-1")
    assert not (tmp_path / "sensors" / "signing.key").exists()
    table = tomllib.loads((tmp_path / "sensors" / "broker.toml").read_text())["broker"]
    assert BrokerSettings.model_validate(table).certificate_file == Path("sensors.crt")
    client = read_clients(plant.settings).find("gw-1-sensors")
    assert client is not None
    assert access_of(client, plant.settings) == [
        ("write", "ut/v1/plant-a/sensor/gw-1/+/+/capture"),
        ("write", "ut/v1/plant-a/sensor/gw-1/+/+/fragment"),
        ("read", "ut/v1/plant-a/sensor/gw-1/+/+/ack"),
    ]


def test_gateway_may_say_and_hear_its_own_topics_and_nothing_else(plant: Plant) -> None:
    rules = access_of(Client(name="gw-1", kind="gateway"), plant.settings)
    assert {right for right, _ in rules} == {"read", "write"}
    assert all("/gw-1/" in path for _, path in rules)
    assert ("write", "ut/v1/plant-a/gateway/gw-1/records") in rules
    assert ("read", "ut/v1/plant-a/gateway/gw-1/records-ack") in rules
    assert ("read", "ut/v1/plant-a/sensor/gw-1/+/+/capture") in rules
    assert ("write", "ut/v1/plant-a/learning/gw-1/reply") in rules
    assert ("write", "ut/v1/plant-a/gateway/gw-1/records-ack") not in rules


def test_dashboard_signs_but_has_no_business_on_the_broker(plant: Plant, tmp_path: Path) -> None:
    plant.office.enroll("board", "dashboard", tmp_path / "board")
    assert {path.name for path in (tmp_path / "board").iterdir()} == {"signing.key", "keys.toml", "public.toml"}
    assert ("dashboard", "board") in plant.roles()
    assert "board" not in plant.acl()


def test_site_joins_the_enterprise_and_each_knows_the_others_key(tmp_path: Path) -> None:
    site = Plant(tmp_path / "site")
    group = Plant(tmp_path / "group", role="enterprise", name="group")
    site.office.enroll("plant-a", "site", tmp_path / "own")
    group.office.enroll("plant-a", "site", tmp_path / "uplink", key_file=tmp_path / "own" / "public.toml")
    site.office.enroll("group", "enterprise", tmp_path / "group-key", key_file=tmp_path / "uplink" / "keys.toml")
    own = Signer.load(site.settings.signing_key_file).key_id
    found = KeyRing.load(group.settings.keys_file).find(own)
    assert found is not None
    assert (found.name, found.role) == ("plant-a", "site")
    assert ("enterprise", "group") in site.roles()
    site.office.enroll("gw-1", "gateway", tmp_path / "bundle")
    assert names_in(tmp_path / "bundle") == {("site", "plant-a"), ("enterprise", "group")}
    assert "topic write ut/v1/group/learning/plant-a/present" in group.acl()
    assert "topic read ut/v1/group/learning/plant-a/task" in group.acl()


def test_releaser_brings_its_key_as_pem(plant: Plant, tmp_path: Path) -> None:
    releaser = Signer.generate()
    releaser.save(tmp_path / "release.key")
    plant.office.enroll("works", "releaser", tmp_path / "works", key_file=tmp_path / "release.key")
    found = KeyRing.load(plant.settings.keys_file).find(releaser.key_id)
    assert found is not None
    assert found.role == "releaser"


@pytest.mark.parametrize(
    ("name", "kind", "more", "why"),
    [
        ("plant-a", "gateway", {}, "itself"),
        ("plant-b", "site", {}, "at the enterprise"),
        ("group", "enterprise", {}, "--key"),
        ("works", "releaser", {}, "--key"),
        ("s", "sensors", {}, "--gateway"),
        ("gw-2", "gateway", {"gateway": "gw-1"}, "--gateway"),
        ("works", "releaser", {"key_file": Path("/nowhere")}, "cannot be read"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_would(
    plant: Plant, tmp_path: Path, name: str, kind: str, more: dict[str, object], why: str
) -> None:
    with pytest.raises(EnrolmentRefused, match=why):
        plant.office.enroll(name, kind, tmp_path / "bundle", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [b"-----BEGIN NONSENSE-----", b"[[key]]\nname = 1\n", b"", b"\xff\xfe"])
def test_unusable_key_file_is_refused(plant: Plant, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(EnrolmentRefused):
        plant.office.enroll("works", "releaser", tmp_path / "works", key_file=tmp_path / "key")


def test_gateway_is_not_enrolled_at_an_enterprise(tmp_path: Path) -> None:
    group = Plant(tmp_path / "group", role="enterprise", name="group")
    with pytest.raises(EnrolmentRefused, match="not enrolled at an enterprise"):
        group.office.enroll("gw-1", "gateway", tmp_path / "bundle")


def test_broken_list_of_clients_is_said_and_not_overwritten(plant: Plant, tmp_path: Path) -> None:
    plant.office.enroll("gw-1", "gateway", tmp_path / "bundle")
    file = plant.settings.folder / "clients.json"
    file.write_text("{half")
    with pytest.raises(SettingsError, match="backup"):
        plant.office.enroll("gw-2", "gateway", tmp_path / "other")
    assert file.read_text() == "{half"


def test_key_list_that_becomes_unreadable_leaves_the_last_good_one(plant: Plant, tmp_path: Path) -> None:
    plant.office.enroll("gw-1", "gateway", tmp_path / "bundle")
    keys = WatchedKeys(plant.settings.keys_file)
    plant.settings.keys_file.write_text("[[key]\nbroken")
    assert not keys.refresh()
    assert len(keys) == 2
