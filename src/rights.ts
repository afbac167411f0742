/**
 * Who may do what, in one place: each right with the role a node needs for it and the scope an operator token needs.
 *
 * Routes and packets name a right; `docs/roles.md` is made from what they name, and a test walks all of them against it.
 */
import type { Identity } from './doors.ts';
import type { NodeRole } from './events/node.ts';

/** What an operator token may hold. `admin` stands for all of them, `govern` for `act` too, and each of them lets its bearer read. */
export const scopes = ['read', 'act', 'govern', 'audit', 'operate', 'admin'] as const;
export type Scope = (typeof scopes)[number];

export type Right = Scope;

/** The least role that has a right, and what the right is for. */
export const rights: Readonly<Record<Right, { readonly role: NodeRole; readonly means: string }>> = {
  read: { role: 'observer', means: 'look at the directory, health and lists of the federation' },
  act: { role: 'member', means: 'take part: register entities, and all that changes something of one’s own' },
  govern: { role: 'admin', means: 'decide who is in, who is out and how much each may ask' },
  audit: { role: 'admin', means: 'read the audit log' },
  operate: { role: 'admin', means: 'rebuild views, back up the log, rotate the keys of the hub' },
  admin: { role: 'admin', means: 'everything, operator tokens included' },
};

/**
 * Who may use a route or packet. `anyone`: without proof. `node`: any node with a session. `itself`: the node that the
 * path names. `worker`: a node that may act, for what an operator cannot do. Else: whoever has the right.
 */
export type Access = 'anyone' | 'node' | 'itself' | 'worker' | Right;

const rank: Readonly<Record<NodeRole, number>> = { observer: 0, member: 1, admin: 2 };

export function may(identity: Identity, right: Right): boolean {
  switch (identity.kind) {
    case 'anonymous':
      return false;
    case 'node':
      return rank[identity.role] >= rank[rights[right].role];
    case 'operator':
      return scopesFor(right).some((scope) => identity.scopes.includes(scope));
  }
}

/** The scopes that give a right; each is enough. */
export function scopesFor(right: Right): readonly Scope[] {
  if (right === 'read') return scopes;
  if (right === 'admin') return ['admin'];
  return right === 'act' ? ['act', 'govern', 'admin'] : [right, 'admin'];
}

/** Whether an identity may use what asks for this access; `named` is the node id that the path names, if it does. */
export function mayUse(identity: Identity, access: Access, named?: string): boolean {
  if (access === 'anyone') return true;
  if (access === 'node') return identity.kind === 'node';
  if (access === 'worker') return identity.kind === 'node' && may(identity, 'act');
  if (access === 'itself') return identity.kind === 'node' && identity.nodeId === named;
  return may(identity, access);
}
