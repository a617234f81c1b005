# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What the role _verify has checked: here, where nothing runs, so that each check fails."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]

HERE = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}


def call(role: str, entry_point: str) -> dict[str, Any]:
    return {
        "ansible.builtin.include_role": {"name": f"bss.platform.{role}", "tasks_from": entry_point}
    }


def show(result: str) -> dict[str, Any]:
    names = f"{result}.results | selectattr('state', 'eq', 'failed') | map(attribute='name')"
    return {"ansible.builtin.debug": {"msg": f"{result}: {{{{ {names} | join(' ') }}}}."}}


def test_the_checks_of_flink_run(run_play: Callable[..., str]) -> None:
    play = {
        "hosts": "us-f1",
        "tasks": [
            *(call("_verify", "zookeeper"), show("verify_zookeeper")),
            *(call("_verify", "flink"), show("verify_flink")),
            *(call("bss_workload", "verify_flink"), show("verify_flink_cluster")),
        ],
    }
    said = run_play(play, inventory=CHECKOUT / "inventories/us-east", variables=HERE)
    shown = " ".join(said.split())
    for line in (
        "verify_zookeeper: zookeeper_serves zookeeper_refuses_plaintext "
        "zookeeper_refuses_strangers zookeeper_certificate.",
        "verify_flink: flink_running flink_certificate flink_refuses_strangers "
        "flink_metrics_private flink_state_private.",
        "verify_flink_cluster: flink_sql_gateway flink_taskmanagers flink_jobs_as_declared "
        "flink_jobs_run flink_jobs_checkpoint flink_jobs_steady.",
    ):
        assert line in shown, said


def test_the_checks_of_monitoring_run(run_play: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "prometheus_password").write_text("right")
    play = {
        "hosts": "us-k1:us-m1",
        "tasks": [
            *(call("_verify", "exporters"), show("verify_exporters")),
            {**call("prometheus", "verify"), "when": "inventory_hostname == 'us-m1'"},
            {**show("verify_prometheus"), "when": "inventory_hostname == 'us-m1'"},
        ],
    }
    said = run_play(
        play,
        "--check",
        inventory=CHECKOUT / "inventories/us-east",
        variables={**HERE, "platform_secrets_dir": str(tmp_path)},
    )
    shown = " ".join(said.split())
    failed = "exporters_run exporters_refuse_strangers exporters_certificate."
    assert shown.count(f"verify_exporters: {failed}") == 2, said
    assert (
        "verify_prometheus: prometheus_serves prometheus_refuses_strangers prometheus_certificate "
        "targets_as_declared all_targets_up rules_loaded no_critical_alerts alertmanager_serves "
        "alertmanager_cluster watchdog_arrives."
    ) in shown, said
