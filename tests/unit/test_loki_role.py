# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What the roles loki and _log_shipping write, by what the inventory says, and what they refuse."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).parents[2] / "roles"

GROUPS = {
    "us_east": ["c1", "k1", "f1", "t1", "m1"],
    "eu_west": ["c2"],
    "citus_coordinator": ["c1", "c2"],
    "kafka": ["k1"],
    "flink_jobmanager": ["f1"],
    "flink_taskmanager": ["t1"],
    "prometheus": ["m1"],
    "loki": ["m1"],
}

# What dpkg-query says of packages, as the role asks it.
BARE = "bash|installed|"
RSYSLOG = "rsyslog|installed|linux-kernel-log-daemon, system-log-daemon"
OURS = "syslog-ng-core|installed|linux-kernel-log-daemon, syslog-ng-mod-json, system-log-daemon"
REMOVED = "rsyslog|config-files|linux-kernel-log-daemon, system-log-daemon"

RunPlay = Callable[..., str]
Rendered = Callable[..., dict[str, Any]]


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    regions = {"us_east": "us-east", "eu_west": "eu-west"}
    file = tmp_path / "hosts.json"
    file.write_text(
        json.dumps(
            {
                name: {
                    "hosts": {host: {} for host in hosts},
                    "vars": {"region": regions[name]} if name in regions else {},
                }
                for name, hosts in GROUPS.items()
            }
        ),
        encoding="utf-8",
    )
    return file


@pytest.fixture(scope="module")
def seen() -> dict[str, dict[str, Any]]:
    """What was rendered before: a play takes seconds."""
    return {}


@pytest.fixture
def rendered(
    run_play: RunPlay, inventory: Path, tmp_path: Path, seen: dict[str, dict[str, Any]]
) -> Rendered:
    """The templates of a role, as each of the region's hosts gets them."""

    def rendered(role: str, **variables: Any) -> dict[str, Any]:
        asked = repr((role, variables))
        if asked in seen:
            return seen[asked]
        texts = ", ".join(
            f"'{path.stem}': lookup('ansible.builtin.template', '{path}')"
            for path in (ROLES / role / "templates").glob("*.j2")
        )
        said = run_play(
            {
                "hosts": "us_east",
                "vars_files": [
                    str(path)
                    for each in ("_platform", role)
                    for folder in ("defaults", "vars")
                    if (path := ROLES / each / folder / "main.yml").exists()
                ],
                "tasks": [
                    {
                        "ansible.builtin.copy": {
                            "content": "{{ {" + texts + "} | to_json }}",
                            "dest": f"{tmp_path}/{{{{ inventory_hostname }}}}.json",
                        }
                    }
                ],
            },
            inventory=inventory,
            variables={"platform_artifacts_dir": str(tmp_path), **variables},
        )
        assert "failed=0" in said and "fatal" not in said, said
        seen[asked] = {
            host: json.loads((tmp_path / f"{host}.json").read_text()) for host in GROUPS["us_east"]
        }
        return seen[asked]

    return rendered


def sources(config: str) -> list[str]:
    """The files that are read, as directory and pattern."""
    pairs = re.findall(r'base-dir\("(.*?)"\) filename-pattern\("(.*?)"\)', config)
    return [f"{directory}/{pattern}" for directory, pattern in pairs]


def test_loki_takes_clients_with_a_certificate_only(rendered: Rendered) -> None:
    server = yaml.safe_load(rendered("loki")["m1"]["platform.yml"])["server"]
    assert server["http_listen_port"] == 3100
    assert server["http_tls_config"] == {
        "cert_file": "/etc/bss/tls/host.pem",
        "key_file": "/etc/bss/tls/host.pem",
        "client_auth_type": "RequireAndVerifyClientCert",
        "client_ca_file": "/etc/bss/tls/ca.crt",
    }
    assert server["grpc_listen_address"] == "127.0.0.1"


def test_loki_keeps_lines_in_files_for_days_and_tells_nobody(rendered: Rendered) -> None:
    written = yaml.safe_load(rendered("loki", loki_retention_days=3)["m1"]["platform.yml"])
    limits = written["limits_config"]
    assert limits["retention_period"] == limits["reject_old_samples_max_age"] == "72h"
    assert written["compactor"]["retention_enabled"] is True
    (schema,) = written["schema_config"]["configs"]
    assert (schema["store"], schema["schema"]) == ("tsdb", "v13")
    assert schema["object_store"] == written["compactor"]["delete_request_store"] == "filesystem"
    assert written["common"]["ring"] == {"kvstore": {"store": "inmemory"}}
    assert written["analytics"] == {"reporting_enabled": False}


