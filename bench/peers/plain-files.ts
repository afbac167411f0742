/** `@tus/server` over `@tus/file-store`, and a bare stream of a file over HTTP: what moving files costs at least. */
import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { FileStore } from '@tus/file-store';
import { Server } from '@tus/server';
import { answerParent } from '../processes.ts';

export type PlainFiles = {
  /** Uploads at /files, and what was uploaded there at /plain/<id>. Gives the URL of the server. */
  serve(folder: string): Promise<string>;
};

const answers: PlainFiles = {
  serve(folder) {
    const tus = new Server({ path: '/files', datastore: new FileStore({ directory: folder }) });
    const server = createServer((request, response) => {
      if (!request.url?.startsWith('/plain/')) return void tus.handle(request, response);
      const file = join(folder, request.url.slice('/plain/'.length));
      response.writeHead(200, { 'content-length': statSync(file).size });
      createReadStream(file).pipe(response);
    });
    server.requestTimeout = 0;
    server.keepAliveTimeout = 60_000;
    return new Promise((resolve) => {
      server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)); // TCP
    });
  },
};

answerParent(answers);
