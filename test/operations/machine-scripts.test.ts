import assert from 'node:assert/strict';
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { execute } from '../../lab/command.ts';
import { decodeBundle, encodeBundle } from '../../src/formats/records/request-bundle.ts';
import { attachScripts, requestScripts, signScriptsRequest } from '../../src/operations/machine-scripts.ts';
import { applyMachines } from '../../src/publish/channel.ts';
import { publish } from '../../src/publish/publish.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const stranger = await makeKeys(join(folder, 'stranger'));
const anchors = join(keys, 'anchors');
const state = join(folder, 'state');
const given = { state, anchors, now: NOW };
for (const version of ['2026.11.01', '2026.11.02']) {
  const tree = await sampleTree(join(folder, version), keys);
  await writeFile(join(tree, 'arch/version'), `${version}\n`);
  await writeFile(join(tree, ROOTFS), Buffer.alloc(100_000, version));
  await sealFixture(tree, keys);
}
await publish({ ...given, snapshotKey: keys, channel: 'stable', tree: join(folder, '2026.11.01') });
await mkdir(join(state, 'machines'));
await writeFile(
  join(state, 'machines/all.toml'),
  '[[machine]]\nname = "a"\nmac = "52:54:00:00:00:0a"\ngets = { channel = "stable" }\n',
);
const request = join(folder, 'request.cpio');
const answer = join(folder, 'answer.cpio');
const asked = await requestScripts({
  ...given,
  channel: 'stable',
  tree: join(folder, '2026.11.02'),
  out: request,
});

describe('scripts of machines, signed where the keys are', () => {
  it('are asked for by facts, and hold no text that would be signed', async () => {
    const { files } = decodeBundle(await readFile(request));
    assert.deepEqual(
      [...files.keys()].filter((name) => name.startsWith('scripts/')),
      [],
    );
    assert.deepEqual(asked.request.scripts.map(({ loader, release }) => [loader, release]).sort(), [
      ['grub', 'arch/2026.11.02'],
      ['ipxe', 'arch/2026.11.02'],
    ]);
  });

  it('are compiled there, and sealed so that openssl takes them', async () => {
    const shown: number[] = [];
    const signed = await signScriptsRequest({
      request,
      keys: [keys],
      out: answer,
      now: NOW,
      onRequest: ({ scripts }) => shown.push(scripts.length),
    });
    assert.deepEqual([shown, signed.signed, signed.left], [[2], 2, 0]);
    const script = signed.scripts.find(({ loader }) => loader === 'ipxe');
    const seal = decodeBundle(await readFile(answer)).files.get(`scripts/${script?.sha256}.ipxe.sig`);
    await writeFile(join(folder, 'script'), script?.bytes ?? '');
    await writeFile(join(folder, 'seal'), seal ?? '');
    const verified = await execute('openssl', [
      ...['cms', '-verify', '-binary', '-inform', 'DER', '-in', join(folder, 'seal')],
      ...['-content', join(folder, 'script'), '-CAfile', join(anchors, 'ca.crt'), '-purpose', 'any'],
      ...['-attime', String(NOW / 1000), '-out', '/dev/null'],
    ]);
    assert.equal(verified.status, 0, verified.stderr);
  });

  it('wait in the state, and go with the channel', async () => {
    const move = { ...given, snapshotKey: keys, channel: 'stable', tree: join(folder, '2026.11.02') };
    await assert.rejects(publish(move), { name: 'UsageError', message: /2 of the 2 scripts/ });
    assert.deepEqual(await attachScripts({ ...given, responses: [answer] }), {
      channel: 'stable',
      attached: 2,
    });
    const { moved } = await publish(move);
    assert.match(moved?.snapshot.scripts ?? '', /^[0-9a-f]{64}$/);
    // Of what it names now the same scripts are wanted.
    const again = await applyMachines({ ...given, snapshotKey: keys, channel: 'stable' });
    assert.equal(again.snapshot.scripts, moved?.snapshot.scripts);
  });
});

describe('a request that was changed on its way', () => {
  const changed = async (change: (files: Map<string, Uint8Array>) => void) => {
    const files = new Map(decodeBundle(await readFile(request)).files);
    change(files);
    const path = join(folder, 'changed.cpio');
    await writeFile(path, encodeBundle(files));
    return signScriptsRequest({ request: path, keys: [keys], out: join(folder, 'no.cpio'), now: NOW });
  };
  const textOf = (files: Map<string, Uint8Array>, name: string) =>
    Buffer.from(files.get(name) ?? []).toString();

  it('is not signed: other rules, another manifest, another seal', async () => {
    const rules = 'records/machines.json';
    await assert.rejects(
      changed((files) => files.set(rules, Buffer.from(textOf(files, rules).replace('00:0a', '00:0b')))),
      { code: 'malformed', message: /machines\.json in .* is not what its index names/ },
    );
    const manifest = [...decodeBundle(await readFile(request)).files.keys()].find((name) =>
      name.endsWith('/release.manifest'),
    );
    assert.ok(manifest);
    await assert.rejects(
      changed((files) => files.set(manifest, Buffer.from(`${textOf(files, manifest)}x`))),
      { code: 'malformed' },
    );
    await assert.rejects(
      changed((files) => files.delete(`${manifest}.cms.sig`)),
      { code: 'absent' },
    );
    await assert.rejects(
      changed((files) => files.set(`${manifest}.cms.sig`, Buffer.from('no seal'))),
      { code: 'malformed' },
    );
  });

  it('is not signed: scripts that are not made of its facts', async () => {
    await assert.rejects(
      changed((files) =>
        files.set('index', Buffer.from(textOf(files, 'index').replace(/ipxe [0-9a-f]{8}/, 'ipxe 00000000'))),
      ),
      { code: 'mixed-releases', message: /asks for other scripts than are made here/ },
    );
  });

  it('is not signed by keys of another site, whose releases these are not', async () => {
    await assert.rejects(
      signScriptsRequest({ request, keys: [stranger], out: join(folder, 'no.cpio'), now: NOW }),
      { code: /untrusted-signer|bad-signature/ },
    );
  });

  it('leaves an answer by a stranger out of the state', async () => {
    const files = new Map(decodeBundle(await readFile(answer)).files);
    const [name] = [...files.keys()].filter((one) => one.endsWith('.ipxe.sig'));
    assert.ok(name);
    const other = await sampleTree(join(folder, 'other'), stranger);
    await sealFixture(other, stranger);
    files.set(name, await readFile(join(other, 'boot.ipxe.sig')));
    const path = join(folder, 'forged.cpio');
    await writeFile(path, encodeBundle(files));
    const fresh = join(folder, 'fresh');
    await cp(state, fresh, { recursive: true });
    await rm(join(fresh, 'scripts'), { recursive: true });
    await assert.rejects(attachScripts({ ...given, state: fresh, responses: [path] }), {
      name: 'Refusal',
      code: /bad-signature|untrusted-signer/,
    });
    await assert.rejects(readFile(join(fresh, 'scripts')), { code: 'ENOENT' });
  });
});
