import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { encodeSnapshot } from '../../src/formats/records/snapshot.ts';
import { channelStandsAt, moveChannel, nextCounter, type StoredSnapshot } from '../../src/store/channels.ts';
import { recordAct } from '../../src/store/log.ts';
import { readProvenance, recordIngest, withResigned } from '../../src/store/provenance.ts';
import { quarantineRelease, takeBack } from '../../src/store/quarantine.ts';
import { shelfOf } from '../../src/store/shelf-of.ts';
import type { VerifiedRelease } from '../../src/trust/verified-release.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';

/** States for tests of what keeps them: nothing in them is signed, since nothing here looks at a signature. */

export const CHANNEL = 'stable';
const DAY = 86_400_000;

export const sha256 = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex');

export const releaseOf = (number: number) => `arch/2026.11.${String(number).padStart(2, '0')}`;

const manifestOf = (release: string) => Buffer.from(`manifest of ${release}\n`);

export function snapshotOf(counter: number, release = releaseOf(counter), channel = CHANNEL): StoredSnapshot {
  const snapshot = {
    channel,
    counter,
    issued: NOW,
    expires: NOW + 7 * DAY,
    releases: [
      {
        arch: 'x86_64',
        release,
        serial: 2026110100 + counter,
        manifest: sha256(manifestOf(release)),
        bestBefore: NOW + 90 * DAY,
        rollbackFrom: undefined,
      },
    ],
  };
  return { snapshot, bytes: encodeSnapshot(snapshot), seal: Buffer.from(`seal of ${channel} ${counter}`) };
}

/** Where the payload of releases is that go into a bucket. */
let payloads: string | undefined;

/** Puts a release of one payload and two records into a state. */
export async function store(
  state: string,
  release: string,
  payload = `kernel of ${release}`,
): Promise<boolean> {
  const name = `payload-${release.replace('/', '-')}`;
  if (state.startsWith('s3:')) payloads ??= await temporaryFolder();
  const source = join(payloads ?? `${state}-trees`, name);
  mkdirSync(dirname(source), { recursive: true });
  writeFileSync(source, payload);
  const bytes = Buffer.from(payload);
  const file = { path: source, name: 'vmlinuz', size: bytes.length, sha256: sha256(bytes) };
  const records = new Map([
    ['release.manifest', manifestOf(release)],
    ['boot/vmlinuz.sig', Buffer.from(`seal of ${release}`)],
  ]);
  // What the store asks of something verified, without the keys that it takes to make one.
  const verified = { release, payload: 'read', files: new Map([['boot/vmlinuz', file]]), records } as unknown;
  return shelfOf(state).store(verified as VerifiedRelease, NOW);
}

/** What publishing does with a state. Answers the snapshot's counter. */
export async function publishTo(state: string, release: string): Promise<number> {
  const follows = await channelStandsAt(state, CHANNEL);
  const manifest = sha256(manifestOf(release));
  await recordIngest(state, release, { time: NOW, origin: 'local', manifest, signers: [] });
  await store(state, release);
  const counter = await nextCounter(state, CHANNEL);
  await recordAct(state, { time: NOW, act: 'publish', release, manifest, counter });
  await moveChannel(state, snapshotOf(counter, release), follows);
  return counter;
}

export async function putAway(state: string, release: string, hold = false): Promise<void> {
  const reason = {
    release,
    manifest: '',
    origin: 'local',
    code: 'expired',
    message: 'It ended.',
    command: 'bootseal resign',
  };
  await quarantineRelease(state, reason, NOW, hold);
}

export function bringBack(state: string, release: string): Promise<void> {
  return takeBack(state, release, NOW);
}

/** What signing anew does with a state. */
export async function change(state: string, release: string): Promise<void> {
  const follows = await channelStandsAt(state, CHANNEL);
  const counter = await nextCounter(state, CHANNEL);
  const manifest = Buffer.from(`another manifest of ${release}\n`);
  await shelfOf(state).change({
    release,
    to: release,
    from: sha256(manifestOf(release)),
    records: new Map([['release.manifest', manifest]]),
    channels: [{ ...snapshotOf(counter, release), follows }],
    provenance: withResigned(release, await readProvenance(state, release), {
      time: '2026-11-01T00:00:00Z',
      from: sha256(manifestOf(release)),
      to: sha256(manifest),
      signers: [],
      steps: [],
    }),
    now: NOW,
  });
}

/** A copy of a state; its links stay links. */
export function copyOf(state: string, to: string): string {
  mkdirSync(join(to, '..'), { recursive: true });
  const { status, stderr } = spawnSync('cp', ['-a', state, to], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return to;
}
