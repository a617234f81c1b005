-- Copyright: the bss.platform contributors
-- Apache License 2.0 (see LICENSE)
--
-- Stand-in for Citus, part 3 of 9: the nodes of a cluster.
-- Rows of pg_dist_node are sent to the workers, as with Citus, but not in the transaction that
-- changes them: a worker keeps what it was sent when that transaction is rolled back.

-- Where this server stands

CREATE FUNCTION citus_internal.local_group() RETURNS int LANGUAGE sql STABLE
AS $$SELECT groupid FROM pg_dist_local_group$$;

CREATE FUNCTION citus_internal.ensure_coordinator() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF citus_internal.local_group() <> 0 THEN
    RAISE EXCEPTION 'operation is not allowed on this node'
      USING ERRCODE = 'internal_error', HINT = 'Connect to the coordinator and run it again.';
  END IF;
END
$$;

-- The nodes that take part in everything, in the order in which shards are dealt out.
CREATE VIEW citus_internal.active_primaries AS
  SELECT * FROM pg_dist_node
   WHERE isactive AND noderole = 'primary'
     AND nodecluster = citus_internal.setting('cluster_name', 'default')
   ORDER BY nodename COLLATE "C", nodeport;
GRANT SELECT ON citus_internal.active_primaries TO public;

CREATE FUNCTION pg_catalog.citus_is_coordinator() RETURNS bool LANGUAGE sql STRICT AS $$
  SELECT citus_internal.local_group() = 0
     AND EXISTS (SELECT FROM citus_internal.active_primaries)
$$;

CREATE FUNCTION pg_catalog.citus_is_primary_node() RETURNS bool LANGUAGE plpgsql STRICT AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM citus_internal.active_primaries
                  WHERE groupid = citus_internal.local_group()) THEN
    RAISE WARNING 'could not find the current node in pg_dist_node'
      USING DETAIL = 'If this is the coordinator node, consider adding it into the metadata by '
        'using citus_set_coordinator_host() UDF. Otherwise, if you''re going to use this node as '
        'a worker node for a new cluster, make sure to add this node into the metadata from the '
        'coordinator by using citus_add_node() UDF.';
    RETURN NULL;
  END IF;
  RETURN NOT pg_is_in_recovery();
END
$$;

CREATE FUNCTION pg_catalog.citus_server_id() RETURNS uuid LANGUAGE sql STRICT
AS $$SELECT gen_random_uuid()$$;
CREATE FUNCTION pg_catalog.citus_coordinator_nodeid() RETURNS int LANGUAGE sql STABLE STRICT
AS $$SELECT coalesce((SELECT nodeid FROM citus_internal.active_primaries WHERE groupid = 0), 0)$$;
CREATE FUNCTION pg_catalog.citus_nodename_for_nodeid(nodeid int) RETURNS text
LANGUAGE sql STABLE STRICT AS $$SELECT n.nodename FROM pg_dist_node n WHERE n.nodeid = $1$$;
CREATE FUNCTION pg_catalog.citus_nodeport_for_nodeid(nodeid int) RETURNS int
LANGUAGE sql STABLE STRICT AS $$SELECT n.nodeport FROM pg_dist_node n WHERE n.nodeid = $1$$;

CREATE FUNCTION pg_catalog.citus_get_active_worker_nodes(OUT node_name text, OUT node_port bigint)
RETURNS SETOF record LANGUAGE sql STRICT AS $$
  SELECT nodename, nodeport FROM citus_internal.active_primaries WHERE groupid <> 0
$$;
CREATE FUNCTION pg_catalog.master_get_active_worker_nodes(OUT node_name text, OUT node_port bigint)
RETURNS SETOF record LANGUAGE sql STRICT AS $$
  SELECT node_name, node_port FROM citus_get_active_worker_nodes()
$$;

-- What the other nodes know of the cluster

-- Replace what one node knows of the nodes and of itself. Fails when it cannot be reached.
CREATE FUNCTION citus_internal.send_metadata(target pg_dist_node) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  statements text;
BEGIN
  SELECT format('UPDATE pg_dist_local_group SET groupid = %s; DELETE FROM pg_dist_node; ',
                target.groupid)
      || string_agg(format('INSERT INTO pg_dist_node SELECT (%L::pg_dist_node).*; ', n), '')
    INTO statements FROM pg_dist_node n;
  PERFORM citus_internal.remote_execute(target.nodename, target.nodeport, statements);
