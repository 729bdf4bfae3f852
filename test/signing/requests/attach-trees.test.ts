import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { RefusalCode } from '../../../src/errors/refusal.ts';
import { MAX_BUNDLE } from '../../../src/formats/records/request-bundle.ts';
import { attach } from '../../../src/operations/request.ts';
import { KERNEL, ROOTFS, sealFixture } from '../../fixtures/release.ts';
import { answer, Bundle, makeRequest } from '../../fixtures/signing-request.ts';
import { look } from '../judges.ts';
import { MICROCODE } from '../trees.ts';
import { copyOf, demandRefused, fresh, keys, other, response } from './attach-site.ts';

const CMS = `${KERNEL}.cms.sig`;
const IPXE = `${KERNEL}.ipxe.sig`;

// All of it before the first test: the runner takes the file for done when what it knows of is done.
const sealed = await copyOf();
await sealFixture(sealed, keys);
rmSync(join(sealed, CMS));
const partRequest = await makeRequest(sealed, keys, fresh('request'));
const part = fresh('response');
await answer(partRequest, [keys], part);

describe('attach refuses a tree', () => {
  const trees: readonly (readonly [string, (tree: string) => void, RefusalCode, RegExp])[] = [
    [
      'whose kernel was changed',
      (tree) => writeFileSync(join(tree, KERNEL), 'kernel two\0'),
      'drifted',
      /vmlinuz-linux is no longer/,
    ],
    [
      'whose image has a byte more',
      (tree) => appendFileSync(join(tree, ROOTFS), 'x'),
      'drifted',
      /airootfs\.sfs is no longer/,
    ],
    [
      'whose hash tree was changed',
      (tree) => appendFileSync(join(tree, `${ROOTFS}.verity`), 'x'),
      'drifted',
      /airootfs\.sfs\.verity/,
    ],
    ['that lacks an initramfs', (tree) => rmSync(join(tree, MICROCODE)), 'absent', /amd-ucode\.img/],
    [
      'whose kernel is a link to one',
      (tree) => {
        cpKernel(tree);
        symlinkSync(join(tree, 'kernel'), join(tree, KERNEL));
      },
      'unsafe-path',
      /symbolic link/,
    ],
    [
      'with a link where a seal goes',
      (tree) => symlinkSync('/dev/null', join(tree, CMS)),
      'unsafe-path',
      /vmlinuz-linux\.cms\.sig is a symbolic link/,
    ],
    [
      'with a folder where a record goes',
      (tree) => mkdirSync(join(tree, 'boot.ipxe')),
      'unsafe-path',
      /boot\.ipxe is not a regular file/,
    ],
    [
      'with a FIFO where a seal goes',
      (tree) => execFileSync('mkfifo', [join(tree, IPXE)]),
      'unsafe-path',
      /ipxe\.sig is not a regular file/,
    ],
  ];
  const cpKernel = (tree: string) => execFileSync('mv', [join(tree, KERNEL), join(tree, 'kernel')]);
  for (const [what, change, code, fact] of trees) {
    it(what, async () => {
      const tree = await copyOf();
      change(tree);
      await demandRefused(tree, [response], code, fact);
    });
  }
});

describe('attach refuses a seal that the request counted on', () => {
  const KEPT = `${MICROCODE}.sig`;
  const kept: readonly (readonly [string, (path: string) => void, RefusalCode])[] = [
    ['and that is gone', (path) => rmSync(path), 'drifted'],
    ['and that is another now', (path) => appendFileSync(path, 'x'), 'drifted'],
    [
      'and that is a link now',
      (path) => {
        rmSync(path);
        symlinkSync('/dev/null', path);
      },
      'unsafe-path',
    ],
    [
      'and that is a FIFO now',
      (path) => {
        rmSync(path);
        execFileSync('mkfifo', [path]);
      },
      'unsafe-path',
    ],
  ];
  for (const [what, change, code] of kept) {
    it(what, { timeout: 60_000 }, async () => {
      const tree = await copyOf(sealed);
      change(join(tree, KEPT));
      await demandRefused(tree, [part], code, /amd-ucode\.img\.sig/);
    });
  }

  it('and that does not hold over the record that the request brings', async () => {
    // What a record may say is narrow; another pause before GRUB restarts is among it.
    const bundle = await Bundle.read(part);
    const text = Buffer.from(bundle.file('scripts/grub.cfg')).toString('latin1');
    const other = text.replace(/\b30\b(?= seconds|$)/gm, '31');
    assert.notEqual(other, text);
    const lie = await bundle.forge('grub.cfg', other).write(fresh('lie'));
    await demandRefused(await copyOf(sealed), [lie], 'bad-signature', /grub\.cfg\.sig stands/);
  });

  it('and that is by another site, over the payload as it is', async () => {
    const theirTree = await copyOf(sealed);
    await sealFixture(theirTree, other);
    for (const seal of [
      `${KERNEL}.sig`,
      `${MICROCODE}.cms.sig`,
      `${MICROCODE}.ipxe.sig`,
      `${ROOTFS}.roothash.cms.sig`,
    ]) {
      const tree = await copyOf(sealed);
      await cp(join(theirTree, seal), join(tree, seal));
      const bundle = await Bundle.read(part);
      const sha256 = execFileSync('sha256sum', [join(tree, seal)], { encoding: 'utf8' }).slice(0, 64);
      bundle.reindex(({ kept: names }) => ({
        kept: names.map((one) => (one.path === seal ? { ...one, sha256 } : one)),
      }));
      await demandRefused(tree, [await bundle.write(fresh('lie'))], 'bad-signature', /stands in the tree/);
    }
  });
});

describe('attach refuses a file of answers', () => {
  const files: readonly (readonly [string, (path: string) => void, RefusalCode, RegExp])[] = [
    ['that is not there', () => {}, 'absent', /does not exist/],
    ['that is a folder', (path) => mkdirSync(path), 'unsafe-path', /not a regular file/],
    ['that is a FIFO', (path) => execFileSync('mkfifo', [path]), 'unsafe-path', /not a regular file/],
    ['that is a link', (path) => symlinkSync(response, path), 'unsafe-path', /symbolic link/],
    [
      'that is larger than any',
      (path) => {
        writeFileSync(path, '');
        truncateSync(path, MAX_BUNDLE + 1);
      },
      'too-large',
      /134217729 bytes/,
    ],
    [
      'that would fill the memory',
      (path) => {
        writeFileSync(path, '');
        truncateSync(path, 2 ** 40);
      },
      'too-large',
      /1099511627776 bytes/,
    ],
    ['that is a device', (path) => symlinkSync('/dev/zero', path), 'unsafe-path', /symbolic link/],
  ];
  for (const [what, make, code, fact] of files) {
    it(what, { timeout: 60_000 }, async () => {
      const path = fresh('answers');
      make(path);
      await demandRefused(await copyOf(), [response, path], code, fact);
    });
  }

  it('and a device itself', { timeout: 60_000 }, async () => {
    await demandRefused(await copyOf(), ['/dev/zero'], 'unsafe-path', /not a regular file/);
  });
});

it('nothing of these tests is refused for another reason: the answers as they are complete the trees', async () => {
  for (const [tree, answers] of [
    [await copyOf(), response],
    [await copyOf(sealed), part],
  ] as const) {
    await attach({ tree, responses: [answers] });
    assert.ok(look(tree).has(CMS));
  }
});
