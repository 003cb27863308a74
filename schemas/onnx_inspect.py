"""This file knows which ONNX models a gateway may load, and reads a model's bytes to tell, without loading it.

onnxruntime loads models that loop for ever, allocate gigabytes or hold NaN, and `onnx.checker` passes them;
so the bytes are judged first, by this reader of the protobuf wire format. It is stricter than protobuf:
unknown fields, fields given twice and lengths beyond the end are refused, nothing is allocated from a length
that was not checked against the bytes at hand, and sub-graphs are noted but never entered, so nesting cannot
exhaust the stack.

What no reading of a file shows (a chain of `Concat` that doubles, say) is left to the process's memory limit
and the golden vectors a model must reproduce before it goes live.

The errors are in `schemas.model_errors`, the bytes in `schemas.onnx_wire`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.model_errors import (
    CustomDomainError,
    ExternalDataError,
    ForbiddenOperatorError,
    ForbiddenTensorError,
    FunctionError,
    ModelTooLargeError,
    NotFiniteError,
    OversizedTensorError,
    SubgraphError,
    UnsupportedVersionError,
)
from schemas.onnx_wire import (
    ATTRIBUTE,
    BYTES,
    DIMENSION,
    DOUBLES,
    GRAPH,
    INTS,
    MODEL,
    NODE,
    OPSET_ID,
    SHAPE,
    TENSOR,
    TENSOR_TYPE,
    TYPE,
    VALUE_INFO,
    Table,
    WireMessage,
    malformed,
    read_varint,
    signed,
    split_fields,
)

MAX_BYTES: Final = 5_000_000
MAX_ITEMS: Final = 200_000  # fields and unpacked numbers; a second-order step of a conv net has 11,000
MAX_ELEMENTS: Final = 2**24  # of one tensor: 64 MB in single precision
MAX_RANK: Final = 16
IR_VERSIONS: Final = range(7, 12)
OPSET_VERSIONS: Final = range(13, 23)
ONNX_DOMAINS: Final = frozenset({"", "ai.onnx"})

# Grouped as they are used: arithmetic, reductions, shapes, layers, quantised models.
_ALLOWED = """
Abs Add And Cast Ceil Clip Cos Div Equal Erf Exp Floor Greater GreaterOrEqual Identity Less LessOrEqual Log Max Min
Mul Neg Not Or Pow Reciprocal Round Sigmoid Sign Sin Softplus Sqrt Sub Tanh Where
ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
Concat Constant Expand Flatten Pad Reshape Slice Split Squeeze Tile Transpose Unsqueeze
AveragePool BatchNormalization Conv Gemm GlobalAveragePool LeakyRelu MatMul MaxPool Relu Softmax
DequantizeLinear QuantizeLinear
"""
ALLOWED_OPS: Final = frozenset(_ALLOWED.split())
# Operands that say how much an operator allocates: they must be constants in the model, and small.
SIZE_OPERANDS: Final[Mapping[str, tuple[int, ...]]] = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "OneHot": (1,),
    "Pad": (1,),
    "Range": (0, 1, 2),
    "Resize": (2, 3),
    "Tile": (1,),
    "Upsample": (1,),
}

# ONNX's number for each element type gateways read: numpy type, and the field used where raw_data is not.
_BFLOAT16: Final = 16
_ELEMENT_TYPES: Final[Mapping[int, tuple[str, str]]] = {
    1: ("<f4", "float_data"),
    2: ("<u1", "int32_data"),
    3: ("<i1", "int32_data"),
    4: ("<u2", "int32_data"),
    5: ("<i2", "int32_data"),
    6: ("<i4", "int32_data"),
    7: ("<i8", "int64_data"),
    9: ("<u1", "int32_data"),
    10: ("<u2", "int32_data"),  # half precision, as bits
    11: ("<f8", "double_data"),
    12: ("<u4", "uint64_data"),
    13: ("<u8", "uint64_data"),
    _BFLOAT16: ("<u2", "int32_data"),
}
_TYPED_DATA: Final = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """An input or output: a dimension is a number, a name where any size fits, or None where nothing is said."""

    name: str
    shape: tuple[int | str | None, ...]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model's bytes say about it; `refuse` judges."""

    size_bytes: int
    ir_version: int
    opsets: Mapping[str, int]
    op_types: frozenset[str]
    domains: frozenset[str]
    node_count: int
    initialiser_count: int
    initialiser_bytes: int
    all_finite: bool
    has_external_data: bool
    has_functions: bool
    has_subgraphs: bool
    forbidden_tensors: tuple[str, ...]
    largest_tensor: int  # elements, of any tensor or declared shape
    largest_size_operand: int  # product of the numbers that tell an operator how much to allocate
    sizes_not_constant: tuple[str, ...]  # operators told so at run time
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]