END
$$;

CREATE FUNCTION citus_internal.metadata_nodes() RETURNS SETOF pg_dist_node LANGUAGE sql STABLE AS $$
  SELECT * FROM pg_dist_node
   WHERE noderole = 'primary' AND isactive AND hasmetadata
     AND groupid <> citus_internal.local_group()
   ORDER BY nodeid
$$;

-- After a change of addresses Citus syncs the metadata in the background. There is no
-- background here: try at once, and again when the next change needs it.
CREATE FUNCTION citus_internal.try_to_sync() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  node pg_dist_node;
  synced bool;
BEGIN
  UPDATE pg_dist_node SET metadatasynced = true
   WHERE nodeid IN (SELECT nodeid FROM citus_internal.metadata_nodes());
  FOR node IN SELECT * FROM citus_internal.metadata_nodes() LOOP
    -- While a primary steps down, Patroni gives it a name that no server has: asking for it
    -- could take long, and Patroni waits.
    synced := node.nodename NOT LIKE '%-demoted';
    IF synced THEN
      BEGIN
        PERFORM citus_internal.send_metadata(node);
      EXCEPTION WHEN OTHERS THEN
        synced := false;
      END;
    END IF;
    UPDATE pg_dist_node n SET metadatasynced = synced WHERE n.nodeid = node.nodeid;
  END LOOP;
END
$$;

-- What changes shards or nodes needs all nodes that have metadata.
CREATE FUNCTION citus_internal.ensure_nodes_in_sync() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  node pg_dist_node;
BEGIN
  IF EXISTS (SELECT FROM citus_internal.metadata_nodes() WHERE NOT metadatasynced) THEN
    PERFORM citus_internal.try_to_sync();
  END IF;
  FOR node IN SELECT * FROM citus_internal.metadata_nodes() ORDER BY metadatasynced LOOP
    IF NOT node.metadatasynced THEN
      RAISE EXCEPTION '%:% is a metadata node, but is out of sync', node.nodename, node.nodeport
        USING ERRCODE = 'object_not_in_prerequisite_state',
        HINT = 'If the node is up, wait until metadata gets synced to it and try again.';
    END IF;
    PERFORM citus_internal.open_connection(node.nodename, node.nodeport);
  END LOOP;
END
$$;

CREATE FUNCTION citus_internal.send_metadata_to_all() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM citus_internal.ensure_nodes_in_sync();
  PERFORM citus_internal.send_metadata(node) FROM citus_internal.metadata_nodes() AS node;
END
$$;

-- Registration

-- Lock the nodes against other changes, and find one that has to be there.
CREATE FUNCTION citus_internal.modifiable_node(nodename text, nodeport int)
RETURNS pg_dist_node LANGUAGE plpgsql AS $$
DECLARE
  node pg_dist_node;
BEGIN
  PERFORM citus_internal.ensure_coordinator();
  LOCK TABLE pg_dist_node IN EXCLUSIVE MODE;
  SELECT * INTO node FROM pg_dist_node n WHERE n.nodename = $1 AND n.nodeport = $2;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'node at "%:%" does not exist', nodename, nodeport
      USING ERRCODE = 'internal_error';
  END IF;
  RETURN node;
END
$$;

-- A worker to be has to answer, to have the extension, and to be no server that is a node already.
CREATE FUNCTION citus_internal.ensure_new_server(nodename text, nodeport int)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  server_id CONSTANT text := 'SELECT metadata->>''server_id'' FROM pg_dist_node_metadata';
  identity text;
BEGIN
  PERFORM citus_internal.close_connection(nodename, nodeport);
  BEGIN
    identity := citus_internal.remote_value(nodename, nodeport, server_id);
  EXCEPTION WHEN undefined_table THEN
    RAISE EXCEPTION 'failure on connection marked as essential: %:%', nodename, nodeport
      USING ERRCODE = 'internal_error';
  END;
  IF identity = (SELECT metadata->>'server_id' FROM pg_dist_node_metadata) THEN
    RAISE EXCEPTION 'Node cannot add itself as a worker.'
      USING ERRCODE = 'internal_error', HINT = format('Add the node as a coordinator by using: '
        'SELECT citus_set_coordinator_host(''%s'', %s);', nodename, nodeport);
  END IF;
  IF identity IN (SELECT citus_internal.remote_value(n.nodename, n.nodeport, server_id)
                    FROM citus_internal.metadata_nodes() n) THEN
    -- With Citus, the two connections to one server wait for each other.
    RAISE EXCEPTION 'canceling the transaction since it was involved in a distributed deadlock'
      USING ERRCODE = 'deadlock_detected';
  END IF;
