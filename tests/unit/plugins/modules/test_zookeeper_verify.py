# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What zookeeper_verify makes of what answers at its port."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.module_utils.checks import CheckFailed, run_checks
from ansible_collections.bss.platform.plugins.modules import zookeeper_verify

SRVR = b"Zookeeper version: 3.8.0, built on 2022\nMode: standalone\nNode count: 5\n"

Serve = Callable[[bytes], int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A server on the loopback that reads the question, says this and closes; its port."""
    listeners: list[socket.socket] = []

    def start(answer: bytes) -> int:
        listener = socket.create_server(("localhost", 0))
        listeners.append(listener)

        def run() -> None:
            while True:
                try:
                    connection, _address = listener.accept()
                except OSError:
                    return  # the test is over
                with connection:
                    connection.recv(64)
                    connection.sendall(answer)

        threading.Thread(target=run, daemon=True).start()
        return int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, tuple[str, str]]]:
    """State and detail of each check of a port, with TLS that is well but is no TLS."""

    class Context:
        def wrap_socket(self, plain: socket.socket, server_hostname: str) -> socket.socket:
            return plain.dup()

        def get_ca_certs(self) -> list[dict[str, str]]:
            return [{"notAfter": "Jan  1 00:00:00 2099 GMT"}]

    def require_active(unit: str) -> None:
        if unit == "dead":
            raise CheckFailed("the unit dead is failed")

    tls = zookeeper_verify.tls
    monkeypatch.setattr(zookeeper_verify, "require_active", require_active)
    monkeypatch.setattr(tls, "client_context", lambda _options: Context())

    def run(port: int, **others: Any) -> dict[str, tuple[str, str]]:
        said = {"days": 100.0, "taken": [], **others}
        monkeypatch.setattr(tls, "server_certificate_days_left", lambda *_server: said["days"])
        monkeypatch.setattr(tls, "strangers_taken", lambda *_server: said["taken"])
        options = {"host": "localhost", "port": port, "unit": "zookeeper", "certificate_days": 14}
        results = run_checks(zookeeper_verify.checks({**options, **others}))
        return {each.name.removeprefix("zookeeper_"): (each.state, each.detail) for each in results}

    return run


def test_it_serves(serve: Serve, found: Any) -> None:
    port = serve(SRVR)
    assert found(port)["serves"] == (
        "ok",
        f"zookeeper is active, localhost:{port} serves (standalone)",
    )
    assert found(port, unit="dead")["serves"] == ("failed", "the unit dead is failed")


@pytest.mark.parametrize(
    "answer", [b"", b"srvr is not executed because it is not in the whitelist.\n"]
)
def test_another_answer_is_not_serving(serve: Serve, found: Any, answer: bytes) -> None:
    state, detail = found(serve(answer))["serves"]
    assert state == "failed" and "4lw.commands.whitelist" in detail


@pytest.mark.parametrize(
    ("answer", "state"),
    [(b"", "ok"), (b"\x15\x03\x03\0\x02\x02\x50", "ok"), (SRVR, "failed"), (b"not here", "failed")],
)
def test_a_client_without_tls(serve: Serve, found: Any, answer: bytes, state: str) -> None:
    assert found(serve(answer))["refuses_plaintext"][0] == state


def test_strangers_and_the_certificate(serve: Serve, found: Any) -> None:
    port = serve(SRVR)
    well = found(port)
    assert (well["refuses_strangers"][0], well["certificate"][0]) == ("ok", "ok")
    assert found(port, taken=["takes all"])["refuses_strangers"] == ("failed", "takes all")
    state, detail = found(port, days=13.0)["certificate"]
    assert state == "failed" and "13 days left" in detail


def test_nobody_at_the_port_proves_nothing(found: Any) -> None:
    results = found(1)
    for name in ("serves", "refuses_plaintext"):
        assert results[name][0] == "failed" and "refused" in results[name][1]
