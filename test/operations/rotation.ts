import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { type BootOptions, boot } from '../../src/operations/boot.ts';
import { rotateKeys } from '../../src/operations/keys-rotate.ts';
import { serve } from '../../src/server/serve.ts';
import type { Rotated, RotateOptions } from '../../src/signing/keys/rotate.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { readyKeyPair } from '../fixtures/ready-keys.ts';
import { sampleTree, sealFixture } from '../fixtures/release.ts';

export const DAY = 86_400_000;
/** When the keys are replaced. */
export const LATER = NOW + 10 * DAY;
const folder = await temporaryFolder();
export const old = await makeKeys(join(folder, 'old'));

let count = 0;
export const fresh = (name: string): string => join(folder, `${name}-${count++}`);

export async function rotate(
  keys = old,
  options: Partial<RotateOptions> = {},
): Promise<Rotated & { out: string }> {
  const out = fresh('keys');
  const rotated = await rotateKeys({
    keys,
    out,
    now: LATER,
    rsaBits: 2048,
    makeKeyPair: readyKeyPair,
    ...options,
  });
  return { out, ...rotated };
}
export const { out: leaves, steps: leafSteps } = await rotate();
export const { out: newCa, steps: caSteps } = await rotate(old, { only: ['ca'] });

const made = new Map<string, Promise<string>>();

/** A tree whose initramfs holds the anchors of `inside`, sealed by `keys`; nobody changes it. */
export function sealed(inside: string, keys: string, alsoKeys: readonly string[] = []): Promise<string> {
  const name = [inside, keys, ...alsoKeys].join('\n');
  const tree = made.get(name) ?? seal(inside, keys, alsoKeys);
  made.set(name, tree);
  return tree;
}

async function seal(inside: string, keys: string, alsoKeys: readonly string[]): Promise<string> {
  const tree = await sampleTree(fresh('tree'), inside);
  await sealFixture(tree, keys, { now: LATER, alsoKeys });
  return tree;
}

/** One of one's own. */
export async function copyOf(tree: Promise<string>): Promise<string> {
  const copy = fresh('tree');
  await cp(await tree, copy, { recursive: true });
  return copy;
}

export const anchors = (keys: string, name: string): string => join(keys, 'anchors', name);
export const after = (keys: string, name: string): string => join(keys, 'anchors-after', name);
export const fingerprint = (path: string): string =>
  new X509Certificate(readFileSync(path)).fingerprint256.replaceAll(':', '').toLowerCase();
export const idOf = (keys: string): string => fingerprint(anchors(keys, 'ca.crt')).slice(0, 16);
/** archiso's own flags. */
export const early = (certificates: string, ca: string): string[] => [
  '-nointern',
  '-certfile',
  certificates,
  '-CAfile',
  ca,
];

/** Serves a tree and boots a machine whose loader was built with `loader`. */
export async function bootOf(
  tree: string,
  given: readonly string[],
  loader: string,
  options: Partial<BootOptions> = {},
): ReturnType<typeof boot> {
  const listening = { clock: () => LATER, httpPort: 0, tftpPort: false, nbdPort: false } as const;
  const serving = await serve({ tree, anchors: given, ...listening });
  try {
    return await boot({ url: `${serving.url}/boot.ipxe`, anchors: loader, now: LATER, ...options });
  } finally {
    await serving.close(0);
  }
}
