-- Copyright: the bss.platform contributors
-- Apache License 2.0 (see LICENSE)
--
-- Stand-in for Citus, part 5 of 9: distributed, reference and local tables.
-- Rows stay in the table where they are; the catalogs say where Citus would put them.

-- All tables that foreign keys lead to from there, in either direction.
CREATE FUNCTION citus_internal.foreign_key_relatives(relation oid) RETURNS SETOF oid
LANGUAGE sql STABLE AS $$
  WITH RECURSIVE related (oid) AS (
    SELECT $1
    UNION
    SELECT CASE WHEN conrelid = related.oid THEN confrelid ELSE conrelid END
      FROM related
      JOIN pg_constraint ON contype = 'f' AND related.oid IN (conrelid, confrelid))
  SELECT oid FROM related WHERE oid <> $1
$$;

CREATE FUNCTION citus_internal.with_partitions(relation oid) RETURNS SETOF oid
LANGUAGE sql STABLE AS $$
  SELECT $1 UNION SELECT relid::oid FROM pg_partition_tree($1) ORDER BY 1
$$;

-- Writing the catalogs: as their owner, on behalf of tables' owners

CREATE FUNCTION citus_internal.drop_empty_colocations() RETURNS void LANGUAGE sql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  DELETE FROM pg_dist_colocation c
   WHERE NOT EXISTS (SELECT FROM pg_dist_partition p WHERE p.colocationid = c.colocationid)
$$;

CREATE FUNCTION citus_internal.forget_table(relation oid) RETURNS void LANGUAGE sql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  DELETE FROM pg_dist_placement
   WHERE shardid IN (SELECT shardid FROM pg_dist_shard WHERE logicalrelid::oid = $1);
  DELETE FROM pg_dist_shard WHERE logicalrelid::oid = $1;
  DELETE FROM pg_dist_partition WHERE logicalrelid::oid = $1;
$$;

CREATE FUNCTION citus_internal.new_colocation(shard_count int, replicas int, attribute pg_attribute)
RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO pg_dist_colocation VALUES (
    nextval('pg_dist_colocationid_seq'), shard_count, replicas,
    coalesce((attribute).atttypid, 0),
    coalesce((SELECT typcollation FROM pg_type WHERE oid = (attribute).atttypid), 0))
  RETURNING colocationid
$$;

CREATE FUNCTION citus_internal.new_shard(
  relation oid, groups int[], minvalue int DEFAULT NULL, maxvalue int DEFAULT NULL)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH shard AS (
    INSERT INTO pg_dist_shard
    VALUES ($1, nextval('pg_dist_shardid_seq'), 't', $3::text, $4::text) RETURNING shardid)
  INSERT INTO pg_dist_placement (shardid, shardstate, shardlength, groupid)
  SELECT shardid, 1, 0, groupid FROM shard, unnest($2) AS groupid
$$;

-- Give a table its colocation and shards; it holds none so far or loses those it has.
CREATE FUNCTION citus_internal.place_table(
  relation oid, partkey text, colocation int, replication_model "char",
  converted bool DEFAULT false)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  model CONSTANT oid := (SELECT logicalrelid FROM pg_dist_partition
                          WHERE colocationid = colocation AND logicalrelid <> relation LIMIT 1);
  nodes CONSTANT int[] := ARRAY(SELECT groupid FROM citus_internal.active_primaries
                                 WHERE shouldhaveshards);
  width bigint;
  first bigint;
  colocation_row pg_dist_colocation;
  shard record;
