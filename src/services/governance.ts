/** Who may join, and how that is changed: the federation's mode. Admission itself is decided in commands/governance.ts. */
import type { About, Executed } from '../commands/execute.ts';
import { changeMode, federation, federationStream } from '../commands/governance.ts';
import type { Refusal } from '../errors.ts';
import type { GovernanceMode } from '../events/federation.ts';
import { service } from './service.ts';

export interface Governance {
  mode(): GovernanceMode;
  changeMode(
    mode: GovernanceMode,
    about: About,
  ): Promise<Executed<{ mode: GovernanceMode; previous: GovernanceMode }> | Refusal>;
}

export const governance = service({
  name: 'governance',
  tier: 'P2',
  purpose: 'Modes of admission: open, approval, invite',
  needs: {},
  async start({ executor, live }) {
    const api: Governance = {
      // A replica that has not read its own founding yet admits nobody.
      mode: () => live.federation.get('federation')?.mode ?? 'invite',
      changeMode: (mode, about) => executor.execute(federationStream, federation, changeMode, { mode }, about),
    };
    return { api, stop: async () => {} };
  },
});
