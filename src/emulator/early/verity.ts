import { Malformed } from '../../errors/malformed.ts';
import { Refusal } from '../../errors/refusal.ts';
import { bytesContent } from '../../files/measure.ts';
import { decodeSquashfsSuperblock, type SquashfsCompressor } from '../../formats/archive/squashfs.ts';
import type { RequiredCheck } from '../../formats/records/policy-floor.ts';
import { printableText } from '../../formats/records/printable-text.ts';
import { VERITY } from '../../formats/records/seal-names.ts';
import { BLOCK_SIZE } from '../../formats/verity/verity-tree.ts';
import { type Check, prepare } from '../../trust/check.ts';
import { cmsCheck, leafRules } from '../../trust/cms-check.ts';
import { demandRootHash } from '../../trust/plain-checks.ts';
import type { Policy } from '../../trust/policy.ts';
import { examine, type Finding, type Verified } from '../../trust/verify.ts';
import type { BlockDevice, BlockSource } from './block-source.ts';
import type { EarlyKeys } from './keys.ts';
import type { EnforcedManifest } from './manifest.ts';
import { Squashfs } from './squashfs.ts';
import { isKnownCompressor } from './squashfs-unpack.ts';
import { VerityDevice } from './verity-device.ts';

export interface VeritySetting {
  /** Undefined where nothing asked for one. */
  readonly enforced: EnforcedManifest | undefined;
  /** Checks of the root image that the policy floor asks for. */
  readonly required: readonly RequiredCheck[];
  readonly keys: EarlyKeys;
  readonly policy: Policy;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Fetches a record of the release, at most `limit` bytes. */
  fetch(path: string, limit: number): Promise<Uint8Array>;
  /** A file of the release in parts, over whatever can send them. Asks for nothing yet. */
  open(path: string, size: number): BlockSource;
}

/** How much of a file was needed. */
export interface OctetsNeeded {
  readonly path: string;
  /** Bytes that arrived. */
  readonly fetched: number;
  /** Bytes. */
  readonly size: number;
}

/** What stands on the root image, as far as it was read. */
export type RootSeen =
  | {
      readonly fileSystem: 'squashfs';
      readonly compressor: SquashfsCompressor;
      /** PRETTY_NAME of os-release (systemd, os-release(5)). */
      readonly name: string | undefined;
      /** Why reading ended early: blocks that a kernel unpacks, and nothing here does. */
      readonly unread?: string;
    }
  /** Nothing that can be mounted here: the first and the last block were read. */
  | { readonly fileSystem: 'unknown' };

/** What a root under dm-verity took, also where it was then refused. */
export interface VerityReport {
  /** Lower-case hex. */
  readonly rootHash: string;
  /** Who sealed the root hash. */
  readonly signer: string;
  readonly image: OctetsNeeded;
  readonly tree: OctetsNeeded;
  readonly requests: number;
  /** Undefined: it did not come to that. */
  readonly root: RootSeen | undefined;
}

export interface VerityOutcome {
  /** The root image's; empty where none is listed. */
  readonly path: string;
  /** Of the root hash by manifest and CMS; then of every block that was read. */
  readonly findings: readonly Finding[];
  /** The root hash. Undefined unless it, and every block that was read, held. */
  readonly verified: Verified | undefined;
  readonly refusal: Refusal | undefined;
  readonly report: VerityReport | undefined;
}

const SEAL_LIMIT = 64 * 1024;

/**
 * A root image that is never downloaded: its blocks are fetched when they are read, and each is verified against
 * the hash tree whose root hash the manifest names. Two seals must say the same, the manifest's and the root
 * hash's own, since both are what tools look at.
 */
export async function mountVerity(setting: VeritySetting): Promise<VerityOutcome> {
  const state = new Mounting(setting);
  try {
    await state.mount();
    return state.outcome(undefined);
  } catch (error) {
    if (error instanceof Refusal) return state.outcome(error);
    throw error;
  }
}

class Mounting {
  readonly #setting: VeritySetting;
  readonly #findings: Finding[] = [];
  #path = '';
  #verified: Verified | undefined;
  #signer = '';
  #rootHash = '';
  #sources: { readonly image: BlockSource; readonly tree: BlockSource } | undefined;
  #root: RootSeen | undefined;

  constructor(setting: VeritySetting) {
    this.#setting = setting;
  }

