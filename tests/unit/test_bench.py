# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What the bench makes of what it measures."""

from __future__ import annotations

from typing import Any

import pytest

from bench import run as bench


def said(rate: float, p50: int, p99: int) -> str:
    """The last line of Kafka's ProducerPerformance 4.3.1."""
    return (
        f"80000 steady state records sent, {rate} records/sec (7.87 MB/sec), 1383.16 ms avg "
        f"latency, 1761.00 ms max latency, {p50} ms 50th, 1635 ms 95th, {p99} ms 99th, "
        "1754 ms 99.9th."
    )


def test_producers_are_compared_by_their_medians() -> None:
    def run(load: str, cluster: str, *figures: Any) -> dict[str, str]:
        return {"load": load, "cluster": cluster, "said": said(*figures)}

    result = bench.compare_producers(
        {
            "partitions": 6,
            "runs": [
                run("most", "platform", 9_000.0, 100, 900),
                run("most", "by_hand", 20_000.0, 40, 100),
                run("most", "platform", 10_000.0, 200, 500),
                run("most", "by_hand", 20_000.0, 50, 200),
                run("most", "platform", 30_000.0, 300, 400),
                run("most", "by_hand", 25_000.0, 60, 300),
                run("some", "platform", 5_000.0, 4, 8),
                run("some", "by_hand", 5_000.0, 2, 4),
            ],
        }
    )
    most = result["most"]
    assert most["platform"] == {"records_per_s": 10_000, "p50_ms": 200, "p99_ms": 500}
    assert most["by_hand"] == {"records_per_s": 20_000, "p50_ms": 50, "p99_ms": 200}
    assert most["ratio"] == {"records_per_s": 0.5, "p50_ms": 4, "p99_ms": 2.5}
    assert len(most["runs"]) == 6 and len(result["some"]["runs"]) == 2
    assert result["partitions"] == 6


def test_a_program_that_says_something_else_ends_the_bench() -> None:
    with pytest.raises(SystemExit, match="but with: Unrecognized"):
        bench.producer_figures("Unrecognized option")


def test_a_restart_is_timed_for_each_node() -> None:
    def play(name: str, host: str, start: str, end: str) -> dict[str, Any]:
        moment = "2026-11-23T04:{}Z".format
        return {
            "play": {"name": name, "duration": {"start": moment(start), "end": moment(end)}},
            "tasks": [{"hosts": {host: {}}}, {"hosts": {host: {}}}],
        }

    assert bench.restart_times(
        [
            play("Put them in order", "k1", "00:00.000000", "00:09.000000"),
            play("Restart one node at a time", "k2", "01:00.000000", "01:20.500000"),
            play("Restart one node at a time", "k1", "01:20.500000", "01:50.250000"),
            play("Restart one node at a time", "k3", "01:50.250000", "02:20.250000"),
        ]
    ) == {"seconds_per_broker": {"k2": 20.5, "k1": 29.8, "k3": 30.0}, "median_s": 29.8}
