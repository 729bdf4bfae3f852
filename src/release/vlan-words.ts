import { choicesOf, type FreeParameter, isVlan } from '../formats/script/cmdline.ts';

/**
 * What a machine with an overlay would refuse of the words that name its VLAN; undefined where it takes them. It reads
 * `vlan=` before anybody has verified the manifest, so the manifest's types do not bound it.
 */
export function wrongVlan(cmdline: readonly string[], free: readonly FreeParameter[]): string | undefined {
  const fixed = cmdline.filter((word) => word.startsWith('vlan=')).map((word) => word.slice('vlan='.length));
  const types = free.filter(({ name }) => name === 'vlan').map(({ type }) => type);
  const wrong = [...fixed, ...types.flatMap((type) => choicesOf(type) ?? [])].find((text) => !isVlan(text));
  if (wrong !== undefined) return `vlan=${wrong} names no VLAN: that is a number from 1 to 4094.`;
  const loose = types.find((type) => type !== 'port' && choicesOf(type) === undefined);
  if (loose !== undefined)
    return `"vlan ${loose}" is not what a VLAN is written as; write "vlan port" for any, or "vlan choice 10|20".`;
  return undefined;
}
