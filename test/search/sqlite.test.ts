import { conformance } from './conformance.ts';
import { sqliteStore } from './stores.ts';

conformance('the search index in SQLite', sqliteStore);