END
$$;

CREATE FUNCTION citus_internal.add_node(
  nodename text, nodeport int, groupid int, noderole noderole, nodecluster name, activate bool)
RETURNS int LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  is_worker CONSTANT bool := noderole = 'primary' AND groupid <> 0;
  known int;
  chosen_group int := groupid;
  new_id int;
BEGIN
  PERFORM citus_internal.ensure_coordinator();
  LOCK TABLE pg_dist_node IN EXCLUSIVE MODE;
  SELECT nodeid INTO known FROM pg_dist_node n WHERE n.nodename = $1 AND n.nodeport = $2;
  IF FOUND THEN
    RETURN known;
  END IF;
  IF $1 <> 'localhost' AND groupid <> 0 AND EXISTS (
       SELECT FROM pg_dist_node n
        WHERE n.groupid = 0 AND n.noderole = 'primary' AND n.nodename = 'localhost') THEN
    RAISE EXCEPTION 'cannot add a worker node when the coordinator hostname is set to localhost'
      USING ERRCODE = 'internal_error',
      DETAIL = 'Worker nodes need to be able to connect to the coordinator to transfer data.',
      HINT = 'Use SELECT citus_set_coordinator_host(''<hostname>'') to configure the '
             'coordinator hostname';
  END IF;
  IF chosen_group = -1 THEN
    chosen_group := nextval('pg_dist_groupid_seq');
  END IF;
  IF $4 = 'primary' AND EXISTS (
       SELECT FROM pg_dist_node n WHERE n.groupid = chosen_group AND n.noderole = 'primary') THEN
    RAISE EXCEPTION 'group % already has a primary node', chosen_group
      USING ERRCODE = 'internal_error';
  END IF;
  new_id := nextval('pg_dist_node_nodeid_seq');
  PERFORM citus_internal.ensure_nodes_in_sync();
  IF is_worker AND activate THEN
    PERFORM citus_internal.ensure_new_server($1, $2);
  END IF;
  INSERT INTO pg_dist_node (nodeid, groupid, nodename, nodeport, noderole, nodecluster,
                            isactive, hasmetadata, metadatasynced, shouldhaveshards)
  VALUES (new_id, chosen_group, $1, $2, $4, $5, activate OR $4 <> 'primary',
          activate AND $4 = 'primary', activate AND $4 = 'primary', chosen_group <> 0);
  PERFORM citus_internal.send_metadata_to_all();
  RETURN new_id;
END
$$;

CREATE FUNCTION pg_catalog.citus_add_node(
  nodename text, nodeport int, groupid int DEFAULT -1,
  noderole noderole DEFAULT 'primary', nodecluster name DEFAULT 'default')
RETURNS int LANGUAGE sql STRICT
AS $$SELECT citus_internal.add_node($1, $2, $3, $4, $5, activate => true)$$;

CREATE FUNCTION pg_catalog.citus_add_inactive_node(
  nodename text, nodeport int, groupid int DEFAULT -1,
  noderole noderole DEFAULT 'primary', nodecluster name DEFAULT 'default')
RETURNS int LANGUAGE plpgsql STRICT AS $$
BEGIN
  IF groupid = 0 THEN
    RAISE EXCEPTION 'coordinator node cannot be added as inactive node'
      USING ERRCODE = 'internal_error';
  END IF;
  RETURN citus_internal.add_node(nodename, nodeport, groupid, noderole, nodecluster, false);
END
$$;

CREATE FUNCTION pg_catalog.citus_add_secondary_node(
  nodename text, nodeport int, primaryname text, primaryport int,
  nodecluster name DEFAULT 'default')
RETURNS int LANGUAGE plpgsql STRICT AS $$
DECLARE
  groupid int;
