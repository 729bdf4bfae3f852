import assert from 'node:assert/strict';
import { mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { encodePem } from '../../src/formats/asn1/armor.ts';
import {
  demandSnapshotAnchors,
  readSnapshotAnchors,
  writeSnapshotAnchors,
} from '../../src/store/state-anchors.ts';
import { readCertificatesFile } from '../../src/trust/certificates-file.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { refused } from '../trust/judge.ts';
import { makeLogKey } from './logs.ts';

const folder = await temporaryFolder();
const { key } = await makeLogKey(join(folder, 'key'));
const pem = encodePem('CERTIFICATE', key.certificate.raw);

it('a state tells its readers of keys, and one that told nobody has none', async () => {
  const state = join(folder, 'state');
  assert.deepEqual(await readSnapshotAnchors(state), []);
  await assert.rejects(demandSnapshotAnchors(state), refused('absent', /snapshot\.crt does not exist/));
  await writeSnapshotAnchors(state, pem + pem);
  const raw = [key.certificate.raw, key.certificate.raw];
  for (const found of [
    await readSnapshotAnchors(state),
    await demandSnapshotAnchors(state),
    await readCertificatesFile(join(state, 'anchors/snapshot.crt')),
  ])
    assert.deepEqual(
      found.map((certificate) => certificate.raw),
      raw,
    );
  assert.equal((await stat(join(state, 'anchors/snapshot.crt'))).mode & 0o777, 0o644);
});

it('what holds no certificate is not taken for a state that told nobody', async () => {
  const state = join(folder, 'odd');
  await mkdir(join(state, 'anchors'), { recursive: true });
  for (const text of ['', 'x', '-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n']) {
    await writeFile(join(state, 'anchors/snapshot.crt'), text);
    await assert.rejects(readSnapshotAnchors(state), refused('malformed', /snapshot\.crt/));
  }
  await rm(join(state, 'anchors/snapshot.crt'));
  assert.deepEqual(await readSnapshotAnchors(state), []);
});
