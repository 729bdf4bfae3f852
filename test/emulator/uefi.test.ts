import assert from 'node:assert/strict';
import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { treeTransport } from '../../src/conformance/tree-transport.ts';
import type { MachineVerdict } from '../../src/emulator/machine-verdict.ts';
import { bootUefi } from '../../src/emulator/uefi.ts';
import { authenticodeDigest } from '../../src/formats/efi/authenticode.ts';
import { decodePe } from '../../src/formats/efi/pe.ts';
import { readAnchorFolder } from '../../src/trust/anchor-folder.ts';
import { defaultPolicy } from '../../src/trust/policy.ts';
import type { SecureBootAnchors } from '../../src/trust/secure-boot-check.ts';
import { runHere } from '../cli/here.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { ROOTFS, sealFixture } from '../fixtures/release.ts';
import { inTree, staticServer } from '../fixtures/static.ts';
import { makeUki, URL, ukiTree } from '../fixtures/uki.ts';
import { flipped } from './early/release.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'), { secureBoot: true });
const stranger = await makeKeys(join(folder, 'stranger'), { secureBoot: true });
const tree = await ukiTree(join(folder, 'tree'), keys);
await makeUki(tree, keys);
const { secureBoot: db = { db: [], dbx: [] } } = await readAnchorFolder(keys);
const RELEASE = 'arch/2026.11.01';
const IMAGE = `${URL}/releases/${RELEASE}/uki.efi`;

/** A machine with this firmware, and every address that it asked for. */
async function booted(from = tree, anchors: SecureBootAnchors = db) {
  const transport = treeTransport(from, RELEASE);
  const asked: string[] = [];
  const verdict = await bootUefi({
    url: IMAGE,
    anchors,
    arch: 'x86_64',
    transport: {
      fetch(url, options) {
        asked.push(url);
        return transport.fetch(url, options);
      },
    },
    policy: defaultPolicy(NOW),
    now: NOW,
  });
  return { ...verdict, asked };
}

/** The tree with one file made another. */
async function changed(name: string, path: string, bytes?: Uint8Array): Promise<string> {
  const copy = join(folder, name);
  await cp(tree, copy, { recursive: true });
  await writeFile(join(copy, path), bytes ?? flipped(await readFile(join(tree, path)), 2000));
  return copy;
}

const rowsOf = ({ rows }: MachineVerdict) =>
  rows.flatMap(({ role, findings }) =>
    findings.map((finding) => `${role} ${finding.check} ${finding.verified || finding.refusal.code}`),
  );

describe('a machine whose firmware enforces Secure Boot', () => {
  it('starts an image that db signed, with the command line and the initrds inside, and nothing else', async () => {
    const verdict = await booted();
    assert.deepEqual(
      [verdict.refusal, verdict.verified, verdict.bound, verdict.loader],
      [undefined, true, true, 'secure-boot'],
    );
    assert.deepEqual(rowsOf(verdict), [
      'image uefi true',
      'rootfs manifest true',
      'rootfs checksum true',
      'rootfs openpgp true',
      'rootfs cms true',
    ]);
    assert.match(verdict.cmdline ?? '', / bootseal\.manifest=[0-9a-f]{64}$/);
    // No script, no loose kernel, no loose initrd.
    assert.deepEqual(
      verdict.asked.filter((url) => /ipxe|vmlinuz|initramfs|grub/.test(url)),
      [],
    );
  });

  it('starts nothing of an image with one byte changed', async () => {
    const { refusal, verified, rows, asked } = await booted(await changed('flipped', 'uki.efi'));
    assert.deepEqual([refusal?.code, verified, rows.length, asked], ['bad-signature', false, 1, [IMAGE]]);
  });

  it('starts nothing that another site signed', async () => {
    const { secureBoot: others = db } = await readAnchorFolder(stranger);
    const { refusal, asked } = await booted(tree, others);
    assert.deepEqual([refusal?.code, asked], ['untrusted-signer', [IMAGE]]);
  });

  it('starts nothing that dbx names', async () => {
    const bytes = await readFile(join(tree, 'uki.efi'));
    const digest = authenticodeDigest(bytes, decodePe(bytes), 'sha256');
    const owner = '00000000-0000-0000-0000-000000000000';
    const entry = { owner, type: 'sha256', digest: Buffer.from(digest).toString('hex') } as const;
    const { refusal, asked } = await booted(tree, { ...db, dbx: [entry] });
    assert.deepEqual([refusal?.code, asked], ['revoked', [IMAGE]]);
  });

  it('is stopped by early userspace where the root image is another', async () => {
    const verdict = await booted(await changed('root', ROOTFS));
    assert.deepEqual([verdict.refusal?.code, verdict.verified], ['bad-signature', false]);
    assert.equal(rowsOf(verdict)[0], 'image uefi true');
  });

  it('is stopped by early userspace where the manifest is of a later sealing than the image', async () => {
    const copy = join(folder, 'sealed-again');
    await cp(tree, copy, { recursive: true });
    await sealFixture(copy, keys, { issued: NOW + 86_400_000 });
    const verdict = await booted(copy);
    assert.deepEqual(rowsOf(verdict), ['image uefi true', 'rootfs manifest mixed-releases']);
  });

  it('finds no image: a plain reason', async () => {
    const copy = join(folder, 'without');
    await cp(tree, copy, { recursive: true });
    await rm(join(copy, 'uki.efi'));
    const { refusal, rows } = await booted(copy);
    assert.deepEqual([refusal?.code, rows], ['absent', []]);
  });
});

describe('bootseal boot, of an image', () => {
  it('shows what the firmware and early userspace found', async () => {
    const site = join(folder, 'site');
    const server = await staticServer((path) => inTree(site)(path));
    await cp(tree, site, { recursive: true });
    await makeUki(site, keys, { url: server.url });
    const words = ['boot', `${server.url}/uki.efi`, '--at', `@${NOW / 1000}`];
    const { code, out } = await runHere([...words, '--anchors', keys]);
    assert.equal(code, 0, out);
    assert.match(out, /^artifact +role +firmware \(db\) +manifest/m);
    assert.match(out, /^uki\.efi +image +verified +–/m);
    assert.match(
      out,
      /^VERIFIED: one image with kernel, initrds and command line, by the firmware, and the root image/m,
    );
    const json = JSON.parse((await runHere([...words, '--anchors', keys, '--json'])).out);
    assert.deepEqual([json.verified, json.loader], [true, 'secure-boot']);
    const bare = await runHere(words);
    assert.equal(bare.code, 2);
    assert.match(bare.err, /An image needs --anchors/);
  });
});
