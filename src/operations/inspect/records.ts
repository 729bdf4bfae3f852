import { createHash } from 'node:crypto';
import { Malformed } from '../../errors/malformed.ts';
import { type CheckpointFile, decodeCheckpointFile } from '../../formats/records/checkpoint.ts';
import { decodeChecksums } from '../../formats/records/checksums.ts';
import { decodeCountersignature } from '../../formats/records/countersignature.ts';
import { isoSeconds } from '../../formats/records/lines.ts';
import { decodeLogEntry, type LogEntry } from '../../formats/records/log-entry.ts';
import { decodeLogProof } from '../../formats/records/log-proof.ts';
import { decodeManifest, type Manifest } from '../../formats/records/manifest.ts';
import { decodePolicyFloor } from '../../formats/records/policy-floor.ts';
import { decodeSealList, type SealList } from '../../formats/records/seal-list.ts';
import { decodeSigningRequest } from '../../formats/records/signing-request.ts';
import { decodeSnapshot, type Snapshot } from '../../formats/records/snapshot.ts';
import { decodeSuccessors } from '../../formats/records/successors.ts';
import { decodeSuperblock, hashDeviceSize } from '../../formats/verity/dm-verity.ts';
import { BLOCK_SIZE } from '../../formats/verity/verity-tree.ts';
import { whoVerifies } from '../../release/who-verifies.ts';
import { inspectCms } from './cms.ts';
import type { Facts, InspectedKind, Recognised, SealFacts } from './facts.ts';
import { requestFacts } from './requests.ts';

/** What our records of lines say, by the word in their first line. */
const RECORDS = new Map<string, readonly [InspectedKind, (bytes: Uint8Array) => Facts]>([
  ['manifest', ['manifest', (bytes) => manifestFacts(decodeManifest(bytes), bytes)]],
  ['snapshot', ['snapshot', (bytes) => snapshotFacts(decodeSnapshot(bytes))]],
  ['successors', ['successors', successorsFacts]],
  ['countersignature', ['countersignature', (bytes) => timed({ ...decodeCountersignature(bytes) })]],
  ['checkpoint', ['checkpoint', (bytes) => checkpointFacts(decodeCheckpointFile(bytes))]],
  ['log-entry', ['log-entry', (bytes) => entryFacts(decodeLogEntry(bytes))]],
  ['log-proof', ['log-proof', proofFacts]],
  ['seals', ['seal-list', (bytes) => ({ files: sealListFacts(decodeSealList(bytes)) })]],
  ['request', ['request-index', (bytes) => requestFacts(decodeSigningRequest(bytes))]],
  ['policy', ['policy-floor', (bytes) => timed({ ...decodePolicyFloor(bytes) })]],
]);

/** A record by its first line; undefined where that is not one of ours. Throws `Malformed`. */
export function inspectRecord(bytes: Uint8Array): Recognised | undefined {
  const start = Buffer.from(bytes.subarray(0, 64)).toString('latin1');
  const found = RECORDS.get(/^bootseal-([a-z-]+) /.exec(start)?.[1] ?? '');
  if (!found) return undefined;
  const [kind, facts] = found;
  return { kind, facts: facts(bytes) };
}

/** @param bytes the manifest's bytes: scripts and command lines name it by their SHA-256. */
export function manifestFacts(manifest: Manifest, bytes: Uint8Array): Facts {
  return timed({
    ...manifest,
    manifestSha256: createHash('sha256').update(bytes).digest('hex'),
    cmdline: manifest.cmdline.join(' '),
    ...(manifest.moduleCmdline ? { moduleCmdline: manifest.moduleCmdline.join(' ') } : {}),
    free: manifest.free.map(({ name, type }) => `${name} ${type}`),
    verity: manifest.verity.map((verity) => ({ ...verity })),
    files: manifest.files.map((file) => ({ ...file })),
    whoVerifies: whoVerifies(manifest).map(({ what, by, how }) => ({ what, by, how })),
    fsverity: manifest.fsverity.map(({ digest, path }) => ({ fsVerityDigest: digest, path })),
  });
}

function snapshotFacts({ releases, ...rest }: Snapshot): Facts {
  return { ...timed(rest), releases: releases.map((one) => timed({ ...one })) };
}

