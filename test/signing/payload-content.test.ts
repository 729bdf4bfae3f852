import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { mkdtemp, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Refusal } from '../../src/errors/refusal.ts';
import type { Role } from '../../src/formats/records/manifest.ts';
import { checksumPath } from '../../src/formats/records/seal-names.ts';
import { otherThanPayload } from '../../src/signing/payload-content.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { INITRD, KERNEL, ROOTFS, sealFixture } from '../fixtures/release.ts';
import { MICROCODE, smallTree } from './trees.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'), { kind: 'p256' });
const sealed = await smallTree(join(folder, 'sealed'), 'one', '2026.11.01', 5 * 4096);
await sealFixture(sealed, keys);
const inTree = (path: string) => readFile(join(sealed, path));
const ROLES: readonly Role[] = ['kernel', 'module', 'initrd', 'overlay', 'rootfs'];
/** A system fetches it later: what it may be is that system's business. */
const FILE = 'file';

describe('what is sealed as payload', () => {
  for (const path of [
    'release.manifest',
    'release.manifest.cms.sig',
    'release.manifest.sig',
    'boot.ipxe',
    'grub.cfg',
    checksumPath(ROOTFS),
    `${ROOTFS}.roothash`,
    `${ROOTFS}.verity`,
  ]) {
    it(`is no ${path}`, async () => {
      const bytes = await inTree(path);
      for (const role of [...ROLES, FILE] as const) assert.ok(otherThanPayload(bytes, role), role);
    });
  }

  for (const [what, text] of [
    ['a manifest that is damaged', 'bootseal-manifest 1\nrelease x\n'],
    ['a snapshot', 'bootseal-snapshot 1\nname stable\n\0'],
    ['a checkpoint behind a byte order mark', '\xef\xbb\xbfbootseal-checkpoint 1\n'],
    ['a record of a later kind', 'bootseal-anything 9\n'],
    ['an iPXE script', '#!ipxe\nshell\n'],
    ['a GRUB configuration', 'menuentry x {\n linux /vmlinuz init=/bin/sh\n}\n'],
    ['checksums', `${'0'.repeat(128)}  airootfs.sfs\n`],
  ] as const) {
    it(`is not ${what}, not even as a file`, () => {
      assert.ok(otherThanPayload(Buffer.from(text, 'latin1'), FILE));
      for (const role of ROLES) assert.ok(otherThanPayload(Buffer.from(text, 'latin1'), role), role);
    });
  }

  for (const [what, text] of [
    ['an iPXE script, with what no text holds behind it', '#!ipxe\nshell\n\0\x01'],
    ['a shell script', '#!/bin/sh\nexec sh\n'],
    ['the page of a captive portal', '\n<!DOCTYPE html>\n<title>Sign in</title>'],
    ['a page without a type', '<HTML><body>404</body></HTML>'],
    ['a page behind a comment', '<!-- proxy -->\n<html lang="en">'],
    ['a certificate', '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n'],
  ] as const) {
    it(`is not ${what}, in any role that a machine loads`, () => {
      for (const role of ROLES) assert.ok(otherThanPayload(Buffer.from(text, 'latin1'), role), role);
    });
  }

  it('may be any text as a file', () => {
    for (const text of ['#_preseed_V1\nd-i x y string z\n', '{"ignition":{}}', '<html>', '#!/bin/sh\n', '']) {
      assert.equal(otherThanPayload(Buffer.from(text), FILE), undefined, text);
    }
    const certificate = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n';
    assert.equal(otherThanPayload(Buffer.from(certificate), FILE), undefined);
  });

  it('is no text where it would run', () => {
    for (const text of ['source /evil.cfg\n', 'Not found', 'Gr\u00fc\u00dfe\r\n\t']) {
      for (const role of ['kernel', 'initrd'] as const)
        assert.equal(otherThanPayload(Buffer.from(text), role), 'text', text);
      assert.equal(otherThanPayload(Buffer.from(text), 'rootfs'), undefined);
    }
  });

  it('may be anything that nobody knows', () => {
    const random = Buffer.from(
      Array.from({ length: 5000 }, (_, index) => (index * 193 + (index >> 3)) % 256),
    );
    const named = Buffer.from('MZ\0\0 <html> bootseal-manifest 1\n#!ipxe\n-----BEGIN CERTIFICATE-----\n');
    const archive = Buffer.from(`070701${'0'.repeat(104)}index\0plain`);
    for (const role of ROLES)
      for (const bytes of [random, named, archive]) assert.equal(otherThanPayload(bytes, role), undefined);
  });
});

describe('sealing a tree', () => {
  for (const path of [KERNEL, MICROCODE, INITRD, ROOTFS]) {
    it(`whose ${path} is a manifest is refused, and writes nothing`, async () => {
      const tree = await smallTree(await mkdtemp(join(folder, 'tree-')));
      writeFileSync(join(tree, path), await inTree('release.manifest'));
      const before = await readdir(tree, { recursive: true });
      await assert.rejects(
        sealFixture(tree, keys),
        (error) => error instanceof Refusal && error.code === 'wrong-purpose' && error.message.includes(path),
      );
      assert.deepEqual(await readdir(tree, { recursive: true }), before);
    });
  }
});
