import { decodeIpAddress, decodeIpPrefix, isWithin } from '../../formats/net/ip-address.ts';
import type { LanOffer } from './dhcp-offer.ts';
import { type Finding, Findings } from './finding.ts';

export interface DhcpFacts {
  readonly interface: string;
  /** Of this machine, on that interface. */
  readonly address: string;
  /** All of this machine's. */
  readonly ownAddresses: ReadonlySet<string>;
  readonly offers: readonly LanOffer[];
  /** Answers to the question that could not be read, by source. */
  readonly unreadable: readonly string[];
  /** Whether Bootseal answers DHCP on this machine now. */
  readonly weRun: boolean;
  /** Seconds that offers were waited for. */
  readonly waited: number;
}

/** What servers said on one LAN, and which of them stand in each other's way. */
export function judgeDhcp(facts: DhcpFacts): readonly Finding[] {
  const { interface: name, ownAddresses, offers, unreadable, weRun, waited } = facts;
  const findings = new Findings('dhcp');
  const givers = offers.filter(({ network }) => network !== undefined);
  const proxies = offers.filter(({ network }) => network === undefined);
  const own = proxies.find(({ server }) => weRun && ownAddresses.has(server));
  if (givers.length === 0)
    findings.fault(
      'no-dhcp',
      `no DHCP server on ${name} offered an address within ${waited} s, so machines get none`,
      'Start the DHCP server of this network; where it answers known cards alone, machines need not be wrong.',
    );
  judgeGivers(findings, name, givers);
  const oneNetwork = new Set(givers.map(({ network }) => network)).size === 1;
  for (const giver of givers) judgeGiver(findings, facts, giver, { weAnswer: own !== undefined, oneNetwork });
  for (const proxy of proxies) {
    if (proxy === own) continue;
    findings.fault(
      'other-proxy',
      `another ProxyDHCP server on ${name}, ${proxy.server}, tells machines to load ${shown(proxy)}`,
      `Stop the one at ${proxy.server}: which of two answers a machine takes is chance.`,
    );
  }
  for (const from of unreadable)
    findings.warning(
      'odd-dhcp',
      `${from} on ${name} answered with a message that no DHCP server may send`,
      `Look at the DHCP server at ${from}.`,
    );
  if (weRun && !own)
    findings.warning(
      'we-are-silent',
      `Bootseal runs here, and told UEFI firmware on ${name} nothing`,
      'Look into its log for the reason: no loader for x64, or a rule that gives this machine’s own card nothing.',
    );
  if (own) findings.ok(`Bootseal on ${name} tells UEFI firmware to load ${shown(own)}`);
  if (givers.length > 0 && findings.isWell)
    findings.ok(
      `${givers.map(({ server, network }) => `${server} gives addresses of ${network}`).join(', ')} on ${name}`,
    );
  return findings.all;
}

function judgeGivers(findings: Findings, name: string, givers: readonly LanOffer[]): void {
  const servers = givers.map(({ server, network }) => `${server} (${network})`).join(' and ');
  const networks = new Set(givers.map(({ network }) => network));
  if (networks.size > 1)
    findings.fault(
      'two-dhcp',
      `${givers.length} DHCP servers on ${name} give addresses of different networks: ${servers}`,
      'Stop all but one: a machine that takes the other’s address reaches nothing here.',
    );
  else if (givers.length > 1)
    findings.warning(
      'two-dhcp',
      `${givers.length} DHCP servers on ${name} give addresses of one network: ${servers}`,
      'Make sure that they are a pair that knows of each other; else stop all but one.',
    );
}

function judgeGiver(
  findings: Findings,
  { interface: name, address, ownAddresses }: DhcpFacts,
  giver: LanOffer,
  { weAnswer, oneNetwork }: { readonly weAnswer: boolean; readonly oneNetwork: boolean },
): void {
  const { server, noProxy, network = '' } = giver;
  // Of several networks that is a part of what is wrong.
  if (oneNetwork && !isWithin(decodeIpAddress(address), decodeIpPrefix(network)))
    findings.warning(
      'other-network',
      `the DHCP server ${server} on ${name} gives addresses of ${network}, and this machine has ${address} there`,
      `Let both be of one network, or make sure that a router leads from ${network} to ${address}.`,
    );
  if (noProxy)
    findings.fault(
      'no-proxy-allowed',
      `the DHCP server ${server} on ${name} tells iPXE to hear no ProxyDHCP server (option 175.176)`,
      `Take option 175.176 out of the configuration of ${server}.`,
    );
  if (giver.file === '' || ownAddresses.has(giver.nextServer)) return;
  const found = `the DHCP server ${server} on ${name} itself tells machines to load ${shown(giver)}`;
  const advice = `Take the boot file out of its configuration (filename and next-server; options 66 and 67), or have it name this server ("bootseal dhcp-config").`;
  if (weAnswer)
    findings.warning('dhcp-boots', `${found}; UEFI and iPXE take ours, other firmware takes either`, advice);
  else findings.fault('dhcp-boots', found, advice);
}

function shown({ file, nextServer }: LanOffer): string {
  if (file === '') return `nothing from ${nextServer}`;
  return /^[a-z]+:\/\//.test(file) ? file : `${file} from ${nextServer}`;
}
