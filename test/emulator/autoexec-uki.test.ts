import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { treeTransport } from '../../src/conformance/tree-transport.ts';
import { type BootVerdict, bootMachine } from '../../src/emulator/boot.ts';
import type { Fetched } from '../../src/emulator/transport.ts';
import { decodeGaveUp } from '../../src/formats/net/gave-up.ts';
import { compileAutoexec } from '../../src/scripts/compile.ts';
import { readAnchorFolder } from '../../src/trust/anchor-folder.ts';
import { defaultPolicy } from '../../src/trust/policy.ts';
import type { SecureBootAnchors } from '../../src/trust/secure-boot-check.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { makeUki, URL, ukiTree } from '../fixtures/uki.ts';
import { flipped } from './early/release.ts';

/** An iPXE as distributions sign it, without imgverify, under firmware that enforces, or does not. */
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'), { secureBoot: true });
const tree = await ukiTree(join(folder, 'tree'), keys);
await makeUki(tree, keys);
const { secureBoot: db = { db: [], dbx: [] } } = await readAnchorFolder(keys);
const { secureBoot: foreign = { db: [], dbx: [] } } = await readAnchorFolder(
  await makeKeys(join(folder, 'stranger'), { secureBoot: true }),
);
const RELEASE = 'arch/2026.11.01';
const base = URL.replace(/\/$/, '');
const autoexec = Buffer.from(
  compileAutoexec({
    allowUnverified: false,
    bootSigner: 'boot.lab',
    server: { kind: 'literal', url: base },
    uki: true,
  }),
  'latin1',
);

interface Firmware {
  readonly platform?: 'efi' | 'pcbios';
  readonly secureBoot?: boolean;
  readonly db?: SecureBootAnchors;
  readonly image?: Uint8Array;
}

async function booted({ platform = 'efi', secureBoot, db: enrolled = db, image }: Firmware) {
  const from = treeTransport(tree, RELEASE);
  const asked: string[] = [];
  const bytes = (url: string, content: Uint8Array): Fetched => ({
    url,
    size: content.length,
    partial: false,
    body: (async function* () {
      yield content;
    })(),
  });
  const verdict: BootVerdict = await bootMachine({
    url: `${base}/autoexec.ipxe`,
    anchors: undefined,
    machine: {
      mac: '52:54:00:12:34:56',
      buildarch: 'x86_64',
      platform,
      dhcp: { ip: '10.0.0.2', 'next-server': '10.0.0.1', filename: `${base}/autoexec.ipxe` },
      ...(secureBoot === undefined ? {} : { secureBoot }),
    },
    firmware: enrolled,
    transport: {
      async fetch(url, options) {
        asked.push(url);
        if (url === `${base}/autoexec.ipxe`) return bytes(url, autoexec);
        if (url !== `${base}/uki.efi`) return from.fetch(url, options);
        return image ? bytes(url, image) : from.fetch(`${base}/releases/${RELEASE}/uki.efi`, options);
      },
    },
    policy: defaultPolicy(NOW),
    now: NOW,
  });
  return { verdict, asked, console: verdict.ipxe.console };
}

describe('autoexec.ipxe of a release with an image for Secure Boot', () => {
  it('starts that image under firmware that enforces, and nothing else; early userspace goes on', async () => {
    const { verdict, asked, console } = await booted({ secureBoot: true });
    assert.equal(verdict.refusal, undefined);
    assert.deepEqual([verdict.loader, verdict.verified], ['secure-boot', true]);
    assert.deepEqual(
      verdict.rows.map(({ role, findings }) => [role, findings.every(({ verified }) => verified)]),
      [
        ['image', true],
        ['rootfs', true],
      ],
    );
    assert.deepEqual(asked.slice(0, 2), [`${base}/autoexec.ipxe`, `${base}/uki.efi`]);
    assert.match(console, /^Trust level: Secure Boot$/m);
    assert.doesNotMatch(console, /UNVERIFIED|REFUSED/);
    assert.ok(!asked.some((url) => /vmlinuz|initramfs|unverified\.ipxe/.test(url)));
  });

  for (const [what, firmware] of [
    ['does not enforce', { secureBoot: false }],
    ['has no such variable', {}],
    ['is a BIOS', { platform: 'pcbios' }],
  ] as const) {
    it(`starts nothing where firmware ${what}, and does not even fetch it`, async () => {
      const { verdict, asked, console } = await booted(firmware);
      assert.ok(verdict.refusal);
      assert.equal(verdict.verified, false);
      const [first, said = '', ...more] = asked;
      assert.deepEqual([first, more], [`${base}/autoexec.ipxe`, []]);
      assert.equal(
        decodeGaveUp(new URLSearchParams(said.split('?')[1]))?.step,
        'verify anything: this loader has no imgverify',
      );
      assert.match(console, /^Trust level: stock \(unverified\)$/m);
      assert.match(console, /^REFUSED: could not verify anything: this loader has no imgverify\.$/m);
    });
  }

  it('is told by firmware that an image was changed, or that a stranger signed it, and starts nothing', async () => {
    const image = flipped(await readFile(join(tree, 'uki.efi')), 2000);
    await writeFile(join(folder, 'flipped.efi'), image);
    for (const attack of [{ image }, { db: foreign }]) {
      const { verdict, console } = await booted({ secureBoot: true, ...attack });
      assert.ok(verdict.refusal);
      assert.equal(verdict.verified, false);
      assert.match(console, /^REFUSED: could not start uki\.efi: the firmware did not take it/m);
      assert.match(console, /^Nothing was started\./m);
    }
  });
});
