"""This package knows how learning becomes files: JAX functions in, plain ONNX graphs for gateways out.

Authoring (`build`, `rules`, `exporter`) needs the extra `foundry` (jax, onnx) and runs offline. Reading and
checking what was built (`artefacts`, `golden`, `verification`) needs numpy and onnxruntime alone.
"""
