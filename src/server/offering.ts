import { Refusal } from '../errors/refusal.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { entryOf } from '../formats/records/entry-folder.ts';
import type { BatchScript } from '../formats/records/script-batch.ts';
import { SEAL, UKI } from '../formats/records/seal-names.ts';
import type { BootScript } from '../machines/booter.ts';
import type { ChannelScripts } from '../machines/channel-scripts.ts';
import { bytesResource } from '../release/bytes-resource.ts';
import { releaseSite } from '../release/release-site.ts';
import type { Resource, Site } from '../release/site.ts';
import { unverifiedThings } from '../release/who-verifies.ts';
import { SNAPSHOT, type StoredSnapshot } from '../store/channels.ts';
import { day } from '../trust/policy.ts';
import { FetchedPayload } from './fetched-payload.ts';
import type { HeldRelease } from './held-release.ts';

/** What a server offers at one moment; it is swapped as a whole. */
export interface Offering {
  /** The release behind `/boot.ipxe` and `/grub.cfg`. */
  readonly entry: HeldRelease;
  /** The releases behind `/entries/ARCH`, by that architecture; the entry is one of them. */
  readonly byArch: ReadonlyMap<string, HeldRelease>;
  /** All of them, the entry first. */
  readonly releases: readonly HeldRelease[];
  /**
   * What this process offered before: machines that run it keep their root, and those that are in the middle of a boot
   * finish it.
   */
  readonly former: readonly HeldRelease[];
  /** Of a state: its channels' snapshots. */
  readonly channels: ReadonlyMap<string, StoredSnapshot>;
  /** Of a state: the certificates that those are signed by, several while one key takes another's place. */
  readonly snapshotKeys?: readonly Certificate[];
  /** Of a state: by channel, whose certificates the scripts of its machines carry. */
  readonly scriptSigners?: ReadonlyMap<string, readonly Certificate[]>;
  /** Of a state: who gets what by name. */
  readonly machines?: OfferedMachines;
  /** What of it was refused when it was loaded: one sentence each. */
  readonly warnings: readonly string[];
}

/** What a state says of machines. */
export interface OfferedMachines {
  /** The channel that counts where nobody named one. */
  readonly entry: string;
  /** Every channel's releases, by architecture. */
  readonly channels: ReadonlyMap<string, ReadonlyMap<string, HeldRelease>>;
  readonly scripts: ReadonlyMap<string, ChannelScripts | Refusal>;
  /** A script and its seal, verified as of now. @throws Refusal */
  load(channel: string, script: BatchScript): Promise<BootScript>;
  /** The same, where it was verified a moment ago, and that counts now; undefined: `load` does, or says why not. */
  known(channel: string, script: BatchScript): BootScript | undefined;
}

/**
 * What an operator should know, though machines boot: one sentence each.
 *
 * @param now milliseconds since 1970.
 */
export function warningsOf(offering: Offering, now: number): readonly string[] {
  const ended = offering.releases.flatMap(({ release, refusal }) =>
    refusal ? [`no machine starts ${release.release} any more: ${refusal.message}`] : [],
  );
  const unverified = offering.releases.flatMap(({ release, refusal }) =>
    refusal
      ? []
      : unverifiedThings(release.manifest).map(
          ({ what }) => `on a machine that boots ${release.release}, NOBODY verifies ${what}`,
        ),
  );
  return [...ended, ...unverified, ...channelWarnings(offering, now)];
}

/** The same of channels alone. An old snapshot tells mirrors and auditors; machines do not look at snapshots. */
export function channelWarnings({ channels, warnings }: Offering, now: number): readonly string[] {
  const old = [...channels].flatMap(([name, { snapshot }]) =>
    now > snapshot.expires
      ? [
          `the snapshot of ${name} ended on ${day(snapshot.expires)}: mirrors and auditors refuse it until "bootseal channel renew ${name}"; machines boot on`,
        ]
      : [],
  );
  return [...old, ...warnings];
}

/** Where offerings come from: a tree, which stays, or a state folder, whose channels move. */
export interface OfferingSource {
  /** @throws Refusal where the entry cannot be offered; UsageError; IoError. */
  load(): Promise<Offering>;
  /** Whether there may be something new since the last `load`. @throws IoError */
  changed(): Promise<boolean>;
  /** Judges a release again as of now. @returns whether the answer is another than before. */
  judge(release: HeldRelease): Promise<boolean>;
}

/** Whose paths are the table's and the releases'. @param extra rendered scripts and loaders, by path. @param payload how payload is read. */
export function offeredSite(
  offering: Offering,
  extra: ReadonlyMap<string, Resource>,
  payload = new FetchedPayload(undefined),
): Site {
  const { entry, byArch, releases, former, channels } = offering;
  const table = new Map(extra);
  for (const [name, { bytes, seal }] of channels) {
    table.set(`channels/${name}`, bytesResource(SNAPSHOT, bytes, false));
    table.set(`channels/${name}${SEAL.cms}`, bytesResource(SNAPSHOT + SEAL.cms, seal, false));
  }
  const siteOf = (held: HeldRelease, more: ReadonlyMap<string, Resource>) =>
    releaseSite(held.release, more, { ended: () => held.refusal, cut: () => held.cut }, (path, file) =>
      payload.resource(held.release, path, file),
    );
  const first = siteOf(entry, table);
  const images = new Map([...byArch].map(([arch, held]) => [arch, siteOf(held, new Map())]));
  const others = new Map<string, Site[]>();
  for (const held of [...releases, ...former]) {
    if (held === entry) continue;
    const { release } = held.release;
    others.set(release, [...(others.get(release) ?? []), siteOf(held, new Map())]);
  }
  /** Entry scripts are the first site's; of the others only what stands below /releases/. */
  const othersAt = (path: string): readonly Site[] => {
    const [, id] = RELEASE.exec(path) ?? [];
    return (id === undefined ? undefined : others.get(id)) ?? [];
  };
  return {
    known(path) {
      let answer = first.known?.(path);
      if (answer) return answer;
      for (const site of othersAt(path)) {
        answer = site.known?.(path);
        if (answer) break;
      }
      return answer;
    },
    async find(path) {
      // Firmware keeps the name that DHCP told it over releases, as it does at the top.
      const wanted = entryOf(path);
      const image = wanted?.rest === `/${UKI}` ? images.get(wanted.arch) : undefined;
      if (image) return image.find(`/${UKI}`);
      let answer: Resource | Refusal = await first.find(path);
      for (const site of othersAt(path)) {
        if (!(answer instanceof Refusal) || answer.code !== 'absent') break;
        answer = await site.find(path);
      }
      return answer;
    },
  };
}

/** Of a file of a release: which one it is. */
const RELEASE = /^\/releases\/([^/]+\/[^/]+)\//;
