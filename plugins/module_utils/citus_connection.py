# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The way the nodes of a Citus cluster reach each other."""

from __future__ import annotations

from ansible_collections.bss.platform.plugins.module_utils.citus import Address
from ansible_collections.bss.platform.plugins.module_utils.postgresql import (
    CONNECT_TIMEOUT_S,
    CannotConnect,
    Session,
)

try:
    import psycopg2
    from psycopg2.extensions import make_dsn, parse_dsn
except ImportError:  # postgresql.connect() has said so before anything here is called
    pass


def node_conninfo(session: Session) -> dict[str, str]:
    """citus.node_conninfo of this server, by keyword (``sslmode``, ...)."""
    conninfo = session.value("SELECT current_setting('citus.node_conninfo', true)")
    return dict(parse_dsn(conninfo or ""))


def connect_as_node(session: Session, address: Address, password: str = "") -> Session:
    """Reach another server as Citus on this one does: same settings, same credentials.

    They are citus.node_conninfo and, where there is any, pg_dist_authinfo; the
    module must run as a user that can read the key named there. ``password`` is
    for a server that asks for one and has no authinfo. Raises CannotConnect.
    """
    authinfo = session.value(
        "SELECT a.authinfo FROM pg_dist_authinfo a LEFT JOIN pg_dist_node n USING (nodeid) "
        "WHERE a.rolename = current_user "
        "AND (a.nodeid = 0 OR (n.nodename = %s AND n.nodeport = %s)) ORDER BY a.nodeid DESC",
        (address.name, address.port),
    )
    (own,) = session.rows("SELECT current_user AS user, current_database() AS dbname")
    keywords = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "application_name": "bss.platform verify",
        **({"password": password} if password else {}),
        **node_conninfo(session),
        **parse_dsn(authinfo or ""),
        "host": address.name,
        "port": address.port,
        **own,
    }
    try:
        connection = psycopg2.connect(make_dsn(**keywords))
    except psycopg2.Error as error:
        raise CannotConnect(f"{address}: {' '.join(str(error).split())}") from error
    connection.autocommit = True
    return Session(connection, f"{address}/{own['dbname']}")
