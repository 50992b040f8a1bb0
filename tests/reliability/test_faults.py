"""What goes wrong around it is survived: quick versions of `python -m benchmarks.reliability faults`."""

import asyncio
import sys

import pytest

from benchmarks.reliability import crowds, failures

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the faults are Linux's")


def test_of_a_process_killed_under_load_only_its_own_requests_are_lost() -> None:
    asyncio.run(failures.process_killed(clients=8, times=1))


def test_requests_on_a_process_that_stands_still_are_late_and_not_lost() -> None:
    asyncio.run(failures.process_stopped(clients=24, seconds=0.5))


@pytest.mark.parametrize("script", ["exec 2>/dev/full", "exec 2>&-"], ids=["full", "closed"])
def test_a_log_that_cannot_be_written_stops_nothing(script: str) -> None:
    asyncio.run(failures.log_full(script, requests=5))


def test_without_its_metrics_folder_it_answers_on() -> None:
    asyncio.run(failures.metrics_folder_gone())


def test_without_its_models_folder_it_serves_what_it_loaded() -> None:
    asyncio.run(failures.models_folder_gone(clients=2))


@pytest.mark.skipif(failures.clock_library() is None, reason="needs libfaketime (apt install faketime)")
def test_a_clock_that_jumps_by_a_day_changes_no_limit() -> None:
    asyncio.run(failures.clock_jumps(("+86400", "-86400")))


def test_a_model_that_fails_on_a_picture_answers_its_neighbours() -> None:
    asyncio.run(failures.model_fails(pictures=32))


def test_a_stuck_model_is_told_by_health_and_does_not_delay_the_end() -> None:
    asyncio.run(failures.model_hangs_for_ever())


def test_clients_that_send_a_byte_a_second_hold_nobody_up() -> None:
    asyncio.run(crowds.slow_bodies(count=50, timeout_s=2))


def test_clients_that_do_not_read_are_cut_off() -> None:
    asyncio.run(crowds.slow_readers(count=5, limit_s=1))


def test_clients_that_break_off_leave_nothing_behind() -> None:
    asyncio.run(crowds.resets(count=60))


def test_requests_in_one_piece_are_answered_in_order() -> None:
    asyncio.run(crowds.pipelined(count=50))


def test_it_ends_in_time_whatever_connections_are_open() -> None:
    asyncio.run(crowds.stop_with_open_connections(count=50, timeout_s=1))


def test_without_files_for_more_connections_it_waits_and_is_well_again() -> None:
    asyncio.run(crowds.no_more_files())
