/** The line to another hub: this hub's node there, and syncs one after another, each written down when it brought anything, or failed. */
import { decodeJwt } from 'jose';
import type { FederationNode, SyncResult } from '../../client/node.ts';
import { type PeerLink, peer, peerStream, syncedPeer } from '../../commands/peer.ts';
import type { EventData } from '../../events/catalog.ts';
import type { SyncProgress, SyncScope } from '../../events/knowledge.ts';
import type { Sovereignty } from '../../events/sovereignty.ts';
import type { Hub } from '../../hub.ts';
import type { Cancel } from '../../kernel.ts';
import type { PeerRow } from '../../projections/peers.ts';
import { peerKey } from './peer-key.ts';
import { type PeerParts, PeerSide } from './peer-side.ts';

const retryMs = 5_000;
/** That nothing happened is written down this often. */
const quietMs = 300_000;
const askMs = 10_000;

/** This hub as a node of another. */
export async function linkNode(hub: Hub, link: PeerLink, invite?: string): Promise<FederationNode> {
  const { FederationNode } = await import('../../client/node.ts'); // most hubs have no peers
  const { kernel } = hub;
  const node = new FederationNode({
    url: link.url,
    nodeId: link.node_id,
    key: await peerKey(hub.keyring, link.peer_id),
    displayName: `hub ${hub.federationId}`.slice(0, 64),
    labels: { federation: hub.federationId },
    agent: await hub.egress.agent(link.url),
    clock: {
      monotonicMs: () => kernel.monotonicMs(),
      random: () => kernel.random(),
      after: (ms, fn) => kernel.after(ms, fn),
    },
    ...(invite !== undefined && { invite }),
  });
  node.on('error', (error) => kernel.log.debug({ err: error, peer: link.peer_id }, 'trouble with a peer'));
  return node;
}

export class PeerLine {
  readonly #parts: PeerParts;
  readonly #link: PeerLink;
  readonly #abort = new AbortController();
  #node: FederationNode | undefined;
  #side: { readonly there: string; readonly side: PeerSide } | undefined;
  #declared = false;
  #wait: Cancel = () => {};
  #told = Number.NEGATIVE_INFINITY;
  #outcome: string | undefined;

  constructor(parts: PeerParts, row: PeerRow) {
    this.#parts = parts;
    this.#link = linkOf(row);
    this.#run();
  }

