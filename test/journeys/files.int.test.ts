/** Files from node to node: whatever happens on the way, all of them or nothing, to whom they are for and nobody else. */
import { randomBytes } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { Command } from 'commander';
import { Upload } from 'tus-js-client';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { registerFiles } from '../../src/cli/file.ts';
import { HubClient } from '../../src/cli/hub-client.ts';
import { Output } from '../../src/cli/output.ts';
import { FederationNode, generateKey, type SharedFile } from '../../src/client/node.ts';
import { call, defects } from '../security/visitor.ts';
import { MailNode } from '../services/mail-node.ts';
import { ask, begin, fetchBytes, fetchUnread, metadataOf, send, sendForever, sha256, upload } from '../services/tus.ts';
import { startTestHub, type TestHub } from '../setup/hub.ts';

const settings = ['one hub on SQLite', 'two replicas on PostgreSQL'] as const;
const mebibyte = 1024 * 1024;

describe.each(settings)('files of %s', (setting) => {
  let first: TestHub;
  /** Another replica; the same hub where there is one only. */
  let second: TestHub;
  let folder: string;
  const nodes: { close(): void }[] = [];
  let count = 0;

  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'fedhub-files-'));
    const env = {
      FEDERATION_FILES_URL: `file:${folder}/store`,
      FEDERATION_FILE_MEGABYTES: '32',
      FEDERATION_FILE_QUOTA_MEGABYTES: '64',
    };
    const replicas = setting.startsWith('two');
    first = await startTestHub({ database: replicas ? 'postgres' : 'sqlite', env });
    second = replicas ? await startTestHub({ env: { ...env, DATABASE_URL: first.databaseUrl! } }) : first;
  });

  afterEach(() => {
    for (const node of nodes.splice(0)) node.close();
  });

  afterAll(async () => {
    for (const hub of new Set([first, second])) expect(defects(hub.stderr())).toEqual([]);
    if (second !== first) await second.stop();
    await first.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const fresh = (word = 'node') => `${word}-${count++}`;
  const join = async (hub: TestHub, options: Parameters<typeof MailNode.join>[2] = {}, name = fresh()) => {
    const node = await MailNode.join(hub, name, options);
    nodes.push(node);
    return node;
  };
  const at = (hub: TestHub, { token }: { token: string }) => ({ url: hub.url, token });
  const operator = () => ({ url: first.url, token: first.adminToken });
  const offers = (node: MailNode) =>
    node.socket.of('federation:file').map(({ file }) => (file as SharedFile).file_id as string);
  const offered = (node: MailNode, id: string) => vi.waitFor(() => expect(offers(node)).toContain(id), 10_000);
  const listed = async (by: { url: string; token: string }, query = '') => {
    const { body } = await call({ ...first, url: by.url }, 'GET', `/files?${query}`, { token: by.token });
    return (body.files as SharedFile[]).map(({ file_id }) => file_id);
  };
  const stored = async () => {
    const names = await readdir(path.join(folder, 'store'), { recursive: true });
    return names.filter((name) => /[0-9a-f-]{32,}/.test(name)).sort();
  };

  it('go to a node in parts, over either replica, which tells it, and it gets them whole and in ranges', async () => {
    const [ada, bob] = [await join(first), await join(second)];
    const bytes = randomBytes(3 * mebibyte);
    const begun = await begin(at(first, ada), bytes.length, {
      to: `node:${bob.nodeId}`,
      filename: 'the plan.bin',
      filetype: 'image/png',
      sha256: sha256(bytes),
    });
    expect([begun.status, begun.offset]).toEqual([201, 0]);
    expect((await send(at(first, ada), begun.id, 0, bytes.subarray(0, mebibyte))).offset).toBe(mebibyte);
    expect((await ask(at(second, ada), 'HEAD', `/files/${begun.id}`)).offset).toBe(mebibyte);
    expect((await fetchBytes(at(second, bob), begun.id)).code).toBe('not_found');
    const last = await send(at(second, ada), begun.id, mebibyte, bytes.subarray(mebibyte));
    expect([last.status, last.offset]).toEqual([204, bytes.length]);
    expect((await send(at(second, ada), begun.id, bytes.length, Buffer.alloc(0))).status).toBe(204);
    await offered(bob, begun.id);

    const { headers, ...whole } = await fetchBytes(at(first, bob), begun.id);
    expect(whole.bytes.equals(bytes)).toBe(true);
    expect(Object.fromEntries(headers)).toMatchObject({
      'content-type': 'image/png',
      'content-disposition': `attachment; filename="the plan.bin"; filename*=UTF-8''the%20plan.bin`,
      'x-content-type-options': 'nosniff',
      etag: `"${sha256(bytes)}"`,
    });
    const part = await fetchBytes(at(second, bob), begun.id, { range: 'bytes=1000-1999' });
    expect([part.status, part.bytes.equals(bytes.subarray(1000, 2000))]).toEqual([206, true]);
    expect(part.headers.get('content-range')).toBe(`bytes 1000-1999/${bytes.length}`);
    const info = await call(second, 'GET', `/files/${begun.id}/info?min_position=0`, { token: ada.token });
    expect(info.body.file).toMatchObject({
      from: `node:${ada.nodeId}`,
      size: bytes.length,
      sha256: sha256(bytes),
      status: 'stored',
    });
    await vi.waitFor(async () => {
      const { body } = await call(first, 'GET', `/files/${begun.id}/info`, { token: ada.token });
      expect((body.file as { fetches: object[] }).fetches).toEqual([
        expect.objectContaining({ by: `node:${bob.nodeId}`, whole: true }),
      ]);
    });
  });

  it('come to a node that was away when it is back, and not again once it acknowledged', async () => {
    const [ada, bob] = [await join(first), await join(second)];
    bob.close();
    const id = await upload(at(first, ada), Buffer.from('while you were out'), { to: `node:${bob.nodeId}` });
    const back = await join(second, { key: bob.key }, bob.nodeId);
    await offered(back, id);
    await vi.waitFor(async () => {
      const { body } = await call(first, 'GET', '/messages/pending', { token: back.token });
      expect(body.mail ?? body.messages).toEqual([]);
    });
  });

  it('whose hash is not what was promised are refused, and nothing of them stays', async () => {
    const ada = await join(first);
    const before = await stored();
    const bytes = randomBytes(1000);
    const begun = await begin(at(first, ada), 1000, { to: 'everyone', sha256: sha256('something else') });
    const last = await send(at(second, ada), begun.id, 0, bytes);
    expect([last.status, last.code]).toEqual([422, 'hash_mismatch']);
    expect((await ask(at(first, ada), 'HEAD', `/files/${begun.id}`)).status).toBe(404);
    await vi.waitFor(async () => expect(await listed(at(first, ada))).not.toContain(begun.id));
    expect(await stored()).toEqual(before);
  });

  it('lie there once, however many have the same bytes, and go with the last of them', async () => {
    const [ada, bob] = [await join(first), await join(second)];
    const bytes = randomBytes(2000);
    const [one, other] = [
      await upload(at(first, ada), bytes, { to: 'everyone' }),
      await upload(at(second, bob), bytes, { to: 'everyone' }),
    ];
    const lying = async () => (await stored()).filter((name) => name.endsWith(sha256(bytes)));
    expect(await lying()).toHaveLength(1);
    expect((await ask(at(first, ada), 'DELETE', `/files/${one}`)).status).toBe(204);
    expect((await fetchBytes(at(first, ada), other)).bytes.equals(bytes)).toBe(true);
    expect(await lying()).toHaveLength(1);
    expect((await ask(at(first, bob), 'DELETE', `/files/${other}`)).status).toBe(204);
    await vi.waitFor(async () => expect(await lying()).toEqual([]), 5_000);
    await vi.waitFor(async () => expect((await fetchBytes(at(second, ada), other)).code).toBe('not_found'));
  });

  it('for a role are for whoever has it today, and for nobody else', async () => {
    const [ada, bob, eve] = [await join(first), await join(second), await join(first)];
    const role = (node: MailNode, name: string) =>
      call(first, 'POST', `/governance/roles/${node.nodeId}`, { token: first.adminToken, body: { role: name } });
    expect((await role(bob, 'observer')).status).toBe(200);
    const id = await upload(at(first, ada), Buffer.from('for those who look'), { to: 'role:observer' });
    await offered(bob, id);
    expect((await fetchBytes(at(second, bob), id)).status).toBe(200);
    expect((await fetchBytes(at(second, eve), id)).code).toBe('not_found');
    expect(await listed(at(second, eve))).not.toContain(id);
    const { body } = await role(bob, 'member');
    await vi.waitFor(async () => expect((await fetchBytes(at(second, bob), id)).code).toBe('not_found'), 5_000);
    expect(body.position).toBeGreaterThan(0);
    expect(offers(eve)).not.toContain(id);
  });

  it('for an entity are for the node that it belongs to, for as long as it does', async () => {
    const [ada, bob, eve] = [await join(first), await join(second), await join(first)];
    const entity = fresh('entity');
    await bob.socket.ask('entity:register', { entity_id: entity, kind: 'ai' });
    const id = await upload(at(first, ada), Buffer.from('for the robot'), { to: `entity:${entity}` });
    await offered(bob, id);
    expect((await fetchBytes(at(second, bob), id)).status).toBe(200);
    expect((await call(first, 'DELETE', `/entities/${entity}`, { token: first.adminToken })).status).toBe(200);
    await vi.waitFor(async () => expect((await fetchBytes(at(second, bob), id)).code).toBe('not_found'), 5_000);
    await eve.socket.ask('entity:register', { entity_id: entity, kind: 'ai' });
    for (const [hub, node] of [
      [second, bob],
      [first, eve],
    ] as const) {
      expect((await fetchBytes(at(hub, node), id)).code).toBe('not_found');
      expect(await listed(at(hub, node))).not.toContain(id);
    }
  });

  it('that are given once are gone when the one they are for had all of them', async () => {
    const [ada, bob] = [await join(first), await join(second)];
    const bytes = randomBytes(5000);
    const id = await upload(at(first, ada), bytes, { to: `node:${bob.nodeId}`, once: 'true' });
    expect((await fetchBytes(at(second, bob), id, { range: 'bytes=0-99' })).bytes.length).toBe(100);
    expect((await fetchBytes(at(second, bob), id)).bytes.equals(bytes)).toBe(true);
    await vi.waitFor(async () => expect((await fetchBytes(at(first, bob), id)).code).toMatch(/not_found|file_gone/));
    await vi.waitFor(async () => expect((await stored()).join()).not.toContain(sha256(bytes)), 5_000);
  });

  it('that are given once are not lost to a plain client that breaks off while small ones come', async () => {
    const [ada, bob] = [await join(first), await join(second)];
    const bytes = randomBytes(50_000);
    const id = await upload(at(first, ada), bytes, { to: `node:${bob.nodeId}`, once: 'true' });
    await offered(bob, id);
    const breaking = fetchUnread(at(second, bob), id);
    await new Promise((next) => setTimeout(next, 500));
    breaking.destroy();
    await new Promise((next) => setTimeout(next, 500));
    expect((await fetchBytes(at(second, bob), id)).bytes.equals(bytes)).toBe(true);
    const { id: empty } = await begin(at(first, ada), 0, { to: `node:${bob.nodeId}`, once: 'true' });
    expect((await fetchBytes(at(second, bob), empty)).status).toBe(200);
    for (const had of [id, empty])
      await vi.waitFor(async () => expect((await fetchBytes(at(first, bob), had)).code).toMatch(/not_found|file_gone/));
  });

  it('that are given once to many, each of them has once', async () => {
    const [ada, bob, eve] = [await join(first), await join(second), await join(first)];
    const id = await upload(at(first, ada), Buffer.from('one each'), { to: 'everyone', once: 'true' });
    expect((await fetchBytes(at(second, bob), id)).status).toBe(200);
    await vi.waitFor(async () => expect((await fetchBytes(at(first, bob), id)).code).toBe('file_gone'));
    expect((await fetchBytes(at(second, eve), id)).bytes.toString()).toBe('one each');
  });

  it('that are removed are not given to the end to those who are fetching them, whichever replica they ask', async () => {
    const [ada, bob] = [await join(first), await join(second)];
    const bytes = randomBytes(28 * mebibyte);
    const id = await upload(at(first, ada), bytes, { to: `node:${bob.nodeId}` });
    await offered(bob, id);
    const { body } = await fetch(`${second.url}/api/federation/files/${id}`, {
      headers: { authorization: `Bearer ${bob.token}` },
    });
    const reader = body!.getReader();
    let got = (await reader.read()).value!.length;
    expect((await ask(at(first, ada), 'DELETE', `/files/${id}`)).status).toBe(204);
    await new Promise((next) => setTimeout(next, 2_000));
    const rest = async () => {
      for (let part = await reader.read(); !part.done; part = await reader.read()) got += part.value.length;
    };
    await expect(rest()).rejects.toThrow();
    expect(got).toBeLessThan(bytes.length);
    // That it had some of it is written down, and as late: no row is left of it.
    await vi.waitFor(async () => {
      const { token } = operator();
      const found = await call(first, 'GET', `/audit?action=file.fetched&target=${id}`, { token });
      const [{ position }] = found.body.entries as [{ position: number }];
      const { body: entry } = await call(first, 'GET', `/audit/${position}`, { token });
      expect(JSON.stringify(entry)).toContain('"whole":false,"late":true');
    }, 10_000);
  });

  it('whose time is over are not given out, and their bytes go', async () => {
    const [ada, bob] = [await join(first), await join(second)];
    const bytes = randomBytes(777);
    const id = await upload(at(first, ada), bytes, { to: `node:${bob.nodeId}`, ttl: '1' });
    await vi.waitFor(async () => expect((await fetchBytes(at(second, bob), id)).code).toBe('not_found'), 5_000);
    await vi.waitFor(async () => expect((await stored()).join()).not.toContain(sha256(bytes)), 15_000);
  });

  it('of a node that was removed go with it, and whoever takes its name has nothing of it', async () => {
    const [ada, bob] = [await join(first), await join(second)];
    const bytes = randomBytes(888);
    const sent = await upload(at(first, ada), bytes, { to: 'everyone' });
    const received = await upload(at(first, bob), randomBytes(10), { to: `node:${ada.nodeId}` });
    expect((await call(first, 'DELETE', `/nodes/${ada.nodeId}`, { token: first.adminToken })).status).toBe(200);
    const heir = await join(second, {}, ada.nodeId);
    expect(await listed(at(second, heir))).toEqual([]);
    for (const id of [sent, received]) expect((await fetchBytes(at(second, heir), id)).code).toBe('not_found');
    expect((await ask(at(second, heir), 'DELETE', `/files/${sent}`)).code).toBe('not_found');
    await vi.waitFor(async () => expect((await stored()).join()).not.toContain(sha256(bytes)), 15_000);
  });

  it('are counted: beyond its quota an owner may begin nothing, whichever replica it asks, until it has room again', async () => {
    const ada = await join(first);
    const begun = await Promise.all(
      [first, second, first, second].map((hub) => begin(at(hub, ada), 30 * mebibyte, { to: 'everyone' })),
    );
    expect(begun.map(({ code }) => code).sort()).toEqual(['', '', 'quota_exceeded', 'quota_exceeded']);
    const taken = begun.find(({ code }) => code === '')!;
    expect((await ask(at(first, ada), 'DELETE', `/files/${taken.id}`)).status).toBe(204);
    expect((await begin(at(second, ada), 30 * mebibyte, { to: 'everyone' })).status).toBe(201);
  });

  it('begun twice under one key are one upload', async () => {
    const ada = await join(first);
    const key = { 'idempotency-key': 'the same' };
    const one = await begin(at(first, ada), 10, { to: 'everyone' }, key);
    await send(at(first, ada), one.id, 0, Buffer.from('12345'));
    const again = await begin(at(second, ada), 10, { to: 'everyone' }, key);
    expect(again).toMatchObject({ status: 201, id: one.id, offset: 5 });
    expect((await begin(at(second, ada), 11, { to: 'everyone' }, key)).code).toBe('idempotency_mismatch');
  });

  it('begun twice at once under one key are what one of the two sent, under the hash of that', async () => {
    const ada = await join(first);
    const about = {
      'upload-length': '1001',
      'upload-metadata': metadataOf({ to: 'everyone' }),
      'content-type': 'application/offset+octet-stream',
    };
    for (let round = 0; round < 8; round++) {
      const headers = { ...about, 'idempotency-key': fresh('key') };
      const begun = await Promise.all(
        [first, second].map((hub) => ask(at(hub, ada), 'POST', '/files', headers, randomBytes(1000))),
      );
      const { id } = begun.find(({ status }) => status === 201)!;
      expect((await ask(at(second, ada), 'HEAD', `/files/${id}`)).offset).toBe(1000);
      expect((await send(at(first, ada), id, 1000, Buffer.from('!'))).status).toBe(204);
      const { bytes, headers: told } = await fetchBytes(at(first, ada), id);
      expect(told.get('etag')).toBe(`"${sha256(bytes)}"`);
    }
  });

  it('that two send at once to one upload are not spoiled', async () => {
    const ada = await join(first);
    const bytes = randomBytes(8 * mebibyte);
    const { id } = await begin(at(first, ada), bytes.length, { to: 'everyone', sha256: sha256(bytes) });
    const told = await Promise.all([first, second].map((hub) => send(at(hub, ada), id, 0, bytes)));
    expect(told.map(({ code }) => code)).toContain('');
    for (const { code } of told) expect(['', 'offset_mismatch', 'upload_locked', 'file_gone']).toContain(code);
    expect((await fetchBytes(at(second, ada), id)).bytes.equals(bytes)).toBe(true);
  });

  it('go on at once at either replica when the connection that they came by hangs', async () => {
    const ada = await join(first);
    const bytes = randomBytes(2 * mebibyte);
    for (const hub of [first, second]) {
      const { id } = await begin(at(first, ada), bytes.length, { to: 'everyone', sha256: sha256(bytes) });
      const hanging = sendForever(at(first, ada), id, 0, bytes.subarray(0, mebibyte));
      nodes.push({ close: () => hanging.destroy() });
      const uploading = path.join(folder, 'store/staging', id);
      await vi.waitFor(async () => expect((await stat(uploading)).size).toBeGreaterThan(0), 5_000);
      const { status, offset } = await ask(at(hub, ada), 'HEAD', `/files/${id}`);
      expect([status, offset]).toEqual([200, mebibyte]);
      expect((await send(at(hub, ada), id, offset, bytes.subarray(offset))).status).toBe(204);
      expect((await fetchBytes(at(first, ada), id)).bytes.equals(bytes)).toBe(true);
    }
  });

  it('are taken from any client of tus, which goes on at another replica', async () => {
    const ada = await join(first);
    const bytes = randomBytes(6 * mebibyte);
    const source = path.join(folder, fresh('tus'));
    await writeFile(source, bytes);
    const send = (options: object) =>
      new Promise<string>((resolve, reject) => {
        const client: Upload = new Upload(createReadStream(source) as never, {
          uploadSize: bytes.length,
          chunkSize: mebibyte,
          headers: { authorization: `Bearer ${ada.token}` },
          metadata: { to: 'everyone', filename: 'x', sha256: sha256(bytes) },
          onSuccess: () => resolve(client.url!),
          onError: reject,
          onProgress: (sent) => {
            if (sent > 2 * mebibyte && !('uploadUrl' in options)) void client.abort().then(() => resolve(client.url!));
          },
          ...options,
        });
        client.start();
      });
    const cut = await send({ endpoint: `${first.url}/api/federation/files` });
    await send({ uploadUrl: cut.replace(first.url, second.url) });
    const id = cut.split('/').at(-1)!;
    expect((await fetchBytes(at(second, ada), id)).bytes.equals(bytes)).toBe(true);
  });

  describe('with the SDK', () => {
    const sdk = async (hub: TestHub, name = fresh('sdk')) => {
      const node = new FederationNode({ url: hub.url, nodeId: name, key: await generateKey() });
      nodes.push(node);
      return { node, name };
    };

    it('are put from a path and from a stream, offered, got, listed and removed', async () => {
      const [{ node: ada }, { node: bob, name: to }] = [await sdk(first), await sdk(second)];
      const heard: SharedFile[] = [];
      bob.on('file', (file) => heard.push(file as SharedFile));
      await Promise.all([ada.connect(), bob.connect()]);
      const bytes = randomBytes(2 * mebibyte);
      const [source, target] = [path.join(folder, fresh('source')), path.join(folder, fresh('target'))];
      await writeFile(source, bytes);
      const [up, down]: [number[], number[]] = [[], []];
      const sent = await ada.files.put(source, { to, onProgress: (sentBytes) => up.push(sentBytes) });
      expect(sent).toMatchObject({ size: bytes.length, sha256: sha256(bytes) });
      await vi.waitFor(() => expect(heard).toMatchObject([{ file_id: sent.fileId, name: path.basename(source) }]));
      await bob.files.get(sent.fileId, target, { onProgress: (got) => down.push(got) });
      expect((await readFile(target)).equals(bytes)).toBe(true);
      expect([up.at(-1), down.at(-1)]).toEqual([bytes.length, bytes.length]);

      const streamed = await ada.files.put(Readable.from(['some ', 'words']), { to, name: 'words.txt', once: true });
      await bob.files.get(streamed.fileId, target);
      expect(await readFile(target, 'utf8')).toBe('some words');
      expect((await ada.files.list({ direction: 'sent' })).map(({ file_id }) => file_id)).toContain(sent.fileId);
      await ada.files.remove(sent.fileId);
      const gone = () => bob.files.get(sent.fileId, `${target}.again`);
      await vi.waitFor(() => expect(gone()).rejects.toMatchObject({ code: 'not_found' }), 5_000);
    });

    it('that are given up on the way are gone from the hub as well', async () => {
      const { node: ada } = await sdk(first);
      await ada.connect();
      const source = path.join(folder, fresh('source'));
      await writeFile(source, randomBytes(8 * mebibyte));
      const giving = new AbortController();
      const put = ada.files.put(source, {
        to: { everyone: true },
        signal: giving.signal,
        onProgress: () => giving.abort(new Error('enough')),
      });
      await expect(put).rejects.toThrow('enough');
      await vi.waitFor(async () => expect(await ada.files.list({ direction: 'sent' })).toEqual([]), 5_000);
      await new Promise((next) => setTimeout(next, 500));
      expect(await ada.files.list({ direction: 'sent' })).toEqual([]);
    });

    it('go on with what came before, and throw away what is not right', async () => {
      const { node: ada } = await sdk(first);
      await ada.connect();
      const bytes = randomBytes(mebibyte);
      const { fileId } = await ada.files.put(Readable.from([bytes]), { to: { everyone: true } });
      const target = path.join(folder, fresh('target'));
      await writeFile(`${target}.part`, bytes.subarray(0, 1_000_000));
      const seen: number[] = [];
      await ada.files.get(fileId, target, { onProgress: (got) => seen.push(got) });
      expect(seen[0]).toBeGreaterThan(1_000_000);
      expect((await readFile(target)).equals(bytes)).toBe(true);
      await writeFile(`${target}.part`, randomBytes(1_000_000));
      await expect(ada.files.get(fileId, target)).rejects.toMatchObject({ code: 'hash_mismatch' });
      expect(existsSync(`${target}.part`)).toBe(false);
    });

    it('that are given once are not lost to whoever breaks off while they come', async () => {
      const [{ node: ada }, { node: bob, name: to }] = [await sdk(first), await sdk(second)];
      await Promise.all([ada.connect(), bob.connect()]);
      const bytes = randomBytes(100_000);
      const { fileId } = await ada.files.put(Readable.from([bytes]), { to, once: true });
      const target = path.join(folder, fresh('target'));
      const giving = new AbortController();
      const onProgress = () => giving.abort(new Error('enough'));
      await expect(bob.files.get(fileId, target, { signal: giving.signal, onProgress })).rejects.toThrow('enough');
      await new Promise((next) => setTimeout(next, 500));
      await bob.files.get(fileId, target);
      expect((await readFile(target)).equals(bytes)).toBe(true);
      await vi.waitFor(async () => expect(await bob.files.list()).toEqual([]), 5_000);
    });

    it('do not go on with what cannot be theirs: it is too long, or they are given once and nobody could ask again', async () => {
      const [{ node: ada }, { node: bob, name: to }] = [await sdk(first), await sdk(second)];
      await Promise.all([ada.connect(), bob.connect()]);
      const target = path.join(folder, fresh('target'));
      for (const [once, before] of [
        [true, 500],
        [false, 5_000],
      ] as const) {
        const bytes = randomBytes(1_000);
        const { fileId } = await ada.files.put(Readable.from([bytes]), { to, once });
        await writeFile(`${target}.part`, randomBytes(before));
        await bob.files.get(fileId, target);
        expect((await readFile(target)).equals(bytes)).toBe(true);
      }
    });
  });

  it('show how far they are to whom they concern, at most twice a second', async () => {
    const [ada, bob] = [await join(first), await join(second)];
    const bytes = randomBytes(4 * mebibyte);
    const { id } = await begin(at(first, ada), bytes.length, { to: `node:${bob.nodeId}` });
    await send(at(first, ada), id, 0, bytes);
    for (const node of [ada, bob])
      await vi.waitFor(() =>
        expect(node.socket.of('federation:file:progress')).toContainEqual(
          expect.objectContaining({ file_id: id, direction: 'upload', bytes: bytes.length, size: bytes.length }),
        ),
      );
    expect(ada.socket.of('federation:file:progress').length).toBeLessThan(12);
  });

  it('of someone whose token counts nowhere are refused at once by the command line', async () => {
    const source = path.join(folder, fresh('source'));
    await writeFile(source, 'something');
    const program = new Command().exitOverride();
    registerFiles(
      program,
      () => new HubClient(first.url, 'fh_nobody'),
      () => new Output(true),
    );
    for (const words of [
      ['put', source, '--everyone'],
      ['get', '01a20000-0000-7000-8000-000000000001', source],
    ])
      await expect(program.parseAsync(['file', ...words], { from: 'user' })).rejects.toMatchObject({
        problem: { code: 'unauthenticated' },
      });
  });

  it('of an operator are for a node as well, and whoever governs sees and removes all', async () => {
    const bob = await join(second);
    const id = await upload(operator(), Buffer.from('from above'), { to: `node:${bob.nodeId}` });
    await offered(bob, id);
    expect((await fetchBytes(at(second, bob), id)).bytes.toString()).toBe('from above');
    const own = await upload(at(second, bob), Buffer.from('mine'), { to: `node:${bob.nodeId}` });
    await vi.waitFor(async () => expect(await listed(operator())).toEqual(expect.arrayContaining([id, own])));
    expect((await ask(operator(), 'DELETE', `/files/${own}`)).status).toBe(204);
    await vi.waitFor(async () => expect((await fetchBytes(at(second, bob), own)).code).toBe('not_found'));
  });
});