def check_model(model: bytes, *, allowed_ops: Collection[str] = ALLOWED_OPS, max_bytes: int = MAX_BYTES) -> ModelFacts:
    """Read a model and refuse it unless a gateway may load it.

    Raises:
        ModelError: The first reason against it, in the order of the tree above.
    """
    if len(model) > max_bytes:
        raise ModelTooLargeError(f"{len(model)} bytes", f"{max_bytes}")
    facts = inspect(model)
    refuse(facts, allowed_ops)
    return facts


def refuse(facts: ModelFacts, allowed_ops: Collection[str] = ALLOWED_OPS) -> None:
    """Raise the first reason why a gateway must not load a model of these facts; return if there is none."""
    ir_versions, opsets = _span(IR_VERSIONS), _span(OPSET_VERSIONS)
    if facts.ir_version not in IR_VERSIONS:
        raise UnsupportedVersionError(f"IR version {facts.ir_version}", ir_versions)
    if foreign := (facts.domains | facts.opsets.keys()) - ONNX_DOMAINS:
        raise CustomDomainError(f"operators of {_shown(foreign)}", "only ONNX's own are")
    versions = set(facts.opsets.values())
    if len(versions) != 1 or not versions <= set(OPSET_VERSIONS):
        raise UnsupportedVersionError(f"operator sets {_shown(map(str, versions))}", f"one of {opsets} is")
    if facts.has_functions:
        raise FunctionError("functions of its own", "none are")
    if facts.has_subgraphs:
        raise SubgraphError("graphs within its graph", "none are")
    if facts.has_external_data:
        raise ExternalDataError("parameters outside its file", "none are")
    if forbidden := facts.op_types - set(allowed_ops):
        listed = f"only the {len(allowed_ops)} listed in schemas/onnx_inspect.py are"
        raise ForbiddenOperatorError(f"operators {_shown(forbidden)}", listed)
    if facts.forbidden_tensors:
        raise ForbiddenTensorError(_shown(facts.forbidden_tensors), "only dense tensors of numbers are")
    if facts.sizes_not_constant:
        found = f"sizes known only at run time in {_shown(facts.sizes_not_constant)}"
        raise OversizedTensorError(found, "only constant sizes are")
    for kind, elements in (("tensor", facts.largest_tensor), ("size", facts.largest_size_operand)):
        if elements > MAX_ELEMENTS:
            raise OversizedTensorError(f"a {kind} of {elements:.6g} elements", f"{MAX_ELEMENTS}")
    if not facts.all_finite:
        raise NotFiniteError("NaN or infinity among its constants", "only finite numbers are")


def inspect(model: bytes) -> ModelFacts:
    """Read what a model is made of.

    Raises:
        MalformedModelError: The bytes are no ONNX model, cut short, or could be read in two ways.
        ModelTooLargeError: It has more fields than any model of ours needs.
    """
    return _Inspector(len(model)).facts(memoryview(model))


