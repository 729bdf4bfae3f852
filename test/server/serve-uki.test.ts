import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cp, mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Refusal } from '../../src/errors/refusal.ts';
import { publish } from '../../src/publish/publish.ts';
import { resignStore } from '../../src/resigning/store.ts';
import { type ServeOptions, type Serving, serve } from '../../src/server/serve.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { sealFixture } from '../fixtures/release.ts';
import { makeUki, ukiTree } from '../fixtures/uki.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'), { secureBoot: true });
const anchors = join(keys, 'anchors');
const tree = await ukiTree(join(folder, 'tree'), keys);
await makeUki(tree, keys);
const image = readFileSync(join(tree, 'uki.efi'));

async function started(t: TestContext, request: Partial<ServeOptions>): Promise<Serving> {
  const listening = { httpPort: 0, tftpPort: 0, nbdPort: false } as const;
  const serving = await serve({ clock: () => NOW, ...listening, ...request });
  t.after(() => serving.close(0));
  return serving;
}

async function fetched(url: string): Promise<Buffer> {
  const { stdout } = await promisify(execFile)('curl', ['-sf', url], {
    encoding: 'buffer',
    maxBuffer: 2 ** 28,
  });
  return stdout;
}

async function anchorsWithoutDb(): Promise<string> {
  const others = await mkdtemp(join(folder, 'anchors-'));
  for (const name of [
    'ca.crt',
    'codesign.crt',
    'boot.crt',
    'manifest.crt',
    'pubring.gpg',
    'script.gpg',
    'manifest.gpg',
    'snapshot.crt',
  ])
    await cp(join(anchors, name), join(others, name));
  return others;
}

describe('an image for Secure Boot', () => {
  it('is served over HTTP and TFTP, under a name that stays and under its release', async (t) => {
    const { url, tftp } = await started(t, { tree, anchors });
    for (const path of ['uki.efi', 'releases/arch/2026.11.01/uki.efi', 'entries/x86_64/uki.efi']) {
      assert.deepEqual(await fetched(`${url}/${path}`), image);
      assert.deepEqual(await fetched(`tftp://127.0.0.1:${tftp?.port}/${path}`), image);
    }
  });

  it('is at the entry of no other machines, and of none once its release has ended', async (t) => {
    let now = NOW;
    const { url } = await started(t, { tree, anchors, clock: () => now });
    const head = async (path: string) => {
      const answer = await fetch(`${url}/${path}`, { method: 'HEAD' });
      return [answer.status, answer.headers.get('cache-control')?.includes('immutable') ?? false];
    };
    assert.deepEqual(await head('entries/x86_64/uki.efi'), [200, false]);
    assert.deepEqual(await head('entries/aarch64/uki.efi'), [404, false]);
    now += 200 * 86_400_000;
    while ((await head('entries/x86_64/uki.efi'))[0] === 200) await setImmediate();
    assert.deepEqual(await head('entries/x86_64/uki.efi'), [410, false]);
  });

  it('is published with its release, and served from there', async (t) => {
    const state = join(folder, 'state');
    const published = await publish({ tree, channel: 'stable', state, anchors, snapshotKey: keys, now: NOW });
    assert.equal(published.refusal, undefined, published.refusal?.message);
    const { url } = await started(t, { state, anchors });
    assert.deepEqual(await fetched(`${url}/uki.efi`), image);
  });

  it('keeps its release from being signed anew, since it names the manifest as it stands', async () => {
    const state = join(folder, 'to-resign');
    await publish({ tree, channel: 'stable', state, anchors, snapshotKey: keys, now: NOW });
    const { rows } = await resignStore({
      state,
      keys,
      snapshotKey: keys,
      now: NOW + 86_400_000,
      rsaBits: 2048,
    });
    assert.deepEqual(
      rows.map(({ outcome, refusal }) => [outcome, refusal?.code]),
      [['refused', 'mixed-releases']],
    );
    await serve({ state, anchors, clock: () => NOW, httpPort: 0, tftpPort: false, nbdPort: false }).then(
      (one) => one.close(0),
    );
  });

  it('is not served without a db.crt to judge it by, and not published', async (t) => {
    const others = await anchorsWithoutDb();
    const warned: string[] = [];
    const log = {
      info() {},
      error() {},
      warn: (facts: object, text: string) => warned.push(`${JSON.stringify(facts)} ${text}`),
    };
    const { url } = await started(t, { tree, anchors: others, log });
    await assert.rejects(fetched(`${url}/uki.efi`));
    assert.match(warned.join('\n'), /uki\.efi.*not served/);
    const state = join(folder, 'none');
    const { refusal } = await publish({
      tree,
      channel: 'stable',
      state,
      anchors: others,
      now: NOW,
      rsaBits: 2048,
    });
    assert.match(refusal?.message ?? '', /uki\.efi is for Secure Boot, and the anchors hold no db\.crt/);
  });

  it('keeps the server from starting where it is of another manifest, or in dbx', async () => {
    const older = await mkdtemp(join(folder, 'older-'));
    await cp(tree, older, { recursive: true });
    await sealFixture(older, keys, { issued: NOW + 1000 });
    await assert.rejects(
      serve({ tree: older, anchors, clock: () => NOW + 2000, httpPort: 0, tftpPort: false, nbdPort: false }),
      (error) => error instanceof Refusal && error.code === 'mixed-releases',
    );
    const withDbx = await anchorsWithoutDb();
    await cp(join(anchors, 'db.crt'), join(withDbx, 'db.crt'));
    await promisify(execFile)('hash-to-efi-sig-list', [join(tree, 'uki.efi'), join(withDbx, 'dbx.esl')]);
    await assert.rejects(
      serve({ tree, anchors: withDbx, clock: () => NOW, httpPort: 0, tftpPort: false, nbdPort: false }),
      (error) => error instanceof Refusal && error.code === 'revoked',
    );
  });
});
