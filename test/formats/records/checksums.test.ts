import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import fc from 'fast-check';
import { Malformed } from '../../../src/errors/malformed.ts';
import { decodeChecksums, encodeChecksums } from '../../../src/formats/records/checksums.ts';

const DIGEST = createHash('sha512').update('x').digest('hex');
const folder = mkdtempSync(join(tmpdir(), 'bootseal-checksums-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const name = fc
  .oneof(
    fc.string({ unit: 'binary', minLength: 1 }),
    fc.string({ unit: fc.constantFrom('\\', '\n', '\r', 'n', ' ', '*'), minLength: 1 }),
  )
  .filter((text) => !text.includes('\0') && Buffer.from(text).toString() === text);

describe('checksum files', () => {
  it('reads back what it writes', () => {
    const digest = fc.uint8Array({ minLength: 64, maxLength: 64 }).map((b) => Buffer.from(b).toString('hex'));
    const line = fc.oneof(
      fc.record({ name, digest }),
      fc.record({ name, digest, binary: fc.constant(true as const) }),
    );
    const lines = fc.uniqueArray(line, { minLength: 1, maxLength: 5, selector: (one) => one.name });
    fc.assert(
      fc.property(lines, (checksums) => {
        const plain = checksums.map((one) => ({ ...one }));
        assert.deepEqual(decodeChecksums(Buffer.from(encodeChecksums(checksums))), plain);
      }),
    );
  });

  it('is what sha512sum writes and accepts, odd names too', () => {
    const names = ['airootfs.sfs', 'two words', '*star', 'back\\slash', 'line\nfeed', 'carriage\rreturn'];
    const checksums = names.map((one) => {
      writeFileSync(join(folder, one), one);
      return { name: one, digest: createHash('sha512').update(one).digest('hex') };
    });
    const text = encodeChecksums(checksums);
    assert.equal(execFileSync('sha512sum', ['--', ...names], { cwd: folder, encoding: 'utf8' }), text);
    const starred = checksums.map((one) => ({ ...one, binary: true }));
    const binary = execFileSync('sha512sum', ['-b', '--', ...names], { cwd: folder });
    assert.deepEqual(decodeChecksums(binary), starred);
    for (const input of [text, encodeChecksums(starred)]) {
      const check = spawnSync('sha512sum', ['-c', '--strict', '-'], { cwd: folder, input });
      assert.equal(check.status, 0, check.stderr.toString());
    }
    writeFileSync(join(folder, 'airootfs.sfs'), 'tampered');
    assert.equal(spawnSync('sha512sum', ['-c'], { cwd: folder, input: text }).status, 1);
  });

  it('refuses a file cut at any length', () => {
    const bytes = Buffer.from(encodeChecksums([{ name: 'a\\b', digest: DIGEST }]));
    for (let length = 0; length < bytes.length; length++) {
      assert.throws(() => decodeChecksums(bytes.subarray(0, length)), Malformed, `cut at ${length}`);
    }
  });

  it('refuses every other spelling', () => {
    const bad: Record<string, string> = {
      'an empty line': `${DIGEST}  a\n\n`,
      'one space': `${DIGEST} a\n`,
      'upper case': `${DIGEST.toUpperCase()}  a\n`,
      'a short digest': `${DIGEST.slice(2)}  a\n`,
      'no name': `${DIGEST}  \n`,
      'a carriage return': `${DIGEST}  a\r\n`,
      'a NUL': `${DIGEST}  a\0b\n`,
      'an unknown escape': `\\${DIGEST}  a\\t\n`,
      'an escape that ends': `\\${DIGEST}  a\\\n`,
      'an unannounced escape': `${DIGEST}  a\\\\b\n`,
      'an announced nothing': `\\${DIGEST}  ab\n`,
      'a name twice': `${DIGEST}  a\n${DIGEST} *a\n`,
      'the BSD style': `SHA512 (a) = ${DIGEST}\n`,
      'a comment': `# a\n${DIGEST}  a\n`,
    };
    for (const [what, text] of Object.entries(bad)) {
      assert.throws(() => decodeChecksums(Buffer.from(text)), Malformed, what);
    }
    const latin1 = Buffer.from(`${DIGEST}  caf\xe9\n`, 'latin1');
    assert.throws(() => decodeChecksums(latin1), /UTF-8/);
  });

  it('will not write what it would not read', () => {
    assert.throws(() => encodeChecksums([]), Malformed);
    assert.throws(() => encodeChecksums([{ name: '', digest: DIGEST }]), Malformed);
    assert.throws(() => encodeChecksums([{ name: 'a', digest: 'A0' }]), Malformed);
    assert.throws(() => encodeChecksums([{ name: '\ud800', digest: DIGEST }]), Malformed);
    const twice = { name: 'a', digest: DIGEST };
    assert.throws(() => encodeChecksums([twice, twice]), Malformed);
  });

  it('reads other digests when told their size', () => {
    const digest = createHash('sha256').update('x').digest('hex');
    assert.deepEqual(decodeChecksums(Buffer.from(`${digest}  x\n`), 32), [{ name: 'x', digest }]);
    assert.throws(() => decodeChecksums(Buffer.from(`${digest}  x\n`)), Malformed);
  });
});
