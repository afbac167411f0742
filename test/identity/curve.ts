/** Ed25519 by hand: makes the keys and signatures that honest software never makes. */
import { createHash } from 'node:crypto';
import { Point } from '@noble/ed25519';

const { p: P, n: L } = Point.CURVE();

/** The eight points whose order divides the cofactor: multiples of one of order eight. */
export const torsion: readonly Point[] = multiplesOfEight();

/** All 32-byte spellings of the points of small order, canonical or not. */
export function smallOrderKeys(): Uint8Array[] {
  const spellings = torsion.flatMap((point) => {
    const { y } = point.toAffine();
    const canonical = littleEndian(y);
    return y < 19n ? [canonical, littleEndian(y + P)] : [canonical]; // y + p still fits 255 bits
  });
  const all = spellings.flatMap((bytes) => [bytes, withSign(bytes)]);
  return [...new Map(all.map((bytes) => [Buffer.from(bytes).toString('hex'), bytes])).values()];
}

export interface Forged {
  publicKey: Uint8Array;
  message: Uint8Array;
  signature: Uint8Array;
}

/** A signature by scalars of choice: key a·B + torsion[keyTwist], R = r·B + torsion[rTwist]. Honest when both twists are 0. */
export function forge(a: bigint, r: bigint, keyTwist: number, rTwist: number, message: Uint8Array): Forged {
  const publicKey = Point.BASE.multiplyUnsafe(a % L)
    .add(torsion[keyTwist]!)
    .toBytes();
  const R = Point.BASE.multiplyUnsafe(r % L)
    .add(torsion[rTwist]!)
    .toBytes();
  const k = numberOf(createHash('sha512').update(R).update(publicKey).update(message).digest());
  return { publicKey, message, signature: Buffer.concat([R, littleEndian((r + k * a) % L)]) };
}

/** The same signature with L added to S: equal modulo L, so that a lax verifier takes it too. */
export function addOrder(signature: Uint8Array): Uint8Array {
  return Buffer.concat([signature.subarray(0, 32), littleEndian(numberOf(signature.subarray(32)) + L)]);
}

/** Sets the sign bit. */
export function withSign(bytes: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[31]! |= 0x80;
  return copy;
}

export function littleEndian(value: bigint): Uint8Array {
  return Uint8Array.from(Buffer.from(value.toString(16).padStart(64, '0'), 'hex')).reverse();
}

function numberOf(bytes: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(Uint8Array.from(bytes).reverse()).toString('hex')}`);
}

function multiplesOfEight(): Point[] {
  for (let y = 2n; ; y++) {
    try {
      const generator = Point.fromBytes(littleEndian(y))
        .multiplyUnsafe(L - 1n)
        .add(Point.fromBytes(littleEndian(y))); // L times
      const all = Array.from({ length: 8 }, (_, times) => generator.multiplyUnsafe(BigInt(times)));
      if (new Set(all.map((point) => point.toHex())).size === 8) return all;
    } catch {
      // not on the curve: the next y
    }
  }
}
