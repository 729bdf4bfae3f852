import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { codeOf, IoError, inWords } from '../errors/io.ts';
import { explain } from '../files/atomic-file.ts';
import { readWhole } from '../files/reading.ts';
import { entryFolder } from '../formats/records/entry-folder.ts';
import { writeOutput } from '../release/write-output.ts';
import {
  GRUB_MAC,
  GRUB_PAUSE,
  type GrubServer,
  httpDevice,
  lines,
  serverLines,
} from '../scripts/grub-server.ts';
import {
  type Fragment,
  joinFragments,
  readTemplate,
  renderTemplate,
  type Value,
} from '../scripts/template.ts';
import { demandApart, grubKeyring } from './grub-keyring.ts';
import {
  GRUB_MODULES,
  GRUB_PLATFORMS,
  type GrubPlatform,
  grubModules,
  grubPlatformsOf,
} from './grub-platforms.ts';

export type GrubProtocol = 'http' | 'tftp';

export interface GrubImageOptions {
  /** `script.gpg`, binary: whose signing keys GRUB trusts while it reads grub.cfg. Each must be RSA. */
  readonly scriptKeyring: Uint8Array;
  /** `pubring.gpg`, binary: whose signing keys it trusts from then on, and those of scripts no more. */
  readonly payloadKeyring: Uint8Array;
  /** What the keys are judged at, milliseconds since 1970. GRUB itself knows no time. */
  readonly now: number;
  /** Made where it does not exist. */
  readonly outDir: string;
  readonly server: GrubServer;
  /** Tried in this order; HTTP, then TFTP by default. */
  readonly protocols?: readonly GrubProtocol[];
  /** Seconds between a refusal and the restart; 30 by default. */
  readonly pause?: number;
  /** Default: those of x86. */
  readonly platforms?: readonly GrubPlatform[];
  /**
   * Where GRUB's modules are, if not installed: a root that their package was unpacked into, its `usr/lib/grub`, or the
   * folder of one platform.
   */
  readonly modules?: string;
}

export interface GrubImage {
  readonly platform: GrubPlatform;
  readonly file: string;
  /** Bytes. */
  readonly size: number;
}

/**
 * Run by GRUB's simplest parser before anything else. A user list without a password for any of its users
 * turns every way to a prompt or an editor into a login that cannot succeed; without the list, GRUB lets
 * everybody in.
 */
const FIRST_LINES = `set check_signatures=enforce
export check_signatures
set superusers=nobody
export superusers
`;

/**
 * Builds GRUB images that boot from the network and open nothing without a good OpenPGP signature.
 *
 * @throws Refusal (`unsafe-keys`) for a key that GRUB cannot use; IoError that names the Debian package where a tool
 *   is missing.
 */
