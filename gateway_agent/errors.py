"""This file knows what can go wrong inside a gateway agent.

GatewayError
├── StoreError            the gateway's own database or segments cannot be used
│   └── StoreFull         the disk has no room; captures wait at the broker
├── TrainingRefused       (in training.py) this gateway cannot learn from what it has
├── BacktestError         a back-test was asked for something that cannot be done
└── MapCheckError         a mapping was to be tried on something that cannot be read
"""


class GatewayError(Exception):
    """Something went wrong inside the gateway agent."""


class StoreError(GatewayError):
    """The gateway's database or segments cannot be used; the message names the file."""


class StoreFull(StoreError):
    """The disk has no room for more captures."""


class BacktestError(GatewayError):
    """A back-test was asked for something that cannot be done; the message names the file and the reason."""


class MapCheckError(GatewayError):
    """A mapping was to be tried on something that cannot be read; the message names it."""
