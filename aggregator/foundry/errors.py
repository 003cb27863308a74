"""This file knows what can go wrong while graphs are built or checked.

FoundryError
├── MissingExtraError       jax or onnx is not installed
├── UnknownNameError        no such family or learning rule
├── ExportError             a function cannot become a plain ONNX graph
│   ├── NoRuleError         one of its primitives has no rule
│   └── SymbolicShapeError  a shape with an unknown batch size would have to be written down
└── ArtefactError           a built folder is incomplete, altered or computes something else
"""

from __future__ import annotations


class FoundryError(Exception):
    """Anything the foundry refuses; the message says what was found, what is allowed, what to do."""


class MissingExtraError(FoundryError):
    def __init__(self, package: str) -> None:
        super().__init__(
            f"building graphs needs {package}, which is not installed; run pip install 'undertone[foundry]'"
        )


class UnknownNameError(FoundryError):
    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        super().__init__(f"no {kind} is called {name!r}; known: {', '.join(known)}")


class ExportError(FoundryError):
    """A function cannot become a plain ONNX graph."""


class NoRuleError(ExportError):
    def __init__(self, primitive: str, known: list[str]) -> None:
        self.primitive = primitive
        super().__init__(
            f"primitive {primitive!r} has no rule; write the function with {', '.join(known)}, "
            "or add a rule in aggregator/foundry/exporter"
        )


class SymbolicShapeError(ExportError):
    def __init__(self, shape: object) -> None:
        super().__init__(
            f"shape {shape} has an unknown dimension that a graph without Shape nodes cannot write down; "
            "fix the batch size or let the operation broadcast"
        )


class ArtefactError(FoundryError):
    """A built folder is incomplete, altered, or computes something else than it should."""
