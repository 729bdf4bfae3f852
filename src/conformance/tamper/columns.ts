import type { BootEvent } from '../../emulator/machine-verdict.ts';
import type { Handover, Offer } from '../../emulator/offer.ts';
import type { Transport } from '../../emulator/transport.ts';
import { codeOf, IoError } from '../../errors/io.ts';
import { Refusal, type RefusalCode } from '../../errors/refusal.ts';
import { FolderTree } from '../../files/folder-tree.ts';
import { linuxOf, type Manifest } from '../../formats/records/manifest.ts';
import type { Policy } from '../../trust/policy.ts';
import { DEFAULT_POLICY_FILE } from '../../trust/policy-file.ts';
import { verifySnapshot } from '../../trust/snapshot-check.ts';
import { Verifier } from '../../trust/verifier.ts';
import { CLIENTS, type ClientName } from '../client-names.ts';
import { runClients } from '../clients.ts';
import { treeTransport } from '../tree-transport.ts';
import type { Staged } from './attack.ts';
import type { Column } from './matrix-columns.ts';
import type { TamperSite } from './site.ts';

/** What one column said, before anybody asks whether that was right. */
export type Said =
  | { readonly kind: 'verified' }
  | { readonly kind: 'refused'; readonly code: RefusalCode; readonly message: string }
  /** Neither yes nor a named no. */
  | { readonly kind: 'crashed'; readonly message: string };

/** An address that is nobody's (RFC 5737). */
const BASE = 'http://192.0.2.1:8080';
/** The channel whose snapshots are tried. */
export const CHANNEL = 'stable';

/** Shows a staged attack to columns, and hears what each says. */
export class Columns {
  readonly #site: TamperSite;
  readonly #policy: Policy;
  readonly #machines: Policy;
  readonly #onProgress: () => void;
  /** What `onProgress` threw: the end of the run, and no client's breakdown. */
  #stopped: { readonly error: unknown } | undefined;