BEGIN
  PERFORM citus_internal.forget_table(relation);
  INSERT INTO pg_dist_partition VALUES (
    relation, CASE WHEN partkey IS NULL THEN 'n' ELSE 'h' END, partkey,
    coalesce(colocation, 0), replication_model, converted);
  SELECT * INTO colocation_row FROM pg_dist_colocation WHERE colocationid = colocation;

  IF replication_model = 't' THEN
    PERFORM citus_internal.new_shard(
      relation, ARRAY(SELECT groupid FROM citus_internal.active_primaries));
  ELSIF colocation IS NULL THEN
    PERFORM citus_internal.new_shard(relation, ARRAY[0]);
  ELSIF model IS NOT NULL THEN
    FOR shard IN
      SELECT shardminvalue::int AS minvalue, shardmaxvalue::int AS maxvalue,
             array_agg(groupid ORDER BY placementid) AS groups
        FROM pg_dist_shard JOIN pg_dist_placement USING (shardid)
       WHERE logicalrelid = model GROUP BY 1, 2 ORDER BY 1
    LOOP
      PERFORM citus_internal.new_shard(relation, shard.groups, shard.minvalue, shard.maxvalue);
    END LOOP;
  ELSIF partkey IS NULL THEN
    PERFORM citus_internal.new_shard(
      relation, ARRAY[nodes[1 + colocation % cardinality(nodes)]]);
  ELSE
    width := 4294967296 / colocation_row.shardcount;
    FOR i IN 0 .. colocation_row.shardcount - 1 LOOP
      first := -2147483648 + i * width;
      PERFORM citus_internal.new_shard(
        relation,
        ARRAY(SELECT nodes[1 + (i + replica) % cardinality(nodes)]
                FROM generate_series(0, colocation_row.replicationfactor - 1) AS replica),
        first::int,
        (CASE WHEN i < colocation_row.shardcount - 1 THEN first + width - 1
              ELSE 2147483647 END)::int);
    END LOOP;
  END IF;
  PERFORM citus_internal.drop_empty_colocations();
END
$$;

-- Reference tables are copied to a new node when the next table is created, or on demand.
CREATE FUNCTION citus_internal.complete_reference_tables() RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  missing record;
BEGIN
  FOR missing IN
    SELECT shardid, groupid
      FROM pg_dist_partition
      JOIN pg_dist_shard USING (logicalrelid)
     CROSS JOIN citus_internal.active_primaries
     WHERE repmodel = 't'
    EXCEPT
    SELECT shardid, groupid FROM pg_dist_placement
    ORDER BY 1, 2
  LOOP
    PERFORM citus_internal.ensure_nodes_in_sync();
    INSERT INTO pg_dist_placement (shardid, shardstate, shardlength, groupid)
    VALUES (missing.shardid, 1, 0, missing.groupid);
  END LOOP;
END
$$;

-- Plain tables that foreign keys chain to a reference table become local tables of Citus by
-- themselves, and plain again when the chain is broken.
CREATE FUNCTION citus_internal.settle_local_tables() RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  chained CONSTANT oid[] := ARRAY(
    WITH RECURSIVE chain (oid) AS (
      SELECT logicalrelid::oid FROM pg_dist_partition WHERE repmodel = 't'
      UNION
      SELECT next.oid
        FROM chain
        JOIN pg_constraint ON contype = 'f' AND chain.oid IN (conrelid, confrelid)
       CROSS JOIN LATERAL (
             SELECT CASE WHEN conrelid = chain.oid THEN confrelid ELSE conrelid END) AS next (oid)
       WHERE coalesce(citus_internal.kind(next.oid), 'local') = 'local')
    SELECT oid FROM chain WHERE coalesce(citus_internal.kind(oid), 'local') = 'local');
  relation oid;
BEGIN
  PERFORM citus_internal.forget_table(logicalrelid) FROM pg_dist_partition
    WHERE autoconverted AND logicalrelid <> ALL (chained);
  IF NOT citus_internal.setting('enable_local_reference_table_foreign_keys', 'on')::bool
     OR NOT EXISTS (SELECT FROM citus_internal.active_primaries WHERE groupid = 0) THEN
    RETURN;
  END IF;
  FOREACH relation IN ARRAY chained LOOP
    CONTINUE WHEN citus_internal.kind(relation) = 'local';
    IF EXISTS (SELECT FROM pg_constraint
                WHERE contype = 'f' AND conrelid = relation
                  AND citus_internal.kind(confrelid) IN ('hash', 'single')) THEN
      RAISE EXCEPTION 'cannot create foreign key constraint since foreign keys from reference '
          'tables and local tables to distributed tables are not supported'
        USING ERRCODE = 'feature_not_supported',
        DETAIL = 'When adding a foreign key from a local table to a reference table, Citus '
                 'applies a conversion to all the local tables in the foreign key graph';
    END IF;
    PERFORM citus_internal.place_table(relation, NULL, NULL, 's', converted => true);
  END LOOP;
END
$$;

-- A local table that is wanted for itself does not become plain again.
CREATE FUNCTION citus_internal.keep_local_table(relation oid) RETURNS void LANGUAGE sql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE pg_dist_partition SET autoconverted = false WHERE logicalrelid::oid = $1
$$;

