/** Who is in, as what, and who is out: modes of admission, requests to join, invites, roles, bans, announcements. */
import type { About, Executed } from '../commands/execute.ts';
import {
  announce,
  announcementStream,
  announcements,
  changeMode,
  federation,
  federationStream,
} from '../commands/governance.ts';
import { keyThumbprint } from '../ed25519.ts';
import { type Refusal, refuse } from '../errors.ts';
import type { AnnouncementLevel, GovernanceMode } from '../events/federation.ts';
import { createAdmissionGuard } from './governance/admission.ts';
import { Bans } from './governance/bans.ts';
import { Invites } from './governance/invites.ts';
import { JoinRequests } from './governance/join-requests.ts';
import { finishGovernance } from './governance/left-open.ts';
import { Roles } from './governance/roles.ts';
import { nodeRegistry } from './node-registry.ts';
import { service } from './service.ts';

export interface Governance {
  mode(): GovernanceMode;
  changeMode(
    mode: GovernanceMode,
    about: About,
  ): Promise<Executed<{ mode: GovernanceMode; previous: GovernanceMode }> | Refusal>;
  announce(
    message: string,
    level: AnnouncementLevel,
    about: About,
  ): Promise<Executed<{ announcement_id: string; message: string; level: AnnouncementLevel }> | Refusal>;
  readonly requests: Pick<JoinRequests, 'approve' | 'reject' | 'waiting'>;
  readonly invites: Pick<Invites, 'create' | 'revoke' | 'openCount'>;
  readonly bans: Pick<Bans, 'impose' | 'lift'>;
  readonly roles: Pick<Roles, 'change'>;
}

export const governance = service({
  name: 'governance',
  purpose: 'Admission by mode, request or invite; roles, bans and announcements',
  needs: { registry: nodeRegistry },
  async start(hub, { registry }) {
    const { executor, live, doors } = hub;
    // A replica that has not read its own founding yet admits nobody.
    const mode = () => live.federation.get('federation')?.mode ?? 'invite';
    const requests = new JoinRequests(hub, registry);
    const invites = new Invites(hub);
    const bans = new Bans(hub, registry, requests);
    const lease = hub.leases.acquire('governance');
    const undo = [
      doors.bans.fill((identity) => {
        if (identity.kind !== 'node' || live.bans.size === 0) return undefined;
        const publicKey = identity.publicKey ?? live.nodes.get(identity.nodeId)?.public_key;
        const ban = bans.find(identity.nodeId, publicKey === undefined ? '' : keyThumbprint(publicKey));
        return ban && refuse('banned', ban.reason);
      }),
      doors.admission.fill(createAdmissionGuard(hub, { mode, requests, invites, bans })),
      finishGovernance(hub, lease, requests, invites),
      () => requests.close(),
      () => bans.close(),
    ];
    const api: Governance = {
      mode,
      changeMode: (mode, about) => executor.execute(federationStream, federation, changeMode, { mode }, about),
      announce: (message, level, about) =>
        executor.execute(announcementStream, announcements, announce, { message, level }, about),
      requests,
      invites,
      bans,
      roles: new Roles(hub),
    };
    return {
      api,
      async stop() {
        for (const take of undo) take();
        await lease.release();
      },
    };
  },
});