BEGIN
  SELECT n.groupid INTO groupid FROM pg_dist_node n
   WHERE n.nodename = primaryname AND n.nodeport = primaryport AND n.nodecluster = 'default';
  IF NOT FOUND THEN
    RAISE EXCEPTION 'node at "%:%" does not exist', primaryname, primaryport
      USING ERRCODE = 'internal_error';
  END IF;
  RETURN citus_internal.add_node(nodename, nodeport, groupid, 'secondary', nodecluster, true);
END
$$;

CREATE FUNCTION pg_catalog.citus_set_coordinator_host(
  host text, port int DEFAULT current_setting('port')::int,
  node_role noderole DEFAULT 'primary', node_cluster name DEFAULT 'default')
RETURNS void LANGUAGE plpgsql STRICT AS $$
BEGIN
  IF citus_internal.local_group() <> 0 THEN
    -- With Citus, the worker waits for a lock that it holds itself.
    RAISE EXCEPTION 'canceling the transaction since it was involved in a distributed deadlock'
      USING ERRCODE = 'deadlock_detected';
  END IF;
  LOCK TABLE pg_dist_node IN EXCLUSIVE MODE;
  UPDATE pg_dist_node SET nodename = host, nodeport = port
   WHERE groupid = 0 AND noderole = 'primary';
  IF NOT FOUND THEN
    PERFORM citus_internal.add_node(host, port, 0, node_role, node_cluster, true);
  END IF;
  PERFORM citus_internal.send_metadata_to_all();
END
$$;

-- Change

CREATE FUNCTION pg_catalog.citus_update_node(
  node_id int, new_node_name text, new_node_port int,
  force bool DEFAULT false, lock_cooldown int DEFAULT 10000)
RETURNS void LANGUAGE plpgsql STRICT AS $$
DECLARE
  holder int;
BEGIN
  LOCK TABLE pg_dist_node IN EXCLUSIVE MODE;
  SELECT nodeid INTO holder FROM pg_dist_node
   WHERE nodename = new_node_name AND nodeport = new_node_port;
  IF holder = node_id THEN
    RETURN;
  ELSIF FOUND THEN
    RAISE EXCEPTION 'there is already another node with the specified hostname and port'
      USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
  UPDATE pg_dist_node SET nodename = new_node_name, nodeport = new_node_port
   WHERE nodeid = node_id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'node % not found', node_id USING ERRCODE = 'no_data_found';
  END IF;
  IF citus_internal.local_group() = 0 THEN
    PERFORM citus_internal.try_to_sync();
  END IF;
END
$$;

CREATE FUNCTION pg_catalog.citus_pause_node_within_txn(
  node_id int, force bool DEFAULT false, lock_cooldown int DEFAULT 10000)
RETURNS void LANGUAGE plpgsql STRICT AS $$
BEGIN
  PERFORM FROM pg_dist_node WHERE nodeid = node_id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'node % not found', node_id USING ERRCODE = 'no_data_found';
  END IF;
END
$$;

CREATE FUNCTION pg_catalog.citus_set_node_property(
  nodename text, nodeport int, property text, value bool)
RETURNS void LANGUAGE plpgsql STRICT AS $$
DECLARE
  node pg_dist_node := citus_internal.modifiable_node(nodename, nodeport);
BEGIN
  IF property <> 'shouldhaveshards' THEN
    RAISE EXCEPTION 'only the ''shouldhaveshards'' property can be set using this function'
      USING ERRCODE = 'internal_error';
  END IF;
  UPDATE pg_dist_node n SET shouldhaveshards = value WHERE n.nodeid = node.nodeid;
  PERFORM citus_internal.send_metadata_to_all();
END
$$;

CREATE FUNCTION pg_catalog.citus_activate_node(nodename text, nodeport int)
RETURNS int LANGUAGE plpgsql STRICT AS $$
DECLARE
  node pg_dist_node := citus_internal.modifiable_node(nodename, nodeport);
BEGIN
  IF node.noderole = 'primary' AND node.groupid <> 0 THEN
    PERFORM citus_internal.open_connection(nodename, nodeport);
  END IF;
  IF node.noderole = 'primary' AND NOT node.isactive THEN
    PERFORM citus_internal.forget_replicas(node.groupid);
  END IF;
  UPDATE pg_dist_node n
     SET isactive = true,
         hasmetadata = hasmetadata OR n.noderole = 'primary',
         metadatasynced = metadatasynced OR n.noderole = 'primary'
   WHERE n.nodeid = node.nodeid;
  PERFORM citus_internal.send_metadata_to_all();
  RETURN node.nodeid;
