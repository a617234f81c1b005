-- Copyright: the bss.platform contributors
-- Apache License 2.0 (see LICENSE)
--
-- Stand-in for Citus, part 1 of 9: types and catalogs, as Citus 13.2 has them.
-- A relation cannot be created in pg_catalog, but it can be moved there.

CREATE SCHEMA citus;
GRANT USAGE ON SCHEMA citus TO public;
-- What only the stand-in itself calls.
CREATE SCHEMA citus_internal;
GRANT USAGE ON SCHEMA citus_internal TO public;

CREATE TYPE pg_catalog.noderole AS ENUM ('primary', 'secondary', 'unavailable');
CREATE TYPE pg_catalog.citus_job_status AS ENUM
  ('scheduled', 'running', 'finished', 'cancelling', 'cancelled', 'failing', 'failed');
CREATE TYPE pg_catalog.citus_task_status AS ENUM
  ('blocked', 'runnable', 'running', 'done', 'cancelling', 'error', 'unscheduled', 'cancelled');
CREATE TYPE citus.distribution_type AS ENUM ('hash', 'range', 'append');
CREATE TYPE citus.shard_transfer_mode AS ENUM ('auto', 'force_logical', 'block_writes');

CREATE FUNCTION citus_internal.to_catalog(variadic names text[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY names LOOP
    EXECUTE format('ALTER TABLE citus.%I SET SCHEMA pg_catalog', name);
    EXECUTE format('GRANT SELECT ON pg_catalog.%I TO public', name);
  END LOOP;
END
$$;

-- Nodes

CREATE SEQUENCE citus.pg_dist_groupid_seq MINVALUE 1 MAXVALUE 4294967296;
CREATE SEQUENCE citus.pg_dist_node_nodeid_seq MINVALUE 1 MAXVALUE 4294967296;
CREATE TABLE citus.pg_dist_node (
  nodeid int NOT NULL DEFAULT nextval('citus.pg_dist_node_nodeid_seq') PRIMARY KEY,
  groupid int NOT NULL DEFAULT nextval('citus.pg_dist_groupid_seq'),
  nodename text NOT NULL,
  nodeport int NOT NULL DEFAULT 5432,
  noderack text NOT NULL DEFAULT 'default',
  hasmetadata bool NOT NULL DEFAULT false,
  isactive bool NOT NULL DEFAULT true,
  noderole noderole NOT NULL DEFAULT 'primary',
  nodecluster name NOT NULL DEFAULT 'default',
  metadatasynced bool DEFAULT false,
  shouldhaveshards bool NOT NULL DEFAULT true,
  nodeisclone bool NOT NULL DEFAULT false,
  nodeprimarynodeid int NOT NULL DEFAULT 0,
  CONSTRAINT pg_dist_node_nodename_nodeport_key UNIQUE (nodename, nodeport),
  CONSTRAINT primaries_are_only_allowed_in_the_default_cluster
    CHECK (NOT (nodecluster <> 'default' AND noderole = 'primary'))
);
-- The group that this very server belongs to: 0 until a coordinator has made it a worker.
CREATE TABLE citus.pg_dist_local_group (groupid int NOT NULL PRIMARY KEY);
CREATE TABLE citus.pg_dist_node_metadata (metadata jsonb NOT NULL);

CREATE FUNCTION pg_catalog.authinfo_valid(text) RETURNS bool LANGUAGE sql STRICT
AS $$SELECT $1 ~ '^\s*((password|sslcert|sslkey)\s*=\s*(''([^''\\]|\\.)*''|[^''\s]+)\s*)+$'$$;
CREATE FUNCTION pg_catalog.role_exists(name) RETURNS bool LANGUAGE sql STRICT
AS $$SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)$$;
CREATE TABLE citus.pg_dist_authinfo (
  nodeid int NOT NULL,
  rolename name NOT NULL CONSTRAINT role_exists CHECK (role_exists(rolename)),
  authinfo text NOT NULL CONSTRAINT authinfo_valid CHECK (authinfo_valid(authinfo))
);
CREATE UNIQUE INDEX pg_dist_authinfo_identification_index
  ON citus.pg_dist_authinfo (rolename, nodeid DESC);
CREATE TABLE citus.pg_dist_poolinfo (nodeid int PRIMARY KEY, poolinfo text NOT NULL);

CREATE TABLE citus.pg_dist_transaction (
  groupid int NOT NULL,
  gid text NOT NULL,
  outer_xid xid8,
  CONSTRAINT pg_dist_transaction_unique_constraint UNIQUE (groupid, gid)
);

-- Tables, their shards, and where the shards are

CREATE SEQUENCE citus.pg_dist_colocationid_seq MAXVALUE 4294967296;
CREATE TABLE citus.pg_dist_colocation (
  colocationid int NOT NULL PRIMARY KEY,
  shardcount int NOT NULL,
  replicationfactor int NOT NULL,
  distributioncolumntype oid NOT NULL,
  distributioncolumncollation oid NOT NULL
);
CREATE TABLE citus.pg_dist_partition (
  logicalrelid regclass NOT NULL,
  partmethod "char" NOT NULL,
  partkey text,
  colocationid int NOT NULL DEFAULT 0,
  repmodel "char" NOT NULL DEFAULT 'c',
  autoconverted bool DEFAULT false
);
CREATE UNIQUE INDEX pg_dist_partition_logical_relid_index
  ON citus.pg_dist_partition (logicalrelid);
CREATE INDEX pg_dist_partition_colocationid_index ON citus.pg_dist_partition (colocationid);
CREATE SEQUENCE citus.pg_dist_shardid_seq MINVALUE 102008;
CREATE TABLE citus.pg_dist_shard (
  logicalrelid regclass NOT NULL,
  shardid bigint NOT NULL,
  shardstorage "char" NOT NULL,
  shardminvalue text,
  shardmaxvalue text
);
CREATE UNIQUE INDEX pg_dist_shard_shardid_index ON citus.pg_dist_shard (shardid);
CREATE INDEX pg_dist_shard_logical_relid_index ON citus.pg_dist_shard (logicalrelid);
CREATE SEQUENCE citus.pg_dist_placement_placementid_seq;
CREATE TABLE citus.pg_dist_placement (
  placementid bigint NOT NULL DEFAULT nextval('citus.pg_dist_placement_placementid_seq'),
  shardid bigint NOT NULL,
  shardstate int NOT NULL,
  shardlength bigint NOT NULL,
  groupid int NOT NULL,
  CONSTRAINT placement_shardid_groupid_unique_index UNIQUE (shardid, groupid)
);
CREATE UNIQUE INDEX pg_dist_placement_placementid_index
  ON citus.pg_dist_placement (placementid);
CREATE INDEX pg_dist_placement_shardid_index ON citus.pg_dist_placement (shardid);
CREATE INDEX pg_dist_placement_groupid_index ON citus.pg_dist_placement (groupid);
CREATE TABLE citus.pg_dist_object (
  classid oid NOT NULL,
  objid oid NOT NULL,
  objsubid int NOT NULL,
  type text,
  object_names text[],
  object_args text[],
  distribution_argument_index int,
  colocationid int,
  force_delegation bool,
  CONSTRAINT pg_dist_object_pkey PRIMARY KEY (classid, objid, objsubid)
);
CREATE TABLE citus.pg_dist_schema (
  schemaid oid NOT NULL PRIMARY KEY,
  colocationid int NOT NULL CONSTRAINT pg_dist_schema_unique_colocationid_index UNIQUE
);

-- Rebalancing

CREATE TABLE citus.pg_dist_rebalance_strategy (
  name name NOT NULL UNIQUE,
  default_strategy bool NOT NULL DEFAULT false,
  shard_cost_function regproc NOT NULL,
  node_capacity_function regproc NOT NULL,
  shard_allowed_on_node_function regproc NOT NULL,
  default_threshold real NOT NULL,
  minimum_threshold real NOT NULL DEFAULT 0,
  improvement_threshold real NOT NULL DEFAULT 0
);
CREATE SEQUENCE citus.pg_dist_background_job_job_id_seq;
CREATE TABLE citus.pg_dist_background_job (
  job_id bigint NOT NULL DEFAULT nextval('citus.pg_dist_background_job_job_id_seq') PRIMARY KEY,
  state citus_job_status NOT NULL DEFAULT 'scheduled',
  job_type name NOT NULL,
  description text NOT NULL,
  started_at timestamptz,
  finished_at timestamptz
);
CREATE SEQUENCE citus.pg_dist_background_task_task_id_seq;
CREATE TABLE citus.pg_dist_background_task (
  job_id bigint NOT NULL REFERENCES citus.pg_dist_background_job (job_id),
  task_id bigint NOT NULL DEFAULT nextval('citus.pg_dist_background_task_task_id_seq')
    PRIMARY KEY,
  owner regrole NOT NULL DEFAULT current_user::regrole,
  pid int,
  status citus_task_status NOT NULL DEFAULT 'runnable',
  command text NOT NULL,
  retry_count int,
  not_before timestamptz,
  message text NOT NULL DEFAULT '',
  nodes_involved int[],
  CONSTRAINT pg_dist_background_task_job_id_task_id UNIQUE (job_id, task_id)
);
CREATE TABLE citus.pg_dist_background_task_depend (
  job_id bigint NOT NULL REFERENCES citus.pg_dist_background_job (job_id) ON DELETE CASCADE,
  task_id bigint NOT NULL,
  depends_on bigint NOT NULL,
  PRIMARY KEY (job_id, task_id, depends_on)
);

SELECT citus_internal.to_catalog(
  'pg_dist_groupid_seq', 'pg_dist_node_nodeid_seq', 'pg_dist_node', 'pg_dist_local_group',
  'pg_dist_node_metadata', 'pg_dist_authinfo', 'pg_dist_poolinfo', 'pg_dist_transaction',
  'pg_dist_colocationid_seq', 'pg_dist_colocation', 'pg_dist_partition', 'pg_dist_shardid_seq',
  'pg_dist_shard', 'pg_dist_placement_placementid_seq', 'pg_dist_placement', 'pg_dist_object',
  'pg_dist_schema', 'pg_dist_rebalance_strategy', 'pg_dist_background_job_job_id_seq',
  'pg_dist_background_job', 'pg_dist_background_task_task_id_seq', 'pg_dist_background_task',
  'pg_dist_background_task_depend');
REVOKE SELECT ON pg_dist_authinfo FROM public;  -- holds passwords
DROP FUNCTION citus_internal.to_catalog;

INSERT INTO pg_dist_local_group VALUES (0);
INSERT INTO pg_dist_node_metadata VALUES (jsonb_build_object(
  'server_id', gen_random_uuid(),
  'last_upgrade_version', '13.2-1',
  'partitioned_citus_table_exists_pre_11', false));
