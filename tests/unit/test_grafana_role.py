# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What the role grafana writes, for one region and for two. That Grafana takes it is not proven:
no source of Grafana can be reached where tests run."""

from __future__ import annotations

import configparser
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

CHECKOUT = Path(__file__).parents[2]
ROLE = CHECKOUT / "roles/grafana"
VARIABLES = [
    CHECKOUT / "roles/_platform/defaults/main.yml",
    CHECKOUT / "roles/_platform/vars/main.yml",
    ROLE / "defaults/main.yml",
    ROLE / "vars/main.yml",
]

US_EAST = {
    "us_east": {"vars": {"region": "us-east"}, "hosts": {"us-m1": {}}},
    "prometheus": {"hosts": {"us-m1": {}}},
    "grafana": {"hosts": {"us-m1": {}}},
}
EU_WEST = {
    "eu_west": {"vars": {"region": "eu-west"}, "hosts": {"eu-m1": {}}},
    "prometheus": {"hosts": {"eu-m1": {}}},
}

Write = Callable[..., dict[str, str]]


@pytest.fixture(scope="module", autouse=True)
def plugins() -> None:
    """The lookups that the role's variables and templates use."""
    init_plugin_loader()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """What the role's templates become on us-m1, by their names."""

    def write(*regions: dict[str, Any], **variables: Any) -> dict[str, str]:
        sources = []
        for index, region in enumerate(regions):
            sources.append(tmp_path / f"{index}.json")
            sources[-1].write_text(json.dumps(region), encoding="utf-8")
        loader = DataLoader()
        inventory = InventoryManager(loader, [str(path) for path in sources])
        manager = VariableManager(loader, inventory)
        known = manager.get_vars(host=inventory.get_host("us-m1"))
        for path in VARIABLES:
            known |= loader.load_from_file(str(path), trusted_as_template=True)
        known |= {
            "hostvars": HostVars(inventory, manager, loader),
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "ansible_managed": "ours",
            "platform_secrets_dir": str(tmp_path / "secrets"),
            "item": str(ROLE / "files/dashboards/bss-node-health.json"),
            **variables,
        }
        templar = Templar(loader, known)
        return {
            path.name.removesuffix(".j2"): str(
                templar.template(trust_as_template(path.read_text(encoding="utf-8")))
            )
            for path in ROLE.glob("templates/*.j2")
        }

    return write


