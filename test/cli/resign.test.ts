import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runHere as run } from './here.ts';
import { cliSite } from './site.ts';

const { folder, keys, anchors, tree } = await cliSite();
const state = join(folder, 'state');
const ISSUED = ['--issued', `@${Math.floor(Date.now() / 1000) + 60}`];

it('publish --origin takes an address, and nothing else', async () => {
  const words = ['publish', tree, '--channel', 'stable', '--state', state, '--anchors', anchors];
  const { code, err } = await run([...words, '--origin', 'somewhere']);
  assert.deepEqual([code, /is no origin/.test(err)], [2, true]);
  assert.equal((await run(words)).code, 0);
});

it('a tree: what would change, what changed, and nothing the second time', async () => {
  const own = join(folder, 'own');
  await cp(tree, own, { recursive: true });
  const words = ['resign', own, '--keys', keys, ...ISSUED];
  const dry = await run([...words, '--dry-run']);
  assert.equal(dry.code, 0, dry.err);
  assert.match(dry.out, /^release\.manifest\.cms\.sig$[\s\S]*9 files would be written; best before/m);
  assert.match((await run(words)).out, /9 files written/);
  const { out } = await run([...words, '--json']);
  const { release, dryRun, changes, steps } = JSON.parse(out);
  assert.deepEqual([release, dryRun, changes, steps], ['arch/2026.11.01', false, [], []]);
});

it('a store: a row for each release, and what to do about those that it refuses', async () => {
  const other = join(folder, 'other');
  assert.equal((await run(['init', other, '--site', 'other', '--ecdsa'])).code, 0);
  const wrong = await run(['resign', '--state', state, '--keys', other, '--anchors', keys]);
  assert.equal(wrong.code, 1);
  assert.match(
    wrong.out,
    /^arch\/2026\.11\.01 +local +– +quarantined, held +The ca key [0-9a-f]{16} is not at hand/m,
  );
  assert.match(wrong.out, /^arch\/2026\.11\.01: bootseal resign --state .* --keys FOLDER-WITH-ca-/m);
  const right = await run(['resign', '--state', state, '--keys', keys, ...ISSUED]);
  assert.equal(right.code, 0, right.err);
  assert.match(right.out, /^arch\/2026\.11\.01 +local +same +resigned +9 files; channel stable$/m);
  const again = await run(['resign', '--state', state, '--keys', keys, ...ISSUED, '--json']);
  assert.deepEqual(
    JSON.parse(again.out).releases.map(({ outcome }: { outcome: string }) => outcome),
    ['kept'],
  );
  const { code, out } = await run(['verify', join(state, 'releases/arch/2026.11.01'), '--anchors', anchors]);
  assert.equal(code, 0, out);
  assert.match(await readFile(join(state, 'log/entries'), 'utf8'), /^act restore$/m);
});

it('what no seal speaks for any more is moved out, and the recorded command brings it back through the gate', async () => {
  const broken = join(folder, 'broken');
  assert.equal(spawnSync('cp', ['-a', state, broken]).status, 0);
  const seal = join(broken, 'releases/arch/2026.11.01/boot.ipxe.sig');
  const bytes = await readFile(seal);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  await rm(seal);
  await writeFile(seal, bytes);
  const words = ['resign', '--state', broken, '--keys', keys, '--json'];
  const { code, out } = await run(words);
  const [row] = JSON.parse(out).releases;
  assert.deepEqual(
    [code, row.outcome, row.held, row.refusal.code],
    [1, 'quarantined', false, 'bad-signature'],
  );
  assert.equal(existsSync(join(broken, 'releases/arch/2026.11.01')), false);
  const main = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
  const shell = `bootseal() { ${process.execPath} ${main} "$@"; }; ${row.command.replace('CHANNEL', 'stable')}`;
  const back = spawnSync('sh', ['-c', shell], { cwd: folder, encoding: 'utf8', timeout: 120_000 });
  assert.equal(back.status, 0, back.stdout + back.stderr);
  const verdict = await run(['verify', join(broken, 'releases/arch/2026.11.01'), '--anchors', anchors]);
  assert.equal(verdict.code, 0, verdict.out);
  assert.equal((await run([...words, ...ISSUED])).code, 0);
});

it('--restore is for what is in quarantine, and --policy for a file that exists', async () => {
  const policy = join(folder, 'none.toml');
  const only = ['--only', 'arch/2026.11.01'];
  const { code, err } = await run(['resign', '--state', state, '--keys', keys, ...only, '--policy', policy]);
  assert.deepEqual([code, /no such file/i.test(err)], [2, true]);
  const absent = await run(['resign', '--state', state, '--keys', keys, '--restore', 'arch/2026.11.01']);
  assert.deepEqual([absent.code, /is not in quarantine/.test(absent.err)], [2, true]);
});

for (const [what, words, says] of [
  ['neither tree nor store', ['resign', '--keys', keys], /Name either a tree or --state/],
  ['both', ['resign', tree, '--state', folder, '--keys', keys], /Name either a tree or --state/],
  ['no keys', ['resign', tree], /Signing needs --keys/],
  ['a quarantine of a tree', ['resign', tree, '--restore', 'arch/1'], /--restore needs --state/],
  ['--only without a store', ['resign', tree, '--keys', keys, '--only', 'arch/1'], /go with --state/],
] as const) {
  it(`is a matter of usage with ${what}`, async () => {
    const { code, err } = await run(words);
    assert.equal(code, 2);
    assert.match(err, says);
  });
}
