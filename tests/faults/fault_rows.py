"""This file knows which test holds which row of the fault table, docs/delivery.md in short.

A row is a fault that is injected for real. Tests elsewhere that hold a part of a row are named here, not repeated.
"""

from dataclasses import dataclass

_KILLED = "tests/faults/test_killed_at_any_moment.py::test_"
_OUTAGE = "tests/faults/test_long_outage.py::test_"
_POWER = "tests/faults/test_power_cut.py::test_"
_DISK = "tests/faults/test_disk_faults.py::test_"
_POISON = "tests/faults/test_poisoned_messages.py::test_"
_SITE = "tests/faults/test_slow_and_missing_site.py::test_"
_NETWORK = "tests/faults/test_network_faults.py::test_"
_SUPERVISED = "tests/faults/test_supervision.py::test_"
_GATEWAY = "tests/integration/test_gateway_on_a_broker.py::test_"
_HISTORIAN = "tests/integration/test_historian_on_a_broker.py::test_"
_POINT = "tests/unit/gateway_agent/test_point_monitor.py::test_"
_SEGMENTS = "tests/unit/gateway_agent/test_segments.py::test_"
_CLOCK = "tests/faults/test_clock_steps.py::test_"
_SENSOR = "tests/faults/test_sensor_faults.py::test_"
_PAGES = "tests/unit/dashboard/test_dashboard_pages.py::test_"


@dataclass(frozen=True, slots=True)
class FaultRow:
    """One fault and the tests that inject it."""

    fault: str
    tests: tuple[str, ...]


