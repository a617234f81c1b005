-- Copyright: the bss.platform contributors
-- Apache License 2.0 (see LICENSE)
--
-- Stand-in for Citus, part 8 of 9: rebalancing, in the foreground and as a background job.

-- Strategies

CREATE FUNCTION pg_catalog.citus_shard_cost_1(bigint) RETURNS real LANGUAGE sql
AS $$SELECT 1::real$$;
-- With Citus' base cost of 100 MB for each group of shards. Citus asks the shard's node.
CREATE FUNCTION pg_catalog.citus_shard_cost_by_disk_size(bigint) RETURNS real
LANGUAGE plpgsql STRICT AS $$
BEGIN
  PERFORM citus_internal.open_connection(nodename, nodeport)
    FROM pg_dist_placement JOIN citus_internal.active_primaries USING (groupid)
   WHERE shardid = $1 AND groupid <> citus_internal.local_group();
  RETURN (SELECT 104857600 + sum(citus_internal.shard_size(member))
            FROM citus_internal.shard_groups, unnest(shardids) AS member
           WHERE $1 = ANY (shardids));
EXCEPTION WHEN connection_failure THEN
  RAISE WARNING '%', SQLERRM;
  RAISE EXCEPTION 'cannot get the size because of a connection error'
    USING ERRCODE = 'connection_failure';
END
$$;
CREATE FUNCTION pg_catalog.citus_node_capacity_1(int) RETURNS real LANGUAGE sql
AS $$SELECT 1::real$$;
CREATE FUNCTION pg_catalog.citus_shard_allowed_on_node_true(bigint, int) RETURNS bool LANGUAGE sql
AS $$SELECT true$$;

INSERT INTO pg_dist_rebalance_strategy VALUES
  ('by_shard_count', false, 'citus_shard_cost_1', 'citus_node_capacity_1',
   'citus_shard_allowed_on_node_true', 0, 0, 0),
  ('by_disk_size', true, 'citus_shard_cost_by_disk_size', 'citus_node_capacity_1',
   'citus_shard_allowed_on_node_true', 0.1, 0.01, 0.5);

CREATE FUNCTION pg_catalog.citus_set_default_rebalance_strategy(name text) RETURNS void
LANGUAGE plpgsql STRICT AS $$
BEGIN
  PERFORM FROM pg_dist_rebalance_strategy s WHERE s.name = $1;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'strategy with specified name does not exist';
  END IF;
  UPDATE pg_dist_rebalance_strategy s SET default_strategy = s.name = $1;
END
$$;

CREATE FUNCTION citus_internal.rebalance_strategy(wanted name) RETURNS pg_dist_rebalance_strategy
LANGUAGE plpgsql STABLE AS $$
DECLARE
  strategy pg_dist_rebalance_strategy;
BEGIN
  SELECT * INTO strategy FROM pg_dist_rebalance_strategy
   WHERE CASE WHEN wanted IS NULL THEN default_strategy ELSE name = wanted END;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'could not find rebalance strategy with name %', wanted
      USING ERRCODE = 'internal_error';
  END IF;
  RETURN strategy;
END
$$;

-- Planning

-- The moves that bring one colocation group into balance: first everything off the nodes that
-- should have no shards, then from the fullest node to the emptiest while that evens them out.
-- only_group: empty that group's node and no other.
CREATE FUNCTION citus_internal.plan_moves(
  colocation int, strategy pg_dist_rebalance_strategy, threshold real, excluded bigint[],
  drain_only bool, only_group int DEFAULT NULL)
RETURNS TABLE (shardid bigint, source_group int, target_group int) LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
  groups int[] := ARRAY(SELECT groupid FROM citus_internal.active_primaries);
  may_hold bool[] := ARRAY(SELECT shouldhaveshards FROM citus_internal.active_primaries);
  capacity real[] := '{}';
  loads float8[] := array_fill(0::float8, ARRAY[cardinality(groups)]);
  shards bigint[];
  places int[];
  costs float8[] := '{}';
  total float8;
  mean float8;
  cost real;
  node int;
  source int;
  target int;
  candidate int;
