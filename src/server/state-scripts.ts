import { Refusal } from '../errors/refusal.ts';
import { decodeDetachedCms } from '../formats/asn1/cms.ts';
import { type BatchScript, decodeScriptBatch } from '../formats/records/script-batch.ts';
import type { BootScript } from '../machines/booter.ts';
import { ChannelScripts } from '../machines/channel-scripts.ts';
import { decodeRules } from '../machines/machine-record.ts';
import type { StoreBackend } from '../store/backend.ts';
import type { StoredSnapshot } from '../store/channels.ts';
import { readBatch, readBatchRules } from '../store/script-batches.ts';
import { readScript, type SignedScript } from '../store/signed-scripts.ts';
import { decodeOr } from '../trust/check.ts';
import { type MachineScript, SCRIPT_NAMES, verifyMachineScript } from '../trust/machine-script-check.ts';
import { nextPolicyMoment } from '../trust/moments.ts';
import type { Verifier } from '../trust/verifier.ts';
import type { HeldRelease } from './held-release.ts';

/**
 * Milliseconds for which a script that verified is not verified again, by the same anchors and policy: a storm of boots asks
 * for each of a thousand. One for iPXE at most until a certificate of its seal ends, or a date of the policy is reached;
 * what ends a key of OpenPGP stands elsewhere, so those for GRUB are looked at each second.
 */
const FRESH = { ipxe: 60_000, grub: 1000 } as const;
/** Scripts that are kept in memory. */
const MOST = 4096;

interface VerifiedScript {
  readonly script: BootScript;
  readonly by: Verifier;
  /** Milliseconds since 1970: when it was verified, and until when that counts. */
  readonly at: number;
  readonly until: number;
}

/** The scripts that the channels of a state name, read once and verified whenever they are given out. */
export class StateScripts {
  readonly #records: StoreBackend;
  /** By the batch's SHA-256: what a snapshot names never changes. */
  #known = new Map<string, ChannelScripts>();
  readonly #kept = new Map<string, SignedScript>();
  readonly #verified = new Map<string, VerifiedScript>();

  constructor(records: StoreBackend) {
    this.#records = records;
  }

  /**
   * What each channel's snapshot says of machines. One whose batch cannot be had boots nobody: what its machines would get
   * instead is not what was signed for them.
   *
   * @throws IoError
   */
  async read(channels: ReadonlyMap<string, StoredSnapshot>): Promise<Map<string, ChannelScripts | Refusal>> {
    const found = new Map<string, ChannelScripts | Refusal>();
    const known = new Map<string, ChannelScripts>();
    for (const [name, { snapshot }] of channels) {
      const { scripts: sha256 } = snapshot;
      if (sha256 === undefined) continue;
      try {
        const one = this.#known.get(sha256) ?? (await readChannelScripts(this.#records, name, sha256));
        known.set(sha256, one);
        found.set(name, one);
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        found.set(name, error);
      }
    }
    this.#known = known;
    return found;
  }

  /**
   * A script and its seal, verified as its loader will.
   *
   * @param boots what the rules say that it is for.
   * @param held of the release that it boots, where it boots one.
   * @throws Refusal, IoError
   */
  async load(
    { loader, sha256, release }: BatchScript,
    boots: MachineScript['starts'] | 'release',
    held: HeldRelease | undefined,
    verifier: Verifier,
  ): Promise<BootScript> {
    if (held?.refusal) throw held.refusal;
    const { now, policy } = verifier;
    const fresh = this.#fresh(sha256, held, verifier);
    if (fresh) return fresh;
    if (release !== undefined && !held)
      throw new Refusal('absent', `${release} is not offered here.`, { release });
    const starts = boots === 'release' ? held?.release : boots;
    if (starts === undefined) throw new Refusal('no-verdict', 'A script of no release boots one.', {});
    const script = await this.#script(loader, sha256);
    const { own } = held?.release.roots ?? verifier.roots;
    await verifyMachineScript({ loader, ...script, starts }, own, policy, now);
    const verified = {
      name: SCRIPT_NAMES[loader],
      ...script,
      starts: typeof boots === 'string' ? boots : 'release',
    };
    if (this.#verified.size > MOST) this.#verified.clear();
    const ends = [loader === 'ipxe' ? endOf(script) : undefined, nextPolicyMoment(policy, now)];
    const until = Math.min(now + FRESH[loader], ...ends.filter((end) => end !== undefined));
    this.#verified.set(keyOf(sha256, held), { script: verified, by: verifier, at: now, until });
    return verified;
  }

  /** What `load` would answer, where it was verified a moment ago; undefined says nothing: `load` does. */
  known({ sha256 }: BatchScript, held: HeldRelease | undefined, verifier: Verifier): BootScript | undefined {
    return held?.refusal ? undefined : this.#fresh(sha256, held, verifier);
  }

  #fresh(sha256: string, held: HeldRelease | undefined, verifier: Verifier): BootScript | undefined {
    const found = this.#verified.get(keyOf(sha256, held));
    if (found?.by !== verifier) return undefined;
    const { now } = verifier;
    return now >= found.at && now < found.until ? found.script : undefined;
  }

  /** What has its digest as name never changes: read once, it is there also while the store is away. */
  async #script(loader: BatchScript['loader'], sha256: string): Promise<SignedScript> {
    const key = `${loader} ${sha256}`;
    const script = this.#kept.get(key) ?? (await readScript(this.#records, loader, sha256));
    if (this.#kept.size > MOST) this.#kept.clear();
    this.#kept.set(key, script);
    return script;
  }
}

/** A script is verified for the release that it boots. */
function keyOf(sha256: string, held: HeldRelease | undefined): string {
  return `${sha256} ${held?.release.manifestSha256 ?? ''}`;
}

/** When the first certificate of a seal ends, milliseconds since 1970. */
function endOf({ seal }: SignedScript): number {
  const { certificates } = decodeOr('the seal', () => decodeDetachedCms(seal));
  return Math.min(...certificates.map(({ notAfter }) => notAfter));
}

/**
 * What a snapshot says of machines: the batch that it names, and the rules that this was made of.
 *
 * @throws Refusal `absent`, `drifted`, `malformed`, `mixed-releases`; IoError.
 */
export async function readChannelScripts(
  records: StoreBackend,
  channel: string,
  sha256: string,
): Promise<ChannelScripts> {
  const bytes = await readBatch(records, sha256);
  const batch = decodeOr(`the batch of scripts of ${channel}`, () => decodeScriptBatch(bytes));
  if (batch.channel !== channel)
    throw new Refusal('mixed-releases', `The snapshot of ${channel} names the scripts of ${batch.channel}.`, {
      channel,
    });
  const rules = await readBatchRules(records, batch.rules);
  return new ChannelScripts(
    batch,
    decodeOr(`the rules of ${channel}`, () => decodeRules(rules)),
  );
}
