/** The AIs, services, daemons, bridges and clients of the federation: who they are, whose they are, what they can do. */
import {
  type Entity,
  type EntityRegistration,
  entity,
  entityStream,
  type Party,
  register,
  see,
  unregister,
  update,
} from '../commands/entity.ts';
import type { About, Executed } from '../commands/execute.ts';
import { node, nodeStream } from '../commands/node.ts';
import { isRefusal, type Refusal, refuse } from '../errors.ts';
import type { EntityProfile } from '../events/entity.ts';
import type { Hub } from '../hub.ts';
import { type AccessControl, accessControl } from './access-control.ts';
import { Orphans } from './entity-registry/orphans.ts';
import { Owned } from './entity-registry/owned.ts';
import { service } from './service.ts';
import { speakerOf, websocketPool } from './websocket-pool.ts';

export interface EntityRegistry {
  /**
   * Registers an entity of a node (`owner`), or of the operators (null), or brings it up to date. Refuses `entity_id_taken`,
   * `access_blocked`, `limit_reached`, and `not_found` for an owner that is no member.
   */
  register(registration: EntityRegistration, about: About): Promise<Executed<Entity> | Refusal>;
  /** Changes the named parts. Refuses `not_found`, `forbidden`, `access_blocked`. */
  update(entityId: string, by: Party, changes: EntityProfile, about: About): Promise<Executed<Entity> | Refusal>;
  /** The owner says that it lives. Refuses `not_found`, `forbidden`, `access_blocked`. */
  see(entityId: string, by: Party, about: About): Promise<Executed<{ recorded: boolean }> | Refusal>;
  /** Refuses `not_found`, `forbidden`. */
  unregister(entityId: string, by: Party, about: About): Promise<Executed<undefined> | Refusal>;
}

export const entityRegistry = service({
  name: 'entity-registry',
  purpose: 'Registration of AIs, services, daemons, bridges and clients, with metadata and capabilities',
  needs: { sockets: websocketPool, access: accessControl },
  async start(hub, { sockets, access }) {
    const owned = new Owned(hub.live.entities);
    const orphans = await Orphans.start(hub, owned);
    const api = createEntityRegistry(hub, access, owned, orphans);
    const stopHandling = sockets.handle(
      'entity:register',
      async (client, { entity_id: entityId, kind, ...profile }) => {
        const { nodeId: owner, about } = speakerOf(client);
        const done = await api.register({ entityId, kind, owner, profile }, about);
        return isRefusal(done) ? done : { entity: done.reply, position: done.position };
      },
    );
    return {
      api,
      async stop() {
        stopHandling();
        await orphans.close();
        owned.close();
      },
    };
  },
});

function createEntityRegistry(hub: Hub, access: AccessControl, owned: Owned, orphans: Orphans): EntityRegistry {
  const { executor, live } = hub;
  const blocked = (entityId: string) => {
    const reason = access.blocked(entityId);
    return reason === undefined ? undefined : refuse('access_blocked', reason);
  };

  return {
    async register(registration, about) {
      const { entityId, owner } = registration;
      const refused = blocked(entityId);
      if (refused) return refused;
      if (owner !== null && !(await isMember(hub, owner))) return refuse('not_found', `there is no node ${owner}`);
      await orphans.settle(entityId, owner); // what is left of a node of this name that was removed is not adopted
      const place = live.entities.get(entityId) ? undefined : owned.reserve(owner);
      if (isRefusal(place)) return place;
      let position = 0;
      try {
        const done = await executor.execute(entityStream(entityId), entity, register, registration, about);
        if (!isRefusal(done)) position = done.position;
        return done;
      } finally {
        place?.(live.entities.waitFor(position)); // held until the registration is counted
      }
    },
    update: async (entityId, by, changes, about) =>
      blocked(entityId) ?? executor.execute(entityStream(entityId), entity, update, { entityId, by, changes }, about),
    see: async (entityId, by, about) =>
      blocked(entityId) ?? executor.execute(entityStream(entityId), entity, see, { entityId, by }, about),
    unregister: (entityId, by, about) =>
      executor.execute(entityStream(entityId), entity, unregister, { entityId, by }, about),
  };
}

/** The map is a moment behind a node that just joined; its stream is not. One that is removed meanwhile leaves an orphan. */
async function isMember({ live, executor }: Hub, nodeId: string): Promise<boolean> {
  return (
    live.nodes.get(nodeId) !== undefined || (await executor.state(nodeStream(nodeId), node)).membership === 'member'
  );
}
