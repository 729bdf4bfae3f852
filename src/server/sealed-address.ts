import { isIP } from 'node:net';
import type { SealedServers } from '../scripts/sealed-server.ts';
import type { Bound } from '../serve/listen.ts';

/**
 * Why machines would not find their files here: the sealed scripts, which nobody at a server may change, name another
 * place than it listens at. One sentence each, none where all is well. A name says nothing about an address: then only
 * its port is compared; and a server that listens on every address is at whichever is named.
 *
 * @param bound where HTTP is served.
 */
export function sealedElsewhere({ ipxe, grub }: SealedServers, bound: readonly Bound[]): readonly string[] {
  const isHere = ({ address }: Bound, host: string): boolean =>
    address === '0.0.0.0' || address === '::' || isIP(host) === 0 || address === host;
  const said: string[] = [];
  const compare = (who: string, script: string, host: string | undefined, sealed: number): void => {
    const here = host === undefined ? bound : bound.filter((at) => isHere(at, host));
    if (here.some(({ port }) => port === sealed)) return;
    const what = [
      ...(here.length === 0 ? [`the address ${host}`] : []),
      // At another address than the sealed one the port may be the right one.
      ...(here.length === 0 && bound.some(({ port }) => port === sealed) ? [] : [`the port ${sealed}`]),
    ].join(' and ');
    if (what !== '')
      said.push(
        `${who} fetches from ${what}, which the sealed ${script} names, and this server listens elsewhere`,
      );
  };
  if (ipxe !== undefined) {
    const { hostname, port: named } = new URL(ipxe);
    compare('iPXE', 'boot.ipxe', hostname, Number(named || 80));
  }
  if (grub?.kind === 'literal') compare('GRUB', 'grub.cfg', grub.host, grub.port);
  else if (grub !== undefined) compare('GRUB', 'grub.cfg', undefined, grub.httpPort);
  return said;
}
