# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""A connection to PostgreSQL that remembers what it sent.

The transport under the Citus modules: options as in community.postgresql,
errors as sentences, every statement kept for the module's ``queries``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

try:
    import psycopg2
    import psycopg2.extras

    PSYCOPG2_ERROR: Exception | None = None
except ImportError as error:  # reported by connect(), as a sentence
    PSYCOPG2_ERROR = error

CONNECTION_OPTIONS: dict[str, dict[str, Any]] = {
    "login_host": {"type": "str", "default": ""},
    "login_port": {"type": "int", "default": 5432},
    "login_user": {"type": "str", "default": "postgres"},
    "login_password": {"type": "str", "default": "", "no_log": True},
    "login_db": {"type": "str", "default": "postgres"},
    "login_unix_socket": {"type": "str", "default": ""},
    "ssl_mode": {
        "type": "str",
        "default": "prefer",
        "choices": ["allow", "disable", "prefer", "require", "verify-ca", "verify-full"],
    },
    "ca_cert": {"type": "path"},
}

CONNECT_TIMEOUT_S = 10


class MissingLibrary(PlatformError):
    """psycopg2 is not installed where the module runs."""


class CannotConnect(PlatformError):
    """No session with the server could be had."""


class ConnectionLost(PlatformError):
    """The session broke in the middle; the same task converges when repeated."""


class StatementFailed(PlatformError):
    """PostgreSQL refused a statement; carries its SQLSTATE."""

    def __init__(self, message: str, sqlstate: str | None) -> None:
        self.sqlstate = sqlstate
        super().__init__(message)


class Session:
    """An autocommit session; ``sent`` holds the writing statements in order."""

    def __init__(self, connection: Any, name: str) -> None:
        self._connection = connection
        self.name = name
        self.sent: list[str] = []

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Run a reading statement and return its rows as dictionaries."""
        with self._cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return [dict(row) for row in cursor.fetchall()]

    def value(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """The first column of the first row; None when there is no row."""
        rows = self.rows(statement, parameters)
        return next(iter(rows[0].values())) if rows else None

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Run a writing statement and keep it, with its values, in ``sent``."""
        with self._cursor() as cursor:
            shown = cursor.mogrify(statement, parameters or None).decode()
            self.sent.append(" ".join(shown.split()))
            cursor.execute(statement, parameters or None)
            return [dict(row) for row in cursor.fetchall()] if cursor.description else []

    @property
    def notices(self) -> list[str]:
        """What the server said beside its answers, oldest first; may be cleared."""
        notices: list[str] = self._connection.notices
        return notices

    def copy(self, statement: str, file: Any) -> None:
        """Run a ``COPY ... FROM STDIN`` with what ``file.read(size)`` returns until it is empty."""
        with self._cursor() as cursor:
            self.sent.append(statement)
            cursor.copy_expert(statement, file)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements inside take effect together or not at all."""
        self._connection.autocommit = False
        try:
            yield
            with self._errors():
                self._connection.commit()
        except BaseException:
            if not self._connection.closed:
                self._connection.rollback()
            raise
        finally:
            if not self._connection.closed:
                self._connection.autocommit = True

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        factory = psycopg2.extras.RealDictCursor
        with self._errors(), self._connection.cursor(cursor_factory=factory) as cursor:
            yield cursor

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Errors of psycopg2 as the errors of this file."""
        try:
            yield
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            if self._connection.closed:
                raise ConnectionLost(
                    f"The connection to {self.name} broke while a statement ran: "
                    f"{_one_line(error)}. What was committed before stays; "
                    "run the same task again, it goes on from there."
                ) from error
            raise StatementFailed(
                f"{self.name} refused: {_one_line(error)}", error.pgcode
            ) from error
        except psycopg2.Error as error:
            raise StatementFailed(
                f"{self.name} refused: {_one_line(error)}", error.pgcode
            ) from error


def connect(options: Mapping[str, Any]) -> Session:
    """Open a session from a module's parameters (the names of CONNECTION_OPTIONS).

    Raises MissingLibrary or CannotConnect, each saying what to do.
    """
    if PSYCOPG2_ERROR is not None:
        raise MissingLibrary(
            "The Python library psycopg2 is not installed where this module runs "
            f"({PSYCOPG2_ERROR}). Install python3-psycopg2 (Debian) or psycopg2-binary (pip)."
        )
    host = options["login_unix_socket"] or options["login_host"]
    name = f"{host or 'the local socket'}:{options['login_port']}/{options['login_db']}"
    keywords: dict[str, Any] = {
        "host": host,
        "port": options["login_port"],
        "user": options["login_user"],
        "password": options["login_password"],
        "dbname": options["login_db"],
        "sslmode": options["ssl_mode"],
        "sslrootcert": options["ca_cert"],
        "connect_timeout": CONNECT_TIMEOUT_S,
        "application_name": f"bss.platform[{os.getpid()}]",
    }
    try:
        connection = psycopg2.connect(
            **{key: value for key, value in keywords.items() if value not in (None, "")}
        )
    except psycopg2.Error as error:
        raise CannotConnect(
            f"No connection to PostgreSQL at {name} as {options['login_user']}: "
            f"{_one_line(error)}. Check login_host, login_port, login_user, login_password, "
            "ssl_mode and ca_cert, and that the server accepts this client in pg_hba."
        ) from error
    connection.autocommit = True
    return Session(connection, name)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".?") or type(error).__name__
