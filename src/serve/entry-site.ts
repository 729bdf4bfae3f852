import { Refusal } from '../errors/refusal.ts';
import { entryOf } from '../formats/records/entry-folder.ts';
import { SEAL } from '../formats/records/seal-names.ts';
import type { Booter, Machine } from '../machines/booter.ts';
import { bytesResource } from '../release/bytes-resource.ts';
import type { Resource, Site } from '../release/site.ts';

/**
 * A site with the paths at which a loader begins that knows nothing yet: `/boot.ipxe`, `/grub.cfg`, and
 * `/anchors/<16 hex of a CA>/boot.ipxe` for loaders that trust that CA; each with its seal. The same below
 * `/entries/ARCH` for machines of one architecture. What stands there is the booter's to say.
 */
export function withEntries(booter: Booter, site: Site): Site {
  return { find: async (path) => (await findEntry(booter, path)) ?? site.find(path) };
}

async function findEntry(booter: Booter, path: string): Promise<Resource | Refusal | undefined> {
  const wanted = machineOf(path);
  if (!wanted) return undefined;
  const answer = await booter.boot(wanted.machine);
  if (answer instanceof Refusal) return answer;
  const { name, bytes, seal } = answer;
  return wanted.seal ? bytesResource(name + SEAL.openpgp, seal, false) : bytesResource(name, bytes, false);
}

function machineOf(path: string): { machine: Machine; seal: boolean } | undefined {
  const entry = entryOf(path);
  const [, anchor, name, seal] = ENTRY.exec(entry?.rest ?? path) ?? [];
  if (name === undefined || (anchor !== undefined && name !== 'boot.ipxe')) return undefined;
  const loader = name === 'grub.cfg' ? 'grub' : 'ipxe';
  const machine = {
    loader,
    ...(anchor === undefined ? {} : { anchor }),
    ...(entry ? { arch: entry.arch } : {}),
  } as const;
  return { machine, seal: seal !== undefined };
}

const ENTRY = /^\/(?:anchors\/([0-9a-f]{16})\/)?(boot\.ipxe|grub\.cfg)(\.sig)?$/;