function successorsFacts(bytes: Uint8Array): Facts {
  const { issued, steps } = decodeSuccessors(bytes);
  return { issued: isoSeconds(issued), steps: steps.map((step) => ({ ...step })) };
}

function checkpointFacts({ checkpoint, seal }: CheckpointFile): Facts {
  return { ...timed({ ...checkpoint }), seal: inspectCms(seal, []).facts };
}

function entryFacts(entry: LogEntry): Facts {
  const { file, refusal, ...rest } = entry;
  return {
    ...timed(rest),
    file: file && `${file.sha256} ${file.path}`,
    refusal: refusal && `${refusal.code}: ${refusal.message}`,
  };
}

function proofFacts(bytes: Uint8Array): Facts {
  const { path, entry, seals, checkpoint } = decodeLogProof(bytes);
  return {
    entry: entryFacts(entry),
    pathLength: path.length,
    checkpoint: checkpointFacts(checkpoint),
    seals: seals && sealListFacts(seals.list),
  };
}

function sealListFacts(list: SealList): readonly Facts[] {
  return [...list].map(([path, digest]) => ({ digest, path }));
}

/** Times of our records are numbers under these names. */
const TIMES: ReadonlySet<string> = new Set(['issued', 'bestBefore', 'expires', 'time', 'clock']);

function timed(facts: Facts): Facts {
  return Object.fromEntries(
    Object.entries(facts).map(([name, fact]) => [
      name,
      TIMES.has(name) && typeof fact === 'number' ? isoSeconds(fact) : fact,
    ]),
  );
}

/** Hash functions by the bytes of their digests. */
const BY_LENGTH: ReadonlyMap<number, string> = new Map([
  [16, 'md5'],
  [20, 'sha1'],
  [28, 'sha224'],
  [32, 'sha256'],
  [48, 'sha384'],
  [64, 'sha512'],
]);

/** A file as sha512sum and its sisters write it; undefined where it does not begin like one. Throws `Malformed`. */
export function inspectChecksums(bytes: Uint8Array): Recognised | undefined {
  const start = Buffer.from(bytes.subarray(0, 160)).toString('latin1');
  const digits = /^\\?([0-9a-f]+) [ *]/.exec(start)?.[1]?.length ?? 0;
  const hash = BY_LENGTH.get(digits / 2);
  if (hash === undefined) return undefined;
  const files = decodeChecksums(bytes, digits / 2).map(({ digest, name }) => ({ digest, name }));
  return {
    kind: 'checksums',
    facts: { hash, files },
    seals: [plainSeal('checksum', hash, files.length === 1 ? '1 file' : `${files.length} files`)],
  };
}

/** @param text 64 hexadecimal digits. */
export function inspectRootHash(text: string): Recognised {
  return {
    kind: 'root-hash',
    facts: { rootHash: text },
    seals: [plainSeal('verity', 'sha256', `root hash ${text}`)],
  };
}

/**
 * The superblock of a hash device. Throws `Malformed`.
 *
 * @param head the device's first block, or what there is of it.
 * @param size of the whole, bytes.
 */
export function inspectSuperblock(head: Uint8Array, size: number): Recognised {
  const { uuid, dataBlocks, salt } = decodeSuperblock(head.subarray(0, BLOCK_SIZE));
  const whole = hashDeviceSize(dataBlocks);
  if (size < whole)
    throw new Malformed('dm-verity hash device', `${size} bytes, and its tree would take ${whole}`);
  return {
    kind: 'verity-superblock',
    seals: [plainSeal('verity', 'sha256', `tree over ${dataBlocks} blocks`)],
    facts: {
      uuid,
      version: 1,
      hashType: 1,
      hash: 'sha256',
      blockSize: BLOCK_SIZE,
      dataBlocks,
      salt: salt.length === 0 ? '-' : Buffer.from(salt).toString('hex'),
      size,
    },
  };
}

function plainSeal(kind: 'checksum' | 'verity', hash: string, says: string): SealFacts {
  const nothing = { signer: undefined, key: undefined, time: undefined };
  return { kind, hash, says, ...nothing, notBefore: undefined, notAfter: undefined };
}
