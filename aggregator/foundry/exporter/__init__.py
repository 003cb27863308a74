"""This package knows how a JAX function becomes a plain-opset ONNX graph that any onnxruntime runs.

JAX reduces a function, gradients included, to a flat list of primitive equations (a jaxpr). `trace` walks
that list; each primitive has one rule (`elementwise`, `shapes`, `contractions`, `control`) that adds ONNX
nodes to the `graph`. What is known at export time is computed at export time. The result holds no loops,
sub-graphs, functions or custom operators, which is what gateways accept.
"""

from aggregator.foundry.exporter import contractions, control, elementwise, shapes
from aggregator.foundry.exporter.trace import TensorSpec, export

__all__ = ["TensorSpec", "contractions", "control", "elementwise", "export", "shapes"]
