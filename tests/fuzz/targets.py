"""The one table of everything that reads bytes from outside; see `Target` for what each row promises.

What passes a checksum, a digest or a seal by chance alone is read by nobody: `frame` puts it right, as somebody with
a stolen key would.
"""

import functools
import io
import json
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import RecordDict
from pydantic import BaseModel, ValidationError

from aggregator.foundry.artefacts import BUILT
from dashboard.api.acting import ActionBody
from dashboard.queries.pages import CursorRefused
from gateway_agent.foreign.mapping import map_content
from gateway_agent.foreign.places import open_json
from schemas import messages
from schemas.archive import ArchiveRejected, ArchiveWriter
from schemas.archive import Manifest as BackupManifest
from schemas.asset_table import AssetRow, BearingRow, LimitRow
from schemas.capture import decode_capture, encode_capture
from schemas.container import pack, unpack
from schemas.csv_table import write_table
from schemas.errors import (
    CaptureRejected,
    FragmentRejected,
    MessageRejected,
    RejectedInput,
    ReleaseRejected,
    SignatureRejected,
    TensorsRejected,
)
from schemas.flower_codec import dump_message, load_message
from schemas.fragments import decode_fragment, encode_fragment, split
from schemas.learning_task import EvaluationReply, LearningTask, TrainingReply
from schemas.lives import LifeSums, LivesRejected, lives_file, read_lives_file
from schemas.member_condition import RECORD as CONDITION
from schemas.member_condition import MemberCondition
from schemas.messages import decode, decode_any, encode
from schemas.model_errors import ModelError
from schemas.mqtt_packets import PacketError, publish_packet
from schemas.offer import Acknowledgement, Offer
from schemas.onnx_inspect import check_model
from schemas.plate_table import PlateTable
from schemas.release import Release, golden_file, make_release, read_release_bundle
from schemas.release_fate import ReleaseFate
from schemas.requests import REQUEST_TOPIC, Request
from schemas.site_summary import SiteSummary
from schemas.topics import CAPTURE, CAPTURE_FRAGMENT, RECORDS, STATUS
from schemas.training_graph import read_training_graph
from schemas.variation import SessionSums, Variation
from schemas.variation_task import VariationMessage
from schemas.verdict_task import Verdict
from tests.contract.golden_contract import AT, FLOWER, FLOWER_ERROR, GOLDEN, KEY, SAID, _flower
from tests.contract.golden_contract import CAPTURE as A_CAPTURE
from tests.fuzz import readers
from tests.fuzz.promise import MB, Target
from tests.support import foreign
from vibration.detection_features import DETECTION_COUNT

CAPTURE_BYTES = encode_capture(A_CAPTURE)
PIECES = [decode_fragment(piece) for piece in split(b"a capture " * 8, stream=7, item=41, piece_bytes=30)]
SENSOR = {"site": "plant-a", "gateway": "gw-1", "machine": "pump-07", "position": "de"}
ARRAYS = (TensorsRejected,)
WRONG_BYTES_PER_BYTE = 1 << 10  # a message of 24 fields that are all missing is shown 24 times to nobody


def _line(topic: str, payload: bytes) -> bytes:
    return topic.encode() + b"\n" + payload


def _bare(container: bytes) -> bytes:
    return readers.without_digest(container)


def _message(kind: type[BaseModel]) -> Target:
    return Target(
        f"message {kind.__name__}", functools.partial(decode, kind), (MessageRejected,),
        tuple(one.path.read_bytes() for one in GOLDEN if type(one.thing) is kind),
        says=(f"{kind.__module__.removeprefix('schemas.')}.{kind.__name__}",), bytes_per_byte=WRONG_BYTES_PER_BYTE,
    )  # fmt: skip


def _container(name: str, read: Callable[[bytes], object], promised: tuple[type[Exception], ...], *seeds: bytes,
               says: tuple[str, ...] = (), **bounds: int) -> Target:  # fmt: skip
    return Target(name, read, promised, tuple(map(_bare, seeds)), readers.with_digest, says, **bounds)


def _task(name: str, kind: Any, *seeds: bytes) -> Target:
    """A Flower message, and what it says to the learning."""
    return _container(name, lambda content: kind.read(load_message(content)), (TensorsRejected, MessageRejected),
                      *seeds, says=(f"{kind.__module__}.{kind.__qualname__}.read",))  # fmt: skip


