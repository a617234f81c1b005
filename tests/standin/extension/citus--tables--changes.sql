-- Copyright: the bss.platform contributors
-- Apache License 2.0 (see LICENSE)
--
-- Stand-in for Citus, part 6 of 9: changes of tables that Citus keeps, by its functions and by
-- plain SQL.

CREATE FUNCTION pg_catalog.undistribute_table(
  table_name regclass, cascade_via_foreign_keys bool DEFAULT false)
RETURNS void LANGUAGE plpgsql STRICT AS $body$
DECLARE
  relatives CONSTANT oid[] := ARRAY(SELECT citus_internal.foreign_key_relatives(table_name));
  obstacle text;
BEGIN
  PERFORM citus_internal.ensure_coordinator();
  PERFORM citus_internal.ensure_owner(table_name);
  IF citus_internal.kind(table_name) IS NULL THEN
    RAISE EXCEPTION 'cannot undistribute table because the table is not distributed'
      USING ERRCODE = 'internal_error';
  END IF;
  PERFORM citus_internal.ensure_no_partition(table_name);
  IF relatives <> '{}' AND NOT cascade_via_foreign_keys THEN
    obstacle := CASE
      WHEN EXISTS (SELECT FROM pg_constraint
                    WHERE contype = 'f' AND conrelid = table_name AND confrelid <> conrelid)
      THEN 'has a foreign key' ELSE 'is referenced by a foreign key' END;
    RAISE EXCEPTION 'cannot complete operation because table % %',
      citus_internal.bare_name(table_name), obstacle
      USING ERRCODE = 'internal_error',
      HINT = format('Use cascade option to undistribute all the relations involved in a foreign '
        'key relationship with %1$s by executing SELECT '
        'undistribute_table($$%1$s$$, cascade_via_foreign_keys=>true)',
        citus_internal.full_name(table_name));
  END IF;
  PERFORM citus_internal.ensure_rewritable(relation)
    FROM unnest(table_name::oid || relatives) AS relation;
  PERFORM citus_internal.ensure_nodes_in_sync();
  PERFORM citus_internal.lock_table(relation) FROM unnest(table_name::oid || relatives) AS relation;
  PERFORM citus_internal.forget_table(member)
    FROM unnest(table_name::oid || relatives) AS root,
         citus_internal.with_partitions(root) AS member;
  PERFORM citus_internal.drop_empty_colocations();
  PERFORM citus_internal.settle_local_tables();
END
$body$;

CREATE FUNCTION pg_catalog.remove_local_tables_from_metadata() RETURNS void LANGUAGE sql STRICT
AS $$SELECT citus_internal.settle_local_tables()$$;

CREATE FUNCTION pg_catalog.truncate_local_data_after_distributing_table(function_name regclass)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  -- The rows that Citus would have copied to shards are the table's only ones here.
  RETURN;
END
$$;

-- Changes of distributed tables

CREATE FUNCTION citus_internal.ensure_can_be_colocated(relation oid) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  IF coalesce(citus_internal.kind(relation) NOT IN ('hash', 'single'), true) THEN
    RAISE EXCEPTION 'relation % should be a hash or single shard distributed table',
      citus_internal.bare_name(relation) USING ERRCODE = 'feature_not_supported';
  END IF;
END
$$;

-- What Citus would lose by rewriting a table apart from those it has foreign keys with.
CREATE FUNCTION citus_internal.drop_foreign_keys_between_groups(relation oid) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  lost pg_constraint;
BEGIN
  FOR lost IN
    SELECT c.* FROM pg_constraint c
      JOIN pg_dist_partition source ON source.logicalrelid = conrelid
      JOIN pg_dist_partition target ON target.logicalrelid = confrelid
     WHERE contype = 'f' AND conparentid = 0 AND relation IN (conrelid, confrelid)
       AND target.partmethod = 'h' AND source.colocationid <> target.colocationid
  LOOP
    RAISE WARNING 'foreign key % will be dropped', lost.conname;
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', lost.conrelid::regclass, lost.conname);
  END LOOP;
END
$$;

