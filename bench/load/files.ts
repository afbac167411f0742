/** The load of files: one large one up and down, and many small ones, over plain HTTP; what it put there it takes away again. */
import { randomBytes } from 'node:crypto';
import { Agent, request } from 'node:http';
import { closedLoop } from '../measure.ts';
import { answerParent } from '../processes.ts';

export interface Place {
  /** Where uploads are begun. */
  readonly uploads: string;
  /** Where what was uploaded is fetched, before its name. */
  readonly downloads: string;
  readonly token: string;
}

export type FileLoad = {
  /** One file of so many megabytes up. Answers megabytes per second. */
  up(place: Place, megabytes: number): Promise<number>;
  /** The file that `prepare` put there down. Answers megabytes per second. */
  down(place: Place, id: string, megabytes: number): Promise<number>;
  /** Puts a file there; answers its name. */
  prepare(place: Place, bytes: number): Promise<string>;
  /** Small files up, so many at once, each in one request. Answers files per second. */
  manyUp(place: Place, bytes: number, connections: number, ms: number): Promise<number>;
  /** One small file down, again and again. Answers files per second. */
  manyDown(place: Place, id: string, connections: number, ms: number): Promise<number>;
};

const agent = new Agent({ keepAlive: true, maxSockets: 64 });
const megabyte = 1_000_000;
const tus = { 'tus-resumable': '1.0.0' };
const bytesType = { 'content-type': 'application/offset+octet-stream' };
const metadata = `to ${Buffer.from('everyone').toString('base64')}`;

const answers: FileLoad = {
  async up(place, megabytes) {
    const size = megabytes * megabyte;
    const id = await begin(place, size);
    const chunk = randomBytes(megabyte);
    const began = performance.now();
    await call(
      place,
      'PATCH',
      `${place.uploads}/${id}`,
      { ...bytesType, 'upload-offset': '0', 'content-length': String(size) },
      chunk,
      megabytes,
    );
    const rate = megabytes / ((performance.now() - began) / 1000);
    await call(place, 'DELETE', `${place.uploads}/${id}`);
    return rate;
  },
  async down(place, id, megabytes) {
    const began = performance.now();
    await call(place, 'GET', `${place.downloads}/${id}`);
    return megabytes / ((performance.now() - began) / 1000);
  },
  async prepare(place, bytes) {
    const id = await begin(place, bytes);
    const chunk = randomBytes(bytes);
    await call(
      place,
      'PATCH',
      `${place.uploads}/${id}`,
      { ...bytesType, 'upload-offset': '0', 'content-length': String(bytes) },
      chunk,
    );
    return id;
  },
  async manyUp(place, bytes, connections, ms) {
    const made: string[] = [];
    const rate = await closedLoop(connections, ms, async () => {
      const headers = {
        ...bytesType,
        'upload-length': String(bytes),
        'upload-metadata': metadata,
        'content-length': String(bytes),
      };
      made.push(await call(place, 'POST', place.uploads, headers, randomBytes(bytes)));
    });
    for (const id of made) await call(place, 'DELETE', `${place.uploads}/${id}`);
    return rate;
  },
  manyDown: (place, id, connections, ms) =>
    closedLoop(connections, ms, () => call(place, 'GET', `${place.downloads}/${id}`)),
};

answerParent(answers);

const begin = (place: Place, size: number): Promise<string> =>
  call(place, 'POST', place.uploads, { 'upload-length': String(size), 'upload-metadata': metadata });

/** Answers the last part of `Location`, '' without one. Rejects unless it is a success. */
function call(
  { token }: Place,
  method: string,
  url: string,
  headers: Readonly<Record<string, string>> = {},
  chunk?: Buffer,
  times = 1,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const all = { ...tus, ...headers, authorization: `Bearer ${token}` };
    const asked = request(url, { method, headers: all, agent }, (answer) => {
      answer.resume();
      answer.once('end', () => {
        if ((answer.statusCode ?? 500) < 300) resolve(answer.headers.location?.split('/').at(-1) ?? '');
        else reject(new Error(`${method} ${url} was answered ${answer.statusCode}`));
      });
    });
    asked.once('error', reject);
    let left = chunk ? times : 0;
    const write = () => {
      while (left > 0) {
        left--;
        if (!asked.write(chunk) && left > 0) return void asked.once('drain', write);
      }
      asked.end();
    };
    write();
  });
}