def test_a_setting_of_the_inventory_stands_beside_the_others_or_replaces_one(
    rendered: Rendered,
) -> None:
    given = {"server": {"log_level": "debug"}, "limits_config": {"max_query_length": "1d"}}
    written = yaml.safe_load(rendered("loki", loki_settings=given)["m1"]["platform.yml"])
    assert written["server"]["log_level"] == "debug"
    assert written["server"]["http_listen_port"] == 3100
    assert written["limits_config"]["max_query_length"] == "1d"
    assert written["limits_config"]["reject_old_samples"] is True


def test_the_package_does_not_start_loki_without_its_settings(rendered: Rendered) -> None:
    unit = rendered("loki")["m1"]["platform.conf"]
    assert "\nConditionPathExists=/etc/loki/platform.yml\n" in unit
    assert "\nExecStart=\nExecStart=/usr/bin/loki -config.file=/etc/loki/platform.yml\n" in unit
    tasks = yaml.safe_load((ROLES / "loki/tasks/install.yml").read_text(encoding="utf-8"))
    names = [task["name"] for task in tasks]
    assert names.index("Confine Loki") < names.index("Install the package")


def test_new_settings_are_read_by_loki_before_they_replace_the_old_ones() -> None:
    (task,) = yaml.safe_load((ROLES / "loki/tasks/configure.yml").read_text(encoding="utf-8"))
    (write,) = task["block"]
    assert "-verify-config" in write["ansible.builtin.template"]["validate"]


def test_a_host_sends_its_journal_and_the_files_of_its_services(rendered: Rendered) -> None:
    configs = {host: files["syslog-ng.conf"] for host, files in rendered("_log_shipping").items()}
    assert {host: sources(config) for host, config in configs.items()} == {
        "c1": ["/var/log/postgresql/platform-???.log"],
        "k1": ["/var/log/kafka/server.log"],
        "f1": ["/var/log/flink/jobmanager.log", "/var/log/flink/sql-gateway.log"],
        "t1": ["/var/log/flink/taskmanager.log"],
        "m1": [],
    }
    for config in configs.values():
        assert config.startswith("@version: 3.38\n")
        assert config.count("systemd-journal(") == 1
        # Nothing is sent elsewhere, and no file is written.
        assert re.findall(r'url\("(.*?)"\)', config) == ["https://m1:3100/loki/api/v1/push"]
        assert not re.search(r"@include|destination.*\bfile\(", config)


def test_files_are_those_that_services_write() -> None:
    """As their own roles name them."""

    def variables(role: str) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load((ROLES / role / "vars/main.yml").read_text())
        return found

    services = variables("_log_shipping")["log_shipping_services"]
    directories = {each["unit"].partition("-")[0]: each["directory"] for each in services}
    assert directories["kafka"] == variables("kafka")["kafka_log_dir"]
    assert directories["flink"] == variables("flink")["flink_log_dir"]
    assert directories["postgresql"] == "{{ postgresql_log_dir }}"
    postgresql = (ROLES / "_postgresql/vars/main.yml").read_text(encoding="utf-8")
    assert "log_filename: platform-%a.log\n" in postgresql


def test_what_syslog_ng_says_is_not_sent(rendered: Rendered) -> None:
    config = rendered("_log_shipping")["k1"]["syslog-ng.conf"]
    assert "internal()" not in config
    journal = config[config.index("source(s_journal)") :].partition("};")[0]
    assert "filter(f_of_others)" in journal
    assert 'not match("syslog-ng.service"' in config


def test_lines_wait_in_a_limited_place_and_only_bad_ones_are_dropped(rendered: Rendered) -> None:
    config = rendered("_log_shipping", log_shipping_buffer_mb=64)["k1"]["syslog-ng.conf"]
    assert "reliable(yes)" in config and "disk-buf-size(67108864)" in config
    assert config.count("flags(flow-control)") == config.count("\nlog {")
    actions = dict(re.findall(r"(\d{3}) => (\w+)", config))
    assert {status for status, action in actions.items() if action == "drop"} == {"400", "413"}
    assert {"429", "500", "503"} <= actions.keys()


