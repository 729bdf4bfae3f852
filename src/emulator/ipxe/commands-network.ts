import { parseSettingName } from '../../formats/script/ipxe-tokens.ts';
import { type Call, type CommandTable, couldNot, NAME, TIMEOUT } from './command.ts';
import { describeImage } from './commands-image.ts';
import { download } from './download.ts';
import type { Shell } from './execute.ts';
import { EADDRNOTAVAIL, ENODEV, ENOENT, ENOENT_BOOT, ENOTSUP, ETIMEDOUT, type Status } from './failure.ts';
import { Halt } from './halt.ts';
import type { State } from './state.ts';
import { parseUri, type Uri } from './uri.ts';

/** `ifcommon_exec`: on the interfaces that are named, or on all. There is one, `net0`. */
async function onInterfaces(
  call: Call,
  payload: (state: State) => Promise<Status> | Status,
): Promise<Status> {
  const { state, args } = call;
  if (args.length === 0) return payload(state);
  let status: Status;
  for (const name of args) {
    if (name === 'net0' || (name === 'netX' && state.open)) {
      status = await payload(state);
    } else {
      state.print(`"${name}": no such network device\n`);
      status = ENODEV;
    }
  }
  return status;
}

/** Asks DHCP. */
function configure(state: State): Status {
  const { machine } = state.options;
  state.print(`Configuring (net0 ${machine.mac})...`);
  if (!state.configure()) {
    state.print(` ${EADDRNOTAVAIL.text}\n`);
    return EADDRNOTAVAIL;
  }
  state.print(' ok\n');
  return undefined;
}

function ifstat(state: State): void {
  const { mac } = state.options.machine;
  state.print(`net0: ${mac} using emulated on bootseal (Ethernet) [${state.open ? 'open' : 'closed'}]\n`);
  state.print('  [Link:up, TX:0 TXE:0 RX:0 RXE:0]\n');
}

function route(state: State): void {
  const text = (name: string): string => state.settings.fetch(parseSettingName(`net0/${name}`))?.text ?? '';
  if (!state.configured || text('ip') === '') return;
  const gateway = text('gateway') === '' ? '' : ` gw ${text('gateway')}`;
  state.print(`net0: ${text('ip')}/${text('netmask')}${gateway}${state.open ? '' : ' (inaccessible)'}\n`);
}

/** The URI of what DHCP names. Source: iPXE `src/usr/autoboot.c`, `pxe_uri` in `src/core/uri.c`. */
function bootUri(shell: Shell): Uri | undefined {
  const { state } = shell;
  const value = (name: string): string => state.settings.fetch(parseSettingName(name))?.text ?? '';
  const nextServer = value('next-server');
  if (nextServer !== '') state.print(`Next server: ${nextServer}\n`);
  const filename = shell.expand(value('filename'));
  if (filename === '') return undefined;
  state.print(`Filename: ${filename}\n`);
  const uri = parseUri(filename);
  if (uri.scheme !== undefined && uri.opaque === undefined) return uri;
  return { scheme: 'tftp', host: nextServer, path: `/${filename}` };
}

/** Configures the network and boots what DHCP names: what a stock iPXE does on its own. */
export async function netboot(shell: Shell): Promise<Status> {
  const { state } = shell;
  ifstat(state);
  const failure = state.configured ? undefined : configure(state);
  if (failure !== undefined) return failure;
  route(state);
  const uri = bootUri(shell);
  if (uri === undefined) {
    state.print(`Nothing to boot: ${ENOENT_BOOT.text}\n`);
    return ENOENT_BOOT;
  }
  const image = await download(state, uri, false);
  if ('failure' in image) return image.failure;
  state.print(describeImage(state, image));
  image.autofree = true;
  const status = await shell.executeImage(image);
  if (status !== undefined) return couldNot(state, 'boot image', status);
  state.print('\n');
  return undefined;
}

