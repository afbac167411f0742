/** All scenarios, by the names that `npm run bench` takes. */
import type { Scenario } from './measure.ts';
import { appendPostgres } from './scenarios/append-postgres.ts';
import { appendSqlite } from './scenarios/append-sqlite.ts';
import { commands } from './scenarios/commands.ts';
import { drain } from './scenarios/drain.ts';
import { fanout } from './scenarios/fanout.ts';
import { files } from './scenarios/files.ts';
import { guards } from './scenarios/guards.ts';
import { heartbeats } from './scenarios/heartbeats.ts';
import { knowledge } from './scenarios/knowledge.ts';
import { lag } from './scenarios/lag.ts';
import { messages } from './scenarios/messages.ts';
import { observed } from './scenarios/observed.ts';
import { replay } from './scenarios/replay.ts';
import { route } from './scenarios/route.ts';
import { start } from './scenarios/start.ts';
import { stranded } from './scenarios/stranded.ts';
import { tasks } from './scenarios/tasks.ts';

export const scenarios: Readonly<Record<string, Scenario>> = {
  'append-postgres': appendPostgres,
  'append-sqlite': appendSqlite,
  commands,
  observed,
  guards,
  heartbeats,
  replay,
  lag,
  tasks,
  stranded,
  route,
  files,
  fanout,
  messages,
  drain,
  knowledge,
  start,
};
