import { claimedMac } from '../net/machine-claims.ts';
import { isArmingId } from './armed-boot.ts';

/**
 * Where an armed script fetches kernel and initrds from: `armed/52-54-00-12-34-56/0123456789abcdef/releases/NAME/VERSION`
 * holds what `releases/NAME/VERSION` holds. The path says which arming a file leaves for, whichever server answers, at
 * whatever address the machine is, and after every restart.
 */
export function armedFolder(mac: string, id: string): string {
  return `armed/${macFolder(mac)}/${id}`;
}

/** An address as iPXE writes it (`hexhyp`): colons mean something in addresses of other kinds. */
export function macFolder(mac: string): string {
  return mac.replaceAll(':', '-');
}

/** Splits such a path, `/armed/…/releases/arch/2026.11.01/vmlinuz`; the rest begins with `/`. Undefined for any other. */
export function armedPathOf(
  path: string,
): { readonly mac: string; readonly id: string; readonly rest: string } | undefined {
  const [, dashes = '', id = '', rest = ''] =
    /^\/armed\/([0-9a-f-]{17})\/([0-9a-f]{16})(\/.+)$/.exec(path) ?? [];
  const mac = claimedMac(dashes);
  return mac === undefined || macFolder(mac) !== dashes || !isArmingId(id) ? undefined : { mac, id, rest };
}
