# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What the role prometheus writes for the lab's region, alone and beside another one, and what it
does with rules that are wrong."""

from __future__ import annotations

import json
import re
import sys
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

CHECKOUT = Path(__file__).parents[2]
ROLE = CHECKOUT / "roles/prometheus"
US_EAST = CHECKOUT / "inventories/us-east"

VARIABLES = [
    CHECKOUT / "roles/_platform/defaults/main.yml",
    CHECKOUT / "roles/_platform/vars/main.yml",
    ROLE / "defaults/main.yml",
    ROLE / "vars/main.yml",
]

EU_WEST = {
    "eu_west": {
        "vars": {"region": "eu-west"},
        "hosts": {"eu-c1": {}, "eu-w1": {"citus_group": 1}, "eu-m1": {}},
    },
    "citus_coordinator": {"hosts": {"eu-c1": {}}},
    "citus_worker": {"hosts": {"eu-w1": {}}},
    "prometheus": {"hosts": {"eu-m1": {}}},
}

GIVEN = {
    "ansible_connection": "local",
    "ansible_python_interpreter": sys.executable,
    "ansible_facts": {"default_ipv4": {"address": "10.77.1.41"}},
    "prometheus_disk": {"stdout_lines": [" 1M-blocks", "    100000"]},
    "prometheus_hashes": {"content": b64encode(b"operator:$2b$12$hash\n").decode()},
    "prometheus_written_dir": "/data",
    "ansible_managed": "ours",
}

Write = Callable[..., dict[str, str]]


@pytest.fixture
def write() -> Write:
    """What the role's templates become on us-m1, by their names."""

    def write(*inventories: Path, **variables: Any) -> dict[str, str]:
        loader = DataLoader()
        inventory = InventoryManager(loader, [str(path) for path in (US_EAST, *inventories)])
        manager = VariableManager(loader, inventory)
        known = manager.get_vars(host=inventory.get_host("us-m1"))
        for path in VARIABLES:
            known |= loader.load_from_file(str(path), trusted_as_template=True)
        known |= {"hostvars": HostVars(inventory, manager, loader), **GIVEN, **variables}
        templar = Templar(loader, known)
        written = {
            path.name.removesuffix(".j2"): str(
                templar.template(trust_as_template(path.read_text(encoding="utf-8")))
            )
            for path in ROLE.glob("templates/*.j2")
        }
        expected = trust_as_template("{{ prometheus_expected_targets | to_json }}")
        return {**written, "expected": templar.template(expected)}

    return write


@pytest.fixture
def other_region(tmp_path: Path) -> Path:
    """The inventory of a second region."""
    inventory = tmp_path / "eu-west.json"
    inventory.write_text(json.dumps(EU_WEST), encoding="utf-8")
    return inventory


def jobs(written: dict[str, str]) -> dict[str, dict[str, Any]]:
    scraped = yaml.safe_load(written["prometheus.yml"])["scrape_configs"]
    return {job["job_name"]: job for job in scraped}


def arguments(written: str) -> dict[str, str]:
    """The arguments of a file of Debian's /etc/default, as systemd reads it."""
    found = re.search(r'^ARGS="(.*)"$', written.replace("\\\n", ""), re.M)
    assert found
    return dict(each.removeprefix("--").split("=", 1) for each in found[1].split())


def test_everything_of_the_region_is_scraped_once(write: Write) -> None:
    written = write()
    scraped = jobs(written)
    assert set(scraped) == {
        *("node", "postgres", "postgres_log", "patroni", "etcd", "kafka", "flink_jobmanager"),
        *("flink_taskmanager", "zookeeper", "exporter_proxy", "prometheus", "alertmanager"),
        *("blackbox", "blackbox_tls", "blackbox_http"),
    }
    hosts = yaml.safe_load((US_EAST / "hosts.yml").read_text())
    for job in scraped.values():
        for group in job["static_configs"]:
            labels = group["labels"]
            assert labels["region"] == "us-east"
            assert labels["instance"] in hosts["us_east"]["hosts"]
            address = group["targets"][0].removeprefix("https://").partition(":")[0]
            assert address in (labels["instance"], "127.0.0.1")
    found = {
        job: sorted({group["labels"]["instance"] for group in scraped[job]["static_configs"]})
        for job in scraped
    }
    assert found["node"] == sorted(hosts["us_east"]["hosts"])
    assert found["etcd"] == ["us-c1", "us-w1", "us-w2"]
    assert found["zookeeper"] == ["us-f1"]
    assert found["exporter_proxy"] == sorted(set(hosts["us_east"]["hosts"]) - {"us-m1"})
    # What verify expects is what is written.
    expected = json.loads(written["expected"])
    assert {job: sorted(set(each)) for job, each in expected.items()} == found


