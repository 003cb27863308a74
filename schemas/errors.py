"""This file knows every way in which something breaks the contract.

ContractError
├── NameError_            a site, gateway, machine or position has a name the broker or the disk could misread
├── TopicError            a topic that is not in the table
├── RejectedInput         bytes from outside that are not what they claim; carries a countable reason
│   ├── CaptureRejected
│   ├── FragmentRejected
│   ├── MessageRejected
│   └── TensorsRejected
├── SignatureRejected     a seal that is missing, broken, or of a key that is not on the list
├── ReleaseRejected       a model release that must not be loaded; carries a countable reason
├── SettingsError         settings that cannot be used
├── SecretMissing         a password, key or certificate that is not there or not readable
└── DatabaseNotReady      a database that is missing, or of another version than this program
"""

LONGEST_WORDS = 1000  # characters of a refusal: what it quotes came from outside and goes into logs and tables


class ContractError(Exception):
    """Something breaks the contract between the services."""


class NameError_(ContractError, ValueError):  # noqa: N801 - the bare word is a builtin
    """A name that the broker or the disk could misread."""


class TopicError(ContractError, ValueError):
    """A topic that is not in the table of topics."""


class RejectedInput(ContractError, ValueError):
    """Bytes from outside that are not what they claim to be.

    Attributes:
        reason: One short stable word for counting, such as `bad_crc`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(_writable(message))
        self.reason = reason


class CaptureRejected(RejectedInput):
    """A capture that cannot be used."""


class FragmentRejected(RejectedInput):
    """A fragment that cannot be joined."""


class MessageRejected(RejectedInput):
    """A message that is not of its kind and version."""


class TensorsRejected(RejectedInput):
    """A container of arrays that cannot be read."""


class SignatureRejected(ContractError):
    """A seal that is missing, broken, or of a key that is not on the list.

    Attributes:
        reason: One short stable word for counting, such as `unknown_key`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(_writable(message))
        self.reason = reason


class ReleaseRejected(ContractError):
    """A model release that must not be loaded.

    Attributes:
        reason: One short stable word for counting, such as `bad_digest`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(_writable(message))
        self.reason = reason


class SettingsError(ContractError):
    """Settings that cannot be used; the message names the setting and what is allowed."""


class SecretMissing(ContractError):
    """A password, key or certificate that is not there or cannot be read."""


class DatabaseNotReady(ContractError):
    """A database that is missing, or of another version than this program."""


def _writable(message: str) -> str:
    """Cut what is too long, and spell out halves of characters, which JSON may hold and no file takes."""
    return message[:LONGEST_WORDS].encode(errors="backslashreplace").decode()[:LONGEST_WORDS]
