"""A gateway of thousands of points tells its status in packets that a broker takes, and leaves no point out."""

from gateway_agent.status import points_in_turn
from schemas.messages import GatewayStatus, PointStatus, encode
from schemas.settings import BrokerSettings
from schemas.signing import SEAL_BYTES
from tests.support import gateway_talk as talk

ROOM_BYTES = BrokerSettings(allow_anonymous=True).max_packet_bytes - SEAL_BYTES - 1024


def status_of(points: int) -> GatewayStatus:
    told = tuple(
        PointStatus(
            point=f"{'m' * 27}-{number:04d}/{'p' * 32}", learning="learning", captures=10**9,
            learning_share=1 / 3, quality="changed_layout", model="statistical while learning",
        )
        for number in range(points)
    )  # fmt: skip
    return talk.status().model_copy(update={"points": told})


def test_status_of_two_thousand_points_fits_a_packet_and_tells_of_each_in_its_turn() -> None:
    """One status with all of them was once refused by the link, and the agent ended, and ended again."""
    whole = status_of(2000)
    parts = [points_in_turn(whole, told_before) for told_before in range(4)]
    assert len(encode(whole)) > ROOM_BYTES
    assert all(len(encode(part)) < ROOM_BYTES for part in parts)
    assert [point for part in parts for point in part.points] == list(whole.points)
    assert points_in_turn(whole, 4) == parts[0]


def test_status_of_few_points_tells_of_all_every_time() -> None:
    whole = status_of(20)
    assert points_in_turn(whole, 0) == points_in_turn(whole, 7) == whole
