import { codeOf, inWords } from '../../errors/io.ts';
import type { InterfaceTable } from '../../serve/dhcp/dhcp-interfaces.ts';
import { DHCP_PORTS } from '../../serve/dhcp/dhcp-sockets.ts';
import { findPortHolder } from '../../serve/dhcp/port-holder.ts';
import { judgeDhcp } from './dhcp.ts';
import { probeLan } from './dhcp-probe.ts';
import { type Finding, notChecked } from './finding.ts';
import { ownAddresses } from './interfaces.ts';
import { toldElsewhere } from './passed-over.ts';

/** Milliseconds. Servers that ping an address before they offer it (dnsmasq, ISC dhcpd) take up to three seconds. */
const OFFER_WAIT = 5000;

/**
 * Asks the LAN of each interface, all at once: each waits for its offers, and hears those to its own question alone.
 *
 * @param weRun whether Bootseal answers DHCP on this machine now.
 */
export async function checkLans(
  names: readonly string[],
  table: InterfaceTable,
  weRun: boolean,
): Promise<readonly Finding[]> {
  const own = new Set(ownAddresses(table).map(({ address }) => address));
  const lans = names.map(async (name) => {
    const card = table[name]?.find(({ family }) => family === 'IPv4');
    if (!card)
      return notChecked('dhcp', `${name} has no IPv4 address to ask from`, 'Mend the interface first.');
    const { mac, address } = card;
    const waited = OFFER_WAIT / 1000;
    try {
      const { offers, unreadable } = await probeLan(mac, address, OFFER_WAIT);
      return judgeDhcp({ interface: name, address, ownAddresses: own, offers, unreadable, weRun, waited });
    } catch (error) {
      if (codeOf(error) === undefined) throw error;
      return notAsked(name, error);
    }
  });
  return (await Promise.all(lans)).flat();
}

async function notAsked(name: string, error: unknown): Promise<readonly Finding[]> {
  if (codeOf(error) !== 'EADDRINUSE')
    return unlooked(
      `${name} could not be asked: ${inWords(error)}`,
      'Run it as root, or leave it out with --no-probe.',
    );
  const holder = await findPortHolder({ transport: 'udp', port: DHCP_PORTS.client }).catch(toldElsewhere);
  const who = holder ? `${holder.name} (process ${holder.pid})` : 'another program';
  return unlooked(
    `${name} could not be asked: ${who} has port ${DHCP_PORTS.client} and shares it with nobody`,
    'Stop the DHCP client for that moment, or ask from another machine.',
  );
}

function unlooked(why: string, advice: string): readonly Finding[] {
  return notChecked('dhcp', why, advice).map((finding) => ({ ...finding, couldNotLook: true }));
}
