import { EventEmitter, once } from 'node:events';
import { closeSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ConsoleText, findMilestone, type Milestone, shown, tail } from './console.ts';
import type { Lan } from './lan.ts';
import { makePipe } from './pipe.ts';

export interface QemuOptions {
  readonly lan: Lan;
  /** `arm64`: a machine of that architecture, with UEFI. */
  readonly firmware: 'bios' | 'efi' | 'arm64';
  /**
   * With `efi`: firmware that knows Secure Boot, whose variables are in this file and are written to it. It enforces
   * once a PK is among them.
   */
  readonly secureBoot?: string;
  readonly nic?: 'virtio-net-pci' | 'e1000';
  /** True: the card has no ROM, and firmware boots by its own driver; with `secureBoot` and arm64 it always does. */
  readonly ownDriver?: boolean;
  /** False: the firmware does not boot from the card, and leaves it to a loader that came from elsewhere. */
  readonly netboot?: false;
  readonly mac?: string;
  /** 1024 by default. */
  readonly memoryMiB?: number;
  /** Raw disk images, attached writable; the firmware tries the network first all the same. */
  readonly disks?: readonly string[];
  /** What the machine's clock says at power-on (UTC); the host's time by default. */
  readonly clock?: Date;
  /** Further arguments for QEMU, last. */
  readonly extra?: readonly string[];
  /** Milliseconds after which a machine counts as hung and is killed; 5 minutes by default. */
  readonly hungAfter?: number;
}

export interface QemuEnd {
  /** The whole console, plain text. */
  readonly log: string;
  readonly exitCode: number | undefined;
}

export interface QemuMachine {
  readonly mac: string;
  /** The console so far. */
  log(): string;
  /** Whole lines, from power-on, as they come; ends with the machine. */
  lines(): AsyncIterable<string>;
  /**
   * Resolves when the console has shown every milestone, each after the one before; a later call goes on from
   * there. Rejects, with the console's end, when the machine ends or hangs before that.
   */
  waitFor(milestones: readonly Milestone[]): Promise<void>;
  /** Resolves when the machine is off (a reset counts: nothing boots twice); rejects where it hung. */
  readonly ended: Promise<QemuEnd>;
  kill(): Promise<void>;
}

const OVMF = '/usr/share/OVMF/OVMF_CODE_4M.fd';
const OVMF_VARIABLES = '/usr/share/OVMF/OVMF_VARS_4M.fd';
/** Built with SMM, which alone keeps the variables from whoever runs on the machine. */
const OVMF_SECURE = '/usr/share/OVMF/OVMF_CODE_4M.secboot.fd';
const AAVMF = '/usr/share/AAVMF/AAVMF_CODE.fd';
const AAVMF_VARIABLES = '/usr/share/AAVMF/AAVMF_VARS.fd';
const HUNG_AFTER = 5 * 60_000;

let machines = 0;

