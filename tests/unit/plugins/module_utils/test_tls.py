# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Against servers of this test: who is refused, and what is only broken."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.module_utils import postgresql_wire, tls
from ansible_collections.bss.platform.plugins.module_utils.checks import CheckFailed
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAYS = 30


class Authority:
    """A certificate authority, and files of certificates that it issued."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._key = directory, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = self._certificate(self._name, self._key, 3650, authority=True)
        self.file = self._write(f"{name}.crt", certificate)

    def issue(self, name: str, days: int = DAYS) -> str:
        """File with a certificate for a name, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return self._write(f"{name}-{days}.pem", self._certificate(subject, key, days) + pem)

    def _certificate(
        self, subject: x509.Name, key: Any, days: int, authority: bool = False
    ) -> bytes:
        now = datetime.now(UTC)
        name = subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(str(name))]), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _write(self, name: str, content: bytes) -> str:
        file = self._directory / name
        file.write_bytes(content)
        return str(file)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "ca")


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"), "other")


Serve = Callable[[Callable[[socket.socket], None]], int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server on the loopback that treats each connection by a function; its port."""
    listeners: list[socket.socket] = []

    def start(treat: Callable[[socket.socket], None]) -> int:
        listener = socket.create_server(("localhost", 0))
        listeners.append(listener)

        def run() -> None:
            while True:
                try:
                    connection, _address = listener.accept()
                except OSError:
                    return  # the test is over
                with connection, suppress(OSError):  # the client is what is tested
                    treat(connection)

        threading.Thread(target=run, daemon=True).start()
        return int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def https(
    authority: Authority,
    demand: bool,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    answer: bytes = b'200 OK\r\n\r\n{"health":"true"}',
    days: int = DAYS,
) -> Callable[[socket.socket], None]:
    """A server that answers all alike, after a client certificate where it demands one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("localhost", days))
    context.load_verify_locations(authority.file)
    context.minimum_version = context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED if demand else ssl.CERT_NONE

    def treat(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as session:
            session.recv(4096)
            session.sendall(b"HTTP/1.1 " + answer)

    return treat


def options(authority: Authority, **others: Any) -> dict[str, Any]:
    return {
        "ca_cert": authority.file,
        "client_cert": authority.issue("client"),
        "client_key": None,
        "certificate_days": 14,
        **others,
    }


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_without_certificate_is_refused(
    version: ssl.TLSVersion, authority: Authority, serve: Serve
) -> None:
    url = f"https://localhost:{serve(https(authority, demand=True, version=version))}/health"
    assert tls.refuses_anonymous(url, authority.file)
    assert tls.get_json(url, tls.client_context(options(authority))) == {"health": "true"}


@pytest.mark.parametrize("answer", [b"200 OK\r\n\r\n{}", b"403 Forbidden\r\n\r\nno"])
def test_an_answer_is_no_refusal(answer: bytes, authority: Authority, serve: Serve) -> None:
    port = serve(https(authority, demand=False, answer=answer))
    assert not tls.refuses_anonymous(f"https://localhost:{port}/health", authority.file)


def test_a_server_that_is_down_refuses_nobody(authority: Authority) -> None:
    with pytest.raises(ConnectionRefusedError):
        tls.refuses_anonymous("https://localhost:1/health", authority.file)


def test_a_server_that_is_not_trusted_refuses_nobody(
    authority: Authority, other_authority: Authority, serve: Serve
) -> None:
    port = serve(https(authority, demand=True))
    with pytest.raises(ssl.SSLCertVerificationError):
        tls.refuses_anonymous(f"https://localhost:{port}/health", other_authority.file)


def test_another_name_is_not_trusted(authority: Authority, serve: Serve) -> None:
    port = serve(https(authority, demand=False))
    with pytest.raises(ssl.SSLCertVerificationError, match=r"127\.0\.0\.1|IP address mismatch"):
        tls.get(f"https://127.0.0.1:{port}/", tls.anonymous_context(authority.file))


@pytest.mark.parametrize("answer", [b"503 Unavailable\r\n\r\n{}", b"200 OK\r\n\r\nno json"])
def test_an_answer_that_was_not_asked_for(
    answer: bytes, authority: Authority, serve: Serve
) -> None:
    url = f"https://localhost:{serve(https(authority, demand=False, answer=answer))}/health"
    with pytest.raises(tls.RequestFailed, match="answered"):
        tls.get_json(url, tls.anonymous_context(authority.file))


def test_days_left(authority: Authority, serve: Serve) -> None:
    url = f"https://localhost:{serve(https(authority, demand=True))}/"
    assert "30 days left" in tls.certificate_stays_valid(url, options(authority))
    with pytest.raises(CheckFailed, match=r"30 days left, .* wanted are 60: renew"):
        tls.certificate_stays_valid(url, options(authority, certificate_days=60))
    with pytest.raises(CheckFailed, match="the authority 3650"):
        tls.certificate_stays_valid(url, options(authority, certificate_days=4000))


def test_an_expired_certificate(authority: Authority, serve: Serve) -> None:
    url = f"https://localhost:{serve(https(authority, demand=True, days=0))}/"
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        tls.certificate_stays_valid(url, options(authority))


def test_the_certificate_of_any_server(authority: Authority, serve: Serve) -> None:
    port, context = serve(https(authority, demand=False)), tls.anonymous_context(authority.file)
    assert DAYS - 1 < tls.server_certificate_days_left("localhost", port, context) <= DAYS
    with pytest.raises(ssl.SSLCertVerificationError, match=r"127\.0\.0\.1|IP address mismatch"):
        tls.server_certificate_days_left("127.0.0.1", port, context)


def listening(authority: Authority, demand: bool) -> Callable[[socket.socket], None]:
    """A server that speaks no HTTP: it takes a client and waits for what that says."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("localhost"))
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED if demand else ssl.CERT_NONE

    def treat(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as session:
            session.recv(1)

    return treat


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "TIMEOUT_S", 0.3)


@pytest.mark.parametrize("serving", [https, listening])
def test_strangers_are_turned_away(
    serving: Any,
    impatient: None,
    authority: Authority,
    other_authority: Authority,
    serve: Serve,
) -> None:
    given = options(authority, foreign_cert=other_authority.issue("stranger"))
    port = serve(serving(authority, demand=True))
    assert tls.strangers_taken("localhost", port, given) == []
    port = serve(serving(authority, demand=False))
    assert tls.strangers_taken("localhost", port, given) == [
        f"localhost:{port} takes a client without certificate",
        f"localhost:{port} takes a client with a certificate of another authority",
    ]
    given["foreign_cert"] = None
    assert len(tls.strangers_taken("localhost", port, given)) == 1


def test_one_stranger_of_two(
    impatient: None, authority: Authority, other_authority: Authority, serve: Serve
) -> None:
    """A server that trusts the platform's authority beside its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("localhost"))
    context.load_verify_locations(authority.file)
    context.load_verify_locations(other_authority.file)
    context.verify_mode = ssl.CERT_REQUIRED

    def treat(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as session:
            session.recv(1)

    port = serve(treat)
    given = options(authority, foreign_cert=other_authority.issue("stranger"))
    assert tls.strangers_taken("localhost", port, given) == [
        f"localhost:{port} takes a client with a certificate of another authority"
    ]


def test_a_server_without_tls_turns_nobody_away(
    impatient: None, authority: Authority, serve: Serve
) -> None:
    given = options(authority, foreign_cert=None)
    for answer in (b"", b"HTTP/1.1 400 Bad Request\r\n"):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            tls.strangers_taken("localhost", serve(postgresql(answer)), given)
    with pytest.raises(ConnectionRefusedError):
        tls.turns_away("localhost", 1, tls.anonymous_context(authority.file))


def error(sqlstate: bytes) -> bytes:
    fields = b"SFATAL\0C" + sqlstate + b"\0Mkeine Zeile in pg_hba\0\0"
    return b"E" + (len(fields) + 4).to_bytes(4, "big") + fields


def postgresql(answer: bytes) -> Callable[[socket.socket], None]:
    def treat(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(answer)

    return treat


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        (error(b"28000"), postgresql_wire.NO_MATCHING_RULE),
        (error(b"53300"), "53300"),
        (b"R\0\0\0\x17\0\0\0\nSCRAM-SHA-256\0\0", None),
        (b"R\0\0\0\x08\0\0\0\0", None),
    ],
)
def test_what_a_plain_connection_meets(answer: bytes, refusal: str | None, serve: Serve) -> None:
    port = serve(postgresql(answer))
    found = postgresql_wire.refusal_of_plain_connection("localhost", port, "postgres", "bss")
    assert found == refusal


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n"])
def test_a_server_that_is_not_postgresql(answer: bytes, serve: Serve) -> None:
    port = serve(postgresql(answer))
    with pytest.raises(postgresql_wire.NotPostgresql):
        postgresql_wire.refusal_of_plain_connection("localhost", port, "postgres", "bss")


def test_a_postgresql_that_is_down() -> None:
    with pytest.raises(ConnectionRefusedError):
        postgresql_wire.refusal_of_plain_connection("localhost", 1, "postgres", "bss")


def test_the_certificate_that_postgresql_presents(authority: Authority, serve: Serve) -> None:
    treat_https = https(authority, demand=False)

    def treat(connection: socket.socket) -> None:
        assert connection.recv(8) == b"\0\0\0\x08\x04\xd2\x16\x2f"
        connection.sendall(b"S")
        treat_https(connection)

    context = tls.anonymous_context(authority.file)
    days = postgresql_wire.server_certificate_days_left("localhost", serve(treat), context)
    assert DAYS - 1 < days <= DAYS


def test_a_postgresql_without_tls(authority: Authority, serve: Serve) -> None:
    context = tls.anonymous_context(authority.file)
    with pytest.raises(postgresql_wire.NotPostgresql, match="does not offer TLS"):
        postgresql_wire.server_certificate_days_left("localhost", serve(postgresql(b"N")), context)
