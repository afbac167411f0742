/** How two nodes prove their keys to each other: the text that each signs, once, for this connection alone. */
import { verify } from '../ed25519.ts';

export interface Handshake {
  readonly federationId: string;
  readonly dialer: string;
  readonly listener: string;
  /** 32 bytes in base64url, new each time. */
  readonly dialerNonce: string;
  readonly listenerNonce: string;
  /** The newest roster that each has. */
  readonly dialerRoster: string;
  readonly listenerRoster: string;
}

/** `as`: who signs. What one side signed is worth nothing for the other. */
export function handshakeText(as: 'dialer' | 'listener', shake: Handshake): string {
  const { federationId, dialer, listener, dialerNonce, listenerNonce, dialerRoster, listenerRoster } = shake;
  const said = [federationId, dialer, listener, dialerNonce, listenerNonce, dialerRoster, listenerRoster];
  return ['federation-hub p2p v1', as, ...said].join('\n');
}

export function isProved(as: 'dialer' | 'listener', shake: Handshake, publicKey: string, signature: string): boolean {
  return verify(publicKey, Buffer.from(handshakeText(as, shake)), signature);
}
