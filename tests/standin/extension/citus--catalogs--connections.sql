-- Copyright: the bss.platform contributors
-- Apache License 2.0 (see LICENSE)
--
-- Stand-in for Citus, part 2 of 9: connections from node to node.
-- They are real (by the library of dblink), with citus.node_conninfo and pg_dist_authinfo:
-- wrong addresses, passwords, certificates and pg_hba lines show as they do with Citus.

CREATE FUNCTION citus_internal.dblink_connect(connection text, conninfo text) RETURNS text
LANGUAGE c STRICT AS '$libdir/dblink', 'dblink_connect';
CREATE FUNCTION citus_internal.dblink_disconnect(connection text) RETURNS text
LANGUAGE c STRICT AS '$libdir/dblink', 'dblink_disconnect';
CREATE FUNCTION citus_internal.dblink_get_connections() RETURNS text[]
LANGUAGE c AS '$libdir/dblink', 'dblink_get_connections';
CREATE FUNCTION citus_internal.dblink(connection text, statement text) RETURNS SETOF record
LANGUAGE c STRICT AS '$libdir/dblink', 'dblink_record';
CREATE FUNCTION citus_internal.dblink_exec(connection text, statement text) RETURNS text
LANGUAGE c STRICT AS '$libdir/dblink', 'dblink_exec';
CREATE FUNCTION citus_internal.dblink_send_query(connection text, statement text) RETURNS int
LANGUAGE c STRICT AS '$libdir/dblink', 'dblink_send_query';
REVOKE ALL ON FUNCTION citus_internal.dblink_connect, citus_internal.dblink_disconnect,
  citus_internal.dblink, citus_internal.dblink_exec, citus_internal.dblink_send_query FROM public;

-- A setting of Citus. They are not declared here, so they are known only where they are set.
CREATE FUNCTION citus_internal.setting(name text, fallback text) RETURNS text LANGUAGE sql STABLE
AS $$SELECT coalesce(nullif(current_setting('citus.' || $1, true), ''), $2)$$;

-- Connection strings allow any value in quotes.
CREATE FUNCTION citus_internal.quote_conninfo(value text) RETURNS text LANGUAGE sql
AS $$SELECT '''' || regexp_replace($1, '([''\\])', '\\\1', 'g') || ''''$$;

-- The name of an open connection to that address as the user of this session; kept until the
-- session ends, opened anew when it broke. Fails with 08006 and libpq's reason. One for another
-- purpose than the usual has a name of its own.
-- Runs as a superuser because dblink lets only those use a server's own password or key.
CREATE FUNCTION citus_internal.open_connection(
  nodename text, nodeport int, purpose text DEFAULT NULL)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  connection text := concat_ws(' ', format('%s@%s:%s', session_user, nodename, nodeport), purpose);
  secrets text;
  reason text;
BEGIN
  IF connection = ANY (citus_internal.dblink_get_connections()) THEN
    BEGIN
      PERFORM FROM citus_internal.dblink(connection, 'SELECT 1') AS answer (one int);
      RETURN connection;
    EXCEPTION WHEN OTHERS THEN
      PERFORM citus_internal.dblink_disconnect(connection);
    END;
  END IF;
  SELECT authinfo INTO secrets FROM pg_dist_authinfo a
   WHERE a.rolename = session_user
     AND a.nodeid IN (0, (SELECT n.nodeid FROM pg_dist_node n
                           WHERE n.nodename = nodename AND n.nodeport = nodeport))
   ORDER BY a.nodeid DESC LIMIT 1;
  PERFORM citus_internal.dblink_connect(connection, concat_ws(' ',
    'connect_timeout=30',  -- Citus' patience, unless node_conninfo says otherwise
    citus_internal.setting('node_conninfo', 'sslmode=require'),
    'host=' || citus_internal.quote_conninfo(nodename),
    'port=' || nodeport,
    'dbname=' || citus_internal.quote_conninfo(current_database()),
    'user=' || citus_internal.quote_conninfo(session_user),
    'application_name=citus_internal',
    secrets));
  RETURN connection;
