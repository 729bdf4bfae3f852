import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { tamper } from '../../src/conformance/tamper.ts';
import { verify } from '../../src/conformance/verify.ts';
import { verifyAs } from '../../src/conformance/verify-as.ts';
import { decodeManifest } from '../../src/formats/records/manifest.ts';
import { boot } from '../../src/operations/boot.ts';
import { publish } from '../../src/publish/publish.ts';
import { serve } from '../../src/server/serve.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { KERNEL, sealFixture } from '../fixtures/release.ts';
import { MODULE_WORDS, XEN, XEN_WORDS, xenTree } from '../fixtures/xen.ts';

/** A release that a hypervisor starts, from the tree to the channel. */

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const anchors = join(keys, 'anchors');
const log = { info: () => {}, warn: () => {}, error: () => {} };
const tree = await xenTree(join(folder, 'tree'), keys);
const unlike: string[] = [];
await sealFixture(tree, keys, { onUnlike: ({ path }) => unlike.push(path) });
const text = (name: string) => readFile(join(tree, name), 'latin1');

it('has the module in its manifest, with words of its own, and both files are of the shape they should be', async () => {
  const manifest = decodeManifest(await readFile(join(tree, 'release.manifest')));
  assert.deepEqual(
    manifest.files.slice(0, 2).map(({ role, path }) => [role, path]),
    [
      ['kernel', XEN],
      ['module', KERNEL],
    ],
  );
  assert.equal(manifest.cmdline.join(' '), XEN_WORDS);
  assert.equal(manifest.moduleCmdline?.join(' '), MODULE_WORDS);
  assert.equal(manifest.layout, 'archiso');
  assert.deepEqual(unlike, []);
});

it('is verified, and each client that cannot start it says so', async () => {
  const verdicts = await verifyAs({ target: tree, anchors: keys, now: NOW });
  assert.deepEqual(
    verdicts.map(({ client, asked, refusal }) => [client, asked, refusal?.message]),
    [
      ['ipxe', false, undefined],
      ['ipxe-efi', false, undefined],
      ['grub', true, undefined],
      ['archiso', false, undefined],
      ['manifest', true, undefined],
    ],
  );
  assert.match(verdicts[0]?.warnings.join() ?? '', /this release starts by GRUB/);
  assert.equal((await verify({ tree, anchors: keys, now: NOW })).refusal, undefined);
});

it('is published, and served to GRUB; iPXE is told why it is not for iPXE', async (t) => {
  const state = join(folder, 'state');
  const { gates, moved } = await publish({
    tree,
    channel: 'stable',
    state,
    anchors,
    now: NOW,
    rsaBits: 2048,
  });
  assert.deepEqual(
    gates.filter(({ refusal }) => refusal),
    [],
  );
  assert.ok(moved);
  const server = await serve({ state, anchors, clock: () => NOW, httpPort: 0, tftpPort: 0, nbdPort: 0, log });
  t.after(() => server.close(0));
  const get = async (path: string) => (await fetch(`${server.url}${path}`)).text();
  assert.equal(await get('/grub.cfg'), await text('grub.cfg'));
  const script = await get('/boot.ipxe');
  assert.match(
    script,
    /^echo REFUSED xen\/2026\.11\.01: this release starts by GRUB, since iPXE cannot start xen\.gz with a sealed second command line\.$/m,
  );
  const verdict = await boot({ url: `${server.url}/boot.ipxe`, anchors: keys, now: NOW, anyKernel: true });
  assert.deepEqual([verdict.verified, verdict.ipxe.outcome.kind === 'boot'], [false, false]);
  const as = ['ipxe', 'ipxe-efi', 'grub', 'archiso'] as const;
  const remote = await verifyAs({ target: `${server.url}/`, anchors: keys, now: NOW, as });
  assert.deepEqual(
    remote.map(({ asked, refusal }) => [asked, refusal?.message]),
    [false, false, true, false].map((asked) => [asked, undefined]),
  );
});

it('has a matrix of attacks, of which each is refused by whoever must', async () => {
  const { rows, deviations } = await tamper({ tree, keys, now: NOW });
  assert.deepEqual(
    deviations.map(({ attack, column, deviation }) => `${attack}: ${column} ${deviation}`),
    [],
  );
  assert.ok(rows.every(({ cells }) => !cells.ipxe && !cells.archiso));
  const refused = (name: string, column: 'grub' | 'manifest' | 'tree') =>
    rows.find(({ attack }) => attack.includes(name))?.cells[column]?.code;
  assert.equal(refused('words of hypervisor and module swapped', 'manifest'), 'wrong-command-line');
  assert.equal(refused('one word more for the hypervisor', 'tree'), 'wrong-command-line');
  assert.equal(refused('module served as the hypervisor, and the reverse', 'tree'), 'bad-signature');
  assert.equal(refused(`${KERNEL}: middle byte flipped`, 'grub'), 'bad-signature');
});
