/** Tokens of operators: made, revoked, and remembered when they are used. */
import { appoint, dismissThen } from '../../admins.ts';
import type { About, Executed } from '../../commands/execute.ts';
import {
  createToken,
  operatorToken,
  operatorTokenStream,
  revokeToken,
  usedEveryMs,
  useToken,
} from '../../commands/operator-token.ts';
import { isRefusal, type Refusal, refuse } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { isoTime } from '../../kernel.ts';
import { makeOperatorToken } from '../../operator-token.ts';
import type { Scope } from '../../rights.ts';

/** Tokens that were not revoked; expired ones count until they are. */
const mostTokens = 1_000;
const noRoom = refuse('limit_reached', `there are ${mostTokens} tokens; revoke some first`);

export interface NewToken {
  readonly label: string;
  readonly scopes: readonly Scope[];
  readonly expiresInDays: number | undefined;
}

/** What is shown once. */
export interface ShownToken {
  readonly token: string;
  readonly prefix: string;
  readonly expiresAt: string | undefined;
}

export interface OperatorTokens {
  /** Makes a token; its text is in the reply and nowhere else. Refuses `limit_reached`, `already_done`. */
  create(wanted: NewToken, about: About): Promise<Executed<ShownToken> | Refusal>;
  /** Refuses `not_found`, and `last_admin` for the last one that administers the federation. */
  revoke(prefix: string, about: About): Promise<Executed<undefined> | Refusal>;
  /** A token was shown and taken; written down at most once in a quarter of an hour, in the background. */
  used(prefix: string, address: string): void;
}

/** Whether a token counts among the administrators: those that may lapse by themselves do not. */
function administers(scopes: readonly string[], expiresAt: string | null | undefined): boolean {
  return scopes.includes('admin') && (expiresAt === undefined || expiresAt === null);
}

export function createOperatorTokens(hub: Hub): OperatorTokens {
  const { executor, kernel, live } = hub;
  /** When this replica last wrote down the use of a token; no larger than the tokens there are. */
  const written = new Map<string, number>();

  return {
    async create({ label, scopes, expiresInDays }, about) {
      const open = [...live.operatorTokens.values()].filter(({ revoked_at }) => revoked_at === null).length;
      const full = open >= mostTokens ? noRoom : undefined;
      const { token, prefix, hash } = makeOperatorToken(kernel);
      const expiresAt =
        expiresInDays === undefined ? undefined : isoTime(kernel.now() + expiresInDays * 24 * 3_600_000);
      const wanted = { prefix, hash, label, scopes: [...scopes], expiresAt, full };
      const created = await executor.execute(operatorTokenStream(prefix), operatorToken, createToken, wanted, about);
      if (isRefusal(created)) return created;
      if (administers(scopes, expiresAt)) {
        const refused = await appoint(hub, `operator:${prefix}`, about);
        if (refused) return refused;
      }
      return { position: created.position, reply: { token, prefix, expiresAt } };
    },

    async revoke(prefix, about) {
      const revoke = () => executor.execute(operatorTokenStream(prefix), operatorToken, revokeToken, { prefix }, about);
      const known = live.operatorTokens.get(prefix);
      const counts = known && known.revoked_at === null && administers(known.scopes, known.expires_at);
      return counts ? dismissThen(hub, `operator:${prefix}`, about, revoke) : revoke();
    },

    used(prefix, address) {
      const now = kernel.monotonicMs();
      const last = written.get(prefix);
      if (last !== undefined && now - last < usedEveryMs) return;
      written.set(prefix, now);
      const about = { actor: `operator:${prefix}`, address };
      executor
        .execute(operatorTokenStream(prefix), operatorToken, useToken, { prefix, address }, about)
        .catch((error: unknown) => {
          written.delete(prefix);
          kernel.log.debug({ err: error, prefix }, 'the use of a token was not written down; the next one is');
        });
    },
  };
}
