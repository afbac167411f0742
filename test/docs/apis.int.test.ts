/** The descriptions of the HTTP API and of the packets are those of the code, valid, and say what is needed to use them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import asyncApiSpecs from '@asyncapi/specs';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv, type AnySchemaObject } from 'ajv';
import formats from 'ajv-formats';
import { beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { generate } from '../../docs/generate.ts';
import { codes } from '../../src/errors.ts';
import { clientPackets, hubPackets } from '../../src/protocol.ts';

interface Problems {
  readonly examples: Record<string, { $ref: string }>;
}
interface Examples {
  readonly examples: Record<string, { value: { code: string; status: number } }>;
}
interface Operation {
  readonly operationId?: string;
  readonly summary?: string;
  readonly tags?: string[];
  readonly responses: Record<string, { description: string; content?: Record<string, unknown> }>;
}

let generated: Record<string, string>;
beforeAll(async () => {
  generated = await generate();
});

it.each(['openapi.yaml', 'asyncapi.yaml', 'roles.md'])('docs/%s is what `npm run docs` writes', (name) => {
  expect(readFileSync(join(import.meta.dirname, '../../docs', name), 'utf8')).toBe(generated[name]);
});

describe('the OpenAPI description', () => {
  const operations = (): [string, Operation][] =>
    Object.entries<Record<string, Operation>>(parse(generated['openapi.yaml']!).paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]): [string, Operation] => [`${method} ${path}`, operation]),
    );

  it('is valid OpenAPI 3.1', async () => {
    const validator = new Validator();
    const result = await validator.validate(parse(generated['openapi.yaml']!));
    expect(result).toEqual({ valid: true });
    expect(validator.version).toBe('3.1');
  });

  it('gives every operation a name of its own, a summary, a tag, and described answers', () => {
    const names = operations().map(([, { operationId }]) => operationId);
    expect(new Set(names).size).toBe(names.length);
    for (const [where, { operationId, summary, tags, responses }] of operations()) {
      expect(operationId, where).toMatch(/^[a-z][A-Za-z]+$/);
      expect(summary?.length, where).toBeGreaterThan(5);
      expect(tags?.length, where).toBe(1);
      for (const { description } of Object.values(responses)) expect(description, where).not.toBe('Default Response');
    }
  });

  it('shows for every problem an example with the code and status it has', () => {
    let examples = 0;
    const { components }: { components: Examples } = parse(generated['openapi.yaml']!);
    for (const [where, { responses }] of operations()) {
      expect(Object.keys(responses), where).toContain('500');
      for (const [status, { content }] of Object.entries(responses)) {
        const problems = content?.['application/problem+json'] as Problems | undefined; // written so by describe.ts
        for (const [code, { $ref }] of Object.entries(problems?.examples ?? {})) {
          expect($ref, where).toBe(`#/components/examples/${code}`);
          expect(components.examples[code]?.value, where).toMatchObject({ code, status: Number(status) });
          expect(codes, where).toHaveProperty(code);
          examples++;
        }
      }
    }
    expect(examples).toBeGreaterThan(operations().length);
  });
});

describe('the AsyncAPI description', () => {
  it('is valid AsyncAPI 3.0', () => {
    // The schema of AsyncAPI brings the schema of schemas itself; Ajv's own would stand in its way.
    const ajv = formats.default(new Ajv({ strict: false, meta: false, validateSchema: false }));
    const schema = asyncApiSpecs.schemas['3.0.0'] as AnySchemaObject; // both are JSON schemas; only Ajv's type is looser
    const valid = ajv.validate(schema, parse(generated['asyncapi.yaml']!));
    expect(ajv.errors ?? []).toEqual([]);
    expect(valid).toBe(true);
  });

  it('has a channel for every packet, and its references lead somewhere', () => {
    const document = parse(generated['asyncapi.yaml']!);
    const addresses = Object.values<{ address: string }>(document.channels).map(({ address }) => address);
    const names = new Set([...Object.keys(clientPackets), ...Object.keys(hubPackets)]); // some go both ways
    expect(addresses.sort()).toEqual([...names].sort());
    const targets = [...generated['asyncapi.yaml']!.matchAll(/\$ref: "#\/(.+)"/g)].map(([, path]) => path!);
    expect(targets.length).toBeGreaterThan(addresses.length);
    for (const path of targets) {
      const target = path.split('/').reduce((at: Record<string, never> | undefined, name) => at?.[name], document);
      expect(target, path).toBeDefined();
    }
  });
});
