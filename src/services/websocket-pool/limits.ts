/** How much of anything the socket door takes. */
export const limits = {
  connections: 20_000,
  /** Connections that proved nothing yet. */
  strangers: 2_000,
  /** How long a stranger may take to prove itself. */
  strangerMs: 30_000,
  /** Connections whose requests to join wait; beyond these they are strangers. */
  waiting: 1_000,
  /** Holds a payload of 256 KiB and what stands around it. */
  packetBytes: 320 * 1024,
  /**
   * Packets of one connection under way at once. Parts of answers wait in this number for their readers, three of each of 64 calls,
   * beside what the SDK sends of tasks: heartbeats must find a place.
   */
  underWay: 512,
  /** WebSocket pings and pongs in a second; clients need none, as the hub asks who is there. */
  pings: 100,
  /** Packets, and their bytes, waiting to be sent to one connection; a slower reader is let go. */
  unsent: 2_000,
  unsentBytes: 16 * 1024 * 1024,
} as const;
