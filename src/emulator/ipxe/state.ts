import type { Refusal } from '../../errors/refusal.ts';
import {
  formatSetting,
  PREDEFINED_SETTINGS,
  parseSetting,
  settingTag,
} from '../../formats/script/ipxe-settings.ts';
import { parseSettingName } from '../../formats/script/ipxe-tokens.ts';
import { Budget } from './budget.ts';
import { Console } from './console.ts';
import type { IpxeEvent, IpxeOptions, Verification } from './contract.ts';
import type { Status } from './failure.ts';
import { Images } from './images.ts';
import { Settings } from './settings.ts';
import { formatUri, parseUri, resolveUri, type Uri } from './uri.ts';

/** A menu or form. */
export interface DynamicUi {
  readonly title: string;
  readonly items: { name: string | undefined; text: string; isDefault: boolean }[];
}

/** What iPXE says in option 77 unless a script sets `user-class`. Source: iPXE `src/net/udp/dhcp.c`. */
const DEFAULT_USER_CLASS = 'iPXE';

/** Everything that changes while the emulated iPXE runs. */
export class State {
  readonly options: IpxeOptions;
  readonly budget = new Budget();
  readonly console: Console;
  readonly settings = new Settings();
  readonly images = new Images();
  readonly menus = new Map<string | undefined, DynamicUi>();
  readonly params = new Set<string>();
  readonly verifications: Verification[] = [];
  readonly refusals: Refusal[] = [];
  /** How many of them were met before the last verified script began. */
  overcome = 0;
  /** Of each script that was fetched and ran: whether an `imgverify` had accepted it. */
  readonly scripts: boolean[] = [];
  /** The working URI: where the running script came from. */
  cwuri: Uri | undefined;
  /** The interface is open and configured. */
  open = false;
  configured = false;
  /** 1 ends the line, 2 the script. Source: `src/core/exec.c`, `shell_stop`. */
  stop: 0 | 1 | 2 = 0;
  errno = 0;
  now: Date;
  steps = 0;
  depth = 0;

  constructor(options: IpxeOptions) {
    this.options = options;
    this.now = options.now;
    this.console = new Console((text) => this.event({ kind: 'console', text }), this.budget.spend);
    if (options.cwuri !== undefined) this.cwuri = parseUri(options.cwuri);
    this.createSettings();
    if (options.machine.dhcpCached === true && options.machine.dhcp !== undefined) this.configure();
  }

  event(event: IpxeEvent): void {
    this.options.onEvent?.(event);
  }

  print(text: string): void {
    this.console.print(text);
  }

  /** Notes a refusal that a failure carries, so that it is reported even if the script goes on. */
  note(status: Status): void {
    const refusal = status?.refusal;
    if (refusal !== undefined && !this.refusals.includes(refusal)) this.refusals.push(refusal);
  }

  /** Whether something stopped this line (1) or this script (2); takes the stop away if it was meant for it. */
  stoppedAt(level: 1 | 2): boolean {
    const stopped = this.stop >= level;
    if (this.stop <= level) this.stop = 0;
    return stopped;
  }

  /** Whether whatever ran so far, beside the loader's own script, had been verified, and something did run. */
  get ranVerified(): boolean {
    return this.scripts.length > 0 && this.scripts.every((verified) => verified);
  }

  /** The last one since a verified script began: what went wrong before that had a way around it, as `/anchors/…` has. */
  get lastRefusal(): Refusal | undefined {
    return this.refusals.slice(this.overcome).at(-1);
  }

  /** Asks DHCP, and takes over what it answers. False where nobody does. */
  configure(): boolean {
    const { dhcp } = this.options.machine;
    this.open = true;
    const userClass = this.settings.fetch(parseSettingName('user-class'))?.text ?? DEFAULT_USER_CLASS;
    this.event({ kind: 'dhcp', userClass });
    const answer = typeof dhcp === 'function' ? dhcp(userClass) : dhcp;
    if (answer === undefined) {
      this.open = false;
      return false;
    }
    this.configured = true;
    this.settings.block('net0.dhcp', true);
    for (const [name, text] of Object.entries(answer)) {
      const tag = PREDEFINED_SETTINGS.get(name)?.dhcp ?? settingTag(name);
      // A DHCP server speaks in option numbers: no option can set what has none.
      if (tag === undefined) throw new RangeError(`no DHCP option carries the setting ${name}`);
      const setting = parseSettingName(`net0.dhcp/${name}`);
      this.settings.store(setting, this.settings.typeFor(setting) ?? 'string', text);
    }
    return true;
  }

  private createSettings(): void {
    const { machine } = this.options;
    const text = (value: string | undefined) => ({
      fetch: () => (value === undefined ? undefined : parseSetting('string', value)),
    });
    this.settings.block('builtin', false);
    this.settings.block('net0', true);
    this.settings.block('smbios', false);
    this.settings.live('builtin', 'buildarch', text(machine.buildarch));
    this.settings.live('builtin', 'platform', text(machine.platform));
    this.settings.live('builtin', 'version', text(machine.version ?? '2.0.0'));
    this.settings.live('builtin', 'cwuri', { fetch: () => this.workingUri('') });
    this.settings.live('builtin', 'cwduri', { fetch: () => this.workingUri('.') });
    this.settings.live('builtin', 'errno', { fetch: () => parseSetting('uint32', String(this.errno)) });
    this.settings.live('builtin', 'unixtime', {
      fetch: () => parseSetting('uint32', String(Math.floor(this.now.getTime() / 1000))),
      store: (octets) => {
        const seconds = Number.parseInt(formatSetting('uint32', octets) ?? '0', 16);
        this.setClock(octets.length === 0 ? this.options.now : new Date(seconds * 1000));
        return undefined;
      },
    });
    let mac = parseSetting('hex', machine.mac);
    this.settings.live('net0', 'mac', {
      fetch: () => mac,
      store: (octets) => {
        mac = octets.length === 0 ? parseSetting('hex', machine.mac) : octets;
        return undefined;
      },
    });
    this.settings.live('net0', 'hwaddr', { fetch: () => parseSetting('hex', machine.mac) });
    this.settings.live('net0', 'ifname', text('net0'));
    this.settings.live('net0', 'linktype', text('Ethernet'));
    for (const name of ['serial', 'manufacturer', 'product', 'asset'] as const) {
      this.settings.live('smbios', name, text(machine[name]));
    }
    this.settings.live('smbios', 'uuid', {
      fetch: () => (machine.uuid === undefined ? undefined : parseSetting('uuid', machine.uuid)),
    });
    // Firmware's variables, in builds for UEFI alone: nothing that DHCP sends comes to stand in this block.
    if (machine.platform !== 'efi') return;
    this.settings.block('efi', false);
    const enforces = machine.secureBoot;
    this.settings.live('efi', 'SecureBoot', {
      fetch: () => (enforces === undefined ? undefined : Uint8Array.of(enforces ? 1 : 0)),
    });
  }

  setClock(now: Date): void {
    this.now = now;
    this.event({ kind: 'clock', now });
  }

  private workingUri(relative: string): Uint8Array | undefined {
    if (this.cwuri === undefined) return undefined;
    return parseSetting('string', formatUri(resolveUri(this.cwuri, parseUri(relative))));
  }
}
