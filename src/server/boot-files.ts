import type { BootedRelease, BootFile, FindBootFile } from '../boots/boot-files.ts';
import type { Stage } from '../boots/receipt.ts';
import { armedPathOf } from '../formats/records/armed-folder.ts';
import { entryOf } from '../formats/records/entry-folder.ts';
import type { ManifestFile } from '../formats/records/manifest.ts';
import { UKI } from '../formats/records/seal-names.ts';
import { startsOverlay } from '../release/who-verifies.ts';
import type { ServableRelease } from '../trust/verified-release.ts';
import type { Offering } from './offering.ts';

/** The stage of a payload by its role; `file`s are for early userspace, or for an installer. */
const STAGE_OF_ROLE: Readonly<Record<ManifestFile['role'], Stage>> = {
  kernel: 'kernel',
  module: 'kernel',
  initrd: 'initrd',
  overlay: 'initrd',
  rootfs: 'root',
  hashtree: 'root',
  file: 'userspace',
};

const ENTRY_SCRIPT =
  /^\/(?:(?:anchors|channels|machines)\/[^/]+\/)?(?:boot\.ipxe|unverified\.ipxe|grub\.cfg)$/;
const SEAL = /\.sig$/;
const RELEASE = /^\/releases\/([^/]+\/[^/]+)\/(.+)$/;

/**
 * What the names that a server answers to mean for a boot.
 *
 * @param offering what is offered at the moment. @param loaders names at the top of the site that are loaders.
 */
export function bootFiles(offering: () => Offering, loaders: ReadonlySet<string>): FindBootFile {
  const known = new WeakMap<ServableRelease, BootedRelease>();
  const bootedOf = (release: ServableRelease): BootedRelease => {
    const before = known.get(release);
    if (before) return before;
    const booted = bootedRelease(release);
    known.set(release, booted);
    return booted;
  };
  // Asked with every request, while an offering stays as it is.
  const byName = new WeakMap<Offering, ReadonlyMap<string, ServableRelease>>();
  const named = (id: string): ServableRelease | undefined => {
    const now = offering();
    const names = byName.get(now) ?? releasesOf(now);
    byName.set(now, names);
    return names.get(id);
  };
  const ofImage = (release: ServableRelease, begins: boolean): BootFile => {
    const booted = bootedOf(release);
    const holds = release.manifest.files.filter(({ role }) => LOADED.has(role)).map(({ path }) => path);
    return { stage: 'kernel', release: booted, path: UKI, holds, begins };
  };
  const ofRelease = (release: ServableRelease, path: string): BootFile | undefined => {
    if (path === UKI) return ofImage(release, false);
    const booted = bootedOf(release);
    const file = release.manifest.files.find((each) => each.path === path);
    if (file) return { stage: STAGE_OF_ROLE[file.role], release: booted, path };
    if (!release.records.has(path)) return undefined;
    const payload = release.manifest.files.find((each) => path.startsWith(`${each.path}.`));
    // What a loader fetches beside what it starts says only that it is there; the others are asked for by what it started.
    if (payload && LOADED.has(payload.role))
      return { stage: STAGE_OF_ROLE[payload.role], release: booted, path, beside: true };
    if (/^(boot(\.[0-9a-f]+)?\.ipxe|grub\.cfg)(\.sig)?$/.test(path)) return undefined;
    return { stage: 'userspace', release: booted, path };
  };
  return (server, asked) => {
    if (server === 'nbd') {
      const entry = offering().entry.release;
      const id = asked.slice(0, asked.lastIndexOf('/'));
      const release = id === '' ? entry : named(id);
      const image = release?.manifest.files.find(({ role }) => role === 'rootfs');
      return release && image && { stage: 'root', release: bootedOf(release), path: image.path };
    }
    const whole = asked.startsWith('/') ? asked : `/${asked}`;
    const path = armedPathOf(whole)?.rest ?? whole;
    const inside = RELEASE.exec(path);
    if (inside) {
      const release = named(inside[1] ?? '');
      return release && ofRelease(release, inside[2] ?? '');
    }
    const entry = entryOf(path);
    const rest = entry?.rest ?? path;
    if (rest === `/${UKI}`) {
      const held = entry ? offering().byArch.get(entry.arch) : offering().entry;
      return held && ofImage(held.release, true);
    }
    if (ENTRY_SCRIPT.test(rest)) return { stage: 'script', path: rest, begins: true };
    if (SEAL.test(rest) && ENTRY_SCRIPT.test(rest.replace(SEAL, '')))
      return { stage: 'script', path: rest, beside: true };
    if (loaders.has(rest.slice(1))) return { stage: 'loader', path: rest, begins: true };
    // It asks for it by itself, and goes on without.
    if (/^\/autoexec(-[a-z]+)?\.ipxe$/.test(rest)) return { stage: 'loader', path: rest, beside: true };
    return undefined;
  };
}

/** By name: of two the one that is offered now, and of those the first. */
function releasesOf({ releases, former }: Offering): ReadonlyMap<string, ServableRelease> {
  const all = [...releases, ...former].map(({ release }) => [release.release, release] as const);
  return new Map(all.reverse());
}

const LOADED: ReadonlySet<string> = new Set(['kernel', 'module', 'initrd', 'overlay']);

function bootedRelease({ release, manifest }: ServableRelease): BootedRelease {
  const [verity] = manifest.verity;
  return {
    release,
    needs: manifest.files.filter(({ role }) => LOADED.has(role) || role === 'rootfs').map(({ path }) => path),
    reports: startsOverlay(manifest),
    ...(verity === undefined ? {} : { rootHash: verity.rootHash }),
  };
}
