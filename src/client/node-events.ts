/** What a node tells its program, and which packets of the hub are handed on just as they are. */
import type { HubPacket, HubPacketName } from '../protocol.ts';
import type { FallbackChange, RefusedEntry } from './p2p.ts';
import type { ReceivedMessage } from './received-message.ts';
import type { Registered } from './session.ts';

export interface FederationNodeEvents {
  /** A session is open: at first, and again after each loss. */
  connected: [{ node: Registered['node']; sessionId: string; position: number }];
  /** The session is lost. `retryInMs` is undefined when the node will not come back by itself. */
  disconnected: [{ reason: string; retryInMs: number | undefined }];
  /** An administrator decides on the request of this node to join; `connect` waits for that. Again after each loss. */
  waiting: [{ requestedAt: string | undefined; expiresAt: string | undefined }];
  /** The request to join was rejected, or lapsed. The node is closed, and `connect` rejects. */
  rejected: [HubPacket<'federation:rejected'>];
  'node-joined': [HubPacket<'federation:node-joined'>];
  'node-left': [HubPacket<'federation:node-left'>];
  'health-alert': [HubPacket<'federation:health-alert'>];
  'role-changed': [HubPacket<'federation:role-changed'>];
  'entity-registered': [HubPacket<'federation:entity-registered'>];
  'entity-unregistered': [HubPacket<'federation:entity-unregistered'>];
  announcement: [HubPacket<'federation:announcement'>];
  'limit-warning': [HubPacket<'federation:limit-warning'>];
  /** A message, when `messages` set no handler for them. It is acknowledged once the listeners were called. */
  message: [ReceivedMessage];
  /** A message of this node expired before somebody had fetched it, or was refused. */
  'message-state': [HubPacket<'federation:message:state'>];
  /** A secret that this node may read has another version or other readers; without what it says. */
  'secret-changed': [HubPacket<'federation:secret-changed'>];
  /** A file that this node may fetch: `files.get(file.file_id, path)`. Once a process, and acknowledged once the listeners were called. */
  file: [HubPacket<'federation:file'>['file']];
  /** How far a file is on its way that this node sends or fetches, or that is to come for it. */
  'file-progress': [HubPacket<'federation:file:progress'>];
  /** The hub delivers nothing more to a durable subscription of this node: it failed for too long. The data of the event says why. */
  'subscription-paused': [HubPacket<'federation:event'>['event']];
  /** The node goes on without the hub, or does no more. */
  fallback: [FallbackChange];
  /** The hub, back again, did not take something that this node said without it. */
  'entry-refused': [RefusedEntry];
  degraded: [HubPacket<'federation:degraded'>];
  /** Banned, removed, or superseded by a newer session of the same node elsewhere. The node is closed. */
  revoked: [HubPacket<'federation:revoked'>];
  /** Something went wrong; unless the node is closed, it carries on. Without a listener it goes to the logger. */
  error: [Error];
}

/** The event that each packet is handed on as. The others are between hub and SDK. */
export const handedOn: { readonly [N in HubPacketName]?: keyof FederationNodeEvents } = {
  'federation:rejected': 'rejected',
  'federation:node-joined': 'node-joined',
  'federation:node-left': 'node-left',
  'federation:role-changed': 'role-changed',
  'federation:health-alert': 'health-alert',
  'federation:entity-registered': 'entity-registered',
  'federation:entity-unregistered': 'entity-unregistered',
  'federation:announcement': 'announcement',
  'federation:limit-warning': 'limit-warning',
  'federation:secret-changed': 'secret-changed',
  'federation:file:progress': 'file-progress',
  'federation:degraded': 'degraded',
  'federation:revoked': 'revoked',
};