BEGIN
  SELECT array_agg(g.shardid ORDER BY g.shardid, g.groupid),
         array_agg(array_position(groups, g.groupid) ORDER BY g.shardid, g.groupid)
    INTO shards, places
    FROM citus_internal.shard_groups g WHERE g.colocationid = colocation
     AND g.groupid = ANY (groups);
  IF shards IS NULL THEN
    RETURN;
  ELSIF true <> ALL (may_hold) THEN
    RAISE EXCEPTION 'Shard replication factor (%) cannot be greater than number of nodes with '
      'should_have_shards=true (0).',
      (SELECT replicationfactor FROM pg_dist_colocation WHERE colocationid = colocation)
      USING ERRCODE = 'internal_error';
  END IF;
  FOREACH node IN ARRAY groups LOOP
    EXECUTE format('SELECT %s($1)', strategy.node_capacity_function)
      INTO cost USING (SELECT nodeid FROM citus_internal.active_primaries WHERE groupid = node);
    capacity := capacity || cost;
  END LOOP;
  FOR i IN 1 .. cardinality(shards) LOOP
    EXECUTE format('SELECT %s($1)', strategy.shard_cost_function) INTO cost USING shards[i];
    costs := costs || cost::float8;
    loads[places[i]] := loads[places[i]] + cost / capacity[places[i]];
  END LOOP;

  FOR i IN 1 .. cardinality(shards) LOOP
    CONTINUE WHEN may_hold[places[i]] OR shards[i] = ANY (excluded)
      OR groups[places[i]] <> only_group;
    SELECT n INTO target FROM generate_subscripts(groups, 1) AS n
     WHERE may_hold[n]
       AND NOT EXISTS (SELECT FROM unnest(shards, places) AS held (shard, place)
                        WHERE held.shard = shards[i] AND held.place = n)
     ORDER BY loads[n], n LIMIT 1;
    CONTINUE WHEN NOT FOUND;
    shardid := shards[i];
    source_group := groups[places[i]];
    target_group := groups[target];
    RETURN NEXT;
    loads[places[i]] := loads[places[i]] - costs[i] / capacity[places[i]];
    loads[target] := loads[target] + costs[i] / capacity[target];
    places[i] := target;
  END LOOP;

  total := (SELECT sum(one) FROM unnest(costs) AS one);
  mean := total / (SELECT sum(capacity[n]) FROM generate_subscripts(groups, 1) AS n
                    WHERE may_hold[n]);
  WHILE NOT drain_only LOOP
    SELECT n INTO source FROM generate_subscripts(groups, 1) AS n WHERE may_hold[n]
     ORDER BY loads[n] DESC, n DESC LIMIT 1;
    SELECT n INTO target FROM generate_subscripts(groups, 1) AS n WHERE may_hold[n]
     ORDER BY loads[n], n LIMIT 1;
    EXIT WHEN loads[source] <= mean * (1 + threshold) AND loads[target] >= mean * (1 - threshold);
    SELECT i INTO candidate FROM generate_subscripts(shards, 1) AS i
     WHERE places[i] = source AND shards[i] <> ALL (excluded)
       AND loads[target] + costs[i] / capacity[target] < loads[source]
       AND NOT EXISTS (SELECT FROM unnest(shards, places) AS held (shard, place)
                        WHERE held.shard = shards[i] AND held.place = target)
     ORDER BY costs[i] DESC, shards[i] LIMIT 1;
    EXIT WHEN NOT FOUND;
    shardid := shards[candidate];
    source_group := groups[source];
    target_group := groups[target];
    RETURN NEXT;
    loads[source] := loads[source] - costs[candidate] / capacity[source];
    loads[target] := loads[target] + costs[candidate] / capacity[target];
    places[candidate] := target;
  END LOOP;
END
$$;

-- The moves of one table's colocation group, or of all, each with the addresses.
CREATE FUNCTION citus_internal.plan_all_moves(
  relation regclass, threshold real, max_shard_moves int, excluded_shard_list bigint[],
  drain_only bool, wanted_strategy name, only_group int DEFAULT NULL)
