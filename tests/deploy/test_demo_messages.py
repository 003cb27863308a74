"""What stands in for a phone and a maintenance system in the demonstration: a real server, asked as by anybody."""

import http.client
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.notice_senders import IDEMPOTENCY, SIGNATURE, TIMESTAMP, signature, tell_people, tell_program
from aggregator.settings import ChannelSettings, WebhookSettings
from deploy.demo.messages import KEPT, MAX_BODY_BYTES, read_messages
from deploy.demo.ports import HOST
from deploy.demo.secret_files import Secrets, kept_secret
from tests.support.brokers import free_port, wait_for_port

WORD, SECRET = "a-word-nobody-guesses", "a secret"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder, port = tmp_path_factory.mktemp("messages"), free_port()
    kept_secret(folder / "word", WORD)
    kept_secret(folder / "secret", SECRET)
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.demo.messages", "--port", str(port), "--word-file", str(folder / "word"),
         "--secret-file", str(folder / "secret")], cwd=Path(__file__).parents[2], env=os.environ,
    )  # fmt: skip
    try:
        wait_for_port(port, process, within_s=30.0)
        yield port
    finally:
        process.terminate()
        process.wait(15)


def post(port: int, path: str, content: bytes, **headers: str) -> int:
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("POST", path, content, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def told(port: int) -> list[str]:
    return [f"{one.channel}: {one.title} {one.text}" for one in read_messages(port, WORD, after=0)]


def sealed(content: bytes, *, key: str = "k") -> dict[str, str]:
    return {SIGNATURE: signature(SECRET, 7, content), TIMESTAMP: "7", IDEMPOTENCY: key}


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_what_the_products_own_senders_send_arrives(port, tmp_path):
    base = f"://{HOST}:{port}/{WORD}/north"
    (tmp_path / "phone.url").write_text(f"json{base}/shift-phone")
    (tmp_path / "program.url").write_text(f"http{base}/maintenance")
    (tmp_path / "secret").write_text(SECRET)
    channel = ChannelSettings(name="shift-phone", url_file=tmp_path / "phone.url")
    webhook = WebhookSettings(
        name="maintenance", url_file=tmp_path / "program.url", secret_file=tmp_path / "secret"
    )  # fmt: skip
    assert tell_people(channel, "Danger", "pump-02", timeout_s=10) == ""
    order = {"order": {"number": "WO-1", "text": "new bearing"}}
    assert tell_program(webhook, order, key="k1", timestamp_s=7, timeout_s=10) == ""
    assert tell_program(webhook, order, key="k1", timestamp_s=8, timeout_s=10) == ""  # told again, known by its key
    assert told(port) == ["shift-phone: Danger pump-02", "maintenance: Work order WO-1 number: WO-1\ntext: new bearing"]


def test_whoever_does_not_know_the_word_neither_reads_nor_writes(port):
    before = told(port)
    assert post(port, "/guessed/north/shift-phone", b"{}") == 404
    assert read_messages(port, "guessed", after=0) == []
    assert told(port) == before


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b'{"title": "forged"}', {}, 401),
        (b'{"title": "forged"}', {SIGNATURE: "sha256=00", TIMESTAMP: "7"}, 401),
        (b'{"title": "forged"}', {SIGNATURE: signature(SECRET, 7, b"{}"), TIMESTAMP: "7"}, 401),
        (b"no json", sealed(b"no json"), 400),
        (b"[]", sealed(b"[]"), 400),
        (b"", {"Content-Length": str(MAX_BODY_BYTES + 1)}, 413),
    ],
)
def test_what_is_not_from_the_plant_or_no_record_is_refused_and_not_kept(port, content, headers, status):
    before = told(port)
    assert post(port, f"/{WORD}/north/maintenance", content, **headers) == status
    assert told(port) == before


def test_hostile_text_is_shown_as_text(port):
    hostile = "<script>alert(1)</script>"
    assert post(port, f"/{WORD}/north/shift-phone", json.dumps({"title": hostile, "message": hostile}).encode()) == 200
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    connection.request("GET", f"/{WORD}/")
    answer = connection.getresponse()
    page = answer.read().decode()
    connection.close()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "default-src 'none'" in str(answer.getheader("Content-Security-Policy"))


def test_many_messages_keep_the_newest_and_go_on_counting(port):
    before = read_messages(port, WORD, after=0)[-1].number
    for number in range(KEPT + 5):
        post(port, f"/{WORD}/south/shift-phone", json.dumps({"title": str(number)}).encode())
    kept = read_messages(port, WORD, after=0)
    assert [one.title for one in kept] == [str(number) for number in range(5, KEPT + 5)]
    assert kept[-1].number == before + KEPT + 5


def test_secrets_are_made_once_for_their_owner_alone_and_differ_from_plant_to_plant(tmp_path):
    first, again, other = (Secrets.kept_in(tmp_path / name) for name in ("a", "a", "b"))
    assert first == again
    assert first.password != other.password
    assert first.token != other.token
    for file in (first.token_file, tmp_path / "a" / "people.password"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