@pytest.mark.parametrize(
    ("unit", "shown"),
    [
        ("session-17.scope", "session.scope"),
        ("run-u42.service", "run.service"),
        ("docker-0123456789ab.scope", "docker.scope"),
        ("user@1000.service", "user.service"),
        ("kafka.service", "kafka.service"),
        ("systemd-journald.service", "systemd-journald.service"),
        ("prometheus-node-exporter.service", "prometheus-node-exporter.service"),
    ],
)
def test_units_without_a_lasting_name_go_by_their_kind(unit: str, shown: str) -> None:
    variables = yaml.safe_load((ROLES / "_log_shipping/vars/main.yml").read_text())
    assert re.sub(variables["log_shipping_nameless_units"].strip(), r"\1.\2", unit) == shown


def test_what_waits_is_told_as_metrics(rendered: Rendered, tmp_path: Path) -> None:
    stats = "\n".join(
        [
            "SourceName;SourceId;SourceInstance;State;Type;Number",
            "dst.http;d_loki#0;http,https://m1:3100/loki/api/v1/push;a;dropped;2",
            "dst.http;d_loki#0;http,https://m1:3100/loki/api/v1/push;a;queued;17",
            "dst.http;d_loki#0;http,https://m1:3100/loki/api/v1/push;a;written;400",
            "center;;queued;a;processed;9",
        ]
    )
    tool = tmp_path / "syslog-ng-ctl"
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{stats}\nEND\n")
    tool.chmod(0o755)
    script = rendered("_log_shipping", exporters_textfile_dir=str(tmp_path))["k1"]

    def told() -> dict[str, int]:
        subprocess.run(
            ["sh", "-c", script["bss-log-shipping"]],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            check=True,
        )
        lines = (tmp_path / "bss_log_shipping.prom").read_text().splitlines()
        return {line.split()[0]: int(line.split()[1]) for line in lines if not line.startswith("#")}

    assert told() == {
        "bss_log_shipping_up": 1,
        "bss_log_shipping_queued_lines": 17,
        "bss_log_shipping_written_lines_total": 400,
        "bss_log_shipping_dropped_lines_total": 2,
    }
    tool.write_text("#!/bin/sh\nexit 1\n")
    assert told() == {"bss_log_shipping_up": 0}


def test_a_region_whose_logs_nobody_keeps_is_left_alone(run_play: RunPlay, inventory: Path) -> None:
    play = {"hosts": "eu_west", "roles": ["bss.platform._log_shipping"]}
    said = run_play(play, inventory=inventory)
    assert "Leave a region alone whose logs nobody keeps" in said
    assert "Look for other daemons" not in said and "failed=0" in said


@pytest.fixture
def packages(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """The environment of a host that has these packages."""

    def packages(*lines: str) -> dict[str, str]:
        tool = tmp_path / "bin" / "dpkg-query"
        tool.parent.mkdir(exist_ok=True)
        text = "\n".join(lines)
        tool.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
        tool.chmod(0o755)
        return {"PATH": f"{tool.parent}:/usr/bin:/bin"}

    return packages


@pytest.mark.parametrize("role", ["loki", "_log_shipping"])
def test_a_check_of_a_bare_host_plans_what_a_run_does(
    role: str, run_play: RunPlay, inventory: Path, packages: Any
) -> None:
    said = run_play(
        {"hosts": "m1", "roles": [f"bss.platform.{role}"], "environment": packages(BARE)},
        "--check",
        inventory=inventory,
    )
    assert "A run installs, configures and starts" in " ".join(said.split()), said
    assert "failed=0" in said


@pytest.mark.parametrize(
    ("lines", "refused"), [([BARE, RSYSLOG], True), ([BARE, OURS, REMOVED], False)]
)
def test_another_daemon_of_system_logs_is_not_removed(
    lines: list[str], refused: bool, run_play: RunPlay, inventory: Path, packages: Any
) -> None:
    call = {"name": "bss.platform._log_shipping", "tasks_from": "require"}
    said = run_play(
        {
            "hosts": "k1",
            "environment": packages(*lines),
            "tasks": [{"ansible.builtin.include_role": call}],
        },
        inventory=inventory,
    )
    told = " ".join(said.split())
    assert ("k1 has rsyslog, and to send its logs to Loki" in told) is refused, said
    assert ("Nothing was installed." in told) is refused
    assert ("failed=1" in told) is refused
