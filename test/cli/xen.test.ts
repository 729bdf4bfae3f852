import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { decodeManifest } from '../../src/formats/records/manifest.ts';
import { KERNEL, sampleTree, writeTree } from '../fixtures/release.ts';
import { MODULE_WORDS, sampleXen, XEN, XEN_RELEASE, XEN_WORDS, xenTree } from '../fixtures/xen.ts';
import { runHere as run } from './here.ts';
import { cliSite } from './site.ts';

/** What is typed of a release with a hypervisor, and what is answered. */

const { folder, keys, anchors } = await cliSite();
const place = (name: string) => join(folder, name);
const manifestOf = async (tree: string) => decodeManifest(await readFile(join(tree, 'release.manifest')));
async function good(...args: string[]): Promise<string> {
  const { code, out, err } = await run(args);
  assert.equal(code, 0, err);
  return out;
}

it('is requested, signed elsewhere and attached; both sides show both command lines', async () => {
  const tree = await xenTree(place('asked'), keys);
  const [request, response] = [place('request'), place('response')];
  const asked = await good('request', tree, '--anchors', anchors, '--out', request);
  const answered = await good('sign-request', request, '--keys', keys, '--out', response);
  for (const out of [asked, answered]) {
    assert.ok(out.includes(`command line: ${XEN_WORDS}\nof its module: ${MODULE_WORDS}\n`), out);
    assert.match(out, new RegExp(`module +\\S+ .*${KERNEL}|${KERNEL}`));
  }
  await good('attach', tree, response);
  assert.match(await good('verify', tree, '--anchors', anchors), /VERIFIED: xen\/2026\.11\.01/);
});

const tree = await xenTree(place('xen'), keys);
await good('seal', tree, '--keys', keys, '--url', 'http://10.0.0.1');

it('is verified as each client sees it', async () => {
  const out = await good('verify', tree, '--anchors', anchors, '--as', 'ipxe,grub,manifest');
  assert.match(out, /ipxe .*not asked/);
  assert.match(out, /this release starts by GRUB/);
});

it('is shown by inspect: the module, its words, and what its scripts name', async () => {
  const out = await good('inspect', tree);
  for (const text of [XEN_WORDS, MODULE_WORDS, KERNEL]) assert.ok(out.includes(text), out);
  const script = await good('inspect', join(tree, 'grub.cfg'));
  assert.ok(script.includes('console=hvc0'), script);
  const [named = ''] = /[0-9a-f]{64}/.exec(await good('inspect', join(tree, 'boot.ipxe'))) ?? [];
  assert.ok(script.includes(named) && named !== '', script);
});

it('is signed anew with other words for either, and keeps its server', async () => {
  const words = [`${MODULE_WORDS} quiet`, `${XEN_WORDS} loglvl=all`] as const;
  await good('resign', tree, '--keys', keys, '--journal', place('journal'), '--module-cmdline', words[0]);
  assert.equal((await manifestOf(tree)).moduleCmdline?.join(' '), words[0]);
  await good('resign', tree, '--keys', keys, '--journal', place('journal'), '--cmdline', words[1]);
  const { cmdline, moduleCmdline } = await manifestOf(tree);
  assert.deepEqual([cmdline.join(' '), moduleCmdline?.join(' ')], [words[1], words[0]]);
  assert.match(await readFile(join(tree, 'grub.cfg'), 'latin1'), /^set bootseal_server='10\.0\.0\.1'$/m);
  await good('verify', tree, '--anchors', anchors);
  const plain = await sampleTree(place('plain'), keys);
  await good('seal', plain, '--keys', keys);
  const none = await run([
    ...['resign', plain, '--keys', keys, '--journal', place('journal'), '--module-cmdline', 'quiet'],
  ]);
  assert.deepEqual([none.code, /has no module/.test(none.err)], [2, true]);
});

it('is published and withdrawn', async () => {
  const state = place('state');
  await good('publish', tree, '--channel', 'stable', '--state', state, '--anchors', anchors);
  const out = await good('withdraw', XEN_RELEASE, '--reason', 'A test.', '--state', state);
  assert.match(out, /withdrawn/i);
});

it('has no UKI', async () => {
  const { code, err } = await run([
    'uki',
    tree,
    '--unsigned',
    '--out',
    place('uki.efi'),
    '--stub',
    join(tree, XEN),
  ]);
  assert.equal(code, 1, err);
  assert.match(err, /as the module of another kernel, which no UKI can hold; it starts by GRUB\./);
});

it('is told by flags; the wrong file in either place is said', async () => {
  const swapped = await sampleTree(place('flags'), keys);
  await writeTree(swapped, { [XEN]: sampleXen() });
  const words = ['--release', XEN_RELEASE, '--cmdline', XEN_WORDS, '--module-cmdline', 'console=hvc0'];
  const { code, err } = await run([
    ...['seal', swapped, '--keys', keys, '--kernel', KERNEL, '--module', XEN, ...words],
  ]);
  assert.equal(code, 0, err);
  assert.match(
    err,
    /vmlinuz-linux is sealed as kernel, and is not a multiboot kernel, which would start the module\./,
  );
});
