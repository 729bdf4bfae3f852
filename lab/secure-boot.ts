import { copyFile, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { cpioEntries, encodeCpio } from '../src/formats/archive/cpio.ts';
import { run } from './command.ts';
import { expectMilestones } from './console.ts';
import { labKernel } from './kernel.ts';
import type { Lan } from './lan.ts';
import { labModules } from './modules.ts';
import { bootQemu } from './qemu.ts';

/** Firmware's variables without any key: setup mode. */
const EMPTY = '/usr/share/OVMF/OVMF_VARS_4M.fd';
const GLOBAL = '8be4df61-93ca-11d2-aa0d-00e098032b8c';
const DATABASE = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f';

/** Writes each variable in one piece, as the firmware wants it, and says what came of it. */
const INIT = `#!/bin/busybox sh
b=/bin/busybox
$b mkdir -p /proc /sys /dev
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
exec </dev/null >/dev/console 2>&1
$b insmod /efivarfs.ko
v=/sys/firmware/efi/efivars
$b mount -t efivarfs efivarfs $v
while read -r name; do
	# Linux guards what is there already.
	[ ! -e $v/$name ] || /chattr -i $v/$name
	if $b dd if=/variables/$name of=$v/$name bs=64k 2>/dev/null; then
		$b echo "ENROL: $name taken"
	else
		$b echo "ENROL: $name refused"
	fi
done </order
$b echo "ENROL: done"
$b poweroff -f
`;

export interface EnrolOptions {
  /** Variables to begin with; default: none, setup mode. */
  readonly from?: string;
  /** Where the firmware enforces already: who signs the kernel, PEM files. */
  readonly sign?: { readonly key: string; readonly certificate: string };
}

/**
 * Enrols `.auth` files by the firmware's own hand: Linux writes them to its variables, and the firmware verifies each.
 *
 * @param files in this order; their names begin with the variable's: `db.auth`.
 * @returns the file of variables, and the console.
 */
export async function enrol(
  lan: Lan,
  name: string,
  files: readonly string[],
  { from = EMPTY, sign }: EnrolOptions = {},
): Promise<{ variables: string; log: string }> {
  const variables = join(lan.workFolder, `${name}.fd`);
  await copyFile(from, variables);
  const entries = await Promise.all(
    files.map(async (path) => {
      const variable = basename(path).replace(/\..*$/, '').replace('no-', '');
      const vendor = variable === 'PK' || variable === 'KEK' ? GLOBAL : DATABASE;
      // Linux wants the attributes in front: non-volatile, boot and run time, authenticated by time.
      const data = Buffer.concat([Uint8Array.of(0x27, 0, 0, 0), await readFile(path)]);
      return { name: `${variable}-${vendor}`, data };
    }),
  );
  const initrd = join(lan.workFolder, `${name}.cpio`);
  const folder = (path: string) => ({ kind: 'directory', name: path }) as const;
  const file = (path: string, data: Uint8Array, mode = 0o644) =>
    ({ kind: 'file', name: path, data, mode }) as const;
  const { stdout } = await run('sh', ['-c', 'command -v busybox']);
  const archive = cpioEntries(
    [
      ...[folder('bin'), folder('variables')],
      file('bin/busybox', await readFile(stdout.trim()), 0o755),
      file('efivarfs.ko', await module()),
      ...(await withLibraries('/usr/bin/chattr')),
      file('init', Buffer.from(INIT), 0o755),
      file('order', Buffer.from(entries.map((entry) => `${entry.name}\n`).join(''))),
      ...entries.map((entry) => file(`variables/${entry.name}`, entry.data)),
    ],
    0,
  );
  await writeFile(initrd, encodeCpio(archive));
  let { vmlinuz } = await labKernel();
  if (sign) {
    const signed = join(lan.workFolder, `${name}.vmlinuz`);
    await run('sbsign', ['--key', sign.key, '--cert', sign.certificate, '--output', signed, vmlinuz]);
    vmlinuz = signed;
  }
  const machine = await bootQemu({
    lan,
    firmware: 'efi',
    secureBoot: variables,
    extra: ['-kernel', vmlinuz, '-initrd', initrd, '-append', 'console=ttyS0 panic=-1'],
  });
  const { log } = await machine.ended;
  expectMilestones(log, ['ENROL: done']);
  return { variables, log };
}

/** A program at the top, and its libraries where it looks for them. */
async function withLibraries(program: string) {
  const { stdout } = await run('ldd', [program]);
  const libraries = [...stdout.matchAll(/(?:=>\s+|^\s+)(\/\S+)/gm)].map(([, path = '']) => path.slice(1));
  const folders = new Set(
    libraries.flatMap((path) =>
      path
        .split('/')
        .slice(0, -1)
        .map((_, at, parts) => parts.slice(0, at + 1).join('/')),
    ),
  );
  const file = async (name: string, from: string) =>
    ({ kind: 'file', name, data: await readFile(from), mode: 0o755 }) as const;
  return [
    ...[...folders].map((name) => ({ kind: 'directory', name }) as const),
    await file(basename(program), program),
    ...(await Promise.all(libraries.map((path) => file(path, `/${path}`)))),
  ];
}

async function module(): Promise<Uint8Array> {
  const root = await labModules();
  const found = (await readdir(root, { recursive: true })).find((path) => path.endsWith('/efivarfs.ko'));
  if (found === undefined) throw new Error('the lab has no efivarfs.ko');
  return readFile(join(root, found));
}
