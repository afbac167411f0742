/** What a node declares of its models is written when it changed, and only then. */
import { describe, it } from 'vitest';
import { declare, declaredModels } from '../../src/commands/models.ts';
import type { ModelClaim } from '../../src/events/model.ts';
import { given } from './given.ts';

const chat: ModelClaim = { model_id: 'llama3.3:70b', type: 'chat', context_length: 8192 };
const embed: ModelClaim = { model_id: 'bge', type: 'embedding' };
const declared = (...models: ModelClaim[]) => ({ type: 'models.declared', data: { node_id: 'ada', models } }) as const;
const command = (models: ModelClaim[], stands = true) => ({ nodeId: 'ada', models, stands });

describe('a declaration of models', () => {
  it('is written, in order of model id', () => {
    given(declaredModels)
      .when(declare, command([chat, embed], false))
      .gives(declared(embed, chat));
  });
  it('is not written again when nothing changed, in whatever order it comes', () => {
    const same = given(declaredModels, declared(embed, chat)).when(declare, command([chat, embed]));
    same.gives();
    same.answers({ changed: false });
  });
  it('is written when one model is another now, or gone', () => {
    const before = given(declaredModels, declared(embed, chat));
    before.when(declare, command([{ ...chat, loaded: true }, embed])).gives(declared(embed, { ...chat, loaded: true }));
    before.when(declare, command([])).gives(declared());
  });
  it('is written again by a node that was removed meanwhile and joined anew', () => {
    given(declaredModels, declared(embed))
      .when(declare, command([embed], false))
      .gives(declared(embed));
  });
  it('writes nothing of a node that never had any', () => {
    given(declaredModels).when(declare, command([], false)).gives();
  });
  it('names each model once', () => {
    given(declaredModels)
      .when(declare, command([chat, embed, chat]))
      .refused('invalid_input');
  });
});
