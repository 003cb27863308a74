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
_UPLINK = "tests/unit/gateway_agent/test_worker_and_uplink.py::test_"
_CLOCK = "tests/faults/test_clock_steps.py::test_"
_SENSOR = "tests/faults/test_sensor_faults.py::test_"
_ROUNDS = "tests/integration/test_learning_rounds.py::test_"
_LATE = "tests/integration/test_late_updates.py::test_"
_TIERS = "tests/integration/test_asynchronous_tiers.py::test_"
_LEARNING = "tests/faults/test_learning_faults.py::test_"
_BAD = "tests/integration/test_bad_updates.py::test_"
_SCREEN = "tests/unit/learning/test_screen_of_norms.py::test_"
_QUORUM = "tests/unit/learning/test_quorum.py::test_"
_LEARNING_KILLED = "tests/faults/test_learning_killed.py::test_"
_ATTACKS = "tests/unit/learning/test_release_attacks.py::test_"
_SUPERLINK = "tests/faults/test_superlink_restart.py::test_"
_ENROLMENT = "tests/integration/test_enrolment_on_a_broker.py::test_"
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
            f"{_KILLED}everything_measured_before_a_killed_broker_came_back_is_at_the_site_soon_after",
            f"{_UPLINK}to_a_broker_that_has_forgotten_the_site_a_batch_goes_again_soon_until_the_site_answers",
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
        (
            f"{_CLOCK}captures_are_ordered_by_sequence_and_timers_run_on_whatever_the_wall_clock_says",
            f"{_CLOCK}gateway_whose_clock_says_1970_is_not_connected_says_what_its_clock_shows_and_lives_on",
            f"{_CLOCK}gateway_with_a_wrong_clock_is_let_in_once_it_is_set_and_stays_when_it_steps_again",
        ),
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
            f"{_SENSOR}sensor_that_falls_silent_is_told_at_the_site_and_so_is_its_return",
            f"{_POINT}a_broken_sensor_is_not_learnt_from_and_is_reported_as_a_sensor_not_as_a_machine",
            "tests/unit/vibration/test_quality.py::test_nothing_but_mains_is_hum_unless_the_machine_turns_at_it",
            "tests/unit/gateway_agent/test_sensor_change.py::test_axes_in_each_others_place_are_told",
            f"{_PAGES}silent_machine_says_so_before_anything_else",
        ),
    ),
    11: FaultRow(
        "slow consumer",
        (
            f"{_SITE}slow_links_of_site_and_gateway_hold_everybody_back_within_their_bounds_and_lose_nothing",
            f"{_SITE}site_that_stands_still_or_is_locked_out_of_its_database_gets_everything_later_and_the_gateway_goes_on",
        ),
    ),
    12: FaultRow(
        "site database locked or gone",
        (
            f"{_SITE}site_that_stands_still_or_is_locked_out_of_its_database_gets_everything_later_and_the_gateway_goes_on",
            f"{_SITE}database_locked_for_longer_than_the_site_waits_is_said_and_tried_until_it_is_free",
            f"{_SITE}site_whose_database_is_gone_ends_with_one_line_and_gets_everything_once_it_is_back",
            f"{_SITE}database_taken_away_under_a_running_site_is_said_acknowledges_nothing_and_all_is_there_once_it_is_back",
            f"{_SITE}database_exchanged_under_a_running_site_ends_it_before_anything_more_is_acknowledged",
        ),
    ),
    13: FaultRow(
        "killed in the middle of a round",
        (
            f"{_LEARNING_KILLED}killed_at_boundaries_of_a_round_and_all_at_once_every_update_is_merged_once",
            f"{_LEARNING_KILLED}gateway_and_broker_killed_at_boundaries_of_a_round_every_update_is_merged_once",
            f"{_LEARNING_KILLED}gateway_killed_at_every_boundary_of_its_part_gives_the_same_update_and_keeps_what_is_its_own",
            f"{_LEARNING_KILLED}broker_killed_at_every_boundary_of_a_round_every_update_is_merged_once",
            f"{_LEARNING_KILLED}site_killed_at_every_boundary_of_a_round_merges_every_update_once",
            f"{_LEARNING_KILLED}enterprise_killed_at_every_boundary_of_a_merge_merges_every_update_once",
            f"{_LEARNING_KILLED}anybody_killed_at_random_twenty_times_every_update_is_merged_once",
            f"{_ROUNDS}an_aggregator_killed_in_the_middle_of_a_round_takes_it_up_again_and_asks_nobody_twice",
            f"{_ROUNDS}a_round_survives_the_death_of_the_broker",
            f"{_ROUNDS}a_round_left_open_on_a_release_that_is_gone_is_voided_at_the_next_start",
        ),
    ),
    14: FaultRow(
        "SuperLink restarted in the middle of a round",
        (
            f"{_SUPERLINK}round_whose_superlink_is_killed_goes_on_in_a_new_run_and_merges_every_update_once",
            f"{_SUPERLINK}site_that_is_restarted_in_a_round_takes_it_up_in_a_run_of_its_own",
            f"{_SUPERLINK}stock_superlink_killed_with_its_process_group_has_a_new_run_within_a_minute_of_its_return",
        ),
    ),
    15: FaultRow(
        "half the gateways drop",
        (
            f"{_LEARNING}gateways_that_go_in_the_middle_of_a_round_void_it_below_the_quorum_and_the_next_one_goes_on",
            "tests/unit/learning/test_local_rounds.py::test_a_quorum_that_is_missed_voids_the_round_with_the_numbers",
            f"{_QUORUM}when_gateways_drop_out_a_round_counts_from_half_of_them_and_twice_the_wrong_and_three",
            f"{_QUORUM}a_wrong_member_that_is_caught_cannot_make_rounds_void",
        ),
    ),
    16: FaultRow(
        "stragglers",
        (
            f"{_LATE}stragglers_never_hold_a_round_up_and_what_only_they_have_learnt_is_merged_all_the_same",
            f"{_LATE}a_late_update_is_merged_once_with_the_next_round_and_counts_less",
            f"{_LATE}a_late_update_further_behind_than_allowed_is_refused_with_its_reason",
            f"{_TIERS}what_a_site_learnt_on_an_older_fleet_release_counts_less_and_what_is_too_old_is_refused_with_its_reason",
        ),
    ),
    17: FaultRow(
        "model damaged, incompatible, NaN",
        (
            "tests/unit/learning/test_release_mutations.py::test_one_bit_flipped_anywhere_is_refused_or_changes_nothing_of_the_release",
            "tests/unit/learning/test_release_shelf.py::test_a_release_that_must_not_be_loaded_is_refused_and_the_status_says_why",
            "tests/unit/learning/test_release_shelf.py::test_a_current_release_damaged_on_disk_gives_way_to_the_last_good_one",
        ),
    ),
    18: FaultRow(
        "releases played back, withheld, mixed",
        (
            f"{_ATTACKS}everything_the_site_ever_sealed_played_back_takes_a_gateway_nowhere_but_up",
            f"{_ATTACKS}a_gateway_kept_from_newer_releases_says_so_and_goes_on_with_what_it_has",
            f"{_ATTACKS}a_gateway_that_slept_is_not_given_what_was_newer_than_it_but_is_past_its_time",
            f"{_ATTACKS}files_of_two_releases_make_none",
            f"{_ATTACKS}a_release_signed_in_another_role_is_refused_though_the_key_is_on_the_list",
            f"{_ATTACKS}data_without_end_is_given_up_within_the_bound_and_a_good_release_still_comes_in",
            "tests/integration/test_release_terms_on_a_broker.py::test_what_gateways_run_goes_out_anew_before_its_time_is_over_and_is_the_same",
        ),
    ),
    19: FaultRow(
        "certificate or key out of its time, revoked, misread",
        (
            f"{_LEARNING}gateway_whose_key_is_taken_away_in_the_middle_of_a_round_is_not_heard_any_more",
            f"{_ENROLMENT}certificate_out_of_its_time_is_refused",
            f"{_ENROLMENT}revoked_gateway_is_thrown_out_at_once_and_the_others_come_back",
            "tests/unit/aggregator/test_enrolment.py::test_name_that_the_broker_could_misread_is_refused",
            f"{_ROUNDS}a_stranger_and_an_impostor_are_never_invited",
        ),
    ),
    20: FaultRow(
        "network partition",
        (
            f"{_TIERS}a_site_that_learns_on_without_the_enterprise_offers_all_of_it_in_one_message_once_it_is_back",
            f"{_NETWORK}gateway_cut_off_from_its_broker_comes_back_and_loses_nothing",
            f"{_NETWORK}site_cut_off_from_its_enterprise_goes_on_and_tells_how_it_stands_once_the_cable_is_back",
            f"{_NETWORK}what_a_site_learnt_while_the_cable_to_its_enterprise_was_out_is_there_once_it_is_back",
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
    26: FaultRow(
        "gateways that lie",
        (
            f"{_LEARNING}gateways_that_lie_cost_the_fleet_at_most_a_twentieth_of_what_it_learns_and_the_mean_far_more",
            f"{_ROUNDS}members_that_send_nonsense_are_rejected_with_their_reason_and_the_rest_is_merged",
            f"{_BAD}each_bad_update_stands_in_the_registry_on_its_gateway_and_on_the_pages_with_its_reason",
            f"{_BAD}of_two_gateways_one_that_shouts_is_refused_by_what_the_site_accepted_before_it_was_restarted",
            f"{_SCREEN}exactly_ten_times_a_members_own_norm_is_refused_and_the_honest_are_not",
        ),
    ),
}
"""Row 27 is about the ledger: its tests stand with that."""
