"""Which models a gateway refuses, with what reason; and that no bytes whatever make the reader fail otherwise."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from schemas import onnx_inspect
from schemas.model_errors import (
    CustomDomainError,
    ExternalDataError,
    ForbiddenOperatorError,
    ForbiddenTensorError,
    FunctionError,
    MalformedModelError,
    ModelError,
    ModelTooLargeError,
    NotFiniteError,
    OversizedTensorError,
    SubgraphError,
    UnsupportedVersionError,
)
from schemas.onnx_inspect import ALLOWED_OPS, check_model, inspect

SHIPPED = sorted(Path(onnx_inspect.__file__).parents[1].glob("aggregator/foundry/graphs/*/*.onnx"))


def floats(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def small_model(
    nodes: list[onnx.NodeProto] | None = None,
    constants: list[onnx.TensorProto] | None = None,
    *,
    inputs: list[onnx.ValueInfoProto] | None = None,
    opsets: dict[str, int] | None = None,
    **model_fields: Any,
) -> onnx.ModelProto:
    """y = relu(x w) unless told otherwise."""
    weight = numpy_helper.from_array(np.ones((4, 2), np.float32), "w")
    graph = helper.make_graph(
        nodes or [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        "g",
        inputs or [floats("x", "N", 4)],
        [floats("y", "N", 2)],
        [weight] if constants is None else constants,
    )
    versions = [helper.make_opsetid(domain, version) for domain, version in (opsets or {"": 18}).items()]
    model = helper.make_model(graph, opset_imports=versions, **model_fields)
    model.ir_version = 9
    return model


def whole(values: list[int], name: str) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, np.int64), name)


def node(operator: str, inputs: list[str], output: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [output], **attributes)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_graphs_that_ship_are_accepted_and_described(path: Path) -> None:
    model = onnx.load(path)
    facts = check_model(path.read_bytes())
    assert facts.op_types == {each.op_type for each in model.graph.node}
    assert facts.initialiser_count == len(model.graph.initializer)
    assert [each.name for each in facts.inputs] == [each.name for each in model.graph.input]
    for found, value in zip(facts.outputs, model.graph.output, strict=True):
        dims = value.type.tensor_type.shape.dim
        assert found.shape == tuple(dim.dim_param or dim.dim_value for dim in dims)


def test_graphs_do_ship() -> None:
    assert {"score", "adam_prox_step"} <= {path.stem for path in SHIPPED}


def test_small_model_is_accepted_with_its_facts() -> None:
    content = small_model().SerializeToString()
    facts = check_model(content)
    assert facts.ir_version == 9
    assert facts.opsets == {"": 18}
    assert facts.op_types == {"MatMul", "Relu"}
    assert facts.inputs[0].shape == ("N", 4)
    assert (facts.node_count, facts.initialiser_count, facts.size_bytes) == (2, 1, len(content))
    assert facts.initialiser_bytes >= 32


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (TensorProto.FLOAT, [1.0, 2.0]),
        (TensorProto.DOUBLE, [1.0, 2.0]),
        (TensorProto.FLOAT16, [1.0, 2.0]),
        (TensorProto.BFLOAT16, [1.0, 2.0]),
        (TensorProto.INT8, [-1, 2]),
        (TensorProto.UINT8, [1, 2]),
        (TensorProto.INT32, [-1, 2]),
        (TensorProto.INT64, [-1, 2]),
        (TensorProto.UINT64, [1, 2]),
        (TensorProto.BOOL, [True, False]),
    ],
)
@pytest.mark.parametrize("raw", [False, True])
def test_parameters_of_every_readable_type_are_accepted_in_both_forms(dtype: int, values: list[Any], raw: bool) -> None:
    tensor = helper.make_tensor("w", dtype, [2], values)
    if raw:
        tensor = numpy_helper.from_array(numpy_helper.to_array(tensor), "w")
        assert tensor.HasField("raw_data")
    assert check_model(small_model(constants=[tensor]).SerializeToString()).all_finite


def with_subgraph(operator: str, **extra: Any) -> onnx.ModelProto:
    body = helper.make_graph([node("Identity", ["a"], "b")], "body", [floats("a", 1)], [floats("b", 1)])
    names = {"Loop": ["body"], "Scan": ["body"], "If": ["then_branch", "else_branch"], "SequenceMap": ["body"]}
    return small_model([node(operator, ["x"], **dict.fromkeys(names[operator], body), **extra)], [])


def endless_loop() -> onnx.ModelProto:
    return small_model(
        [
            helper.make_node("Constant", [], ["turns"], value=whole([2**62], "turns")),
            with_subgraph("Loop").graph.node[0],
        ],
        [],
    )


def huge_constant_of_shape() -> onnx.ModelProto:
    """The 214 bytes that allocate 4.8 GB: `onnx.checker` and onnxruntime let them pass."""
    return small_model([node("ConstantOfShape", ["s"])], [whole([1_200_000_000], "s")])


def grown_by(operator: str, sizes: list[int], *more: str) -> onnx.ModelProto:
    return small_model([node(operator, ["x", "s", *more])], [whole(sizes, "s")])


def with_function() -> onnx.ModelProto:
    function = helper.make_function(
        "", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], "b")], [helper.make_opsetid("", 18)]
    )
    return small_model([node("Twice", ["x"])], [], functions=[function])


def external(location: str) -> onnx.ModelProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return small_model(constants=[tensor])


def external_in_an_attribute() -> onnx.ModelProto:
    value = external("/etc/passwd").graph.initializer[0]
    return small_model([helper.make_node("Constant", [], ["y"], value=value)], [])


def training_information() -> onnx.ModelProto:
    model = small_model()
    model.training_info.add().algorithm.name = "hidden"
    return model


def sparse_parameters() -> onnx.ModelProto:
    model = small_model(constants=[])
    model.graph.sparse_initializer.add().dims.extend([4, 2])
    return model


def sequence_input() -> onnx.ModelProto:
    sequence = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, [4])
    return small_model(inputs=[sequence])


def lying_about_its_size() -> onnx.ModelProto:
    return small_model(constants=[TensorProto(name="w", data_type=1, dims=[2**40, 2**20], raw_data=b"1234")])


def nan(place: str) -> onnx.ModelProto:
    values = np.array([1, np.nan, 3, 4], np.float32)
    tensor = numpy_helper.from_array(values, "w")
    match place:
        case "raw":
            return small_model(constants=[tensor])
        case "typed":
            return small_model(constants=[helper.make_tensor("w", TensorProto.FLOAT, [4], values)])
        case "infinite double":
            return small_model(constants=[numpy_helper.from_array(np.array([np.inf]), "w")])
        case "half":
            return small_model(constants=[numpy_helper.from_array(values.astype(np.float16), "w")])
        case "bfloat16":
            return small_model(constants=[helper.make_tensor("w", TensorProto.BFLOAT16, [4], values)])
        case "Constant":
            return small_model([helper.make_node("Constant", [], ["y"], value=tensor)], [])
        case "value_float":
            return small_model([helper.make_node("Constant", [], ["y"], value_float=math.inf)], [])
        case "value_floats":
            return small_model([helper.make_node("Constant", [], ["y"], value_floats=[1.0, math.nan])], [])
        case _:
            return small_model([node("LeakyRelu", ["x"], alpha=math.nan)], [])


def twice(part: str) -> bytes:
    """Protobuf merges a message given twice: two halves that pass alone could make one that does not."""
    again = onnx.ModelProto(graph=small_model().graph) if part == "graph" else onnx.ModelProto(ir_version=9)
    return bytes(small_model().SerializeToString() + again.SerializeToString())


def two_values_of_one_name() -> onnx.ModelProto:
    return small_model([node("Expand", ["x", "s"]), node("Relu", ["x"], "s")], [whole([2], "s")])


def constant_twice() -> onnx.ModelProto:
    constant = helper.make_node("Constant", [], ["s"], value_ints=[2])
    constant.attribute.append(helper.make_attribute("value_ints", [2**40]))
    return small_model([constant, node("Expand", ["x", "s"])], [])


def both_forms() -> onnx.ModelProto:
    tensor = numpy_helper.from_array(np.ones(2, np.float32), "w")
    tensor.float_data.extend([1.0, math.nan])
    return small_model(constants=[tensor])


HOSTILE: dict[str, tuple[Callable[[], onnx.ModelProto | bytes], type[ModelError]]] = {
    "loop of 2^62 turns": (endless_loop, SubgraphError),
    "Loop": (lambda: with_subgraph("Loop"), SubgraphError),
    "Scan": (lambda: with_subgraph("Scan", num_scan_inputs=1), SubgraphError),
    "If": (lambda: with_subgraph("If"), SubgraphError),
    "SequenceMap": (lambda: with_subgraph("SequenceMap"), SubgraphError),
    "Loop without a body": (lambda: small_model([node("Loop", ["x"])], []), ForbiddenOperatorError),
    "training information": (training_information, SubgraphError),
    "function": (with_function, FunctionError),
    "custom domain of a node": (lambda: small_model([node("Relu", ["x"], domain="evil")]), CustomDomainError),
    "custom domain imported": (lambda: small_model(opsets={"": 18, "evil": 1}), CustomDomainError),
    "opset 99": (lambda: small_model(opsets={"": 99}), UnsupportedVersionError),
    "opset 1": (lambda: small_model(opsets={"": 1}), UnsupportedVersionError),
    "two opsets": (lambda: small_model(opsets={"": 18, "ai.onnx": 17}), UnsupportedVersionError),
    "external data above the folder": (lambda: external("../../weights.bin"), ExternalDataError),
    "external data at an absolute path": (lambda: external("/proc/self/mem"), ExternalDataError),
    "external data in an attribute": (external_in_an_attribute, ExternalDataError),
    "4.8 GB of constants": (huge_constant_of_shape, ForbiddenOperatorError),
    "operator off the list": (lambda: small_model([node("RandomNormal", [], shape=[9])]), ForbiddenOperatorError),
    "Expand to terabytes": (lambda: grown_by("Expand", [2**20, 2**20]), OversizedTensorError),
    "Expand by negative numbers": (lambda: grown_by("Expand", [-(2**63), -1]), OversizedTensorError),
    "Tile to terabytes": (lambda: grown_by("Tile", [2**40, 1]), OversizedTensorError),
    "Pad to terabytes": (lambda: grown_by("Pad", [0, 0, 0, 2**40]), OversizedTensorError),
    "Expand to a size computed at run time": (
        lambda: small_model([node("Mul", ["s", "s"], "t"), node("Expand", ["x", "t"])], [whole([2**20], "s")]),
        OversizedTensorError,
    ),
    "Expand to a size that is fed": (
        lambda: small_model([node("Expand", ["x", "s"])], [], inputs=[floats("x", 4), floats("s", 2)]),
        OversizedTensorError,
    ),
    "Expand to a size in an attribute": (
        lambda: small_model(
            [helper.make_node("Constant", [], ["s"], value_ints=[2**40]), node("Expand", ["x", "s"])], []
        ),
        OversizedTensorError,
    ),
    "Conv padded to terabytes": (
        lambda: small_model([node("Conv", ["x", "w"], pads=[0, 2**40])]),
        OversizedTensorError,
    ),
    "parameters that lie about their size": (lying_about_its_size, OversizedTensorError),
    "input of terabytes": (lambda: small_model(inputs=[floats("x", 2**30, 2**30)]), OversizedTensorError),
    "sparse parameters": (sparse_parameters, ForbiddenTensorError),
    "strings": (
        lambda: small_model(
            constants=[TensorProto(name="w", data_type=TensorProto.STRING, dims=[1], string_data=[b"a"])]
        ),
        ForbiddenTensorError,
    ),
    "complex numbers": (
        lambda: small_model(
            constants=[TensorProto(name="w", data_type=TensorProto.COMPLEX64, dims=[1], float_data=[1, 1])]
        ),
        ForbiddenTensorError,
    ),
    "sequence input": (sequence_input, ForbiddenTensorError),
    **{
        f"NaN: {place}": (lambda place=place: nan(place), NotFiniteError)  # type: ignore[misc]
        for place in (
            *("raw", "typed", "infinite double", "half", "bfloat16"),
            *("Constant", "value_float", "value_floats", "attribute"),
        )
    },
    "graph given twice": (lambda: twice("graph"), MalformedModelError),
    "IR version given twice": (lambda: twice("ir_version"), MalformedModelError),
    "two values of one name": (two_values_of_one_name, MalformedModelError),
    "constant of two values": (constant_twice, MalformedModelError),
    "parameters in two forms": (both_forms, MalformedModelError),
    "nothing": (lambda: b"", MalformedModelError),
    "no ONNX model": (lambda: b"PK\x03\x04" * 100, MalformedModelError),
    "IR version 99": (
        lambda: small_model().SerializeToString().replace(b"\x08\x09", b"\x08\x63", 1),
        UnsupportedVersionError,
    ),
    "too many bytes": (lambda: bytes(onnx_inspect.MAX_BYTES + 1), ModelTooLargeError),
    "70,000 nodes": (lambda: small_model([node("Relu", ["x"], str(n)) for n in range(70_000)]), ModelTooLargeError),
    "rank 200": (lambda: small_model(inputs=[floats("x", *[2**60] * 200)]), MalformedModelError),
    "a million numbers": (
        lambda: small_model([node("Conv", ["x", "w"], pads=[2**62] * 400_000)]),
        ModelTooLargeError,
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_model_is_refused_with_its_reason_and_at_once(case: str) -> None:
    make, reason = HOSTILE[case]
    model = make()
    content = model if isinstance(model, bytes) else model.SerializeToString()
    started = time.process_time()
    with pytest.raises(reason) as refused:
        check_model(content)
    assert time.process_time() - started < 2.0  # 5 MB of the smallest fields on a slow machine
    assert type(refused.value) is reason
    assert "allowed; " in str(refused.value)
    assert len(str(refused.value)) < 1500


def test_every_refusal_has_a_reason_of_its_own() -> None:
    kinds = ModelError.__subclasses__()
    assert len({kind.reason for kind in kinds}) == len(kinds) == 11


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_model_cut_short_anywhere_is_refused(path: Path) -> None:
    content = path.read_bytes()
    for length in range(0, len(content), 37):
        with pytest.raises(ModelError):
            check_model(content[:length])


def test_long_vector_padded_at_both_ends_is_accepted() -> None:
    """The gradient of a cut-out piece: pads of one axis add up, they do not multiply."""
    check_model(grown_by("Pad", [9_000, 9_700]).SerializeToString())


def test_operator_list_may_be_narrower_for_a_caller() -> None:
    content = small_model().SerializeToString()
    with pytest.raises(ForbiddenOperatorError, match="'Relu'"):
        check_model(content, allowed_ops=ALLOWED_OPS - {"Relu"})


def test_bounded_constant_of_shape_passes_where_a_caller_allows_it() -> None:
    wider = ALLOWED_OPS | {"ConstantOfShape"}
    check_model(
        small_model([node("ConstantOfShape", ["s"])], [whole([4, 2], "s")]).SerializeToString(), allowed_ops=wider
    )
    with pytest.raises(OversizedTensorError):
        check_model(huge_constant_of_shape().SerializeToString(), allowed_ops=wider)


def test_message_tables_are_onnxs_own() -> None:
    """Every field is ONNX's by number and name; what ONNX has beyond them is refused as unknown."""
    messages: dict[str, Any] = {
        "MODEL": onnx.ModelProto,
        "OPSET_ID": onnx.OperatorSetIdProto,
        "GRAPH": onnx.GraphProto,
        "NODE": onnx.NodeProto,
        "ATTRIBUTE": onnx.AttributeProto,
        "TENSOR": onnx.TensorProto,
        "VALUE_INFO": onnx.ValueInfoProto,
        "TYPE": onnx.TypeProto,
        "TENSOR_TYPE": onnx.TypeProto.Tensor,
        "SHAPE": onnx.TensorShapeProto,
        "DIMENSION": onnx.TensorShapeProto.Dimension,
    }
    for table_name, message in messages.items():
        table = getattr(onnx_inspect, table_name)
        theirs = {each.number: (each.name, each.is_repeated) for each in message.DESCRIPTOR.fields}
        ours = {number: (name, repeated) for number, (name, _, repeated) in table.items()}
        assert ours.items() <= theirs.items(), table_name


