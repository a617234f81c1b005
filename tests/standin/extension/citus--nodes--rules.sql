-- Copyright: the bss.platform contributors
-- Apache License 2.0 (see LICENSE)
--
-- Stand-in for Citus, part 4 of 9: what kinds of tables there are, and what Citus asks of a table
-- before it takes it in.

-- Names as Citus' messages have them

CREATE FUNCTION citus_internal.bare_name(relation oid) RETURNS name LANGUAGE sql STABLE
AS $$SELECT relname FROM pg_class WHERE oid = $1$$;
CREATE FUNCTION citus_internal.full_name(relation oid) RETURNS text LANGUAGE sql STABLE
AS $$SELECT format('%I.%I', relnamespace::regnamespace, relname) FROM pg_class WHERE oid = $1$$;

-- Kinds of tables and their distribution column

-- hash, single (one shard, no column), reference, local; NULL for a table that is not Citus'.
CREATE FUNCTION citus_internal.kind(relation oid) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN partmethod = 'h' THEN 'hash'
              WHEN repmodel = 't' THEN 'reference'
              WHEN colocationid = 0 THEN 'local'
              ELSE 'single' END
    FROM pg_dist_partition WHERE logicalrelid = $1
$$;

-- Citus keeps the column as PostgreSQL's parse tree of it.
CREATE FUNCTION pg_catalog.column_name_to_column(table_name regclass, column_name text)
RETURNS text LANGUAGE sql STRICT AS $$
  SELECT format('{VAR :varno 1 :varattno %s :vartype %s :vartypmod %s :varcollid %s '
                ':varlevelsup 0 :varnosyn 1 :varattnosyn %s :location -1}',
                attnum, atttypid::int, atttypmod, attcollation::int, attnum)
    FROM pg_attribute WHERE attrelid = $1 AND attname = $2 AND NOT attisdropped
$$;
CREATE FUNCTION citus_internal.column_number(column_var text) RETURNS int LANGUAGE sql IMMUTABLE
AS $$SELECT substring($1 FROM ':varattno (\d+)')::int$$;
CREATE FUNCTION pg_catalog.column_to_column_name(table_name regclass, column_var_text text)
RETURNS text LANGUAGE sql STRICT AS $$
  SELECT attname::text FROM pg_attribute
   WHERE attrelid = $1 AND attnum = citus_internal.column_number($2)
$$;
CREATE FUNCTION citus_internal.distribution_column(relation oid) RETURNS pg_attribute
LANGUAGE sql STABLE AS $$
  SELECT a FROM pg_attribute a JOIN pg_dist_partition p ON p.logicalrelid = a.attrelid
   WHERE a.attrelid = $1 AND a.attnum = citus_internal.column_number(p.partkey)
$$;

-- The type whose hash function serves that type; NULL when none does.
CREATE FUNCTION citus_internal.hashed_type(type oid) RETURNS oid LANGUAGE sql STABLE AS $$
  WITH given AS (
    SELECT CASE WHEN typtype = 'd' THEN typbasetype ELSE oid END AS oid FROM pg_type
     WHERE oid = $1)
  SELECT opcintype
    FROM pg_opclass
    JOIN pg_am ON pg_am.oid = opcmethod AND amname = 'hash'
    JOIN pg_type ON pg_type.oid = (SELECT oid FROM given)
   WHERE opcdefault
     AND opcintype IN (pg_type.oid, CASE
           WHEN typcategory = 'A' THEN 'anyarray'::regtype
           WHEN typtype = 'e' THEN 'anyenum'::regtype
           WHEN typtype = 'r' THEN 'anyrange'::regtype
           WHEN typtype = 'c' THEN 'record'::regtype
           WHEN pg_type.oid = 'varchar'::regtype THEN 'text'::regtype
         END)
$$;

-- An SQL expression for the hash of another expression of that type.
CREATE FUNCTION citus_internal.hash_of(type oid, expression text) RETURNS text
LANGUAGE sql STABLE AS $$
  SELECT format('%s(%s)', amproc, CASE hashed
           -- Their functions are declared for another type of the same representation.
           WHEN 'date'::regtype THEN format('(%s) - date ''2000-01-01''', $2)
           WHEN 'timestamptz'::regtype THEN format('(%s) AT TIME ZONE ''UTC''', $2)
           ELSE format('(%s)::%s', $2,
                       format_type(CASE WHEN typtype = 'p' THEN $1 ELSE hashed END, -1))
         END)
    FROM citus_internal.hashed_type($1) AS hashed
    JOIN pg_type ON pg_type.oid = hashed
    JOIN pg_opclass ON opcintype = hashed AND opcdefault
    JOIN pg_am ON pg_am.oid = opcmethod AND amname = 'hash'
    JOIN pg_amproc ON amprocfamily = opcfamily AND amproclefttype = hashed AND amprocnum = 1
$$;

