/** What the nodes that are here lack for a task: why it waits, for people. */
import type { Requirements } from '../../events/task.ts';
import type { NodeRow } from '../../projections/nodes.ts';
import type { ModelRegistry } from '../model-registry.ts';

export interface Wanted {
  readonly type: string;
  readonly requirements: Requirements;
}

type Need = { readonly lack: string; readonly met: (node: NodeRow) => boolean };

/**
 * What none of these nodes has, or that they have it, but none of them all. Empty: one of them could do the task. `nodes`: those
 * that are online.
 */
export function missingFor(wanted: Wanted, nodes: readonly NodeRow[], models: ModelRegistry): string[] {
  const needs = needsOf(wanted, models);
  if (nodes.some((node) => needs.every(({ met }) => met(node)))) return [];
  const lacks = needs.filter(({ met }) => !nodes.some(met)).map(({ lack }) => lack);
  return lacks.length > 0 ? lacks : ['no node has all of it together'];
}

function needsOf({ type, requirements }: Wanted, models: ModelRegistry): Need[] {
  const { node: named, capabilities = [], labels = {}, model, min_context = 0 } = requirements;
  const needs: Need[] = [
    {
      lack: `no node that is online takes tasks of type ${type}`,
      met: ({ role, profile: { work } }) =>
        role !== 'observer' && work !== undefined && (work.types?.includes(type) ?? true),
    },
  ];
  if (named !== undefined) needs.push({ lack: `node ${named} is not online`, met: ({ node_id }) => node_id === named });
  for (const capability of capabilities) {
    needs.push({ lack: `capability ${capability}`, met: (node) => node.capabilities.includes(capability) });
  }
  for (const [name, value] of Object.entries(labels)) {
    needs.push({ lack: `label ${name}=${value}`, met: ({ profile }) => profile.labels?.[name] === value });
  }
  if (model !== undefined) {
    const lack = `model ${model}${min_context > 0 ? ` with a context of ${min_context} tokens` : ''}`;
    const contextAt = (nodeId: string) => models.offerOf(nodeId, model)?.context_length ?? 0;
    const has = (nodeId: string) => models.offerOf(nodeId, model) !== undefined;
    needs.push({
      lack,
      met: ({ node_id }) => has(node_id) && (min_context === 0 || contextAt(node_id) >= min_context),
    });
  }
  return needs;
}
