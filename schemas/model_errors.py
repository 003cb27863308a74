"""This file knows why a gateway refuses an ONNX model.

ModelError
├── ModelTooLargeError        more bytes or more fields than a gateway reads
├── MalformedModelError       not an ONNX model, cut short, or ambiguous
├── UnsupportedVersionError   IR or operator-set version
├── CustomDomainError         operators that are not ONNX's own
├── FunctionError             functions defined in the model
├── SubgraphError             Loop, If, Scan or any other graph within the graph
├── ExternalDataError         parameters kept outside the file
├── ForbiddenOperatorError    an operator not on the list
├── ForbiddenTensorError      strings, sparse or otherwise unknown tensors
├── OversizedTensorError      a shape that would allocate too much, or is known only at run time
└── NotFiniteError            NaN or infinity among the parameters
"""

from typing import ClassVar


class ModelError(ValueError):
    """A model a gateway refuses.

    Attributes:
        reason: Stable word for counters and registries.
        found: What the model holds.
        allowed: What it may hold.
    """

    reason: ClassVar[str] = "model"
    next_step: ClassVar[str] = "build the release again with this version's `aggregator foundry build`"

    def __init__(self, found: str, allowed: str) -> None:
        self.found, self.allowed = found, allowed
        super().__init__(f"model has {found}, {allowed} allowed; {self.next_step}")


class ModelTooLargeError(ModelError):
    reason = "too_large"


class MalformedModelError(ModelError):
    reason = "malformed"
    next_step = "fetch the release again, the file is damaged or no ONNX model"


class UnsupportedVersionError(ModelError):
    reason = "version"
    next_step = "build the release for this gateway's version, or upgrade the gateway"


class CustomDomainError(ModelError):
    reason = "custom_domain"


class FunctionError(ModelError):
    reason = "functions"


class SubgraphError(ModelError):
    reason = "subgraph"


class ExternalDataError(ModelError):
    reason = "external_data"


class ForbiddenOperatorError(ModelError):
    reason = "operator"


class ForbiddenTensorError(ModelError):
    reason = "tensor_type"


class OversizedTensorError(ModelError):
    reason = "oversized_tensor"


class NotFiniteError(ModelError):
    reason = "not_finite"
    next_step = "discard the release, its training diverged or the file is damaged"