CREATE FUNCTION citus_internal.hash_value(type oid, value text) RETURNS int
LANGUAGE plpgsql STABLE AS $$
DECLARE
  hash int;
BEGIN
  EXECUTE 'SELECT ' || citus_internal.hash_of(type, format('%L::%s', value, format_type(type, -1)))
    INTO hash;
  RETURN hash;
END
$$;

-- What a table must be like

CREATE FUNCTION citus_internal.ensure_owner(relation oid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF NOT pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = relation), 'USAGE')
  THEN
    RAISE EXCEPTION 'must be owner of table %', citus_internal.bare_name(relation)
      USING ERRCODE = 'insufficient_privilege';
  END IF;
END
$$;

CREATE FUNCTION citus_internal.ensure_can_be_citus_table(relation oid) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  class pg_class;
BEGIN
  SELECT * INTO class FROM pg_class WHERE oid = relation;
  IF class.relnamespace = 'pg_catalog'::regnamespace THEN
    RAISE EXCEPTION 'cannot create a citus table from a catalog table'
      USING ERRCODE = 'feature_not_supported';
  ELSIF class.relpersistence = 't' THEN
    RAISE EXCEPTION 'cannot distribute a temporary table'
      USING ERRCODE = 'feature_not_supported';
  ELSIF class.relkind NOT IN ('r', 'f', 'p') OR EXISTS (
          SELECT FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
           WHERE (inhrelid = relation OR inhparent = relation) AND NOT child.relispartition) THEN
    RAISE EXCEPTION '% is not a regular, foreign or partitioned table', class.relname
      USING ERRCODE = 'wrong_object_type';
  END IF;
END
$$;

CREATE FUNCTION citus_internal.ensure_no_triggers(relation oid) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  IF NOT citus_internal.setting('enable_unsafe_triggers', 'off')::bool
     AND EXISTS (SELECT FROM pg_trigger WHERE tgrelid = relation AND NOT tgisinternal) THEN
    RAISE EXCEPTION 'cannot distribute relation "%" because it has triggers',
      citus_internal.bare_name(relation)
      USING ERRCODE = 'internal_error', HINT = format(
        'Consider dropping all the triggers on "%s" and retry.',
        citus_internal.bare_name(relation));
  END IF;
END
$$;

CREATE FUNCTION citus_internal.ensure_rewritable(relation oid) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_attribute
              WHERE attrelid = relation AND attidentity <> '' AND NOT attisdropped) THEN
    RAISE EXCEPTION 'cannot complete operation on a table with identity column'
      USING ERRCODE = 'feature_not_supported';
  END IF;
END
$$;

CREATE FUNCTION citus_internal.raise_already_distributed(relation oid) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'table "%" is already distributed', citus_internal.bare_name(relation)
    USING ERRCODE = 'invalid_table_definition';
END
$$;

