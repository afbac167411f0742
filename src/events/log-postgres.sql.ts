/** The log in PostgreSQL as SQL: its tables, the one function that writes to it, and the queries that read it. */

/** What the comment on each of our tables says; a table of the same name without it belongs to somebody else. */
export const mark = 'event log of a federation hub';
export const schemaVersion = 1;
/** Whose notifications say the head. */
export const channel = 'federation_log';
export const tables = [
  'federation_log',
  'federation_log_transient',
  'federation_log_head',
  'federation_commands',
] as const;

/** SQLSTATE that `federation_drop_segment` raises for a segment that is still written to. */
export const segmentOpen = 'FL001';

const facts = `
  id uuid NOT NULL,
  type text NOT NULL,
  version integer NOT NULL,
  time text NOT NULL,
  data text NOT NULL,
  meta text NOT NULL`;

/**
 * Makes the log, in one transaction under an advisory lock. `$id` and `$size` are filled in by `createLog`.
 * Readings lie in partitions by range of position, without an index over all of them, so that a partition is dropped whole.
 */
const definition = `
CREATE TABLE federation_log (
  position bigint PRIMARY KEY,
  stream text COLLATE "C" NOT NULL,
  revision bigint NOT NULL,${facts},
  UNIQUE (id),
  UNIQUE (stream, revision)
);
CREATE TABLE federation_log_transient (
  position bigint PRIMARY KEY,
  stream text COLLATE "C" NOT NULL,${facts}
) PARTITION BY RANGE (position);
CREATE INDEX ON federation_log_transient (stream, position);
CREATE TABLE federation_commands (
  id uuid PRIMARY KEY,
  body_hash text NOT NULL,
  reply text,
  time text COLLATE "C" NOT NULL,
  position bigint NOT NULL,
  revision bigint NOT NULL
);
CREATE INDEX ON federation_commands (time);
-- one row; made_through is the last position that a partition is there for
CREATE TABLE federation_log_head (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  log_id uuid NOT NULL,
  schema_version integer NOT NULL,
  segment_size bigint NOT NULL CHECK (segment_size > 0),
  head bigint NOT NULL,
  made_through bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO federation_log_head (log_id, schema_version, segment_size, head, made_through)
  VALUES ('$id', ${schemaVersion}, $size, 0, 0);
${tables.map((table) => `COMMENT ON TABLE ${table} IS '${mark}';`).join('\n')}

CREATE FUNCTION federation_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the log is never changed, only added to' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON federation_log
  FOR EACH STATEMENT EXECUTE FUNCTION federation_refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON federation_log_transient
  FOR EACH STATEMENT EXECUTE FUNCTION federation_refuse_change();
`;

/**
 * Makes partitions until every position to `upto` has one. A table is made and then attached, because that lets readers go
 * on, where CREATE … PARTITION OF waits for them and holds up the rest.
 */
const makeSegmentsFunction = `
CREATE FUNCTION federation_make_segments(upto bigint, made bigint, size bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
  segment text;
BEGIN
  WHILE made < upto LOOP
    segment := format('federation_log_transient_%s', made + 1);
    EXECUTE format('CREATE TABLE %I (LIKE federation_log_transient INCLUDING ALL)', segment);
    EXECUTE format('CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON %I
      FOR EACH STATEMENT EXECUTE FUNCTION federation_refuse_change()', segment);
    EXECUTE format('ALTER TABLE federation_log_transient ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
      segment, made + 1, made + size + 1);
    made := made + size;
  END LOOP;
  UPDATE federation_log_head SET made_through = made;
END $$;
SELECT federation_make_segments(2 * segment_size, 0, segment_size) FROM federation_log_head;
`;

const dropSegmentFunction = `
CREATE FUNCTION federation_drop_segment(first bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
BEGIN
  IF (SELECT first + segment_size - 1 >= head FROM federation_log_head) THEN
    RAISE EXCEPTION 'the segment from % is still open', first USING ERRCODE = '${segmentOpen}';
  END IF;
  EXECUTE format('DROP TABLE IF EXISTS %I', format('federation_log_transient_%s', first));
END $$;
`;