RETURNS TABLE (colocationid int, shardid bigint, source pg_dist_node, target pg_dist_node)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  strategy CONSTANT pg_dist_rebalance_strategy :=
    citus_internal.rebalance_strategy(wanted_strategy);
  used_threshold real := coalesce(threshold, strategy.default_threshold);
  found_moves int := 0;
  move record;
BEGIN
  IF coalesce(citus_internal.kind(relation), 'none') NOT IN ('hash', 'single')
     AND relation IS NOT NULL THEN
    RAISE EXCEPTION 'table % is a % table, %', citus_internal.full_name(relation),
      coalesce(citus_internal.kind(relation), 'regular postgres'),
      CASE citus_internal.kind(relation)
        WHEN 'reference' THEN 'moving shard of a reference table is not supported'
        WHEN 'local' THEN
          'moving shard of a local table added to metadata is currently not supported'
        ELSE 'you can only move shards of a citus table' END
      USING ERRCODE = 'feature_not_supported';
  END IF;
  IF used_threshold < strategy.minimum_threshold THEN
    RAISE WARNING 'the given threshold is lower than the minimum threshold allowed by the '
      'rebalance strategy, using the minimum allowed threshold instead'
      USING DETAIL = format('Using threshold of %s', strategy.minimum_threshold);
    used_threshold := strategy.minimum_threshold;
  END IF;
  FOR move IN
    SELECT c.colocationid, m.shardid, s AS source, t AS target
      FROM (SELECT DISTINCT p.colocationid FROM pg_dist_partition p
             WHERE p.colocationid <> 0 AND p.repmodel <> 't'
               AND (relation IS NULL OR p.colocationid = (
                     SELECT colocationid FROM pg_dist_partition WHERE logicalrelid = relation))
             ORDER BY 1) AS c
     CROSS JOIN LATERAL citus_internal.plan_moves(
             c.colocationid, strategy, used_threshold, excluded_shard_list, drain_only,
             only_group) WITH ORDINALITY AS m (shardid, source_group, target_group, step)
      JOIN pg_dist_node s ON s.groupid = m.source_group AND s.noderole = 'primary'
      JOIN pg_dist_node t ON t.groupid = m.target_group AND t.noderole = 'primary'
     ORDER BY c.colocationid, m.step
  LOOP
    IF found_moves = max_shard_moves THEN
      RAISE NOTICE 'Stopped searching before we were out of moves. Please rerun the rebalancer '
        'after it''s finished for a more optimal placement.';
      EXIT;
    END IF;
    found_moves := found_moves + 1;
    colocationid := move.colocationid;
    shardid := move.shardid;
    source := move.source;
    target := move.target;
    RETURN NEXT;
  END LOOP;
END
$$;

CREATE FUNCTION pg_catalog.get_rebalance_table_shards_plan(
  relation regclass DEFAULT NULL, threshold real DEFAULT NULL,
  max_shard_moves int DEFAULT 1000000, excluded_shard_list bigint[] DEFAULT '{}',
  drain_only bool DEFAULT false, rebalance_strategy name DEFAULT NULL,
  improvement_threshold real DEFAULT NULL)
RETURNS TABLE (table_name regclass, shardid bigint, shard_size bigint,
               sourcename text, sourceport int, targetname text, targetport int)
LANGUAGE sql AS $$
  SELECT s.logicalrelid, s.shardid, 0::bigint,  -- the catalogs' size, which nothing keeps up
         (m.source).nodename, (m.source).nodeport, (m.target).nodename, (m.target).nodeport
    FROM citus_internal.plan_all_moves($1, $2, $3, $4, $5, $6)
           WITH ORDINALITY AS m (colocationid, shardid, source, target, step)
    JOIN citus_internal.shard_groups g
      ON m.shardid = ANY (g.shardids) AND g.groupid = (m.source).groupid
    JOIN pg_dist_shard s ON s.shardid = ANY (g.shardids)
   ORDER BY m.step, s.shardid