  /** @param policy the operator's; of it, machines know only what their own tools do. */
  constructor(site: TamperSite, policy: Policy, onProgress: () => void) {
    this.#site = site;
    this.#policy = policy;
    this.#onProgress = () => {
      try {
        onProgress();
      } catch (error) {
        this.#stopped = { error };
        throw error;
      }
    };
    // iPXE, GRUB, gpg and openssl know nothing that an operator struck off, and take SHA-1. A matrix that
    // lent them our policy would promise what no machine keeps.
    const { sha1: _, ...hashCutoff } = policy.hashCutoff;
    this.#machines = { ...policy, hashCutoff, revoked: [], pins: [] };
  }

  /**
   * The clients that this release starts: one without a root image starts no archiso, and an initramfs without keys for
   * records, such as archiso's own, holds nothing against the manifest.
   */
  async clients(): Promise<readonly ClientName[]> {
    // As a loader hands over, and not as the matrix starts archiso.
    const { handover: _, ...offer } = this.#offer({});
    const verdicts = await runClients(offer);
    return verdicts.filter(({ asked }) => asked).map(({ client }) => client);
  }

  async ask(columns: readonly Column[], staged: Staged): Promise<Map<Column, Said>> {
    const clients = CLIENTS.filter((name) => columns.includes(name));
    // The judge of a tree hashes in threads of its own, so both get along.
    const [machines, tree] = await Promise.all([
      this.#clients(clients, staged),
      columns.includes('tree') ? hear(() => this.#tree(staged)) : undefined,
    ]);
    if (this.#stopped) throw this.#stopped.error;
    const said = new Map<Column, Said>(machines);
    if (tree) said.set('tree', tree);
    if (columns.includes('snapshot')) said.set('snapshot', await hear(() => this.#snapshot(staged)));
    return said;
  }

  /** The paths that a column asks a server for, in an untouched release; absent ones too. */
  async reads(client: ClientName): Promise<{ all: ReadonlySet<string>; own: ReadonlySet<string> }> {
    const all = new Set<string>();
    const own = new Set<string>();
    const offer = this.#offer({});
    const recording: Transport = {
      fetch: (url, options) => {
        all.add(this.#pathOf(url));
        // Early userspace comes after iPXE and is no part of it.
        if (!client.startsWith('ipxe')) own.add(this.#pathOf(url));
        return offer.transport.fetch(url, options);
      },
    };
    const onEvent = (event: BootEvent) => {
      if (client.startsWith('ipxe') && event.stage === 'loader' && event.kind === 'fetch') {
        own.add(this.#pathOf(event.url));
      }
    };
    await runClients({ ...offer, transport: recording, onEvent }, [client]);
    return { all, own };
  }

  #pathOf(url: string): string {
    const path = new URL(url).pathname;
    const inside = `/releases/${this.#site.release}/`;
    return path.startsWith(inside) ? path.slice(inside.length) : path.slice(1);
  }

  #offer(staged: Staged): Offer {
    const { manifest, copy, anchors, now } = this.#site;
    const tree = staged.tree ?? copy.folder;
    const releases = [staged.release ?? manifest.release, ...(staged.also ?? [])];
    const transports = releases.map((release) => treeTransport(tree, release));
    const inner: Transport = {
      fetch(url, options) {
        const path = new URL(url).pathname;
        const at = releases.findIndex((release) => path.startsWith(`/releases/${release}/`));
        return (transports[Math.max(at, 0)] ?? (transports[0] as Transport)).fetch(url, options);
      },
    };
    return {
      transport: staged.endless === undefined ? inner : withoutEnd(staged.endless, inner),
      base: BASE,
      anchors,
      policy: this.#machines,
      now: staged.now ?? now,
      arch: manifest.arch,
      handover: handover(manifest, releases[0] ?? '', staged),
    };
  }

  /** All in one go, since they share what an emulated boot found out; one by one where that breaks. */
  async #clients(clients: readonly ClientName[], staged: Staged): Promise<Map<ClientName, Said>> {
    if (clients.length === 0) return new Map();
    const said = new Map<ClientName, Said>();
    try {
      for (const { client, refusal } of await runClients(this.#offer(staged), clients)) {
        said.set(client, refusal ? spoken(refusal) : { kind: 'verified' });
      }
      return said;
    } catch {
      for (const client of clients) {
        said.set(
          client,
          await hear(async () => {
            const [verdict] = await runClients(this.#offer(staged), [client]);
            if (verdict?.refusal) throw verdict.refusal;
          }),
        );
      }
      return said;
    }
  }

  async #tree({ tree, now = this.#site.now, treePolicy }: Staged): Promise<void> {
    const policy = treePolicy ?? { ...this.#policy, asOf: now, clock: now };
    const roots = { own: this.#site.anchors, others: [], anchored: true };
    const verifier = new Verifier(roots, { ...DEFAULT_POLICY_FILE, at: () => policy }, () => now);
    const verdict = await verifier.verify(
      new FolderTree(tree ?? this.#site.copy.folder, { onProgress: this.#onProgress }),
    );
    if (verdict.refusal) throw verdict.refusal;
    if (!verdict.release) throw new Refusal('no-verdict', 'Nothing vouches for this tree.', {});
  }

  async #snapshot({ snapshot, now = this.#site.now }: Staged): Promise<void> {
    if (!snapshot) throw new RangeError('an attack on a channel without a snapshot');
    const { bytes, seal, known } = snapshot;
    const { certificate } = await this.#site.snapshotKey();
    await verifySnapshot(CHANNEL, bytes, seal, certificate, this.#policy, now, known);
  }
}

/** What archiso is started with by a loader that checked nothing: each column answers for itself alone. */
function handover(
  manifest: Manifest,
  release: string,
  { words = (same) => same, initrds: added = [] }: Staged,
): Handover {
  const files = `${BASE}/releases/${release}/`;
  const initrds = ['initrd', 'overlay']
    .flatMap((role) => manifest.files.filter((file) => file.role === role))
    .map(({ path }) => path);
  return {
    cmdline: words([...linuxOf(manifest).cmdline, `archiso_http_srv=${files}`]).join(' '),
    initrds: [...initrds, ...added].map((path) => files + path),
  };
}

const MIB = 1024 * 1024;
/** Whoever has read so many of an endless file would have read on: the machine's memory ends somewhere. */
const ENOUGH = 96 * MIB;

/** A server that says nothing of a length and never stops sending. */
function withoutEnd(path: string, inner: Transport): Transport {
  return {
    async fetch(url, options) {
      if (!new URL(url).pathname.endsWith(`/${path}`)) return inner.fetch(url, options);
      return { url, size: undefined, partial: false, body: zeros(path) };
    },
  };
}

async function* zeros(path: string): AsyncIterable<Uint8Array> {
  for (let sent = 0; sent < ENOUGH; sent += MIB) yield new Uint8Array(MIB);
  // The fact says that nobody stopped: it is no refusal, whatever ends this run.
  throw new Refusal('no-verdict', `Whoever fetched ${path} was still reading.`, { started: path });
}

async function hear(work: () => Promise<void>): Promise<Said> {
  try {
    await work();
    return { kind: 'verified' };
  } catch (error) {
    return spoken(error);
  }
}

function spoken(error: unknown): Said {
  // What this machine could not do says nothing about any client: it ends the run.
  if (error instanceof IoError || codeOf(error) !== undefined) throw error;
  if (!(error instanceof Refusal)) return { kind: 'crashed', message: String(error) };
  // A loader that went on all the same: nobody said no, whatever the emulation makes of it.
  if (error.code === 'no-verdict' && error.facts.started !== undefined) return { kind: 'verified' };
  return { kind: 'refused', code: error.code, message: error.message };
}