@dataclass(slots=True)
class _Inspector:
    """Collects the facts of one model; `items` left to read shrink with every field and number."""

    size_bytes: int
    items: int = MAX_ITEMS
    op_types: set[str] = field(default_factory=set)
    domains: set[str] = field(default_factory=set)
    node_count: int = 0
    initialiser_bytes: int = 0
    all_finite: bool = True
    has_external_data: bool = False
    has_functions: bool = False
    has_subgraphs: bool = False
    forbidden_tensors: list[str] = field(default_factory=list)
    largest_tensor: int = 0
    largest_size_operand: int = 0
    sizes_not_constant: list[str] = field(default_factory=list)
    defined: set[str] = field(default_factory=set)
    sizes: dict[str, list[int]] = field(default_factory=dict)  # each short constant of integers
    size_operands: list[tuple[str, str]] = field(default_factory=list)  # operator, name of operand

    def facts(self, data: memoryview) -> ModelFacts:
        model = self._parse(data, MODEL)
        if not model.get("graph"):
            malformed("no graph")
        self.has_functions |= bool(model.get("functions"))
        self.has_subgraphs |= bool(model.get("training_info"))
        opsets: dict[str, int] = {}
        for entry in model.get("opset_import", []):
            opset = self._parse(entry, OPSET_ID)
            domain = _text(opset, "domain")
            if domain in opsets:
                malformed(f"two operator sets of domain {domain[:80]!r}")
            opsets[domain] = signed(_one(opset, "version", 0))
        graph = self._parse(model["graph"][0], GRAPH)
        inputs, outputs = self._graph(graph)
        return ModelFacts(
            size_bytes=self.size_bytes,
            ir_version=signed(_one(model, "ir_version", 0)),
            opsets=opsets,
            op_types=frozenset(self.op_types),
            domains=frozenset(self.domains),
            node_count=self.node_count,
            initialiser_count=len(graph.get("initializer", [])),
            initialiser_bytes=self.initialiser_bytes,
            all_finite=self.all_finite,
            has_external_data=self.has_external_data,
            has_functions=self.has_functions,
            has_subgraphs=self.has_subgraphs,
            forbidden_tensors=tuple(self.forbidden_tensors),
            largest_tensor=self.largest_tensor,
            largest_size_operand=self.largest_size_operand,
            sizes_not_constant=tuple(self.sizes_not_constant),
            inputs=inputs,
            outputs=outputs,
        )

    def _graph(self, graph: WireMessage) -> tuple[tuple[TensorFacts, ...], tuple[TensorFacts, ...]]:
        inputs = tuple(self._value_info(entry) for entry in graph.get("input", []))
        outputs = tuple(self._value_info(entry) for entry in graph.get("output", []))
        for entry in graph.get("value_info", []):
            self._value_info(entry)
        for each in inputs:
            self._define(each.name)
        for entry in graph.get("initializer", []):
            tensor = self._parse(entry, TENSOR)
            name = _text(tensor, "name")
            self._define(name)
            self.initialiser_bytes += len(entry)
            self._constant(name, self._tensor(tensor))
        if graph.get("sparse_initializer"):
            self.forbidden_tensors.append("sparse tensors")
        for entry in graph.get("node", []):
            self._node(self._parse(entry, NODE))
        for operator, operand in self.size_operands:
            if operand in self.sizes:
                self._size(self.sizes[operand], are_pads=operator == "Pad")
            else:
                self.sizes_not_constant.append(operator)
        return inputs, outputs

    def _node(self, node: WireMessage) -> None:
        operator = _text(node, "op_type")
        self.node_count += 1
        self.op_types.add(operator)
        self.domains.add(_text(node, "domain"))
        self.has_functions |= bool(_text(node, "overload"))
        outputs = [_decoded(name) for name in node.get("output", [])]
        for name in filter(None, outputs):
            self._define(name)
        operands = [_decoded(name) for name in node.get("input", [])]
        self.size_operands += [
            (operator, operands[place])
            for place in SIZE_OPERANDS.get(operator, ())
            if place < len(operands) and operands[place]
        ]
        attributes = [self._parse(entry, ATTRIBUTE) for entry in node.get("attribute", [])]
        if operator == "Constant" and len(attributes) != 1:
            malformed(f"a Constant with {len(attributes)} attributes", "one is")
        for attribute in attributes:
            values = self._attribute(attribute)
            if operator == "Constant" and outputs:
                self._constant(outputs[0], values)
            elif attribute.get("ints"):
                numbers = [signed(number) for number in attribute["ints"]]
                self._size(numbers, are_pads=_text(attribute, "name") == "pads")

    def _attribute(self, attribute: WireMessage) -> NDArray[Any] | None:
        """Read an attribute's numbers; whole numbers are returned, since a `Constant` may make a size of them."""
        self.has_subgraphs |= bool(attribute.get("g") or attribute.get("graphs"))
        self.has_functions |= bool(attribute.get("ref_attr_name"))
        if any(attribute.get(key) for key in ("sparse_tensor", "sparse_tensors", "tp", "type_protos")):
            self.forbidden_tensors.append("sparse tensors or types in attributes")
        self._finite(np.asarray([*attribute.get("floats", []), *attribute.get("f", [])], np.float64))
        tensors = attribute.get("t", []) + attribute.get("tensors", [])
        values = [self._tensor(self._parse(entry, TENSOR)) for entry in tensors]
        if attribute.get("t"):
            return values[0]
        whole = [signed(number) for number in attribute.get("ints", []) + attribute.get("i", [])]
        return np.asarray(whole, np.int64) if whole else None

    def _tensor(self, tensor: WireMessage) -> NDArray[Any] | None:
        """Check a tensor's shape and numbers; those of type int64 are returned."""
        dims = [signed(number) for number in tensor.get("dims", [])]
        _check_rank(dims)
        if any(dim < 0 for dim in dims):
            malformed(f"a tensor of shape {dims}", "sizes from 0 are")
        elements = math.prod(dims)
        self.largest_tensor = max(self.largest_tensor, elements)
        if tensor.get("external_data") or _one(tensor, "data_location", 0):
            self.has_external_data = True
            return None
        element_type = _one(tensor, "data_type", 0)
        if element_type not in _ELEMENT_TYPES:
            self.forbidden_tensors.append(f"tensors of element type {element_type}")
            return None
        if elements > MAX_ELEMENTS:
            return None
        numbers = _numbers(tensor, element_type, elements)
        self._finite(_as_floats(numbers, element_type))
        return numbers if numbers.dtype == np.int64 else None

    def _value_info(self, data: memoryview) -> TensorFacts:
        info = self._parse(data, VALUE_INFO)
        kind = self._parse(_one(info, "type", memoryview(b"")), TYPE)
        name = _text(info, "name")
        if kind.keys() - {"tensor_type", "denotation"}:
            self.forbidden_tensors.append(f"value {name!r}, which is no tensor")
        tensor_type = self._parse(_one(kind, "tensor_type", memoryview(b"")), TENSOR_TYPE)
        dims = self._parse(_one(tensor_type, "shape", memoryview(b"")), SHAPE).get("dim", [])
        _check_rank(dims)
        shape = tuple(self._dimension(entry) for entry in dims)
        least = math.prod(dim for dim in shape if isinstance(dim, int))
        self.largest_tensor = max(self.largest_tensor, least)
        return TensorFacts(name, shape)

    def _dimension(self, data: memoryview) -> int | str | None:
        dimension = self._parse(data, DIMENSION)
        if "dim_value" in dimension:
            size = signed(dimension["dim_value"][0])
            return size if size >= 0 else malformed(f"a dimension of {size}")
        return _text(dimension, "dim_param") or None

    def _define(self, name: str) -> None:
        if name in self.defined:
            malformed(f"two values called {name[:80]!r}")
        self.defined.add(name)

    def _constant(self, name: str, numbers: NDArray[Any] | None) -> None:
        if numbers is not None and numbers.size <= 2 * MAX_RANK:  # two for each dimension, as pads have
            self.sizes[name] = numbers.ravel().tolist()

    def _size(self, numbers: list[int], *, are_pads: bool) -> None:
        """Note how much an operator may allocate: the product of its sizes; pads of one axis add up first."""
        factors = [abs(number) for number in numbers]
        if are_pads:
            half = len(factors) // 2
            factors = [1 + low + high for low, high in zip(factors[:half], factors[half:], strict=False)]
        self.largest_size_operand = max(self.largest_size_operand, _bounded_product(factors))

    def _finite(self, numbers: NDArray[Any]) -> None:
        self.all_finite &= bool(np.isfinite(numbers).all())

    def _parse(self, data: memoryview, table: Table) -> WireMessage:
        """Read one message; a field that may stand once is refused the second time, as protobuf would merge both."""
        message: WireMessage = {}
        for name, kind, repeated, value in split_fields(data, table):
            if name in message and not repeated:
                malformed(f"field {name} twice")
            self._spend(1)
            values = message.setdefault(name, [])
            if isinstance(value, int) or kind == BYTES:
                values.append(value)
            elif kind == INTS:
                values.extend(self._unpacked_numbers(value))
            else:
                values.extend(self._unpacked_floats(name, kind, value))
        return message

    def _unpacked_numbers(self, data: memoryview) -> Iterator[int]:
        at = 0
        while at < len(data):
            self._spend(1)
            number, at = read_varint(data, at)
            yield number

    def _unpacked_floats(self, name: str, kind: str, data: memoryview) -> tuple[float, ...]:
        code, width = ("d", 8) if kind == DOUBLES else ("f", 4)
        count, rest = divmod(len(data), width)
        if rest:
            malformed(f"field {name} of {len(data)} bytes", f"multiples of {width} are")
        self._spend(count)
        return struct.unpack(f"<{count}{code}", data)

    def _spend(self, items: int) -> None:
        self.items -= items
        if self.items < 0:
            raise ModelTooLargeError("too many fields", f"{MAX_ITEMS} are")