  async mount(): Promise<void> {
    const { enforced, required, keys } = this.#setting;
    if (!enforced) {
      throw new Refusal(
        'absent',
        'The command line names no manifest, and without one nothing says which hash tree the root must have; use mode ram.',
      );
    }
    const { manifest, signer } = enforced;
    const [line] = manifest.verity;
    const listed = manifest.files.find(({ role }) => role === 'hashtree');
    if (!line || !listed) {
      throw new Refusal(
        'absent',
        `${manifest.release} lists no hash tree: it was sealed without one, and boots in mode ram only.`,
        { release: manifest.release },
      );
    }
    this.#path = line.path;
    this.#rootHash = line.rootHash;
    // The manifest had a seal by each kind of key that is here, and it binds the tree: an OpenPGP seal of the image is
    // one of its tree. Where that kind is required and no such key is here, nobody looked.
    if (required.includes('openpgp')) keys.manifestKeyring();
    // 1. The root hash, by its own seal and by the manifest.
    await this.#demandSealed(line.path, line.rootHash, signer);
    // 2. The devices. Nothing that they hold is trusted.
    const image = this.#setting.open(line.path, line.dataBlocks * BLOCK_SIZE);
    const tree = this.#setting.open(listed.path, listed.size);
    this.#sources = { image, tree };
    const device = await VerityDevice.open(line, manifest, image, tree);
    // 3. What a kernel reads to mount it.
    this.#root = await readRoot(device, line.path);
    this.#findings.push({
      check: 'verity',
      verified: true,
      evidence: { check: 'verity', signer: this.#signer, signed: true },
    });
  }

  async #demandSealed(path: string, rootHash: string, signer: string): Promise<void> {
    const { policy, now, keys } = this.#setting;
    const name = path + VERITY.rootHash;
    const sealName = name + VERITY.seal;
    const rules = leafRules(keys.manifest(), keys.ca());
    const bytes = await this.#setting.fetch(name, ROOT_HASH_LIMIT);
    const seal = await this.#setting.fetch(sealName, SEAL_LIMIT);
    const checks = [
      listedRootHash(name, bytes, rootHash, signer),
      cmsCheck(sealName, seal, rules, policy, now),
    ];
    const { findings, verified } = await examine(bytesContent(bytes), checks);
    this.#findings.push(...findings);
    for (const finding of findings) {
      if (finding.verified && finding.check === 'cms') this.#signer = finding.evidence.signer;
    }
    // The seal first: a root hash that somebody changed is worse news than another release's.
    for (const finding of findings.toReversed()) if (!finding.verified) throw finding.refusal;
    if (!verified) throw new Refusal('no-verdict', `Nothing signed vouches for ${name}.`, { path: name });
    this.#verified = verified;
  }

  outcome(refusal: Refusal | undefined): VerityOutcome {
    const findings = [...this.#findings];
    if (refusal && findings.every(({ verified }) => verified))
      findings.push({ check: 'verity', verified: false, refusal });
    const verified = refusal ? undefined : this.#verified;
    return { path: this.#path, findings, verified, refusal, report: this.#report() };
  }

  #report(): VerityReport | undefined {
    if (!this.#sources) return undefined;
    const { image, tree } = this.#sources;
    const needed = ({ path, fetched, size }: BlockSource): OctetsNeeded => ({ path, fetched, size });
    return {
      rootHash: this.#rootHash,
      signer: this.#signer,
      image: needed(image),
      tree: needed(tree),
      requests: image.requests + tree.requests,
      root: this.#root,
    };
  }
}

const ROOT_HASH_LIMIT = 1024;

function listedRootHash(name: string, bytes: Uint8Array, rootHash: string, signer: string): Check {
  return prepare('manifest', () => {
    demandRootHash(name, bytes, rootHash);
    return {
      name: 'manifest',
      questions: [],
      conclude: () => ({ check: 'manifest', signer, signed: true }),
    };
  });
}

/** What mounting the image reads, and who it says it is. @throws Refusal `malformed` for a squashfs that cannot be read. */
async function readRoot(device: BlockDevice, path: string): Promise<RootSeen> {
  const first = await device.read(0, BLOCK_SIZE);
  let superblock: ReturnType<typeof decodeSquashfsSuperblock>;
  try {
    superblock = decodeSquashfsSuperblock(first, device.size);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    await device.read(device.size - BLOCK_SIZE, BLOCK_SIZE);
    return { fileSystem: 'unknown' };
  }
  const { compressor } = superblock;
  const seen = { fileSystem: 'squashfs', compressor, name: undefined } as const;
  if (!isKnownCompressor(compressor)) return { ...seen, unread: `${compressor} is not unpacked here` };
  try {
    const root = new Squashfs(device, superblock, compressor);
    await root.mount();
    const release = (await root.read('/etc/os-release')) ?? (await root.read('/usr/lib/os-release'));
    return { ...seen, name: release && prettyName(release) };
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    // Arch's images have blocks with xz's filter for machine code, which the decoder here does not know. What was
    // read was verified, and whether it can be unpacked is not what verifying is about.
    if (error.format !== 'squashfs') return { ...seen, unread: error.message };
    // Every block is the one that was sealed: it was sealed broken.
    throw new Refusal(
      'malformed',
      `${path} is the image that was sealed, and it cannot be mounted: ${error.message}.`,
      { path, format: error.format },
      { cause: error },
    );
  }
}

/** Of os-release(5), a file of shell assignments, without what only a shell would take away. */
function prettyName(osRelease: Uint8Array): string | undefined {
  const text = Buffer.from(osRelease).toString('utf8');
  const [, value] = /^PRETTY_NAME=(.*)$/m.exec(text) ?? [];
  const bare = value?.trim().replace(/^(["'])(.*)\1$/, '$2');
  return bare ? printableText(Buffer.from(bare), 200) : undefined;
}
