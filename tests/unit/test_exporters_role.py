# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What the hosts of a region show to Prometheus, by what the inventory says of them."""

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
EXPORTERS = ROLES / "_exporters"

NODE = "prometheus-node-exporter"
POSTGRES = "prometheus-postgres-exporter"
LOG = "mtail"
PROXY = "prometheus-exporter-exporter"
BLACKBOX = "prometheus-blackbox-exporter"

GROUPS = {
    "us_east": ["c1", "w1", "k1", "f1", "m1"],
    "eu_west": ["c2", "k2"],
    "citus_coordinator": ["c1", "c2"],
    "citus_worker": ["w1"],
    "etcd": ["c1"],
    "kafka": ["k1", "k2"],
    "flink_jobmanager": ["f1"],
    "flink_taskmanager": ["f1"],
    "zookeeper": ["f1"],
    "prometheus": ["m1"],
}

# What hides a part of the file system from a service.
HIDING = ("ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "ProtectKernelModules")


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
    run_play, inventory: Path, tmp_path: Path, seen: dict[str, dict[str, Any]]
) -> Callable[..., dict[str, Any]]:
    """Expressions, over the variables of some roles, as each host sees them."""

    def rendered(
        expressions: dict[str, str], *roles: str, variables: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        asked = repr((expressions, roles, variables))
        if asked in seen:
            return seen[asked]
        files = [
            str(ROLES / role / folder / "main.yml")
            for role in ("_platform", *roles)
            for folder in ("defaults", "vars")
            if (ROLES / role / folder / "main.yml").exists()
        ]
        texts = ", ".join(f"'{name}': {expression}" for name, expression in expressions.items())
        said = run_play(
            {
                "vars_files": files,
                "tasks": [
                    {
                        "ansible.builtin.set_fact": {
                            "virtualization_tech_guest": (
                                "{{ ['container'] if inventory_hostname == 'w1' else [] }}"
                            ),
                            "cacheable": True,
                        }
                    },
                    {
                        "ansible.builtin.copy": {
                            "content": "{{ {" + texts + "} | to_json }}",
                            "dest": f"{tmp_path}/{{{{ inventory_hostname }}}}.json",
                        }
                    },
                ],
            },
            inventory=inventory,
            variables={"platform_secrets_dir": "/secrets", **(variables or {})},
        )
        assert "failed=0" in said and "fatal" not in said, said
        hosts = [*GROUPS["us_east"], *GROUPS["eu_west"]]
        seen[asked] = {host: json.loads((tmp_path / f"{host}.json").read_text()) for host in hosts}
        return seen[asked]

    return rendered


def template(name: str, loop: str = "") -> str:
    """An expression: the text of a template of the role."""
    more = f", template_vars={{{loop}}}" if loop else ""
    return f"lookup('ansible.builtin.template', '{EXPORTERS}/templates/{name}.j2'{more})"


@pytest.fixture
def shown(rendered) -> dict[str, Any]:
    """What each host has: the names of its exporters, their units and files."""
    units = {
        name: template(
            "exporter.service",
            f"'exporter_name': '{name}', 'exporter': exporters_of_hosts['{name}']",
        )
        for name in (NODE, POSTGRES, LOG, PROXY, BLACKBOX)
    }
    found: dict[str, Any] = rendered(
        {
            **units,
            "here": "exporters_here",
            "proxied": "exporters_behind_proxy | map(attribute='name')",
            "web": template("web.yml"),
            "proxy": template("proxy.yml"),
        },
        "_exporters",
    )
    return found


def arguments(unit: str) -> list[str]:
    """Those of the program, as systemd gives them to it."""
    command = unit.partition("ExecStart=")[2].partition("\n\n")[0]
    return [text.replace("$$", "$").replace("%%", "%") for text in re.findall('"(.*)"', command)]


def option(unit: str, name: str) -> str:
    (value,) = [text.partition("=")[2] for text in arguments(unit) if text.startswith(f"{name}=")]
    return value


def test_a_host_runs_what_shows_its_services(shown) -> None:
    assert {host: shown[host]["here"] for host in GROUPS["us_east"]} == {
        "c1": [NODE, POSTGRES, LOG, PROXY],
        "w1": [NODE, POSTGRES, LOG, PROXY],
        "k1": [NODE, PROXY],
        "f1": [NODE, PROXY],
        "m1": [NODE, BLACKBOX],
    }
    assert shown["c1"]["proxied"] == ["postgres_log"]
    assert shown["k1"]["proxied"] == ["kafka"]
    assert shown["f1"]["proxied"] == ["flink_jobmanager", "flink_taskmanager", "zookeeper"]


def test_a_region_that_nobody_watches_is_left_alone(run_play, inventory: Path) -> None:
    said = run_play({"hosts": "eu_west", "roles": ["bss.platform._exporters"]}, inventory=inventory)
    assert "Leave a region alone that nobody watches" in said
    assert "Install the exporters" not in said and "failed=0" in said


def test_a_check_of_a_bare_host_plans_what_a_run_installs(run_play, inventory: Path) -> None:
    said = run_play(
        {"hosts": "k1", "roles": ["bss.platform._exporters"]}, "--check", inventory=inventory
    )
    assert f"There is no {NODE} and no {PROXY} yet." in " ".join(said.split())
    assert "failed=0" in said


def test_the_arguments_are_whole_in_the_unit(shown) -> None:
    for name in (NODE, POSTGRES, LOG, PROXY, BLACKBOX):
        unit = shown["f1"][name]
        assert all("\n" not in text and text.startswith("-") for text in arguments(unit)), name
        assert unit.count("ExecStart=") == 1
        assert not re.search(r"[^$]\$[^$]", unit), "systemd would put a variable there"


def test_a_container_says_nothing_of_its_machine_s_clock(shown) -> None:
    assert "--no-collector.timex" in arguments(shown["w1"][NODE])
    assert "--no-collector.timex" not in arguments(shown["c1"][NODE])


def test_nothing_hides_disks_from_node_exporter(shown) -> None:
    unit = shown["c1"][NODE]
    assert not [name for name in HIDING if f"\n{name}=" in unit]
    assert "\nNoNewPrivileges=yes\n" in unit and "\nCapabilityBoundingSet=\n" in unit


@pytest.mark.parametrize("name", [POSTGRES, LOG, PROXY, BLACKBOX])
def test_the_others_are_confined(shown, name: str) -> None:
    assert [hiding for hiding in HIDING if f"\n{hiding}=" not in shown["c1"][name]] == []


def test_exporters_answer_with_tls_or_on_the_loopback_only(shown) -> None:
    for name in (NODE, POSTGRES):
        assert option(shown["c1"][name], "--web.config.file") == "/etc/bss/exporters/web.yml"
    assert option(shown["k1"][PROXY], "-web.listen-address") == ""
    assert "-web.tls.verify" in arguments(shown["k1"][PROXY])
    assert option(shown["c1"][LOG], "--address") == "127.0.0.1"
    assert option(shown["m1"][BLACKBOX], "--web.listen-address").startswith("127.0.0.1:")


def test_clients_need_a_certificate(shown) -> None:
    tls = yaml.safe_load(shown["c1"]["web"])
    assert tls["tls_server_config"]["client_auth_type"] == "RequireAndVerifyClientCert"
    assert tls["tls_server_config"]["client_ca_file"] == "/etc/bss/tls/ca.crt"


def test_the_proxy_reaches_the_loopback_only(shown) -> None:
    modules = yaml.safe_load(shown["f1"]["proxy"])["modules"]
    assert {name: module["http"]["port"] for name, module in modules.items()} == {
        "flink_jobmanager": 9249,
        "flink_taskmanager": 9250,
        "zookeeper": 9405,
    }
    assert {module["http"]["address"] for module in modules.values()} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("unit", "watched"),
    [
        ("patroni.service", True),
        ("flink-taskmanager.service", True),
        ("prometheus.service", True),
        (f"{NODE}.service", True),
        ("bss-certificates.timer", True),
        ("systemd-logind.service", False),
        ("etcd.socket", False),
    ],
)
def test_units_of_the_platform_are_watched(shown, unit: str, watched: bool) -> None:
    pattern = option(shown["c1"][NODE], "--collector.systemd.unit-include")
    # As node exporter does: the whole name.
    assert bool(re.fullmatch(pattern, unit)) is watched