$$;

CREATE FUNCTION pg_catalog.get_rebalance_progress()
RETURNS TABLE (sessionid int, table_name regclass, shardid bigint, shard_size bigint,
               sourcename text, sourceport int, targetname text, targetport int, progress bigint,
               source_shard_size bigint, target_shard_size bigint, operation_type text,
               source_lsn pg_lsn, target_lsn pg_lsn, status text)
-- A move takes no time here, so none is ever seen on its way.
LANGUAGE plpgsql STRICT AS $$BEGIN RETURN; END$$;

-- Rebalancing in the foreground

-- This server, as its own client.
CREATE FUNCTION citus_internal.here(OUT nodename text, OUT nodeport int) LANGUAGE sql AS $$
  SELECT coalesce(max(n.nodename), 'localhost'),
         coalesce(max(n.nodeport), current_setting('port')::int)
    FROM citus_internal.active_primaries n WHERE n.groupid = citus_internal.local_group()
$$;

-- As Citus does, run a step of something long on a connection of its own to this very server:
-- it is committed alone, and stays when what follows fails.
-- Who waits for an answer by dblink cannot be cancelled, so locks are waited for here.
CREATE FUNCTION citus_internal.run_apart(query text) RETURNS text LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  here record;
BEGIN
  SELECT * INTO here FROM citus_internal.here();
  LOOP
    BEGIN
      RETURN citus_internal.remote_value(
        here.nodename, here.nodeport,
        format('SELECT citus_internal.run_without_waiting(%L)', query));
    EXCEPTION WHEN lock_not_available THEN
      PERFORM pg_sleep(0.1);
    END;
  END LOOP;
END
$$;

CREATE FUNCTION citus_internal.run_without_waiting(query text) RETURNS text LANGUAGE plpgsql
SET lock_timeout = '200ms' AS $$
DECLARE
  answer text;
BEGIN
  EXECUTE query INTO answer;
  RETURN answer;
END
$$;

