-- Copyright: the bss.platform contributors
-- Apache License 2.0 (see LICENSE)
--
-- Stand-in for Citus, part 9 of 9: commands on nodes and shards, and views.

CREATE FUNCTION pg_catalog.citus_version() RETURNS text LANGUAGE sql STABLE STRICT AS $$
  SELECT 'Citus 13.2.2 (test stand-in, does not distribute data)'
$$;

-- Sessions find these settings without anybody having set them. This library does not declare
-- them, so the database does.
DO $$
DECLARE
  setting text[];
BEGIN
  FOREACH setting SLICE 1 IN ARRAY ARRAY[
    ['citus.version', '13.2.2'], ['citus.shard_count', '32'],
    ['citus.shard_replication_factor', '1'], ['citus.enable_unsafe_triggers', 'off']]
  LOOP
    IF current_setting(setting[1], true) IS NULL THEN
      EXECUTE format('ALTER DATABASE %I SET %s = %L', current_database(), setting[1], setting[2]);
    END IF;
  END LOOP;
END
$$;

-- Which shard holds a value

CREATE FUNCTION pg_catalog.worker_hash(value anyelement) RETURNS int LANGUAGE sql STRICT
AS $$SELECT citus_internal.hash_value(pg_typeof($1)::oid, $1::text)$$;

CREATE FUNCTION citus_internal.shard_for(relation oid, value text) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
  kind CONSTANT text := citus_internal.kind(relation);
  hash int;
BEGIN
  IF kind IS NULL THEN
    RAISE EXCEPTION 'relation is not distributed' USING ERRCODE = 'invalid_table_definition';
  ELSIF kind <> 'hash' THEN
    RETURN (SELECT shardid FROM pg_dist_shard WHERE logicalrelid = relation);
  ELSIF value IS NULL THEN
    RAISE EXCEPTION 'distribution value cannot be NULL for tables other than reference tables.'
      USING ERRCODE = 'null_value_not_allowed';
  END IF;
  hash := citus_internal.hash_value(
    (citus_internal.distribution_column(relation)).atttypid, value);
  RETURN (SELECT shardid FROM pg_dist_shard
           WHERE logicalrelid = relation
             AND hash BETWEEN shardminvalue::int AND shardmaxvalue::int);
END
$$;

-- Citus has one function that takes "any", which SQL cannot: hence one for values of a known
-- type and one for bare literals.
CREATE FUNCTION pg_catalog.get_shard_id_for_distribution_column(
  table_name regclass, distribution_value anyelement)
RETURNS bigint LANGUAGE sql AS $$SELECT citus_internal.shard_for($1, $2::text)$$;
CREATE FUNCTION pg_catalog.get_shard_id_for_distribution_column(
  table_name regclass, distribution_value text DEFAULT NULL)
RETURNS bigint LANGUAGE sql AS $$SELECT citus_internal.shard_for($1, $2)$$;

CREATE FUNCTION pg_catalog.shard_name(
  object_name regclass, shard_id bigint, skip_qualify_public bool DEFAULT true)
RETURNS text LANGUAGE sql STABLE STRICT AS $$
  SELECT CASE WHEN $3 AND relnamespace = 'public'::regnamespace THEN '' ELSE
           quote_ident(relnamespace::regnamespace::text) || '.' END
         || quote_ident(relname || '_' || $2)
    FROM pg_class WHERE oid = $1
$$;

-- Commands on nodes

CREATE FUNCTION pg_catalog.run_command_on_workers(
  command text, parallel bool DEFAULT true,
  OUT nodename text, OUT nodeport int, OUT success bool, OUT result text)
RETURNS SETOF record LANGUAGE sql AS $$
  SELECT answer.*
    FROM (SELECT array_agg(node_name) AS names, array_agg(node_port::int) AS ports,
                 array_agg($1) AS commands FROM citus_get_active_worker_nodes()) AS workers,
         master_run_on_worker(names, ports, commands, $2) AS answer
   ORDER BY 1, 2
$$;

CREATE FUNCTION pg_catalog.run_command_on_all_nodes(
  command text, parallel bool DEFAULT true, give_warning_for_connection_errors bool DEFAULT false,
  OUT nodeid int, OUT success bool, OUT result text)
RETURNS SETOF record LANGUAGE sql AS $$
  SELECT node.nodeid, answer.success, answer.result
    FROM citus_internal.active_primaries AS node,
         master_run_on_worker(ARRAY[node.nodename], ARRAY[node.nodeport], ARRAY[$1], $2) AS answer
   ORDER BY 1
