import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { bytesContent } from '../../src/files/measure.ts';
import type { ManifestFile } from '../../src/formats/records/manifest.ts';
import { checksumCheck, digestCheck, manifestCheck } from '../../src/trust/plain-checks.ts';
import { examine } from '../../src/trust/verify.ts';
import { judge } from './judge.ts';

const CONTENT = Buffer.from('the content\n');
const OTHER = Buffer.from('the c0ntent\n');
const hash = (name: string, content = CONTENT) => createHash(name).update(content).digest('hex');

describe('a checksum file', () => {
  const good = `${hash('sha512')}  airootfs.sfs\n`;
  const check = (text: string) => checksumCheck('x.sha512', Buffer.from(text), 'airootfs.sfs');
  /** The finding itself: a checksum alone makes nothing verified. */
  async function finding(text: string, content: Uint8Array = CONTENT) {
    const { findings, verified } = await examine(bytesContent(content), [check(text)]);
    assert.equal(verified, undefined);
    const [found] = findings;
    return found?.verified ? 'holds' : found?.refusal.code;
  }

  it('holds for the content it names, and makes nothing verified', async () => {
    assert.equal(await finding(good), 'holds');
    assert.equal(await finding(`${hash('sha512', OTHER)}  other\n${good}`), 'holds');
  });

  const cases: Readonly<Record<string, [string, string, Buffer?]>> = {
    'for other content': [good, 'bad-signature', OTHER],
    'with another digest': [good.replace(/^./, (digit) => (digit === '0' ? '1' : '0')), 'bad-signature'],
    'without a line for the file': [good.replace('airootfs', 'other'), 'absent'],
    'that names the file by its folder': [good.replace('airootfs', './airootfs'), 'absent'],
    'of SHA-256': [`${hash('sha256')}  airootfs.sfs\n`, 'malformed'],
    'that names the file twice': [good + good.replace(/^./, '0'), 'malformed'],
    'that is empty': ['', 'malformed'],
    'without its last line feed': [good.trimEnd(), 'malformed'],
  };
  for (const [name, [text, code, content]] of Object.entries(cases)) {
    it(`is refused (${code}) ${name}`, async () => assert.equal(await finding(text, content), code));
  }
});

describe('what a manifest says of a file', () => {
  const file: ManifestFile = {
    role: 'kernel',
    size: CONTENT.length,
    sha256: hash('sha256'),
    sha512: hash('sha512'),
    path: 'boot/vmlinuz',
  };
  const cases: readonly [string, Partial<ManifestFile>, Buffer, string][] = [
    ['holds for that file', {}, CONTENT, 'verified'],
    ['is refused for other content of the same size', {}, OTHER, 'bad-signature'],
    ['is refused for content that goes on', {}, Buffer.concat([CONTENT, CONTENT]), 'bad-signature'],
    ['is refused for content that is cut', {}, CONTENT.subarray(1), 'bad-signature'],
    ['is refused with another size', { size: CONTENT.length + 1 }, CONTENT, 'bad-signature'],
    ['is refused where SHA-256 alone differs', { sha256: hash('sha256', OTHER) }, CONTENT, 'bad-signature'],
    ['is refused where SHA-512 alone differs', { sha512: hash('sha512', OTHER) }, CONTENT, 'bad-signature'],
    ['is refused with digests of nothing', { sha256: '', sha512: '' }, CONTENT, 'bad-signature'],
  ];
  for (const [name, change, content, verdict] of cases) {
    it(name, async () => {
      assert.equal(await judge(manifestCheck({ ...file, ...change }, 'codesign.lab'), content), verdict);
    });
  }

  it('is evidence by whoever signed the manifest', async () => {
    const { verified } = await examine(bytesContent(CONTENT), [manifestCheck(file, 'codesign.lab')]);
    assert.deepEqual(verified?.evidence, [{ check: 'manifest', signer: 'codesign.lab', signed: true }]);
  });
});

describe('the one digest that something verified names', () => {
  it('holds for its content alone', async () => {
    assert.equal(
      await judge(digestCheck('release.manifest', hash('sha256'), 'boot.lab'), CONTENT),
      'verified',
    );
    assert.equal(
      await judge(digestCheck('release.manifest', hash('sha256'), 'boot.lab'), OTHER),
      'mixed-releases',
    );
    assert.equal(await judge(digestCheck('release.manifest', '', 'boot.lab'), CONTENT), 'mixed-releases');
    assert.equal(await judge(digestCheck('release.manifest', undefined, 'boot.lab'), CONTENT), 'absent');
  });
});
