import { Refusal } from '../errors/refusal.ts';
import { claimedMac, machineClaims } from '../formats/net/machine-claims.ts';
import { entryOf } from '../formats/records/entry-folder.ts';
import { isChannelName } from '../formats/records/safe-path.ts';
import { SEAL } from '../formats/records/seal-names.ts';
import type { Booter, BootScript, Machine } from '../machines/booter.ts';
import { bytesResource } from '../release/bytes-resource.ts';
import type { Beginning, Client, Resource, Site } from '../release/site.ts';
import type { Emit } from './emit.ts';
import { RememberedScripts } from './remembered-scripts.ts';

/**
 * A site with the paths at which a loader begins that knows nothing yet: `/boot.ipxe`, `/grub.cfg`, and
 * `/anchors/<16 hex of a CA>/boot.ipxe` for loaders that trust that CA; each with its seal. The same below
 * `/entries/ARCH` for machines of one architecture, below `/machines/MAC` for a loader that cannot write a query, and
 * below `/channels/NAME` for what that channel names, whoever asks. What stands there is the booter's to say, and is told
 * as `decided` whenever a script is given.
 */
export function withEntries(
  booter: Booter,
  site: Site,
  remembered = new RememberedScripts(() => performance.now()),
  emit: Emit = () => {},
): Site {
  /** @param now what the machine gets at this moment. */
  const beginning = (path: string, wanted: Wanted, from: Client | undefined, now: BootScript): Beginning => {
    const whose = from && `${from.remote} ${path.replace(/\.sig$/, '')}?${from.query ?? ''}`;
    if (wanted.seal) {
      const { name, seal } = (whose === undefined ? undefined : remembered.find(whose)) ?? now;
      return { resource: served(name + SEAL.openpgp, seal), tell: () => {} };
    }
    return {
      resource: served(now.name, now.bytes),
      tell() {
        if (!from || whose === undefined) return;
        remembered.given(whose, now);
        tellDecided(emit, wanted.machine, from, now);
      },
    };
  };
  return {
    known: (path) => site.known?.(path),
    begin(path, from) {
      const wanted = machineOf(path, from);
      if (!wanted) return undefined;
      const now = booter.known?.(wanted.machine);
      return now && beginning(path, wanted, from, now);
    },
    async find(path, from) {
      const wanted = machineOf(path, from);
      if (!wanted) return site.find(path, from);
      const now = await booter.boot(wanted.machine, from?.remote);
      // What has ended has ended for its seal, too.
      if (now instanceof Refusal) return now;
      const { resource, tell } = beginning(path, wanted, from, now);
      tell();
      return resource;
    },
  };
}

/** Whose script is asked for, or its seal. */
interface Wanted {
  readonly machine: Machine;
  readonly seal: boolean;
}

/** By content, and then by name: a morning asks for one script five hundred times, and its digest is made once. */
const made = new WeakMap<Uint8Array, Map<string, Resource>>();

function served(name: string, bytes: Uint8Array): Resource {
  const names = made.get(bytes) ?? new Map<string, Resource>();
  made.set(bytes, names);
  const resource = names.get(name) ?? bytesResource(name, bytes, false);
  names.set(name, resource);
  return resource;
}

function tellDecided(
  emit: Emit,
  { loader, mac, uuid, arch }: Machine,
  { remote, server = 'http' }: Client,
  { starts = 'release', once }: BootScript,
): void {
  emit({
    ...{ kind: 'decided', server, remote, loader, starts },
    ...(mac === undefined ? {} : { mac }),
    ...(uuid === undefined ? {} : { uuid }),
    ...(arch === undefined ? {} : { arch }),
    ...(once === undefined ? {} : { once }),
  });
}

function machineOf(path: string, from: Client | undefined): Wanted | undefined {
  const entry = entryOf(path);
  const [, place, name, seal] = ENTRY.exec(entry?.rest ?? path) ?? [];
  if (name === undefined) return undefined;
  const said = placeOf(place, name);
  if (!said) return undefined;
  const claims = from?.query ? machineClaims(from.query) : {};
  const loader = name === 'grub.cfg' ? 'grub' : 'ipxe';
  // What a path says is what the loader was built for; a query may say less, and never something else.
  const machine = { loader, ...claims, ...said, ...(entry ? { arch: entry.arch } : {}) } as const;
  return { machine, seal: seal !== undefined };
}

/** What the folder says in which an entry is asked for; undefined: there is no such entry. */
function placeOf(
  place: string | undefined,
  name: string,
): Pick<Machine, 'anchor' | 'mac' | 'channel'> | undefined {
  if (place === undefined) return {};
  const [kind, which = ''] = place.split('/');
  if (kind === 'anchors') return name === 'boot.ipxe' && ANCHOR.test(which) ? { anchor: which } : undefined;
  if (kind === 'channels') return isChannelName(which) ? { channel: which } : undefined;
  const mac = claimedMac(which);
  return mac === undefined ? undefined : { mac };
}

const ENTRY = /^\/(?:((?:anchors|channels|machines)\/[^/]+)\/)?(boot\.ipxe|grub\.cfg)(\.sig)?$/;
const ANCHOR = /^[0-9a-f]{16}$/;
