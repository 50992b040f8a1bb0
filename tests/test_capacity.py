"""The capacity model: the simulator against theory and SimPy, autoscalers' rules, the page's figures."""

import json
import math

import numpy as np
import pytest

from benchmarks.capacity import cases, findings, measure, page, planning, study
from benchmarks.capacity import check as checking
from benchmarks.capacity.__main__ import main
from benchmarks.capacity.autoscaling import KubernetesAutoscaler, RayAutoscaler, Sample, by_ratio
from benchmarks.capacity.costs import Costs, from_measured
from benchmarks.capacity.fleet import BALANCERS, Fleet, Plan
from benchmarks.capacity.replica import Policy

ONE_BY_ONE = Policy(batch_size=1, queue_length=10**6, queue_timeout_s=1e6)
SERVICE_S = 0.01
EXPONENTIAL = tuple(-math.log(1 - (place + 0.5) / 2000) for place in range(2000))


def server(variation=(1.0,), batch_s=((1.0, SERVICE_S),)):
    """One server and nothing before or behind it."""
    return Costs(0.0, 0.0, 0.0, batch_s, variation=variation)


def mixed(transit_s=0.0):
    """Work on all three threads."""
    return Costs(400e-6, 100e-6, 900e-6, ((1.0, 900e-6), (32.0, 9e-3)), transit_s, (0.8, 1.0, 1.2))


def simulate(costs, rate, seconds, replicas=1, **more):
    return Fleet(Plan(costs, lambda _: rate, seconds, replicas, **more)).run()


def mean_s(outcome):
    return float(np.mean(np.frombuffer(outcome.spent)))


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_a_server_of_equal_requests_is_as_slow_as_the_theory_of_m_d_1_says(load):
    outcome = simulate(server(), load / SERVICE_S, 1500, policy=ONE_BY_ONE)
    theory_s = SERVICE_S * (1 + load / (2 * (1 - load)))
    assert mean_s(outcome) == pytest.approx(theory_s, rel=0.05)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_a_server_of_exponential_requests_is_as_slow_as_the_theory_of_m_m_1_says(load):
    outcome = simulate(server(EXPONENTIAL), load / SERVICE_S, 1500, policy=ONE_BY_ONE)
    assert mean_s(outcome) == pytest.approx(SERVICE_S / (1 - load), rel=0.08)
    p99 = outcome.quantiles_ms((0.99,))[0] / 1000
    assert p99 == pytest.approx(math.log(100) * SERVICE_S / (1 - load), rel=0.15)


def test_batches_are_as_slow_as_in_another_program_written_with_simpy():
    pytest.importorskip("simpy")
    from benchmarks.capacity.reference import waits_s  # noqa: PLC0415  (imports SimPy)

    costs = server(batch_s=((1.0, 0.002), (32.0, 0.02)))
    for rate in (300, 900):
        theirs = np.array(waits_s(rate, 60, 32, costs.batch, 1)) * 1000
        ours = simulate(costs, rate, 60, policy=Policy(queue_length=10**6)).quantiles_ms((0.5, 0.99))
        assert ours == pytest.approx(np.quantile(theirs, (0.5, 0.99)).tolist(), rel=0.06)


def test_threads_of_one_core_share_it_and_no_work_is_lost():
    rate, seconds = 250, 60
    outcome = simulate(mixed(), rate, seconds, policy=Policy(batch_size=1))
    each_s = 400e-6 + 100e-6 + 900e-6 + 900e-6
    busy = sum(one.utilisation for one in outcome.samples) / len(outcome.samples)
    assert busy == pytest.approx(outcome.arrived / seconds * each_s, rel=0.02)


@pytest.mark.parametrize("balancer", BALANCERS)
@pytest.mark.parametrize("load", [0.5, 1.5])
def test_every_request_meets_exactly_one_end(balancer, load):
    rate = 3 * load / mixed().core_s(1)
    fleet = Fleet(
        Plan(mixed(), lambda _: rate, 12, 3, Policy(32, 64, 0.3), balancer=balancer, start_s=1, tries=3)
    )
    fleet.clock.at(3.0, lambda now, _: fleet.kill(now, 1, notice_s=0.5, silent=True, replace_after_s=0.5))
    fleet.clock.at(6.0, lambda now, _: fleet.update(now, 1, 0))
    outcome = fleet.run()
    counts = outcome.counts()
    assert sum(counts.values()) == outcome.arrived > 1000
    assert counts["lost"] > 0
    assert (counts["refused"] + counts["late"] > 0) == (load > 1)
    assert all(one.in_flight == 0 for one in fleet.routed)


