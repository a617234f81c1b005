-- Copyright: the bss.platform contributors
-- Apache License 2.0 (see LICENSE)
--
-- Stand-in for Citus, part 7 of 9: sizes of shards, and moving them.

-- Shards that always move together, as one row each: those of the same range of all tables of
-- a colocation group. Reference and local tables do not move.
CREATE VIEW citus_internal.shard_groups AS
  SELECT p.colocationid, placement.groupid,
         min(s.shardid) AS shardid, array_agg(s.shardid ORDER BY s.shardid) AS shardids
    FROM pg_dist_partition p
    JOIN pg_dist_shard s USING (logicalrelid)
    JOIN pg_dist_placement placement USING (shardid)
   WHERE p.colocationid <> 0 AND p.repmodel <> 't'
   GROUP BY p.colocationid, s.shardminvalue, placement.groupid;
GRANT SELECT ON citus_internal.shard_groups TO public;

-- Sizes: a table's, spread evenly over its shards

CREATE FUNCTION citus_internal.shard_size(shard bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT size / shards + (CASE WHEN position < size % shards THEN 1 ELSE 0 END)
    FROM (SELECT pg_total_relation_size(s.logicalrelid) AS size, count(*) AS shards,
                 count(*) FILTER (WHERE other.shardid < s.shardid) AS position
            FROM pg_dist_shard s JOIN pg_dist_shard other USING (logicalrelid)
           WHERE s.shardid = $1 GROUP BY s.logicalrelid, s.shardid) AS share
$$;

-- Citus asks the nodes for sizes, and knows none of those that do not answer.
CREATE FUNCTION citus_internal.answering_groups() RETURNS SETOF int LANGUAGE sql AS $$
  SELECT groupid FROM citus_internal.active_primaries
   WHERE groupid = citus_internal.local_group()
      OR citus_check_connection_to_node(nodename, nodeport)
$$;

-- How often a table's rows are stored. Citus asks all nodes that have some of them.
CREATE FUNCTION citus_internal.copies_of(relation oid, fail_on_error bool DEFAULT true)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  node record;
  placements bigint;
BEGIN
  IF citus_internal.kind(relation) IS NULL THEN
    RAISE EXCEPTION 'cannot calculate the size because relation ''%'' is not distributed',
      citus_internal.bare_name(relation) USING ERRCODE = 'invalid_table_definition';
  END IF;
  FOR node IN
    SELECT DISTINCT nodename, nodeport
      FROM pg_dist_shard
      JOIN pg_dist_placement USING (shardid)
      JOIN citus_internal.active_primaries USING (groupid)
     WHERE fail_on_error AND logicalrelid = relation AND groupid <> citus_internal.local_group()
  LOOP
    IF NOT citus_check_connection_to_node(node.nodename, node.nodeport) THEN
      RAISE EXCEPTION 'could not connect to %:% to get size of relation "%"',
        node.nodename, node.nodeport, citus_internal.bare_name(relation)
        USING ERRCODE = 'connection_failure';
    END IF;
  END LOOP;
  SELECT count(*) INTO placements FROM pg_dist_shard JOIN pg_dist_placement USING (shardid)
   WHERE logicalrelid = relation;
  RETURN placements / (SELECT count(*) FROM pg_dist_shard WHERE logicalrelid = relation);
END
$$;

CREATE FUNCTION pg_catalog.citus_relation_size(logicalrelid regclass) RETURNS bigint
LANGUAGE sql STRICT AS $$SELECT citus_internal.copies_of($1) * pg_relation_size($1)$$;
CREATE FUNCTION pg_catalog.citus_table_size(logicalrelid regclass) RETURNS bigint
LANGUAGE sql STRICT AS $$SELECT citus_internal.copies_of($1) * pg_table_size($1)$$;
CREATE FUNCTION pg_catalog.citus_total_relation_size(
  logicalrelid regclass, fail_on_error bool DEFAULT true)
RETURNS bigint LANGUAGE sql STRICT
AS $$SELECT citus_internal.copies_of($1, $2) * pg_total_relation_size($1)$$;
CREATE FUNCTION pg_catalog.citus_shard_sizes(OUT shard_id int, OUT size bigint)
RETURNS SETOF record LANGUAGE sql STRICT AS $$
  SELECT shardid::int, citus_internal.shard_size(shardid)
    FROM citus_internal.answering_groups() AS groupid JOIN pg_dist_placement USING (groupid)
$$;
-- SQL cannot see the disk: as if it held one terabyte, half of it free.
CREATE FUNCTION pg_catalog.citus_local_disk_space_stats(
  OUT available_disk_size bigint, OUT total_disk_size bigint)
LANGUAGE sql STRICT AS $$SELECT 1::bigint << 39, 1::bigint << 40$$;

-- Moving

CREATE FUNCTION citus_internal.ensure_shard_target(target pg_dist_node) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  IF NOT target.isactive THEN
    RAISE EXCEPTION 'Moving shards to a non-active node is not supported'
      USING ERRCODE = 'feature_not_supported',
      HINT = format('Activate the target node via SELECT citus_activate_node(''%s'', %s);',
                    target.nodename, target.nodeport);
  ELSIF NOT target.shouldhaveshards THEN
    RAISE EXCEPTION 'Moving shards to a node that shouldn''t have a shard is not supported'
      USING ERRCODE = 'feature_not_supported',
      HINT = format('Allow shards on the target node via SELECT * FROM citus_set_node_property('
                    '''%s'', %s, ''shouldhaveshards'', true);', target.nodename, target.nodeport);
  ELSIF target.noderole <> 'primary' THEN
    RAISE EXCEPTION 'Moving shards to a secondary (e.g., replica) node is not supported'
      USING ERRCODE = 'feature_not_supported';
  END IF;
END
$$;

-- Logical replication has to tell rows apart when they change while they are copied.
CREATE FUNCTION citus_internal.ensure_transferable(
  colocation int, transfer_mode citus.shard_transfer_mode)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  relation oid;
BEGIN
  IF transfer_mode = 'auto' THEN
    SELECT logicalrelid INTO relation FROM pg_dist_partition
     WHERE colocationid = colocation AND NOT citus_internal.has_replica_identity(logicalrelid)
     ORDER BY logicalrelid LIMIT 1;
    IF FOUND THEN
      RAISE EXCEPTION 'cannot use logical replication to transfer shards of the relation % since '
          'it doesn''t have a REPLICA IDENTITY or PRIMARY KEY', citus_internal.bare_name(relation)
        USING ERRCODE = 'feature_not_supported',
        DETAIL = 'UPDATE and DELETE commands on the shard will error out during logical '
                 'replication unless there is a REPLICA IDENTITY or PRIMARY KEY.',
        HINT = 'If you wish to continue without a replica identity set the shard_transfer_mode '
               'to ''force_logical'' or ''block_writes''.';
    END IF;
  END IF;
  IF transfer_mode <> 'block_writes' AND current_setting('wal_level') <> 'logical' THEN
    RAISE EXCEPTION 'logical decoding requires wal_level >= logical'
      USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
END
$$;

CREATE FUNCTION pg_catalog.citus_move_shard_placement(
  shard_id bigint, source_node_name text, source_node_port int,
  target_node_name text, target_node_port int,
  shard_transfer_mode citus.shard_transfer_mode DEFAULT 'auto')
RETURNS void LANGUAGE plpgsql STRICT AS $$
DECLARE
  shard pg_dist_shard;
  source pg_dist_node;
  target pg_dist_node;
  colocation int;
BEGIN
  PERFORM citus_internal.ensure_coordinator();
  SELECT * INTO shard FROM pg_dist_shard WHERE shardid = shard_id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'could not find valid entry for shard %', shard_id
      USING ERRCODE = 'internal_error';
  END IF;
  PERFORM citus_internal.ensure_owner(shard.logicalrelid);
  SELECT * INTO source FROM pg_dist_node
   WHERE nodename = source_node_name AND nodeport = source_node_port;
  SELECT * INTO target FROM pg_dist_node
   WHERE nodename = target_node_name AND nodeport = target_node_port;
  IF citus_internal.kind(shard.logicalrelid) = 'reference' THEN
    RAISE EXCEPTION 'table % is a reference table, moving shard of a reference table is not '
      'supported', citus_internal.full_name(shard.logicalrelid)
      USING ERRCODE = 'feature_not_supported';
  ELSIF citus_internal.kind(shard.logicalrelid) = 'local' THEN
    RAISE EXCEPTION 'table % is a local table, moving shard of a local table added to metadata '
      'is currently not supported', citus_internal.full_name(shard.logicalrelid)
      USING ERRCODE = 'feature_not_supported';
  ELSIF (source_node_name, source_node_port) = (target_node_name, target_node_port) THEN
    RAISE EXCEPTION 'cannot move shard to the same node' USING ERRCODE = 'invalid_parameter_value';
  ELSIF source.nodeid IS NULL THEN
    RAISE EXCEPTION 'Moving shards to a non-existing node is not supported'
      USING ERRCODE = 'feature_not_supported';
  ELSIF target.nodeid IS NULL THEN
    RAISE EXCEPTION 'Moving shards to a non-existing node is not supported'
      USING ERRCODE = 'feature_not_supported',
      HINT = format('Add the target node via SELECT citus_add_node(''%s'', %s);',
                    target_node_name, target_node_port);
  END IF;
  PERFORM citus_internal.ensure_shard_target(target);
  IF NOT EXISTS (SELECT FROM pg_dist_placement
                  WHERE shardid = shard_id AND groupid = source.groupid) THEN
    IF EXISTS (SELECT FROM pg_dist_placement
                WHERE shardid = shard_id AND groupid = target.groupid) THEN
      RAISE WARNING 'shard is already present on node %:%', target_node_name, target_node_port
        USING DETAIL = 'Move may have already completed.';
      RETURN;
    END IF;
    RAISE EXCEPTION 'could not find placement matching "%:%"', source_node_name, source_node_port
      USING ERRCODE = 'data_exception', HINT = 'Confirm the placement still exists and try again.';
  END IF;
  SELECT colocationid INTO colocation FROM pg_dist_partition
   WHERE logicalrelid = shard.logicalrelid;
  PERFORM citus_internal.ensure_transferable(colocation, shard_transfer_mode);
  PERFORM citus_internal.ensure_nodes_in_sync();
  -- At the end of a move, Citus waits for those who write to the shard.
  PERFORM citus_internal.lock_table(logicalrelid)
    FROM pg_dist_partition WHERE colocationid = colocation ORDER BY logicalrelid;
  PERFORM citus_internal.move_shard_group(shard_id, source.groupid, target.groupid);
END
$$;

CREATE FUNCTION pg_catalog.citus_move_shard_placement(
  shard_id bigint, source_node_id int, target_node_id int,
  transfer_mode citus.shard_transfer_mode DEFAULT 'auto')
RETURNS void LANGUAGE plpgsql STRICT AS $$
DECLARE
  source pg_dist_node;
  target pg_dist_node;
BEGIN
  SELECT * INTO source FROM pg_dist_node WHERE nodeid = source_node_id;
  SELECT * INTO target FROM pg_dist_node WHERE nodeid = target_node_id;
  IF source.nodeid IS NULL OR target.nodeid IS NULL THEN
    RAISE EXCEPTION 'node with node id % could not be found',
      CASE WHEN source.nodeid IS NULL THEN source_node_id ELSE target_node_id END
      USING ERRCODE = 'internal_error';
  END IF;
  PERFORM citus_move_shard_placement(
    shard_id, source.nodename, source.nodeport, target.nodename, target.nodeport, transfer_mode);
END
$$;

CREATE FUNCTION citus_internal.move_shard_group(shard_id bigint, source_group int, target_group int)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE pg_dist_placement p
     SET groupid = $3, placementid = nextval('pg_dist_placement_placementid_seq')
    FROM citus_internal.shard_groups g
   WHERE $1 = ANY (g.shardids) AND g.groupid = $2
     AND p.shardid = ANY (g.shardids) AND p.groupid = $2
$$;