@pytest.mark.parametrize(
    ("kind", "mount", "measured"),
    [
        ("ext4", "/var/lib/postgresql", True),
        ("overlay", "/", True),
        ("xfs", "/mnt/data", True),
        ("nfs4", "/srv/flink", True),
        ("tmpfs", "/run/user/0", False),
        ("overlay", "/var/lib/docker/overlay2/x/merged", False),
        ("cgroup2", "/sys/fs/cgroup", False),
        ("proc", "/proc", False),
    ],
)
def test_disks_are_measured(shown, kind: str, mount: str, measured: bool) -> None:
    kinds = option(shown["c1"][NODE], "--collector.filesystem.fs-types-exclude")
    mounts = option(shown["c1"][NODE], "--collector.filesystem.mount-points-exclude")
    assert (not re.search(kinds, kind) and not re.search(mounts, mount)) is measured


def test_the_exporter_asks_postgresql_without_a_password(shown) -> None:
    unit = shown["w1"][POSTGRES]
    source = re.search('"DATA_SOURCE_NAME=(.*)"', unit)
    assert source is not None
    found = dict(word.split("=") for word in source[1].split())
    assert found["host"].startswith("/") and "password" not in found
    assert (found["user"], found["dbname"]) == ("monitor", "bss")
    assert "\nUser=postgres-exporter\n" in unit


