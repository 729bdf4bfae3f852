import { isIP } from 'node:net';
import type { SealedServers } from '../scripts/sealed-server.ts';
import type { Bound } from '../serve/listen.ts';

/**
 * Why machines would not find their files here: the sealed scripts, which nobody at a server may change, name another
 * place than it listens at. One sentence each, none where all is well. A name says nothing about an address: then only
 * its port is compared; and a server that listens on every address is at whichever is named.
 *
 * @param bound where HTTP is served; all with one port.
 */
export function sealedElsewhere({ ipxe, grub }: SealedServers, bound: readonly Bound[]): readonly string[] {
  const port = bound[0]?.port ?? 0;
  const everywhere = bound.some(({ address }) => address === '0.0.0.0' || address === '::');
  const isHere = (host: string): boolean =>
    everywhere || isIP(host) === 0 || bound.some(({ address }) => address === host);
  const said: string[] = [];
  const compare = (who: string, script: string, host: string | undefined, sealed: number): void => {
    const what = [
      ...(host !== undefined && !isHere(host) ? [`the address ${host}`] : []),
      ...(sealed === port ? [] : [`the port ${sealed}`]),
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
