import { join } from 'node:path';
import { UsageError } from '../errors/usage.ts';
import { isThere } from '../files/read-if-there.ts';
import { ISSUING_CA } from '../signing/keys/key-folder.ts';
import { channelNames, readChannel } from '../store/channels.ts';
import { readAnchorFile, readAnchorFolder } from '../trust/anchor-folder.ts';
import { decodeCertificates } from '../trust/anchors.ts';
import { Endings, type StatusItem, WARN_DAYS } from '../trust/endings.ts';
import { readTreeKeys, type TreeKeys } from '../trust/tree-keys.ts';

export interface KeysStatusOptions {
  /**
   * `anchors/` folders, or the `init` folders around them; several while a CA is being replaced. None: what the state
   * itself holds and what the seals of its releases carry.
   */
  readonly anchors: readonly string[];
  /** Sealed trees. */
  readonly trees?: readonly string[];
  /** A STATE folder: the releases that its channels point at, and the channels themselves. */
  readonly state?: string;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Ends nearer than that are due; 30. */
  readonly warnDays?: number;
}

export interface KeysStatus {
  /** The first to end comes first, what never ends last. */
  readonly items: readonly StatusItem[];
  /** The first of those in use that is still to end. */
  readonly next: StatusItem | undefined;
  readonly due: readonly StatusItem[];
  /** True: there were no anchors, so the keys of early userspace and GRUB are not among the items. */
  readonly seenOnly: boolean;
}

/**
 * Every key and certificate that the given trees, releases and loaders depend on, and what ends with each. An
 * inventory: it reads what seals say of their signers and verifies none of them.
 *
 * @throws Refusal where a tree or folder is not what it should be.
 */
export async function keysStatus(options: KeysStatusOptions): Promise<KeysStatus> {
  const found = new Endings();
  const trees = await treesOf(options);
  const anchors = [...options.anchors];
  if (anchors.length === 0 && options.state !== undefined && (await holdsAnchors(options.state)))
    anchors.push(options.state);
  for (const folder of anchors) await addAnchors(found, folder, trees);
  for (const tree of trees) found.release(tree);
  if (options.state !== undefined) await addChannels(found, options.state);
  const { now, warnDays = WARN_DAYS } = options;
  const items = found.items(now, warnDays);
  return {
    items,
    next: items.find(({ inUse, ends }) => inUse && ends !== undefined && ends >= now),
    due: items.filter(({ due }) => due),
    seenOnly: anchors.length === 0,
  };
}

/** A state knows its snapshot key, and the anchors of its releases where somebody has put them there. */
function holdsAnchors(state: string): Promise<boolean> {
  return isThere(join(state, 'anchors', 'ca.crt'));
}

/** Of the trees and the channels' releases, each once. */
async function treesOf({ trees = [], state }: KeysStatusOptions): Promise<TreeKeys[]> {
  const paths = new Set(trees);
  if (state !== undefined) {
    for (const channel of await channelNames(state)) {
      const current = await readChannel(state, channel);
      for (const { release } of current?.snapshot.releases ?? []) paths.add(join(state, 'releases', release));
    }
  }
  return Promise.all([...paths].map(readTreeKeys));
}

/** What the folder of a site says beside its anchors: the CA that issues, the boot leaf, the snapshot key. */
async function addAnchors(found: Endings, folder: string, trees: readonly TreeKeys[]): Promise<void> {
  found.anchors(await readAnchorFolder(folder), trees);
  const certificates = async (name: string) => {
    const bytes = await readAnchorFile(folder, name);
    return bytes ? decodeCertificates(name, bytes) : [];
  };
  for (const ca of await certificates(ISSUING_CA)) found.certificate('ca', ca, undefined, true);
  for (const leaf of await certificates('boot.crt')) found.certificate('boot', leaf, undefined, true);
  const [own] = await certificates('snapshot.crt');
  // Where a channel is signed by another key, this one is nobody's yet.
  if (own) found.certificate('snapshot key', own, undefined, false);
}

async function addChannels(found: Endings, state: string): Promise<void> {
  const bytes = await readAnchorFile(state, 'snapshot.crt');
  const keys = bytes ? decodeCertificates('snapshot.crt', bytes) : [];
  const names = await channelNames(state);
  if (names.length === 0) {
    throw new UsageError(`There is no channel in ${state}: "bootseal publish" makes one.`);
  }
  for (const channel of names) {
    const current = await readChannel(state, channel);
    if (current) found.channel(channel, current.snapshot, current.seal, keys);
  }
}
