import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import { encodeCountersignature } from '../../src/formats/records/countersignature.ts';
import { readKeyFolder } from '../../src/signing/keys/key-folder.ts';
import { sealRecord, sealRecordOpenpgp } from '../../src/signing/seal-record.ts';
import { certifiedSigner, openpgpSigner } from '../../src/signing/signatories.ts';
import { readAnchorFolder } from '../../src/trust/anchor-folder.ts';
import { verifyCountersignature } from '../../src/trust/countersignature-check.ts';
import { defaultPolicy } from '../../src/trust/policy.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { refused } from './judge.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const other = await makeKeys(join(folder, 'other'));
const anchors = await readAnchorFolder(keys);
const ORIGINAL = { release: 'arch/2026.11.01', manifestSha256: 'ab'.repeat(32) };
const bytes = encodeCountersignature({
  time: NOW,
  release: ORIGINAL.release,
  manifest: ORIGINAL.manifestSha256,
  origin: 'https://mirror.example/',
  originalSigners: ['cd'.repeat(32)],
});

async function sealedBy(cms: string, openpgp: string, content: Uint8Array = bytes) {
  return {
    bytes: content,
    cms: await sealRecord(content, certifiedSigner('manifest', (await readKeyFolder(cms, NOW)).manifest)),
    openpgp: await sealRecordOpenpgp(
      content,
      openpgpSigner('openpgp-manifest', (await readKeyFolder(openpgp, NOW)).openpgp.manifest),
      NOW,
    ),
  };
}
const check = (sealed: Awaited<ReturnType<typeof sealedBy>>, original = ORIGINAL, now = NOW) =>
  verifyCountersignature(sealed, original, anchors, defaultPolicy(now), now);

it('a countersignature holds by both keys of the site that made it', async () => {
  assert.equal((await check(await sealedBy(keys, keys))).origin, 'https://mirror.example/');
});

it('one of another release, or of another manifest of it, does not take its place', async () => {
  const sealed = await sealedBy(keys, keys);
  await assert.rejects(check(sealed, { ...ORIGINAL, release: 'arch/2026.11.02' }), refused('mixed-releases'));
  const manifest = { ...ORIGINAL, manifestSha256: 'ba'.repeat(32) };
  await assert.rejects(check(sealed, manifest), refused('mixed-releases'));
});

it('either seal by another site is refused, and so is a changed byte', async () => {
  await assert.rejects(check(await sealedBy(other, keys)), refused('untrusted-signer'));
  await assert.rejects(check(await sealedBy(keys, other)), refused('untrusted-signer'));
  const sealed = await sealedBy(keys, keys);
  const changed = Buffer.from(bytes.toString().replace('mirror', 'MIRROR'));
  await assert.rejects(check({ ...sealed, bytes: changed }), refused('bad-signature'));
});

it('something else that these keys signed is none', async () => {
  const sealed = await sealedBy(keys, keys, Buffer.from('bootseal-successors 1\n'));
  await assert.rejects(check(sealed), refused('malformed'));
});

it('it ends with the certificate', async () => {
  const later = NOW + 3 * 365 * 86_400_000;
  await assert.rejects(check(await sealedBy(keys, keys), ORIGINAL, later), refused('expired'));
});
