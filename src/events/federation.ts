/** Facts of the federation itself, in the stream `federation`. */
import { Type } from 'typebox';
import { kept } from './define.ts';

export const GovernanceMode = Type.Union([Type.Literal('open'), Type.Literal('approval'), Type.Literal('invite')], {
  description: 'open: anyone joins. approval: an admin admits. invite: only the invited join.',
});
export type GovernanceMode = Type.Static<typeof GovernanceMode>;

export const AnnouncementLevel = Type.Union([Type.Literal('info'), Type.Literal('warning'), Type.Literal('critical')]);
export type AnnouncementLevel = Type.Static<typeof AnnouncementLevel>;

export const federationEvents = {
  /** The first event of every log. */
  'federation.founded': kept(Type.Object({ federation_id: Type.String(), mode: GovernanceMode })),
  /** Said to everyone, in the stream `announcements`. */
  'governance.announced': kept(
    Type.Object({ announcement_id: Type.String(), message: Type.String(), level: AnnouncementLevel }),
  ),
  'governance.mode-changed': kept(Type.Object({ mode: GovernanceMode, previous: GovernanceMode })),
} as const;
