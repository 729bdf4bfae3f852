import { bootRules, type LoaderFiles } from './dhcp-config/boot-rules.ts';
import { dnsmasqConfig } from './dhcp-config/dnsmasq.ts';

const HTTP_PORT = 8080;

/**
 * Lines that send UEFI machines to one image, by PXE and by HTTP Boot. Whether a machine enforces Secure Boot it does
 * not say over DHCP: one that does refuses every other loader by itself.
 *
 * @param image its path at the server.
 * @param arch `uname -m` of the machines.
 */
export function ukiDnsmasqLines(
  server: string,
  image: string,
  port: number,
  arch = 'x86_64',
): readonly string[] {
  const loaders: LoaderFiles = arch === 'aarch64' ? { arm64: image } : { efi: image };
  return firmwareLines(server, loaders, port);
}

/**
 * Lines for a dnsmasq that serves DHCP on the LAN: they send each kind of firmware to the loader that can verify there.
 *
 * @param server the address that machines fetch from.
 * @param loaders names of files; a kind without one gets no line.
 */
export function dnsmasqLines(server: string, loaders: LoaderFiles, httpPort = HTTP_PORT): readonly string[] {
  return firmwareLines(server, loaders, httpPort);
}

/** Without those for iPXE, which is told by itself where to go on. */
function firmwareLines(server: string, loaders: LoaderFiles, httpPort: number): readonly string[] {
  const rules = bootRules({ server, httpPort, loaders, otherIpxe: 'loader' });
  return dnsmasqConfig(rules.filter(({ match }) => match.by === 'firmware'));
}
