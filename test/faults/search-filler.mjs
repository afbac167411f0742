/** A program that fills a search index until it is killed: `search-filler.mjs <url>`. */
import { fill, storeOf } from './search-filling.ts';

await fill(storeOf(process.argv[2]), Number.MAX_SAFE_INTEGER);
