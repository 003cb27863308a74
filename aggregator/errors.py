"""This file knows every way in which an aggregator's own work goes wrong.

AggregatorError
├── EnrolmentRefused      a client that cannot be enrolled, renewed or revoked as asked
├── BrokerUnavailable     no broker can be run as the settings want it
├── BackupFailed          PostgreSQL's own program is missing or could not copy the database
├── PersonUnknown         there is nobody of the name a command was given
├── ReleaseUnknown        there is no such release, or a command about it lacks something
└── PartFailed            a part of the running service has ended by itself

What breaks the contract between services is in `schemas.errors`.
"""


class AggregatorError(Exception):
    """An aggregator cannot do what it was told."""


class EnrolmentRefused(AggregatorError):
    """A client cannot be enrolled, renewed or revoked as asked; the message says what would work."""


class BrokerUnavailable(AggregatorError):
    """No broker can be run as the settings want it."""


class BackupFailed(AggregatorError):
    """PostgreSQL's own program is missing, or could not write or read a copy; nothing has changed."""


class PartFailed(AggregatorError):
    """A part of the running service has ended by itself; the supervisor starts us again."""


class PersonUnknown(AggregatorError):
    """There is nobody of the name a command was given; nothing has changed."""


class ReleaseUnknown(AggregatorError):
    """There is no such release, or a command about releases lacks something; nothing has changed."""
