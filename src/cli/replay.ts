/** `fedhub replay`: asks a serving hub to rebuild all views, and shows how far it is. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { HubClient } from './hub-client.ts';
import type { Output } from './output.ts';
import { Progress } from './progress.ts';

interface ViewsState {
  readonly position: number;
  readonly head: number;
  readonly generation: number;
  readonly rebuild: { readonly rebuild_id: string; readonly position: number; readonly target: number } | null;
}

const pollMs = 100;
/** How long the replica that projects may take to begin. */
const beginMs = 15_000;

export async function replay(hub: HubClient, output: Output): Promise<void> {
  const before = await hub.get<ViewsState>('/views');
  const { rebuild_id } = await hub.post<{ rebuild_id: string }>('/views/rebuild');
  const bar = new Progress(output);
  const began = performance.now();
  let seen = false;
  for (;;) {
    const { rebuild, generation, position } = await hub.get<ViewsState>('/views');
    if (rebuild) {
      seen = true;
      bar.show('events', Math.min(rebuild.position, rebuild.target), rebuild.target);
    } else if (generation > before.generation) {
      bar.stop();
      const seconds = Math.round((performance.now() - began) / 10) / 100;
      return output.value(
        { rebuild_id, generation, position, seconds },
        `views generation ${generation} serve now, from ${position} events in ${seconds} s`,
      );
    } else if (!seen && performance.now() - began > beginMs) {
      bar.stop();
      throw new Error('no replica began the rebuild; see the status of the views');
    }
    await sleep(pollMs);
  }
}