ROWS: dict[int, FaultRow] = {
    1: FaultRow(
        "broker killed in a burst",
        (
            f"{_KILLED}gateway_and_broker_killed_twenty_times_each_lose_nothing_and_store_nothing_twice",
            f"{_KILLED}broker_killed_at_two_hundred_points_loses_nothing_and_stores_nothing_twice",
        ),
    ),
    2: FaultRow(
        "site or broker away for long",
        (
            f"{_OUTAGE}site_that_is_away_for_long_costs_the_oldest_health_alone_and_the_backlog_drains_alarms_first",
            f"{_OUTAGE}broker_that_is_away_for_a_minute_costs_nothing_and_the_sensors_backlog_drains",
            f"{_GATEWAY}a_broker_that_is_away_at_start_comes_goes_and_returns_is_waited_for",
            f"{_HISTORIAN}broker_that_is_away_at_start_goes_and_returns_loses_nothing",
        ),
    ),
    3: FaultRow(
        "gateway killed at any write",
        (
            f"{_KILLED}gateway_and_broker_killed_twenty_times_each_lose_nothing_and_store_nothing_twice",
            f"{_KILLED}gateway_killed_at_two_hundred_points_loses_nothing_and_stores_nothing_twice",
            f"{_GATEWAY}a_gateway_killed_in_the_middle_of_a_burst_has_everything_it_acknowledged_and_nothing_twice",
            f"{_HISTORIAN}killed_between_commit_and_acknowledgement_stores_nothing_twice",
            f"{_HISTORIAN}killed_before_the_commit_stores_it_after_the_restart",
        ),
    ),
    4: FaultRow(
        "power cut, torn log",
        (
            f"{_POWER}no_acknowledged_capture_is_lost_when_the_power_goes_at_any_write",
            f"{_POWER}with_less_than_full_syncs_the_same_cuts_lose_acknowledged_captures",
            f"{_POWER}a_log_cut_off_anywhere_loses_the_newest_and_nothing_else",
            f"{_SEGMENTS}an_entry_torn_anywhere_by_a_power_cut_is_cut_off_and_the_log_goes_on",
        ),
    ),
    5: FaultRow(
        "disk full",
        (
            f"{_DISK}full_disks_of_gateway_and_site_stop_the_flow_and_lose_nothing_once_there_is_room",
            f"{_GATEWAY}a_full_disk_holds_captures_at_the_broker_and_they_are_stored_when_there_is_room",
        ),
    ),
    6: FaultRow("sync fails", (f"{_DISK}a_sync_that_fails_ends_the_service_before_anything_more_is_acknowledged",)),
    7: FaultRow(
        "wall clock steps",
        (f"{_CLOCK}captures_are_ordered_by_sequence_and_timers_run_on_whatever_the_wall_clock_says",),
    ),
    8: FaultRow(
        "poisoned messages",
        (
            f"{_POISON}poison_behind_a_right_checksum_is_counted_by_reason_and_good_captures_go_on",
            f"{_POISON}bytes_changed_on_the_way_to_a_gateway_become_dead_letters_or_a_new_connection_and_nothing_is_lost",
            f"{_GATEWAY}poison_of_every_kind_is_counted_while_good_captures_go_on",
            f"{_HISTORIAN}bad_input_becomes_counted_dead_letters_and_the_rest_goes_on",
        ),
    ),
    9: FaultRow(
        "message larger than the broker takes",
        (f"{_POISON}what_is_larger_than_the_broker_takes_is_refused_before_it_is_sent_and_holds_nobody_up",),
    ),
    10: FaultRow(
        "sensor silent, stuck, saturated",
        (
            f"{_SENSOR}broken_sensors_are_told_at_the_site_within_three_captures_and_are_no_alarm",
            f"{_POINT}a_broken_sensor_is_not_learnt_from_and_is_reported_as_a_sensor_not_as_a_machine",
            "tests/unit/vibration/test_quality.py::test_nothing_but_mains_is_hum_unless_the_machine_turns_at_it",
            "tests/unit/gateway_agent/test_sensor_change.py::test_axes_in_each_others_place_are_told",
            f"{_PAGES}silent_machine_says_so_before_anything_else",
        ),
    ),
    11: FaultRow(
        "slow consumer",
        (
            f"{_SITE}site_that_stands_still_or_is_locked_out_of_its_database_gets_everything_later_and_the_gateway_goes_on",
        ),
    ),
    12: FaultRow(
        "site database locked or gone",
        (
            f"{_SITE}site_that_stands_still_or_is_locked_out_of_its_database_gets_everything_later_and_the_gateway_goes_on",
            f"{_SITE}database_locked_for_longer_than_the_site_waits_is_said_and_tried_until_it_is_free",
            f"{_SITE}site_whose_database_is_gone_ends_with_one_line_and_gets_everything_once_it_is_back",
        ),
    ),
    20: FaultRow(
        "network partition",
        (
            f"{_NETWORK}gateway_cut_off_from_its_broker_comes_back_and_loses_nothing",
            f"{_NETWORK}link_cut_every_second_and_then_stalled_each_way_loses_nothing_and_brings_no_storm_of_connections",
            "tests/integration/test_learning_tiers.py::test_a_site_learns_on_while_the_enterprise_is_away",
        ),
    ),
    21: FaultRow(
        "flapping link",
        (
            f"{_NETWORK}link_cut_every_second_and_then_stalled_each_way_loses_nothing_and_brings_no_storm_of_connections",
            f"{_NETWORK}cable_that_is_unplugged_every_other_second_for_a_minute_loses_nothing",
        ),
    ),
    22: FaultRow(
        "dashboard without its database",
        (
            f"{_PAGES}missing_database_is_explained_and_no_list_is_shown",
            f"{_PAGES}locked_database_is_explained",
            f"{_PAGES}damaged_file_is_explained",
            f"{_PAGES}empty_plant_says_how_it_gets_its_first_machine",
            "tests/unit/dashboard/test_dashboard_queries.py::test_no_question_walks_the_whole_history",
        ),
    ),
    23: FaultRow(
        "agent hangs",
        (
            f"{_SUPERVISED}agent_that_stands_still_is_killed_by_its_watchdog_started_again_and_nothing_is_lost",
            f"{_SUPERVISED}agent_whose_worker_hangs_in_a_sync_stops_feeding_its_watchdog_though_its_other_threads_live",
            "tests/deploy/test_units.py::test_unit_waits_for_readiness_and_watches",
        ),
    ),
    24: FaultRow(
        "out of memory",
        (
            f"{_SUPERVISED}agent_killed_by_the_kernel_for_lack_of_memory_is_started_again_and_loses_nothing",
            f"{_SUPERVISED}agent_that_finds_no_more_memory_ends_or_goes_on_and_nothing_acknowledged_is_lost",
            "tests/deploy/test_units.py::test_unit_comes_back_however_often_it_fails",
        ),
    ),
    25: FaultRow(
        "secret missing or unreadable",
        (
            f"{_SUPERVISED}service_without_a_usable_secret_does_not_start_and_says_which_in_one_line",
            f"{_GATEWAY}a_missing_key_or_password_ends_the_start_with_one_clear_line",
        ),
    ),
}
"""Rows 13 to 19, 26 and 27 are about learning, models and certificates: their tests stand with those."""
