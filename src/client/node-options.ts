/** What a program says of its node when it makes it. */
import type { Agent } from 'node:http';
import type { Reading } from '../events/heartbeat.ts';
import type { NodeProfile } from '../events/node.ts';
import type { Logger } from '../kernel.ts';
import type { NodeClock } from './clock.ts';
import type { NodeKey } from './key-file.ts';
import type { P2pOptions } from './p2p.ts';

/** The profile's members say what this node is; those left out are unknown to others. */
export interface FederationNodeOptions extends Omit<NodeProfile, 'display_name'> {
  /** Where the hub is: `https://hub.example`, with a path if a proxy serves it under one. */
  readonly url: string;
  /** 1 to 64 of letters, digits, `.`, `_`, `-`. Unique in the federation, and bound to the key by the first registration. */
  readonly nodeId: string;
  /** File of the key; made at first use. Either this or `key`. */
  readonly keyFile?: string;
  readonly key?: NodeKey;
  readonly displayName?: string;
  /** `fhi_…`: lets this node join where that needs an invitation, or with the role that it gives. */
  readonly invite?: string;
  /** Asked at every heartbeat. Without it, heartbeats say only that the node lives. */
  readonly reading?: () => Reading;
  /** `position` of an earlier process of this node: what happened since is pushed at the first connect too. */
  readonly position?: number;
  /** Asked for the `traceparent` (W3C Trace Context) of what is sent just now, so that what the hub does of it belongs to that trace. */
  readonly traceparent?: () => string | undefined;
  readonly logger?: Pick<Logger, 'info' | 'warn'>;
  readonly clock?: NodeClock;
  /** Goes on without the hub when that is silent: talks to other members directly. */
  readonly p2p?: P2pOptions;
  /** How its socket is dialled, as through a proxy; of `node:http` or `node:https`, as the URL is. */
  readonly agent?: Agent;
}