/** The settings keep plans made for an empty table from scanning the grown one. */
const writing =
  'SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off';

/** What no session may change: how the functions that write see what others wrote, and that it is durable when they return. */
const checkSession = `
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'the log is written in read committed transactions only' USING ERRCODE = 'invalid_transaction_state';
  END IF;
  IF current_setting('synchronous_commit') = 'off' THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;`;

/**
 * Writes one flush, all appends in one transaction, each judged by itself.
 *
 * Append n has its events at (ends[n] - sizes[n], ends[n]] of the events' arrays; owners[e] is the append of event e.
 * `expecteds`: a revision, or -1 no stream, -2 any, -3 exists. Status of an append: 0 written, 1 conflict, 2 its first event
 * is there already, 3 its command is.
 *
 * It is volatile and plpgsql so that each statement sees what was committed while the first waited for the lock; a single
 * statement would judge by revisions of before. It is one call so that no client, paused or lost, can hold the lock.
 */
const appendFunction = `
CREATE FUNCTION federation_append(
  streams text[], expecteds bigint[], sizes integer[], ends integer[], kepts boolean[],
  command_ids uuid[], command_hashes text[], command_replies text[], command_times text[],
  owners integer[], ids uuid[], types text[], versions integer[], times text[], datas text[], metas text[]
) RETURNS TABLE (status integer, at_position bigint, at_revision bigint, body_hash text, reply text, command_time text, command_position bigint)
LANGUAGE plpgsql VOLATILE ${writing} AS $$
#variable_conflict use_column
DECLARE
  base bigint;
  made bigint;
  size bigint;
  total bigint;
  statuses integer[];
  lasts bigint[];      -- position of the last event of each append written
  revisions bigint[];  -- its revision; for a conflict, that of the stream
BEGIN
  ${checkSession}
  SELECT head, made_through, segment_size INTO STRICT base, made, size FROM federation_log_head WHERE one FOR UPDATE;

  SELECT array_agg(placed.status ORDER BY placed.n), array_agg(placed.last ORDER BY placed.n),
    array_agg(placed.revision ORDER BY placed.n), sum(placed.written)
  INTO statuses, lasts, revisions, total
  FROM (
    SELECT judged.n, judged.status, judged.written,
      base + sum(judged.written) OVER (ORDER BY judged.n) AS last,
      CASE WHEN judged.kept THEN judged.revision + sum(judged.written) OVER (PARTITION BY judged.stream ORDER BY judged.n)
        ELSE base + sum(judged.written) OVER (ORDER BY judged.n) END AS revision
    FROM (
      SELECT looked.n, looked.stream, looked.kept, looked.revision, looked.status,
        CASE looked.status WHEN 0 THEN looked.size ELSE 0 END AS written
      FROM (
        SELECT a.n, a.stream, a.kept, a.size, coalesce(newest.revision, -1) AS revision,
          CASE
            WHEN command.known THEN 3
            WHEN same.known THEN 2
            WHEN a.expected = -2 OR a.expected = coalesce(newest.revision, -1) THEN 0
            WHEN a.expected = -3 AND newest.revision IS NOT NULL THEN 0
            ELSE 1
          END AS status
        FROM unnest(streams, expecteds, sizes, ends, kepts, command_ids)
          WITH ORDINALITY AS a (stream, expected, size, upto, kept, command_id, n)
        LEFT JOIN LATERAL (SELECT true AS known FROM federation_commands c WHERE c.id = a.command_id) command ON true
        LEFT JOIN LATERAL (
          SELECT true AS known FROM federation_log l WHERE l.id = CASE WHEN a.kept THEN ids[a.upto - a.size + 1] END
        ) same ON true
        LEFT JOIN LATERAL (
          SELECT l.revision FROM federation_log l WHERE a.kept AND l.stream = a.stream ORDER BY l.revision DESC LIMIT 1
        ) newest ON true
      ) looked
    ) judged
  ) placed;

  IF total > 0 THEN
    IF base + total + size > made THEN -- at least a whole one ahead
      PERFORM federation_make_segments(base + total + size, made, size);
    END IF;
    IF true = ANY (kepts) THEN
      INSERT INTO federation_log (position, stream, revision, id, type, version, time, data, meta)
      SELECT lasts[e.owner] - ends[e.owner] + e.n, streams[e.owner], revisions[e.owner] - ends[e.owner] + e.n,
        e.id, e.type, e.version, e.time, e.data, e.meta
      FROM unnest(owners, ids, types, versions, times, datas, metas)
        WITH ORDINALITY AS e (owner, id, type, version, time, data, meta, n)
      WHERE statuses[e.owner] = 0 AND kepts[e.owner];
    END IF;
    IF false = ANY (kepts) THEN
      INSERT INTO federation_log_transient (position, stream, id, type, version, time, data, meta)
      SELECT lasts[e.owner] - ends[e.owner] + e.n, streams[e.owner], e.id, e.type, e.version, e.time, e.data, e.meta
      FROM unnest(owners, ids, types, versions, times, datas, metas)
        WITH ORDINALITY AS e (owner, id, type, version, time, data, meta, n)
      WHERE statuses[e.owner] = 0 AND NOT kepts[e.owner];
    END IF;
    IF command_ids IS NOT NULL THEN
      INSERT INTO federation_commands (id, body_hash, reply, time, position, revision)
      SELECT c.id, c.body_hash, c.reply, c.time, lasts[c.n], revisions[c.n]
      FROM unnest(command_ids, command_hashes, command_replies, command_times)
        WITH ORDINALITY AS c (id, body_hash, reply, time, n)
      WHERE c.id IS NOT NULL AND statuses[c.n] = 0;
    END IF;
    UPDATE federation_log_head SET head = base + total WHERE one;
    PERFORM pg_notify('${channel}', (base + total)::text);
  END IF;

  IF NOT statuses && '{2,3}' THEN
    RETURN QUERY SELECT v.status, v.last, v.revision, NULL::text, NULL::text, NULL::text, NULL::bigint
      FROM unnest(statuses, lasts, revisions) AS v (status, last, revision);
    RETURN;
  END IF;
  RETURN QUERY
    SELECT v.status, coalesce(command.position, same.position, v.last), coalesce(command.revision, same.revision, v.revision),
      command.body_hash, command.reply, command.time, command.position
    FROM unnest(statuses, lasts, revisions, ends, sizes, command_ids)
      WITH ORDINALITY AS v (status, last, revision, upto, size, command_id, n)
    LEFT JOIN LATERAL (
      SELECT c.position, c.revision, c.body_hash, c.reply, c.time FROM federation_commands c
      WHERE v.status = 3 AND c.id = v.command_id
    ) command ON true
    LEFT JOIN LATERAL (
      SELECT l.position, l.revision FROM federation_log l
      WHERE v.status = 2 AND l.id = ANY (ids[v.upto - v.size + 1 : v.upto]) ORDER BY l.position DESC LIMIT 1
    ) same ON true
    ORDER BY v.n;
END $$;
`;

