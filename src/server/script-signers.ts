import { Refusal } from '../errors/refusal.ts';
import { decodeDetachedCms } from '../formats/asn1/cms.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { ChannelScripts } from '../machines/channel-scripts.ts';
import type { StoreBackend } from '../store/backend.ts';
import type { StoredSnapshot } from '../store/channels.ts';
import { readScript } from '../store/signed-scripts.ts';
import { fingerprint } from '../trust/chain.ts';
import { decodeOr } from '../trust/check.ts';
import { signersOf } from '../trust/tree-keys.ts';

/** Scripts of a channel that are asked, the first of them: they were signed together, or one after the other. */
const MOST = 256;

/**
 * By whose certificates machines take the scripts that channels name: those for iPXE, since GRUB knows no dates. A leaf
 * that signs scripts may live for a day, so it ends long before the releases do. Nothing is verified here.
 */
export class ScriptSigners {
  readonly #records: StoreBackend;
  /** By channel. Seals are made anew before a new snapshot, and only then. */
  #known = new Map<string, { readonly counter: number; readonly signers: readonly Certificate[] }>();

  constructor(records: StoreBackend) {
    this.#records = records;
  }

  /** @throws IoError */
  async read(
    channels: ReadonlyMap<string, StoredSnapshot>,
    scripts: ReadonlyMap<string, ChannelScripts | Refusal>,
  ): Promise<ReadonlyMap<string, readonly Certificate[]>> {
    const known = new Map<string, { counter: number; signers: readonly Certificate[] }>();
    for (const [name, { snapshot }] of channels) {
      const { counter } = snapshot;
      const before = this.#known.get(name);
      const of = scripts.get(name);
      if (before?.counter === counter) known.set(name, before);
      else if (of instanceof ChannelScripts) known.set(name, { counter, signers: await this.#signersOf(of) });
    }
    this.#known = known;
    return new Map([...known].map(([name, { signers }]) => [name, signers]));
  }

  async #signersOf({ scripts }: ChannelScripts): Promise<readonly Certificate[]> {
    const found = new Map<string, Certificate>();
    for (const { loader, sha256 } of scripts.filter((each) => each.loader === 'ipxe').slice(0, MOST)) {
      try {
        const { seal } = await readScript(this.#records, loader, sha256);
        const cms = decodeOr(sha256, () => decodeDetachedCms(seal));
        for (const certificate of signersOf(cms)) found.set(fingerprint(certificate), certificate);
      } catch (error) {
        // The machine that asks for it is told; here it ends nothing.
        if (!(error instanceof Refusal)) throw error;
      }
    }
    return [...found.values()];
  }
}
