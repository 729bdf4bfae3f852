import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { decodePolicyFloor } from '../../src/formats/records/policy-floor.ts';
import { temporaryFolder } from '../fixtures/folder.ts';

/** The floor's rules, written once for Node and once for busybox, asked about the same texts. */

const SCRIPT = fileURLToPath(new URL('../../../early-userspace/verify-manifest', import.meta.url));
const folder = await temporaryFolder();
const HEAD = 'bootseal-policy 1\nmin-serial 0\ngrace-days 0\n';
const LINES = [
  'issued 2026-10-01T00:00:00Z',
  'ntp time.example.org',
  'require manifest',
  'mode verity',
  'mode ram',
  'fallback ram',
  'fallback verity',
  'hand-over yes',
];

/** No line, each line, and each two and three in any order. */
function* texts(): Generator<string> {
  const lines = ['', ...LINES.map((line) => `${line}\n`)];
  for (const first of lines)
    for (const second of lines) for (const third of lines) yield HEAD + first + second + third;
}

async function busyboxTakes(text: string): Promise<boolean> {
  const root = await mkdtemp(join(folder, 'root-'));
  await mkdir(join(root, 'bootseal'));
  await writeFile(join(root, 'bootseal/policy'), text);
  await writeFile(join(root, 'cmdline'), 'quiet\n');
  const args = ['sh', SCRIPT, root, root, join(root, 'cmdline'), 'x86_64', '1793491200'];
  const { stdout } = spawnSync('/bin/busybox', args, { encoding: 'utf8' });
  // Behind the policy comes the command line, which names no manifest here.
  if (stdout.startsWith('refused wrong-command-line ')) return true;
  assert.match(stdout, /^refused malformed \/bootseal\/policy is malformed: /);
  return false;
}

describe('a policy floor on the machine', () => {
  it('is taken by busybox where Node takes it, whatever its lines and their order', async () => {
    let taken = 0;
    for (const text of new Set(texts())) {
      let expected = true;
      try {
        decodePolicyFloor(Buffer.from(text));
      } catch {
        expected = false;
      }
      taken += Number(expected);
      assert.equal(await busyboxTakes(text), expected, text);
    }
    // Of three lines at most: with and without the check, a mode, its fallback, handing over.
    assert.equal(taken, 15);
  });
});
