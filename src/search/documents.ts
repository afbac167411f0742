/** What each fact means for the index: one table, event by event. */
import type { EventType, LogEvent } from '../events/catalog.ts';
import type { Sealed } from '../events/sealed.ts';
import { patternsOf, subjectOf } from '../knowledge.ts';
import type { SealedKind } from '../sealed.ts';
import type { Gone, SearchDocument } from './store.ts';

/** A document whose words are still sealed. */
export interface SealedDocument extends Omit<SearchDocument, 'title' | 'text'> {
  readonly sealed: SealedContent;
}

export interface SealedContent {
  readonly kind: SealedKind;
  readonly content: Sealed;
  /** Takes title and text out of what was sealed, which is JSON. */
  readonly read: (json: unknown) => Pick<SearchDocument, 'title' | 'text'>;
}

export type SearchChange = { readonly put: SearchDocument | SealedDocument } | { readonly remove: Gone };

type Changes = { readonly [T in EventType]?: (event: LogEvent<T>) => SearchChange };

export const changes = {
  'message.sent': ({ data, position }) => ({
    put: {
      kind: 'message',
      id: data.message_id,
      rank: '',
      subject: data.content.subject,
      labels: [`box:${data.box}`, `from:${data.from}`],
      position,
      expiresAt: Date.parse(data.expires_at),
      sealed: { kind: 'message', content: data.content, read: (content) => ({ title: '', text: textIn(content) }) },
    },
  }),
  'mail.purged': ({ data }) => ({ remove: { expiredBefore: Date.parse(data.before) } }),
  'memory.stored': (event) => ({
    put: {
      kind: 'memory',
      id: event.data.memory_id,
      rank: event.data.clock,
      subject: event.data.content.subject,
      labels: memoryLabels(event),
      position: event.position,
      sealed: { kind: 'memory', content: event.data.content, read: memoryWords },
    },
  }),
  'memory.deleted': ({ data, position }) => ({ put: goneMemory(data, position) }),
  'memory.let-go': ({ data, position }) => ({ put: goneMemory(data, position) }),
  'keyring.subject-erased': ({ data }) => ({ remove: { subject: data.subject } }),
} satisfies Changes;

/** Types of events that change the index. */
export const followedTypes = Object.keys(changes) as (keyof typeof changes)[];

/** What an event changes. Types that are not in the table change nothing. */
export function changeBy(event: LogEvent): SearchChange | undefined {
  // the handler of a type takes events of that type
  const handler = (changes as Changes)[event.type] as ((event: LogEvent) => SearchChange) | undefined;
  return handler?.(event);
}

function goneMemory(
  { memory_id: id, clock: rank }: { memory_id: string; clock: string },
  position: number,
): SearchDocument {
  return { kind: 'memory', id, rank, subject: '', labels: [], title: '', text: '', gone: true, position };
}

function memoryLabels({ data, meta }: LogEvent<'memory.stored'>): string[] {
  const { owner, author, category, tags, foreign } = data;
  const subject = subjectOf(foreign ? meta.actor : owner);
  const words = category.split('/');
  return [
    `owner:${owner}`,
    `author:${author}`,
    `category:${category}`,
    ...words.map((_, at) => `under:${words.slice(0, at + 1).join('/')}`),
    ...patternsOf(category).map((pattern) => `of:${subject} ${pattern}`),
    ...tags.map((tag) => `tag:${tag}`),
    ...(foreign ? [`federation:${foreign.federation}`] : []),
  ];
}

function memoryWords(json: unknown): Pick<SearchDocument, 'title' | 'text'> {
  if (typeof json !== 'object' || json === null) return { title: '', text: textIn(json) };
  const title = 'title' in json && typeof json.title === 'string' ? json.title : '';
  return { title, text: 'content' in json ? textIn(json.content) : '' };
}

/** Values that are looked at; the doors let in no more. */
const mostValues = 100_000;

/** Strings and numbers of a JSON value at any depth, a line each. Names of members are not among them. */
function textIn(json: unknown): string {
  const lines: string[] = [];
  const open: unknown[] = [json];
  for (let seen = 0; open.length > 0 && seen < mostValues; seen++) {
    const value = open.pop();
    if (typeof value === 'string') lines.push(value);
    else if (typeof value === 'number') lines.push(String(value));
    else if (typeof value === 'object' && value !== null) open.push(...Object.values(value).reverse());
  }
  return lines.join('\n');
}