def test_a_loki_is_scraped_and_tried_from_outside(write: Write, tmp_path: Path) -> None:
    inventory = tmp_path / "loki.json"
    inventory.write_text(json.dumps({"loki": {"hosts": {"us-m1": {}}}}), encoding="utf-8")
    written = write(inventory)
    job = jobs(written)["loki"]
    (group,) = job["static_configs"]
    assert group["targets"] == ["us-m1:3100"]
    assert job["tls_config"]["cert_file"] == "/etc/bss/tls/host.pem"
    for prober, address in (
        ("blackbox_tls", "us-m1:3100"),
        ("blackbox_http", "https://us-m1:3100/ready"),
    ):
        probed = [each["targets"] for each in jobs(written)[prober]["static_configs"]]
        assert [address] in probed
        assert [address] not in [
            each["targets"] for each in jobs(write())[prober]["static_configs"]
        ]
    assert "loki" in json.loads(written["expected"])


def test_only_who_proves_itself_is_believed(write: Write) -> None:
    written = write()
    for name, job in jobs(written).items():
        if name.startswith("blackbox"):
            continue  # on the loopback
        assert job["scheme"] == "https"
        assert job["tls_config"]["ca_file"] == "/etc/bss/tls/ca.crt"
        assert ("basic_auth" in job) != ("cert_file" in job["tls_config"])
    assert "password:" not in written["prometheus.yml"]
    web = yaml.safe_load(written["web.yml"])
    assert web["basic_auth_users"] == {"operator": "$2b$12$hash"}
    assert set(web["tls_server_config"]) == {"cert_file", "key_file", "min_version"}


def test_databases_say_of_which_group_they_are(write: Write) -> None:
    for job in ("postgres", "patroni"):
        groups = {
            each["labels"]["instance"]: each["labels"]["citus_group"]
            for each in jobs(write())[job]["static_configs"]
        }
        assert groups == {"us-c1": "0", "us-w1": "1", "us-w2": "2", "us-w3": "3"}


def test_samples_leave_room_on_their_disk(write: Write) -> None:
    kept = arguments(write(prometheus_retention_size_mb=0)["prometheus.default"])
    assert kept["storage.tsdb.retention.size"] == "60000MB"
    assert kept["storage.tsdb.retention.time"] == "30d"
    kept = arguments(write(prometheus_retention_size_mb=512)["prometheus.default"])
    assert kept["storage.tsdb.retention.size"] == "512MB"


def test_a_region_alone_has_no_cluster_and_no_federation(write: Write) -> None:
    written = write()
    assert "federate" not in jobs(written)
    assert arguments(written["alertmanager.default"])["cluster.listen-address"] == ""


def test_two_regions_know_each_other(write: Write, other_region: Path) -> None:
    written = write(other_region)
    scraped = jobs(written)
    assert [each["targets"] for each in scraped["federate"]["static_configs"]] == [["eu-m1:9090"]]
    assert scraped["federate"]["static_configs"][0]["labels"]["region"] == "eu-west"
    assert all("eu-c1" not in str(job) for job in scraped.values())
    config = yaml.safe_load(written["prometheus.yml"])
    told = config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    assert told == ["us-m1:9093", "eu-m1:9093"]
    started = arguments(written["alertmanager.default"])
    assert started["cluster.peer"] == "eu-m1:9094"
    assert started["cluster.advertise-address"] == "10.77.1.41:9094"
    assert started["cluster.tls-config"] == "/etc/prometheus/cluster_tls.yml"
    expected = json.loads(written["expected"])
    assert expected["federate"] == ["eu-m1"]


def test_systems_that_come_later_are_scraped(write: Write, tmp_path: Path) -> None:
    later = {group: {"hosts": {"us-k1": {}}} for group in ("mirrormaker", "haproxy", "grafana")}
    inventory = tmp_path / "later.json"
    inventory.write_text(json.dumps(later), encoding="utf-8")
    scraped = jobs(write(inventory))
    for job in ("mirrormaker", "haproxy"):
        assert scraped[job]["params"] == {"module": [job]}
    assert {"mirrormaker", "haproxy", "grafana"} <= scraped.keys()
    assert "pgbouncer" not in scraped


def test_receivers_and_routes_are_the_users_own(write: Write) -> None:
    written = write(
        prometheus_receivers=[{"name": "team", "webhook_configs": [{"url": "https://t/"}]}],
        prometheus_routes=[{"matchers": ['severity="critical"'], "receiver": "team"}],
        prometheus_default_receiver="team",
        prometheus_alertmanager_global={"resolve_timeout": "10m"},
        prometheus_inhibit_rules=[{"source_matchers": ["a=b"], "target_matchers": ["c=d"]}],
        prometheus_remote_write=[{"url": "https://far/"}],
        prometheus_extra_scrape_configs=[{"job_name": "mine", "static_configs": []}],
    )
    told = yaml.safe_load(written["alertmanager.yml"])
    assert told["global"] == {"resolve_timeout": "10m"}
    assert told["route"]["receiver"] == "team"
    assert [route["receiver"] for route in told["route"]["routes"]] == ["verify", "team", "kept"]
    assert [each["name"] for each in told["receivers"]] == ["kept", "verify", "team"]
    assert told["inhibit_rules"][-1]["source_matchers"] == ["a=b"]
    assert yaml.safe_load(written["prometheus.yml"])["remote_write"] == [{"url": "https://far/"}]
    assert jobs(written)["mine"] == {"job_name": "mine", "static_configs": []}


