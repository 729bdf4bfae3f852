import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { Malformed } from '../../src/errors/malformed.ts';
import { Refusal } from '../../src/errors/refusal.ts';
import { decodeManifest, MAX_MANIFEST } from '../../src/formats/records/manifest.ts';
import { demandCommandLine } from '../../src/trust/command-line.ts';
import { demandArchitecture, demandFresh, NO_FLOOR } from '../../src/trust/freshness.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { FIXED, goodText, SERVER, sha256 } from '../fixtures/manifest-record.ts';

/**
 * The two readers of a manifest on the same texts, hostile at random: whatever one says, the other says. Seals are not
 * looked at here; the vectors do that.
 */

const SCRIPT = fileURLToPath(new URL('../../../early-userspace/verify-manifest', import.meta.url));
const folder = await temporaryFolder();

/** The script without what it asks openssl and gpg, which is most of its time. */
async function withoutSeals(): Promise<string> {
  const script = await readFile(SCRIPT, 'latin1');
  const [head, seals, ...rest] = script.split(/^(?=# --- (?:CMS|what the manifest says) -+$)/m);
  assert.ok(head && seals?.includes('verify_openpgp') && rest.length === 1);
  const path = join(folder, 'verify-manifest');
  await writeFile(path, head + rest.join(''), 'latin1');
  return path;
}
const script = await withoutSeals();

const GOOD = goodText(Buffer.alloc(25 * 4096, 'root image'));
const ARCH = 'x86_64';

async function shellSays(text: string, cmdline: string): Promise<string> {
  const at = await mkdtemp(join(folder, 'run-'));
  const files = {
    'root/bootseal/manifest.gpg': 'not looked at',
    'rec/release.manifest': text,
    'rec/release.manifest.sig': 'not looked at',
    cmdline: `${cmdline}\n`,
  };
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(at, path)), { recursive: true });
    await writeFile(join(at, path), content, 'latin1');
  }
  const args = [join(at, 'root'), join(at, 'rec'), join(at, 'cmdline'), ARCH, String(NOW / 1000)];
  const child = spawn('/bin/busybox', ['sh', script, ...args], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('latin1').on('data', (piece: string) => {
      said += piece;
    });
  }
  const status = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (status === 0) return said.split('\n')[0] ?? '';
  const [, code] = /^refused ([a-z-]+) [\x20-\x7e]+\n$/.exec(said) ?? [];
  return code ?? JSON.stringify(said);
}

function typescriptSays(text: string, cmdline: string): string {
  const bytes = Buffer.from(text, 'latin1');
  if (bytes.length > MAX_MANIFEST) return 'too-large';
  try {
    const manifest = decodeManifest(bytes);
    demandFresh(manifest, NO_FLOOR, NOW);
    demandArchitecture(manifest, ARCH);
    demandCommandLine(cmdline, manifest, sha256(bytes));
    return `verified ${manifest.release}`;
  } catch (error) {
    if (error instanceof Malformed) return 'malformed';
    if (error instanceof Refusal) return error.code;
    throw error;
  }
}

/** What a manifest is made of, and what looks like it. */
const PIECES = [
  ...GOOD.split(/[ \n]/),
  ...[
    '',
    '*',
    '?',
    '[a]',
    '..',
    '.',
    '-',
    '0',
    '00',
    '1',
    '8',
    '63',
    '64',
    '65',
    '08',
    '-1',
    '1e3',
    '\\',
    '$x',
    '`',
  ],
  ...['plain', 'nixos', 'anaconda', 'debian-installer', 'alpine', 'strange', 'Archiso', '-a', 'a'.repeat(33)],
  ...[
    'module',
    'file',
    'kernel',
    'initrd',
    'overlay',
    'rootfs',
    'hashtree',
    'shell',
    'yes',
    'no',
    'layout',
    'cmdline',
  ],
  ...['name', 'hex', 'choice', 'a|b', 'a||b', '|', 'a|a', 'x', 'ipv4', 'mac', 'port', 'url', 'dhcp'],
  ...[
    'init=/nix/store/x/init',
    'init=/nix/store/../init',
    'rd.shell=0',
    'rd.shell',
    'systemd.unit=multi-user.target',
  ],
  ...[
    'inst.sshd',
    'boot.debug1x',
    'BOOT_DEBUG=1',
    'd-i:rescue/enable=true',
    'rd.systemd.pull=x,verify=no',
    'script=x',
  ],
  ...[
    'modloop_verify=yes',
    'modloop_verify=no',
    'rdinit=/bootseal/init',
    'rdinit=/x',
    'init',
    'rd.systemd.pull',
    'S',
  ],
];
const LINES = [
  ...GOOD.split('\n'),
  ...[
    'layout nixos',
    'layout plain',
    'layout',
    'cmdline',
    'cmdline quiet',
    'shell yes',
    'shell no',
    'free n name',
  ],
  ...['free h hex 1', 'free c choice a|b', 'free init url', 'free script name', 'verity', '#', ' ', 'kernel'],
  `file module 1 ${'a'.repeat(64)} ${'b'.repeat(128)} xen/vmlinuz`,
  `file file 1 ${'a'.repeat(64)} ${'b'.repeat(128)} x.cfg`,
];
const CHARACTERS = [...' \n\t\0\r|*?[]\\$`\'"/.-=:,0aZ~+@%\x7f\xe4'];