$$;

CREATE FUNCTION pg_catalog.run_command_on_coordinator(
  command text, give_warning_for_connection_errors bool DEFAULT false,
  OUT nodeid int, OUT success bool, OUT result text)
RETURNS SETOF record LANGUAGE sql AS $$
  SELECT node.nodeid, answer.success, answer.result
    FROM citus_internal.active_primaries AS node,
         master_run_on_worker(
           ARRAY[node.nodename], ARRAY[node.nodeport], ARRAY[$1], false) AS answer
   WHERE node.groupid = 0
$$;

CREATE FUNCTION pg_catalog.citus_run_local_command(command text) RETURNS void LANGUAGE plpgsql
AS $$BEGIN EXECUTE command; END$$;

-- Commands on shards: there are none, so each command runs here, on a view of the rows that the
-- shard would hold, under the shard's name. What a command writes goes to the table.

CREATE FUNCTION citus_internal.run_on_shard(
  shard pg_dist_shard, command text, OUT success bool, OUT result text)
LANGUAGE plpgsql AS $$
DECLARE
  name CONSTANT text := quote_ident(
    citus_internal.bare_name(shard.logicalrelid) || '_' || shard.shardid);
  attribute CONSTANT pg_attribute := citus_internal.distribution_column(shard.logicalrelid);
  rows_here text := 'true';
  statement CONSTANT text := format(command, name, name, name);
BEGIN
  IF attribute.attnum IS NOT NULL THEN
    rows_here := format('%s BETWEEN %s AND %s',
      citus_internal.hash_of(attribute.atttypid, quote_ident(attribute.attname)),
      shard.shardminvalue, shard.shardmaxvalue);
  END IF;
  EXECUTE format('CREATE TEMPORARY VIEW %s AS SELECT * FROM %s WHERE %s',
                 name, citus_internal.full_name(shard.logicalrelid), rows_here);
  BEGIN
    EXECUTE statement INTO result;
    success := true;
    result := coalesce(result, '');
  EXCEPTION WHEN OTHERS THEN
    success := false;
    result := 'ERROR:  ' || SQLERRM;
  END;
  EXECUTE format('DROP VIEW IF EXISTS pg_temp.%s', name);
END
$$;

CREATE FUNCTION pg_catalog.run_command_on_placements(
  table_name regclass, command text, parallel bool DEFAULT true,
  OUT nodename text, OUT nodeport int, OUT shardid bigint, OUT success bool, OUT result text)
RETURNS SETOF record LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  place record;
BEGIN
  FOR place IN
    SELECT s AS shard, n.nodename, n.nodeport
      FROM pg_dist_shard s
      JOIN pg_dist_placement p USING (shardid)
      JOIN citus_internal.active_primaries n USING (groupid)
     WHERE s.logicalrelid = table_name ORDER BY n.nodename, n.nodeport, s.shardid
  LOOP
    nodename := place.nodename;
    nodeport := place.nodeport;
    shardid := (place.shard).shardid;
    SELECT o.success, o.result INTO success, result
      FROM master_run_on_worker(ARRAY[nodename], ARRAY[nodeport], ARRAY['SELECT 1'], false) AS o;
    IF success THEN
      SELECT o.success, o.result INTO success, result
        FROM citus_internal.run_on_shard(place.shard, command) AS o;
    END IF;
    RETURN NEXT;
  END LOOP;
END
$$;

CREATE FUNCTION pg_catalog.run_command_on_shards(
  table_name regclass, command text, parallel bool DEFAULT true,
  OUT shardid bigint, OUT success bool, OUT result text)
RETURNS SETOF record LANGUAGE sql AS $$
  SELECT DISTINCT ON (p.shardid) p.shardid, p.success, p.result
    FROM run_command_on_placements($1, $2, $3) AS p ORDER BY p.shardid, p.nodename, p.nodeport
$$;

-- Views

CREATE VIEW citus.citus_tables AS
  SELECT p.logicalrelid AS table_name,
         CASE citus_internal.kind(p.logicalrelid)
           WHEN 'reference' THEN 'reference' WHEN 'local' THEN 'local' ELSE 'distributed'
         END AS citus_table_type,
         coalesce(column_to_column_name(p.logicalrelid, p.partkey), '<none>')
           AS distribution_column,
         p.colocationid AS colocation_id,
         pg_size_pretty(sizes.table_size) AS table_size,
         (SELECT count(*) FROM pg_dist_shard s WHERE s.logicalrelid = p.logicalrelid)
           AS shard_count,
         pg_get_userbyid(c.relowner) AS table_owner,
         am.amname AS access_method
    FROM pg_dist_partition p
    JOIN pg_class c ON c.oid = p.logicalrelid
    LEFT JOIN pg_am am ON am.oid = c.relam
    JOIN (SELECT logicalrelid, sum(size) AS table_size
            FROM citus_shard_sizes() JOIN pg_dist_shard ON shardid = shard_id
           GROUP BY logicalrelid) AS sizes ON sizes.logicalrelid = p.logicalrelid
   ORDER BY p.logicalrelid::text;

