import assert from 'node:assert/strict';
import { mkdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { publish } from '../../src/publish/publish.ts';
import { serving } from '../cli/command.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { KERNEL, ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';

/** States for keyholders: a real clock, since the process that is tested has one. */

export const OLD = 'arch/2026.11.01';
export const NEW = 'arch/2026.11.02';
export const NEWEST = 'arch/2026.11.03';

export interface KeyholderSite {
  readonly folder: string;
  readonly keys: string;
  readonly anchors: string;
  /** `stable` is at the old release, `next` at the new one; its own snapshot key is nowhere below it. */
  readonly state: string;
  /** Sealed; of a release that is in no channel. */
  readonly tree: string;
}

export async function keyholderSite(): Promise<KeyholderSite> {
  const folder = await temporaryFolder();
  const now = Date.now();
  const keys = await makeKeys(join(folder, 'keys'), { now });
  const anchors = join(keys, 'anchors');
  const state = join(folder, 'state');
  const trees = new Map<string, string>();
  for (const release of [OLD, NEW]) trees.set(release, await sealedTree(folder, keys, release, now));
  for (const [channel, release] of [
    ['stable', OLD],
    ['next', OLD],
    ['next', NEW],
  ] as const) {
    const tree = trees.get(release) ?? '';
    const { refusal } = await publish({ tree, channel, state, anchors, snapshotKey: keys, now });
    assert.equal(refusal, undefined);
  }
  const tree = await sealedTree(folder, keys, NEWEST, now);
  return { folder, keys, anchors, state, tree };
}
/** A sealed tree that passes the gate, as small as one can be. */
async function sealedTree(folder: string, keys: string, release: string, now: number): Promise<string> {
  const version = release.slice('arch/'.length);
  const tree = await sampleTree(join(folder, 'trees', version), keys);
  await writeFile(join(tree, 'arch/version'), `${version}\n`);
  await writeFile(
    join(tree, KERNEL),
    Buffer.concat([Buffer.from(`MZ kernel ${version}\0`), Buffer.alloc(512)]),
  );
  await truncate(join(tree, ROOTFS), 16_384);
  await sealFixture(tree, keys, { now });
  return tree;
}

let count = 0;

/** A folder for one socket. */
export async function socketIn(folder: string): Promise<string> {
  const own = join(folder, `run-${++count}`);
  await mkdir(own);
  return join(own, 'socket');
}

/** A keyholder as a process of its own, that listens. */
export async function keyholder(
  t: TestContext,
  { keys, state }: Pick<KeyholderSite, 'keys' | 'state'>,
  socket: string,
  more: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
) {
  const words = ['keyholder', '--socket', socket, '--keys', keys, '--state', state, ...more];
  const running = serving(t, words, { env });
  await running.until('out', /^The keyholder listens at /m);
  return running;
}
