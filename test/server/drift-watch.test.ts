import assert from 'node:assert/strict';
import { appendFile, copyFile, link, rename, stat, unlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { measureFile } from '../../src/files/measure.ts';
import type { PinnedFile } from '../../src/release/pin.ts';
import { DriftWatch } from '../../src/server/drift-watch.ts';
import type { VerifiedRelease } from '../../src/trust/verified-release.ts';
import { temporaryFolder } from '../fixtures/folder.ts';

const folder = await temporaryFolder();

async function pinned(name: string, content = name): Promise<PinnedFile> {
  const path = join(folder, name);
  await writeFile(path, content);
  const { size, answers, identity } = await measureFile(path, [{ kind: 'digest', hash: 'sha256' }]);
  return { path, name, size, sha256: Buffer.from(answers[0] as Uint8Array).toString('hex'), identity };
}

/** As much of a release as is looked at. */
function releaseOf(release: string, files: readonly PinnedFile[]): VerifiedRelease {
  return { release, files: new Map(files.map((file) => [file.name, file])) } as unknown as VerifiedRelease;
}

function watching(releases: readonly VerifiedRelease[], most?: number) {
  const lines: string[] = [];
  const say = (_facts: object, message: string) => lines.push(message);
  const log = { info: say, warn: say, error: say };
  const watch = new DriftWatch({ releases: () => releases, log, ...(most === undefined ? {} : { most }) });
  const look = async (): Promise<void> => {
    watch.look();
    await watch.settled();
  };
  return { watch, lines, look };
}

it('tells what was changed, replaced, or is gone, once, and when it is as it was', async () => {
  const files = await Promise.all(['kernel', 'initrd', 'rootfs', 'rest'].map((name) => pinned(name)));
  const { watch, lines, look } = watching([releaseOf('arch/1', files)]);
  await look();
  assert.equal(watch.drifted.length, 0);

  await appendFile(join(folder, 'kernel'), 'x');
  await unlink(join(folder, 'initrd'));
  await rename(join(folder, 'rootfs'), join(folder, 'rootfs-away'));
  await copyFile(join(folder, 'rootfs-away'), join(folder, 'rootfs'));
  await look();
  await look();
  assert.deepEqual(
    watch
      .of('arch/1')
      .map(({ path }) => path)
      .sort(),
    ['initrd', 'kernel', 'rootfs'],
  );
  assert.match(watch.drifted.find(({ path }) => path === 'initrd')?.why ?? '', /is gone\.$/);
  assert.match(watch.warnings.join(), /a file of arch\/1 is not what was verified.*2 more of its files/);
  assert.equal(
    lines.filter((line) => line.includes('is not what was verified')).length,
    3,
    'each is told once',
  );

  await rename(join(folder, 'rootfs-away'), join(folder, 'rootfs'));
  await look();
  assert.deepEqual(
    watch
      .of('arch/1')
      .map(({ path }) => path)
      .sort(),
    ['initrd', 'kernel'],
  );
  assert.ok(lines.includes('a file is again what was verified'));
});

it('a new link is no drift; a change with its times put back is', async () => {
  const file = await pinned('linked', 'content');
  const { watch, look } = watching([releaseOf('arch/2', [file])]);
  await link(file.path, join(folder, 'another-name'));
  await look();
  assert.equal(watch.drifted.length, 0);
  const { atime, mtime } = await stat(file.path);
  await writeFile(file.path, 'CONTENT');
  await utimes(file.path, atime, mtime);
  await look();
  assert.equal(watch.drifted.length, 1);
});

it('looks at the entry each time, and at so many of the others in turns', async () => {
  const entry = releaseOf('arch/entry', [await pinned('entry')]);
  const others = await Promise.all(Array.from({ length: 6 }, (_, index) => pinned(`other-${index}`)));
  const { watch, look } = watching([entry, releaseOf('arch/other', others)], 2);
  for (const { path } of [...entry.files.values(), ...others]) await unlink(path);
  await look();
  assert.deepEqual(
    watch.drifted.map(({ path }) => path),
    ['entry', 'other-0', 'other-1'],
  );
  await look();
  await look();
  assert.equal(watch.drifted.length, 7);
});

it('what is offered no more is told no more', async () => {
  const file = await pinned('former');
  const releases = [releaseOf('arch/former', [file])];
  const { watch, look } = watching(releases);
  await unlink(file.path);
  await look();
  assert.equal(watch.drifted.length, 1);
  releases.pop();
  await look();
  assert.deepEqual(watch.warnings, []);
});
