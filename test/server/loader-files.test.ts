import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { appendFile, copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Refusal } from '../../src/errors/refusal.ts';
import { UsageError } from '../../src/errors/usage.ts';
import { buildGrubLoaders, serve } from '../../src/index.ts';
import { readConfiguration } from '../../src/server/configuration.ts';
import { readLoaders } from '../../src/server/loader-files.ts';
import { readAnchorFolder } from '../../src/trust/anchor-folder.ts';
import { lookIntoLoader } from '../../src/trust/loader-check.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { sampleTree, sealFixture } from '../fixtures/release.ts';

const folder = await temporaryFolder();
const now = Date.now();
const keys = await makeKeys(join(folder, 'keys'), { now });
const stranger = await makeKeys(join(folder, 'stranger'), { now });
const tree = await sampleTree(join(folder, 'tree'), keys);
await sealFixture(tree, keys, { now });

/** A folder with our own GRUB images, one of another site, and one for another machine than its name says. */
const loaders = join(folder, 'loaders');
await buildGrubLoaders({ anchors: keys, out: loaders, now });
const theirs = join(folder, 'theirs');
await buildGrubLoaders({ anchors: stranger, out: theirs, now });
await copyFile(join(theirs, 'bootseal-grub.0'), join(loaders, 'grub.pxe'));
await copyFile(join(loaders, 'bootseal-grub.efi'), join(loaders, 'bootaa64.efi'));

const sha256 = async (name: string) =>
  createHash('sha256')
    .update(await readFile(join(loaders, name)))
    .digest('hex');

