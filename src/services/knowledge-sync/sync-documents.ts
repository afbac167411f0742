/** The documents of a sync: each is judged at the moment it goes, and written down as moved before it does; each that comes is checked. */
import type { About } from '../../commands/execute.ts';
import { isRefusal } from '../../errors.ts';
import type { Hub } from '../../hub.ts';
import { isoTime } from '../../kernel.ts';
import type { MemoryHead } from '../../projections/memories.ts';
import { findHeads } from '../../projections/memory-queries.ts';
import { findPlaces, findVersionsById, type MemoryVersionRow } from '../../projections/memory-versions.ts';
import type { Document, Receipt } from '../../protocol/knowledge.ts';
import type { Grant, Judge } from '../../sovereignty.ts';
import { openContent } from './content.ts';
import type { Holdings, Move } from './holdings.ts';
import type { Memories } from './memories.ts';
import type { Members } from './standing.ts';

/** Bytes of what documents of one answer say; the first comes however large it is. */
const mostBytes = 256 * 1024;
/** Of names, clocks and what else stands around what a document says, about. */
const aroundBytes = 1_024;

export interface RefusedVersion {
  readonly version: string;
  readonly code: string;
  readonly detail: string;
}

/** What a version that replaced another is taken to say. */
const replacingBytes = 64 * 1024;

export interface DocumentParts {
  readonly hub: Pick<Hub, 'views' | 'keyring' | 'kernel' | 'federationId'>;
  readonly members: Members;
  readonly holdings: Holdings;
  readonly memories: Memories;
}

/**
 * Documents for a holder, as many as fit. Of versions that were replaced meanwhile those come that replaced them. `refused` are those that
 * will not come: asked for again, neither would they then. The others did not fit.
 */
export async function giveDocuments(
  { hub, members, holdings }: DocumentParts,
  holder: string,
  versions: readonly string[],
  about: About,
  syncId: string,
): Promise<{ documents: Document[]; refused: RefusedVersion[] }> {
  const { db } = hub.views;
  const places = new Map((await findPlaces(db, versions)).map((place) => [place.version, place]));
  const ids = [...new Set([...places.values()].map(({ memory_id }) => memory_id))];
  const found = ids.length > 0 ? await findHeads(db, ids) : new Map();
  const judge = members.judge(holder, 'move');
  const refused: RefusedVersion[] = [];
  const going = new Map<string, Move>();
  let bytes = 0;
  for (const version of versions) {
    const place = places.get(version);
    const heads: readonly MemoryHead[] = found.get(place?.memory_id)?.heads ?? [];
    const head = heads.find((one) => one.version === version);
    const wanted = place ? allowed(judge, head ? [head] : heads, hub.kernel.now()) : [];
    const size = head ? aroundBytes + place!.bytes : wanted.length * replacingBytes; // there is a head only with a place
    if (going.size > 0 && bytes + size > mostBytes && wanted.length > 0) continue;
    bytes += size;
    if (!head || wanted.length === 0) refused.push(goneOrBarred(version, wanted.length > 0));
    for (const { head: next, grant } of wanted) {
      going.set(next.version, { memoryId: place!.memory_id, version: next.version, grant });
    }
  }
  const rows = going.size > 0 ? await findVersionsById(db, [...going.keys()]) : [];
  const documents: Document[] = [];
  for (const row of rows) documents.push(await documentOf(hub, row, going.get(row.version)!.grant)); // asked for by these
  const copies = documents.filter(({ deleted }) => !deleted).map(({ version }) => going.get(version)!); // as above
  await holdings.recordMoves(holder, copies, about, syncId);
  return { documents, refused };
}

/** Takes what a node brings. `taken` are those that the hub has now; the others it will not have. Throws a `Fault`; then it may be brought again. */
export async function takeDocuments(
  { memories }: DocumentParts,
  actor: string,
  documents: readonly Document[],
  about: About,
): Promise<{ taken: string[]; fresh: number; refused: RefusedVersion[] }> {
  const done = await Promise.all(documents.map((document) => memories.take(document, actor, about)));
  const taken: string[] = [];
  const refused: RefusedVersion[] = [];
  let fresh = 0;
  for (const [at, { version }] of documents.entries()) {
    const one = done[at]!; // one a document
    if (isRefusal(one)) refused.push({ version, code: one.refused, detail: one.detail });
    else taken.push(version);
    if (!isRefusal(one) && one.reply.taken) fresh++;
  }
  return { taken, fresh, refused };
}

function allowed(judge: Judge | undefined, heads: readonly MemoryHead[], now: number) {
  return heads.flatMap((head) => {
    const grant = judge?.judge(head, now);
    return grant ? [{ head, grant }] : [];
  });
}

/** What is not allowed is not told from what is not there. */
function goneOrBarred(version: string, replaced: boolean): RefusedVersion {
  const detail = replaced
    ? 'it was replaced meanwhile, and what replaced it comes'
    : 'there is no such version for you';
  return { version, code: 'not_found', detail };
}

async function documentOf(hub: DocumentParts['hub'], row: MemoryVersionRow, grant: Grant): Promise<Document> {
  const { memory_id, version, clock, owner, author, category, tags, seen, sealed_content, origin } = row;
  const content = sealed_content ? await openContent(hub, sealed_content) : undefined;
  const deleted = row.deleted === 1;
  const said = { memory_id, version, clock, owner, author, category, tags, seen, deleted };
  return {
    ...said,
    ...(content && { content }),
    ...(origin && { foreign: origin }),
    receipt: receiptOf(hub.federationId, grant),
  };
}

function receiptOf(federation: string, { subject, rule, policyVersion, passOn, edit, until }: Grant): Receipt {
  const allows = { subject, rule, policy_version: policyVersion, pass_on: passOn, edit };
  return { federation, ...allows, ...(until !== undefined && { until: isoTime(until) }) };
}
