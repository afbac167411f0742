/** What every backend of the log must do. A backend passes all of it or is none. */
import { afterAll, beforeAll, describe } from 'vitest';
import type { EventLog } from '../../src/events/log.ts';
import type { LogRestore, RestoredAbout } from '../../src/events/restore.ts';
import { appending } from './conformance/appending.ts';
import { commands } from './conformance/commands.ts';
import { lifecycle } from './conformance/lifecycle.ts';
import { reading } from './conformance/reading.ts';
import { commandRecords, restoring } from './conformance/restoring.ts';
import { segments } from './conformance/segments.ts';
import { subscribing } from './conformance/subscribing.ts';
import { text } from './conformance/text.ts';

export interface OpenOptions {
  readonly segmentSize: number;
  readonly queueLimit?: number;
}

export interface Opened {
  readonly log: EventLog;
  /** Closes the log and opens the same one again. */
  reopen(): Promise<EventLog>;
  /** Closes the log and removes what it stood on. */
  close(): Promise<void>;
}

/** Opens a new, empty log. */
export type Open = (options: OpenOptions) => Promise<Opened>;

/** An empty place to restore a log into. */
export interface EmptyPlace {
  begin(about: RestoredAbout): Promise<LogRestore>;
  /** Opens the log that is in it now. */
  open(): Promise<EventLog>;
  /** Removes it; whoever opened a log has closed it. */
  remove(): Promise<void>;
}

export interface Promises {
  /** Whether positions count without gaps; the port promises only that they increase. */
  readonly densePositions: boolean;
}

/** Positions in a segment of the shared log: few, so that whatever is written crosses segments. */
export const smallSegment = 20;

/** Registers the whole suite for one backend. One log is shared by most of it, as a real one is. */
export function conformance(
  name: string,
  open: Open,
  makePlace: () => Promise<EmptyPlace>,
  promises: Promises = { densePositions: true },
): void {
  describe(name, () => {
    let opened: Opened;
    beforeAll(async () => {
      opened = await open({ segmentSize: smallSegment });
    });
    afterAll(() => opened?.close());
    const log = () => opened.log;

    describe('appending', () => appending(log, promises));
    describe('commands', () => commands(log));
    describe('text', () => text(log));
    describe('reading', () => reading(log));
    describe('subscribing', () => subscribing(log));
    describe('records of commands', () => commandRecords(log));
    describe('restoring', () => restoring(makePlace));
    describe('segments', () => segments(open));
    describe('opening and closing', () => lifecycle(open));
  });
}
