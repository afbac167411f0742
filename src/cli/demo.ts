/** `fedhub demo`: placeholder until the SDK is in the tree. */
import type { Output } from './output.ts';

export async function demo(_output: Output, _seconds: number): Promise<void> {}
