import assert from 'node:assert/strict';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { start } from './command.ts';
import { runHere as run } from './here.ts';
import { cliSite } from './site.ts';

const { folder, keys, tree } = await cliSite();
const TMPDIR = join(folder, 'tmp');
await mkdir(TMPDIR);
// For the commands of this file: where they work must be empty again afterwards.
process.env.TMPDIR = TMPDIR;
const WORDS = ['tamper', tree, '--keys', keys];
const ONE = ['--attack', 'vmlinuz-linux: first byte flipped'];

function tampered(...more: string[]) {
  return run([...WORDS, ...more]);
}

describe('tamper', () => {
  it('shows who refused, who was not concerned, and that all is as it must be', async () => {
    const { code, out, err } = await tampered(...ONE);
    assert.equal(code, 0);
    assert.equal(err, 'trying 1 attack\n');
    assert.equal(
      out.replace(/\n\n[\s\S]*\n\n/, '\n\n'),
      `attack                                              iPXE           iPXE UEFI      GRUB           archiso   manifest       tree
arch/boot/x86_64/vmlinuz-linux: first byte flipped  bad-signature  bad-signature  bad-signature  verified  bad-signature  bad-signature

HELD: 1 attack on arch/2026.11.01: 5 refusals, each for its own reason; 0 cells that cannot catch it, as said above.
`,
    );
    assert.deepEqual(await readdir(TMPDIR), []);
  });

  it('says in a sentence why a client cannot catch something', async () => {
    const { out } = await tampered('--attack', 'clock: 1 JANUARY 1970');
    assert.match(
      out,
      /^clock: 1 January 1970 +not-yet-valid +not-yet-valid +not caught \(1\) +not-yet-valid( +not-yet-valid){2}$/m,
    );
    assert.match(out, /^\(1\) GRUB has no clock to judge by\.$/m);
  });

  it('leaves out columns that nobody asked, and shows where one of several was not', async () => {
    const { out } = await tampered('--attack', 'snapshot');
    assert.match(out, /^snapshot: expired +(– +){6}stale$/m);
    assert.match(
      (await tampered('--attack', 'snapshot: expired')).out,
      /^attack +snapshot\nsnapshot: expired +stale\n/,
    );
  });

  it('says one object with --json, and nothing with --quiet', async () => {
    const { code, out } = await tampered(...ONE, '--json');
    const { holds, release, rows, deviations } = JSON.parse(out);
    assert.deepEqual([code, holds, release, deviations, rows.length], [0, true, 'arch/2026.11.01', [], 1]);
    assert.equal(rows[0].cells.grub.code, 'bad-signature');
    assert.deepEqual(rows[0].cells.archiso, { outcome: 'verified' });
    assert.deepEqual(await tampered(...ONE, '--quiet'), { code: 0, out: '', err: '' });
  });

  it('is a usage error where no attack bears the name', async () => {
    const { code, out, err } = await tampered('--attack', 'nonsense');
    assert.deepEqual([code, out], [2, '']);
    assert.match(err, /^No attack on arch\/2026\.11\.01 has "nonsense" in its name/);
  });

  it('removes its copy when it is interrupted', async () => {
    const running = start(WORDS, { env: { TMPDIR } });
    await running.until('err', /^trying \d+ attacks$/m);
    assert.equal((await readdir(TMPDIR)).length, 1);
    running.signal('SIGINT');
    const { code, err } = await running.ended;
    assert.equal(code, 130);
    assert.match(err, /^Interrupted by SIGINT/m);
    assert.deepEqual(await readdir(TMPDIR), []);
  });

  it('refuses a tree that is refused untouched', async () => {
    await writeFile(join(tree, 'release.manifest'), 'another\n');
    const { code, err } = await tampered();
    assert.equal(code, 1);
    assert.match(err, /^refused \[bad-signature\] /m);
  });
});
