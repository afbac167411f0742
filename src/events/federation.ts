/** Facts of the federation itself, in the stream `federation`. */
import { Type } from 'typebox';
import { kept } from './define.ts';

export const GovernanceMode = Type.Union([Type.Literal('open'), Type.Literal('approval'), Type.Literal('invite')], {
  description: 'open: anyone joins. approval: an admin admits. invite: only the invited join.',
});
export type GovernanceMode = Type.Static<typeof GovernanceMode>;

export const federationEvents = {
  /** The first event of every log. */
  'federation.founded': kept(Type.Object({ federation_id: Type.String(), mode: GovernanceMode })),
  'governance.mode-changed': kept(Type.Object({ mode: GovernanceMode, previous: GovernanceMode })),
} as const;