def _foreign(name: str, topic: str, *payloads: bytes) -> Target:
    mapping = readers.mappings()[name]
    levels = mapping.match(topic)
    assert levels is not None
    return Target(
        f"foreign {name}", lambda content: map_content(mapping, levels, content, received_at_us=AT), (RejectedInput,),
        payloads, says=(f"[[foreign]] {name}",),
    )  # fmt: skip


def _csv_row(row: Any) -> bytes:
    return write_table([row], type(row))


def _table(kind: type[Any], *rows: bytes) -> Target:
    """What a person uploads; all problems are told, so nothing is raised."""
    return Target(
        f"table of {kind.__name__}", lambda content: readers.read_upload(content, kind), (), rows,
        bytes_per_byte=WRONG_BYTES_PER_BYTE, spare_bytes=2 * MB,
        says=("schemas.csv_table.read_table",),
    )  # fmt: skip


def _release() -> Release:
    files = {**readers.RELEASE_FILES, "parameters.bin": np.arange(4, dtype="<f4").tobytes()}
    description = {
        "name": "fleet", "release_version": 17, "base_version": 16, "created_at_us": AT, "level": "fleet",
        "family": "dense", "features": "f", "inputs": 4, "parameter_count": 4, "data": {"clients": 3},
        "metrics": {"loss": 0.5}, "merge": {"rule": "mean"},
    }  # fmt: skip
    return make_release(description, files, KEY)


def _release_seed() -> bytes:
    """Manifest on one line: line breaks within JSON mean nothing."""
    files = _release().files
    manifest = json.dumps(json.loads(files["manifest.json"]), separators=(",", ":")).encode()
    return b"\n".join((b"{}", manifest, files["parameters.bin"]))


def _back_up() -> bytes:
    manifest = BackupManifest(kind="gateway", name="gw-1", made_at_us=AT, software="1", schema_version="1")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "back-up.tar"
        with ArchiveWriter(path, manifest) as archive:
            archive.add_bytes("gateway.db", b"rows " * 30)
            archive.add_bytes("segments/0001.seg", b"samples")
        return path.read_bytes()


