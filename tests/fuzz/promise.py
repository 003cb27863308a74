"""What every decoder promises for whatever bytes come: the object, or a refusal with a reason; soon, and in bounds."""

import signal
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from schemas.errors import LONGEST_WORDS, ContractError

LONGEST_S = 5.0  # of processor time for 64 KB, tracing included; the slowest takes 0.2
KB, MB = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Target:
    """One way in.

    Attributes:
        name: Of the decoder, as `python -m tests.fuzz` takes it.
        read: Bytes as they come from outside -> what they say.
        promised: What may be raised, and nothing else.
        seeds: Good messages without what `frame` adds.
        frame: Puts right what keeps chance out: a checksum, a digest, a seal. An attacker can as well.
        says: Rows of the table of topics, messages and functions for which this target stands.
        bytes_per_byte: Most memory that a byte of input may take.
        spare_bytes: And what any input may take beside it.
        refused: More to start from, that is no good message.
    """

    name: str
    read: Callable[[bytes], object]
    promised: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]
    frame: Callable[[bytes], bytes] = bytes
    says: tuple[str, ...] = ()
    bytes_per_byte: int = 64
    spare_bytes: int = MB
    refused: tuple[bytes, ...] = ()


class PromiseBroken(AssertionError):
    """A decoder did what it must not; the message says with which bytes."""


class _TookTooLong(BaseException):
    """Not caught by any decoder."""


def hold_to_promise(target: Target, content: bytes) -> bool:
    """Let a decoder read bytes; tell whether it read or refused them.

    Raises:
        PromiseBroken: Another exception, too much memory, too long, or a refusal nobody can log.
    """
    allowed = target.bytes_per_byte * len(content) + target.spare_bytes
    refusal, taken = _read_and_weigh(target, content)
    if taken > allowed:  # once more: what is made once for all, as a table of the fuzzer, is not the input's
        refusal, taken = _read_and_weigh(target, content)
    if taken > allowed:
        raise _broken(target, content, f"takes {taken} bytes of memory, {allowed} allowed")
    if isinstance(refusal, ContractError):
        words = str(refusal)
        if len(words) > LONGEST_WORDS or words.encode(errors="replace") != words.encode(errors="backslashreplace"):
            raise _broken(target, content, f"refuses with {len(words)} characters that nobody can log: {words[:200]!a}")
    return refusal is None


def _read_and_weigh(target: Target, content: bytes) -> tuple[Exception | None, int]:
    tracemalloc.start()
    try:
        return _read(target, content), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _read(target: Target, content: bytes) -> Exception | None:
    try:
        with _no_longer_than(LONGEST_S):
            target.read(content)
    except target.promised as refusal:
        return refusal.with_traceback(None)
    except _TookTooLong as error:
        raise _broken(target, content, f"takes longer than {LONGEST_S} s") from error
    except Exception as error:
        raise _broken(target, content, f"raises {type(error).__name__}: {str(error)[:200]!a}") from error
    return None


@contextmanager
def _no_longer_than(limit_s: float) -> Iterator[None]:
    def stop(_: int, frame: FrameType | None) -> None:
        raise _TookTooLong

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)


def _broken(target: Target, content: bytes, what: str) -> PromiseBroken:
    return PromiseBroken(
        f"{target.name} {what}; {len(content)} bytes, again with:\n"
        f"python -m tests.fuzz '{target.name}' --replay {content.hex() or '-'}"
    )
