import { Refusal } from '../errors/refusal.ts';
import { claimedMac, machineClaims } from '../formats/net/machine-claims.ts';
import { entryOf } from '../formats/records/entry-folder.ts';
import { UKI } from '../formats/records/seal-names.ts';
import type { Client, Site } from '../release/site.ts';
import { type LoaderClaims, trustLevelOf } from '../release/trust-level.ts';
import { askedText } from './asked.ts';
import type { Emit } from './emit.ts';

export interface BootBeginsOptions {
  readonly emit: Emit;
  /** Names at the top of the site that are loaders. */
  readonly loaders: ReadonlySet<string>;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
}

/** Addresses that are remembered; the oldest is forgotten first. */
const REMEMBERED = 4096;
/** From a loader's last byte to its first question: it asks DHCP, and sets its clock. */
const LOADER_MS = 5 * 60_000;
/** HEAD before GET, a size before the file: asked again so soon, it is the same boot. */
const SAME_BOOT_MS = 10_000;

/**
 * A site that tells when a boot begins, and at which level of trust: what the first script or image says of the loader
 * that asks for it, and whether that loader was fetched from here before.
 */
export function withBootBegins(site: Site, { emit, loaders, now }: BootBeginsOptions): Site {
  const fetched = new Recent();
  const begun = new Recent();
  const given = (path: string, from: Client): void => {
    const { remote, server = 'http' } = from;
    if (loaders.has(path.slice(1))) fetched.note(remote, now());
    const claims = claimsOf(path, from, fetched.within(remote, now(), LOADER_MS));
    if (!claims) return;
    const trust = trustLevelOf(claims);
    const mac = claimedMac(from.query?.get('mac'));
    // Of what is remembered nobody chooses how long it is.
    const key = `${remote} ${path} ${mac ?? ''}`;
    if (!begun.within(key, now(), SAME_BOOT_MS)) {
      const whose = mac === undefined ? {} : { mac };
      emit({ kind: 'boot-began', server, remote, asked: askedText(path), ...whose, trust });
    }
    begun.note(key, now());
  };
  return {
    // A release's files begin no boot.
    known: (path) => site.known?.(path),
    begin(path, from) {
      const found = site.begin?.(path, from);
      return (
        found && {
          resource: found.resource,
          tell() {
            found.tell();
            given(path, from);
          },
        }
      );
    },
    async find(path, from) {
      const found = await site.find(path, from);
      if (from !== undefined && !(found instanceof Refusal)) given(path, from);
      return found;
    },
  };
}

/** Undefined for what does not begin a boot: a seal, what a menu goes on to, a release's files. */
function claimsOf(path: string, from: Client, wasFetched: boolean): LoaderClaims | undefined {
  const rest = entryOf(path)?.rest ?? path;
  if (rest === `/${UKI}`) return { loader: 'firmware' };
  if (rest === '/unverified.ipxe') return { loader: 'ipxe', verifies: false };
  const [, script] = FIRST.exec(rest) ?? [];
  if (script === undefined) return undefined;
  if (script === 'grub.cfg') return { loader: 'grub' };
  const { network } = from.query ? machineClaims(from.query) : {};
  return {
    loader: 'ipxe',
    verifies: true,
    fetched: wasFetched,
    ...(network === undefined ? {} : { local: !network }),
  };
}

const FIRST = /^\/(?:(?:anchors|machines)\/[^/]+\/)?(boot\.ipxe|grub\.cfg)$/;

/** When something happened last, by key, for as many as there is room for. */
class Recent {
  readonly #at = new Map<string, number>();

  note(key: string, at: number): void {
    this.#at.delete(key);
    this.#at.set(key, at);
    for (const oldest of this.#at.keys()) {
      if (this.#at.size <= REMEMBERED) return;
      this.#at.delete(oldest);
    }
  }

  within(key: string, now: number, ms: number): boolean {
    const at = this.#at.get(key);
    return at !== undefined && now - at <= ms;
  }
}
