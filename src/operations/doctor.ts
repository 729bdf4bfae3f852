import { isIPv4 } from 'node:net';
import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { isThere, namesIfThere } from '../files/read-if-there.ts';
import { urlHost } from '../formats/net/ip-address.ts';
import { UKI } from '../formats/records/seal-names.ts';
import { DHCP_PORTS } from '../serve/dhcp/dhcp-sockets.ts';
import { findPortHolder } from '../serve/dhcp/port-holder.ts';
import type { Bound } from '../serve/listen.ts';
import { type Configuration, DEFAULT_CONFIGURATION, readConfiguration } from '../server/configuration.ts';
import { readTrustRoots, type TrustRoots } from '../trust/trust-roots.ts';
import { isSynchronised, judgeClock } from './doctor/clock.ts';
import { judgeConfiguration } from './doctor/configuration.ts';
import { diskFacts, judgeDisk } from './doctor/disk.ts';
import { earlyKeys, judgeEarlyKeys } from './doctor/early-keys.ts';
import { judgeExpiry } from './doctor/expiry.ts';
import { CHECKS, type CheckName, type Finding, notChecked } from './doctor/finding.ts';
import {
  type InterfaceFacts,
  interfaceFacts,
  judgeInterfaces,
  servingAddresses,
} from './doctor/interfaces.ts';
import { checkKeyholder } from './doctor/keyholder.ts';
import { checkLans } from './doctor/lans.ts';
import { judgeLoaders, loaderFacts } from './doctor/loaders.ts';
import { look, withoutStop } from './doctor/look.ts';
import { checkMachines } from './doctor/machines.ts';
import { toldElsewhere } from './doctor/passed-over.ts';
import { judgePermissions, permissionFacts } from './doctor/permissions.ts';
import { judgePorts, type PortFacts, portFacts, wantedPorts } from './doctor/ports.ts';
import { judgeProgram, programFacts } from './doctor/program.ts';
import { isHealthy, judgeServer, serverFacts } from './doctor/server.ts';
import { checkState } from './doctor/state.ts';
import { largestRelease, readStateFacts, type StateFacts, signedTimes } from './doctor/state-facts.ts';
import { type KeysStatus, keysStatus } from './keys-status.ts';

export { CHECKS, type Finding, type FindingState } from './doctor/finding.ts';

/** As the server would be started. */
export interface DoctorOptions {
  /** A STATE folder; undefined: nothing of releases is looked at. */
  readonly state?: string;
  /** The channel whose release machines boot by default, as "serve" is told. */
  readonly channel?: string;
  /** Folders of anchors, as "serve" is given them. */
  readonly anchors?: readonly string[];
  /** The operator's configuration (TOML). */
  readonly config?: string;
  /** A folder of loaders; default: that of the state. */
  readonly loaders?: string;
  /** IP addresses; default: those of `proxyDhcp`, else none. */
  readonly bind?: readonly string[];
  readonly httpPort: number;
  /** False: it is left out. */
  readonly tftpPort: number | false;
  readonly nbdPort: number | false;
  /** Names of interfaces. */
  readonly proxyDhcp?: readonly string[];
  /** Path of a keyholder's socket. */
  readonly keyholder?: string;
  /** The uid that it runs as, where that is neither root's nor ours. */
  readonly keyholderUid?: number;
  /** Whether a DHCPDISCOVER is sent on each interface of `proxyDhcp`. */
  readonly probe: boolean;
  /** Where to look for programs, as PATH. */
  readonly path: string;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Told how many of `CHECKS` are done. */
  readonly onProgress?: (done: number) => void;
}

/**
 * Looks for what keeps machines from booting, before anybody stands in front of one. Changes nothing on this machine;
 * sends to nobody but one DHCPDISCOVER a LAN where it is told to, and asks nobody but this machine's own server and
 * keyholder. Ports are taken for an instant and let go.
 *
 * @returns findings in the order of `CHECKS`. What kept it from looking is one of them; nothing is thrown for it.
 */
