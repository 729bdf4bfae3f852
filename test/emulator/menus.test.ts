import assert from 'node:assert/strict';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { followGrub, runGrub } from '../../src/emulator/grub.ts';
import { httpTransport } from '../../src/emulator/transports/http.ts';
import { Refusal, type RefusalCode } from '../../src/errors/refusal.ts';
import { boot } from '../../src/operations/boot.ts';
import { compileGrubHold, compileHold } from '../../src/scripts/hold.ts';
import { compileGrubLocalDisk, compileLocalDisk } from '../../src/scripts/local-disk.ts';
import { compileGrubMenu, compileMenu, type MenuOptions } from '../../src/scripts/menu.ts';
import { readKeyFolder } from '../../src/signing/keys/key-folder.ts';
import { sealRecord, sealRecordOpenpgp } from '../../src/signing/seal-record.ts';
import { chainOf, openpgpSigner, signersOf } from '../../src/signing/signatories.ts';
import { readAnchorFolder } from '../../src/trust/anchor-folder.ts';
import { defaultPolicy } from '../../src/trust/policy.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { sampleTree, sealFixture } from '../fixtures/release.ts';
import { staticServer } from '../fixtures/static.ts';

/** A release, and in front of it the other signed scripts, on a server that verifies nothing. */

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const tree = await sampleTree(join(folder, 'tree'), keys);
await sealFixture(tree, keys);
const folders = await readKeyFolder(keys, NOW);
const signers = signersOf(folders);
const anchors = await readAnchorFolder(keys);
let now = tree;
const RELEASE = '/releases/arch/2026.11.01/';
const server = await staticServer((path) =>
  path.startsWith(RELEASE) ? join(tree, path.slice(RELEASE.length)) : join(now, path),
);
const SIGNER = anchors.bootSigner ?? '';
const SCRIPT = { kind: 'literal', url: server.url } as const;
const { hostname, port } = new URL(server.url);
const GRUB = { kind: 'literal', host: hostname, port: Number(port) } as const;
const MENU: MenuOptions = {
  title: 'Bootseal',
  entries: [
    { label: 'Arch, stable', kind: 'channel', name: 'stable' },
    { label: 'Arch, gone', kind: 'channel', name: 'gone' },
    { label: 'Arch, forged', kind: 'channel', name: 'forged' },
    { label: 'Arch 2026.11.01', kind: 'release', name: 'arch/2026.11.01' },
  ],
  default: 'stable',
  timeoutSeconds: 5,
};

let sites = 0;

/** The release with these files in the place of its own, each with a good seal. */
async function site(files: Readonly<Record<string, string>>): Promise<void> {
  now = join(folder, `site-${++sites}`);
  await cp(tree, now, { recursive: true });
  for (const name of ['boot.ipxe', 'grub.cfg']) {
    await place(`channels/stable/${name}`, await readFile(join(tree, name)));
    await place(
      `channels/forged/${name}`,
      Buffer.from(name === 'grub.cfg' ? 'echo "forged"\n' : '#!ipxe\nexit 0\n'),
    );
    await cp(join(tree, `${name}.sig`), join(now, `channels/forged/${name}.sig`));
  }
  for (const [path, text] of Object.entries(files)) await place(path, Buffer.from(text));
}

async function place(path: string, bytes: Uint8Array): Promise<void> {
  const file = join(now, path);
  const { ca, above, boot: leaf } = signers;
  const seal = path.endsWith('.cfg')
    ? await sealRecordOpenpgp(bytes, openpgpSigner('openpgp-script', folders.openpgp.script), NOW)
    : await sealRecord(bytes, leaf, [leaf.certificate.raw, ...chainOf({ ca: ca.certificate, above })]);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, bytes);
  await writeFile(`${file}.sig`, seal);
}

type Verdict = Awaited<ReturnType<typeof boot>>;

async function ipxe(choice?: string | 'cancel', platform: 'pcbios' | 'efi' = 'pcbios'): Promise<Verdict> {
  const answers =
    choice === undefined
      ? {}
      : { answers: { choose: () => (choice === 'cancel' ? ('cancel' as const) : { name: choice }) } };
  return boot({
    url: `${server.url}/boot.ipxe`,
    anchors: keys,
    now: NOW,
    platform,
    anyKernel: true,
    ...answers,
  });
}

/** What became of it: the release, the disk, or why not. */
function end({ verified, ownDisk, refusal, ipxe: run }: Verdict): string {
  if (run.outcome.kind === 'boot') return verified ? 'release' : 'unverified';
  assert.equal(verified, false);
  return ownDisk ? 'own disk' : (refusal?.code ?? 'nothing');
}

async function grub(choice?: string): Promise<string> {
  const offer = {
    transport: httpTransport({ connectTimeoutMs: 10_000, stallTimeoutMs: 30_000 }),
    base: server.url,
    anchors,
    policy: defaultPolicy(NOW),
    now: NOW,
    ...(choice === undefined ? {} : { choice }),
  };
  try {
    const { kind } = await followGrub(offer);
    if (kind === 'own-disk') await assert.rejects(runGrub(offer), { code: 'no-verdict' });
    return kind === 'boot' ? 'release' : 'own disk';
  } catch (error) {
    if (error instanceof Refusal) return error.code;
    throw error;
  }
}