def test_a_full_queue_refuses_and_a_long_wait_is_given_up():
    slow = server(batch_s=((1.0, 0.1),))
    short = simulate(slow, 40, 20, policy=Policy(batch_size=1, queue_length=5)).counts()
    assert short["refused"] > 0 == short["late"]
    patient = simulate(
        slow, 40, 20, policy=Policy(batch_size=1, queue_length=500, queue_timeout_s=1)
    ).counts()
    assert patient["late"] > 0 == patient["refused"]
    assert short["answered"] == pytest.approx(200, rel=0.1)


def test_a_client_that_comes_back_after_a_refusal_is_one_request():
    slow = server(batch_s=((1.0, 0.1),))
    outcome = simulate(slow, 12, 20, policy=Policy(batch_size=1, queue_length=3), tries=5)
    once = simulate(slow, 12, 20, policy=Policy(batch_size=1, queue_length=3))
    assert outcome.arrived == once.arrived == sum(outcome.counts().values())
    assert outcome.counts()["answered"] > once.counts()["answered"]


def test_a_rolling_update_with_a_surge_loses_nothing_and_replaces_everything():
    fleet = Fleet(Plan(mixed(), lambda _: 600, 20, 4, start_s=1))
    fleet.clock.at(2.0, lambda now, _: fleet.update(now, 1, 0))
    outcome = fleet.run()
    assert outcome.counts()["answered"] == outcome.arrived
    assert min(one.ready for one in outcome.samples) >= 4
    assert {fleet.generation[id(one)] for one in fleet.routed} == {1}
    assert len(fleet.routed) == 4


def test_ten_times_the_load_on_ten_times_the_replicas_is_as_quick():
    small, large = (simulate(mixed(), 200 * replicas, 20, replicas) for replicas in (3, 30))
    assert large.quantiles_ms((0.5,))[0] == pytest.approx(small.quantiles_ms((0.5,))[0], rel=0.15)


def samples(utilisation, ready=4, seconds=60, in_flight=0):
    return [Sample(float(at), ready, 0, utilisation, in_flight) for at in range(1, seconds + 1)]


def test_kubernetes_formula_rounds_up_and_tolerates_a_tenth():
    assert by_ratio(4, 0.9, 0.6) == 6
    assert by_ratio(4, 0.65, 0.6) == 4
    assert by_ratio(4, 0.67, 0.6) == 5
    assert by_ratio(10, 0.3, 0.6) == 5


def test_kubernetes_waits_out_its_window_before_it_takes_pods_away():
    scaler = KubernetesAutoscaler(0.6, 2, 20, down_window_s=60, down_share=0.5)
    assert scaler.desired(samples(0.9)) == 6
    quiet = samples(0.9) + [Sample(float(at), 6, 0, 0.2, 0) for at in range(61, 200)]
    sizes = {at: scaler.desired(quiet[:at]) for at in range(61, 200)}
    assert sizes[100] == 6
    assert sizes[199] == 3


def test_kubernetes_adds_no_more_than_twice_as_many_in_15_s():
    scaler = KubernetesAutoscaler(0.1, 2, 100)
    assert scaler.desired(samples(1.0)) == 8


def test_ray_waits_for_its_delay_and_then_follows_what_is_in_flight():
    scaler = RayAutoscaler(4, 1, 20, up_delay_s=5)
    crowd = samples(0.5, in_flight=40)
    sizes = [scaler.desired(crowd[: 20 + later]) for later in range(8)]
    assert sizes[:5] == [4] * 5
    assert 10 in sizes[5:]


def test_a_batch_s_time_is_read_between_the_measured_sizes():
    costs = server(batch_s=((1.0, 1.0), (2.0, 1.5), (32.0, 16.5)))
    assert [costs.batch(size) for size in (1, 2, 17, 32, 64)] == [1.0, 1.5, 9.0, 16.5, 32.5]