-- Writers of the table wait until it is what it is to be.
CREATE FUNCTION citus_internal.lock_table(relation oid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF (SELECT relkind FROM pg_class WHERE oid = relation) IN ('r', 'p') THEN
    EXECUTE format('LOCK TABLE ONLY %s IN EXCLUSIVE MODE', citus_internal.full_name(relation));
  END IF;
END
$$;

-- A cluster without nodes begins as its coordinator alone.
CREATE FUNCTION citus_internal.ensure_any_node() RETURNS void LANGUAGE sql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO pg_dist_node (groupid, nodename, nodeport, hasmetadata, metadatasynced)
  SELECT 0, 'localhost', current_setting('port')::int, true, true
   WHERE NOT EXISTS (SELECT FROM pg_dist_node)
$$;

-- Colocation

CREATE FUNCTION citus_internal.ensure_same_column_type(
  source oid, source_column pg_attribute, target oid, target_column pg_attribute)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  what text := CASE
    WHEN source_column.atttypid IS DISTINCT FROM target_column.atttypid THEN 'types'
    WHEN source_column.attcollation IS DISTINCT FROM target_column.attcollation THEN 'collations'
  END;
BEGIN
  IF what IS NOT NULL OR citus_internal.kind(source) = 'reference' THEN
    RAISE EXCEPTION 'cannot colocate tables % and %',
      citus_internal.bare_name(source), citus_internal.bare_name(target)
      USING ERRCODE = 'internal_error',
      DETAIL = format('Distribution column %s don''t match for %s and %s.', coalesce(what, 'types'),
                      citus_internal.bare_name(source), citus_internal.bare_name(target));
  END IF;
END
$$;

-- The colocation group that a declaration asks for; a new one where none fits.
-- colocate_with is 'default', 'none', or a table.
CREATE FUNCTION citus_internal.choose_colocation(
  relation oid, attribute pg_attribute, colocate_with text, shard_count int)
RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  replicas CONSTANT int := citus_internal.setting('shard_replication_factor', '1');
  wanted_count CONSTANT int := CASE WHEN attribute.attnum IS NULL THEN 1 ELSE
    coalesce(shard_count, citus_internal.setting('shard_count', '32')::int) END;
  colocation int;
  source oid;
BEGIN
  IF wanted_count NOT BETWEEN 1 AND 64000 THEN
    -- Citus would not have let it be set.
    RAISE EXCEPTION '% is outside the valid range for parameter "citus.shard_count" (1 .. 64000)',
      wanted_count USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF colocate_with NOT IN ('default', 'none') THEN
    source := colocate_with::regclass;
    IF citus_internal.kind(source) IS NULL THEN
      RAISE EXCEPTION 'relation % is not distributed', citus_internal.bare_name(source)
        USING ERRCODE = 'internal_error';
    ELSIF citus_internal.kind(source) = 'local' THEN
      RAISE EXCEPTION 'cannot distribute relation'
        USING ERRCODE = 'feature_not_supported',
        DETAIL = 'Currently, colocate_with option is not supported with append / range '
                 'distributed tables and local tables added to metadata.';
    END IF;
    PERFORM citus_internal.ensure_same_column_type(
      source, citus_internal.distribution_column(source), relation, attribute);
    RETURN (SELECT colocationid FROM pg_dist_partition WHERE logicalrelid = source);
  ELSIF colocate_with = 'default' THEN
    SELECT colocationid INTO colocation FROM pg_dist_colocation
     WHERE shardcount = wanted_count AND replicationfactor = replicas
       AND distributioncolumntype = coalesce(attribute.atttypid, 0)
     ORDER BY colocationid LIMIT 1;
    IF FOUND THEN
      SELECT logicalrelid INTO source FROM pg_dist_partition
       WHERE colocationid = colocation LIMIT 1;
      PERFORM citus_internal.ensure_same_column_type(
        relation, attribute, source, citus_internal.distribution_column(source));
      RETURN colocation;
    END IF;
  END IF;
  IF replicas > (SELECT count(*) FROM citus_internal.active_primaries WHERE shouldhaveshards) THEN
    RAISE EXCEPTION 'replication_factor (%) exceeds number of worker nodes (%)', replicas,
      (SELECT count(*) FROM citus_internal.active_primaries WHERE shouldhaveshards)
      USING ERRCODE = 'invalid_parameter_value',
      HINT = 'Add more worker nodes or try again with a lower replication factor.';
  END IF;
  RETURN citus_internal.new_colocation(wanted_count, replicas, attribute);
END
$$;

-- Distributed tables

CREATE FUNCTION citus_internal.ensure_valid_declaration(
  distribution_column text, distribution_type citus.distribution_type,
  colocate_with text, shard_count int)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF shard_count NOT BETWEEN 1 AND 64000 THEN
    RAISE EXCEPTION '% is outside the valid range for parameter "shard_count" (1 .. 64000)',
      shard_count USING ERRCODE = 'internal_error';
  ELSIF distribution_column IS NULL AND shard_count IS NOT NULL THEN
    RAISE EXCEPTION 'shard_count can''t be specified when the distribution column is null '
      'because in that case it''s automatically set to 1' USING ERRCODE = 'internal_error';
  ELSIF colocate_with NOT IN ('default', 'none') AND shard_count IS NOT NULL THEN
    RAISE EXCEPTION 'Cannot use colocate_with with a table and shard_count at the same time'
      USING ERRCODE = 'internal_error';
  ELSIF distribution_type <> 'hash' THEN
    RAISE EXCEPTION 'the stand-in for Citus distributes by hash only'
      USING ERRCODE = 'feature_not_supported';
  END IF;
END
$$;

CREATE FUNCTION citus_internal.distribute(
  relation oid, distribution_column text, colocate_with text, shard_count int)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  replicas CONSTANT int := citus_internal.setting('shard_replication_factor', '1');
  parent CONSTANT oid := (SELECT inhparent FROM pg_inherits WHERE inhrelid = relation);
  subpartitioned oid;
  attribute pg_attribute;
  colocation int;
  with_nulls bool;
BEGIN
  PERFORM citus_internal.ensure_can_be_citus_table(relation);
  IF parent IS NOT NULL AND citus_internal.kind(parent) IS NULL THEN
    RAISE EXCEPTION 'cannot distribute relation "%" which is partition of "%"',
      citus_internal.bare_name(relation), citus_internal.bare_name(parent)
      USING ERRCODE = 'internal_error',
      DETAIL = 'Citus does not support distributing partitions if their parent is not '
               'distributed table.',
      HINT = format('Distribute the partitioned table "%s" instead.',
                    citus_internal.bare_name(parent));
  END IF;
  PERFORM citus_internal.ensure_no_triggers(relation);
  SELECT inhrelid INTO subpartitioned FROM pg_inherits JOIN pg_class ON oid = inhrelid
   WHERE inhparent = relation AND relkind = 'p' LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'distributing multi-level partitioned tables is not supported'
      USING ERRCODE = 'feature_not_supported',
      DETAIL = format('Relation "%s" is partitioned table itself and it is also partition of '
                      'relation "%s".', citus_internal.bare_name(subpartitioned),
                      citus_internal.bare_name(relation));
  END IF;
  IF distribution_column IS NOT NULL THEN
    attribute := citus_internal.usable_column(relation, distribution_column);
  END IF;
  PERFORM citus_internal.lock_table(relation);
  PERFORM citus_internal.ensure_any_node();
  colocation := citus_internal.choose_colocation(relation, attribute, colocate_with, shard_count);
  PERFORM citus_internal.ensure_nodes_in_sync();
  PERFORM citus_internal.complete_reference_tables();
  PERFORM citus_internal.place_table(
    relation, column_name_to_column(relation, distribution_column), colocation,
    CASE WHEN replicas > 1 THEN 'c' ELSE 's' END::"char");
  PERFORM citus_internal.ensure_constraints(relation);
  IF distribution_column IS NOT NULL THEN
    EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE %I IS NULL)',
                   relation::regclass, distribution_column) INTO with_nulls;
    IF with_nulls THEN
      RAISE EXCEPTION 'the partition column of table % cannot be NULL',
        citus_internal.full_name(relation) USING ERRCODE = 'null_value_not_allowed';
    END IF;
  END IF;
  PERFORM citus_internal.distribute(
      inhrelid, distribution_column, citus_internal.full_name(relation), NULL)
    FROM pg_inherits WHERE inhparent = relation ORDER BY inhrelid;
