import { createHash } from 'node:crypto';
import { Refusal } from '../../errors/refusal.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import { SEAL } from '../../formats/records/seal-names.ts';
import { MAX_SNAPSHOT, type Snapshot } from '../../formats/records/snapshot.ts';
import { SNAPSHOT } from '../../store/channels.ts';
import type { Policy } from '../../trust/policy.ts';
import { readSignedSnapshot } from '../../trust/snapshot-check.ts';
import type { MirrorLink } from './mirror-link.ts';

/** What a mirror shows of a channel. */
export interface ShownSnapshot {
  readonly snapshot: Snapshot;
  /** SHA-256 of its bytes, lower-case hex. */
  readonly sha256: string;
}

/** Looks at a channel that moves between two requests. */
const LOOKS = 3;

/** Bytes of a seal; none is that long. */
const MAX_SEAL = 256 * 1024;

/**
 * The snapshot that a mirror shows, signed, however old. A plain web server over a STATE folder has `channels/NAME/current`
 * and a folder for each counter; a server of Bootseal has the current one as `channels/NAME`.
 *
 * @throws Refusal with the fact `file` for what is not as it was signed.
 */
export async function readShownSnapshot(
  link: MirrorLink,
  channel: string,
  signers: readonly Certificate[],
  policy: Policy,
  now: number,
): Promise<ShownSnapshot> {
  const path = await snapshotPath(link, channel);
  const read = async (): Promise<ShownSnapshot> => {
    const bytes = await link.small(path, MAX_SNAPSHOT);
    const seal = await link.small(path + SEAL.cms, MAX_SEAL);
    const snapshot = await readSignedSnapshot(channel, bytes, seal, signers, policy, now);
    return { snapshot, sha256: createHash('sha256').update(bytes).digest('hex') };
  };
  for (let looks = 1; ; looks += 1) {
    try {
      return await read();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      // A channel may move between its snapshot and the seal.
      if (error.code === 'bad-signature' && looks < LOOKS) continue;
      throw new Refusal(error.code, error.message, { file: path, ...error.facts }, { cause: error });
    }
  }
}

async function snapshotPath(link: MirrorLink, channel: string): Promise<string> {
  const folder = `channels/${channel}`;
  const path = `${folder}/current`;
  try {
    const text = Buffer.from(await link.small(path, 32)).toString('latin1');
    if (/^[1-9][0-9]{0,15}\n?$/.test(text)) return `${folder}/${text.trimEnd()}/${SNAPSHOT}`;
    throw new Refusal('malformed', `${path} is not the number of a snapshot.`, { file: path });
  } catch (error) {
    if (error instanceof Refusal && error.code === 'absent') return folder;
    throw error;
  }
}