def settings(written: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    parser.read_string(written)
    return parser


def test_grafana_serves_with_tls_and_knows_its_secrets_by_their_files(write: Write) -> None:
    found = settings(write(US_EAST)["grafana.ini"])
    assert dict(found["server"]) == {
        "protocol": "https",
        "http_port": "3001",
        "domain": "us-m1",
        "root_url": "https://us-m1:3001/",
        "cert_file": "/etc/bss/tls/host.pem",
        "cert_key": "/etc/bss/tls/host.pem",
        "min_tls_version": "TLS1.2",
    }
    security = found["security"]
    assert security["admin_password"] == "$__file{/etc/grafana/secrets/admin_password}"
    assert security["secret_key"] == "$__file{/etc/grafana/secrets/secret_key}"
    assert security["cookie_secure"] == "true"
    assert found["auth.anonymous"]["enabled"] == "false"
    assert found["analytics"]["reporting_enabled"] == "false"


def test_a_setting_of_the_inventory_stands_beside_the_others_or_replaces_one(write: Write) -> None:
    given = {"security": {"cookie_samesite": "lax"}, "smtp": {"enabled": True}}
    found = settings(write(US_EAST, grafana_settings=given)["grafana.ini"])
    assert found["security"]["cookie_samesite"] == "lax"
    assert found["security"]["cookie_secure"] == "true"
    assert found["smtp"]["enabled"] == "true"


def test_prometheus_is_asked_over_verified_tls_with_its_password(write: Write) -> None:
    written = yaml.safe_load(write(US_EAST)["datasources.yml"])
    assert written["apiVersion"] == 1
    (source,) = written["datasources"]
    assert source["url"] == "https://us-m1:9090"
    assert source["uid"] == "bss-us-east"
    assert source["isDefault"] is True
    assert (source["basicAuth"], source["basicAuthUser"]) == (True, "operator")
    assert source["jsonData"]["tlsAuthWithCACert"] is True
    assert "tlsSkipVerify" not in source["jsonData"]
    assert source["secureJsonData"] == {
        "basicAuthPassword": "$__file{/etc/grafana/secrets/prometheus_password}",
        "tlsCACert": "$__file{/etc/bss/tls/ca.crt}",
    }


def test_of_two_regions_dashboards_begin_with_grafanas_own(write: Write) -> None:
    # In the order of the inventories, the other region's would come first.
    sources = yaml.safe_load(write(EU_WEST, US_EAST)["datasources.yml"])["datasources"]
    assert [(source["uid"], source["isDefault"]) for source in sources] == [
        ("bss-us-east", True),
        ("bss-eu-west", False),
    ]


def test_logs_are_asked_for_with_the_hosts_certificate(write: Write) -> None:
    region = US_EAST | {"loki": {"hosts": {"us-m1": {}}}}
    other = EU_WEST | {"loki": {"hosts": {"eu-m1": {}}}}
    sources = yaml.safe_load(write(other, region)["datasources.yml"])["datasources"]
    logs = [source for source in sources if source["type"] == "loki"]
    assert [source["uid"] for source in logs] == ["bss-logs-us-east", "bss-logs-eu-west"]
    assert [source["isDefault"] for source in logs] == [False, False]
    assert logs[0]["url"] == "https://us-m1:3100"
    assert logs[0]["jsonData"]["tlsAuth"] is True
    assert logs[0]["jsonData"]["tlsAuthWithCACert"] is True
    assert "tlsSkipVerify" not in logs[0]["jsonData"]
    assert logs[0]["secureJsonData"] == {
        "tlsCACert": "$__file{/etc/bss/tls/ca.crt}",
        "tlsClientCert": "$__file{/etc/bss/tls/host.pem}",
        "tlsClientKey": "$__file{/etc/bss/tls/host.pem}",
    }


def test_grafana_comes_from_where_it_is_declared_to_come_from() -> None:
    """The role that installs it knows nothing of Grafana: all that it is given is here."""
    install = yaml.safe_load((ROLE / "tasks/install.yml").read_text(encoding="utf-8"))[0]
    assert install["ansible.builtin.include_role"] == {"name": "bss.platform._upstream_package"}
    assert install["vars"]["upstream_package_name"] == "grafana"
    assert install["vars"]["upstream_package_source"] == "{{ grafana_source }}"


def test_dashboards_are_replaced_by_files_and_not_by_hand(write: Write) -> None:
    (provider,) = yaml.safe_load(write(US_EAST)["dashboards.yml"])["providers"]
    assert provider["options"] == {"path": "/etc/grafana/dashboards"}
    assert provider["allowUiUpdates"] is False
    assert provider["type"] == "file"


def test_links_of_dashboards_lead_to_the_handbook_that_is_declared(write: Write) -> None:
    home = "https://handbook.example.org"
    written = write(US_EAST, grafana_runbook_url=home)["dashboard.json"]
    links = [link["url"] for link in json.loads(written)["links"] if link.get("url")]
    assert links == [f"{home}/docs/README.md#failures"]
    assert "github.com" not in written
    # Grafana's own braces stay.
    assert "{{instance}}" in written
    assert json.loads(write(US_EAST)["dashboard.json"]) == json.loads(
        (ROLE / "files/dashboards/bss-node-health.json").read_text(encoding="utf-8")
    )


def test_home_is_a_dashboard_that_there_is(write: Write) -> None:
    home = settings(write(US_EAST)["grafana.ini"])["dashboards"]["default_home_dashboard_path"]
    assert (ROLE / "files/dashboards" / Path(home).name).is_file()