export async function examine(options: DoctorOptions): Promise<readonly Finding[]> {
  const examination = new Examination(options);
  const all: Finding[] = [];
  for (const [index, check] of CHECKS.entries()) {
    all.push(...(await examination.check(check)));
    options.onProgress?.(index + 1);
  }
  return all;
}

class Examination {
  readonly #options: DoctorOptions;
  readonly #bind: readonly string[];
  readonly #proxyDhcp: readonly string[];
  readonly #once = new Map<string, Promise<unknown>>();

  constructor(options: DoctorOptions) {
    this.#options = options;
    this.#bind = options.bind ?? [];
    this.#proxyDhcp = options.proxyDhcp ?? [];
  }

  check(check: CheckName): Promise<readonly Finding[]> {
    const { now, state, path } = this.#options;
    switch (check) {
      case 'program':
        return look(check, async () => judgeProgram(await programFacts(path)), 'Install Bootseal again.');
      case 'configuration':
        return look(
          check,
          () => this.#checkConfiguration(),
          'Mend the file: "serve" does not start with it.',
        );
      case 'interfaces':
        return look(check, () => this.#checkInterfaces(), 'Look at "ip address".');
      case 'ports':
        return look(check, async () => judgePorts(await this.#ports()), 'Look at "ss -tulpn".');
      case 'server':
        return look(check, () => this.#checkServer(), 'Look at the server’s log.');
      case 'dhcp':
        return look(check, () => this.#checkDhcp(), 'Look at the DHCP server of this network.');
      case 'clock':
        return look(check, () => this.#checkClock(), 'Look at "date".');
      case 'permissions':
        return look(check, () => this.#checkPermissions(), 'Look at the owners of these folders.');
      case 'disk':
        return this.#ofState(check, async (facts) =>
          judgeDisk(await diskFacts(facts.folder, largestRelease(facts))),
        );
      case 'state':
        return this.#ofState(check, async (facts) =>
          checkState(facts, {
            ...{ roots: await this.#roots(), now, http: await this.#bound() },
            entry: this.#options.channel,
          }),
        );
      case 'machines':
        return this.#ofState(
          check,
          checkMachines,
          `Mend what is written in ${join(state ?? 'STATE', 'machines')}.`,
        );
      case 'loaders':
        return look(check, () => this.#checkLoaders(), 'Put the loader there that the configuration names.');
      case 'expiry':
        return this.#ofState(check, (facts) => this.#checkExpiry(facts));
      case 'keyholder':
        return look(
          check,
          () => this.#checkKeyholder(),
          'Put its socket into a folder that only its user may write.',
        );
    }
  }

  #ofState(
    check: CheckName,
    work: (facts: StateFacts) => Promise<readonly Finding[]>,
    advice = 'Look at it with "bootseal channel list" and "bootseal log check".',
  ): Promise<readonly Finding[]> {
    return look(
      check,
      async () => {
        let facts: StateFacts | undefined;
        try {
          facts = await this.#state();
        } catch (error) {
          // Once is enough: why is told with the state.
          if (check === 'state') throw error;
          return notChecked(check, 'the state cannot be read', 'Mend the state first.');
        }
        if (facts) return work(facts);
        return notChecked(check, 'no state was given', 'Name the folder with --state.');
      },
      advice,
    );
  }

  async #checkConfiguration(): Promise<readonly Finding[]> {
    const { config } = this.#options;
    const configuration = await this.#configuration();
    const { table } = await this.#interfaces();
    const serving = servingAddresses(table, this.#bind, this.#proxyDhcp);
    const networks = Object.values(table).flatMap((addresses = []) =>
      addresses
        .filter(({ address }) => serving.has(address))
        .map(({ address, cidr }) => ({ address, length: Number(cidr?.split('/')[1] ?? 32) })),
    );
    const folder = await this.#loaderFolder();
    const loaders = folder === undefined ? undefined : new Set(await namesIfThere(folder));
    return judgeConfiguration({ path: config, configuration, loaders, networks });
  }

  async #checkInterfaces(): Promise<readonly Finding[]> {
    const { tftpPort } = this.#options;
    const chosen = { bind: this.#bind, proxyDhcp: this.#proxyDhcp, tftp: tftpPort !== false };
    return judgeInterfaces(await this.#interfaces(), chosen);
  }

  async #checkServer(): Promise<readonly Finding[]> {
    const { httpPort } = this.#options;
    if (httpPort === 0)
      return notChecked('server', 'port 0 is any free one', 'Name the port of HTTP with --http-port.');
    const all: Finding[] = [];
    for (const address of await this.#addresses())
      all.push(...judgeServer(await this.#server(reachable(address), httpPort)));
    return all;
  }

  async #checkDhcp(): Promise<readonly Finding[]> {
    const { probe } = this.#options;
    if (this.#proxyDhcp.length === 0)
      return notChecked(
        'dhcp',
        'no interface was named',
        'Name the one that faces the machines with --proxydhcp.',
      );
    if (!probe) return notChecked('dhcp', 'nothing was sent (--no-probe)', 'Leave --no-probe out.');
    const { table } = await this.#interfaces();
    const ports = await this.#ports();
    // Where only root is told who has it, it may be ours.
    const weRun = ports.some(
      ({ port, code, isOurs, holder }) =>
        port === DHCP_PORTS.bootServer && code === 'EADDRINUSE' && (isOurs || holder === undefined),
    );
    return checkLans(this.#proxyDhcp, table, weRun);
  }

  async #checkClock(): Promise<readonly Finding[]> {
    const { now } = this.#options;
    // A state that cannot be read is told of elsewhere.
    const facts = await this.#state().catch(toldElsewhere);
    return judgeClock({ now, signed: facts ? signedTimes(facts) : [], synchronised: await isSynchronised() });
  }

  async #checkPermissions(): Promise<readonly Finding[]> {
    const { state, anchors = [] } = this.#options;
    if (state === undefined && anchors.length === 0)
      return notChecked(
        'permissions',
        'neither state nor anchors were given',
        'Name them with --state and --anchors.',
      );
    return judgePermissions(await permissionFacts({ state, anchors, loaders: await this.#loaderFolder() }));
  }

  async #checkLoaders(): Promise<readonly Finding[]> {
    const { now } = this.#options;
    const folder = await this.#loaderFolder();
    const { loaders: pins } = (await this.#configuration().catch(toldElsewhere)) ?? DEFAULT_CONFIGURATION;
    const facts = await this.#state().catch(toldElsewhere);
    const hasUki = facts !== undefined && (await this.#hasUki(facts));
    const proxyDhcp = this.#proxyDhcp.length > 0;
    // Others hand them out then, or a release brings them; and of a tree nothing is known here.
    if (folder === undefined && (facts === undefined || !proxyDhcp) && !hasUki)
      return notChecked(
        'loaders',
        'no folder of loaders is given, so others hand them out',
        'Name it with --loaders, or put loaders into STATE/loaders.',
      );
    const roots = await this.#roots().catch((error: unknown) => {
      // It is told with the state.
      if (this.#options.state === undefined) throw error;
      return undefined;
    });
    const sites = roots ? [roots.own, ...roots.others] : [];
    // What the configuration names and is not there is told with the configuration.
    const loaders =
      folder === undefined ? [] : await loaderFacts(folder, await thoseThere(folder, pins), sites);
    const http = (await this.#bound()).map(({ address, port }) => `${urlHost(address)}:${port}`);
    return judgeLoaders(loaders, {
      ...{ folder: folder ?? join(this.#options.state ?? '', 'loaders'), proxyDhcp, hasUki, now },
      http,
    });
  }

  async #checkExpiry(facts: StateFacts): Promise<readonly Finding[]> {
    const { now, anchors = [] } = this.#options;
    if (facts.channels.size === 0)
      return notChecked(
        'expiry',
        'no channel names a release',
        'Publish one: "bootseal publish TREE --channel stable".',
      );
    let status: KeysStatus;
    try {
      status = await keysStatus({ anchors, state: facts.folder, now });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const why = `what the state names cannot be read: ${withoutStop(error.message)}`;
      return notChecked('expiry', why, 'Mend the state first.');
    }
    return [...judgeExpiry(status, now), ...judgeEarlyKeys(await earlyKeys(facts), now)];
  }

  async #checkKeyholder(): Promise<readonly Finding[]> {
    const { keyholder, keyholderUid } = this.#options;
    if (keyholder === undefined)
      return notChecked(
        'keyholder',
        'none was named',
        'Name its socket with --keyholder, where there is one.',
      );
    return checkKeyholder(keyholder, keyholderUid);
  }

  // What several checks need is read once; where that fails, each of them says so.

  #state(): Promise<StateFacts | undefined> {
    const { state } = this.#options;
    return this.#read('state', async () => (state === undefined ? undefined : readStateFacts(state)));
  }

  #roots(): Promise<TrustRoots | undefined> {
    const { anchors = [] } = this.#options;
    return this.#read('roots', async () => (anchors.length === 0 ? undefined : readTrustRoots(anchors)));
  }

  #configuration(): Promise<Configuration> {
    const { config } = this.#options;
    return this.#read('configuration', async () =>
      config === undefined ? DEFAULT_CONFIGURATION : readConfiguration(config),
    );
  }

  #interfaces(): Promise<InterfaceFacts> {
    return this.#read('interfaces', interfaceFacts);
  }

  #ports(): Promise<readonly PortFacts[]> {
    return this.#read('ports', async () => {
      const { httpPort } = this.#options;
      const bootseal = new Set<number>();
      for (const address of await this.#addresses()) {
        if (httpPort === 0 || !isHealthy(await this.#server(reachable(address), httpPort))) continue;
        const holder = await findPortHolder({ transport: 'tcp', port: httpPort, address }).catch(
          () => undefined,
        );
        if (holder) bootseal.add(holder.pid);
      }
      const { table } = await this.#interfaces();
      const from = [...servingAddresses(table, [], this.#proxyDhcp)];
      return portFacts(wantedPorts(this.#options, await this.#addresses(), from), bootseal);
    });
  }

  #server(address: string, port: number) {
    return this.#read(`server ${address}`, () => serverFacts(address, port));
  }

  /** Where it would listen, as it stands in the options; of what "serve" does by default, loopback. */
  async #addresses(): Promise<readonly string[]> {
    if (this.#bind.length > 0) return this.#bind;
    const { table } = await this.#interfaces();
    const own = [...servingAddresses(table, [], this.#proxyDhcp)].filter(isIPv4);
    return own.length > 0 ? own : ['127.0.0.1'];
  }

  /** Where HTTP would listen, where that was said. */
  async #bound(): Promise<readonly Bound[]> {
    const { httpPort } = this.#options;
    if (httpPort === 0 || this.#bind.length + this.#proxyDhcp.length === 0) return [];
    return (await this.#addresses()).map((address) => ({ address, port: httpPort }));
  }

  async #loaderFolder(): Promise<string | undefined> {
    const { loaders, state } = this.#options;
    if (loaders !== undefined || state === undefined) return loaders;
    const own = join(state, 'loaders');
    return (await isThere(own)) ? own : undefined;
  }

  async #hasUki({ folder, releases }: StateFacts): Promise<boolean> {
    for (const id of releases.keys()) if (await isThere(join(folder, 'releases', id, UKI))) return true;
    return false;
  }

  #read<T>(name: string, work: () => Promise<T>): Promise<T> {
    const known = this.#once.get(name) ?? work();
    this.#once.set(name, known);
    return known as Promise<T>;
  }
}

/** Whoever listens at every address is asked at this machine's own. */
function reachable(address: string): string {
  return address === '0.0.0.0' ? '127.0.0.1' : address === '::' ? '::1' : address;
}

async function thoseThere(
  folder: string,
  pins: Readonly<Record<string, string>>,
): Promise<Readonly<Record<string, string>>> {
  const names = new Set(await namesIfThere(folder));
  return Object.fromEntries(Object.entries(pins).filter(([name]) => names.has(name)));
}