/**
 * Writes a flush of one event without a command, which is most of them when there is little to do: the same lock, judgements
 * and statuses as in `federation_append`, in plain statements. It counts the head up when it takes the lock, and back down
 * when nothing is written, because that costs a write of one event one statement less.
 */
const appendOneFunction = `
CREATE FUNCTION federation_append_one(
  to_stream text, expected bigint, kept boolean,
  new_id uuid, new_type text, new_version integer, new_time text, new_data text, new_meta text,
  OUT status integer, OUT at_position bigint, OUT at_revision bigint
) LANGUAGE plpgsql VOLATILE ${writing} AS $$
DECLARE
  made bigint;
  size bigint;
  newest bigint;
BEGIN
  ${checkSession}
  UPDATE federation_log_head SET head = head + 1 WHERE one
    RETURNING head, made_through, segment_size INTO STRICT at_position, made, size;
  IF at_position + size > made THEN -- at least a whole one ahead
    PERFORM federation_make_segments(at_position + size, made, size);
  END IF;
  status := 0;
  IF NOT kept THEN
    at_revision := at_position;
    INSERT INTO federation_log_transient (position, stream, id, type, version, time, data, meta)
      VALUES (at_position, to_stream, new_id, new_type, new_version, new_time, new_data, new_meta);
  ELSE
    SELECT l.revision INTO newest FROM federation_log l WHERE l.stream = to_stream ORDER BY l.revision DESC LIMIT 1;
    at_revision := coalesce(newest, -1);
    IF EXISTS (SELECT FROM federation_log l WHERE l.id = new_id) THEN
      status := 2;
    ELSIF expected = -2 OR expected = at_revision OR expected = -3 AND newest IS NOT NULL THEN
      at_revision := at_revision + 1;
      INSERT INTO federation_log (position, stream, revision, id, type, version, time, data, meta)
        VALUES (at_position, to_stream, at_revision, new_id, new_type, new_version, new_time, new_data, new_meta);
    ELSE
      status := 1;
    END IF;
  END IF;
  IF status = 0 THEN
    PERFORM pg_notify('${channel}', at_position::text);
    RETURN;
  END IF;
  UPDATE federation_log_head SET head = head - 1 WHERE one;
  IF status = 2 THEN
    SELECT l.position, l.revision INTO STRICT at_position, at_revision FROM federation_log l WHERE l.id = new_id;
  END IF;
END $$;
`;

