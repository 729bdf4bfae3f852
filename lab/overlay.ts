import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeManifest, type Role } from '../src/formats/records/manifest.ts';
import type { PolicyFloor, RootMode } from '../src/formats/records/policy-floor.ts';
import { overlay } from '../src/index.ts';
import { LAN_ADDRESS, type Lan } from './lan.ts';
import { labModules } from './modules.ts';
import { bootQemu, type QemuMachine, type QemuOptions } from './qemu.ts';

export const OVERLAY = 'bootseal-overlay.img';

/** Puts an overlay for the lab's kernel at the top of a tree, to be sealed with it. */
export async function addOverlay(
  tree: string,
  keys: string,
  mode: RootMode,
  options: Partial<PolicyFloor> & { readonly modules?: string } = {},
): Promise<void> {
  const { modules = await labModules(), ...floor } = options;
  await overlay({
    anchors: join(keys, 'anchors'),
    out: join(tree, OVERLAY),
    modules,
    now: Date.now(),
    floor: { name: 'arch', minSerial: 2026010100, mode, ...floor },
  });
}

export interface DirectBoot {
  readonly lan: Lan;
  /** A sealed tree: the kernel and the initrds that the machine is given, an overlay where there is one. */
  readonly tree: string;
  readonly release: string;
  /** Changes what the loader would pass. */
  readonly commandLine?: (line: string) => string;
  /** In the place of the release's initrds. */
  readonly initramfs?: Uint8Array;
  /** One more archive, behind the overlay. */
  readonly behind?: Uint8Array;
  readonly memoryMiB?: number;
  readonly mac?: string;
  /** Further arguments for QEMU. */
  readonly extra?: readonly string[];
  /** What the machine's clock says at power-on. */
  readonly clock?: Date;
  readonly hungAfter?: number;
}

/**
 * Starts kernel and initrds without a loader, as one that verified them would: the machine's own RAM is the only
 * place where they have been. Initrds are laid out as loaders do, each at a multiple of four bytes.
 */
export async function bootDirect(options: DirectBoot): Promise<QemuMachine> {
  const { lan, tree, release } = options;
  const text = await readFile(join(tree, 'release.manifest'));
  const manifest = decodeManifest(text);
  const filled: Readonly<Record<string, string>> = {
    ip: 'dhcp',
    archiso_http_srv: `http://${LAN_ADDRESS}:8080/releases/${release}/`,
  };
  const words = [
    ...manifest.cmdline,
    ...manifest.free.flatMap(({ name }) => (filled[name] === undefined ? [] : [`${name}=${filled[name]}`])),
    `bootseal.manifest=${createHash('sha256').update(text).digest('hex')}`,
  ];
  const line = (options.commandLine ?? ((text) => text))(words.join(' '));
  const read = (role: Role) =>
    Promise.all(
      manifest.files.filter((file) => file.role === role).map((file) => readFile(join(tree, file.path))),
    );
  const initrds = [
    ...(options.initramfs ? [options.initramfs] : await read('initrd')),
    ...(await read('overlay')),
    ...(options.behind ? [options.behind] : []),
  ];
  const path = join(lan.workFolder, `initrd-${createHash('sha256').update(line).digest('hex').slice(0, 8)}`);
  await writeFile(path, Buffer.concat(initrds.flatMap((bytes) => [bytes, Buffer.alloc(-bytes.length & 3)])));
  const qemu: QemuOptions = {
    lan,
    firmware: 'bios',
    extra: [
      '-kernel',
      join(tree, manifest.files.find(({ role }) => role === 'kernel')?.path ?? ''),
      '-initrd',
      path,
      '-append',
      line,
      ...(options.extra ?? []),
    ],
    ...(options.clock === undefined ? {} : { clock: options.clock }),
    ...(options.memoryMiB === undefined ? {} : { memoryMiB: options.memoryMiB }),
    ...(options.mac === undefined ? {} : { mac: options.mac }),
    ...(options.hungAfter === undefined ? {} : { hungAfter: options.hungAfter }),
  };
  return bootQemu(qemu);
}

/** The console of a machine until it is off, or until its overlay has refused and halted it: it is then switched off. */
export async function consoleOf(machine: QemuMachine): Promise<string> {
  const halted = machine.waitFor(['The machine is halted.']).then(() => machine.kill());
  await Promise.race([machine.ended, halted.catch(() => machine.ended)]);
  return machine.log();
}