@pytest.fixture
def certificates(rendered, tmp_path: Path) -> Callable[[list[Path]], tuple[int, str]]:
    """What the script shows of some files, and how it ends."""

    def certificates(files: list[Path]) -> tuple[int, str]:
        text = rendered(
            {"script": template("bss-certificates")},
            "_exporters",
            variables={
                "exporters_certificates": list(map(str, files)),
                "exporters_textfile_dir": str(tmp_path),
            },
        )
        script = tmp_path / "script"
        script.write_text(text["c1"]["script"], encoding="utf-8")
        ended = subprocess.run(["sh", script], stderr=subprocess.DEVNULL, check=False)
        return ended.returncode, (tmp_path / "bss_certificates.prom").read_text()

    return certificates


def test_it_is_shown_when_certificates_end(certificates, tmp_path: Path) -> None:
    pem, broken = tmp_path / "host.pem", tmp_path / "broken.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=c1"
    subprocess.run(
        [*make.split(), "-days", "3", "-keyout", tmp_path / "key", "-out", pem],
        check=True,
        capture_output=True,
    )
    broken.write_text("no certificate\n")

    status, shown = certificates([pem, tmp_path / "absent.pem"])
    (line,) = [line for line in shown.splitlines() if not line.startswith("#")]
    name, seconds = line.rsplit(" ", 1)
    assert name == f'bss_certificate_not_after_seconds{{path="{pem}"}}'
    assert abs(int(seconds) - (pem.stat().st_mtime + 3 * 86400)) < 60
    assert status == 0

    status, shown = certificates([broken, pem])
    assert line in shown and "broken" not in shown
    assert status == 1


def settings(rendered, **variables: Any) -> dict[str, Any]:
    """What the coordinator's group is to have of what watching needs."""
    wanted = ("shared_preload_libraries", "citus.enable_stat_counters", "track_io_timing")
    found = rendered(
        {"settings": "patroni_settings"},
        "_postgresql",
        variables={
            "postgresql_memory_mb": 4096,
            "postgresql_cores": 2,
            "citus_source": "package",
            **variables,
        },
    )
    return {name: found["c1"]["settings"].get(name) for name in wanted}


def test_postgresql_counts_where_somebody_looks(rendered) -> None:
    assert settings(rendered) == {
        "shared_preload_libraries": "citus,pg_stat_statements",
        "citus.enable_stat_counters": "on",
        "track_io_timing": "on",
    }


def test_what_an_operator_says_comes_first(rendered) -> None:
    own = {"shared_preload_libraries": "citus,pg_stat_statements,pg_cron"}
    assert settings(rendered, citus_settings=own)["shared_preload_libraries"].endswith("pg_cron")


@pytest.mark.parametrize("variables", [{"citus_source": "standin"}, {"citus_version": "12.1"}])
def test_citus_counts_where_it_can(rendered, variables: dict[str, str]) -> None:
    found = settings(rendered, **variables)
    assert found["citus.enable_stat_counters"] is None
    assert found["shared_preload_libraries"] == "citus,pg_stat_statements"


def test_nothing_is_counted_where_nobody_looks(rendered) -> None:
    assert set(settings(rendered, postgresql_is_watched=False).values()) == {None}


def test_the_exporter_may_be_its_role_and_nobody_else(rendered) -> None:
    text = f"lookup('ansible.builtin.template', '{ROLES}/_postgresql/templates/patroni.yml.j2')"
    found = rendered(
        {"patroni": text},
        "_postgresql",
        variables={
            "patroni_citus_group": 0,
            "patroni_member_addresses": ["10.0.0.1"],
            "patroni_group_config": {},
            "postgresql_data_dir": "/data",
        },
    )
    of = {
        host: [
            line.split()
            for line in yaml.safe_load(found[host]["patroni"])["postgresql"]["pg_ident"]
            if {"monitor", "postgres-exporter"} & set(line.split())
        ]
        for host in ("c1", "c2")
    }
    assert of == {"c1": [["members", "postgres-exporter", "monitor"]], "c2": []}


def test_units_are_told_where_the_agent_is(run_play, tmp_path: Path) -> None:
    jar = tmp_path / "agent.jar"
    jar.write_text("a jar\n")
    said = run_play(
        {
            "tasks": [
                {
                    "ansible.builtin.include_role": {
                        "name": "bss.platform._jmx_agent",
                        "public": True,
                    }
                },
                {"ansible.builtin.debug": {"msg": "-javaagent:{{ jmx_agent }}=1"}},
            ]
        },
        "--check",
        variables={"jmx_agent_version": "9.8", "jmx_agent_archive": str(jar)},
    )
    assert "-javaagent:/opt/jmx_agent/jmx_prometheus_javaagent-9.8.jar=1" in said


@pytest.mark.parametrize("role", ["kafka", "zookeeper"])
def test_the_agent_answers_on_the_loopback_only(role: str) -> None:
    unit = (ROLES / role / "templates" / f"{role}.service.j2").read_text(encoding="utf-8")
    assert f"-javaagent:{{{{ jmx_agent }}}}=127.0.0.1:{{{{ {role}_metrics_port }}}}:" in unit