describe('a menu', () => {
  const both = () =>
    site({
      'boot.ipxe': compileMenu({ ...MENU, server: SCRIPT, signer: SIGNER }),
      'grub.cfg': compileGrubMenu({ ...MENU, server: GRUB }),
    });

  const choices: readonly (readonly [
    what: string,
    choice: string | undefined,
    ends: string | RefusalCode,
  ])[] = [
    ['starts its default when the time is over', undefined, 'release'],
    ['starts the channel that was chosen', 'entry-1', 'release'],
    ['starts the release that was chosen', 'entry-4', 'release'],
    ['refuses an entry that is not there', 'entry-2', 'absent'],
    ['refuses an entry whose seal does not fit', 'entry-3', 'bad-signature'],
    ['goes to the disk where that was chosen', 'local', 'own disk'],
  ];
  for (const [what, choice, ends] of choices) {
    it(`${what}, iPXE`, async () => {
      await both();
      assert.equal(end(await ipxe(choice)), ends);
      assert.equal(end(await ipxe(choice, 'efi')), ends);
    });
    it(`${what}, GRUB`, async () => {
      await both();
      assert.equal(await grub(choice), ends);
    });
  }

  it('refuses after Escape, and starts nothing', async () => {
    await both();
    const verdict = await ipxe('cancel');
    assert.equal(verdict.ipxe.outcome.kind, 'reboot');
    assert.equal(end(verdict), 'no-verdict');
    assert.match(verdict.ipxe.console, /REFUSED: could not start anything: nothing was chosen\./);
  });

  it('is refused itself where it was changed after it was signed', async () => {
    await both();
    for (const name of ['boot.ipxe', 'grub.cfg']) {
      const text = await readFile(join(now, name), 'latin1');
      await writeFile(join(now, name), text.replaceAll('channels/stable', 'channels/other.'));
    }
    assert.equal(end(await ipxe('entry-1')), 'bad-signature');
    assert.equal(await grub('entry-1'), 'bad-signature');
  });
});

describe('a machine’s own disk', () => {
  it('is what comes next by a verified script, on a BIOS and on UEFI, and is no verified release', async () => {
    await site({ 'boot.ipxe': compileLocalDisk(), 'grub.cfg': compileGrubLocalDisk() });
    for (const platform of ['pcbios', 'efi'] as const) {
      const verdict = await ipxe(undefined, platform);
      assert.equal(end(verdict), 'own disk');
      assert.equal(verdict.refusal, undefined);
      assert.match(verdict.ipxe.console, /What stands on it is not verified here/);
    }
    assert.equal(await grub(), 'own disk');
  });

  it('is refused where the script has no good seal, or is for other machines', async () => {
    const machines = [{ macs: ['52:54:00:99:99:99'] }];
    await site({
      'boot.ipxe': compileLocalDisk({ machines }),
      'grub.cfg': compileGrubLocalDisk({ machines }),
    });
    assert.equal(end(await ipxe()), 'wrong-machine');
    assert.equal(await grub(), 'wrong-machine');
    await site({});
    await writeFile(join(now, 'boot.ipxe'), compileLocalDisk());
    await writeFile(join(now, 'grub.cfg'), compileGrubLocalDisk());
    assert.equal(end(await ipxe()), 'bad-signature');
    assert.equal(await grub(), 'bad-signature');
  });

  it('is nothing that a stock loader is believed, whatever script told it so', async () => {
    now = join(folder, `site-${++sites}`);
    await mkdir(now);
    for (const [text, console] of [
      ['#!ipxe\nset bootseal-next local\nexit 0\n', /./],
      [compileLocalDisk(), /REFUSED: could not make this loader demand signatures/],
    ] as const) {
      await writeFile(join(now, 'boot.ipxe'), text);
      const verdict = await boot({ url: `${server.url}/boot.ipxe`, now: NOW });
      assert.deepEqual([end(verdict), verdict.ownDisk], ['no-verdict', undefined]);
      assert.match(verdict.ipxe.console, console);
    }
  });
});

describe('a machine that is held', () => {
  it('starts nothing, says who it is, and restarts in the end', async () => {
    await site({
      'boot.ipxe': compileHold({ server: SCRIPT, signer: SIGNER, seconds: 15 }),
      'grub.cfg': compileGrubHold(),
    });
    server.asked.length = 0;
    const verdict = await ipxe();
    assert.equal(verdict.ipxe.outcome.kind, 'reboot');
    assert.equal(end(verdict), 'no-verdict');
    assert.match(verdict.ipxe.console, /HELD: this machine is not known here/);
    assert.match(verdict.ipxe.console, /mac +52:54:00:12:34:56\n/);
    const asked = server.asked.filter((path) => path === '/boot.ipxe');
    // The loader's own question, and one a quarter of a minute for a quarter of an hour.
    assert.equal(asked.length, 60);
    assert.equal(await grub(), 'no-verdict');
  });

  it('goes on by itself to what it is given, and to nothing that has no good seal', async () => {
    const hold = compileHold({ server: SCRIPT, signer: SIGNER });
    await site({ 'boot.ipxe': hold });
    const held = now;
    /** What a held machine comes to when the server's third answer is out of another folder. */
    const then = async (next: string): Promise<string> => {
      now = held;
      let asked = 0;
      server.instead = (path) => {
        if (path === '/boot.ipxe') asked += 1;
        if (asked === 3) now = next;
        return false;
      };
      const verdict = await ipxe();
      server.instead = undefined;
      return end(verdict);
    };
    const forged = join(folder, 'forged');
    await cp(tree, forged, { recursive: true });
    await writeFile(join(forged, 'boot.ipxe'), '#!ipxe\nset bootseal-next local\nexit 0\n');
    assert.equal(await then(tree), 'release');
    assert.equal(await then(forged), 'bad-signature');
  });
});
