"""Whatever bytes come from the network: every decoder reads them or says why not, soon and in bounded memory."""

import datetime as dt
import importlib
import importlib.util
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import messages
from schemas.errors import CaptureRejected
from schemas.topics import TOPICS
from tests.fuzz import readers
from tests.fuzz.mutation import mutated
from tests.fuzz.promise import PromiseBroken, Target, hold_to_promise
from tests.fuzz.targets import TARGETS

EVERY = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name.replace(" ", "-"))
SAID = {one for target in TARGETS for one in target.says}
EXAMPLES = 30  # of each kind and decoder; the nightly set tries a thousand times as many
VARIANTS = 5  # of each hostile example
NIGHTLY_S = 20
MARGIN_S = 100  # for imports, and for the input at which the time is over
NO_DECODERS = {
    "schemas.fast_link.FastLink.publish": "sends",
    "schemas.link.Link.publish": "sends",
    "schemas.local_socket.Channel.send": "sends",
    "aggregator.carriers.superlink_relay.Relay.answer": "asked by the site itself, on a socket file of its own",
    "schemas.fragments.split": "writes",
    "gateway_agent.direct_file.DirectFile.write": "writes",
    "gateway_agent.segments.SegmentLog.append": "writes",
    "schemas.release.make_release": "writes",
    "aggregator.release_making.first_release": "writes",
    "aggregator.release_making.foreign_release": "writes",
    "aggregator.release_making.next_release": "writes",
    "aggregator.learning.service.Learning.adopt_whole": "hands to read_release_bundle",
    "aggregator.registry.Registry.publish": "writes",
    "gateway_agent.commissioned.Commissioned.load": "reads what it has written itself",
    "gateway_agent.commissioned.Commissioned.load_first": "reads what it has written itself",
    "gateway_agent.operating_states.OperatingStates.load": "reads what it has written itself",
    "gateway_agent.point_monitor.PointMonitor.restore": "reads what it has written itself",
    "gateway_agent.release_shelf.ReleaseShelf.receive": "hands to read_release_bundle",
    "gateway_agent.release_shelf.ReleaseShelf.receive_candidate": "hands to read_release_bundle",
    "dashboard.pages.table_round.read_upload": "hands to read_table",
}
"""Functions that take what came from outside, by their names or words, and yet are not the ones that read it."""
READS = ("read", "open", "load", "restore", "receive", "answer", "take")


def _settled(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The same inputs each time; a failure prints its bytes and how to see it again."""
    return settings(
        max_examples=examples, derandomize=True, database=None, deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip


@EVERY
def test_good_messages_are_read(target: Target) -> None:
    assert target.seeds
    for seed in target.seeds:
        assert hold_to_promise(target, target.frame(seed))


@EVERY
@_settled(EXAMPLES)
@given(content=st.binary(max_size=600), framed=st.booleans())
def test_any_bytes_are_read_or_refused(target: Target, content: bytes, framed: bool) -> None:
    hold_to_promise(target, target.frame(content) if framed else content)


@EVERY
@_settled(2 * EXAMPLES)
@given(number=st.integers(0, (1 << 32) - 1), framed=st.booleans())
def test_a_good_message_made_hostile_is_read_or_refused(target: Target, number: int, framed: bool) -> None:
    """Bits, lengths at their extremes, cuts, splices, and in JSON what nobody expects; `framed`: the checksum fits."""
    random = Random(number)
    starts = (*target.seeds, *target.refused)
    for _ in range(VARIANTS):
        start = random.choice(starts)
        if framed:
            hold_to_promise(target, target.frame(mutated(start, starts, random)))
        else:
            hold_to_promise(target, mutated(target.frame(start), starts, random))


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_what_is_said_on_every_topic_is_fuzzed(topic) -> None:
    assert set(topic.message.split(" of ")) <= SAID


def test_every_message_and_every_example_of_a_foreign_sensor_is_fuzzed() -> None:
    assert {f"messages.{kind.__name__}" for kind in messages.Message.__args__} <= SAID
    assert {f"[[foreign]] {name}" for name in readers.mappings()} <= SAID


def test_every_function_that_reads_what_came_from_outside_is_fuzzed() -> None:
    found = set(_takers_of_bytes())
    assert found - SAID - NO_DECODERS.keys() == set(), "give it a row in tests/fuzz/targets.py"
    assert NO_DECODERS.keys() <= found, "no such function any more"


def _takers_of_bytes() -> Iterator[str]:
    for package in ("schemas", "gateway_agent", "aggregator", "dashboard"):
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if "migrations" in module.name or module.name.endswith("__main__"):
                continue
            if module.name.startswith("aggregator.foundry"):  # offline, and its extra is not everywhere
                continue
            for owner in vars(importlib.import_module(module.name)).values():
                if getattr(owner, "__module__", None) != module.name:
                    continue
                for one in (owner, *vars(owner).values()) if inspect.isclass(owner) else (owner,):
                    function = getattr(one, "__func__", one)
                    if inspect.isfunction(function) and _takes_bytes(function):
                        yield f"{module.name}.{function.__qualname__}"


def _takes_bytes(function: Callable[..., object]) -> bool:
    """Whether bytes, or a Flower message, come in where they are read or may be refused."""
    taken = [str(kind) for name, kind in function.__annotations__.items() if name != "return"]
    reads = function.__name__.startswith(READS)
    may_refuse = any(word in (function.__doc__ or "") for word in ("Raises:", "errors as in"))
    return not function.__name__.startswith("_") and (
        ((reads or may_refuse) and any("bytes" in kind for kind in taken))
        or (function.__name__ == "read" and any("flwr" in kind and "Message" in kind for kind in taken))
    )


def _raises_what_it_must_not(content: bytes) -> object:
    return {}[content]


def _takes_more_than_it_was_given(content: bytes) -> object:
    return bytes(100 << 20)


def _never_ends(content: bytes) -> object:
    while True:
        pass


def _quotes_it_all(content: bytes) -> object:
    error = CaptureRejected("bad_crc", "short")
    error.args = ("x" * 2000,)
    raise error


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (_raises_what_it_must_not, "raises KeyError"),
        (_takes_more_than_it_was_given, "bytes of memory"),
        (_never_ends, "takes longer"),
        (_quotes_it_all, "nobody can log"),
    ],
)
def test_a_decoder_that_breaks_its_promise_is_found(read, words: str, monkeypatch) -> None:
    monkeypatch.setattr("tests.fuzz.promise.LONGEST_S", 0.2)
    with pytest.raises(PromiseBroken, match=words) as caught:
        hold_to_promise(Target("planted", read, (CaptureRejected,), ()), b"\xab\xcd")
    assert "python -m tests.fuzz 'planted' --replay abcd" in str(caught.value)


def test_a_failure_is_seen_again_with_the_command_it_prints() -> None:
    again = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "capture", "--replay", "5543"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert again.stdout == "capture refuses these 2 bytes\n"


@pytest.mark.nightly
@pytest.mark.timeout(NIGHTLY_S + MARGIN_S)
@EVERY
def test_atheris_finds_no_broken_promise(target: Target) -> None:
    """With another seed every day, which a failure names."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("ATHERIS IS MISSING: pip install atheris (Linux on x86-64)")
    seed = dt.datetime.now(dt.UTC).toordinal()
    ended = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", target.name, "--seconds", str(NIGHTLY_S), "--seed", str(seed)],
        capture_output=True, text=True, errors="replace", timeout=NIGHTLY_S + MARGIN_S, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, f"seed {seed}\n{ended.stdout[-200_000:]}\n{ended.stderr[-5_000:]}"
