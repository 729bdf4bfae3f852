import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { pooled } from '../../src/resigning/standing.ts';
import { makeSnapshotKey, readSnapshotKey, signSnapshot } from '../../src/signing/keys/snapshot-key.ts';
import { moveChannel, readChannel } from '../../src/store/channels.ts';
import { recordIngest } from '../../src/store/provenance.ts';
import { storedReleases } from '../../src/store/quarantine.ts';
import { storeRelease } from '../../src/store/release-store.ts';
import { openState } from '../../src/store/state.ts';
import { readAnchorFolder } from '../../src/trust/anchor-folder.ts';
import { defaultPolicy } from '../../src/trust/policy.ts';
import { judgeFolder } from '../fixtures/judge.ts';
import { NOW } from '../fixtures/keys.ts';
import { readyKeyPair } from '../fixtures/ready-keys.ts';
import { sealFixture, writeTree } from '../fixtures/release.ts';

/** Stores of small releases with real seals; the gate is not asked, since their initramfs holds nothing. */

export const CHANNEL = 'stable';
const DAY = 86_400_000;
/** When releases are signed anew. */
export const LATER = NOW + 10 * DAY;

export interface Wish {
  readonly release: string;
  /** An address, where it was fetched. */
  readonly origin?: string;
  /** Whether the channel names it. */
  readonly named?: boolean;
  readonly url?: string;
  readonly serial?: number;
}

export async function addReleases(
  state: string,
  trees: string,
  keys: string,
  wishes: readonly Wish[],
): Promise<void> {
  const opened = await openState(state);
  const anchors = await readAnchorFolder(keys);
  for (const { release, origin = 'local', named = false, url, serial } of wishes) {
    const tree = await writeTree(join(trees, release.replace('/', '-')), {
      'bootseal.toml': `kernel = "vmlinuz"\ninitrd = ["initrd.img"]\nrootfs = "root.img"\ncmdline = "quiet"\n`,
      vmlinuz: `kernel ${release}\0`,
      'initrd.img': `initrd ${release}\0`,
      'root.img': Buffer.alloc(4096, `root ${release}`),
    });
    await sealFixture(tree, keys, {
      release,
      ...(url === undefined ? {} : { url }),
      ...(serial === undefined ? {} : { serial }),
    });
    const verdict = await judgeFolder(tree, anchors);
    if (!verdict.release) throw verdict.refusal;
    const { manifest, manifestSha256 } = verdict.release;
    await recordIngest(state, release, { time: NOW, origin, manifest: manifestSha256, signers: [] });
    await storeRelease(state, verdict.release, NOW);
    if (!named) continue;
    const key = await readSnapshotKey(state).catch(() =>
      makeSnapshotKey(state, 'state', NOW, 2048, readyKeyPair),
    );
    const before = await readChannel(state, CHANNEL);
    const snapshot = {
      channel: CHANNEL,
      counter: (before?.snapshot.counter ?? 0) + 1,
      issued: NOW,
      expires: NOW + 7 * DAY,
      release,
      serial: manifest.serial,
      manifest: manifestSha256,
      bestBefore: manifest.bestBefore,
      rollbackFrom: undefined,
    };
    await moveChannel(state, { snapshot, ...(await signSnapshot(snapshot, key)) });
  }
  await opened.release();
}

/** A store of one's own; hard links inside it stay links. */
export function copyStore(state: string, to: string): string {
  const { status, stderr } = spawnSync('cp', ['-a', state, to], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return to;
}

/** SHA-256 of every file, by path. The log grows and the lock goes: neither is of a release. */
export function snapshotOf(state: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const name of readdirSync(state, { recursive: true, encoding: 'utf8' })) {
    const path = join(state, name);
    if (/^(log\/|lock$|resign\.json$)/.test(name) || !lstatSync(path).isFile()) continue;
    found.set(name, createHash('sha256').update(readFileSync(path)).digest('hex'));
  }
  return found;
}

/** Content that a store had and has nowhere any more. A record of provenance grows: it has another test. */
export function lost(before: ReadonlyMap<string, string>, state: string): string[] {
  const now = new Set(snapshotOf(state).values());
  return [...before]
    .filter(([name, digest]) => !now.has(digest) && !name.endsWith('/record.json'))
    .map(([name]) => name);
}

/** The first refusal of any release in the store, verified whole, and of a channel that names another manifest. */
export async function faultOf(
  state: string,
  keys: readonly string[],
  now: number,
): Promise<string | undefined> {
  const folders = await Promise.all(keys.map((folder) => readAnchorFolder(folder)));
  const anchors = pooled({ folders, policy: defaultPolicy(now), now }, folders[0]?.bootSigner);
  const current = await readChannel(state, CHANNEL);
  for (const release of await storedReleases(state)) {
    const verdict = await judgeFolder(join(state, 'releases', release), anchors, now);
    if (verdict.refusal) return `${release}: ${verdict.refusal.message}`;
    const named = current?.snapshot.release === release;
    if (named && current?.snapshot.manifest !== verdict.manifestSha256)
      return `${CHANNEL} names another manifest of ${release}`;
  }
  return undefined;
}

/** A key folder whose manifest key answers so many times, and is gone then. */
export async function dyingKeys(keys: string, to: string, answers: number): Promise<string> {
  await cp(keys, to, { recursive: true });
  const count = join(to, 'answered');
  const script = join(to, 'sign.sh');
  writeFileSync(count, '0\n');
  writeFileSync(
    script,
    `#!/bin/sh
n=$(cat ${count})
[ "$n" -lt ${answers} ] || { echo "the token is gone" >&2; exit 3; }
echo $((n + 1)) > ${count}
exec openssl pkeyutl -sign -inkey ${join(to, 'private/manifest.key')} -pkeyopt "digest:$BOOTSEAL_HASH"
`,
    { mode: 0o755 },
  );
  writeFileSync(join(to, 'signers.toml'), `[manifest]\ncommand = ["${script}"]\n`, { mode: 0o600 });
  return to;
}
