import { cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { publish } from '../src/index.ts';
import { applyMachines } from '../src/publish/channel.ts';
import { readScriptKeys } from '../src/signing/keys/script-keys.ts';
import { DHCP_SERVERS } from './dhcp-servers.ts';
import { CARD, createHost } from './host.ts';
import { createLan, LAN_ADDRESS, type Lan } from './lan.ts';
import { labRelease, ROOTFS } from './release.ts';
import { smallRoot } from './small-root.ts';

/** GRUB 2.06 reaches HTTP on port 80 only. */
export const MACHINES_URL = `http://${LAN_ADDRESS}`;

/** Who is written down in `RULES`, and one who is not. */
export const MACHINES = {
  lab: '52:54:00:1a:00:0a',
  kiosk: '52:54:00:1a:00:0b',
  disk: '52:54:00:1a:00:0d',
  banned: '52:54:00:1a:00:0e',
  stranger: '52:54:00:1a:00:99',
} as const;

/** By group: what its machines reach. */
export const GROUPS = {
  lab: { channel: 'stable', release: 'arch/2026.11.01', word: 'hostname=lab' },
  kiosk: { channel: 'testing', release: 'arch/2026.11.02', word: 'hostname=kiosk' },
} as const;

const named = (name: keyof typeof MACHINES, more: string) =>
  `[[machine]]\nname = "${name}"\nmac = "${MACHINES[name]}"\n${more}\n`;
const RULES = [
  named('lab', 'labels = "lab"'),
  named('kiosk', 'labels = "kiosk"'),
  named('disk', 'gets = { boot = "local" }'),
  named('banned', 'gets = { boot = "refuse" }'),
  ...Object.entries(GROUPS).map(
    ([label, { channel, word }]) =>
      `[[group]]\nname = "${label}s"\nlabels = "${label}"\ngets = { channel = "${channel}", words = ["${word}"] }\n`,
  ),
  '[unknown]\ngets = { boot = "hold" }\n',
].join('\n');

/**
 * A LAN with machines of several kinds: a DHCP server on a machine of its own, which knows nothing of network boots, and
 * a STATE with two releases in two channels, and with what each machine gets, signed.
 */
export interface MachinesLan {
  readonly lan: Lan;
  /** Removed by `close`. */
  readonly folder: string;
  readonly keys: string;
  readonly anchors: string;
  readonly state: string;
  close(): Promise<void>;
}

/** @param keys an `init` folder to seal and sign with; a new one by default. */
export async function machinesLan(keys?: string): Promise<MachinesLan> {
  // Small, and read whole before it starts: what is told apart here is which one was reached.
  const { image } = await smallRoot(1);
  const made = {
    url: MACHINES_URL,
    free: ['ip dhcp', 'BOOTIF mac', 'archiso_http_srv url', 'hostname name'],
    prepare: (tree: string) => writeFile(join(tree, ROOTFS), image),
  };
  const first = await labRelease({ ...made, ...(keys === undefined ? {} : { keys }) });
  const second = await labRelease({ ...made, keys: first.keys, version: '2026.11.02' });
  const anchors = join(first.keys, 'anchors');
  const state = join(first.folder, 'state');
  const now = Date.now();
  for (const [{ tree }, { channel }] of [
    [first, GROUPS.lab],
    [second, GROUPS.kiosk],
  ] as const) {
    const { refusal } = await publish({ tree, anchors, channel, state, now });
    if (refusal) throw refusal;
  }
  await second.remove();
  await mkdir(join(state, 'machines'));
  await writeFile(join(state, 'machines/all.toml'), RULES);
  const scriptKeys = await readScriptKeys(first.keys, now);
  for (const { channel } of Object.values(GROUPS))
    await applyMachines({ state, anchors, channel, scriptKeys, now });

  const lan = await createLan();
  const other = await createHost(lan, '10.77.0.2/24');
  const dhcp = await DHCP_SERVERS.dnsmasq?.({ host: other, card: CARD, address: '10.77.0.2' });
  return {
    ...{ lan, folder: first.folder, keys: first.keys, anchors, state },
    async close() {
      await dhcp?.stop();
      await other.close();
      await lan.close();
      await first.remove();
    },
  };
}

/** A folder of loaders of which one comes from elsewhere. */
export async function loaderFolder(folder: string, file: string, name: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  await cp(file, join(folder, name));
  return folder;
}
