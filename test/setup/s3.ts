/** An S3 server of its own for a test: in this process, over a folder that goes with it. */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import S3rver from 's3rver';

export interface S3Server {
  /** As the setting of the hub names it. */
  readonly url: string;
  /** What it takes. */
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
  /** Keys of all objects. */
  keys(): Promise<string[]>;
  stop(): Promise<void>;
}

const bucket = 'hub-files';
const tail = '._S3rver_object';

export async function startS3(): Promise<S3Server> {
  const folder = await mkdtemp(path.join(tmpdir(), 'fedhub-s3-'));
  const server = new S3rver({
    port: 0,
    address: '127.0.0.1',
    silent: true,
    directory: folder,
    configureBuckets: [{ name: bucket, configs: [] }],
  });
  const { port } = (await server.run()) as { port: number };
  const objects = path.join(folder, bucket);
  return {
    url: `s3://${bucket}/some/where?endpoint=http://127.0.0.1:${port}&region=us-east-1`,
    credentials: { accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER' },
    async keys() {
      const names = await readdir(objects, { recursive: true });
      return names
        .filter((name) => name.endsWith(tail))
        .map((name) => name.slice(0, -tail.length))
        .sort();
    },
    async stop() {
      await server.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
