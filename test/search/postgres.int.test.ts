import { conformance } from './conformance.ts';
import { postgresStore } from './stores.ts';

conformance('the search index in PostgreSQL', postgresStore);
