import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { verify } from '../../src/conformance/verify.ts';
import { refusedLine } from '../../src/trust/script-lines.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { sealFixture } from '../fixtures/release.ts';
import { xenTree } from '../fixtures/xen.ts';
import { smallTree } from '../signing/trees.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const tree = await smallTree(join(folder, 'tree'));
const { manifest, manifestSha256 } = await sealFixture(tree, keys);
const scripts = new Map<string, string>();
for (const name of ['boot.ipxe', 'grub.cfg']) scripts.set(name, await readFile(join(tree, name), 'latin1'));

const xen = await sealFixture(await xenTree(join(folder, 'xen'), keys), keys);
const xenScripts = new Map<string, string>();
for (const name of ['boot.ipxe', 'grub.cfg'])
  xenScripts.set(name, await readFile(join(folder, 'xen', name), 'latin1'));

/** The code for a script with one change, or undefined where it is the manifest's line. */
function judged(name: string, from: string | RegExp, to: string): string | undefined {
  const text = scripts.get(name) ?? '';
  const changed = text.replace(from, to);
  return refusedLine(new Map([[name, Buffer.from(changed, 'latin1')]]), manifest, manifestSha256)?.code;
}

it('what seal wrote is the manifest’s line, for iPXE and for GRUB', () => {
  for (const name of scripts.keys()) assert.equal(judged(name, /$/, ''), undefined, name);
});

for (const name of ['boot.ipxe', 'grub.cfg']) {
  it(`${name}: a check switched off, a word added, a word dropped, another manifest`, () => {
    assert.equal(judged(name, 'checksum=y', 'checksum=n'), 'wrong-command-line');
    assert.equal(judged(name, /bootseal\.manifest=/, 'break=premount $&'), 'wrong-command-line');
    assert.equal(judged(name, /'?verify=y'? /, ''), 'wrong-command-line');
    assert.equal(judged(name, manifestSha256, 'a'.repeat(64)), 'mixed-releases');
  });
}

it('grub.cfg: a word that only one way gives, whichever comes last', () => {
  const choose = (first: string, last: string) =>
    judged(
      'grub.cfg',
      /^if linux (.*) bootseal\.manifest/m,
      `if [ a = b ]; then set bootseal_x=${first}; else set bootseal_x=${last}; fi\nif linux $1 $bootseal_x bootseal.manifest`,
    );
  assert.equal(choose('', ''), undefined);
  assert.equal(choose('init=/bin/sh', ''), 'wrong-command-line');
  assert.equal(choose('', 'init=/bin/sh'), 'wrong-command-line');
});

it('grub.cfg: no kernel, or a second one, whose command line nobody has looked at', () => {
  assert.equal(judged('grub.cfg', /^if linux .*$/m, 'if true; then'), 'unsafe-script');
  assert.equal(judged('grub.cfg', /^if linux /m, 'linux /k init=/bin/sh\n$&'), 'unsafe-script');
});

it('a setting fills in what the manifest frees, and nothing else', () => {
  const fill = (word: string) => judged('boot.ipxe', /bootseal\.manifest=/, `${word} $&`);
  // biome-ignore lint/suspicious/noTemplateCurlyInString: a setting, spelled as iPXE spells it
  assert.equal(fill('console=${netX/mac:hexhyp}'), 'wrong-command-line');
});

/** The same of a release with a module: a script of its own with one change, or another's. */
function judgedXen(name: string, from: string | RegExp, to: string, text = xenScripts.get(name) ?? '') {
  const changed = Buffer.from(text.replace(from, to), 'latin1');
  return refusedLine(new Map([[name, changed]]), xen.manifest, xen.manifestSha256)?.code;
}

it('a release with a module: both lines are the manifest’s, and boot.ipxe starts nothing', () => {
  for (const name of xenScripts.keys()) assert.equal(judgedXen(name, /$/, ''), undefined, name);
});

it('a release with a module: a word more, less, or on the other line; another file in either place', () => {
  const of = (from: string | RegExp, to: string) => judgedXen('grub.cfg', from, to);
  assert.equal(of('checksum=y', 'checksum=n'), 'wrong-command-line');
  assert.equal(of("'dom0_mem=256M'", ''), 'wrong-command-line');
  assert.equal(of("'dom0_mem=256M'", "'dom0_mem=256M' 'x=1'"), 'wrong-command-line');
  assert.equal(of("'console=com1'", "'console=com1' $bootseal_bootif"), 'wrong-command-line');
  assert.equal(of('/xen.gz"', '/vmlinuz-linux"'), 'unsafe-script');
  assert.equal(of('/vmlinuz-linux"', '/xen.gz"'), 'unsafe-script');
  assert.equal(of(xen.manifestSha256, 'a'.repeat(64)), 'mixed-releases');
});

it('a script of the one kind is none of the other', () => {
  const ipxe = scripts.get('boot.ipxe') ?? '';
  assert.equal(judgedXen('boot.ipxe', /$/, '', ipxe), 'unsafe-script');
  assert.equal(judgedXen('grub.cfg', /$/, '', scripts.get('grub.cfg')), 'unsafe-script');
  for (const [name, text] of xenScripts) {
    const bytes = Buffer.from(text, 'latin1');
    assert.equal(
      refusedLine(new Map([[name, bytes]]), manifest, manifestSha256)?.code,
      'unsafe-script',
      name,
    );
  }
});

it('--url is a literal server, and the line still the manifest’s', async () => {
  const literal = await smallTree(join(folder, 'literal'));
  await sealFixture(literal, keys, { url: 'http://10.0.0.1' });
  assert.equal((await verify({ tree: literal, anchors: keys, now: NOW })).refusal, undefined);
});