/** Sources: iPXE `src/hci/commands/ifmgmt_cmd.c`, `dhcp_cmd.c`, `ntp_cmd.c`, `param_cmd.c`, `autoboot_cmd.c`. */
export const networkCommands: CommandTable = {
  ifopen: {
    options: [],
    min: 0,
    usage: '[<interface>...]',
    run: (call) =>
      onInterfaces(call, (state) => {
        state.open = true;
        return undefined;
      }),
  },
  ifclose: {
    options: [],
    min: 0,
    usage: '[<interface>...]',
    run: (call) =>
      onInterfaces(call, (state) => {
        state.open = false;
        return undefined;
      }),
  },
  ifstat: {
    options: [],
    min: 0,
    usage: '[<interface>...]',
    run: (call) =>
      onInterfaces(call, (state) => {
        ifstat(state);
        return undefined;
      }),
  },
  ifconf: ifconf(),
  dhcp: ifconf(),
  iflinkwait: {
    options: [TIMEOUT],
    min: 0,
    usage: '[<interface>...]',
    run: (call) =>
      onInterfaces(call, (state) => {
        state.open = true;
        state.print('Waiting for link-up on net0... ok\n');
        return undefined;
      }),
  },
  route: {
    options: [],
    min: 0,
    max: 0,
    run: ({ state }) => {
      route(state);
      return undefined;
    },
  },
  autoboot: {
    options: [],
    min: 0,
    usage: '[<interface>...]',
    run: (call) => onInterfaces(call, () => netboot(call.shell)),
  },
  ntp: {
    build: 'efi',
    options: [],
    min: 1,
    max: 1,
    usage: '<server>',
    run: ({ state, args }) => {
      const { ntp } = state.options;
      const now = ntp === undefined ? state.now : state.open ? ntp(args[0] ?? '') : undefined;
      if (now === undefined) return couldNot(state, 'get time and date', ETIMEDOUT);
      state.setClock(now);
      return undefined;
    },
  },
  params: {
    build: 'efi',
    options: [
      NAME,
      { long: 'method', short: 'm', kind: 'string' },
      { long: 'delete', short: 'd', kind: 'flag' },
    ],
    min: 0,
    max: 0,
    run: ({ state, strings, flags }) => {
      const name = strings.get('name') ?? '';
      if (flags.has('delete')) state.params.delete(name);
      else state.params.add(name);
      return undefined;
    },
  },
  param: {
    build: 'efi',
    options: [
      { long: 'params', short: 'p', kind: 'string' },
      { long: 'header', short: 'H', kind: 'flag' },
    ],
    min: 1,
    usage: '<key> [<value>]',
    run: ({ state, strings }) => {
      const name = strings.get('params');
      if (state.params.has(name ?? '')) return undefined;
      state.print(name === undefined ? 'No default parameter list\n' : `"${name}": no such parameter list\n`);
      return ENOENT;
    },
  },
  sanboot: san('sanboot'),
  sanhook: san('sanhook'),
  sanunhook: san('sanunhook'),
};

function ifconf(): CommandTable[string] {
  return {
    options: [{ long: 'configurator', short: 'c', kind: 'string' }, TIMEOUT],
    min: 0,
    usage: '[<interface>...]',
    run: (call) => {
      const configurator = call.strings.get('configurator');
      if (configurator === undefined || configurator === 'dhcp') return onInterfaces(call, configure);
      call.state.print(`"${configurator}": no such configurator\n`);
      return ENOTSUP;
    },
  };
}

/**
 * A disk over the network holds nothing that this machine could check: it has none. Without one, `sanboot` asks the BIOS
 * for a drive (iPXE `src/arch/x86/interface/pcbios/int13.c`, `int13_boot`).
 */
function san(name: string): CommandTable[string] {
  return {
    options: [
      { long: 'drive', short: 'd', kind: 'integer' },
      { long: 'no-describe', short: 'n', kind: 'flag' },
      { long: 'keep', short: 'k', kind: 'flag' },
      { long: 'filename', short: 'f', kind: 'string' },
      { long: 'extra', short: 'e', kind: 'string' },
      { long: 'label', short: 'l', kind: 'string' },
      { long: 'uuid', short: 'u', kind: 'string' },
    ],
    min: name === 'sanhook' ? 1 : 0,
    usage: '[<root-path>]',
    run: ({ state, args, numbers }) => {
      if (args.length > 0 || name !== 'sanboot') return couldNot(state, 'open SAN device', ENOTSUP);
      const drive = numbers.get('drive') ?? 0x80;
      const { platform, disk = false } = state.options.machine;
      const device = `SAN device 0x${drive.toString(16)}`;
      state.print(`Booting from ${device}\n`);
      if (platform === 'pcbios' && disk && drive === 0x80) {
        const reason = `a script started the disk 0x${drive.toString(16)}`;
        throw new Halt({ kind: 'own-disk', verified: state.ranVerified, reason });
      }
      state.print(`Boot from ${device} failed: ${ENOTSUP.text}\n`);
      return ENOTSUP;
    },
  };
}
