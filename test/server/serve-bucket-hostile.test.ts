import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { S3Stub } from '../../lab/s3-stub.ts';
import { decodeSnapshot } from '../../src/formats/records/snapshot.ts';
import { renewChannel } from '../../src/publish/channel.ts';
import { setPolicy } from '../../src/publish/policy.ts';
import { publish } from '../../src/publish/publish.ts';
import { withdrawRelease } from '../../src/publish/withdraw.ts';
import { readSnapshotKey, signSnapshot } from '../../src/signing/keys/snapshot-key.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { KERNEL } from '../fixtures/release.ts';
import { folder, keys, site } from './bucket-site.ts';

const NEW = '2026.11.02';
const CURRENT = 'site/channels/stable/current';

const statusOf = async (url: string, version: string) =>
  (await fetch(`${url}/releases/arch/${version}/${KERNEL}`)).status;
const ready = async (url: string) => (await fetch(`${url}/readyz`)).text();

/** The server looks every few seconds. @throws where it never tells */
async function until(url: string, told: RegExp): Promise<string> {
  let text = '';
  for (let looks = 0; looks < 300; looks += 1) {
    text = await ready(url);
    if (told.test(text)) return text;
    await sleep(100);
  }
  throw new Error(`it never told: ${text}`);
}

async function more(count: () => number): Promise<void> {
  const before = count();
  for (let looks = 0; count() === before; looks += 1) {
    if (looks > 300) throw new Error('it never looked again');
    await sleep(100);
  }
}

/** A snapshot and its seal, by a key that the operator never heard of, which leads to the older release. */
async function forge(stub: S3Stub, name: string): Promise<void> {
  const own = await readSnapshotKey(await makeKeys(join(folder, name)));
  const bytes = (counter: number) =>
    stub.objects.get(`site/channels/stable/${counter}/snapshot`)?.bytes ?? assert.fail();
  const { releases } = decodeSnapshot(bytes(1));
  const forged = await signSnapshot({ ...decodeSnapshot(bytes(2)), counter: 3, releases }, own);
  stub.set('site/channels/stable/3/snapshot', forged.bytes);
  stub.set('site/channels/stable/3/snapshot.cms.sig', forged.seal);
  stub.set('site/channels/stable/3.follows-2', Buffer.alloc(0));
  const known = stub.objects.get('site/anchors/snapshot.crt')?.bytes ?? assert.fail();
  const cert = await readFile(join(folder, name, 'anchors/snapshot.crt'));
  stub.set('site/anchors/snapshot.crt', Buffer.concat([cert, known]));
  stub.set(CURRENT, Buffer.from('3\n'));
}

describe('a server of a bucket that somebody without a key writes into', () => {
  it('that runs does not follow a channel back', async (t) => {
    const { stub, given, begin } = await site(t);
    await publish({ ...given, tree: join(folder, NEW) });
    const { server } = await begin();
    assert.equal(server.release, `arch/${NEW}`);
    stub.set(CURRENT, Buffer.from('1\n'));
    assert.match(await until(server.url, /snapshot of stable is refused/), /went back from snapshot 2 to 1/);
    assert.equal(server.release, `arch/${NEW}`);
  });

  it('that begins refuses a channel of which what came later is there', async (t) => {
    const { stub, given, begin } = await site(t);
    await publish({ ...given, tree: join(folder, NEW) });
    await renewChannel(given);
    stub.set(CURRENT, Buffer.from('1\n'));
    await assert.rejects(begin(), { name: 'Refusal', code: 'rolled-back' });
  });

  it('takes no snapshot by a key whose certificate only the bucket has', async (t) => {
    const { stub, given, begin } = await site(t);
    await publish({ ...given, tree: join(folder, NEW) });
    const running = await begin();
    await forge(stub, 'forger');
    await until(running.server.url, /snapshot of stable is refused/);
    assert.equal(running.server.release, `arch/${NEW}`);
    await assert.rejects(begin(), { name: 'Refusal', code: 'untrusted-signer' });
  });

  it('that runs does not forget what was withdrawn', async (t) => {
    const { stub, state, given, begin } = await site(t);
    await publish({ ...given, tree: join(folder, NEW) });
    const { server } = await begin();
    const facts = { release: `arch/${NEW}`, reason: 'It has a hole.', cutRunning: true };
    await withdrawRelease({ ...facts, state, snapshotKey: keys, now: NOW });
    await until(server.url, /withdrawn/);
    stub.asked.length = 0;
    stub.objects.delete(`site/withdrawn/arch/${NEW}.json`);
    const asked = (line: string) => () => stub.asked.filter((one) => one === line).length;
    // It reads the channel anew, and begins its next look once that has come to its end.
    await more(asked('GET site/channels/stable/2/snapshot'));
    await more(asked('GET site/policy.toml'));
    assert.match(await ready(server.url), /withdrawn/);
    assert.equal(await statusOf(server.url, NEW), 410);
  });

  it('that was told a policy keeps to it', async (t) => {
    const { stub, state, begin } = await site(t);
    const policy = join(folder, 'strict.toml');
    const revoked = (since: string) =>
      `[[revoked]]\nid = "${'ab'.repeat(32)}"\nkind = "hard"\nsince = ${since}\nreason = "lost"\n`;
    await writeFile(policy, revoked('2026-10-01'));
    await setPolicy({ state, policy, now: NOW, snapshotKey: keys });
    const { server } = await begin({ policy });
    stub.set('site/policy.toml', Buffer.from(''));
    assert.match(await until(server.url, /policy/), /the policy that this server was started with counts/);
    await assert.rejects(begin({ policy }), { name: 'UsageError' });
  });
});