CREATE VIEW citus.citus_shards AS
  SELECT s.logicalrelid AS table_name, s.shardid,
         shard_name(s.logicalrelid, s.shardid) AS shard_name,
         CASE citus_internal.kind(s.logicalrelid)
           WHEN 'reference' THEN 'reference' WHEN 'local' THEN 'local' ELSE 'distributed'
         END AS citus_table_type,
         p.colocationid AS colocation_id, n.nodename, n.nodeport,
         CASE WHEN answering.groupid IS NOT NULL THEN citus_internal.shard_size(s.shardid) END
           AS shard_size
    FROM pg_dist_shard s
    JOIN pg_dist_partition p USING (logicalrelid)
    JOIN pg_dist_placement USING (shardid)
    JOIN pg_dist_node n USING (groupid)
    LEFT JOIN citus_internal.answering_groups() AS answering (groupid) USING (groupid)
   ORDER BY s.logicalrelid::text, s.shardid;

CREATE VIEW citus.pg_dist_shard_placement AS
  SELECT shardid, shardstate, shardlength, nodename, nodeport, placementid
    FROM pg_dist_placement JOIN citus_internal.active_primaries USING (groupid);

CREATE VIEW citus.citus_nodes AS
  SELECT nodename, nodeport, CASE WHEN groupid = 0 THEN 'coordinator' ELSE 'worker' END AS role,
         isactive AS active
    FROM pg_dist_node ORDER BY nodename, nodeport;

CREATE VIEW citus.citus_schemas AS
  SELECT schemaid::regnamespace AS schema_name, colocationid AS colocation_id,
         NULL::text AS schema_size, NULL::name AS schema_owner
    FROM pg_dist_schema;

-- Of this server alone; its sessions are named as those of node 0 of Citus are.
CREATE FUNCTION citus_internal.global_pid(pid int) RETURNS bigint LANGUAGE sql STABLE
AS $$SELECT citus_coordinator_nodeid() * 10000000000 + $1$$;
CREATE FUNCTION pg_catalog.citus_backend_gpid() RETURNS bigint LANGUAGE sql STRICT
AS $$SELECT citus_internal.global_pid(pg_backend_pid())$$;
CREATE VIEW citus.citus_stat_activity AS
  SELECT citus_internal.global_pid(pid) AS global_pid, citus_coordinator_nodeid() AS nodeid,
         false AS is_worker_query, a.*
    FROM pg_stat_activity a;
CREATE VIEW citus.citus_dist_stat_activity AS
  SELECT * FROM citus.citus_stat_activity WHERE backend_type = 'client backend';
CREATE VIEW citus.citus_lock_waits AS
  SELECT citus_internal.global_pid(waiting.pid) AS waiting_gpid,
         citus_internal.global_pid(blocking.pid) AS blocking_gpid,
         waiting.query AS blocked_statement,
         blocking.query AS current_statement_in_blocking_process,
         citus_coordinator_nodeid() AS waiting_nodeid,
         citus_coordinator_nodeid() AS blocking_nodeid
    FROM pg_stat_activity waiting
   CROSS JOIN unnest(pg_blocking_pids(waiting.pid)) AS blocker (pid)
    JOIN pg_stat_activity blocking ON blocking.pid = blocker.pid;

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY[
    'citus_tables', 'citus_schemas', 'citus_shards', 'pg_dist_shard_placement', 'citus_nodes',
    'citus_stat_activity', 'citus_dist_stat_activity', 'citus_lock_waits']
  LOOP
    EXECUTE format('GRANT SELECT ON citus.%I TO public', name);
    -- Two of Citus' views are found only by those who have public in their search_path.
    EXECUTE format('ALTER VIEW citus.%I SET SCHEMA %I', name,
      CASE WHEN name IN ('citus_tables', 'citus_schemas')
                AND EXISTS (SELECT FROM pg_namespace WHERE nspname = 'public')
           THEN 'public' ELSE 'pg_catalog' END);
  END LOOP;
END
$$;
