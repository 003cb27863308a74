"""This file knows what a built folder holds: `spec.json`, the graphs it names, their digests and golden vectors."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aggregator.foundry.errors import ArtefactError
from aggregator.foundry.parameters import ParameterSlice, ParameterSpec
from schemas.training_graph import StepInput

SPEC_FILE = "spec.json"
GOLDEN_FILE = "golden.npz"
BUILT = Path(__file__).parent / "graphs"  # what ships with the product


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ParameterRow(_Row):
    """One parameter: `theta[offset : offset + product of shape]`, row-major."""

    name: str
    shape: tuple[int, ...]
    offset: int = Field(ge=0)


class TensorRow(_Row):
    """One input or output; a dimension given by name may have any size. All are float32."""

    name: str
    shape: tuple[int | str, ...]


class GraphRow(_Row):
    """One graph; of a training step each input has its role, `schemas.training_graph` says what gateways make of it.

    Attributes:
        updates: Outputs that are new parameters, and the input they replace: checks compare the difference of the two.
        next_values: Outputs that take an input's place in the step after; those and what an optimiser remembers.
    """

    file: str = Field(pattern=r"^[a-z0-9_]+\.onnx$")
    summary: str
    size_bytes: int
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    ops: tuple[str, ...]
    inputs: tuple[StepInput | TensorRow, ...]
    outputs: tuple[TensorRow, ...]
    updates: dict[str, str]
    next_values: dict[str, str] = {}


class GoldenRow(_Row):
    """Known inputs and outputs; `tolerance` bounds the relative L2 error of each output, or of its update."""

    file: Literal["golden.npz"] = "golden.npz"
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    cases: int = Field(ge=1)
    tolerance: float = Field(gt=0, lt=1)


class BuiltSpec(_Row):
    """A family built for one width: everything a gateway needs to run its graphs, without JAX or onnx."""

    family: str
    features: int = Field(ge=1)
    batch: int = Field(ge=1, description="Rows of a training graph's x; fill a partial batch with weight 0.")
    opset: int
    ir_version: int
    parameters: tuple[ParameterRow, ...]
    graphs: dict[str, GraphRow]
    golden: GoldenRow

    @property
    def parameter_spec(self) -> ParameterSpec:
        return ParameterSpec(tuple(ParameterSlice(row.name, row.shape, row.offset) for row in self.parameters))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read `spec.json` of a built folder.

        Raises:
            ArtefactError: It is missing or not of this form.
        """
        path = folder / SPEC_FILE
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ArtefactError(f"cannot read {path}: {error.strerror}; name a folder made by build") from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "file"
            raise ArtefactError(f"{path}: {place}: {first['msg']}; build the folder again") from error

    def to_bytes(self) -> bytes:
        return (self.model_dump_json(indent=1, exclude_none=True) + "\n").encode()


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_checked(folder: Path, file: str, sha256: str) -> bytes:
    """Read a file of a built folder and compare its digest.

    Raises:
        ArtefactError: It is missing or has another digest.
    """
    try:
        content = (folder / file).read_bytes()
    except OSError as error:
        raise ArtefactError(f"cannot read {folder / file}: {error.strerror}; build the folder again") from error
    if sha256_of(content) != sha256:
        found = sha256_of(content)[:16]
        raise ArtefactError(f"{folder / file} has digest {found}, {sha256[:16]} expected; build the folder again")
    return content
