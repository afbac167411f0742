/** A routed call as it is made to one target, whichever way it takes. */
import { EventEmitter } from 'node:events';
import { Readable } from 'node:stream';
import type { Code } from '../../errors.ts';
import type { Headers, Incoming } from './headers.ts';

/** How long a target has to begin its answer, unless the caller says otherwise. */
export const usualMs = 30_000;

export interface Call {
  readonly method: string;
  /** Path and query as they came; begins with `/`. */
  readonly path: string;
  readonly headers: Headers;
  readonly body: LentBody | undefined;
  readonly caller: Presence;
  /** Until the head of the answer. */
  readonly timeoutMs: number;
}

/** Whether the caller is still there. Emits `abort` once when it leaves. */
export class Presence extends EventEmitter {
  gone = false;

  leave(): void {
    if (this.gone) return;
    this.gone = true;
    this.emit('abort');
  }
}

export interface Answer {
  readonly status: number;
  /** As the target sent them. */
  readonly headers: Incoming;
  /** Must be read or destroyed. */
  readonly body: Readable;
}

/** An answer as the caller gets it. */
export interface Routed extends Answer {
  readonly headers: Headers;
}

export type FailureCode = Extract<
  Code,
  'target_unreachable' | 'target_timeout' | 'egress_refused' | 'overloaded' | 'circuit_open'
>;

/** A target did not answer. */
export class CallFailed extends Error {
  readonly code: FailureCode;
  /** Nothing reached the target: the same call may be made another way, whatever it does. */
  readonly unsent: boolean;

  constructor(
    code: FailureCode,
    detail: string,
    { unsent = false, cause }: { unsent?: boolean; cause?: unknown } = {},
  ) {
    super(detail, { cause });
    this.code = code;
    this.unsent = unsent;
  }
}

/** The target had less time than is usual: that it is not well is not said by that. */
export class TooHasty extends CallFailed {}

/** The answer did not begin within the time that the caller gives. */
export function late(timeoutMs: number, cause?: unknown): CallFailed {
  const Late = timeoutMs < usualMs ? TooHasty : CallFailed;
  return new Late('target_timeout', 'it did not begin to answer in time', { cause });
}

/** The caller left before there was an answer. */
export class CallerGone extends Error {}

/** The body of the caller. Who calls a target borrows it; as long as nobody began to read, it can be lent again. */
export class LentBody {
  readonly #source: Readable;
  readonly #count: (bytes: number) => void;
  begun = false;

  /** `count` is told of all bytes that are read. */
  constructor(source: Readable, count: (bytes: number) => void = () => {}) {
    this.#source = source;
    this.#count = count;
  }

  /**
   * A stream over what is left. It fails with `CallerGone` when the caller leaves, and with what refuses the body at the door.
   * Destroying it leaves the source as it is, so that the caller can still be answered.
   */
  open(): Readable {
    const source = this.#source;
    const onData = (chunk: Buffer) => {
      this.#count(chunk.length);
      if (!lent.push(chunk)) source.pause();
    };
    const onEnd = () => void lent.push(null);
    const onError = (error: Error) => void lent.destroy('refused' in error ? error : brokenOff());
    const onClose = () => void (source.readableEnded || lent.destroy(brokenOff()));
    let attached = false;
    const attach = () => {
      attached = true;
      this.begun = true;
      source.on('data', onData).once('end', onEnd).once('error', onError).once('close', onClose);
      if (source.errored) onError(source.errored);
      else if (source.destroyed) onClose();
    };
    const lent = new Readable({
      read() {
        if (!attached) attach();
        source.resume();
      },
      destroy(error, done) {
        source.off('data', onData).off('end', onEnd).off('error', onError).off('close', onClose);
        source.pause();
        done(error);
      },
    });
    return lent;
  }
}

function brokenOff(): CallerGone {
  return new CallerGone('the body broke off');
}
