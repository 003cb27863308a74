"""This file knows the graph under construction: values, constants, nodes, and the ONNX model they become.

Two habits keep the result small. Broadcasting is lazy: a value remembers the shape JAX gave it and the
smaller shape it is stored in, because ONNX's element-wise operators broadcast by themselves; only an operator
that cannot gets an `Expand`. And equal nodes are made once, which is safe since every operator used here is a
pure function.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from aggregator.foundry.errors import SymbolicShapeError

OPSET = 18  # the first in which every Reduce* takes its axes as an input
IR_VERSION = 9
COMMUTATIVE = frozenset({"Add", "And", "Equal", "Max", "Min", "Mul", "Or"})
READABLE_CONSTANT = 4  # elements; a constant up to this size is named by its content

Shape: TypeAlias = tuple[Any, ...]  # integers, or JAX's symbolic dimensions
Known: TypeAlias = NDArray[Any]  # a value known at export time


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor the graph computes; `stored`, its shape in ONNX, broadcasts to `shape`, its shape in JAX."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    stored: Shape


Operand: TypeAlias = Value | Known


@dataclass(frozen=True, slots=True)
class Node:
    operator: str
    inputs: tuple[str, ...]
    attributes: tuple[tuple[str, Any], ...]


@dataclass(slots=True)
class Graph:
    """Collects nodes in the order they are needed; `model` turns them into a checked ONNX model."""

    _nodes: dict[Node, list[Value]] = field(default_factory=dict)
    _producers: dict[str, tuple[Node, list[Operand]]] = field(default_factory=dict)
    _constants: dict[str, Known] = field(default_factory=dict)
    _constant_names: dict[tuple[str, Shape, bytes], str] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)

    def operator(
        self, operator: str, operands: Sequence[Operand], shape: Shape, dtype: Any, **attributes: Any
    ) -> Value:
        """Add a node that needs its operands in their full shapes."""
        return self.operator_with_outputs(operator, operands, [shape], dtype, **attributes)[0]

    def operator_with_outputs(
        self,
        operator: str,
        operands: Sequence[Operand],
        shapes: Sequence[Shape],
        dtype: Any,
        **attributes: Any,
    ) -> list[Value]:
        whole = [self.expand(operand) for operand in operands]
        return self.node(operator, whole, [(shape, shape) for shape in shapes], dtype, attributes)

    def elementwise(
        self, operator: str, operands: Sequence[Operand], shape: Shape, dtype: Any, **attributes: Any
    ) -> Value:
        """Add a node that broadcasts its operands as numpy does."""
        lean = [slim(operand) for operand in operands]
        stored = broadcast([stored_shape(operand) for operand in lean])
        return self.node(operator, lean, [(tuple(shape), stored)], dtype, attributes)[0]

    def expand(self, operand: Operand) -> Operand:
        """Give a lazily broadcast value its full shape, by `Expand`.

        A symbolic dimension is written 1, "as it comes", which holds only where the value has it already.
        """
        if not isinstance(operand, Value) or operand.stored == operand.shape:
            return operand
        missing = len(operand.shape) - len(operand.stored)
        held = (1,) * missing + operand.stored
        target = [1 if same(have, want) else want for have, want in zip(held, operand.shape, strict=True)]
        if any(not isinstance(dimension, int) for dimension in target):
            raise SymbolicShapeError(operand.shape)
        outputs = [(operand.shape, operand.shape)]
        return self.node("Expand", [operand, integers(target)], outputs, operand.dtype, {})[0]

    def producer(self, value: Operand, operator: str) -> tuple[Node, list[Operand]] | None:
        """Find the node and operands that made a value, if it was this operator."""
        made = self._producers.get(value.name) if isinstance(value, Value) else None
        return made if made is not None and made[0].operator == operator else None

    def node(
        self,
        operator: str,
        operands: Sequence[Operand],
        shapes: Sequence[tuple[Shape, Shape]],
        dtype: Any,
        attributes: Mapping[str, Any],
    ) -> list[Value]:
        """Add a node with its operands as they are stored, or find the equal one made before.

        Args:
            operator: ONNX operator of the default domain.
            operands: Values and constants, in the operator's order.
            shapes: Shape in JAX and shape in ONNX of each output.
            dtype: Element type of every output.
            attributes: The operator's attributes.
        """
        inputs = tuple(each.name if isinstance(each, Value) else self._constant(each) for each in operands)
        frozen = tuple(
            (key, tuple(value) if isinstance(value, list) else value) for key, value in sorted(attributes.items())
        )
        twin = Node(operator, tuple(sorted(inputs)) if operator in COMMUTATIVE else inputs, frozen)
        if twin not in self._nodes:
            self._counts[operator] += 1
            stem = f"{_snake_case(operator)}_{self._counts[operator]}"
            names = [stem] if len(shapes) == 1 else [f"{stem}_{place}" for place in range(len(shapes))]
            made = [
                Value(name, tuple(shape), np.dtype(dtype), tuple(stored))
                for name, (shape, stored) in zip(names, shapes, strict=True)
            ]
            self._nodes[twin] = made
            self._producers |= {name: (twin, list(operands)) for name in names}
        # The same node may serve under two JAX shapes: the caller's is the one to go on with.
        return [
            Value(made.name, tuple(shape), made.dtype, made.stored)
            for made, (shape, _) in zip(self._nodes[twin], shapes, strict=True)
        ]

    def _constant(self, array: Known) -> str:
        array = np.asarray(array, order="C")
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constant_names:
            shape = "x".join(map(str, array.shape))
            readable = array.size <= READABLE_CONSTANT
            content = "_".join(f"{value:g}" for value in array.astype(float).ravel()) if readable else shape
            name = f"{array.dtype.name}_{'vector_' if readable and array.ndim else ''}{content}"
            self._counts[name] += 1
            name += f"_{self._counts[name]}" if self._counts[name] > 1 or not readable else ""
            self._constant_names[key] = name
            self._constants[name] = array
        return self._constant_names[key]

    def model(
        self, name: str, inputs: Sequence[Value], outputs: Sequence[tuple[str, Operand]], summary: str
    ) -> onnx.ModelProto:
        """Keep what the outputs need, name them, and check the result.

        Args:
            name: Name of the graph.
            inputs: Values the caller feeds.
            outputs: Public name and value of each result.
            summary: What the graph is for, one line, kept in the file.
        """
        final = [(public, self._deliver(value)) for public, value in outputs]
        nodes, needed = self._needed(value.name for _, value in final)
        # A value takes the name of the first output it is; an input, or a second output of it, needs an Identity.
        public_names = {value.name: public for public, value in reversed(final)}
        public_names |= {value.name: value.name for value in inputs}
        protos = [
            helper.make_node(
                node.operator,
                [public_names.get(each, each) for each in node.inputs],
                [public_names.get(value.name, value.name) for value in made],
                name=made[0].name,
                **dict(node.attributes),
            )
            for node, made in nodes
        ]
        protos += [
            helper.make_node("Identity", [public_names[value.name]], [public], name=f"deliver_{public}")
            for public, value in final
            if public_names[value.name] != public
        ]
        constants = [numpy_helper.from_array(array, key) for key, array in self._constants.items() if key in needed]
        proto = helper.make_graph(
            protos,
            name,
            [_tensor_info(value.name, value) for value in inputs],
            [_tensor_info(public, value) for public, value in final],
            constants,
            doc_string=summary,
        )
        model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="undertone")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        return model

    def _needed(self, names: Iterable[str]) -> tuple[list[tuple[Node, list[Value]]], set[str]]:
        """Find the nodes that some values depend on, in order, and the names of all values among them."""
        needed = set(names)
        kept = []
        for node, made in reversed(self._nodes.items()):
            if not needed.isdisjoint(value.name for value in made):
                needed.update(node.inputs)
                kept.append((node, made))
        return kept[::-1], needed

    def _deliver(self, operand: Operand) -> Value:
        whole = self.expand(operand)
        if isinstance(whole, Value):
            return whole
        return self.node("Identity", [whole], [(whole.shape, whole.shape)], whole.dtype, {})[0]


def integers(values: Sequence[int]) -> NDArray[np.int64]:
    """Write a shape, axes or sizes the way ONNX takes them."""
    return np.asarray(values, np.int64)


def stored_shape(operand: Operand) -> Shape:
    return operand.stored if isinstance(operand, Value) else operand.shape


def same(one: Any, other: Any) -> bool:
    """Compare two dimensions; unlike integers and symbols count as different."""
    return bool(one == other)


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """Work out numpy's common shape, for symbolic dimensions too."""
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(
        next((dimension for dimension in column if not same(dimension, 1)), 1) for column in zip(*padded, strict=True)
    )


def slim(operand: Operand) -> Operand:
    """Write a constant whose elements are all the same as a scalar, for operators that broadcast."""
    if isinstance(operand, Value) or operand.size <= 1 or not (operand == operand.flat[0]).all():
        return operand
    return np.asarray(operand.flat[0], operand.dtype)


def _snake_case(operator: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operator).lower()


def _tensor_info(name: str, value: Value) -> onnx.ValueInfoProto:
    dimensions = [dimension if isinstance(dimension, int) else str(dimension) for dimension in value.shape]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), dimensions)
