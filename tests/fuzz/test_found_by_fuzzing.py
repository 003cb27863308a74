"""What hostile bytes once did, by what was seen; the table in `targets` keeps the rest of it away."""

import json
import subprocess
import sys
import tarfile
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import pytest

from aggregator.learning.fleet import FleetPush
from aggregator.learning.intake import Intake
from schemas.archive import ArchiveRejected, check_archive
from schemas.container import blob_array
from schemas.errors import MessageRejected, ReleaseRejected, TensorsRejected
from schemas.flower_codec import dump_message, load_message
from schemas.learning_task import TRAIN, EvaluationReply
from schemas.release import read_release_bundle
from tests.contract.golden_contract import FLOWER
from tests.fuzz import readers
from tests.fuzz.targets import BY_NAME

MOST_RESIDENT_MB = 256  # of a site, for one message of 4 MB: 64 bytes a byte
_FULL = 4 << 20
_READ = """
import resource, sys
from schemas import messages
from schemas.errors import MessageRejected
body = sys.stdin.buffer.read()
try:
    messages.decode(getattr(messages, sys.argv[1]), body)
except MessageRejected as refusal:
    print(refusal)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def _filled(kind: str, before: bytes, one: bytes, most: int = _FULL) -> bytes:
    """A message whose list goes on to the end of what is taken."""
    head = b'{"kind":"%s","version":1,%s' % (kind.encode(), before)
    return head + b",".join([one] * ((most - len(head) - 2) // (len(one) + 1))) + b"]}"


HUGE = {
    "numbers-for-records": ("RecordBatch", _filled("record_batch", b'"gateway":"gw-1","boot":1,"records":[', b"1")),
    "as-many-as-are-allowed": (
        "RecordBatch", _filled("record_batch", b'"gateway":"gw-1","boot":1,"records":[', b"1", 130_000),
    ),
    "minus-one-for-sequences": ("RecordsAck", _filled("records_ack", b'"gateway":"gw-1","boot":1,"also":[', b"-1")),
    "lists-for-a-text": ("Health", _filled("health", b'"zone_basis":[', b"[]", 98_000)),
    "unknown-keys": ("Health", b"{" + b",".join(b'"%x":0' % i for i in range(65_000)) + b"}"),
    "one-long-text": ("Health", b'{"kind":"health","version":1,"zone_basis":"' + b"a" * (_FULL - 100) + b'"}'),
}  # fmt: skip


def _resident_mb(kind: str, body: bytes) -> int:
    command = [sys.executable, "-c", _READ, kind]
    ended = subprocess.run(command, input=body, capture_output=True, timeout=60, check=True)
    return int(ended.stdout.split()[-1])


@pytest.mark.parametrize(("kind", "body"), HUGE.values(), ids=HUGE.keys())
def test_four_megabytes_of_mistakes_took_the_site_three_gigabytes(kind: str, body: bytes) -> None:
    """The validator's own memory is seen by the system alone, so it is read in a process of its own."""
    assert _resident_mb(kind, body) - _resident_mb(kind, b"{}") <= MOST_RESIDENT_MB


@pytest.mark.parametrize(("name", "value"), [("message_id", ["a"]), ("reply_to_message_id", {}), ("dst_node_id", "5"),
                                             ("ttl", 10**400), ("group_id", None)])  # fmt: skip
def test_a_message_id_that_is_a_list_ended_the_members_thread(name: str, value: object) -> None:
    head, _, blobs = readers.without_digest(dump_message(FLOWER)).partition(b"\n")
    told = json.loads(head)
    told["meta"]["metadata"][name] = value
    with pytest.raises(TensorsRejected) as caught:
        load_message(readers.with_digest(json.dumps(told).encode() + b"\n" + blobs))
    assert caught.value.reason == "bad_message"


def test_an_error_code_beyond_all_numbers_ended_the_members_thread() -> None:
    target = BY_NAME["learning message"]
    with pytest.raises(TensorsRejected):
        target.read(target.frame(target.seeds[1].replace(b'"error":[2,', b'"error":[1e999,')))


def test_a_loss_of_four_hundred_digits_ended_the_round() -> None:
    target = BY_NAME["evaluation reply"]
    with pytest.raises(MessageRejected):
        EvaluationReply.read(load_message(target.frame(target.seeds[0].replace(b"0.5", b"9" * 400))))


@pytest.mark.parametrize("group", ["²", "9" * 400, "-1", ""])
def test_a_late_reply_to_round_two_squared_ended_the_sites_thread(group: str) -> None:
    reply = load_message(dump_message(FLOWER))
    reply.metadata.__dict__["_group_id"] = group
    reply.metadata.__dict__["_message_type"] = TRAIN
    heard: list[int] = []
    book = SimpleNamespace(asked=lambda number, _member: heard.append(number))
    intake = Intake(
        None, book, None, None, None, on_stored=None, on_adopted=None, on_fate=None, clock_us=None  # type: ignore[arg-type]
    )  # fmt: skip
    intake._store("gw-1", reply)
    assert not heard


@pytest.mark.parametrize("group", ["adopt-²", "adopt-" + "9" * 400, "adopt--1", "", "adopt-2"])
def test_a_late_adoption_of_what_was_never_released_is_not_believed(group: str) -> None:
    reply = load_message(dump_message(FLOWER))
    reply.metadata.__dict__["_group_id"] = group
    registry = SimpleNamespace(current=lambda: SimpleNamespace(version=1))
    push = FleetPush(None, None, registry, None)  # type: ignore[arg-type]
    push.note("site-a", reply)
    assert not push._adopted


def test_a_signature_file_nested_too_deep_ended_the_gateway() -> None:
    target = BY_NAME["release"]
    with pytest.raises(ReleaseRejected) as caught:
        read_release_bundle(target.frame(b"[" * 50_000 + target.seeds[0][2:]), readers.KEYS)
    assert caught.value.reason == "bad_signature"


@pytest.mark.timeout(20)
def test_a_shape_of_ten_thousand_long_numbers_took_hours_to_multiply() -> None:
    with pytest.raises(TensorsRejected) as caught:
        blob_array({"dtype": "float32", "shape": [10**4000] * 10_000}, b"")
    assert caught.value.reason == "bad_shape"


def test_a_refusal_quoted_all_it_refused_into_the_log() -> None:
    with pytest.raises(TensorsRejected) as caught:
        blob_array({"dtype": "\ud800" * 100_000, "shape": []}, b"")
    assert len(str(caught.value).encode()) <= 1000


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE], ids=["long-name", "pax"])
def test_a_back_up_of_two_kilobytes_asked_for_eight_gigabytes(kind: bytes, tmp_path: Path) -> None:
    head = tarfile.TarInfo("manifest.json")
    head.size, head.type = 8 << 30, kind
    path = tmp_path / "back-up.tar"
    path.write_bytes(head.tobuf(tarfile.GNU_FORMAT) + b"a" * 1024)
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveRejected):
            check_archive(path, kind="gateway", name="gw-1")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