def test_a_dead_host_silences_what_is_said_of_it_and_no_proof_of_life(write: Write) -> None:
    rules = yaml.safe_load(write()["alertmanager.yml"])["inhibit_rules"]
    by_source = {each["source_matchers"][0]: each for each in rules}
    assert by_source['alertname="HostDown"']["equal"] == ["region", "instance"]
    assert by_source['alertname="RegionDown"']["equal"] == ["region"]
    for source in ('alertname="HostDown"', 'alertname="RegionDown"'):
        assert "Watchdog|BssVerify" in by_source[source]["target_matchers"][0]


def test_a_critical_alert_silences_the_warning_of_the_same_thing_only(write: Write) -> None:
    """Each label that an alert of both severities tells its things apart by counts."""
    severities = defaultdict(set)
    labels = defaultdict(set)
    for path in ROLE.glob("files/rules/*.yml"):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                if "alert" in rule:
                    severities[rule["alert"]].add(rule["labels"]["severity"])
                    summary = rule["annotations"]["summary"]
                    labels[rule["alert"]] |= {*re.findall(r"\$labels\.(\w+)", summary)}
    told_apart = {
        label for alert in labels for label in labels[alert] if len(severities[alert]) > 1
    }
    assert {"instance", "mountpoint"} <= told_apart
    rules = yaml.safe_load(write()["alertmanager.yml"])["inhibit_rules"]
    by_severity = [each for each in rules if "severity" in each["source_matchers"][0]]
    assert told_apart <= {*by_severity[0]["equal"]}


PROMTOOL = """#!/bin/sh
# Stands for promtool: a file with the word broken is.
if grep -q broken "$3"; then echo "$3: could not parse expression" >&2; exit 1; fi
"""


@pytest.fixture
def rules(run_play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Write the rules with these of the user's own; what Ansible says."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/promtool").write_text(PROMTOOL)
    (tmp_path / "bin/promtool").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    for directory in ("rules", "own_rules"):
        (tmp_path / directory).mkdir()

    def rules(*own: Path, options: tuple[str, ...] = ()) -> str:
        step = {
            "ansible.builtin.include_role": {
                "name": "bss.platform.prometheus",
                "tasks_from": "rules",
            }
        }
        return run_play(
            {"hosts": "us-m1", "tasks": [step]},
            *options,
            inventory=US_EAST,
            variables={
                **GIVEN,
                "prometheus_config_dir": str(tmp_path),
                "prometheus_extra_rules": [*map(str, own)],
                "prometheus_rules": ["hosts", "certificates"],
            },
        )

    return rules


def test_rules_are_written_with_the_platforms_values(rules, tmp_path: Path) -> None:
    own = tmp_path / "mine.yml"
    own.write_text("groups: []\n")
    (tmp_path / "rules/gone.yml").write_text("groups: []\n")
    said = rules(own)
    assert "failed=0" in said, said
    assert sorted(path.name for path in (tmp_path / "rules").iterdir()) == [
        "certificates.yml",
        "hosts.yml",
    ]
    text = (tmp_path / "rules/certificates.yml").read_text()
    assert "[[" not in text and "{{ $labels.instance }}" in text
    assert (tmp_path / "own_rules/mine.yml").read_text() == "groups: []\n"
    assert "failed=0" in rules() and not (tmp_path / "own_rules/mine.yml").exists()


def test_a_broken_rule_leaves_the_former_one_in_place(rules, tmp_path: Path) -> None:
    own = tmp_path / "mine.yml"
    own.write_text("groups: []\n")
    assert "failed=0" in rules(own)
    own.write_text("groups: broken\n")
    said = " ".join(rules(own).split())
    assert "failed=1" in said, said
    assert "was not given" in said and "mine.yml" in said and "could not parse" in said
    assert "What it had before stays in place" in said
    assert (tmp_path / "own_rules/mine.yml").read_text() == "groups: []\n"


@pytest.mark.parametrize("name", ["pages.yml", "nowhere.yml"])
def test_a_file_of_rules_that_is_missing_is_named(rules, tmp_path: Path, name: str) -> None:
    said = " ".join(rules(tmp_path / name).split())
    assert "failed=1" in said and name in said, said