END
$$;

CREATE FUNCTION pg_catalog.start_metadata_sync_to_node(nodename text, nodeport int)
RETURNS void LANGUAGE sql STRICT AS $$SELECT citus_activate_node($1, $2)$$;

CREATE FUNCTION pg_catalog.start_metadata_sync_to_all_nodes() RETURNS bool
LANGUAGE plpgsql STRICT AS $$
BEGIN
  PERFORM citus_internal.ensure_coordinator();
  UPDATE pg_dist_node SET hasmetadata = true, metadatasynced = true
   WHERE noderole = 'primary' AND isactive;
  PERFORM citus_internal.send_metadata_to_all();
  RETURN true;
END
$$;

CREATE FUNCTION pg_catalog.stop_metadata_sync_to_node(
  nodename text, nodeport int, clear_metadata bool DEFAULT true)
RETURNS void LANGUAGE plpgsql STRICT AS $$
DECLARE
  node pg_dist_node := citus_internal.modifiable_node(nodename, nodeport);
BEGIN
  UPDATE pg_dist_node n SET hasmetadata = false, metadatasynced = false
   WHERE n.nodeid = node.nodeid;
  IF clear_metadata THEN
    RAISE NOTICE 'dropping metadata on the node (%,%)', nodename, nodeport;
    PERFORM citus_internal.remote_execute(nodename, nodeport, 'DELETE FROM pg_dist_node');
  END IF;
  PERFORM citus_internal.send_metadata_to_all();
END
$$;

-- Removal

-- A group may lose its placements only where another active group has them, too.
CREATE FUNCTION citus_internal.ensure_removable(node pg_dist_node) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  only_copy record;
BEGIN
  SELECT p.shardid, format('%I.%I', c.relnamespace::regnamespace, c.relname) AS table_name
    INTO only_copy
    FROM pg_dist_placement p
    JOIN pg_dist_shard s USING (shardid)
    JOIN pg_class c ON c.oid = s.logicalrelid
   WHERE p.groupid = node.groupid
     AND NOT EXISTS (SELECT FROM pg_dist_placement other
                       JOIN citus_internal.active_primaries a USING (groupid)
                      WHERE other.shardid = p.shardid AND other.groupid <> p.groupid)
   ORDER BY p.placementid LIMIT 1;
  IF FOUND THEN
    -- The word that stands twice does so in Citus, too.
    RAISE EXCEPTION 'cannot remove or disable the node %:% because because it contains the only '
        'shard placement for shard %', node.nodename, node.nodeport, only_copy.shardid
      USING ERRCODE = 'internal_error',
      DETAIL = 'One of the table(s) that prevents the operation complete successfully is '
               || only_copy.table_name,
      HINT = 'To proceed, either drop the tables or use undistribute_table() function to '
             'convert them to local tables';
  END IF;
END
$$;

CREATE FUNCTION citus_internal.forget_replicas(lost_group int) RETURNS void LANGUAGE sql AS $$
  DELETE FROM pg_dist_placement p
   WHERE groupid = $1
     AND EXISTS (SELECT FROM pg_dist_placement other
                  WHERE other.shardid = p.shardid AND other.groupid <> p.groupid)
$$;

CREATE FUNCTION pg_catalog.citus_remove_node(nodename text, nodeport int)
RETURNS void LANGUAGE plpgsql STRICT AS $$
DECLARE
  node pg_dist_node := citus_internal.modifiable_node(nodename, nodeport);
BEGIN
  IF node.noderole = 'primary' THEN
    PERFORM citus_internal.ensure_removable(node);
    PERFORM citus_internal.forget_replicas(node.groupid);
  END IF;
  DELETE FROM pg_dist_node n WHERE n.nodeid = node.nodeid;
  PERFORM citus_internal.send_metadata_to_all();
END
$$;

CREATE FUNCTION pg_catalog.citus_disable_node(
  nodename text, nodeport int, synchronous bool DEFAULT false)
RETURNS void LANGUAGE plpgsql STRICT AS $$
DECLARE
  node pg_dist_node := citus_internal.modifiable_node(nodename, nodeport);