def stored():
    paths = (measure.MEASURED, checking.CHECKED, study.STUDIED)
    return tuple(json.loads(path.read_text(encoding="utf-8")) for path in paths)


def test_the_page_says_what_was_measured_and_simulated():
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.fill(text, page.blocks(*stored())) == text, "run: python -m benchmarks.capacity page"


def test_the_charts_show_what_was_measured_and_simulated():
    for path, chart in page.charts(*stored()).items():
        assert path.read_text(encoding="utf-8") == chart, "run: python -m benchmarks.capacity page"
        assert f"({path.name})" in page.PAGE.read_text(encoding="utf-8")


def test_a_page_without_a_place_for_a_table_is_refused():
    with pytest.raises(cases.Unknown, match="places for"):
        page.fill("<!-- begin law -->\n<!-- end law -->", {"core": ""})


def test_every_payload_and_committed_model_was_measured():
    measured = stored()[0]
    for case in cases.CASES:
        for model in cases.MODELS if case.has_model else cases.MODELS[:1]:
            assert measure.capacity_of(measured, case.name, model)["per_core"] > 0


def test_what_is_simulated_costs_what_was_measured():
    measured = stored()[0]
    for case, model in study.KINDS:
        costs = from_measured(measured, case, model)
        full = measure.capacity_of(measured, case, model)
        spent_us = costs.core_s(max(1, round(full["pictures_a_batch"]))) * 1e6
        assert spent_us == pytest.approx(full["all_us"], rel=0.2)


def test_the_published_check_is_what_the_simulation_says_today():
    measured, checked, _ = stored()
    row = checked["rows"][0]
    costs = from_measured(measured, row["case"], row["model"])
    seconds, rounds = checked["method"]["seconds"], checked["method"]["rounds"]
    taken = [checking.simulate(costs, row["rate"], seconds, seed) for seed in range(rounds)]
    again = checking.together(taken)
    assert again["p50_ms"] == pytest.approx(row["simulated"]["p50_ms"], rel=0.01)


def test_a_plan_has_replicas_for_the_rate_and_one_to_spare():
    measured = stored()[0]
    capacity = measure.capacity_of(measured, "photo", "cifar10-resnet")["per_core"]
    sized = planning.sizing(measured, 10_000, "photo", "cifar10-resnet")
    assert (sized.replicas - 1) * capacity * planning.LOAD >= 10_000
    assert (sized.replicas - 2) * capacity * planning.LOAD < 10_000
    assert sized.memory_mib > measured["memory"]["one"]["loaded_mib"]


def test_a_million_predictions_cost_their_core_hours():
    measured = stored()[0]
    price = planning.cost_per_million(measured, "photo", "cifar10-resnet", 0.04, load=0.5)
    capacity = measure.capacity_of(measured, "photo", "cifar10-resnet")["per_core"]
    assert price == pytest.approx(1e6 / capacity / 0.5 / 3600 * 0.04)
    powered = planning.cost_per_million(measured, "photo", "cifar10-resnet", 0.04, 0.5, 5, 0.2)
    assert powered == pytest.approx(price * (0.04 + 0.001) / 0.04)


def test_the_command_line_plans_and_prices(capsys):
    assert main(["plan", "--rate", "10000", "--payload", "photo", "--model", "cifar10-resnet"]) == 0
    planned = capsys.readouterr().out
    assert "replicas" in planned
    assert "MiB each" in planned
    assert main(["cost", "--core-hour", "0.04"]) == 0
    assert "0.04 a core-hour" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--payload", "foto"), "no payload 'foto'; there are small, web, photo"),
        (("--model", "alexnet"), "no figures of a model 'alexnet'; there are those of cifar10-lenet, "),
        (("--rate", "-1"), "the rate must be above 0 requests a second; got -1"),
        (("--load", "2"), "the load must be above 0 and at most 1; got 2"),
    ],
)
def test_a_wrong_name_or_number_gets_one_sentence(arguments, sentence, capsys):
    assert main(["plan", "--rate", "100", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {sentence}")
    assert len(error.splitlines()) == 1


def test_shares_and_times_are_written_for_readers():
    assert [findings.share(value) for value in (0.0, 0.0123, 0.5)] == ["0", "1.23%", "50%"]
    assert [findings.ms(value) for value in (1.26, 250.4)] == ["1.3", "250"]