CREATE FUNCTION citus_internal.move_all(
  relation regclass, threshold real, max_shard_moves int, excluded_shard_list bigint[],
  shard_transfer_mode citus.shard_transfer_mode, drain_only bool, strategy name,
  only_group int DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  move record;
BEGIN
  PERFORM citus_internal.complete_reference_tables();
  FOR move IN
    SELECT * FROM citus_internal.plan_all_moves(
      relation, threshold, max_shard_moves, excluded_shard_list, drain_only, strategy, only_group)
  LOOP
    RAISE NOTICE 'Moving shard % from %:% to %:% ...', move.shardid,
      (move.source).nodename, (move.source).nodeport,
      (move.target).nodename, (move.target).nodeport;
    PERFORM citus_internal.run_apart(format(
      'SELECT citus_move_shard_placement(%s, %s, %s, %L)',
      move.shardid, (move.source).nodeid, (move.target).nodeid, shard_transfer_mode));
  END LOOP;
END
$$;

CREATE FUNCTION pg_catalog.rebalance_table_shards(
  relation regclass DEFAULT NULL, threshold real DEFAULT NULL,
  max_shard_moves int DEFAULT 1000000, excluded_shard_list bigint[] DEFAULT '{}',
  shard_transfer_mode citus.shard_transfer_mode DEFAULT 'auto',
  drain_only bool DEFAULT false, rebalance_strategy name DEFAULT NULL)
RETURNS void LANGUAGE sql
AS $$SELECT citus_internal.move_all($1, $2, $3, $4, $5, $6, $7)$$;

CREATE FUNCTION pg_catalog.citus_drain_node(
  nodename text, nodeport int, shard_transfer_mode citus.shard_transfer_mode DEFAULT 'auto',
  rebalance_strategy name DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  node pg_dist_node;
BEGIN
  PERFORM citus_internal.ensure_coordinator();
  SELECT * INTO node FROM pg_dist_node n WHERE n.nodename = $1 AND n.nodeport = $2;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'node %:% not found', nodename, nodeport USING ERRCODE = 'no_data_found';
  END IF;
  PERFORM citus_internal.run_apart(format(
    'SELECT citus_set_node_property(%L, %s, ''shouldhaveshards'', false)', nodename, nodeport));
  PERFORM citus_internal.move_all(
    NULL, NULL, 1000000, '{}', shard_transfer_mode, true, rebalance_strategy, node.groupid);
END
$$;
REVOKE ALL ON FUNCTION pg_catalog.citus_drain_node FROM public;

-- Rebalancing in the background
-- The session that starts a job leaves another behind, which makes a step a second. Whoever waits
-- for the job or looks at its status drives it too. Each step is made by a connection of its own,
-- so that it is committed alone and stays when the waiting ends.

CREATE FUNCTION pg_catalog.citus_rebalance_start(
  rebalance_strategy name DEFAULT NULL, drain_only bool DEFAULT false,
  shard_transfer_mode citus.shard_transfer_mode DEFAULT 'auto',
  parallel_transfer_reference_tables bool DEFAULT false,
  parallel_transfer_colocated_shards bool DEFAULT false)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  running CONSTANT bigint := citus_internal.running_rebalance();
  moves int := 0;
  job bigint;
  step record;
  task bigint;
  last_of_colocation jsonb := '{}';
BEGIN
  IF NOT EXISTS (SELECT FROM citus_internal.shard_groups) THEN
    RAISE NOTICE 'No tables to rebalance';
    RETURN NULL;
  END IF;
  PERFORM citus_internal.ensure_coordinator();
  IF running IS NOT NULL THEN
    RAISE EXCEPTION 'A rebalance is already running as job %', running
      USING ERRCODE = 'internal_error',
      DETAIL = 'A rebalance was already scheduled as background job',
      HINT = 'To monitor progress, run: SELECT * FROM citus_rebalance_status();';
  END IF;
  FOR step IN
    SELECT * FROM citus_internal.plan_all_moves(
      NULL, NULL, 1000000, '{}', drain_only, rebalance_strategy)
  LOOP
    PERFORM citus_internal.ensure_transferable(step.colocationid, shard_transfer_mode);
    IF job IS NULL THEN
      INSERT INTO pg_dist_background_job (job_type, description)
      VALUES ('rebalance', 'Rebalance all colocation groups') RETURNING job_id INTO job;
    END IF;
    INSERT INTO pg_dist_background_task (job_id, owner, status, command, nodes_involved)
    VALUES (
      job, session_user::regrole,
      CASE WHEN last_of_colocation ? step.colocationid::text THEN 'blocked'
           ELSE 'runnable' END::citus_task_status,
      format('SELECT pg_catalog.citus_move_shard_placement(%s,%s,%s,%L)', step.shardid,
             (step.source).nodeid, (step.target).nodeid, shard_transfer_mode),
      ARRAY[(step.source).nodeid, (step.target).nodeid])
    RETURNING task_id INTO task;
    INSERT INTO pg_dist_background_task_depend
    SELECT job, task, (last_of_colocation->>step.colocationid::text)::bigint
     WHERE last_of_colocation ? step.colocationid::text;
    last_of_colocation := last_of_colocation || jsonb_build_object(step.colocationid, task);
    moves := moves + 1;
  END LOOP;
  IF job IS NULL THEN
    RAISE NOTICE 'No moves available for rebalancing';
    RETURN NULL;
  END IF;
  PERFORM citus_internal.leave_behind(
    job, format('CALL citus_internal.run_job(%s, %L)', job, pg_current_xact_id()));
  RAISE NOTICE 'Scheduled % moves as job %', moves, job
    USING DETAIL = 'Rebalance scheduled as background job',
    HINT = 'To monitor progress, run: SELECT * FROM citus_rebalance_status();';
  RETURN job;
END
$$;

CREATE FUNCTION citus_internal.running_rebalance() RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT max(job_id) FROM pg_dist_background_job
   WHERE job_type = 'rebalance' AND state NOT IN ('finished', 'cancelled', 'failed')
$$;

-- Try the next task of a job; whether there was one to try. A task that fails is tried again a
-- second later, for ever.
CREATE FUNCTION citus_internal.run_next_task(job bigint) RETURNS bool LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  task pg_dist_background_task;
BEGIN
  SELECT * INTO task FROM pg_dist_background_task
   WHERE job_id = job AND status IN ('running', 'runnable')
     AND coalesce(not_before <= now(), true)
   ORDER BY status DESC, task_id LIMIT 1 FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE pg_dist_background_job
     SET state = 'running', started_at = coalesce(started_at, now())
   WHERE job_id = job;
  BEGIN
    EXECUTE task.command;
    UPDATE pg_dist_background_task
       SET status = 'done', pid = NULL, message = E'SELECT 1\n',
           retry_count = coalesce(retry_count, 0)
     WHERE task_id = task.task_id;
    UPDATE pg_dist_background_task SET status = 'runnable'
     WHERE status = 'blocked' AND task_id IN (
       SELECT task_id FROM pg_dist_background_task_depend WHERE depends_on = task.task_id);
  EXCEPTION
    WHEN lock_not_available THEN  -- under way: it waits for a writer
      UPDATE pg_dist_background_task SET status = 'running', pid = pg_backend_pid()
       WHERE task_id = task.task_id;
      RETURN false;
    WHEN OTHERS THEN
      UPDATE pg_dist_background_task
         SET status = 'runnable', pid = NULL,
             message = 'ERROR: ' || SQLERRM, retry_count = coalesce(retry_count, 0) + 1,
             not_before = clock_timestamp() + interval '1 s'
       WHERE task_id = task.task_id;
  END;
  UPDATE pg_dist_background_job SET state = 'finished', finished_at = clock_timestamp()
   WHERE job_id = job AND NOT EXISTS (
     SELECT FROM pg_dist_background_task WHERE job_id = job AND status <> 'done');
  RETURN true;
END
$$;

CREATE FUNCTION citus_internal.drive_job(job bigint) RETURNS bool LANGUAGE sql
AS $$SELECT citus_internal.run_apart(format('SELECT citus_internal.run_next_task(%s)', $1))::bool$$;

-- Start a command in a session of this server's that outlives this one: a server that runs a
-- command notices only at its end that nobody waits for the answer.
CREATE FUNCTION citus_internal.leave_behind(job bigint, command text)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT citus_internal.dblink_send_query(
           citus_internal.open_connection(nodename, nodeport, 'job ' || $1), $2)
    FROM citus_internal.here()
$$;
REVOKE ALL ON FUNCTION citus_internal.leave_behind FROM public;

CREATE PROCEDURE citus_internal.run_job(job bigint, starter xid8) LANGUAGE plpgsql AS $$
BEGIN
  WHILE pg_xact_status(starter) = 'in progress' LOOP
    PERFORM pg_sleep(0.1);
  END LOOP;
  WHILE EXISTS (SELECT FROM pg_dist_background_job
                 WHERE job_id = job AND state IN ('scheduled', 'running')) LOOP
    COMMIT;
    PERFORM pg_sleep(1);
    PERFORM citus_internal.drive_job(job);
  END LOOP;
END
$$;

CREATE FUNCTION pg_catalog.citus_job_wait(
  jobid bigint, desired_status citus_job_status DEFAULT NULL)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  reached citus_job_status;
BEGIN
  LOOP
    SELECT state INTO reached FROM pg_dist_background_job WHERE job_id = jobid;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'no job found for job with jobid: %', jobid USING ERRCODE = 'internal_error';
    END IF;
    EXIT WHEN reached = desired_status OR reached IN ('finished', 'cancelled', 'failed');
    IF NOT citus_internal.drive_job(jobid) THEN
      PERFORM pg_sleep(0.1);
    END IF;
  END LOOP;
  IF reached <> desired_status THEN
    RAISE EXCEPTION 'Job reached terminal state "%" instead of desired state "%"',
      reached, desired_status USING ERRCODE = 'internal_error';
  END IF;
END
$$;

CREATE FUNCTION pg_catalog.citus_job_cancel(jobid bigint) RETURNS void LANGUAGE plpgsql STRICT
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM FROM pg_dist_background_job WHERE job_id = jobid;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'could not find background jobs entry for job_id: %', jobid
      USING ERRCODE = 'internal_error';
  END IF;
  UPDATE pg_dist_background_task SET status = 'cancelled'
   WHERE job_id = jobid AND status IN ('blocked', 'runnable', 'running');
  UPDATE pg_dist_background_job SET state = 'cancelled', finished_at = now()
   WHERE job_id = jobid AND state IN ('scheduled', 'running');
END
$$;

CREATE FUNCTION pg_catalog.citus_rebalance_stop() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF citus_internal.running_rebalance() IS NULL THEN
    RAISE EXCEPTION 'no ongoing rebalance that can be stopped' USING ERRCODE = 'internal_error';
  END IF;
  PERFORM citus_job_cancel(citus_internal.running_rebalance());
END
$$;

CREATE FUNCTION pg_catalog.citus_rebalance_wait() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF citus_internal.running_rebalance() IS NULL THEN
    RAISE WARNING 'no ongoing rebalance that can be waited on';
    RETURN;
  END IF;
  PERFORM citus_job_wait(citus_internal.running_rebalance());
END
$$;

CREATE FUNCTION pg_catalog.citus_job_list()
RETURNS TABLE (job_id bigint, state citus_job_status, job_type name, description text,
               started_at timestamptz, finished_at timestamptz)
LANGUAGE sql AS $$SELECT * FROM pg_dist_background_job ORDER BY job_id$$;

-- Look at a job, and drive it one task further.
CREATE FUNCTION citus_internal.look_at_job(job bigint)
RETURNS TABLE (job_id bigint, state citus_job_status, job_type name, description text,
               started_at timestamptz, finished_at timestamptz, details jsonb)
LANGUAGE plpgsql AS $$
BEGIN
  IF NOT pg_is_in_recovery() AND EXISTS (
       SELECT FROM pg_dist_background_job j
        WHERE j.job_id = job AND j.state IN ('scheduled', 'running')) THEN
    PERFORM citus_internal.drive_job(job);
  END IF;
  RETURN QUERY
  SELECT j.*, jsonb_build_object(
      'tasks', coalesce((
        SELECT jsonb_agg(jsonb_build_object(
                 'task_id', t.task_id, 'state', t.status, 'command', t.command,
                 'message', t.message, 'retried', t.retry_count) ORDER BY t.task_id)
          FROM pg_dist_background_task t
         WHERE t.job_id = j.job_id AND t.status = 'runnable' AND t.retry_count > 0), '[]'),
      'task_state_counts', (
        SELECT jsonb_object_agg(counted.status, counted.count)
          FROM (SELECT t.status, count(*) FROM pg_dist_background_task t
                 WHERE t.job_id = j.job_id GROUP BY 1) AS counted))
    FROM pg_dist_background_job j WHERE j.job_id = job;
END
$$;

CREATE FUNCTION pg_catalog.citus_job_status(job_id bigint, raw bool DEFAULT false)
RETURNS TABLE (job_id bigint, state citus_job_status, job_type name, description text,
               started_at timestamptz, finished_at timestamptz, details jsonb)
LANGUAGE sql STRICT AS $$SELECT * FROM citus_internal.look_at_job($1)$$;

CREATE FUNCTION pg_catalog.citus_rebalance_status(raw bool DEFAULT false)
RETURNS TABLE (job_id bigint, state citus_job_status, job_type name, description text,
               started_at timestamptz, finished_at timestamptz, details jsonb)
LANGUAGE sql STRICT AS $$
  SELECT s.* FROM (SELECT max(job_id) AS job_id FROM pg_dist_background_job
                    WHERE job_type = 'rebalance') AS latest,
         citus_internal.look_at_job(latest.job_id) AS s
$$;
