/**
 * The port of restoring a log: an empty place is filled with what a backup holds, each event under its own position, id and
 * revision. Nothing of it is a log before `publish`, and nothing is left of it after `discard`.
 */
import type { Recorded, RecordedCommand } from './log.ts';

/** What a restored log takes over from the one that was backed up. */
export interface RestoredAbout {
  readonly id: string;
  readonly segmentSize: number;
}

export interface LogRestore {
  /** Events in the order of their positions. */
  writeEvents(events: readonly Recorded[]): Promise<void>;
  writeCommands(commands: readonly RecordedCommand[]): Promise<void>;
  /** Makes it a log whose last position is `head`. It is durable when this returns. */
  publish(head: number): Promise<void>;
  /** Removes what was written. After `publish`, harmless. */
  discard(): Promise<void>;
}