type Change = (text: string) => string;
const at = (share: number, length: number): number => Math.min(length - 1, Math.floor(share * length));
const share = fc.double({ min: 0, max: 0.999_999, noNaN: true });

function lineChanges(separator: string, pool: readonly string[]): fc.Arbitrary<Change> {
  const parts = (change: (all: string[], index: number, other: number, piece: string) => void) =>
    fc.tuple(share, share, fc.constantFrom(...pool)).map(
      ([one, two, piece]): Change =>
        (text) => {
          const all = text.split(separator);
          change(all, at(one, all.length), at(two, all.length), piece);
          return all.join(separator);
        },
    );
  return fc.oneof(
    parts((all, index) => all.splice(index, 1)),
    parts((all, index) => all.splice(index, 0, all[index] ?? '')),
    parts((all, index, _, piece) => all.splice(index, 1, piece)),
    parts((all, index, _, piece) => all.splice(index, 0, piece)),
    parts((all, index, other) => all.splice(other, 0, ...all.splice(index, 1))),
  );
}

const characters = fc.tuple(share, fc.constantFrom(...CHARACTERS, ''), fc.nat(1)).map(
  ([where, character, cut]): Change =>
    (text) => {
      const index = at(where, text.length + 1);
      return text.slice(0, index) + character + text.slice(index + cut);
    },
);
/** A module with its line, since both are there or neither. */
const xen: Change = (text) =>
  text
    .replace(/^free/m, 'cmdline quiet\nfree')
    .replace(/^file initrd/m, `file module 1 ${'a'.repeat(64)} ${'b'.repeat(128)} xen/vmlinuz\nfile initrd`);
const words = lineChanges(' ', PIECES);
const ofALine = fc.tuple(share, words).map(
  ([where, change]): Change =>
    (text) => {
      const lines = text.split('\n');
      const index = at(where, lines.length);
      lines[index] = change(lines[index] ?? '');
      return lines.join('\n');
    },
);
const change = fc.oneof(
  { weight: 4, arbitrary: ofALine },
  { weight: 3, arbitrary: lineChanges('\n', LINES) },
  { weight: 2, arbitrary: characters },
  { weight: 1, arbitrary: fc.constant(xen) },
);
const applied = (changes: readonly Change[], text: string): string =>
  changes.reduce((so, one) => one(so), text);

const CMDLINE = `${FIXED} ip=dhcp BOOTIF=01-52-54-00-12-34-56 archiso_http_srv=${SERVER} host=a serial=00c0ffee`;

it('both readers say the same of any text and command line', async () => {
  const said = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(
      fc.array(change, { maxLength: 3 }),
      fc.array(fc.oneof(words, characters), { maxLength: 2 }),
      fc.boolean(),
      async (changes, ofLine, signed) => {
        const text = applied(changes, GOOD);
        // As often as not the machine was started with the very words that are signed.
        const fixed =
          text
            .match(/^cmdline.*$/gm)
            ?.at(-1)
            ?.slice('cmdline '.length) ?? '';
        const base = signed ? CMDLINE.replace(FIXED, () => fixed) : CMDLINE;
        const line = `${applied(ofLine, base)} bootseal.manifest=${sha256(Buffer.from(text, 'latin1'))}`;
        const answer = typescriptSays(text, line);
        assert.equal(await shellSays(text, line), answer, JSON.stringify({ text, line }));
        said.set(answer, (said.get(answer) ?? 0) + 1);
      },
    ),
    { numRuns: process.env.BOOTSEAL_LONG_TESTS !== undefined ? 5000 : 400 },
  );
  // Where nothing is verified, or nothing malformed, nothing was tried.
  for (const answer of ['verified arch/2026.11.01', 'malformed', 'wrong-command-line']) {
    assert.ok((said.get(answer) ?? 0) >= 10, JSON.stringify([...said]));
  }
});