def _other_tar(form: int, **fields: Any) -> bytes:
    """A tar file with what a back-up never has: long names, other kinds of members."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        info = tarfile.TarInfo("manifest.json")
        for name, value in fields.items():
            setattr(info, name, value)
        info.size = 2
        tar.addfile(info, io.BytesIO(b"{}"))
    return file.getvalue()


_FLOWER, _FLOWER_ERROR = dump_message(FLOWER), dump_message(FLOWER_ERROR)
_SUMS = LifeSums.none()
_VARIATION = Variation({(25_600.0, 8192): SessionSums(1.0, np.zeros(DETECTION_COUNT), 1.0, np.full(6, 0.1))})
_TASK = LearningTask(3, 16, "a" * 64, np.zeros(4, np.float32), 10, 0.001, 0.01, 7, {"pull": 0.1})
_REPLY = TrainingReply(16, np.zeros(4, np.float32), 12.0, 0.5, 0.4, 3)
_RECORDS, _STATUS = RECORDS.path(site="plant-a", gateway="gw-1"), STATUS.path(site="plant-a", gateway="gw-1")
_BATCH, _STATE = (next(one for one in SAID if one.kind == kind) for kind in ("record_batch", "gateway_status"))
_REQUEST = Request(request_id="0" * 32, action="note", actor="fitter", role="technician", machine="pump-07",
                   note="belt changed", asked_at_us=AT)  # fmt: skip
_STEP = json.loads((BUILT / "dense_autoencoder_48" / "spec.json").read_bytes())["graphs"]["pfedme_step"]
_radio = functools.partial(foreign.radio_packets, samples=64, piece_bytes=90)
_MEMBERS = b"\x20\x0b\x00\x00\x08\x21\x00\x0a\x27\x00\x01\x00\x00"  # CONNACK: ten under way, 64 KB

_TABLES: tuple[tuple[type[Any], tuple[bytes, ...]], ...] = (
    (AssetRow, (_csv_row(AssetRow(machine="pump-07", title="Pump, seven", power_kw=55.0)),)),
    (LimitRow, (_csv_row(LimitRow(applies_to="pump-07", quantity="velocity_rms_mm_s", unit="mm/s RMS", alert=2.8,
                                  danger=4.5, source="ISO 20816-3:2022")),)),
    (BearingRow, (_csv_row(BearingRow(name="X-1", elements=9, ball_diameter_mm=7.9, pitch_diameter_mm=39.0,
                                      source="maker's drawing")),)),
)  # fmt: skip
TARGETS: tuple[Target, ...] = (
    Target("capture", decode_capture, (CaptureRejected,), (CAPTURE_BYTES[:-4],), readers.with_crc,
           ("capture.Capture", "schemas.capture.decode_capture")),
    Target("fragment", decode_fragment, (FragmentRejected,), (encode_fragment(PIECES[0])[:-4],), readers.with_crc,
           ("fragments.Fragment", "schemas.fragments.decode_fragment")),
    Target("fragments in a row", readers.join_fragments, (), (readers.steps_of(PIECES), readers.steps_of(PIECES * 2)),
           says=("schemas.fragments.Reassembly.add",), bytes_per_byte=128),
    *map(_message, (*messages.Message.__args__, SiteSummary, PlateTable)),
    Target("message of any kind", decode_any, (MessageRejected,), tuple(map(encode, SAID)),
           says=("schemas.messages.decode", "schemas.messages.decode_any"), bytes_per_byte=WRONG_BYTES_PER_BYTE),
    Target("series", readers.read_series, (MessageRejected,), (np.arange(9, dtype="<f4").tobytes(),), readers.deflated,
           ("schemas.messages.Series.unpack",)),
    Target("seal", readers.open_any_seal, (SignatureRejected,), (_line(_RECORDS, b"{}"),), readers.sealed_line,
           ("schemas.signing.KeyRing.open", "schemas.signing.KeyRing.open_any", "schemas.signing.verify")),
    _container("container", unpack, ARRAYS, pack({"a": 1}, {"a": b"blob", "empty": b""}),
               says=("schemas.container.unpack",)),
    _container("arrays", readers.read_golden, (TensorsRejected, KeyError, TypeError, ValueError),
               golden_file(np.ones((2, 3), np.float32), np.ones(2, np.float32)),
               says=("schemas.container.blob_array", "schemas.release.Release.golden")),
    _container("variation", Variation.unpack, ARRAYS, _VARIATION.pack(), says=("schemas.variation.Variation.unpack",)),
    _container("lives", read_lives_file, (TensorsRejected, LivesRejected), lives_file(_SUMS),
               says=("schemas.lives.read_lives_file",)),
    _container("learning message", readers.read_flower, ARRAYS, _FLOWER, _FLOWER_ERROR,
               says=("a Flower message", "schemas.flower_codec.load_message")),
    _task("learning task", LearningTask, dump_message(_flower(_TASK.record()))),
    _task("training reply", TrainingReply, dump_message(_flower(_REPLY.record()))),
    _task("evaluation reply", EvaluationReply, dump_message(_flower(EvaluationReply(0.5, 9.0).record()))),
    _task("offer", Offer, dump_message(_flower(Offer("k", "d", 1, 2, 2, _REPLY).record()))),
    _task("acknowledgement", Acknowledgement, dump_message(_flower(Acknowledgement("k", "stored").record()))),
    _task("fate of a release", ReleaseFate, dump_message(_flower(ReleaseFate(3, "running", "everywhere").record()))),
    _task("condition", MemberCondition, dump_message(_flower(RecordDict({CONDITION: MemberCondition(1).record()})))),
    _task("variation reply", VariationMessage, dump_message(_flower(VariationMessage(_VARIATION).record()))),
    _task("verdict", Verdict, dump_message(_flower(Verdict(7, "norm_outlier", "ten times the others").record()))),
    Target("release", lambda content: read_release_bundle(content, readers.KEYS).parameters(), (ReleaseRejected,),
           (_release_seed(),), readers.signed_release,
           ("release.ReleaseBundle", "schemas.release.read_release_bundle", "schemas.release.check_release"),
           WRONG_BYTES_PER_BYTE),
    Target("training graph", lambda content: read_training_graph(content, _STEP["sha256"]), (ReleaseRejected,),
           (json.dumps({"graphs": {"step": _STEP}}).encode(),),
           says=("schemas.training_graph.read_training_graph",), bytes_per_byte=WRONG_BYTES_PER_BYTE),
    Target("model", check_model, (ModelError,), tuple(path.read_bytes() for path in sorted(BUILT.rglob("*.onnx"))),
           says=("schemas.onnx_inspect.check_model", "schemas.onnx_inspect.inspect"), bytes_per_byte=300),
    Target("packets of a broker", readers.read_as_broker_sends, (PacketError,),
           (b"\x02" + _MEMBERS + publish_packet("ut/v1/a", b"payload", qos=1, retained=False, packet_id=7) * 3
            + b"\x40\x02\x00\x07\x90\x04\x00\x01\x00\x01\xd0\x00\xe0\x01\x8b",),
           says=("schemas.mqtt_packets.PacketBuffer",)),
    Target("gateway intake", readers.take_at_gateway, (RejectedInput,),
           (_line(CAPTURE.path(**SENSOR), CAPTURE_BYTES[:-4]),
            _line(CAPTURE_FRAGMENT.path(**SENSOR), encode_fragment(PIECES[0])[:-4])), readers.line_with_crc,
           ("gateway_agent.intake.Intake.take",)),
    Target("gateway intake, foreign", readers.take_at_gateway, (RejectedInput,),
           (_line(foreign.LEVELS_TOPIC, foreign.levels_payload(1)),
            _line(foreign.WAVE_TOPIC, foreign.wave_payload(1, samples=40))),
           says=("gateway_agent.foreign.mapping.ForeignSensors.take", "gateway_agent.foreign.mapping.map_content")),
    Target("site intake", readers.read_by_site, (), (_line(_RECORDS, encode(_BATCH)), _line(_STATUS, encode(_STATE))),
           readers.sealed_line, ("aggregator.intake.read",), WRONG_BYTES_PER_BYTE),
    _foreign("levels", foreign.LEVELS_TOPIC, foreign.levels_payload(1)),
    _foreign("wave-json", foreign.WAVE_TOPIC, foreign.wave_payload(1, samples=40)),
    Target("foreign JSON", lambda content: open_json(content, {}, "little"), (RejectedInput,),
           (foreign.levels_payload(1),), says=("gateway_agent.foreign.places.open_json",)),
    Target("foreign radio", readers.take_radio_packets, (),
           tuple(readers.in_packets([packet[:-2] for packet in _radio(number)]) for number in (1, 2)),
           readers.with_radio_crc,
           ("[[foreign]] radio", "gateway_agent.foreign.checksum.verify"), bytes_per_byte=128),
    *(_table(kind, *rows) for kind, rows in _TABLES),
    Target("request of a metrics collector", readers.ask_for_metrics, (),
           (b"GET /metrics HTTP/1.1\r\nAuthorization: Bearer word\r\n", b"GET /readyz?verbose HTTP/1.0\r\n"),
           says=("schemas.observe_server.ObserveServer.answer",)),
    Target("action asked for by REST", ActionBody.model_validate_json, (ValidationError,),
           (b'{"note": "known", "values": {"hours": 4}}',), bytes_per_byte=WRONG_BYTES_PER_BYTE),
    Target("cursor of a REST answer", readers.read_behind, (CursorRefused, UnicodeDecodeError), (b"17:3", b"0:-1"),
           refused=(b"99999999999999999999:1", b"1:2:3", b"x:1")),
    Target("request", Request.model_validate_json, (ValidationError,),
           (_REQUEST.model_dump_json().encode(),), says=(REQUEST_TOPIC,)),
    Target("back-up", readers.read_back_up, (ArchiveRejected,),
           (_back_up(),), readers.with_tar_checksums,
           ("schemas.archive.check_archive", "schemas.archive.unpack"), spare_bytes=4 * MB, refused=(
            _other_tar(tarfile.GNU_FORMAT, name="n" * 300), _other_tar(tarfile.PAX_FORMAT, name="é" * 99),
            _other_tar(tarfile.GNU_FORMAT, type=tarfile.GNUTYPE_SPARSE))),
)  # fmt: skip
BY_NAME = {target.name: target for target in TARGETS}