  isFor(row: PeerRow): boolean {
    return JSON.stringify(linkOf(row)) === JSON.stringify(this.#link);
  }

  /** Something that came from another federation was let go of here. */
  forget(): void {
    this.#side?.side.forget();
  }

  close(): void {
    this.#abort.abort(new Error('this hub syncs with that one no more'));
    this.#wait();
    this.#node?.close();
  }

  /** One sync, and after a while the next. */
  #run(): void {
    void this.#sync()
      .catch((error: unknown) => this.#failed(error))
      .then((failed) => {
        if (this.#abort.signal.aborted) return;
        const ms = this.#link.every_seconds * 1_000;
        this.#wait = this.#parts.hub.kernel.after(failed === 'failed' ? Math.max(retryMs, ms) : ms, () => this.#run());
      });
  }

  async #sync(): Promise<void> {
    const { kernel, federationId } = this.#parts.hub;
    const node = await this.#connected();
    const there = decodeJwt(node.token ?? '').iss;
    if (there === undefined) throw new Error('the other hub does not say which federation it is');
    if (there === federationId) throw new Error('the other hub is of this very federation');
    if (this.#side?.there !== there) {
      this.#side = { there, side: new PeerSide(this.#parts, this.#link.peer_id, there) };
    }
    await this.#declare(node);
    const { side } = this.#side;
    const { direction, scope } = this.#link;
    const { signal } = this.#abort;
    const result = await node.sync(side, { direction, scope: side.scope(scope), signal });
    const now = kernel.monotonicMs();
    const moved = result.pulled + result.pushed + result.refused.length > 0;
    if (!moved && this.#outcome === 'completed' && now - this.#told < quietMs) return;
    await this.#tell({ ...progressOf(result), outcome: 'completed' });
  }

  /** This hub's node, once it has a session. Waits for one for as long as the other hub is away. */
  async #connected(): Promise<FederationNode> {
    this.#node ??= await linkNode(this.#parts.hub, this.#link);
    if (this.#abort.signal.aborted) this.#node.close();
    const node = this.#node;
    try {
      await node.connect();
    } catch (error) {
      this.#node = undefined; // it is closed for good
      throw error;
    }
    if (node.token === undefined) throw new Error('there is no session now');
    return node;
  }

  /** Says there what this hub takes, when nothing was said for it yet. What it brings is shared with nobody until somebody says so. */
  async #declare(node: FederationNode): Promise<void> {
    if (this.#declared) return;
    const path = `/knowledge/sovereignty/${this.#link.node_id}`;
    const said = (await this.#ask(node, 'GET', path)) as { sovereignty?: { version?: number } } | undefined;
    const takes = [
      { id: 'peer', categories: takenBy(this.#link.scope), with: { everyone: true as const }, foreign: true },
    ];
    if (said?.sovereignty?.version === 0) {
      await this.#ask(node, 'PUT', path, { shares: [], takes } satisfies Sovereignty);
    }
    this.#declared = true;
  }

  async #ask(node: FederationNode, method: string, path: string, body?: object): Promise<unknown> {
    const base = this.#link.url.replace(/\/+$/, '');
    const { status, body: answer } = await this.#parts.hub.egress.request(`${base}/api/federation${path}`, {
      method,
      headers: { authorization: `Bearer ${node.token}`, ...(body && { 'content-type': 'application/json' }) },
      ...(body && { body: JSON.stringify(body) }),
      timeoutMs: askMs,
      signal: this.#abort.signal,
    });
    let text = '';
    for await (const part of answer.setEncoding('utf8')) {
      text += part;
      if (text.length > 1_000_000) throw new Error('the other hub answers too much');
    }
    if (status >= 300) throw new Error(`the other hub answers ${status} to ${method} ${path}`);
    return JSON.parse(text);
  }

  async #failed(error: unknown): Promise<'failed'> {
    if (this.#abort.signal.aborted) return 'failed';
    const said = (error instanceof Error ? error.message : String(error)).slice(0, 512);
    const none = { rounds: 0, pulled: 0, pushed: 0, refused: 0, bytes: 0 };
    this.#parts.hub.kernel.log.debug({ err: error, peer: this.#link.peer_id }, 'a sync with a peer failed');
    if (this.#outcome !== said) await this.#tell({ ...none, outcome: 'failed', error: said }).catch(() => {}); // the next failure tells it
    return 'failed';
  }

  async #tell(synced: Omit<EventData<'peer.synced'>, 'peer_id'>): Promise<void> {
    const { hub } = this.#parts;
    const { peer_id } = this.#link;
    await hub.executor.execute(peerStream(peer_id), peer, syncedPeer, { peer_id, ...synced }, { actor: 'hub' });
    this.#told = hub.kernel.monotonicMs();
    this.#outcome = synced.error ?? synced.outcome;
  }
}

function linkOf({ peer_id, url, node_id, scope, direction, every_seconds }: PeerRow): PeerLink {
  return { peer_id, url, node_id, scope, direction, every_seconds };
}

/** Categories that a scope is about, as rules name them. */
function takenBy(scope: SyncScope): string[] {
  return (scope.mode === 'targeted' && scope.categories?.map((category) => `${category}/*`)) || ['*'];
}

function progressOf({ rounds, pulled, pushed, refused, frameBytes }: SyncResult): SyncProgress {
  return { rounds, pulled, pushed, refused: refused.length, bytes: frameBytes };
}
