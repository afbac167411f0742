/** Preload that loads TypeScript in the main thread and in each worker thread; `--import tsx` alone leaves workers of Node 20 out. */
import { register } from 'tsx/esm/api';

register();