EXCEPTION WHEN sqlclient_unable_to_establish_sqlconnection THEN
  GET STACKED DIAGNOSTICS reason = PG_EXCEPTION_DETAIL;
  RAISE EXCEPTION 'connection to the remote node % failed with the following error: %',
    connection, regexp_replace(reason, '^connection to server .*? failed: ', '')
    USING ERRCODE = 'connection_failure';
END
$$;

-- So that the next use of that address has to log in anew.
CREATE FUNCTION citus_internal.close_connection(nodename text, nodeport int)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT citus_internal.dblink_disconnect(connection)
    FROM format('%s@%s:%s', session_user, $1, $2) AS connection
   WHERE connection = ANY (citus_internal.dblink_get_connections())
$$;

-- What a query of one row and one column answers on another node. Fails as the query does.
CREATE FUNCTION citus_internal.remote_value(nodename text, nodeport int, query text)
RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT answer.value
    FROM citus_internal.dblink(citus_internal.open_connection($1, $2), $3) AS answer (value text)
$$;
REVOKE ALL ON FUNCTION citus_internal.remote_value FROM public;

CREATE FUNCTION citus_internal.remote_execute(nodename text, nodeport int, statements text)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT citus_internal.dblink_exec(citus_internal.open_connection($1, $2), $3)
$$;
REVOKE ALL ON FUNCTION citus_internal.remote_execute FROM public;

-- Run a command on another node, and say how it went instead of failing.
CREATE FUNCTION citus_internal.remote_outcome(
  nodename text, nodeport int, command text, OUT success bool, OUT result text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  connection text;
  answers text[];
BEGIN
  BEGIN
    connection := citus_internal.open_connection(nodename, nodeport);
  EXCEPTION WHEN connection_failure THEN
    success := false;
    result := format('failed to connect to %s:%s', nodename, nodeport);
    RETURN;
  END;
  BEGIN
    SELECT array_agg(answer.value) INTO answers
      FROM citus_internal.dblink(connection, command) AS answer (value text);
    success := coalesce(cardinality(answers), 0) <= 1;
    result := CASE WHEN success THEN coalesce(answers[1], '')
                   ELSE 'expected a single row in query result' END;
  EXCEPTION
    WHEN datatype_mismatch THEN  -- dblink's word for another number of columns
      success := false;
      result := 'expected a single column in query target';
    WHEN OTHERS THEN
      success := false;
      result := 'ERROR:  ' || SQLERRM;
  END;
END
$$;
REVOKE ALL ON FUNCTION citus_internal.remote_outcome FROM public;

CREATE FUNCTION pg_catalog.citus_check_connection_to_node(nodename text, nodeport int DEFAULT 5432)
RETURNS bool LANGUAGE plpgsql STRICT AS $$
BEGIN
  PERFORM citus_internal.open_connection(nodename, nodeport);
  RETURN true;
EXCEPTION WHEN connection_failure THEN
  RAISE WARNING '%', SQLERRM;
  RETURN false;
END
$$;

CREATE FUNCTION pg_catalog.master_run_on_worker(
  worker_name text[], port int[], command text[], parallel bool,
  OUT node_name text, OUT node_port int, OUT success bool, OUT result text)
RETURNS SETOF record LANGUAGE sql STABLE STRICT SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
  SELECT asked.name, asked.port, outcome.success, outcome.result
    FROM unnest($1, $2, $3) AS asked (name, port, command),
         citus_internal.remote_outcome(asked.name, asked.port, asked.command) AS outcome
$$;

CREATE FUNCTION pg_catalog.citus_remote_connection_stats(
  OUT hostname text, OUT port int, OUT database_name text, OUT connection_count_to_node int)
RETURNS SETOF record LANGUAGE sql STRICT AS $$
  SELECT parts[1], parts[2]::int, current_database()::text, 1
    FROM unnest(citus_internal.dblink_get_connections()) AS connection,
         regexp_match(connection, '@(.*):(-?\d+)$') AS parts
   WHERE parts IS NOT NULL
$$;
REVOKE ALL ON FUNCTION pg_catalog.citus_remote_connection_stats FROM public;
