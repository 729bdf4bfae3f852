import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { readKeyFolder } from '../../src/signing/keys/key-folder.ts';
import { sealRecordOpenpgp } from '../../src/signing/seal-record.ts';
import { openpgpSigner } from '../../src/signing/signatories.ts';
import { readAnchorFolder } from '../../src/trust/anchor-folder.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { judgeFolder } from '../fixtures/judge.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { sealFixture } from '../fixtures/release.ts';
import { smallTree } from '../signing/trees.ts';

/** Scripts that are signed as they must be, and name the manifest where no kernel sees it. */

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const anchors = await readAnchorFolder(keys);
const { openpgp } = await readKeyFolder(keys, NOW);
const good = await smallTree(join(folder, 'good'));
await sealFixture(good, keys);

async function sealIpxe(path: string): Promise<void> {
  const own = (name: string) => join(keys, name);
  execFileSync('openssl', [
    ...['cms', '-sign', '-binary', '-noattr', '-outform', 'DER', '-in', path, '-out', `${path}.sig`],
    ...['-signer', own('anchors/boot.crt'), '-inkey', own('private/boot.key')],
    ...['-certfile', own('anchors/ca.crt')],
  ]);
}

async function sealGrub(path: string): Promise<void> {
  await writeFile(
    `${path}.sig`,
    await sealRecordOpenpgp(await readFile(path), openpgpSigner('openpgp-script', openpgp.script), NOW),
  );
}

const SEALERS = { 'boot.ipxe': sealIpxe, 'grub.cfg': sealGrub };
type Script = keyof typeof SEALERS;

/** What the tree's verdict says of a script that was changed and sealed again. */
async function judge(script: Script, change: (text: string, word: string) => string): Promise<string> {
  const tree = join(folder, 'changed');
  cpSync(good, tree, { recursive: true });
  const path = join(tree, script);
  const text = await readFile(path, 'latin1');
  const [word = ''] = /bootseal\.manifest=[0-9a-f]{64}/.exec(text) ?? [];
  await writeFile(path, change(text, word), 'latin1');
  await SEALERS[script](path);
  const { rows } = await judgeFolder(tree, anchors);
  await rm(tree, { recursive: true });
  const row = rows.find((candidate) => candidate.path === script);
  const refused = Object.values(row?.cells ?? {}).find(({ verified }) => !verified);
  return refused && !refused.verified ? `${refused.refusal.code}: ${refused.refusal.message}` : 'verified';
}

const OTHER = `bootseal.manifest=${'0'.repeat(64)}`;
const without = (text: string, word: string): string => text.replace(` ${word}`, '');
/** Line 2 of the script, which is sealed and then verified. */
const below = (text: string, line: string): string => text.replace('\n', `\n${line}\n`);
const NOT_ONCE = /^mixed-releases: \S+ does not name one manifest on each command line/;

const CHANGES: readonly [string, Script[], (text: string, word: string, script: Script) => string, RegExp][] =
  [
    ['unchanged', ['boot.ipxe', 'grub.cfg'], (text) => text, /^verified$/],
    [
      'with another manifest in a comment',
      ['boot.ipxe', 'grub.cfg'],
      (text) => below(text, `# ${OTHER}`),
      /^verified$/,
    ],
    ['without it', ['boot.ipxe', 'grub.cfg'], without, NOT_ONCE],
    [
      'with it in a comment',
      ['boot.ipxe', 'grub.cfg'],
      (text, word) => below(without(text, word), `# ${word}`),
      NOT_ONCE,
    ],
    [
      'with it in a message',
      ['boot.ipxe', 'grub.cfg'],
      (text, word) => below(without(text, word), `echo ${word}`),
      NOT_ONCE,
    ],
    [
      'with it as the name of an image',
      ['boot.ipxe'],
      (text, word) => without(text, word).replace(/^kernel --name \S+/m, `kernel --name ${word}`),
      NOT_ONCE,
    ],
    [
      'with it twice',
      ['boot.ipxe', 'grub.cfg'],
      (text, word) => text.replace(word, `${word} ${word}`),
      NOT_ONCE,
    ],
    [
      'with another one beside it',
      ['boot.ipxe', 'grub.cfg'],
      (text, word) => text.replace(word, `${word} ${OTHER}`),
      NOT_ONCE,
    ],
    [
      'with another one on its command line',
      ['boot.ipxe', 'grub.cfg'],
      (text, word) => below(text.replace(word, OTHER), `# ${word}`),
      /^mixed-releases: \S+ names another manifest/,
    ],
    [
      'with a second command line that names none',
      ['boot.ipxe'],
      (text) => below(text, 'kernel http://10.0.0.1/k init=/bin/sh'),
      NOT_ONCE,
    ],
    [
      'with a second command line that names none, in GRUB’s words',
      ['grub.cfg'],
      (text) => below(text, 'linux /k init=/bin/sh'),
      NOT_ONCE,
    ],
    ['that is no script', ['boot.ipxe'], (_, word) => `kernel k ${word}\n`, NOT_ONCE],
  ];

describe('a sealed script', () => {
  for (const [name, scripts, change, verdict] of CHANGES) {
    for (const script of scripts) {
      it(`${script} ${name} is ${verdict.source.includes('mixed') ? 'refused' : 'verified'}`, async () => {
        assert.match(await judge(script, (text, word) => change(text, word, script)), verdict);
      });
    }
  }
});
