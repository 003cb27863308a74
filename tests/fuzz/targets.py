"""The one table of everything that bytes from outside are read by; see `Target` for what each row promises.

What passes a checksum, a digest or a seal by chance alone is read by nobody: `frame` puts it right, as an attacker
with a stolen key would.
"""

import dataclasses
import functools
import json
import struct
import tempfile
import tomllib
import zlib
from binascii import crc_hqx
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, Metadata, MetricRecord, RecordDict
from pydantic import ValidationError

from aggregator.intake import Refused
from aggregator.intake import read as read_at_site
from gateway_agent.foreign.assembly import Assembly, Piece
from gateway_agent.foreign.mapping import ForeignSensors
from gateway_agent.foreign.settings import ForeignMapping
from gateway_agent.intake import Intake, Payload
from gateway_agent.waiting import Waiting
from schemas import messages
from schemas.archive import ArchiveRejected, ArchiveWriter, Manifest, check_archive, unpack as unpack_archive
from schemas.capture import Capture, decode_capture, encode_capture
from schemas.container import array_blob, blob_array, pack, unpack
from schemas.errors import FragmentRejected, MessageRejected, RejectedInput, ReleaseRejected, SignatureRejected
from schemas.errors import TensorsRejected
from schemas.flower_codec import dump_message, load_message, take_identity
from schemas.fragments import Fragment, Reassembly, decode_fragment, encode_fragment, split
from schemas.learning_task import EvaluationReply, LearningTask, TrainingReply
from schemas.lives import LifeSums, lives_file, read_lives_file
from schemas.model_errors import ModelError
from schemas.mqtt_packets import (
    Kind,
    PacketBuffer,
    PacketError,
    publish_packet,
    read_connack,
    read_packet_id,
    read_publish,
    read_reason,
    read_suback,
)
from schemas.onnx_inspect import check_model
from schemas.release import (
    MANIFEST,
    PARAMETERS,
    REQUIRED,
    SIGNATURE,
    Release,
    golden_file,
    make_release,
    read_release_bundle,
)
from schemas.requests import REQUEST_TOPIC, Request
from schemas.signing import SEAL_BYTES, AllowedKey, KeyRing
from schemas.topics import RECORDS, STATUS
from schemas.variation import SessionSums, Variation
from schemas.variation_task import VariationMessage
from tests.contract.golden_contract import CAPTURE, FLOWER, FLOWER_ERROR, GOLDEN, KEY, RING, TOPIC
from tests.fuzz.promise import KB, MB, Target
from tests.support import foreign
from vibration.detection_features import DETECTION_COUNT