BEGIN
  IF node.groupid = 0 AND node.noderole = 'primary' THEN
    RAISE EXCEPTION 'cannot change "isactive" field of the coordinator node'
      USING ERRCODE = 'internal_error';
  END IF;
  IF NOT synchronous AND node.nodeid = (
       SELECT nodeid FROM citus_internal.active_primaries WHERE groupid <> 0 LIMIT 1) THEN
    RAISE EXCEPTION 'disabling the first worker node in the metadata is not allowed'
      USING ERRCODE = 'object_not_in_prerequisite_state',
      DETAIL = 'Citus uses the first worker node in the metadata for certain internal '
               'operations when replicated tables are modified. Synchronous mode ensures that '
               'all nodes have the same view of the first worker node, which is used for '
               'certain locking operations.',
      HINT = format('You can force disabling node, SELECT citus_disable_node(''%s'', %s, '
                    'synchronous:=true);', nodename, nodeport);
  END IF;
  UPDATE pg_dist_node n SET isactive = false WHERE n.nodeid = node.nodeid;
  IF node.noderole = 'primary' THEN
    PERFORM citus_internal.ensure_removable(node);
  END IF;
  IF synchronous THEN
    PERFORM citus_internal.send_metadata_to_all();
  ELSE
    UPDATE pg_dist_node n SET metadatasynced = false WHERE n.nodeid = node.nodeid;
    PERFORM citus_internal.try_to_sync();
  END IF;
END
$$;

-- All nodes together

CREATE FUNCTION pg_catalog.citus_check_cluster_node_health(
  OUT from_nodename text, OUT from_nodeport int,
  OUT to_nodename text, OUT to_nodeport int, OUT result bool)
RETURNS SETOF record LANGUAGE sql STRICT AS $$
  SELECT source.nodename, source.nodeport, target.nodename, target.nodeport,
         CASE WHEN outcome.success THEN outcome.result::bool END
    FROM citus_internal.active_primaries AS source
   CROSS JOIN citus_internal.active_primaries AS target,
         master_run_on_worker(
           ARRAY[source.nodename], ARRAY[source.nodeport],
           ARRAY[format('SELECT citus_check_connection_to_node(%L, %s)',
                        target.nodename, target.nodeport)],
           false) AS outcome
   ORDER BY source.nodename, source.nodeport, target.nodename, target.nodeport
$$;

CREATE FUNCTION pg_catalog.citus_create_restore_point(text) RETURNS pg_lsn
LANGUAGE sql STRICT AS $$
  SELECT citus_internal.ensure_coordinator(), citus_internal.ensure_nodes_in_sync();
  SELECT citus_internal.remote_value(
           nodename, nodeport, format('SELECT pg_create_restore_point(%L)', $1))
    FROM citus_internal.metadata_nodes();
  SELECT pg_create_restore_point($1)
$$;

-- There is no transaction over several nodes here, so none is ever left behind.
CREATE FUNCTION pg_catalog.recover_prepared_transactions() RETURNS int
LANGUAGE plpgsql STRICT AS $$
DECLARE
  node pg_dist_node;
BEGIN
  FOR node IN SELECT * FROM citus_internal.metadata_nodes() LOOP
    BEGIN
      PERFORM citus_internal.open_connection(node.nodename, node.nodeport);
    EXCEPTION WHEN connection_failure THEN
      RAISE WARNING 'transaction recovery cannot connect to %:%', node.nodename, node.nodeport;
    END;
  END LOOP;
  RETURN 0;
END
$$;

REVOKE ALL ON FUNCTION
  pg_catalog.citus_add_node, pg_catalog.citus_add_inactive_node,
  pg_catalog.citus_add_secondary_node, pg_catalog.citus_set_coordinator_host,
  pg_catalog.citus_update_node, pg_catalog.citus_pause_node_within_txn,
  pg_catalog.citus_set_node_property, pg_catalog.citus_activate_node,
  pg_catalog.start_metadata_sync_to_node, pg_catalog.start_metadata_sync_to_all_nodes,
  pg_catalog.stop_metadata_sync_to_node, pg_catalog.citus_remove_node,
  pg_catalog.citus_disable_node, pg_catalog.recover_prepared_transactions
FROM public;