END
$$;

CREATE FUNCTION pg_catalog.create_distributed_table(
  table_name regclass, distribution_column text,
  distribution_type citus.distribution_type DEFAULT 'hash',
  colocate_with text DEFAULT 'default', shard_count int DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF table_name IS NULL THEN
    RETURN;
  END IF;
  PERFORM citus_internal.ensure_coordinator();
  PERFORM citus_internal.ensure_owner(table_name);
  PERFORM citus_internal.ensure_valid_declaration(
    distribution_column, distribution_type, colocate_with, shard_count);
  IF citus_internal.kind(table_name) <> 'local' THEN
    PERFORM citus_internal.raise_already_distributed(table_name);
  END IF;
  PERFORM citus_internal.distribute(table_name, distribution_column, colocate_with, shard_count);
END
$$;

CREATE FUNCTION pg_catalog.create_distributed_table_concurrently(
  table_name regclass, distribution_column text,
  distribution_type citus.distribution_type DEFAULT 'hash',
  colocate_with text DEFAULT 'default', shard_count int DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF table_name IS NULL THEN
    RETURN;
  ELSIF distribution_column IS NULL THEN
    RAISE EXCEPTION 'cannot use create_distributed_table_concurrently to create a distributed '
      'table with a null shard key, consider using create_distributed_table()'
      USING ERRCODE = 'internal_error';
  END IF;
  IF transaction_timestamp() <> statement_timestamp() THEN
    RAISE EXCEPTION 'create_distributed_table_concurrently cannot run inside a transaction block'
      USING ERRCODE = 'active_sql_transaction';
  END IF;
  PERFORM citus_internal.ensure_coordinator();
  PERFORM citus_internal.ensure_owner(table_name);
  IF distribution_type <> 'hash' THEN
    RAISE EXCEPTION 'only hash-distributed tables can be distributed without blocking writes'
      USING ERRCODE = 'invalid_parameter_value';
  ELSIF citus_internal.setting('shard_replication_factor', '1')::int > 1 THEN
    RAISE EXCEPTION 'cannot distribute a table concurrently when '
      'citus.shard_replication_factor > 1' USING ERRCODE = 'internal_error';
  END IF;
  PERFORM citus_internal.ensure_valid_declaration(
    distribution_column, distribution_type, colocate_with, shard_count);
  IF citus_internal.kind(table_name) <> 'local' THEN
    PERFORM citus_internal.raise_already_distributed(table_name);
  END IF;
  PERFORM citus_internal.usable_column(table_name, distribution_column);
  IF NOT citus_internal.has_replica_identity(table_name) THEN
    RAISE NOTICE 'relation % does not have a REPLICA IDENTITY or PRIMARY KEY',
      citus_internal.bare_name(table_name)
      USING DETAIL = 'UPDATE and DELETE commands on the relation will error out during '
        'create_distributed_table_concurrently unless there is a REPLICA IDENTITY or '
        'PRIMARY KEY. INSERT commands will still work.';
  END IF;
  PERFORM citus_internal.ensure_no_triggers(table_name);
  -- On its way, a table is a local one of Citus; and Citus' own library decodes the log.
  PERFORM citus_add_local_table_to_metadata(table_name);
  PERFORM citus_internal.ensure_logical_decoding();
  PERFORM citus_internal.distribute(table_name, distribution_column, colocate_with, shard_count);
END
$$;

CREATE FUNCTION citus_internal.ensure_logical_decoding() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('wal_level') <> 'logical' THEN
    RAISE EXCEPTION 'logical decoding requires wal_level >= logical'
      USING ERRCODE = 'object_not_in_prerequisite_state';
  ELSIF current_setting('output_plugin_libraries', true) !~ '\mcitus\M' THEN
    RAISE EXCEPTION 'library "citus" may not be used as an output plugin'
      USING ERRCODE = 'internal_error',
      HINT = 'If it is safe for all REPLICATION users to use this library as an output plugin, '
             'add it to "output_plugin_libraries" and reload the server configuration.';
  END IF;
END
$$;

CREATE FUNCTION citus_internal.has_replica_identity(relation oid) RETURNS bool
LANGUAGE sql STABLE AS $$
  SELECT relreplident = 'f' OR EXISTS (
           SELECT FROM pg_index
            WHERE indrelid = $1
              AND (relreplident = 'd' AND indisprimary OR relreplident = 'i' AND indisreplident))
    FROM pg_class WHERE oid = $1
$$;

-- Reference tables and local tables

CREATE FUNCTION pg_catalog.create_reference_table(table_name regclass) RETURNS void
LANGUAGE plpgsql STRICT AS $$
DECLARE
  colocation int;
BEGIN
  PERFORM citus_internal.ensure_coordinator();
  PERFORM citus_internal.ensure_owner(table_name);
  IF citus_internal.kind(table_name) <> 'local' THEN
    PERFORM citus_internal.raise_already_distributed(table_name);
  END IF;
  PERFORM citus_internal.ensure_can_be_citus_table(table_name);
  IF (SELECT relkind FROM pg_class WHERE oid = table_name) = 'p' THEN
    RAISE EXCEPTION 'distributing partitioned tables in only supported for hash-distributed tables'
      USING ERRCODE = 'feature_not_supported';
  END IF;
  PERFORM citus_internal.ensure_no_triggers(table_name);
  PERFORM citus_internal.lock_table(table_name);
  PERFORM citus_internal.ensure_any_node();
  PERFORM citus_internal.ensure_nodes_in_sync();
  PERFORM citus_internal.complete_reference_tables();
  SELECT colocationid INTO colocation FROM pg_dist_colocation WHERE replicationfactor = -1;
  IF NOT FOUND THEN
    colocation := citus_internal.new_colocation(1, -1, NULL);
  END IF;
  PERFORM citus_internal.place_table(table_name, NULL, colocation, 't');
  PERFORM citus_internal.ensure_constraints(table_name);
  PERFORM citus_internal.settle_local_tables();
END
$$;

CREATE FUNCTION pg_catalog.replicate_reference_tables(
  shard_transfer_mode citus.shard_transfer_mode DEFAULT 'auto')
RETURNS void LANGUAGE plpgsql STRICT AS $$
BEGIN
  PERFORM citus_internal.ensure_coordinator();
  PERFORM citus_internal.complete_reference_tables();
END
$$;
REVOKE ALL ON FUNCTION pg_catalog.replicate_reference_tables FROM public;

CREATE FUNCTION pg_catalog.citus_add_local_table_to_metadata(
  table_name regclass, cascade_via_foreign_keys bool DEFAULT false)
RETURNS void LANGUAGE plpgsql STRICT AS $body$
DECLARE
  relatives oid[];
BEGIN
  PERFORM citus_internal.ensure_coordinator();
  PERFORM citus_internal.ensure_owner(table_name);
  IF citus_internal.kind(table_name) = 'local' THEN
    PERFORM citus_internal.keep_local_table(table_name);
    RETURN;
  ELSIF citus_internal.kind(table_name) IS NOT NULL THEN
    PERFORM citus_internal.raise_already_distributed(table_name);
  END IF;
  IF (SELECT relkind FROM pg_class WHERE oid = table_name) NOT IN ('r', 'f', 'p') THEN
    RAISE EXCEPTION 'cannot add local table "%" to metadata, only regular tables, partitioned '
        'tables and foreign tables can be added to citus metadata',
      citus_internal.bare_name(table_name) USING ERRCODE = 'feature_not_supported';
  END IF;
  PERFORM citus_internal.ensure_can_be_citus_table(table_name);
  PERFORM citus_internal.ensure_no_partition(table_name);
  IF NOT EXISTS (SELECT FROM citus_internal.active_primaries WHERE groupid = 0) THEN
    RAISE EXCEPTION 'operation is not allowed when coordinator is not added into metadata'
      USING ERRCODE = 'internal_error',
      HINT = 'Use "SELECT citus_set_coordinator_host(''<hostname>'', ''<port>'')" to configure '
             'the coordinator hostname and port';
  END IF;
  relatives := ARRAY(SELECT citus_internal.foreign_key_relatives(table_name));
  IF relatives <> '{}' AND NOT cascade_via_foreign_keys THEN
    RAISE EXCEPTION 'relation % is involved in a foreign key relationship with another table',
      citus_internal.full_name(table_name)
      USING ERRCODE = 'feature_not_supported',
      HINT = format('Use cascade_via_foreign_keys option to add all the relations involved in a '
        'foreign key relationship with %1$s to citus metadata by executing SELECT '
        'citus_add_local_table_to_metadata($$%1$s$$, cascade_via_foreign_keys=>true)',
        citus_internal.full_name(table_name));
  END IF;
  PERFORM citus_internal.ensure_nodes_in_sync();
  PERFORM citus_internal.lock_table(relation) FROM unnest(table_name::oid || relatives) AS relation;
  PERFORM citus_internal.place_table(member, NULL, NULL, 's')
    FROM unnest(table_name::oid || relatives) AS relation,
         citus_internal.with_partitions(relation) AS member
   WHERE coalesce(citus_internal.kind(member), 'local') = 'local';
  PERFORM citus_internal.ensure_constraints(table_name);
END
$body$;
