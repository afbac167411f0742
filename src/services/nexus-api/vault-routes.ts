/** How routes of the vault are added: each is given the vault, and no cache keeps what they answer. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Vault } from '../secrets-vault.ts';

const tags = ['secrets'];

type Handler<Route> = (vault: Vault, request: FastifyRequest & Route, reply: FastifyReply) => Promise<FastifyReply>;
type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

export interface VaultRoutes {
  add<Route>(
    method: Method,
    url: string,
    options: { access: 'read' | 'act' | 'operate' | 'govern'; schema: object; bodyLimit?: number },
    handler: Handler<Route>,
  ): void;
}

export function vaultRoutes(api: FastifyInstance, vault: Vault): VaultRoutes {
  api.addHook('onRequest', async (_request, reply) => void reply.header('cache-control', 'no-store'));
  return {
    add: (method, url, { access, schema, bodyLimit }, handler) =>
      void api.route({
        method,
        url,
        config: { access },
        schema: { tags, ...schema },
        ...(bodyLimit && { bodyLimit }),
        handler: (request, reply) => handler(vault, request as never, reply), // the route's schema made its parts what `Route` says
      }),
  };
}
