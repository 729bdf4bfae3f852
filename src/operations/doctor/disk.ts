import { constants } from 'node:fs';
import { access, statfs } from 'node:fs/promises';
import { cannotRead, codeOf } from '../../errors/io.ts';
import { remoteFileSystem } from '../../files/lock.ts';
import { type Finding, Findings } from './finding.ts';

export interface DiskFacts {
  readonly path: string;
  /** Bytes, for who is not root. */
  readonly free: number;
  /** Undefined where the file system counts none. */
  readonly freeInodes: number | undefined;
  /** Bytes. */
  readonly largestRelease: number;
  /** `NFS`; undefined for one whose locks hold. */
  readonly remote: string | undefined;
  readonly readOnly: boolean;
}

const GIB = 1024 ** 3;
/** Names that one release takes, with its seals and its objects, and what channels and the log take beside. */
const FEW_INODES = { fault: 200, warning: 2000 } as const;

export function judgeDisk(facts: DiskFacts): readonly Finding[] {
  const { path, free, freeInodes, largestRelease, remote, readOnly } = facts;
  const findings = new Findings('disk');
  const move = `Put ${path} on a local disk that may be written.`;
  if (readOnly) findings.fault('read-only', `the file system of ${path} is read-only`, move);
  if (remote !== undefined)
    findings.fault(
      'no-locks',
      `${path} lies on ${remote}, whose locks do not keep a second writer out`,
      move,
    );
  const needed = Math.max(GIB, largestRelease);
  const why =
    largestRelease > GIB ? `the largest release has ${size(largestRelease)}` : 'a release may need 1 GiB';
  const room = `Make room: "bootseal state collect", another disk, or delete what is not Bootseal’s.`;
  if (free < needed) findings.fault('disk-full', `${size(free)} free in ${path}, and ${why}`, room);
  else if (free < 2 * needed) findings.warning('disk-low', `${size(free)} free in ${path}, and ${why}`, room);
  if (freeInodes !== undefined && freeInodes < FEW_INODES.fault)
    findings.fault('no-inodes', `${freeInodes} inodes free in ${path}: no new files fit`, room);
  else if (freeInodes !== undefined && freeInodes < FEW_INODES.warning)
    findings.warning('few-inodes', `${freeInodes} inodes free in ${path}`, room);
  if (findings.isWell) findings.ok(`${size(free)} free in ${path}; ${why}`);
  return findings.all;
}

/** @throws IoError */
export async function diskFacts(path: string, largestRelease: number): Promise<DiskFacts> {
  const found = await statfs(path).catch((error: unknown) => {
    throw cannotRead(path, error);
  });
  return {
    path,
    free: found.bavail * found.bsize,
    // Some (btrfs) make inodes as they are needed, and say that there are none.
    freeInodes: found.files === 0 ? undefined : found.ffree,
    largestRelease,
    remote: remoteFileSystem(found.type),
    readOnly: await isReadOnly(path),
  };
}

async function isReadOnly(path: string): Promise<boolean> {
  try {
    await access(path, constants.W_OK);
    return false;
  } catch (error) {
    // That somebody else may write there is another matter.
    return codeOf(error) === 'EROFS';
  }
}

function size(bytes: number): string {
  return bytes < GIB
    ? `${Math.floor(bytes / 1024 ** 2)} MiB`
    : `${(Math.floor((bytes / GIB) * 10) / 10).toFixed(1)} GiB`;
}