CONTENT = (Path(SHIPPED[0]).read_bytes(), small_model().SerializeToString(), nan("Constant").SerializeToString())


def refused_or_read_as_onnx_reads_it(content: bytes) -> None:
    """Nothing but our errors; and what is accepted must be what onnxruntime's own parser will see."""
    with suppress(ModelError):
        facts = check_model(content)
        theirs = onnx.ModelProto.FromString(content)
        assert facts.op_types == {each.op_type for each in theirs.graph.node}
        assert facts.domains == {each.domain for each in theirs.graph.node}
        assert facts.initialiser_count == len(theirs.graph.initializer)
        assert facts.opsets == {each.domain: each.version for each in theirs.opset_import}
        assert [each.name for each in facts.inputs] == [each.name for each in theirs.graph.input]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_raise_nothing_but_our_errors(content: bytes) -> None:
    refused_or_read_as_onnx_reads_it(content)
    refused_or_read_as_onnx_reads_it(
        b"\x08\x09\x3a" + bytes([min(len(content), 127)]) + content[:127]
    )  # as the graph of a model


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_mutated_models_raise_nothing_but_our_errors(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(CONTENT)))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(["set", "insert", "delete", "repeat"])):
            case "set":
                content[place] = data.draw(st.integers(0, 255))
            case "insert":
                content[place:place] = data.draw(st.binary(max_size=12))
            case "delete":
                del content[place : place + data.draw(st.integers(1, 8))]
                content = content or bytearray(1)
            case "repeat":
                content[place:place] = content[place : place + 40]
    refused_or_read_as_onnx_reads_it(bytes(content))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5), st.binary(max_size=64), st.integers(0, 30))
def test_any_tensor_is_read_or_refused(dims: list[int], raw: bytes, data_type: int) -> None:
    model = small_model(constants=[])
    model.graph.initializer.append(TensorProto(name="w", dims=dims, raw_data=raw, data_type=data_type))
    refused_or_read_as_onnx_reads_it(model.SerializeToString())


def test_reading_allocates_little_beyond_the_file(tmp_path: Path) -> None:
    import tracemalloc

    content = small_model(
        constants=[numpy_helper.from_array(np.ones((1000, 1000), np.float32), "w")]
    ).SerializeToString()
    tracemalloc.start()
    check_model(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(content)


def test_facts_can_be_read_of_a_model_that_is_refused() -> None:
    facts = inspect(endless_loop().SerializeToString())
    assert facts.has_subgraphs
    assert "Loop" in facts.op_types