CREATE FUNCTION pg_catalog.alter_distributed_table(
  table_name regclass, distribution_column text DEFAULT NULL, shard_count int DEFAULT NULL,
  colocate_with text DEFAULT NULL, cascade_to_colocated bool DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  by_table CONSTANT bool := coalesce(colocate_with NOT IN ('default', 'none'), false);
  before pg_dist_partition;
  before_count int;
  attribute pg_attribute;
  beside pg_dist_partition;
  neighbours oid[];
  altered oid[];
  colocation int;
  relation oid;
  column_name text;
BEGIN
  PERFORM citus_internal.ensure_coordinator();
  PERFORM citus_internal.ensure_owner(table_name);
  IF coalesce(citus_internal.kind(table_name) NOT IN ('hash', 'single'), true) THEN
    RAISE EXCEPTION 'cannot alter table because the table is not distributed'
      USING ERRCODE = 'internal_error';
  ELSIF citus_internal.kind(table_name) = 'single' THEN
    RAISE EXCEPTION 'relation % should be a hash distributed table',
      citus_internal.bare_name(table_name) USING ERRCODE = 'feature_not_supported';
  END IF;
  PERFORM citus_internal.ensure_no_partition(table_name);
  IF distribution_column IS NULL AND shard_count IS NULL AND colocate_with IS NULL THEN
    RAISE EXCEPTION 'you have to specify at least one of the distribution_column, shard_count or '
      'colocate_with parameters' USING ERRCODE = 'internal_error';
  ELSIF shard_count = 0 THEN
    RAISE EXCEPTION 'shard_count cannot be 0' USING ERRCODE = 'internal_error',
      HINT = 'if you no longer want this to be a distributed table you can try '
             'undistribute_table() function';
  ELSIF distribution_column IS NOT NULL AND cascade_to_colocated THEN
    RAISE EXCEPTION 'distribution_column cannot be cascaded to colocated tables'
      USING ERRCODE = 'internal_error';
  ELSIF colocate_with = 'none' AND cascade_to_colocated THEN
    RAISE EXCEPTION 'colocate_with := ''none'' cannot be cascaded to colocated tables'
      USING ERRCODE = 'internal_error';
  END IF;

  SELECT * INTO before FROM pg_dist_partition WHERE logicalrelid = table_name;
  SELECT shardcount INTO before_count FROM pg_dist_colocation
   WHERE colocationid = before.colocationid;
  attribute := CASE WHEN distribution_column IS NULL
                    THEN citus_internal.distribution_column(table_name)
                    ELSE citus_internal.usable_column(table_name, distribution_column) END;
  IF by_table THEN
    SELECT * INTO beside FROM pg_dist_partition WHERE logicalrelid = colocate_with::regclass;
    IF shard_count <> (SELECT shardcount FROM pg_dist_colocation
                        WHERE colocationid = beside.colocationid) THEN
      RAISE EXCEPTION 'shard_count cannot be different than the shard count of the table in '
        'colocate_with' USING ERRCODE = 'internal_error',
        HINT = 'if no shard_count is specified shard count will be same with colocate_with '
               'table''s';
    ELSIF attribute.atttypid IS DISTINCT FROM
          (citus_internal.distribution_column(beside.logicalrelid)).atttypid THEN
      RAISE EXCEPTION 'cannot colocate with % because data type of its distribution column is '
        'different than %', colocate_with, citus_internal.bare_name(table_name)
        USING ERRCODE = 'internal_error';
    END IF;
  END IF;
  IF coalesce(shard_count = before_count, true)
     AND attribute.attnum = citus_internal.column_number(before.partkey)
     AND (colocate_with IS NULL OR by_table AND beside.colocationid = before.colocationid) THEN
    RAISE EXCEPTION 'this call doesn''t change any properties of the table'
      USING ERRCODE = 'internal_error',
      HINT = 'check citus_tables view to see current properties of the table';
  END IF;
  neighbours := ARRAY(SELECT logicalrelid::oid FROM pg_dist_partition
                       WHERE colocationid = before.colocationid AND logicalrelid <> table_name);
  IF shard_count <> before_count AND neighbours <> '{}' AND cascade_to_colocated IS NULL THEN
    RAISE EXCEPTION 'cascade_to_colocated parameter is necessary'
      USING ERRCODE = 'internal_error',
      DETAIL = 'this table is colocated with some other tables',
      HINT = 'cascade_to_colocated := false will break the current colocation, '
             'cascade_to_colocated := true will change the shard count of colocated tables too.';
  END IF;
  PERFORM citus_internal.ensure_rewritable(table_name);
  PERFORM citus_internal.ensure_valid_declaration(attribute.attname, 'hash', 'none', shard_count);

  PERFORM citus_internal.ensure_nodes_in_sync();
  colocation := CASE
    WHEN colocate_with IS NULL AND coalesce(shard_count = before_count, true)
         AND attribute.atttypid = (citus_internal.distribution_column(table_name)).atttypid
    THEN before.colocationid
    ELSE citus_internal.choose_colocation(table_name, attribute,
           coalesce(colocate_with, 'default'), coalesce(shard_count, before_count)) END;
  altered := table_name::oid || CASE WHEN cascade_to_colocated THEN neighbours ELSE '{}' END;
  PERFORM citus_internal.lock_table(one) FROM unnest(altered) AS one;
  FOREACH relation IN ARRAY altered LOOP
    column_name := CASE WHEN relation = table_name THEN attribute.attname
                        ELSE (citus_internal.distribution_column(relation)).attname END;
    PERFORM citus_internal.place_table(
        member, column_name_to_column(member, column_name), colocation, before.repmodel)
      FROM citus_internal.with_partitions(relation) AS member;
  END LOOP;
  PERFORM citus_internal.drop_foreign_keys_between_groups(one),
          citus_internal.ensure_constraints(one)
    FROM unnest(altered) AS one;
END
$$;

CREATE FUNCTION pg_catalog.update_distributed_table_colocation(
  table_name regclass, colocate_with text)
RETURNS void LANGUAGE plpgsql STRICT AS $$
DECLARE
  source oid;
  colocation int;
  obstacle text;
BEGIN
  PERFORM citus_internal.ensure_coordinator();
  PERFORM citus_internal.ensure_owner(table_name);
  IF colocate_with = 'none' THEN
    PERFORM citus_internal.ensure_can_be_colocated(table_name);
    PERFORM citus_internal.ensure_nodes_in_sync();
    colocation := citus_internal.new_colocation(
      c.shardcount, c.replicationfactor, citus_internal.distribution_column(table_name))
      FROM pg_dist_partition JOIN pg_dist_colocation c USING (colocationid)
     WHERE logicalrelid = table_name;
  ELSE
    source := colocate_with::regclass;
    PERFORM citus_internal.ensure_can_be_colocated(source);
    PERFORM citus_internal.ensure_can_be_colocated(table_name);
    PERFORM citus_internal.ensure_same_column_type(
      source, citus_internal.distribution_column(source),
      table_name, citus_internal.distribution_column(table_name));
    obstacle := citus_internal.why_shards_differ(source, table_name);
    IF obstacle IS NOT NULL THEN
      RAISE EXCEPTION 'cannot colocate tables % and %',
        citus_internal.bare_name(source), citus_internal.bare_name(table_name)
        USING ERRCODE = 'internal_error', DETAIL = obstacle;
    END IF;
    PERFORM citus_internal.ensure_nodes_in_sync();
    SELECT colocationid INTO colocation FROM pg_dist_partition WHERE logicalrelid = source;
  END IF;
  PERFORM citus_internal.set_colocation(table_name, colocation);
END
$$;

CREATE FUNCTION citus_internal.why_shards_differ(source oid, target oid) RETURNS text
LANGUAGE sql STABLE AS $$
  WITH shards AS (
    SELECT logicalrelid::oid AS relation, shardid, shardminvalue,
           array_agg(groupid ORDER BY groupid) AS groups
      FROM pg_dist_shard JOIN pg_dist_placement USING (shardid)
     WHERE logicalrelid IN ($1, $2) GROUP BY 1, 2, 3)
  SELECT CASE
    WHEN (SELECT count(*) FROM shards WHERE relation = $1)
         <> (SELECT count(*) FROM shards WHERE relation = $2)
    THEN format('Shard counts don''t match for %s and %s.',
                citus_internal.bare_name($1), citus_internal.bare_name($2))
    ELSE (SELECT format('Shard %s of %s and shard %s of %s have different number of shard '
                        'placements.', a.shardid, citus_internal.bare_name($1),
                        b.shardid, citus_internal.bare_name($2))
            FROM shards a JOIN shards b ON a.relation = $1 AND b.relation = $2
             AND a.shardminvalue IS NOT DISTINCT FROM b.shardminvalue AND a.groups <> b.groups
           ORDER BY a.shardid LIMIT 1)
  END
$$;

CREATE FUNCTION citus_internal.set_colocation(relation oid, colocation int) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE pg_dist_partition SET colocationid = $2 WHERE logicalrelid::oid = $1;
  SELECT citus_internal.drop_empty_colocations();
$$;

CREATE FUNCTION pg_catalog.distributed_tables_colocated(table1 regclass, table2 regclass)
RETURNS bool LANGUAGE sql AS $$
  SELECT coalesce((SELECT a.colocationid = b.colocationid AND a.colocationid <> 0
                     FROM pg_dist_partition a, pg_dist_partition b
                    WHERE a.logicalrelid = $1 AND b.logicalrelid = $2), false)
$$;
CREATE FUNCTION pg_catalog.get_colocated_table_array(regclass) RETURNS regclass[]
LANGUAGE sql STRICT AS $$
  SELECT array_agg(b.logicalrelid ORDER BY b.logicalrelid)
    FROM pg_dist_partition a
    JOIN pg_dist_partition b
      ON b.logicalrelid = a.logicalrelid OR b.colocationid = a.colocationid AND a.colocationid <> 0
   WHERE a.logicalrelid = $1
$$;

-- What is done to tables by plain SQL

CREATE FUNCTION citus_internal.after_table_change() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  command record;
BEGIN
  FOR command IN SELECT * FROM pg_event_trigger_ddl_commands() LOOP
    IF command.object_type = 'index' THEN
      IF EXISTS (
           SELECT FROM pg_index i
             JOIN pg_dist_partition p ON p.logicalrelid = i.indrelid AND partkey IS NOT NULL
            WHERE i.indexrelid = command.objid
              AND citus_internal.spans_shards(i, citus_internal.column_number(partkey))) THEN
        RAISE EXCEPTION 'creating unique indexes on non-partition columns is currently unsupported'
          USING ERRCODE = 'feature_not_supported';
      END IF;
    ELSIF command.object_type = 'trigger' THEN
      IF NOT citus_internal.setting('enable_unsafe_triggers', 'off')::bool AND EXISTS (
           SELECT FROM pg_trigger WHERE oid = command.objid
              AND citus_internal.kind(tgrelid) IN ('hash', 'single', 'reference')) THEN
        RAISE EXCEPTION 'triggers are not supported on distributed tables'
          USING ERRCODE = 'internal_error';
      END IF;
    ELSIF command.object_type IN ('table', 'foreign table') THEN
      IF EXISTS (
           SELECT FROM pg_dist_partition p
             JOIN pg_attribute a ON a.attrelid = p.logicalrelid
              AND a.attnum = citus_internal.column_number(p.partkey)
            WHERE p.logicalrelid = command.objid
              AND (a.attisdropped OR a.atttypid <> substring(partkey FROM ':vartype (\d+)')::oid))
      THEN
        RAISE EXCEPTION 'cannot execute ALTER TABLE command involving partition column'
          USING ERRCODE = 'internal_error';
      END IF;
      PERFORM citus_internal.ensure_constraints(command.objid);
      -- A partition follows its parent, whether it was created or attached.
      PERFORM citus_internal.distribute(
          inhrelid, column_to_column_name(logicalrelid, partkey),
          citus_internal.full_name(inhparent), NULL)
        FROM pg_inherits JOIN pg_dist_partition ON logicalrelid = inhparent
       WHERE command.objid IN (inhrelid, inhparent) AND citus_internal.kind(inhrelid) IS NULL;
      PERFORM citus_internal.settle_local_tables();
    END IF;
  END LOOP;
END
$$;

CREATE FUNCTION citus_internal.after_table_drop() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  dropped oid;
BEGIN
  FOR dropped IN
    SELECT objid FROM pg_event_trigger_dropped_objects()
      JOIN pg_dist_partition ON logicalrelid::oid = objid
     WHERE object_type IN ('table', 'foreign table')
  LOOP
    PERFORM citus_internal.ensure_nodes_in_sync();
    PERFORM citus_internal.forget_table(dropped);
    PERFORM citus_internal.drop_empty_colocations();
    PERFORM citus_internal.settle_local_tables();
  END LOOP;
END
$$;

CREATE EVENT TRIGGER citus_standin_table_change ON ddl_command_end
  WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'ALTER TABLE', 'CREATE INDEX',
               'CREATE FOREIGN TABLE', 'ALTER FOREIGN TABLE', 'CREATE TRIGGER')
  EXECUTE FUNCTION citus_internal.after_table_change();
CREATE EVENT TRIGGER citus_standin_table_drop ON sql_drop
  EXECUTE FUNCTION citus_internal.after_table_drop();
