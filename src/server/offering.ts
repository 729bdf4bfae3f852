import { type FSWatcher, watch } from 'node:fs';
import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { SEAL } from '../formats/records/seal-names.ts';
import { bytesResource } from '../release/bytes-resource.ts';
import { releaseSite } from '../release/release-site.ts';
import type { Resource, Site } from '../release/site.ts';
import { channelNames, readChannel, SNAPSHOT, type StoredSnapshot } from '../store/channels.ts';
import { readCertificatesFile } from '../trust/certificates-file.ts';
import { defaultPolicy } from '../trust/policy.ts';
import { verifySnapshot } from '../trust/snapshot-check.ts';
import type { LoadedRelease } from '../trust/verified-release.ts';
import { fittingAnchors, loadRelease } from './served-release.ts';

/** What a server offers at one moment; it is swapped as a whole. */
export interface Offering {
  /** The release behind `/boot.ipxe` and `/grub.cfg`. */
  readonly entry: LoadedRelease;
  /** All of them, the entry first. */
  readonly releases: readonly LoadedRelease[];
  /** @param extra rendered scripts and loaders, by path. */
  site(extra: ReadonlyMap<string, Resource>): Site;
}

/** Where offerings come from: a tree, which stays, or a state folder, whose channels move. */
export interface OfferingSource {
  /** @param now milliseconds since 1970. Throws a `Refusal`. */
  load(now: number): Promise<Offering>;
  /** Calls back when there may be something new; answers how to end that. */
  watch(moved: () => void): () => void;
}

export type OnProgress = (path: string, octets: number, size: number) => void;

export function treeSource(
  tree: string,
  anchors: string | undefined,
  onProgress?: OnProgress,
  otherAnchors: readonly string[] = [],
): OfferingSource {
  return {
    async load(now) {
      const entry = await loadRelease({
        tree,
        anchors,
        otherAnchors,
        now,
        ...(onProgress ? { onProgress } : {}),
      });
      return { entry, releases: [entry], site: (extra) => releaseSite(entry, extra) };
    },
    watch: () => () => {},
  };
}

export interface StateSourceOptions {
  readonly state: string;
  /** Whose release is the entry; default: the only channel there is. */
  readonly channel?: string;
  readonly anchors: string;
  /** Of other CAs: each release is judged by those it was sealed for. */
  readonly otherAnchors?: readonly string[];
  readonly onProgress?: OnProgress;
}

/** The release of every channel, each verified before it is offered, and the channels' snapshots. */
export function stateSource(options: StateSourceOptions): OfferingSource {
  const { state, anchors, otherAnchors = [], onProgress } = options;
  const loaded = new Map<string, LoadedRelease>();
  // The channel it began with stays its own, however many come to stand beside it.
  let chosen = options.channel;
  return {
    async load(now) {
      const channels = await verifiedChannels(state, now);
      const entryName = entryChannel(channels, state, chosen);
      chosen = entryName;
      const wanted = new Map<string, LoadedRelease>();
      for (const { snapshot } of channels.values()) {
        const { release, manifest } = snapshot;
        // What was verified stays so: its files are pinned, and one that drifts is not served.
        const known = loaded.get(manifest);
        const tree = join(state, 'releases', release);
        const fresh =
          known ??
          (await loadRelease({
            tree,
            ...(await fittingAnchors(tree, [anchors, ...otherAnchors])),
            now,
            ...(onProgress ? { onProgress } : {}),
          }));
        if (fresh.manifestSha256 !== manifest) {
          throw new Refusal(
            'mixed-releases',
            `${release} in ${state} is not the one that its channel names.`,
            {
              release,
            },
          );
        }
        wanted.set(manifest, fresh);
      }
      loaded.clear();
      for (const [manifest, release] of wanted) loaded.set(manifest, release);
      const entry = wanted.get(channels.get(entryName)?.snapshot.manifest ?? '');
      if (!entry)
        throw new Refusal('absent', `There is no channel ${entryName} in ${state}.`, { channel: entryName });
      const releases = [entry, ...[...wanted.values()].filter((release) => release !== entry)];
      return { entry, releases, site: (extra) => stateSite(entry, releases, channels, extra) };
    },
    watch(moved) {
      const watchers: FSWatcher[] = [watch(join(state, 'channels'), { recursive: true }, moved)];
      return () => {
        for (const watcher of watchers) watcher.close();
      };
    },
  };
}

async function verifiedChannels(state: string, now: number): Promise<Map<string, StoredSnapshot>> {
  const signers = await readCertificatesFile(join(state, 'anchors', 'snapshot.crt'));
  const channels = new Map<string, StoredSnapshot>();
  for (const name of await channelNames(state)) {
    const stored = await readChannel(state, name);
    if (!stored) continue;
    await verifySnapshot(name, stored.bytes, stored.seal, signers, defaultPolicy(now), now);
    channels.set(name, stored);
  }
  return channels;
}

/** Asked before any release is read: a misspelt name shall not cost a pass over every image. */
function entryChannel(
  channels: ReadonlyMap<string, StoredSnapshot>,
  state: string,
  chosen: string | undefined,
): string {
  const names = [...channels.keys()];
  const [only, ...others] = names;
  if (only === undefined) {
    throw new Refusal('absent', `${state} has no channel yet: "bootseal publish" makes one.`, {});
  }
  if (chosen !== undefined && !channels.has(chosen)) {
    throw new Refusal('absent', `There is no channel ${chosen} in ${state}; there are ${names.join(', ')}.`, {
      channel: chosen,
    });
  }
  if (chosen !== undefined) return chosen;
  if (others.length === 0) return only;
  throw new Refusal(
    'absent',
    `${state} has several channels; name one with --channel: ${names.join(', ')}.`,
    { channels: channels.size },
  );
}

function stateSite(
  entry: LoadedRelease,
  releases: readonly LoadedRelease[],
  channels: ReadonlyMap<string, StoredSnapshot>,
  extra: ReadonlyMap<string, Resource>,
): Site {
  const table = new Map(extra);
  for (const [name, { bytes, seal }] of channels) {
    table.set(`channels/${name}`, bytesResource(SNAPSHOT, bytes, false));
    table.set(`channels/${name}${SEAL.cms}`, bytesResource(SNAPSHOT + SEAL.cms, seal, false));
  }
  const others = releases
    .filter((release) => release !== entry)
    .map((release) => releaseSite(release, new Map()));
  const sites = [releaseSite(entry, table), ...others];
  return {
    async find(path) {
      let answer = await sites[0]?.find(path);
      // Entry scripts are the first site's; of the others only what stands below /releases/.
      if (answer instanceof Refusal && answer.code === 'absent' && path.startsWith('/releases/')) {
        for (const site of others) {
          const found = await site.find(path);
          if (!(found instanceof Refusal) || found.code !== 'absent') answer = found;
        }
      }
      return answer ?? new Refusal('absent', `This server does not serve ${path}.`, { path });
    },
  };
}