/** Positions of the log that one filtered page looks through at most. */
const positionsLooked = 10_000;

const columns = 'position, stream, revision, id, type, version, time, data, meta';
const columnsTransient = 'position, stream, position AS revision, id, type, version, time, data, meta';

function merged(columnsOfKept: string, columnsOfTransient: string, where: string, limit: string): string {
  const part = (list: string, table: string) =>
    `(SELECT ${list} FROM ${table} WHERE ${where} ORDER BY position LIMIT ${limit})`;
  return `${part(columnsOfKept, 'federation_log')} UNION ALL ${part(columnsOfTransient, 'federation_log_transient')}
    ORDER BY position LIMIT ${limit}`;
}

/**
 * A page of the log. Each row says in `through` how far was looked unless the page is full; when nothing was found, there is
 * one row of nulls beside it.
 *
 * It is a stable function because then its queries are planned after the snapshot they read by was taken. A plain
 * query is planned before, so that a partition made in between, with the events in it, would be passed over in silence.
 */
const readFunction = `
CREATE FUNCTION federation_read(after bigint, most integer, wanted text[]) RETURNS TABLE (
  through bigint, "position" bigint, stream text, revision bigint,
  id uuid, type text, version integer, "time" text, data text, meta text
)
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT SET enable_seqscan = off SET enable_sort = off
SET plan_cache_mode = force_generic_plan SET jit = off AS $$
#variable_conflict use_column
DECLARE
  upto bigint;
BEGIN
  SELECT head INTO STRICT upto FROM federation_log_head WHERE one;
  IF wanted IS NULL THEN
    RETURN QUERY SELECT upto, e.* FROM (VALUES (true)) always
      LEFT JOIN (${merged(columns, columnsTransient, 'position > after', 'most')}) e ON true
      ORDER BY e.position;
    RETURN;
  END IF;
  SELECT CASE WHEN count(*) = ${positionsLooked} THEN max(looked.position) ELSE upto END INTO STRICT upto
    FROM (${merged('position', 'position', 'position > after', String(positionsLooked))}) looked;
  RETURN QUERY SELECT upto, e.* FROM (VALUES (true)) always
    LEFT JOIN (${merged(columns, columnsTransient, 'position > after AND position <= upto AND type = ANY (wanted)', 'most')}) e
      ON true
    ORDER BY e.position;
END $$;
`;

/** All of the log, for a database that has none. `id` is a UUID, `segmentSize` a whole number: neither needs quoting. */
export function createLog(id: string, segmentSize: number): string {
  const made = definition.replace('$id', () => id).replace('$size', () => String(segmentSize));
  return [made, makeSegmentsFunction, dropSegmentFunction, appendFunction, appendOneFunction, readFunction].join('\n');
}

export const append = prepared(
  'append',
  `SELECT * FROM federation_append(${Array.from({ length: 16 }, (_, at) => `$${at + 1}`).join(', ')})`,
);

