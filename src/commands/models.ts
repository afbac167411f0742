/** The models of one node, as it declares them: all at once, and written only when something changed. */
import { isDeepStrictEqual } from 'node:util';
import { refuse } from '../errors.ts';
import type { ModelClaim } from '../events/model.ts';
import type { Aggregate, Decide } from './execute.ts';

export const modelsStream = (nodeId: string): string => `models-${nodeId}`;

/** In order of model id; undefined before the first declaration. */
export type DeclaredModels = readonly ModelClaim[] | undefined;

export const declaredModels: Aggregate<DeclaredModels> = {
  initial: undefined,
  evolve: (state, event) => (event.type === 'models.declared' ? event.data.models : state),
};

export interface Declaration {
  readonly nodeId: string;
  readonly models: readonly ModelClaim[];
  /**
   * What was declared before still stands. A node that was removed took its declaration with it, and the stream does not tell:
   * one that joins anew declares anew, even the same.
   */
  readonly stands: boolean;
}

/** All models of a node from now on. Refuses `invalid_input` when one is named twice. */
export const declare: Decide<DeclaredModels, Declaration, { changed: boolean }> = (state, command) => {
  const { nodeId: node_id, stands } = command;
  const models = [...command.models].sort((a, b) => (a.model_id < b.model_id ? -1 : 1));
  const twice = models.find(({ model_id }, at) => models[at + 1]?.model_id === model_id);
  if (twice) return refuse('invalid_input', `the model ${twice.model_id} is named twice`);
  if (isDeepStrictEqual(state ?? [], models) && (stands || models.length === 0))
    return { events: [], reply: { changed: false } };
  return { events: [{ type: 'models.declared', data: { node_id, models } }], reply: { changed: true } };
};
