/** Patterns of event types, as NATS has them for subjects: compiled to the set of types that they mean. */
import { catalog, type EventType } from '../../events/catalog.ts';
import type { EventFilter } from '../../events/subscription.ts';
import { isTold } from './visible.ts';

const told = (Object.keys(catalog) as EventType[]).filter(isTold);

/** The types that are told to anyone at all and that one of these patterns names: `*` is one word, a `>` at the end one or more. */
export function typesOf(patterns: readonly string[]): ReadonlySet<EventType> {
  return new Set(told.filter((type) => patterns.some((pattern) => names(pattern, type))));
}

/** Whether a pattern names a type. */
export function names(pattern: string, type: string): boolean {
  const wanted = pattern.split('.');
  const words = type.split('.');
  const open = wanted.at(-1) === '>';
  if (open ? words.length < wanted.length : words.length !== wanted.length) return false;
  return wanted.every((word, at) => word === '*' || (open && at === wanted.length - 1) || word === words[at]);
}

/** Whether data has the wanted members. They are compared as text: `5` is `'5'`, as a URL would say it. */
export function fits(filter: EventFilter | null | undefined, data: object): boolean {
  if (!filter) return true;
  return Object.entries(filter).every(([name, wanted]) => {
    const has = Object.hasOwn(data, name) ? (data as Record<string, unknown>)[name] : undefined;
    return has !== undefined && has !== null && typeof has !== 'object' && String(has) === String(wanted);
  });
}