/** Stream, what is expected, whether it is kept, then the fields of the event: one row of status, position and revision. */
export const appendOne = prepared(
  'append_one',
  'SELECT * FROM federation_append_one($1, $2, $3, $4, $5, $6, $7, $8, $9)',
);

/** Events after $1, at most $2, of the types $3 unless null: rows of `federation_read`. */
export const readAll = prepared('read_all', 'SELECT * FROM federation_read($1, $2, $3)');

export const readStreamKept = prepared(
  'read_stream_kept',
  `
  SELECT ${columns} FROM federation_log WHERE stream = $1 AND revision >= $2 ORDER BY revision LIMIT $3`,
);

export const readStreamTransient = prepared(
  'read_stream_transient',
  `
  SELECT ${columnsTransient} FROM federation_log_transient WHERE stream = $1 AND position >= $2 ORDER BY position LIMIT $3`,
);

/** Events of positions $1 to $2, both included, at most $3. */
export const readTransient = prepared(
  'read_transient',
  `
  SELECT ${columnsTransient} FROM federation_log_transient WHERE position BETWEEN $1 AND $2 ORDER BY position LIMIT $3`,
);

export const readCommand = prepared(
  'read_command',
  'SELECT id, body_hash, reply, time, position FROM federation_commands WHERE id = $1',
);

/** Smaller than the id of any command. */
export const beforeAllIds = '00000000-0000-0000-0000-000000000000';

/** Records of commands of ids after $1 and positions to $2, at most $3. */
export const readCommands = prepared(
  'read_commands',
  `
  SELECT id, body_hash AS "bodyHash", reply, time, position, revision FROM federation_commands
  WHERE id > $1 AND position <= $2 ORDER BY id LIMIT $3`,
);

/** First positions of the partitions that hold something, and the head. */
export const readSegments = prepared(
  'read_segments',
  `
  SELECT s.first, h.head FROM federation_log_head h
  CROSS JOIN (
    SELECT substring(c.relname FROM '[0-9]+$')::bigint AS first
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'federation_log_transient'::regclass
  ) s
  WHERE EXISTS (
    SELECT FROM federation_log_transient t WHERE t.position >= s.first AND t.position < s.first + h.segment_size
  )
  ORDER BY s.first`,
);

export const readHead = prepared('read_head', 'SELECT head FROM federation_log_head');

export const dropSegment = prepared('drop_segment', 'SELECT federation_drop_segment($1)');

/** Forgets at most 10,000 commands older than $1, so that no statement runs long. */
export const forgetCommands = prepared(
  'forget_commands',
  `
  DELETE FROM federation_commands
  WHERE id IN (SELECT id FROM federation_commands WHERE time < $1 ORDER BY time LIMIT 10000)`,
);

/** Kept events as they were, from arrays of their columns: `revision` last. */
export const restoreKept = prepared(
  'restore_kept',
  `
  INSERT INTO federation_log (position, stream, id, type, version, time, data, meta, revision)
  SELECT * FROM unnest($1::bigint[], $2::text[], $3::uuid[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::text[], $9::bigint[])`,
);

/** Readings as they were, from arrays of their columns. Their partitions are there. */
export const restoreTransient = prepared(
  'restore_transient',
  `
  INSERT INTO federation_log_transient (position, stream, id, type, version, time, data, meta)
  SELECT * FROM unnest($1::bigint[], $2::text[], $3::uuid[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::text[])`,
);

/** Records of commands as they were, from arrays of their columns. */
export const restoreCommands = prepared(
  'restore_commands',
  `
  INSERT INTO federation_commands (id, body_hash, reply, time, position, revision)
  SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])`,
);

/** A query that each connection parses once, by its name. */
export interface Prepared {
  readonly name: string;
  readonly text: string;
}

function prepared(name: string, text: string): Prepared {
  return { name: `federation_${name}`, text };
}

export const readAbout =
  'SELECT log_id AS id, segment_size AS size, schema_version AS version, head FROM federation_log_head';

/** What is there of the tables' names in the schema that would be written to, and the comment each bears. */
export const readTables = `
  SELECT c.relname AS name, obj_description(c.oid, 'pg_class') AS comment
  FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY ($1)`;
