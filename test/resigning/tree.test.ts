import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { verify } from '../../src/conformance/verify.ts';
import { decodeManifest } from '../../src/formats/records/manifest.ts';
import { rotateKeys } from '../../src/operations/keys-rotate.ts';
import { type ResignTreeRequest, resignTree } from '../../src/resigning/tree.ts';
import { readKeyFolder } from '../../src/signing/keys/key-folder.ts';
import { sealRecord, sealRecordOpenpgp } from '../../src/signing/seal-record.ts';
import { certifiedSigner, openpgpSigner } from '../../src/signing/signatories.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { readyKeyPair } from '../fixtures/ready-keys.ts';
import { INITRD, KERNEL, ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';
import { fingerprint } from '../operations/rotation.ts';
import { look } from '../signing/judges.ts';
import { refused } from '../trust/judge.ts';
import { LATER } from './stores.ts';

const DAY = 86_400_000;
const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const next = join(folder, 'next');
await rotateKeys({ keys, out: next, now: NOW + 1000, rsaBits: 2048, makeKeyPair: readyKeyPair });
const sealed = await sampleTree(join(folder, 'sealed'), keys);
writeFileSync(join(sealed, ROOTFS), Buffer.alloc(64 * 4096, 'root'));
await sealFixture(sealed, keys);

let count = 0;
function fresh(): string {
  const tree = join(folder, `tree-${++count}`);
  cpSync(sealed, tree, { recursive: true, preserveTimestamps: true });
  return tree;
}
const journals = join(folder, 'journals');
const resign = (tree: string, more: Partial<ResignTreeRequest> = {}) =>
  resignTree({ tree, keys, journals, now: LATER, rsaBits: 2048, ...more });
const faultOf = async (tree: string, anchors: string, now = LATER) =>
  (await verify({ tree, anchors, now })).refusal?.message;

it('signs the records of a tree anew, and every seal verifies', async () => {
  const tree = fresh();
  const { changes, manifest } = await resign(tree);
  assert.deepEqual(
    changes.filter((path) => path.includes('/')),
    [],
  );
  assert.equal(manifest.issued, LATER);
  assert.equal(await faultOf(tree, keys), undefined);
  assert.equal(await faultOf(tree, keys, LATER + 89 * DAY), undefined);
  assert.deepEqual(await resign(tree, { issued: LATER }).then((again) => again.changes), []);
});

it('a release past its best-before is signed anew, with new leaves where the old would not last', async () => {
  const tree = fresh();
  const now = NOW + 120 * DAY;
  const { changes } = await resign(tree, { now });
  assert.ok(changes.includes(`${KERNEL}.ipxe.sig`) && changes.includes(`${ROOTFS}.ipxe.sig`));
  assert.equal(await faultOf(tree, keys, now), undefined);
});

it('reads no byte of the payload: strace sees none of its files opened', async () => {
  // The command line has a real clock.
  const now = Date.now();
  const own = await makeKeys(join(folder, 'own'), { now });
  const tree = fresh();
  await sealFixture(tree, own, { now, issued: now });
  const trace = join(folder, 'trace');
  // Another name: every seal for iPXE is made anew.
  const words = ['resign', tree, '--keys', own, '--release', 'lab/2026.11.01', '--journal', journals];
  const strace = [
    '-f',
    '-qq',
    // With the path of each descriptor: files of a tree are opened by that of their folder.
    '-y',
    '-o',
    trace,
    '-e',
    'trace=open,openat,openat2',
    process.execPath,
    MAIN,
    ...words,
  ];
  const faked = spawnSync('strace', strace, { encoding: 'utf8', timeout: 120_000 });
  assert.equal(faked.status, 0, faked.stdout + faked.stderr);
  const opened = readFileSync(trace, 'utf8')
    .split('\n')
    .filter((line) => line.includes(tree));
  assert.ok(
    opened.some((line) => line.endsWith(`<${tree}/boot.ipxe.sig>`)) &&
      opened.some((line) => line.endsWith(`<${tree}/${KERNEL}.cms.sig>`)),
    'it sees what is opened',
  );
  for (const path of [KERNEL, INITRD, ROOTFS, `${ROOTFS}.verity`])
    assert.deepEqual(
      opened.filter((line) => line.includes(`/${path}>`)),
      [],
      path,
    );
  assert.equal(decodeManifest(readFileSync(join(tree, 'release.manifest'))).release, 'lab/2026.11.01');
});

it('keys that follow the old ones by their own word sign; payload keeps its old seals', async () => {
  const tree = fresh();
  const { steps } = await resign(tree, { keys: next });
  assert.deepEqual(
    steps.map(({ kind }) => kind),
    ['manifest', 'boot', 'openpgp-manifest', 'openpgp-script'],
  );
  assert.equal(await faultOf(tree, next), undefined);
  assert.deepEqual(
    readFileSync(join(tree, `${KERNEL}.cms.sig`)),
    readFileSync(join(sealed, `${KERNEL}.cms.sig`)),
  );
});

/** The map of `next`, changed, and signed by whom we like. */
async function forged(change: (text: string) => string, signer: string): Promise<string> {
  const path = join(folder, `map-${++count}`);
  const bytes = Buffer.from(change(readFileSync(join(next, 'anchors/successors'), 'latin1')));
  const { manifest, openpgp } = await readKeyFolder(signer, NOW);
  writeFileSync(path, bytes);
  writeFileSync(`${path}.cms.sig`, await sealRecord(bytes, certifiedSigner('manifest', manifest)));
  writeFileSync(
    `${path}.sig`,
    await sealRecordOpenpgp(bytes, openpgpSigner('openpgp-manifest', openpgp.manifest), NOW),
  );
  return path;
}

const stranger = await makeKeys(join(folder, 'stranger'));
const fresher = fingerprint(join(next, 'anchors/manifest.crt'));
const REFUSED: readonly [string, () => Promise<readonly string[]>, RegExp][] = [
  ['no map', async () => [], /no map that it signed names/],
  [
    'a map that somebody else signed',
    async () => [await forged((text) => text, stranger)],
    /not the one this client holds/,
  ],
  [
    'a map that the new key signed itself',
    async () => [await forged((text) => text, next)],
    /no map that it signed names/,
  ],
  [
    'a map that names another new key',
    async () => [
      await forged(
        (text) =>
          text.replace(
            fresher,
            fresher.replace(/^./, (c) => (c === '0' ? '1' : '0')),
          ),
        keys,
      ),
    ],
    /no map that it signed names/,
  ],
  [
    'a map that was changed after it was signed',
    async () => {
      const path = await forged(
        (text) =>
          text.replace(
            fresher,
            fresher.replace(/^./, (c) => (c === '0' ? '1' : '0')),
          ),
        keys,
      );
      writeFileSync(path, readFileSync(join(next, 'anchors/successors')));
      return [path];
    },
    /does not match/,
  ],
];
for (const [what, maps, says] of REFUSED) {
  it(`${what} lets no other key sign, and the tree is as it was`, async () => {
    const tree = fresh();
    const before = look(tree);
    const given = { keys: next, anchors: [keys, stranger], successors: await maps() };
    await assert.rejects(resign(tree, given), refused('absent', says));
    assert.deepEqual(look(tree), before);
  });
}

it('a map of the right keys, signed by the old ones, counts from any file', async () => {
  const tree = fresh();
  const successors = [await forged((text) => text, keys)];
  assert.equal((await resign(tree, { keys: next, successors })).steps.length, 4);
});

it('a tree has no quarantine: a broken seal is a refusal, and nothing changed', async () => {
  const tree = fresh();
  const path = join(tree, 'boot.ipxe');
  writeFileSync(path, `${readFileSync(path, 'latin1')}# more\n`);
  const before = look(tree);
  await assert.rejects(resign(tree), refused('bad-signature'));
  assert.deepEqual(look(tree), before);
});
