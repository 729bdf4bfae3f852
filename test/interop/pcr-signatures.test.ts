import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, watch, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { decodePe, peSection } from '../../src/formats/efi/pe.ts';
import { PCR_PHASES, pcrValue } from '../../src/formats/efi/uki.ts';
import { readPcrPublicKey, readPcrSigner } from '../../src/signing/keys/secure-boot-signers.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { makeUki, ukiTree } from '../fixtures/uki.ts';

/** systemd-measure as the judge; what it signs it asks of a TPM, which swtpm plays. */
const MEASURE = '/usr/lib/systemd/systemd-measure';
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'), { secureBoot: true });
const tree = await ukiTree(join(folder, 'tree'), keys);
const out = join(folder, 'uki.efi');
const [pcrPublicKey, pcrSigner] = [await readPcrPublicKey(keys), await readPcrSigner(keys)];
assert.ok(pcrPublicKey && pcrSigner);
await makeUki(tree, keys, { out, pcrPublicKey, pcrSigner });
const bytes = readFileSync(out);
const image = decodePe(bytes);
const files = ['linux', 'osrel', 'cmdline', 'initrd', 'pcrpkey'].map((name) => {
  const path = join(folder, name);
  writeFileSync(path, peSection(bytes, image, `.${name}`) ?? '');
  return `--${name}=${path}`;
});

async function startTpm(): Promise<string> {
  const state = join(folder, 'tpm');
  await mkdir(state);
  const socket = join(folder, 'tpm.socket');
  const tpm = spawn('swtpm', [
    ...['socket', '--tpm2', '--tpmstate', `dir=${state}`, '--flags', 'not-need-init,startup-clear'],
    ...['--server', `type=unixio,path=${socket}`, '--ctrl', `type=unixio,path=${socket}.ctrl`],
  ]);
  after(() => tpm.kill());
  const watcher = watch(folder);
  while (!existsSync(`${socket}.ctrl`)) await once(watcher, 'change');
  watcher.close();
  return socket;
}

describe('PCR signatures of an image', () => {
  it('are over the values that systemd-measure calculates, for each phase', () => {
    const said = execFileSync(MEASURE, ['calculate', '--bank=sha256', ...files], { encoding: 'utf8' });
    const values = [...said.matchAll(/^11:sha256=([0-9a-f]{64})$/gm)].map(([, value]) => value);
    assert.deepEqual(
      PCR_PHASES.map((phase) => Buffer.from(pcrValue(bytes, image, phase)).toString('hex')),
      values,
    );
  });

  it('are those that systemd-measure makes with the same key', async () => {
    const socket = await startTpm();
    const said = execFileSync(
      MEASURE,
      [
        ...['sign', '--bank=sha256', ...files, `--tpm2-device=swtpm:path=${socket}`],
        ...[
          `--private-key=${join(keys, 'private', 'pcr.key')}`,
          `--public-key=${join(keys, 'anchors', 'pcr.pub')}`,
        ],
      ],
      { encoding: 'utf8' },
    );
    const ours = Buffer.from(peSection(bytes, image, '.pcrsig') ?? []).toString('utf8');
    assert.deepEqual(JSON.parse(ours), JSON.parse(said));
  });

  it('stand in a section before the kernel, which stays last, under the image’s own signature', () => {
    assert.deepEqual(
      image.sections.slice(-2).map(({ name }) => name),
      ['.pcrsig', '.linux'],
    );
    execFileSync('sbverify', ['--cert', join(keys, 'anchors', 'db.crt'), out]);
  });
});
