import { decodeIpAddress, decodeIpPrefix, isWithin } from '../../formats/net/ip-address.ts';
import type { Configuration } from '../../server/configuration.ts';
import { type Finding, Findings } from './finding.ts';

export interface ConfigurationFacts {
  /** Undefined: none was given. */
  readonly path: string | undefined;
  readonly configuration: Configuration;
  /** Names in the folder of loaders; undefined where there is none. */
  readonly loaders: ReadonlySet<string> | undefined;
  /** Addresses that would be served at, each with the length of its network. */
  readonly networks: readonly { readonly address: string; readonly length: number }[];
}

/** What a server has at its top beside loaders; below `entries/` and `releases/` is more. */
const OWN_FILES: ReadonlySet<string> = new Set([
  'boot.ipxe',
  'autoexec.ipxe',
  'unverified.ipxe',
  'grub.cfg',
  'uki.efi',
]);

export function judgeConfiguration({
  path,
  configuration,
  loaders,
  networks,
}: ConfigurationFacts): readonly Finding[] {
  const findings = new Findings('configuration');
  const { allow_unverified_loaders, trusted_proxies, proxydhcp } = configuration;
  const pinned = Object.keys(configuration.loaders);
  if (allow_unverified_loaders)
    findings.warning(
      'unverified-allowed',
      'allow_unverified_loaders is on: loaders that verify nothing may start kernels',
      'Switch it off as soon as every machine has a loader that verifies.',
    );
  for (const name of pinned) {
    if (loaders?.has(name)) continue;
    findings.fault(
      'loader-not-there',
      `[loaders] names ${name}, which is not in the folder of loaders, so "serve" does not start`,
      'Put it there, or take its line out.',
    );
  }
  for (const [kind, name] of Object.entries(proxydhcp.loaders)) {
    if (name === false || name.includes('/') || OWN_FILES.has(name) || loaders?.has(name)) continue;
    findings.fault(
      'loader-not-there',
      `[proxydhcp.loaders] tells machines of kind ${kind} to load ${name}, which is not in the folder of loaders`,
      'Put it there, or name another file.',
    );
  }
  for (const text of trusted_proxies) {
    const prefix = decodeIpPrefix(text);
    const whole = networks.find(
      ({ address, length }) => isWithin(decodeIpAddress(address), prefix) && prefix.length <= length,
    );
    if (prefix.length > 0 && !whole) continue;
    findings.warning(
      'proxies-everybody',
      `trusted_proxies holds ${text}, ${whole ? `the whole network of ${whole.address}` : 'everybody'}: whoever boots there can say that he is another`,
      'Name the addresses of the proxies alone.',
    );
  }
  if (findings.isWell)
    findings.ok(path === undefined ? 'none was given: all as it is by default' : `${path} is as it must be`);
  return findings.all;
}