describe('loaders that are offered', () => {
  it('are told by name where they trust other keys than these, or are for other machines', async () => {
    const found = await readLoaders(loaders, { sites: [await readAnchorFolder(keys)] });
    const told = (name: string) => found.get(name)?.report?.warnings;
    assert.deepEqual([told('bootseal-grub.0'), told('bootseal-grub.efi')], [[], []]);
    assert.equal(found.get('bootseal-grub.0')?.report?.ours, true);
    const [script = '', payload = '', ...more] = told('grub.pxe') ?? [];
    assert.match(script, /^trusts script key [0-9a-f]{16}, which is not of these anchors$/);
    assert.match(payload, /^trusts payload key [0-9a-f]{16}, which is not of these anchors$/);
    assert.equal(more.length, 0);
    assert.equal(found.get('grub.pxe')?.report?.ours, false);
    assert.deepEqual(told('bootaa64.efi'), ['is for x86_64, and its name says aarch64']);
    // Both sites' machines are served: while one CA takes another's place.
    const both = await readLoaders(loaders, {
      sites: [await readAnchorFolder(keys), await readAnchorFolder(stranger)],
    });
    assert.deepEqual(both.get('grub.pxe')?.report?.warnings, []);
  });

  it('are not of this site where a stock iPXE trusts the root of its makers, and nobody is warned of it', async () => {
    // What tells of such a build: Debian's own fetches by HTTP alone, and has no root inside.
    const root = Buffer.from('9faf717b7f8ca2f93c256c79f8ac5591895d66d1ff3bee6397a70d29c65eed1a', 'hex');
    const image = Buffer.concat([Buffer.from('iPXE\0imgfetch\0'), root]);
    const { verifies, trusts, ours, warnings } = lookIntoLoader('undionly.kpxe', image, [
      await readAnchorFolder(keys),
    ]);
    assert.deepEqual(
      { verifies, trusts, ours, warnings },
      { verifies: false, trusts: ['the root of iPXE’s makers'], ours: false, warnings: [] },
    );
  });

  it('are pinned, and refused where the configuration says another digest, or where there is none', async () => {
    const pins = { 'grub.pxe': await sha256('grub.pxe') };
    const found = await readLoaders(loaders, { pins });
    assert.deepEqual(
      [...found.values()].filter(({ demanded }) => demanded).map(({ name }) => name),
      ['grub.pxe'],
    );
    const refuses = (wanted: Record<string, string>, code: string, message: RegExp) =>
      assert.rejects(readLoaders(loaders, { pins: wanted }), (error) => {
        assert.ok(error instanceof Refusal && error.code === code);
        assert.match(error.message, message);
        return true;
      });
    await refuses({ 'grub.pxe': 'ab'.repeat(32) }, 'drifted', /grub\.pxe has the SHA-256 [0-9a-f]{64}, and/);
    await refuses({ 'ipxe.efi': 'ab'.repeat(32) }, 'absent', /names the loader ipxe\.efi/);
  });

  it('are named in the configuration file by their digests in full', async () => {
    const file = join(folder, 'serve.toml');
    const digest = await sha256('grub.pxe');
    await writeFile(file, `[loaders]\n"grub.pxe" = "${digest}"\n`);
    assert.deepEqual((await readConfiguration(file)).loaders, { 'grub.pxe': digest });
    for (const wrong of [digest.slice(1), digest.toUpperCase(), '']) {
      await writeFile(file, `[loaders]\n"grub.pxe" = "${wrong}"\n`);
      await assert.rejects(readConfiguration(file), UsageError);
    }
  });

  it('are said by the server when it starts and at its API, and keep it from starting where one drifted', async () => {
    const own = join(folder, 'own');
    await mkdir(own);
    for (const name of ['grub.pxe', 'bootseal-grub.0']) await copyFile(join(loaders, name), join(own, name));
    const digest = await sha256('grub.pxe');
    const lines: { level: string; facts: object; message: string }[] = [];
    const level = (name: string) => (facts: object, message: string) =>
      void lines.push({ level: name, facts, message });
    const options = {
      tree,
      anchors: keys,
      loaders: own,
      httpPort: 0,
      tftpPort: false,
      nbdPort: false,
      configuration: { loaders: { 'grub.pxe': digest } },
      log: { info: level('info'), warn: level('warn'), error: level('error') },
    } as const;
    const serving = await serve(options);
    try {
      const warned = lines.filter(({ level: one }) => one === 'warn').map(({ message }) => message);
      assert.equal(warned.filter((message) => /^grub\.pxe trusts script key /.test(message)).length, 1);
      assert.ok(!warned.some((message) => message.startsWith('bootseal-grub.0')));
      const pinned = lines.filter(({ message }) => message === 'offering a loader, pinned to this digest');
      assert.deepEqual(
        pinned.map(({ facts }) => facts as { loader: string }).map(({ loader }) => loader),
        ['bootseal-grub.0', 'grub.pxe'],
      );
      const said = (await (await fetch(`${serving.url}/api/v1/loaders`)).json()) as {
        loaders: { name: string; sha256: string; demanded: boolean; ours: boolean; trusts: string[] }[];
      };
      const found = said.loaders.find(({ name }) => name === 'grub.pxe');
      assert.deepEqual([found?.sha256, found?.demanded, found?.ours], [digest, true, false]);
      assert.match(found?.trusts[0] ?? '', /^script key /);
      // A boot begins: its trust is told at once.
      await (await fetch(`${serving.url}/grub.cfg`)).arrayBuffer();
      const trust = (await (await fetch(`${serving.url}/api/v1/trust`)).json()) as {
        boots: { asked: string; level: string }[];
      };
      assert.deepEqual(
        trust.boots.map(({ asked, level: words }) => [asked, words]),
        [['/grub.cfg', 'GRUB enforcing']],
      );
      const metrics = await (await fetch(`${serving.url}/metrics`)).text();
      assert.match(metrics, /boots_begun_total\{trust="grub"\} 1$/m);
      assert.match(metrics, /boots_begun_total\{trust="stock"\} 0$/m);
    } finally {
      await serving.close(0);
    }
    await appendFile(join(own, 'grub.pxe'), ' ');
    await assert.rejects(serve(options), (error) => error instanceof Refusal && error.code === 'drifted');
  });
});
