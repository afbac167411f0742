/**
 * A process of its own that asks a hub for work, or beats for many nodes. It is told what to do by messages:
 * `feel` finds out how busy the machine is with others, `closed` how much the hub can, `open` sends at a rate whatever comes back, `beat` has nodes live until `rest`, and `tell` asks how they do.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { RawSocket } from '../security/raw-socket.ts';
import { joinBySocket } from '../security/visitor.ts';
import { Connections } from './overload-http.ts';

export interface Place {
  readonly url: string;
  readonly federationId: string;
  readonly adminToken: string;
}

export type Wish =
  | { readonly do: 'feel' }
  | { readonly do: 'closed'; readonly place: Place; readonly seconds: number; readonly workers: number }
  | { readonly do: 'open'; readonly place: Place; readonly seconds: number; readonly perSecond: number }
  | { readonly do: 'beat'; readonly place: Place; readonly nodes: number; readonly everyMs: number }
  | { readonly do: 'tell' }
  | { readonly do: 'rest' };

export interface Worked {
  readonly seconds: number;
  readonly sent: number;
  /** By tier and outcome: `ok`, the code of a refusal, or `lost`. */
  readonly outcomes: Readonly<Record<string, number>>;
  /** Milliseconds from when it was to be sent to the answer. */
  readonly okP99: number;
  readonly shedP50: number;
  readonly shedP99: number;
  /** What the hub said that it has, by type of event: ids. */
  readonly acknowledged: Readonly<Record<string, string[]>>;
}

export interface Beaten {
  readonly beats: number;
  readonly p50: number;
  readonly p99: number;
  readonly worst: number;
  readonly failed: readonly string[];
}

type Tier = 'P1' | 'P2' | 'Nexus';
interface Outcome {
  readonly tier: Tier;
  readonly code: string;
  readonly made?: readonly [type: string, id: string];
}

class Worker {
  readonly #place: Place;
  readonly #name: string;
  readonly #http: Connections;
  readonly #sockets: RawSocket[] = [];
  #count = 0;

  private constructor(place: Place, name: string) {
    this.#place = place;
    this.#name = name;
    this.#http = new Connections(place.url, 250);
  }

  static async open(place: Place, name: string): Promise<Worker> {
    const worker = new Worker(place, name);
    for (let n = 0; n < 10; n++) worker.#sockets.push((await joinBySocket(place, `${name}-${n}`)).socket);
    return worker;
  }

  close(): void {
    this.#http.close();
    for (const socket of this.#sockets) socket.close();
  }

  /** One request or packet, each of a kind in its turn. */
  async ask(): Promise<Outcome> {
    const n = this.#count++;
    const at = this.#sockets[Math.floor(n / 10) % this.#sockets.length]!;
    switch (n % 10) {
      case 0:
      case 1:
        return this.#post(
          'P2',
          '/memory/store',
          { category: 'notes', content: `words of memory ${n}` },
          'memory.stored',
        );
      case 2:
        return this.#get('P2', `/memory/search?q=words&limit=20`);
      case 3:
        return this.#get('P2', '/messages?limit=20');
      case 4:
        return this.#post('P1', '/tasks', { type: 'nobody-does-it', payload: { n } }, 'task.submitted');
      case 5:
        return this.#get('P1', '/tasks?limit=20');
      case 6:
        return this.#packet('P1', at, 'federation:task:submit', { type: 'nobody-does-it' }, 'task.submitted');
      case 7:
        return this.#get('P1', '/models');
      case 8:
        return this.#get('Nexus', '/entities?limit=20');
      default:
        return this.#packet(
          'Nexus',
          at,
          'entity:register',
          { entity_id: `${this.#name}-${Math.floor(n / 10) % this.#sockets.length}`, kind: 'ai' },
          undefined,
        );
    }
  }

  async #get(tier: Tier, path: string): Promise<Outcome> {
    return outcomeOf(tier, await this.#http.ask('GET', path, this.#place.adminToken));
  }

  async #post(tier: Tier, path: string, body: object, type: string): Promise<Outcome> {
    const answer = await this.#http.ask('POST', path, this.#place.adminToken, body);
    const outcome = outcomeOf(tier, answer);
    if (outcome.code !== 'ok') return outcome;
    const { task_id, memory_id } = JSON.parse(answer!.body) as Record<string, string>; // as the routes answer
    return { ...outcome, made: [type, task_id ?? memory_id!] };
  }

  async #packet(tier: Tier, at: RawSocket, name: string, packet: object, type: string | undefined): Promise<Outcome> {
    const answer = await at.ask(name, packet);
    if (!answer.ok) return { tier, code: answer.error!.code };
    return { tier, code: 'ok', ...(type && { made: [type, String(answer.task_id)] as const }) };
  }
}

function outcomeOf(tier: Tier, answer: { status: number; body: string } | undefined): Outcome {
  if (!answer) return { tier, code: 'lost' };
  if (answer.status < 300) return { tier, code: 'ok' };
  const { code = String(answer.status) } = JSON.parse(answer.body || '{}') as { code?: string };
  return { tier, code };
}

class Tally {
  readonly #outcomes = new Map<string, number>();
  readonly #ok: number[] = [];
  readonly #shed: number[] = [];
  readonly #acknowledged: Record<string, string[]> = {};
  sent = 0;

