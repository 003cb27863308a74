"""This file knows how ONNX lies in bytes: the protobuf wire format, strictly read.

Every message is a list of numbered fields; these tables name the ones ONNX has, with the kind where it is not bytes,
and a star where the field may repeat. What may nest without end (sub-graphs, functions, training information, sequence
types) stays bytes and is never opened.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn, TypeAlias

from schemas.model_errors import MalformedModelError

INT, FLOAT, BYTES, INTS, FLOATS, DOUBLES = "int", "float", "bytes", "ints", "floats", "doubles"
Table: TypeAlias = Mapping[int, tuple[str, str, bool]]  # number: name, kind, may repeat
WireMessage: TypeAlias = dict[str, list[Any]]


def parse_table(fields: str) -> Table:
    table = {}
    for entry in fields.split():
        number, name, *kind = entry.rstrip("*").split(":")
        table[int(number)] = (name, kind[0] if kind else BYTES, entry.endswith("*"))
    return table


MODEL = parse_table(
    """
    1:ir_version:int 2:producer_name 3:producer_version 4:domain 5:model_version:int 6:doc_string 7:graph
    8:opset_import* 14:metadata_props* 20:training_info* 25:functions*
    """
)
OPSET_ID = parse_table("1:domain 2:version:int")
GRAPH = parse_table(
    """
    1:node* 2:name 5:initializer* 10:doc_string 11:input* 12:output* 13:value_info* 14:quantization_annotation*
    15:sparse_initializer* 16:metadata_props*
    """
)
NODE = parse_table(
    "1:input* 2:output* 3:name 4:op_type 5:attribute* 6:doc_string 7:domain 8:overload 9:metadata_props*"
)
ATTRIBUTE = parse_table(
    """
    1:name 2:f:float 3:i:int 4:s 5:t 6:g 7:floats:floats* 8:ints:ints* 9:strings* 10:tensors* 11:graphs*
    13:doc_string 14:tp 15:type_protos* 20:type:int 21:ref_attr_name 22:sparse_tensor 23:sparse_tensors*
    """
)
TENSOR = parse_table(
    """
    1:dims:ints* 2:data_type:int 4:float_data:floats* 5:int32_data:ints* 6:string_data* 7:int64_data:ints* 8:name
    9:raw_data 10:double_data:doubles* 11:uint64_data:ints* 12:doc_string 13:external_data* 14:data_location:int
    16:metadata_props*
    """
)
VALUE_INFO = parse_table("1:name 2:type 3:doc_string 4:metadata_props*")
TYPE = parse_table("1:tensor_type 4:sequence_type 5:map_type 6:denotation 8:sparse_tensor_type 9:optional_type")
TENSOR_TYPE = parse_table("1:elem_type:int 2:shape")
SHAPE = parse_table("1:dim*")
DIMENSION = parse_table("1:dim_value:int 2:dim_param 3:denotation")

_VARINT_WIRE, _FIXED64_WIRE, _LENGTH_WIRE, _FIXED32_WIRE = 0, 1, 2, 5
_WIRES: Final = {
    INT: {_VARINT_WIRE},
    FLOAT: {_FIXED32_WIRE},
    BYTES: {_LENGTH_WIRE},
    INTS: {_VARINT_WIRE, _LENGTH_WIRE},
    FLOATS: {_FIXED32_WIRE, _LENGTH_WIRE},
    DOUBLES: {_FIXED64_WIRE, _LENGTH_WIRE},
}


def malformed(found: str, allowed: str = "a well-formed ONNX model is") -> NoReturn:
    raise MalformedModelError(found, allowed)


def read_varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            if value >= 2**64:
                malformed("a number beyond 64 bits")
            return value, at
    malformed("a number that does not end")


def signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def split_fields(data: memoryview, table: Table) -> Iterator[tuple[str, str, bool, int | memoryview]]:
    """Cut a message into its fields: name, kind, whether it may repeat, number or bytes."""
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if number not in table:
            malformed(f"unknown field {number}")
        name, kind, repeated = table[number]
        if wire not in _WIRES[kind]:
            malformed(f"field {name} in wire format {wire}")
        if wire == _VARINT_WIRE:
            value, at = read_varint(data, at)
            yield name, kind, repeated, value
            continue
        if wire == _LENGTH_WIRE:
            length, at = read_varint(data, at)
        else:
            length = 8 if wire == _FIXED64_WIRE else 4
        if length > len(data) - at:
            malformed(f"{len(data) - at} bytes where field {name} needs {length}")
        yield name, kind, repeated, data[at : at + length]
        at += length
