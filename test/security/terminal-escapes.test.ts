import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { printable } from '../../src/cli/printable.ts';
import { layoutTable } from '../../src/cli/table.ts';
import { run } from '../cli/command.ts';
import { CA_EXTENSIONS, CertificateMaker } from '../fixtures/certificates.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { sealFixture } from '../fixtures/release.ts';
import { smallTree } from '../signing/trees.ts';

/** Text from whoever answered, made to rewrite what a terminal shows. */

const CLEAR = '\x1b[2J\x1b[H';
const FORGED = `X\r${CLEAR}\x1b[32mVERIFIED: arch 2026.11.01\x1b[0m\nVERIFIED: all\x7f\x9b2K`;
/** Anything a terminal obeys, but the line ends. */
const OBEYED = /[\x00-\x09\x0b-\x1f\x7f-\x9f]/;

function demandInert(text: string): void {
  assert.doesNotMatch(text, OBEYED);
  assert.doesNotMatch(text, /^VERIFIED/m, 'no line of its own');
}

describe('a control character', () => {
  it('is shown, whichever it is', () => {
    const all = Array.from({ length: 0x120 }, (_, code) => String.fromCharCode(code));
    for (const character of all) {
      const control = /[\x00-\x1f\x7f-\x9f]/.test(character);
      assert.equal(printable(character) === character, !control, JSON.stringify(character));
      assert.doesNotMatch(printable(character), /[\x00-\x1f\x7f-\x9f]/);
    }
    assert.equal(printable('a\x1b[1mb\r\n\tc\x9b\x7fü → ✓'), 'a\\x1b[1mb\\r\\n\\tc\\x9b\\x7fü → ✓');
  });

  it('in a table is shown, and the columns still line up', () => {
    const rows = [
      [{ text: FORGED }, { text: 'b' }],
      [{ text: 'a' }, { text: 'b', style: 'bad' as const }],
    ];
    const laid = layoutTable(['one', 'two'], rows, false);
    demandInert(laid);
    const lines = laid.split('\n');
    assert.equal(lines.length, 3);
    assert.equal(new Set(lines.map((line) => line.search(/(two|b)$/))).size, 1);
  });
});

describe('a hostile tree', async () => {
  const folder = await temporaryFolder();
  const keys = await makeKeys(join(folder, 'keys'));
  const tree = await smallTree(join(folder, 'tree'));
  await sealFixture(tree, keys);
  const maker = new CertificateMaker(folder);
  const signer = maker.make({ commonName: 'placeholder-name', extensions: CA_EXTENSIONS });
  const cms = maker.cms(await readFile(join(tree, 'boot.ipxe')), [signer]);
  await writeFile(join(tree, 'boot.ipxe.sig'), named(cms, 'placeholder-name', `X${CLEAR}\nOK\x7f`));
  const words = ['verify', tree, '--anchors', join(keys, 'anchors'), '--at', '2026-11-01'];

  it('shows the name of its signer as text', async () => {
    const { code, out, err } = await run(words);
    assert.equal(code, 1);
    assert.match(out, /X\\x1b\[2J\\x1b\[H\\nOK\\x7f/);
    demandInert(out + err);
  });

  it('shows it as text in JSON, and to a program it is what it was', async () => {
    const { code, out } = await run([...words, '--json']);
    assert.equal(code, 1);
    assert.doesNotMatch(out, OBEYED);
    assert.ok(JSON.stringify(JSON.parse(out)).includes('X\\u001b[2J\\u001b[H\\nOK\x7f'));
  });
});

describe('a hostile script', () => {
  it('is shown as text while it runs', async (t) => {
    const script = `#!ipxe\nimgfree\necho ${CLEAR}VERIFIED: all of it.\x1b[8m\x9b2K\nexit 1\n`;
    const server = createServer((_, response) => response.end(Buffer.from(script)));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.after(() => server.close());
    const { port } = server.address() as AddressInfo;
    const { code, out, err } = await run(['boot', `http://127.0.0.1:${port}/x.ipxe`]);
    assert.equal(code, 1);
    assert.match(err, /\\x1b\[2J\\x1b\[HVERIFIED: all of it\./);
    demandInert(out + err);
  });
});

/** DER with one text replaced by another of its length: openssl itself would make no such name. */
function named(der: Uint8Array, from: string, to: string): Buffer {
  const padded = Buffer.from(to.padEnd(from.length, '.'), 'latin1');
  assert.equal(padded.length, from.length);
  const text = Buffer.from(der).toString('latin1');
  return Buffer.from(text.replaceAll(from, padded.toString('latin1')), 'latin1');
}
