# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Connections that cannot be, against servers that are none of Kafka; and what responses say."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.bss.platform.plugins.doc_fragments.kafka import ModuleDocFragment
from ansible_collections.bss.platform.plugins.module_utils import kafka_connection, kafka_wire
from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import (
    CONNECTION_OPTIONS,
    CannotConnect,
    MissingLibrary,
    NotSettled,
    address_of,
    connect,
    refused_parts,
    settle,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_wire import (
    CannotReach,
    ConnectionLost,
    ConnectionRefusedByBroker,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Serve = Callable[[bytes | None], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A server that answers whatever comes with these bytes and closes, or (None) says nothing."""
    listeners: list[socket.socket] = []
    held: list[socket.socket] = []

    def start(answer: bytes | None) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def run() -> None:
            with suppress(OSError):
                while True:
                    client, _address = listener.accept()
                    held.append(client)
                    if answer is not None:
                        client.recv(65536)
                        client.sendall(answer)
                        client.close()

        threading.Thread(target=run, daemon=True).start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for each in (*listeners, *held):
        each.close()


def options(server: str, **others: Any) -> dict[str, Any]:
    defaults = {name: each.get("default") for name, each in CONNECTION_OPTIONS.items()}
    login = {"sasl_username": "app", "sasl_password": "secret", "bootstrap_timeout": 1}
    return {
        **defaults,
        **login,
        "request_timeout": 1,
        "bootstrap_servers": [server],
        **others,
    }


@pytest.mark.parametrize(
    ("answer", "protocol", "message"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "SASL_SSL", "does not speak TLS as asked for"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "SASL_PLAINTEXT", "Check that security_protocol"),
        (b"\0\0\0\x05hello", "SASL_PLAINTEXT", "closed it or did not answer"),
        (b"", "SASL_PLAINTEXT", "closed it or did not answer"),
        (b"\0\0", "PLAINTEXT", "closed it or did not answer"),
        (None, "SASL_PLAINTEXT", "closed it or did not answer"),
    ],
)
def test_a_server_that_is_not_kafka(
    serve: Serve, answer: bytes | None, protocol: str, message: str
) -> None:
    server = serve(answer)
    with pytest.raises(PlatformError, match=message) as refused:
        connect(options(server, security_protocol=protocol))
    assert server in str(refused.value) and "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("answer", "answers"),
    [
        (b"", False),
        (b"\x15\x03\x03\0\x02\x02\x46", False),  # an alert of TLS: unexpected message
        (b"\0\0\0\x05hello", True),
    ],
)
def test_what_a_client_without_tls_gets(serve: Serve, answer: bytes, answers: bool) -> None:
    host, port = address_of(serve(answer))
    assert kafka_wire.answers_without_tls(host, port, 1) is answers


def test_silence_and_no_server_refuse_nobody(serve: Serve) -> None:
    host, port = address_of(serve(None))
    with pytest.raises(CannotReach, match="no answer in time"):
        kafka_wire.answers_without_tls(host, port, 0.2)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(CannotReach, match="refused"):
        kafka_wire.answers_without_tls(host, port, 1)


def test_a_server_that_is_silent_during_the_handshake_leaves_time_for_the_next(
    serve: Serve,
) -> None:
    servers = [serve(None), serve(None)]
    began = time.monotonic()
    with pytest.raises(CannotConnect) as failure:
        connect(options("", bootstrap_servers=servers))
    assert time.monotonic() - began < 5  # bootstrap_timeout is 1, and neither answers ever
    assert all(f"{server}: no answer in time" in str(failure.value) for server in servers)


@pytest.fixture
def expired_certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1 that was valid until yesterday, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "k1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now - timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "expired.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file


def test_a_certificate_that_has_expired(expired_certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(expired_certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def shake_hands() -> None:
            with suppress(OSError):
                context.wrap_socket(listener.accept()[0], server_side=True)

        server = threading.Thread(target=shake_hands)
        server.start()
        with pytest.raises(ConnectionRefusedByBroker, match="certificate has expired"):
            connect(
                options(f"127.0.0.1:{listener.getsockname()[1]}", ca_cert=str(expired_certificate))
            )
        server.join()


def test_nobody_listens() -> None:
    with pytest.raises(CannotConnect, match=r"127\.0\.0\.1:1: Connection refused"):
        connect(options("127.0.0.1:1"))


@pytest.mark.parametrize("missing", ["sasl_username", "sasl_password"])
def test_a_login_needs_a_name_and_a_password(missing: str) -> None:
    with pytest.raises(CannotConnect, match=f"set {missing}"):
        connect(options("127.0.0.1:1", **{missing: None}))


def test_the_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_wire, "KAFKA_ERROR", ImportError("No module named 'kafka'"))
    with pytest.raises(MissingLibrary, match="Install it with pip: kafka-python"):
        connect(options("127.0.0.1:1"))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("k1", ("k1", 9092)),
        (" k1:9093 ", ("k1", 9093)),
        ("[::1]:9093", ("::1", 9093)),
        ("[::1]", ("::1", 9092)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert address_of(text) == address


@pytest.mark.parametrize("text", ["", "k1:", "k1:port", "k1:0", "k1:70000", ":9092"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(CannotConnect, match="Write it as host:port"):
        address_of(text)


def test_names_are_escaped_as_scram_has_it() -> None:
    assert kafka_wire._saslname("CN=a,b") == "CN=3Da=2Cb"


def test_what_a_response_refused_is_found_wherever_it_is() -> None:
    said = {
        "error_code": 0,
        "responses": [
            {
                "name": "a",
                "error_code": 0,
                "partitions": [{"partition_index": 1, "error_code": 39}],
            },
            {"name": "b", "error_code": 17, "error_message": "Too  odd."},
        ],
        "entries": [{"error_code": 42, "entity": [{"entity_type": "user", "entity_name": "c"}]}],
    }
    assert refused_parts(said) == {
        "a-1": "InvalidReplicationAssignmentError",
        "b": "Too odd",
        "c": "InvalidRequestError",
    }


def test_what_never_shows_is_told_after_a_while() -> None:
    shown = iter([False, True])
    settle("It", lambda: next(shown), timeout=10)
    with pytest.raises(NotSettled, match="It was accepted by Kafka, but 0 s later"):
        settle("It", lambda: False, timeout=0)


def test_documentation_has_the_options_of_the_connection() -> None:
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    fields = ("type", "elements", "choices", "required", "default")
    for name, option in CONNECTION_OPTIONS.items():
        described = documented.pop(name)
        expected = {field: option[field] for field in fields if field in option}
        assert {field: described[field] for field in fields if field in described} == expected
    assert documented == {}


def test_a_broker_whose_connection_broke_is_asked_again_over_a_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []

    class Fragile:
        def __init__(self, host: str, *_others: Any) -> None:
            opened.append(host)
            self.breaks = opened == ["k1", "k2"]

        def request(self, _api: str, _body: Any) -> dict[str, Any]:
            if self.breaks:
                raise ConnectionLost("It broke.")
            return {"error_code": 0}

    monkeypatch.setattr(kafka_connection, "Connection", Fragile)
    options = {name: each.get("default") for name, each in CONNECTION_OPTIONS.items()}
    plain = {"bootstrap_servers": ["k1"], "security_protocol": "PLAINTEXT"}
    session = connect({**options, **plain})
    for _time in range(2):
        assert session.read("DescribeLogDirs", {}, broker=("k2", 9092)) == {"error_code": 0}
    assert opened == ["k1", "k2", "k2"]
