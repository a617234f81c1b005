# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What can be reached from outside, and with what proof."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from ipaddress import ip_address

import psycopg2
import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://us_east"]

SSH = 22
PORTS = {
    "citus_coordinator": {5432, 8008},
    "citus_worker": {5432, 8008},
    "etcd": {2379, 2380},
}
OF_DATABASES = {"citus_coordinator", "citus_worker"}


def test_only_the_ports_of_the_host_s_functions_are_open(host: Host, region, name: str) -> None:
    """A host that left the cluster, or has not joined, has none."""
    expected = {SSH}.union(*(PORTS.get(f, set()) for f in region.functions(name)))
    found = set()
    for line in host.check_output("ss -HltunO").splitlines():
        address, _, port = line.split()[4].rpartition(":")
        address = address.strip("[]").partition("%")[0]
        if address == "*" or not ip_address(address).is_loopback:
            found.add(int(port))
    assert found == expected


@pytest.fixture
def database(region, name: str) -> None:
    if not region.functions(name) & OF_DATABASES:
        pytest.skip("no database")


@pytest.mark.usefixtures("database")
class TestDatabase:
    def test_the_application_connects_with_tls_and_scram(self, connect, sql) -> None:
        with connect() as connection, connection.cursor() as cursor:
            assert connection.info.ssl_in_use
            cursor.execute("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            assert cursor.fetchone()[0] in ("TLSv1.2", "TLSv1.3")
        stored = sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'bss'")
        assert stored.startswith("SCRAM-SHA-256$")

    def test_a_plain_connection_is_refused(self, connect) -> None:
        with pytest.raises(psycopg2.OperationalError, match="no encryption"):
            connect(sslmode="disable")

    def test_a_wrong_password_is_refused(self, connect) -> None:
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            connect(password="not-the-password")

    def test_no_password_opens_the_superuser(self, connect) -> None:
        with pytest.raises(psycopg2.OperationalError, match=r"no pg_hba\.conf entry"):
            connect(user="postgres")

    def test_the_certificate_is_of_this_name(self, connect) -> None:
        with pytest.raises(psycopg2.OperationalError, match="does not match host name"):
            connect(host="another-host")

    def test_nobody_is_trusted(self, sql) -> None:
        """Over TCP only with TLS, and by password or certificate; else as one's own OS user."""
        rules = sql(
            "SELECT type, auth_method, count(*) FROM pg_hba_file_rules WHERE error IS NULL"
            " GROUP BY 1, 2 ORDER BY 1, 2"
        ).splitlines()
        assert {tuple(rule.split("|")[:2]) for rule in rules} == {
            ("hostssl", "cert"),
            ("hostssl", "scram-sha-256"),
            ("local", "peer"),
        }
        assert sql("SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL") == "0"


def answer(url: str, context: ssl.SSLContext) -> int:
    """The status of the answer. Raises OSError where TLS fails."""
    try:
        with urllib.request.urlopen(url, context=context, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize(
    ("functions", "port", "path"),
    [(OF_DATABASES, 8008, "patroni"), ({"etcd"}, 2379, "health")],
    ids=["patroni", "etcd"],
)
class TestApi:
    @pytest.fixture
    def url(self, region, name, address, functions, port, path) -> str:
        if not region.functions(name) & functions:
            pytest.skip("not a function of this host")
        return f"https://{address}:{port}/{path}"

    def test_a_member_s_certificate_opens_it(self, url, secrets, name) -> None:
        context = ssl.create_default_context(cafile=str(secrets.authority))
        context.load_cert_chain(*map(str, secrets.certificate(name)))
        assert answer(url, context) == 200

    def test_nobody_enters_without_one(self, url, secrets) -> None:
        context = ssl.create_default_context(cafile=str(secrets.authority))
        with pytest.raises(OSError, match=r"(?i)certificate required|reset|closed|eof"):
            answer(url, context)

    def test_plain_http_is_refused(self, url) -> None:
        plain = url.replace("https:", "http:")
        try:
            status = answer(plain, ssl.create_default_context())
        except (OSError, ValueError):
            return  # cut off
        assert status == 400  # "Client sent an HTTP request to an HTTPS server"
