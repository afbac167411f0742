/** A table as the hub's log has it: the same columns, the same unique indexes. Positions come from a sequence. */
export const createTable = `
CREATE TABLE bare_log (
  position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  stream text COLLATE "C" NOT NULL,
  revision bigint NOT NULL,
  id uuid NOT NULL,
  type text NOT NULL,
  version integer NOT NULL,
  time text NOT NULL,
  data text NOT NULL,
  meta text NOT NULL,
  UNIQUE (id),
  UNIQUE (stream, revision)
)`;
