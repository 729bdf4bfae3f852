import type { BootCounts } from '../boots/boot-index.ts';
import { Refusal } from '../errors/refusal.ts';
import { linuxOf } from '../formats/records/manifest.ts';
import { unverifiedThings, whoVerifies } from '../release/who-verifies.ts';
import type { ChannelRow, DriftedFile, ReleaseFacts, ReleaseRow } from '../web/facts.ts';
import type { DriftWatch } from './drift-watch.ts';
import type { HeldRelease } from './held-release.ts';
import type { Offering } from './offering.ts';
import { dayFacts } from './web-boots.ts';

/** Releases and channels as the pages show them. */

export function releaseRows(offering: Offering, drift: DriftWatch): readonly ReleaseRow[] {
  return [...offering.releases, ...offering.former].map((held) => releaseRow(held, offering, drift));
}

export function releaseRow(held: HeldRelease, offering: Offering, drift: DriftWatch): ReleaseRow {
  const { release, manifest, anchored, manifestSha256 } = held.release;
  const channels = [...offering.channels].flatMap(([name, { snapshot }]) =>
    snapshot.releases.some(({ manifest: named }) => named === manifestSha256) ? [name] : [],
  );
  const drifted: DriftedFile[] = drift.of(release).map(({ path, why }) => ({ path, why }));
  return {
    release,
    arch: manifest.arch,
    layout: manifest.layout,
    issued: manifest.issued,
    bestBefore: manifest.bestBefore,
    channels,
    entry: held === offering.entry,
    former: offering.former.includes(held),
    anchored,
    ...(held.refusal === undefined ? {} : { ended: held.refusal.message }),
    cut: held.cut !== undefined,
    drifted,
    bytes: manifest.files.reduce((sum, { size }) => sum + size, 0),
    unverified: unverifiedThings(manifest).length,
  };
}

/** @param counts of its boots of the last 24 hours, which began at `since`. */
export function releaseFacts(
  held: HeldRelease,
  offering: Offering,
  drift: DriftWatch,
  counts?: { readonly counts: BootCounts; readonly since: number },
): ReleaseFacts {
  const row = releaseRow(held, offering, drift);
  const { manifest, manifestSha256, records } = held.release;
  const names = [...records.keys()];
  const files = manifest.files.map(({ path, role, size, sha256 }) => {
    const why = row.drifted.find((each) => each.path === path)?.why;
    const seals = names.filter((name) => isBeside(name, path, manifest.files));
    return { path, role, size, sha256, seals, ...(why === undefined ? {} : { drifted: why }) };
  });
  const beside = new Set(files.flatMap(({ seals }) => seals));
  const [verity] = manifest.verity;
  return {
    ...row,
    serial: manifest.serial,
    manifestSha256,
    cmdline: linuxOf(manifest).cmdline,
    free: manifest.free.map(({ name, type }) => `${name} ${type}`),
    ...(verity === undefined ? {} : { rootHash: verity.rootHash }),
    files,
    records: names.filter((name) => !beside.has(name)),
    machine: whoVerifies(manifest),
    ...(counts === undefined ? {} : { day: dayFacts(counts.counts, counts.since) }),
  };
}

/** A seal of a file; what stands beside a longer name of a payload is that one's. */
function isBeside(name: string, path: string, files: readonly { readonly path: string }[]): boolean {
  if (!name.startsWith(`${path}.`)) return false;
  return !files.some((other) => other.path.length > path.length && name.startsWith(`${other.path}.`));
}

/** @param now milliseconds since 1970. */
export function channelRows(offering: Offering, drift: DriftWatch, now: number): readonly ChannelRow[] {
  const held = [...offering.releases];
  return [...offering.channels].map(([channel, { snapshot }]) => ({
    channel,
    counter: snapshot.counter,
    issued: snapshot.issued,
    expires: snapshot.expires,
    expired: now > snapshot.expires,
    entry: offering.machines?.entry === channel,
    releases: snapshot.releases.map(({ arch, release, manifest, rollbackFrom }) => {
      const one = held.find(({ release: { manifestSha256 } }) => manifestSha256 === manifest);
      return {
        arch,
        release,
        ...(rollbackFrom === undefined ? {} : { rollbackFrom }),
        ...(one?.refusal === undefined ? {} : { ended: one.refusal.message }),
        drifted: drift.of(release).length > 0,
        offered: one !== undefined,
      };
    }),
    ...scriptsOf(offering, channel),
  }));
}

function scriptsOf({ machines }: Offering, channel: string): { scripts?: string } {
  const of = machines?.scripts.get(channel);
  if (of === undefined) return {};
  if (of instanceof Refusal) return { scripts: `REFUSED: ${of.message}` };
  const { machines: known, groups } = of.matcher.rules;
  return { scripts: `${of.scripts.length} scripts for ${known.length} machines, ${groups.length} groups` };
}
