import { Refusal } from '../errors/refusal.ts';
import type { Manifest } from '../formats/records/manifest.ts';
import { UKI } from '../formats/records/seal-names.ts';
import { bytesResource } from './bytes-resource.ts';
import { fileResource } from './file-resource.ts';
import type { PinnedFile } from './pin.ts';
import { isPromised, type PromisedFile } from './promised-file.ts';
import type { Resource, Site } from './site.ts';

/** A file of a release: of this machine, or one that is promised. */
export type ServedFile = PinnedFile | PromisedFile;

/** A verified release, as far as serving needs to know it. */
export interface ServedRelease {
  /** `arch/2026.11.01` */
  readonly release: string;
  readonly manifest: Pick<Manifest, 'files'>;
  /** Payload, by its path in the tree. */
  readonly files: ReadonlyMap<string, ServedFile>;
  /** Records and seals as they were verified, by their path in the tree. */
  readonly records: ReadonlyMap<string, Uint8Array>;
}

/** What of a release is over, at the moment of a request. */
export interface Ends {
  /**
   * Why no machine starts it any more; undefined while they do. Its root image, hash tree and records are for those
   * that run, and stay.
   */
  readonly ended: () => Refusal | undefined;
  /** Why nothing of it is served any more, to nobody. */
  readonly cut: () => Refusal | undefined;
}

const NEVER: Ends = { ended: () => undefined, cut: () => undefined };

/**
 * One release, the loaders and the server's own scripts. Whatever is not in one of these tables does not
 * exist: no path ever reaches the file system.
 *
 * @param extra rendered scripts and loaders, by path: `autoexec.ipxe`, `undionly.kpxe`.
 * @param resourceOf how a file of the payload, by its path in the tree, is read; default: one of this machine, from there.
 */
export function releaseSite(
  release: ServedRelease,
  extra: ReadonlyMap<string, Resource>,
  { ended, cut }: Ends = NEVER,
  resourceOf: (path: string, file: ServedFile) => Resource = ofThisMachine,
): Site {
  const table = new Map<string, Resource>();
  for (const [path, resource] of extra) table.set(`/${path}`, resource);
  for (const [path, file] of release.files)
    table.set(`/releases/${release.release}/${path}`, resourceOf(path, file));
  for (const [path, bytes] of release.records) {
    const name = path.slice(path.lastIndexOf('/') + 1);
    table.set(`/releases/${release.release}/${path}`, bytesResource(name, bytes, true));
  }
  const uki = release.files.get(UKI);
  // For firmware, which is told one name by DHCP and keeps it over releases.
  if (uki) table.set(`/${UKI}`, { ...resourceOf(UKI, uki), immutable: false });
  const starting = startingPaths(release);
  const inside = (path: string) => path.startsWith(`/releases/${release.release}/`) || path === `/${UKI}`;
  const at = (path: string): Resource | Refusal | undefined => {
    const found = table.get(path);
    return (
      found && ((inside(path) ? cut() : undefined) ?? (starting.has(path) ? ended() : undefined) ?? found)
    );
  };
  return {
    async find(path) {
      return at(path) ?? new Refusal('absent', `This server does not serve ${path}.`, { path });
    },
    known: (path) => (path.startsWith('/releases/') ? at(path) : undefined),
  };
}

function ofThisMachine(path: string, file: ServedFile): Resource {
  if (isPromised(file)) throw new RangeError(`${path} is promised, and nothing says where it comes from`);
  return fileResource(file);
}

/** What a machine begins a boot with: a script, a whole boot in one file, or what a script loads. */
function startingPaths({ release, manifest, records }: ServedRelease): Set<string> {
  const base = `/releases/${release}`;
  const scripts = [...records.keys()].filter((name) => SCRIPT.test(name));
  const loaded = manifest.files.filter(({ role }) => STARTING.has(role)).map(({ path }) => path);
  return new Set([...[...scripts, ...loaded, UKI].map((name) => `${base}/${name}`), `/${UKI}`]);
}

const SCRIPT = /^(boot(\.[0-9a-f]{16})?\.ipxe|grub\.cfg)(\.sig)?$/;
const STARTING: ReadonlySet<string> = new Set(['kernel', 'module', 'initrd', 'overlay']);
