/** Reads a backup line by line and believes nothing: shapes, order, counts and tree hashes are checked on the way. */
import type { Recorded, RecordedCommand } from '../events/log.ts';
import { MerkleTree } from '../events/merkle.ts';
import { type BackupFoot, type BackupHead, shapes } from './format.ts';

/** It is no whole backup. The message says what is wrong with it, and where. */
export class BackupDamaged extends Error {}

/** What a piece of a backup held. */
export interface Piece {
  readonly events: readonly Recorded[];
  readonly commands: readonly RecordedCommand[];
}

/** No line is longer: an event of the log has a bound of its own far below. */
const longestLine = 64 * 1024 * 1024;
const lineEnd = 0x0a;

export class BackupCheck {
  #head: BackupHead | undefined;
  #foot: BackupFoot | undefined;
  #line = 0;
  #position = 0;
  #commandId = '';
  #events = 0;
  #commands = 0;
  readonly #eventTree = new MerkleTree();
  readonly #commandTree = new MerkleTree();
  /** The beginning of a line whose end did not come yet. */
  #rest: Buffer[] = [];
  #restBytes = 0;

  get head(): BackupHead | undefined {
    return this.#head;
  }

  /** Events and commands so far. */
  get lines(): number {
    return this.#events + this.#commands;
  }

  /** Position of the last event so far. */
  get position(): number {
    return this.#position;
  }

  /** Takes bytes as they come. Throws `BackupDamaged`. */
  take(bytes: Uint8Array): Piece {
    const piece = { events: [] as Recorded[], commands: [] as RecordedCommand[] };
    let from = 0;
    for (let end = bytes.indexOf(lineEnd); end >= 0; end = bytes.indexOf(lineEnd, from)) {
      this.#take(this.#whole(bytes.subarray(from, end)), piece);
      from = end + 1;
    }
    this.#keep(bytes.subarray(from));
    return piece;
  }

  /** After the last byte: head and foot of a backup that is whole. Throws `BackupDamaged` when it is not. */
  end(): { head: BackupHead; foot: BackupFoot } {
    const { head, foot } = { head: this.#head, foot: this.#foot };
    if (this.#restBytes > 0 || !head || !foot) throw new BackupDamaged('the backup is incomplete: it has no end');
    return { head, foot };
  }

  #take(line: Buffer, piece: { events: Recorded[]; commands: RecordedCommand[] }): void {
    this.#line++;
    if (this.#foot) throw this.#damaged('something follows the end of the backup');
    const value = this.#parse(line);
    if (!this.#head) {
      if (!shapes.head.Check(value)) throw this.#damaged('this is not the head of a backup that this hub can read');
      this.#head = value;
    } else if (shapes.event.Check(value)) {
      this.#event(line, value, this.#head);
      piece.events.push(value);
    } else if (shapes.command.Check(value)) {
      this.#command(line, value.command, this.#head);
      piece.commands.push(value.command);
    } else if (shapes.foot.Check(value)) {
      this.#check(value, this.#head);
      this.#foot = value;
    } else if (shapes.broken.Check(value)) {
      throw new BackupDamaged(`the hub could not finish the backup: ${value.broken}`);
    } else throw this.#damaged('this is no line of a backup');
  }

  #event(line: Buffer, { position }: Recorded, head: BackupHead): void {
    if (position <= this.#position || position > head.position || this.#commands > 0) {
      throw this.#damaged(`event ${position} is out of order`);
    }
    this.#position = position;
    this.#events++;
    this.#eventTree.add(line);
  }

  #command(line: Buffer, { id, position }: RecordedCommand, head: BackupHead): void {
    if (id <= this.#commandId || position > head.position) throw this.#damaged(`command ${id} is out of order`);
    this.#commandId = id;
    this.#commands++;
    this.#commandTree.add(line);
  }

  #check({ events, commands, root, commands_root }: BackupFoot, head: BackupHead): void {
    if (events !== this.#events || commands !== this.#commands) {
      throw this.#damaged(
        `there are ${this.#events} events and ${this.#commands} commands, not ${events} and ${commands}`,
      );
    }
    if (this.#position !== head.position) {
      throw this.#damaged(`the last event is ${this.#position}, not ${head.position}`);
    }
    const found = {
      root: this.#eventTree.root().toString('hex'),
      commands_root: this.#commandTree.root().toString('hex'),
    };
    if (found.root !== root) throw this.#damaged(`the hash over the events is ${found.root}, not ${root}`);
    if (found.commands_root !== commands_root) {
      throw this.#damaged(`the hash over the commands is ${found.commands_root}, not ${commands_root}`);
    }
  }

  #parse(line: Buffer): unknown {
    try {
      return JSON.parse(line.toString('utf8'));
    } catch {
      throw this.#damaged('this is no JSON');
    }
  }

  /** A line, with what came of it before. */
  #whole(end: Uint8Array): Buffer {
    this.#keep(end);
    const line = this.#rest.length === 1 ? this.#rest[0]! : Buffer.concat(this.#rest);
    this.#rest = [];
    this.#restBytes = 0;
    return line;
  }

  #keep(bytes: Uint8Array): void {
    if (bytes.length === 0 && this.#rest.length > 0) return;
    this.#rest.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
    this.#restBytes += bytes.length;
    if (this.#restBytes > longestLine) throw this.#damaged('the line has no end');
  }

  #damaged(what: string): BackupDamaged {
    return new BackupDamaged(`line ${this.#line}: ${what}`);
  }
}
