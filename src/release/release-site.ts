import { Refusal } from '../errors/refusal.ts';
import { otherBootIpxe, RECORD, SCRIPT_SEAL, UKI } from '../formats/records/seal-names.ts';
import { bytesResource } from './bytes-resource.ts';
import { fileResource } from './file-resource.ts';
import type { PinnedFile } from './pin.ts';
import type { Resource, Site } from './site.ts';

/** A verified release, as far as serving needs to know it. */
export interface ServedRelease {
  /** `arch/2026.11.01` */
  readonly release: string;
  /** Payload, by its path in the tree. */
  readonly files: ReadonlyMap<string, PinnedFile>;
  /** Records and seals as they were verified, by their path in the tree. */
  readonly small: ReadonlyMap<string, Uint8Array>;
  /** First 16 hex digits of the CA's SHA-256. */
  readonly anchorId: string;
  /** The same of other CAs whose loaders start this release too. */
  readonly otherAnchorIds: readonly string[];
}

/** Entry scripts that stand at the top of the site too; each with its seal. */
const ENTRIES = ['boot.ipxe', 'boot.ipxe.sig', 'grub.cfg', 'grub.cfg.sig'] as const;

/**
 * One release, the loaders and the server's own scripts. Whatever is not in one of these tables does not
 * exist: no path ever reaches the file system.
 *
 * @param extra rendered scripts and loaders, by path: `autoexec.ipxe`, `undionly.kpxe`.
 */
export function releaseSite(release: ServedRelease, extra: ReadonlyMap<string, Resource>): Site {
  const table = new Map<string, Resource>();
  for (const [path, resource] of extra) table.set(`/${path}`, resource);
  for (const [path, file] of release.files)
    table.set(`/releases/${release.release}/${path}`, fileResource(file));
  for (const [path, bytes] of release.small) {
    const name = path.slice(path.lastIndexOf('/') + 1);
    table.set(`/releases/${release.release}/${path}`, bytesResource(name, bytes, true));
  }
  const uki = release.files.get(UKI);
  // For firmware, which is told one name by DHCP and keeps it over releases.
  if (uki) table.set(`/${UKI}`, { ...fileResource(uki), immutable: false });
  for (const name of ENTRIES) {
    const bytes = release.small.get(name);
    if (!bytes) continue;
    const entry = bytesResource(name, bytes, false);
    table.set(`/${name}`, entry);
    if (name.startsWith('boot.')) table.set(`/anchors/${release.anchorId}/${name}`, entry);
  }
  for (const id of release.otherAnchorIds) {
    for (const suffix of ['', SCRIPT_SEAL]) {
      const bytes = release.small.get(otherBootIpxe(id) + suffix);
      const name = RECORD.bootIpxe + suffix;
      if (bytes) table.set(`/anchors/${id}/${name}`, bytesResource(name, bytes, false));
    }
  }
  return {
    async find(path) {
      return table.get(path) ?? new Refusal('absent', `This server does not serve ${path}.`, { path });
    },
  };
}