def _numbers(tensor: WireMessage, element_type: int, elements: int) -> NDArray[Any]:
    """Read a tensor's elements from raw_data or from the one typed field of its element type."""
    code, typed_field = _ELEMENT_TYPES[element_type]
    kind = np.dtype(code)
    used = [key for key in ("raw_data", *_TYPED_DATA) if tensor.get(key)]
    if used == ["raw_data"]:
        raw = tensor["raw_data"][0]
        if len(raw) != elements * kind.itemsize:
            malformed(f"{len(raw)} bytes for {elements} elements of {kind.itemsize}")
        return np.frombuffer(raw, kind)
    if used not in ([typed_field], []):
        malformed(f"tensor data in {', '.join(used)}", f"raw_data or {typed_field} is")
    values = tensor.get(typed_field, [])
    if len(values) != elements:
        malformed(f"{len(values)} numbers for {elements} elements")
    if kind.kind == "f":
        return np.asarray(values, kind)
    return np.asarray(values, np.uint64).astype(kind)  # keeps the low bits, as protobuf's narrower types do


def _as_floats(numbers: NDArray[Any], element_type: int) -> NDArray[Any]:
    if element_type == 10:
        return numbers.view("<f2")
    if element_type == _BFLOAT16:
        return (numbers.astype("<u4") << 16).view("<f4")
    return numbers


def _one(message: WireMessage, key: str, default: Any) -> Any:
    return message[key][0] if message.get(key) else default


def _text(message: WireMessage, key: str) -> str:
    return _decoded(_one(message, key, memoryview(b"")))


def _decoded(data: memoryview) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        malformed("a name that is not text")


def _check_rank(dims: list[Any]) -> None:
    if len(dims) > MAX_RANK:
        malformed(f"a tensor of {len(dims)} dimensions", f"{MAX_RANK} are")


def _bounded_product(factors: list[int]) -> int:
    product = 1
    for factor in factors:
        product *= max(1, factor)
        if product > MAX_ELEMENTS:
            break  # it is refused already, and a long list would make a number of megabytes
    return product


def _span(versions: range) -> str:
    return f"{versions[0]} to {versions[-1]}"


def _shown(names: Any, most: int = 8) -> str:
    """Name a few things found, cut short: they come from outside."""
    ordered = sorted({str(name)[:80] for name in names})
    rest = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(map(repr, ordered[:most])) + rest
