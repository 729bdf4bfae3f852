import assert from 'node:assert/strict';
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { pull } from '../../src/mirrors/pull.ts';
import { applyMachines } from '../../src/publish/channel.ts';
import { resignStore } from '../../src/resigning/store.ts';
import { readScriptKeys } from '../../src/signing/keys/script-keys.ts';
import { readChannel } from '../../src/store/channels.ts';
import { originOf, readProvenance } from '../../src/store/provenance.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { ROOTFS } from '../fixtures/release.ts';
import { makeUpstream } from '../fixtures/upstream.ts';

const folder = await temporaryFolder();
const upstream = await makeUpstream(join(folder, 'upstream'));
await upstream.publish('2026.11.01');
await upstream.publish('2026.11.02', { now: NOW + 1000 });
await mkdir(join(upstream.state, 'machines'));
await writeFile(
  join(upstream.state, 'machines/all.toml'),
  `[[machine]]
name = "a"
mac = "52:54:00:00:00:0a"
gets = { release = "arch/2026.11.01" }

[[machine]]
name = "b"
mac = "52:54:00:00:00:0b"
gets = { boot = "local" }
`,
);
const given = { state: upstream.state, anchors: upstream.anchors, snapshotKey: upstream.keys };
await applyMachines({
  ...given,
  ...{ channel: 'stable', now: NOW + 2000, scriptKeys: await readScriptKeys(upstream.keys, NOW) },
});

let mirrors = 0;
const following = (source: string, now = NOW + 60_000, state = join(folder, `mirror-${++mirrors}`)) => ({
  ...{ state, channel: 'stable', sources: [source], anchors: upstream.anchors, now, pauseMs: 1 },
});

it('scripts for machines come along, and the releases that they start', async () => {
  const to = following(upstream.state);
  const { refusal } = await pull(to);
  assert.equal(refusal, undefined, refusal?.message);
  assert.deepEqual(await readdir(join(to.state, 'releases/arch')), ['2026.11.01', '2026.11.02']);
  const scripts = await readdir(join(upstream.state, 'scripts'));
  assert.ok(scripts.length >= 6, scripts.join());
  assert.deepEqual(await readdir(join(to.state, 'scripts')), scripts);
  for (const name of scripts)
    assert.deepEqual(
      await readFile(join(to.state, 'scripts', name)),
      await readFile(join(upstream.state, 'scripts', name)),
    );
});

it('a script, or its seal, that somebody changed is refused, and nothing comes in', async () => {
  for (const suffix of ['.ipxe', '.ipxe.sig', '.batch', '.machines']) {
    const source = join(folder, `changed${suffix}`);
    await cp(upstream.state, source, { recursive: true });
    for (const name of await readdir(join(source, 'scripts')).then((all) =>
      all.filter((one) => one.endsWith(suffix)),
    )) {
      const path = join(source, 'scripts', name);
      const bytes = await readFile(path);
      bytes[bytes.length - 2] = (bytes.at(-2) ?? 0) ^ 1;
      await writeFile(path, bytes, { flag: 'r+' });
    }
    const to = following(source);
    const { refusal } = await pull(to);
    assert.ok(refusal, suffix);
    assert.equal(refusal.code, suffix === '.ipxe.sig' ? 'bad-signature' : 'drifted', suffix);
    assert.equal(await readChannel(to.state, 'stable'), undefined, suffix);
  }
});

it('records that the upstream signed anew take the place of the old ones; no file is fetched again', async () => {
  const source = join(folder, 'resigning');
  await cp(upstream.state, source, { recursive: true });
  const to = following(source);
  await pull(to);
  const manifest = () => readFile(join(to.state, 'releases/arch/2026.11.02/release.manifest'), 'utf8');
  const before = await manifest();
  const now = NOW + 3 * 86_400_000;
  const { rows } = await resignStore({
    ...{ state: source, keys: upstream.keys, now, snapshotKey: upstream.keys, rsaBits: 2048 },
  });
  assert.ok(rows.some(({ outcome }) => outcome === 'resigned'));
  await applyMachines({
    ...{ ...given, state: source, channel: 'stable', now: now + 1000 },
    scriptKeys: await readScriptKeys(upstream.keys, now),
  });
  const again = await pull(following(source, now + 60_000, to.state));
  assert.equal(again.refusal, undefined, again.refusal?.message);
  assert.equal(again.files, 0);
  const after = await manifest();
  assert.notEqual(after, before);
  assert.equal(after, await readFile(join(source, 'releases/arch/2026.11.02/release.manifest'), 'utf8'));
  const provenance = await readProvenance(to.state, 'arch/2026.11.02');
  assert.equal(provenance?.ingests.length, 2);
  assert.match(originOf(provenance).origin, /^file:\/\//);
  // What was there before is kept.
  const earlier = join(to.state, 'provenance/arch/2026.11.02/earlier');
  const [kept = ''] = await readdir(earlier);
  assert.equal(await readFile(join(earlier, kept, 'release.manifest'), 'utf8'), before);
  assert.deepEqual(
    await readFile(join(to.state, 'releases/arch/2026.11.02', ROOTFS)),
    await readFile(join(source, 'releases/arch/2026.11.02', ROOTFS)),
  );
});
