import { RECORD } from '../formats/records/seal-names.ts';
import { manifestOfRefusal } from '../formats/script/ipxe-refusal.ts';
import { grubServerOf } from './grub-config.ts';
import type { GrubServer } from './grub-server.ts';

/** Where the sealed scripts of a release fetch from: nobody changes that without a new signature. */
export interface SealedServers {
  /** `http://10.0.0.1:8080`; undefined where the script asks the loader's settings, or fetches nothing. */
  readonly ipxe: string | undefined;
  /** Undefined where there is no such script. */
  readonly grub: GrubServer | undefined;
}

/** @param records of a release, as they were verified. */
export function sealedServers(records: ReadonlyMap<string, Uint8Array>): SealedServers {
  const text = (name: string) => Buffer.from(records.get(name) ?? []).toString('latin1');
  const ipxe = /(http:\/\/[A-Za-z0-9.:[\]-]+)\/releases\//.exec(text(RECORD.bootIpxe))?.[1];
  return { ipxe, grub: records.has(RECORD.grubCfg) ? grubServerOf(text(RECORD.grubCfg)) : undefined };
}

/** The one literal server that scripts name; undefined where they ask DHCP. One of a release that GRUB starts names none. */
export function literalServer(records: ReadonlyMap<string, Uint8Array>): string | undefined {
  const { ipxe, grub } = sealedServers(records);
  const bootsByGrub = manifestOfRefusal(records.get(RECORD.bootIpxe) ?? new Uint8Array()) !== undefined;
  if (ipxe !== undefined || !bootsByGrub || grub?.kind !== 'literal') return ipxe;
  return `http://${grub.host}${grub.port === 80 ? '' : `:${grub.port}`}`;
}