CREATE FUNCTION citus_internal.ensure_no_partition(relation oid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF (SELECT relispartition FROM pg_class WHERE oid = relation) THEN
    RAISE EXCEPTION 'cannot complete operation because table is a partition'
      USING ERRCODE = 'internal_error', HINT = format('the parent table is "%s"', (
        SELECT citus_internal.bare_name(inhparent) FROM pg_inherits WHERE inhrelid = relation));
  END IF;
END
$$;

-- A column that can distribute the table.
CREATE FUNCTION citus_internal.usable_column(relation oid, column_name text) RETURNS pg_attribute
LANGUAGE plpgsql AS $$
DECLARE
  attribute pg_attribute;
  relname CONSTANT name := citus_internal.bare_name(relation);
BEGIN
  SELECT * INTO attribute FROM pg_attribute
   WHERE attrelid = relation AND attname = column_name AND NOT attisdropped;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'column "%" of relation "%" does not exist', column_name, relname
      USING ERRCODE = 'undefined_column';
  ELSIF attribute.attnum < 0 THEN
    RAISE EXCEPTION 'cannot reference system column "%" in relation "%"', column_name, relname
      USING ERRCODE = 'feature_not_supported';
  ELSIF attribute.attgenerated = 's' THEN
    RAISE EXCEPTION 'cannot distribute relation: %', relname
      USING ERRCODE = 'feature_not_supported',
      DETAIL = 'Distribution column must not use GENERATED ALWAYS AS (...) STORED.';
  ELSIF citus_internal.hashed_type(attribute.atttypid) IS NULL THEN
    RAISE EXCEPTION 'data type % has no default operator class for specified partition method',
      attribute.atttypid::regtype
      USING ERRCODE = 'undefined_object',
      DETAIL = 'Partition column types must have a default operator class defined.';
  END IF;
  RETURN attribute;
END
$$;

-- Whether an index keeps rows apart that different shards may hold.
CREATE FUNCTION citus_internal.spans_shards(index pg_index, column_number int) RETURNS bool
LANGUAGE sql STABLE AS $$
  SELECT (index.indisunique OR index.indisexclusion) AND index.indisvalid
     AND NOT EXISTS (
       SELECT FROM unnest(index.indkey::int[]) WITH ORDINALITY AS key (attnum, position)
         LEFT JOIN pg_constraint c ON c.conindid = index.indexrelid AND c.contype = 'x'
         LEFT JOIN pg_operator o ON o.oid = c.conexclop[position]
        WHERE key.attnum = column_number AND (c.oid IS NULL OR o.oprname = '='))
$$;

CREATE FUNCTION citus_internal.ensure_keys_hold_column(relation oid) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  attribute CONSTANT pg_attribute := citus_internal.distribution_column(relation);
BEGIN
  IF attribute.attnum IS NOT NULL AND EXISTS (
       SELECT FROM pg_index i
        WHERE indrelid = relation AND citus_internal.spans_shards(i, attribute.attnum)) THEN
    RAISE EXCEPTION 'cannot create constraint on "%"', citus_internal.bare_name(relation)
      USING ERRCODE = 'feature_not_supported',
      DETAIL = 'Distributed relations cannot have UNIQUE, EXCLUDE, or PRIMARY KEY constraints '
               'that do not include the partition column (with an equality operator if EXCLUDE).';
  END IF;
END
$$;

CREATE FUNCTION citus_internal.ensure_foreign_key(constraint_ pg_constraint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  source CONSTANT text := citus_internal.kind(constraint_.conrelid);
  target CONSTANT text := citus_internal.kind(constraint_.confrelid);
  target_name CONSTANT name := citus_internal.bare_name(constraint_.confrelid);
  source_column CONSTANT int := (citus_internal.distribution_column(constraint_.conrelid)).attnum;
  target_column CONSTANT int := (citus_internal.distribution_column(constraint_.confrelid)).attnum;
BEGIN
  IF source IN ('reference', 'local') THEN
    IF target IN ('hash', 'single') THEN
      RAISE EXCEPTION 'cannot create foreign key constraint since foreign keys from reference '
          'tables and local tables to distributed tables are not supported'
        USING ERRCODE = 'feature_not_supported',
        DETAIL = 'Reference tables and local tables can only have foreign keys to reference '
                 'tables and local tables';
    END IF;
    RETURN;
  ELSIF source IS NULL THEN
    RETURN;
  END IF;
  IF target IS NULL THEN
    RAISE EXCEPTION 'referenced table "%" must be a distributed table or a reference table',
      target_name
      USING ERRCODE = 'invalid_table_definition',
      DETAIL = 'To enforce foreign keys, the referencing and referenced rows need to be stored '
               'on the same node.',
      HINT = format('You could use SELECT create_reference_table(''%s'') to replicate the '
                    'referenced table to all nodes or consider dropping the foreign key',
                    target_name);
  ELSIF target <> 'reference' AND (target = 'local' OR
        (SELECT count(DISTINCT colocationid) > 1 FROM pg_dist_partition
          WHERE logicalrelid IN (constraint_.conrelid, constraint_.confrelid))) THEN
    RAISE EXCEPTION 'cannot create foreign key constraint since relations are not colocated or '
        'not referencing a reference table'
      USING ERRCODE = 'feature_not_supported',
      DETAIL = 'A distributed table can only have foreign keys if it is referencing another '
               'colocated hash distributed table or a reference table';
  ELSIF target = 'hash' AND NOT EXISTS (
          SELECT FROM unnest(constraint_.conkey, constraint_.confkey) AS pair (here, there)
           WHERE here = source_column AND there = target_column) THEN
    RAISE EXCEPTION 'cannot create foreign key constraint'
      USING ERRCODE = 'feature_not_supported',
      DETAIL = 'Foreign keys are supported in two cases, either in between two colocated tables '
               'including partition column in the same ordinal in the both tables or from '
               'distributed to reference tables';
  ELSIF source_column = ANY (constraint_.conkey)
        AND (constraint_.confdeltype IN ('n', 'd') OR constraint_.confupdtype IN ('n', 'd')) THEN
    RAISE EXCEPTION 'cannot create foreign key constraint'
      USING ERRCODE = 'feature_not_supported',
      DETAIL = format('SET NULL or SET DEFAULT is not supported in ON %s operation when '
                      'distribution key is included in the foreign key constraint',
                      CASE WHEN constraint_.confdeltype IN ('n', 'd') THEN 'DELETE'
                           ELSE 'UPDATE' END);
  END IF;
END
$$;

CREATE FUNCTION citus_internal.ensure_constraints(relation oid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM citus_internal.ensure_keys_hold_column(relation);
  PERFORM citus_internal.ensure_foreign_key(c) FROM pg_constraint c
    WHERE contype = 'f' AND conparentid = 0 AND relation IN (conrelid, confrelid);
END
$$;
