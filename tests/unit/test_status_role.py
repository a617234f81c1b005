# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What the role _status asks of each host of the lab's region: here, where nothing runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]

HERE = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}


def call(entry_point: str) -> dict[str, Any]:
    return {
        "ansible.builtin.import_role": {"name": "bss.platform._status", "tasks_from": entry_point}
    }


# On one line of each host: what it was asked for.
TOLD = """TOLD {{
  {'host': inventory_hostname, 'units': status_host.units | sort,
   'certificates': status_host.certificates | sort,
   'parts': ['patroni', 'etcd', 'database'] | select('in', status_host)} | to_json
}} TOLD"""


def test_each_host_is_asked_for_what_it_has(run_play: Callable[..., str]) -> None:
    said = run_play(
        {"tasks": [call("host"), {"ansible.builtin.debug": {"msg": TOLD}}]},
        inventory=CHECKOUT / "inventories/us-east",
        variables=HERE,
    )
    told: dict[str, Any] = {}
    for part in " ".join(said.split()).split("TOLD")[1::2]:
        answer = json.loads(part)
        told[answer.pop("host")] = answer
    platform = ["authority", "host"]
    flink = ["authority", "flink", "flink authority", "host"]
    assert told["us-c1"] == {
        "units": ["etcd", "patroni"],
        "certificates": platform,
        "parts": ["patroni", "etcd", "database"],
    }
    assert told["us-w3"] == {
        "units": ["patroni"],
        "certificates": platform,
        "parts": ["patroni", "database"],
    }
    assert told["us-k1"] == {"units": ["kafka"], "certificates": platform, "parts": []}
    assert told["us-f1"] == {
        "units": ["flink-jobmanager", "flink-sql-gateway", "zookeeper"],
        "certificates": [*flink, "zookeeper", "zookeeper authority"],
        "parts": [],
    }
    assert told["us-t1"] == {"units": ["flink-taskmanager"], "certificates": flink, "parts": []}
    assert told["us-m1"] == {
        "units": ["prometheus", "prometheus-alertmanager"],
        "certificates": platform,
        "parts": [],
    }


def test_clusters_that_do_not_answer_fail_nothing(
    run_play: Callable[..., str], tmp_path: Path
) -> None:
    for name in ("kafka_admin_password", "prometheus_password"):
        (tmp_path / name).write_text("secret")
    served = {"units": {"kafka": "active"}, "uptime_s": 1}
    asked = "{{ inventory_hostname }} ASKED {{ %s is defined and %s is not skipped }}."
    said = run_play(
        {
            "hosts": "us-k1,us-k2,us-f1,us-m1",
            "tasks": [
                {"ansible.builtin.set_fact": {"status_host": served}},
                call("cluster"),
                *(
                    {"ansible.builtin.debug": {"msg": name + " " + asked % (name, name)}}
                    for name in ("status_kafka", "status_flink", "status_prometheus")
                ),
            ],
        },
        inventory=CHECKOUT / "inventories/us-east",
        variables=HERE | {"platform_secrets_dir": str(tmp_path)},
    )
    assert "failed=0" in said and "failed=1" not in said, said
    shown = " ".join(said.split())
    hosts = {"status_kafka": "us-k1", "status_flink": "us-f1", "status_prometheus": "us-m1"}
    for name, speaker in hosts.items():
        for host in ("us-k1", "us-k2", "us-f1", "us-m1"):
            assert f"{name} {host} ASKED {host == speaker}." in shown, said
