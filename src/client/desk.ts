/** All that a node does for others and has them do, in one place: tasks, messages, and what it says it can do. */
import type { Reading } from '../events/heartbeat.ts';
import type { NodeProfile } from '../events/node.ts';
import type { ClientPacket, TaskSubmission } from '../protocol.ts';
import type { AnyHubPacket } from './connection.ts';
import { HandIns, type SubmitOptions, type TaskHandle } from './hand-in.ts';
import { callHub } from './http.ts';
import { Mail, type MailEars } from './mail.ts';
import { type Line, Sender } from './sender.ts';
import type { Registered } from './session.ts';
import { type ClaimedTask, type ClaimOptions, type TaskHandlers, Work, type WorkOptions } from './work.ts';

/** What a node says of one of its models. What is left out is not known. */
export type ModelClaim = ClientPacket<'federation:models'>['models'][number];

const modelsPatienceMs = 60_000;

export class Desk {
  readonly #line: Line;
  readonly #sender: Sender;
  readonly #work: Work;
  readonly #handIns: HandIns;
  readonly mail: Mail;
  /** What the profile is to say of work; undefined: what the options said. */
  #profile: NodeProfile['work'];
  #models: readonly ModelClaim[] | undefined;

  constructor(line: Line, ears: Omit<MailEars, 'finished' | 'stuck'>) {
    this.#line = line;
    this.#sender = new Sender(line);
    this.#work = new Work(line, this.#sender);
    this.#handIns = new HandIns(line, this.#sender);
    this.mail = new Mail(line, this.#sender, {
      ...ears,
      finished: (packet) => this.#handIns.hear(packet),
      stuck: () => this.#handIns.lookAgain(),
    });
  }

  /** Answers what registrations are to say from now on; a session that is open is told. */
  work(handlers: TaskHandlers, options: WorkOptions): NonNullable<NodeProfile['work']> {
    const profile = this.#work.take(handlers, options);
    this.#profile = profile;
    this.say({ work: profile });
    return profile;
  }

  /** Tells a session that is open of a change of the profile; the next registration says all of it. */
  say(changes: NodeProfile): void {
    if (this.#line.token() !== undefined) void this.#tellProfile(changes);
  }

  async drain(ms: number): Promise<void> {
    await Promise.all([this.#work.drain(ms), this.mail.drain(ms)]);
  }

  claim(options: ClaimOptions): Promise<ClaimedTask | undefined> {
    return this.#work.claim(options);
  }

  submit(submission: TaskSubmission, options: SubmitOptions): Promise<TaskHandle> {
    return this.#handIns.submit(submission, options);
  }

  async models(models: readonly ModelClaim[]): Promise<void> {
    this.#models = models;
    if (this.#line.token() !== undefined) await this.#tellModels(models);
  }

  /** What waits for the hub may go another way now. */
  turned(): void {
    this.#sender.opened();
  }

  /** Takes the packets that are about work, and mail; false for others. These are in no order with what the federation is told. */
  hear(packet: AnyHubPacket): boolean {
    return this.#work.hear(packet) || this.mail.hear(packet);
  }

  /** A heartbeat with what is said in it of tasks. */
  addTo(reading: Reading): Reading {
    return this.#work.addTo(reading);
  }

  /** A session is open. */
  opened({ node, position }: Pick<Registered, 'node' | 'position'>): void {
    this.#sender.opened();
    this.#handIns.opened(position);
    this.mail.opened();
    const said = JSON.stringify([node.work?.capacity, node.work?.types]);
    const wanted = this.#profile && JSON.stringify([this.#profile.capacity, this.#profile.types]);
    if (wanted !== undefined && said !== wanted) void this.#tellProfile({ work: this.#profile! }); // it changed while the node registered
    if (this.#models) this.#tellModels(this.#models).catch((error: Error) => this.#line.trouble(error));
  }

  /** The session is over. */
  dropped(): void {
    this.mail.dropped();
  }

  /** Answers until when the connection is still of use: at most a second; undefined when it is not. */
  close(): Promise<void> | undefined {
    this.#work.close();
    this.#sender.close();
    this.#handIns.close();
    return this.mail.close();
  }

  /** When there is no session any more, the next registration says it. */
  async #tellProfile(changes: NodeProfile): Promise<void> {
    const { nodeId } = this.#line;
    await callHub(this.#line, 'PATCH', `/nodes/${nodeId}`, changes).catch((error: Error) => {
      if (this.#line.token() !== undefined) this.#line.trouble(error);
    });
  }

  async #tellModels(models: readonly ModelClaim[]): Promise<void> {
    await this.#sender.send('federation:models', { models: [...models] }, modelsPatienceMs);
  }
}