  note({ tier, code, made }: Outcome, tookMs: number): void {
    const key = `${tier} ${code}`;
    this.#outcomes.set(key, (this.#outcomes.get(key) ?? 0) + 1);
    if (code === 'ok') this.#ok.push(tookMs);
    if (code === 'shedding') this.#shed.push(tookMs);
    if (made) {
      this.#acknowledged[made[0]] ??= [];
      this.#acknowledged[made[0]]!.push(made[1]);
    }
  }

  worked(seconds: number): Worked {
    return {
      seconds,
      sent: this.sent,
      outcomes: Object.fromEntries(this.#outcomes),
      okP99: quantile(this.#ok, 0.99),
      shedP50: quantile(this.#shed, 0.5),
      shedP99: quantile(this.#shed, 0.99),
      acknowledged: this.#acknowledged,
    };
  }
}

function quantile(values: number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return Math.round((sorted[Math.floor(sorted.length * share)] ?? 0) * 10) / 10;
}

/** As many at once as there are workers, each the next when the one before is answered. */
async function closed(place: Place, seconds: number, workers: number): Promise<Worked> {
  const worker = await Worker.open(place, 'closed');
  const tally = new Tally();
  const began = performance.now();
  const end = began + seconds * 1_000;
  const loop = async () => {
    while (performance.now() < end) {
      const sent = performance.now();
      tally.sent++;
      tally.note(await worker.ask(), performance.now() - sent);
    }
  };
  await Promise.all(Array.from({ length: workers }, loop));
  worker.close();
  return tally.worked((performance.now() - began) / 1_000);
}

/** So many a second, whatever is answered, and how long that takes counts from when each was to be sent. */
async function open(place: Place, seconds: number, perSecond: number): Promise<Worked> {
  const worker = await Worker.open(place, 'open');
  const tally = new Tally();
  const began = performance.now();
  let answered = 0;
  while (performance.now() - began < seconds * 1_000) {
    const due = Math.floor(((performance.now() - began) / 1_000) * perSecond);
    for (; tally.sent < due; tally.sent++) {
      const wanted = began + (tally.sent / perSecond) * 1_000;
      void worker.ask().then((outcome) => {
        answered++;
        tally.note(outcome, performance.now() - wanted);
      });
    }
    await sleep(5);
  }
  const patience = performance.now() + 15_000;
  while (answered < tally.sent && performance.now() < patience) await sleep(20);
  for (let lost = tally.sent - answered; lost > 0; lost--) tally.note({ tier: 'P2', code: 'unanswered' }, 0);
  worker.close();
  return tally.worked(seconds);
}

class Heart {
  readonly #took: number[] = [];
  readonly #failed: string[] = [];
  #beating = true;
  #done: Promise<unknown> = Promise.resolve();

  async begin(place: Place, nodes: number, everyMs: number): Promise<void> {
    const sockets: { nodeId: string; socket: RawSocket }[] = [];
    for (let n = 0; n < nodes; n++) sockets.push(await joinBySocket(place, `beating-${n}`));
    this.#done = Promise.all(sockets.map(({ nodeId, socket }, n) => this.#beat(nodeId, socket, everyMs, n / nodes)));
  }

  async #beat(nodeId: string, socket: RawSocket, everyMs: number, phase: number): Promise<void> {
    await sleep(everyMs * phase);
    while (this.#beating) {
      const began = performance.now();
      const answer = await socket.ask('federation:heartbeat', { node_id: nodeId, resources: { cpu_percent: 1 } });
      const tookMs = performance.now() - began;
      this.#took.push(tookMs);
      if (!answer.ok) this.#failed.push(`${nodeId} ${answer.error?.code}`);
      await sleep(Math.max(1, everyMs - tookMs));
    }
    socket.close();
  }

  async rest(): Promise<Beaten> {
    this.#beating = false;
    await this.#done;
    return this.tell();
  }

  /** Of all beats by now. */
  tell(): Beaten {
    const took = this.#took;
    const [p50, p99, worst] = [0.5, 0.99, 1].map((share) => quantile(took, Math.min(share, 1 - 1 / took.length)));
    return {
      beats: took.length,
      p50: p50!,
      p99: p99!,
      worst: worst!,
      failed: this.#failed.slice(0, 20),
    };
  }
}

/** How many times longer than by itself a piece of work takes on this machine now. */
async function feel(): Promise<{ slowdown: number }> {
  let [workedMs, tookMs] = [0, 0];
  for (let turn = 0; turn < 40; turn++) {
    const began = performance.now();
    const before = process.cpuUsage();
    let usedMs = 0;
    while (usedMs < 20) {
      const { user, system } = process.cpuUsage(before);
      usedMs = (user + system) / 1_000;
    }
    workedMs += usedMs;
    tookMs += performance.now() - began;
    await sleep(20);
  }
  return { slowdown: Math.max(1, Math.round((tookMs / workedMs) * 10) / 10) };
}

const heart = new Heart();

async function obey(wish: Wish): Promise<object> {
  switch (wish.do) {
    case 'feel':
      return feel();
    case 'closed':
      return closed(wish.place, wish.seconds, wish.workers);
    case 'open':
      return open(wish.place, wish.seconds, wish.perSecond);
    case 'beat':
      await heart.begin(wish.place, wish.nodes, wish.everyMs);
      return {};
    case 'tell':
      return heart.tell();
    case 'rest':
      return heart.rest();
  }
}

process.on('message', (wish: Wish) => void obey(wish).then((answer) => process.send?.(answer)));
