import { bytesContent } from '../../files/measure.ts';
import { type ChannelRelease, encodeSnapshot, type Snapshot } from '../../formats/records/snapshot.ts';
import { signSnapshot } from '../../signing/keys/snapshot-key.ts';
import { type Attack, type Expectation, misses, must, type OfferedSnapshot } from './attack.ts';
import { CHANNEL } from './columns.ts';
import { sealCms } from './forge.ts';
import type { TamperSite } from './site.ts';

/** What is said of a channel: which release it points at, and since when. */

const DAY = 86_400_000;
const HOUR = 3_600_000;

/** A well-signed snapshot of today. */
export async function snapshotOf(site: TamperSite, wish: SnapshotWish = {}): Promise<OfferedSnapshot> {
  return signSnapshot(factsOf(site, wish), await site.snapshotKey());
}

type SnapshotWish = Partial<Omit<Snapshot, 'releases'> & ChannelRelease>;

function factsOf({ manifest, now }: TamperSite, wish: SnapshotWish): Snapshot {
  const issued = Math.floor(now / 1000) * 1000 - HOUR;
  const { channel = CHANNEL, counter = 7, issued: from = issued, expires = from + 7 * DAY, ...rest } = wish;
  const { arch, release, serial, bestBefore } = manifest;
  const one = { arch, release, serial, manifest: 'a'.repeat(64), bestBefore, rollbackFrom: undefined };
  return { channel, counter, issued: from, expires, releases: [{ ...one, ...rest }] };
}

export function channelAttacks(): Attack[] {
  const known = { counter: 7, sha256: 'a'.repeat(64) };
  const snapshot = (
    name: string,
    tuf: Attack['tuf'],
    expectation: Expectation,
    make: (site: TamperSite) => Promise<OfferedSnapshot>,
  ): Attack => ({
    name: `snapshot: ${name}`,
    tuf,
    expect: { snapshot: expectation },
    stage: async (site) => ({ snapshot: await make(site) }),
  });
  return [
    snapshot('expired', 'freeze', must('stale'), async (site) => {
      const issued = Math.floor(site.now / 1000) * 1000 - 8 * DAY;
      return snapshotOf(site, { issued, expires: issued + 7 * DAY });
    }),
    snapshot('with a lower counter than was seen', 'rollback', must('rolled-back'), async (site) => ({
      ...(await snapshotOf(site, { counter: 6 })),
      known,
    })),
    snapshot('older and in its time, to a reader who has seen none', 'rollback', misses(FIRST), (site) =>
      snapshotOf(site, { counter: 6 }),
    ),
    snapshot(
      'with the counter that was seen, of another release',
      'mix-and-match',
      must('mixed-releases'),
      async (site) => ({
        ...(await snapshotOf(site, { manifest: 'b'.repeat(64) })),
        known,
      }),
    ),
    snapshot('of another channel', 'mix-and-match', must('mixed-releases'), (site) =>
      snapshotOf(site, { channel: 'testing' }),
    ),
    snapshot('with a counter far ahead', 'fast-forward', misses(AHEAD), async (site) => ({
      ...(await snapshotOf(site, { counter: 2 ** 40 })),
      known,
    })),
    snapshot('one digit changed', 'arbitrary software', must('bad-signature'), async (site) => {
      const { bytes, seal } = await snapshotOf(site);
      const changed = Buffer.from(bytes).toString('latin1').replace('counter 7', 'counter 8');
      return { bytes: Buffer.from(changed, 'latin1'), seal };
    }),
    snapshot('sealed by the codesign leaf', 'key compromise', must('untrusted-signer'), async (site) => {
      const bytes = encodeSnapshot(factsOf(site, {}));
      return { bytes, seal: await sealCms(bytesContent(bytes), site.keys.codesign) };
    }),
    snapshot(
      'a line of an unknown kind, well signed',
      'arbitrary software',
      must('malformed'),
      async (site) => {
        const bytes = Buffer.concat([encodeSnapshot(factsOf(site, {})), Buffer.from('colour blue\n')]);
        return { bytes, seal: await sealCms(bytesContent(bytes), await site.snapshotKey()) };
      },
    ),
  ];
}

const AHEAD = 'a counter may jump; publish refuses a serial that does';
const FIRST = 'whoever has seen none takes any that has not expired: at most seven days old';