export async function buildGrubImages(options: GrubImageOptions): Promise<readonly GrubImage[]> {
  const script = grubKeyring('script.gpg', options.scriptKeyring, options.now);
  const payload = grubKeyring('pubring.gpg', options.payloadKeyring, options.now);
  demandApart(script, payload);
  const platforms = options.platforms ?? grubPlatformsOf('x86_64');
  const protocols = options.protocols ?? (['http', 'tftp'] as const);
  const version = await grubVersion();
  const folders = new Map<GrubPlatform, string>();
  for (const platform of platforms)
    folders.set(platform, await grubModules(platform, version, options.modules));

  const work = await mkdtemp(join(tmpdir(), 'bootseal-grub-'));
  try {
    const scriptKeyIds = script.map(({ keyId }) => keyId);
    // `distrust` strikes off a whole file, so each key has one of its own.
    const trusted = script.map((_, index) => join(work, `script-${index}.gpg`));
    for (const [index, { packet }] of script.entries()) await writeFile(trusted[index] as string, packet);
    await writeFile(join(work, 'first.cfg'), FIRST_LINES);
    await mkdir(options.outDir, { recursive: true }).catch((error: unknown) => {
      throw explain(error, options.outDir);
    });
    const images: GrubImage[] = [];
    for (const platform of platforms) {
      const { arch } = GRUB_PLATFORMS[platform];
      const loader = compileLoaderScript({ ...options, protocols, scriptKeyIds, ...(arch ? { arch } : {}) });
      // GRUB takes what lies in the image itself for verified: the pgp module leaves memory disks alone.
      const memdisk = tarOfFiles([
        ['grub.cfg', Buffer.from(loader, 'latin1')],
        ['payload.gpg', Buffer.concat(payload.map(({ packet }) => packet))],
      ]);
      await writeFile(join(work, 'memdisk.tar'), memdisk);
      const folder = folders.get(platform) ?? '';
      images.push(await makeImage(platform, folder, work, trusted, options.outDir));
    }
    return images;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** The script inside the image: `grub-loader.cfg` with its values. */
export function compileLoaderScript(options: {
  readonly server: GrubServer;
  readonly protocols: readonly GrubProtocol[];
  /** 16 hex digits each. */
  readonly scriptKeyIds: readonly string[];
  readonly pause?: number;
  /** Whose machines look at an entry of their own. */
  readonly arch?: string;
}): string {
  return renderTemplate('grub-loader.cfg', readTemplate('grub-loader.cfg'), {
    pause: { kind: 'hex', text: String(options.pause ?? GRUB_PAUSE) },
    distrust: joinFragments(options.scriptKeyIds.map(distrustLines)),
    server: serverLines(options.server, 'bootseal_loader_refuse'),
    cards: joinFragments(CARDS.map(cardLines)),
    mac: lines(`${GRUB_MAC}\n`, {}),
    attempts: joinFragments(options.protocols.map((protocol) => attempt(protocol, options))),
  });
}

/**
 * Strikes one script key off. Tried twice: the second time must fail, or GRUB knows no `distrust` (`if` of a missing
 * command is true), or trusts that key in another place, too.
 */
function distrustLines(keyId: string): Fragment {
  return lines(
    `  if distrust {{key}}; then
    echo "From here on the script key {{key}} must not be found."
  else
    bootseal_loader_refuse "the script key {{key}} was not trusted."
  fi
  if distrust {{key}}; then bootseal_loader_refuse "the script key {{key}} is still trusted."; fi
`,
    { key: { kind: 'hex', text: keyId } },
  );
}

/** Cards as GRUB numbers them: those of UEFI, and the one that a BIOS started from. */
const CARDS = ['efinet0', 'efinet1', 'efinet2', 'efinet3', 'pxe'];

/** GRUB's own DHCP names what it learned by the card: `net_efinet0_dhcp_mac`. */
function cardLines(card: string): Fragment {
  return lines(
    `if [ -z "$net_default_interface" -a -n "$net_${card}_dhcp_mac" ]; then
  set net_default_interface=${card}_dhcp
  export net_default_interface
  set net_default_server="$net_${card}_dhcp_next_server"
fi
`,
    {},
  );
}

/**
 * Looks for a grub.cfg in two places of a server, the machine's own and the one for all, and runs what it finds.
 * `configfile` keeps its reasons to itself, and opens the file anew: what `verify_detached` saw says why a source is
 * passed over, and proves nothing of what is run, which GRUB verifies by itself. Whatever comes back, by then the payload
 * key may be the trusted one: another source would then have GRUB run what that key signed.
 */
function attempt(
  protocol: GrubProtocol,
  { server, arch }: { readonly server: GrubServer; readonly arch?: string },
): Fragment {
  const device = protocol === 'http' ? httpDevice(server) : lines('tftp,$bootseal_server\n', {});
  const entry: Value | undefined = arch === undefined ? undefined : { kind: 'path', text: entryFolder(arch) };
  const folder = entry ? '/{{entry}}' : '';
  const tried = (indent: string, path: string) =>
    [
      `set bootseal_config="({{device}})${folder}${path}"`,
      'echo "Fetching and verifying $bootseal_config"',
      'if verify_detached "$bootseal_config" "$bootseal_config.sig"; then',
      '  configfile "$bootseal_config"',
      '  bootseal_loader_refuse "grub.cfg came back, and nothing else is tried."',
      'fi',
    ]
      .map((line) => `${indent}${line}\n`)
      .join('');
  return lines(
    `set bootseal_protocol=${protocol}
export bootseal_protocol
if [ -n "$bootseal_machine" ]; then
${tried('  ', '$bootseal_machine/grub.cfg')}fi
${tried('', '/grub.cfg')}`,
    { device, ...(entry ? { entry } : {}) },
  );
}

async function makeImage(
  platform: GrubPlatform,
  folder: string,
  work: string,
  trusted: readonly string[],
  outDir: string,
): Promise<GrubImage> {
  const facts = GRUB_PLATFORMS[platform];
  const made = join(work, facts.fileName);
  const modules = [...facts.modules, ...GRUB_MODULES];
  await tool('grub-mkimage', [
    ...['-O', platform, '-d', folder, '-o', made],
    ...trusted.flatMap((file) => ['-k', file]),
    ...['-c', join(work, 'first.cfg')],
    // The prefix comes after the memory disk, which sets one of its own.
    ...['-m', join(work, 'memdisk.tar'), '-p', '(memdisk)'],
    ...modules,
  ]);
  const bytes = await readWhole(made);
  const file = join(outDir, facts.fileName);
  await writeOutput(file, bytes);
  return { platform, file, size: bytes.length };
}

const BLOCK = 512;

/** A ustar archive (POSIX.1-1988) of files at its top, at time 0, owned by nobody: GRUB's memory disk. */
export function tarOfFiles(files: readonly (readonly [name: string, content: Uint8Array])[]): Uint8Array {
  return Buffer.concat([...files.flatMap(tarEntry), Buffer.alloc(2 * BLOCK)]);
}

function tarEntry([name, content]: readonly [string, Uint8Array]): readonly Uint8Array[] {
  const header = Buffer.alloc(BLOCK);
  header.write(name, 0, 100, 'ascii');
  header.write('0000444\0', 100, 'ascii');
  header.write('0000000\0', 108, 'ascii');
  header.write('0000000\0', 116, 'ascii');
  header.write(`${content.length.toString(8).padStart(11, '0')}\0`, 124, 'ascii');
  header.write(`${'0'.repeat(11)}\0`, 136, 'ascii');
  // The checksum counts its own field as blanks.
  header.write('        ', 148, 'ascii');
  header.write('0', 156, 'ascii');
  header.write('ustar\0' + '00', 257, 'ascii');
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'ascii');
  return [header, content, Buffer.alloc((BLOCK - (content.length % BLOCK)) % BLOCK)];
}

async function grubVersion(): Promise<string> {
  const said = await tool('grub-mkimage', ['--version']);
  return /\) (\d+\.\d+)/.exec(said)?.[1] ?? '0.0';
}

async function tool(command: string, args: readonly string[]): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(command, [...args]);
    return stdout;
  } catch (error) {
    const { stderr } = error as { readonly stderr?: string };
    const why =
      codeOf(error) === 'ENOENT'
        ? `${command} is missing, so no GRUB image can be built; install the package grub-common`
        : `${command} failed, so no GRUB image was built: ${stderr?.trim().split('\n').at(-1) || inWords(error)}`;
    throw new IoError(`${why}.`, command, codeOf(error), { cause: error });
  }
}
