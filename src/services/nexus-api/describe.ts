/**
 * What the routes say of the problems they may answer: each status with the codes it stands for, and an example of each.
 *
 * A route names its own codes in `responses`; those that come from its door, its shape and the log are added here, so that
 * no route forgets them. Examples lie once in the description, and are referred to.
 */
import type { RouteOptions } from 'fastify';
import { type TSchema, Type } from 'typebox';
import { type Code, codes } from '../../errors.ts';

/** A problem document. `code` is stable; `docs/errors.md` explains each. */
export const Problem = Type.Object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.Enum(Object.keys(codes) as [Code, ...Code[]]), // the list is not empty
    detail: Type.Optional(Type.String()),
    instance: Type.Optional(Type.String()),
    trace_id: Type.Optional(Type.String({ description: 'Of the trace that the request belongs to' })),
  },
  { $id: 'Problem', description: 'RFC 9457 problem. `code` never changes its meaning.' },
);

interface ProblemResponse {
  description: string;
  content: { 'application/problem+json': { schema: object; examples: Record<string, object> } };
}

/** Responses of a route: what it answers, and the problems that only this route may answer. */
export function responses(status: number, body: TSchema, ...problems: Code[]): Record<number, object> {
  const all: Record<number, object> = { [status]: { 'x-response-description': describeAnswer(status, body), ...body } };
  for (const code of problems) addProblem(all, code);
  return all;
}

/** Adds to a route the problems that its access, its shape and its method imply. Doing it twice is harmless. */
export function describeProblems(route: RouteOptions): void {
  const response: Record<number, object> = { ...(route.schema?.response as Record<number, object> | undefined) }; // made by `responses`
  for (const code of impliedProblems(route)) addProblem(response, code);
  route.schema = { ...route.schema, response };
}

function impliedProblems({ config, schema, method }: RouteOptions): Code[] {
  const implied: Code[] = ['internal_error'];
  if (config?.access !== 'anyone') {
    implied.push('unauthenticated', 'token_expired', 'session_superseded', 'forbidden', 'banned', 'access_blocked');
    implied.push('signature_invalid', 'signature_expired', 'nonce_used', 'digest_mismatch');
  }
  if (!config?.unlimited) implied.push('rate_limited', 'guard_unavailable', 'service_unavailable');
  if (config?.work?.from !== undefined) implied.push('shedding');
  if (schema?.params || schema?.querystring || schema?.headers || schema?.body) implied.push('invalid_input');
  if (schema?.body) implied.push('payload_too_large', 'unsupported_media_type');
  if (schema?.headers) implied.push('idempotency_mismatch'); // `writeHeaders`
  if (method !== 'GET' && method !== 'HEAD') implied.push('not_ready', 'overloaded', 'log_unavailable', 'log_full');
  if (schema?.querystring) implied.push('views_unavailable'); // queries are asked of the views
  return implied;
}

function addProblem(all: Record<number, object>, code: Code): void {
  const { status, title } = codes[code];
  const known = all[status];
  if (known && !isProblem(known)) return; // the route answers this status in words of its own
  const examples = known?.content['application/problem+json'].examples ?? {};
  const description = known && !(code in examples) ? `${known.description}; ${title}` : (known?.description ?? title);
  const media = {
    schema: { $ref: 'Problem#' },
    examples: { ...examples, [code]: { $ref: `#/components/examples/${code}` } },
  };
  all[status] = { description, content: { 'application/problem+json': media } } satisfies ProblemResponse;
}

function isProblem(response: object): response is ProblemResponse {
  return 'content' in response;
}

/** An example of each problem, for the `components` of the description. */
export const problemExamples: Readonly<Record<string, { value: object }>> = Object.fromEntries(
  Object.entries(codes).map(([code, { status, title }]) => [
    code,
    { value: { type: 'about:blank', title, status, code, instance: 'urn:uuid:0192f3a4-5b6c-7d8e-9f00-112233445566' } },
  ]),
);

function describeAnswer(status: number, body: TSchema): string {
  const { description } = body as { description?: string };
  return description ?? (status === 202 ? 'Accepted; it goes on after the answer' : 'Done');
}