/** Powers on a machine on the LAN that boots from the network. Emulated without KVM, so that it runs anywhere. */
export async function bootQemu(options: QemuOptions): Promise<QemuMachine> {
  const number = ++machines;
  const mac = options.mac ?? `52:54:00:77:${hex(number >> 8)}:${hex(number)}`;
  const tap = await options.lan.addTap();
  // Firmware has a driver for the card: QEMU's ROM is not signed, and it is for x86.
  const ownDrivers = options.ownDriver ?? (options.secureBoot !== undefined || options.firmware === 'arm64');
  const args = [
    ...['-accel', 'tcg', '-m', String(options.memoryMiB ?? 1024), '-no-reboot'],
    ...['-nographic', '-monitor', 'none', '-serial', 'stdio'],
    ...(await firmwareArguments(options, number)),
    ...['-netdev', `tap,id=n0,ifname=${tap},script=no,downscript=no`],
    ...[
      '-device',
      `${options.nic ?? 'virtio-net-pci'},netdev=n0,mac=${mac}${options.netboot === false ? '' : ',bootindex=1'}${ownDrivers ? ',romfile=' : ''}`,
    ],
    // An emulated CPU has no randomness of its own: gpg and curl would wait for the kernel to gather some.
    ...['-device', 'virtio-rng-pci'],
    ...(options.disks ?? []).flatMap((file) => ['-drive', `file=${file},format=raw,if=virtio`]),
    ...(options.clock === undefined ? [] : ['-rtc', `base=${options.clock.toISOString().slice(0, 19)}`]),
    ...(options.extra ?? []),
  ];

  const serial = await makePipe(options.lan.workFolder);
  const child = options.lan.spawn(
    options.firmware === 'arm64' ? 'qemu-system-aarch64' : 'qemu-system-x86_64',
    args,
    { stdio: ['ignore', serial.writer, 'pipe'] },
  );
  closeSync(serial.writer);
  const console = new ConsoleText();
  const changes = new EventEmitter().setMaxListeners(0);
  let complaints = '';
  let over = false;
  let failure: Error | undefined;
  serial.reader.setEncoding('utf8').on('data', (piece: string) => {
    console.push(piece);
    changes.emit('change');
  });
  const shownAll = once(serial.reader, 'close');
  shownAll.catch(() => {});
  child.stderr?.setEncoding('utf8').on('data', (piece: string) => {
    complaints += piece;
  });
  const guard = setTimeout(() => {
    failure = new Error(`the machine hung and was killed${tail(console.text)}`);
    child.kill('SIGKILL');
  }, options.hungAfter ?? HUNG_AFTER);

  const ended = new Promise<QemuEnd>((resolve, reject) => {
    const settle = (exitCode: number | null) => {
      clearTimeout(guard);
      over = true;
      if (exitCode !== null && exitCode !== 0) {
        failure ??= new Error(`QEMU exited with ${exitCode}: ${complaints.trim()}${tail(console.text)}`);
      }
      if (failure === undefined) resolve({ log: console.text, exitCode: exitCode ?? undefined });
      else reject(failure);
      changes.emit('change');
    };
    child.once('error', (error) => {
      failure = error;
      settle(null);
    });
    child.once('close', (exitCode: number | null) => {
      shownAll.then(() => settle(exitCode), reject);
    });
  });
  // Whoever waits for milestones hears of a failure there.
  ended.catch(() => {});

  let reached = 0;
  return {
    mac,
    ended,
    log: () => console.text,
    async *lines() {
      let from = 0;
      for (;;) {
        const line = console.text.indexOf('\n', from);
        if (line !== -1) {
          yield console.text.slice(from, line);
          from = line + 1;
        } else if (over) {
          if (from < console.text.length) yield console.text.slice(from);
          return;
        } else await once(changes, 'change');
      }
    },
    async waitFor(milestones) {
      for (const milestone of milestones) {
        for (;;) {
          const found = findMilestone(console.text, milestone, reached);
          if (found !== -1) {
            reached = found;
            break;
          }
          if (failure !== undefined) throw failure;
          if (over) {
            throw new Error(`the machine ended and never showed ${shown(milestone)}${tail(console.text)}`);
          }
          await once(changes, 'change');
        }
      }
    },
    async kill() {
      child.kill('SIGKILL');
      await ended.catch(() => undefined);
    },
  };
}

/** The last line of every loader's refusal; after it a script only waits for a person and restarts. */
const SETTLED = 'This machine restarts in 30 seconds';

/**
 * The console of a machine whose loader refused. It is switched off at the refusal's last line instead of half
 * a minute later; a machine that ends without having refused is answered with what it showed.
 */
export async function refusedLog(machine: QemuMachine): Promise<string> {
  await machine.waitFor([SETTLED]).catch(() => {});
  await machine.kill();
  return machine.log();
}

async function firmwareArguments(options: QemuOptions, number: number): Promise<readonly string[]> {
  if (options.firmware === 'bios') return [];
  if (options.secureBoot !== undefined) {
    return [
      ...['-machine', 'q35,smm=on', '-global', 'driver=cfi.pflash01,property=secure,value=on'],
      ...['-drive', `if=pflash,format=raw,unit=0,readonly=on,file=${OVMF_SECURE}`],
      ...['-drive', `if=pflash,format=raw,unit=1,file=${options.secureBoot}`],
    ];
  }
  const arm64 = options.firmware === 'arm64';
  const variables = join(options.lan.workFolder, `variables-${number}.fd`);
  await copyFile(arm64 ? AAVMF_VARIABLES : OVMF_VARIABLES, variables);
  return [
    // The largest model without features that take an emulator long, as signed pointers do.
    ...(arm64 ? ['-machine', 'virt', '-cpu', 'cortex-a72'] : []),
    ...['-drive', `if=pflash,format=raw,unit=0,readonly=on,file=${arm64 ? AAVMF : OVMF}`],
    ...['-drive', `if=pflash,format=raw,unit=1,file=${variables}`],
  ];
}

function hex(octet: number): string {
  return (octet & 0xff).toString(16).padStart(2, '0');
}
