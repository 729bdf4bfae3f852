import { type BootVerdict, bootMachine, buildarchOf, hasBios } from '../emulator/boot.ts';
import type { AskTime } from '../emulator/early/contract.ts';
import type { IpxeAnswers, IpxeMachine } from '../emulator/ipxe/contract.ts';
import type { BootEvent, MachineVerdict } from '../emulator/machine-verdict.ts';
import type { Transport } from '../emulator/transport.ts';
import { httpTransport } from '../emulator/transports/http.ts';
import { tftpTransport } from '../emulator/transports/tftp.ts';
import { bootUefi } from '../emulator/uefi.ts';
import { UsageError } from '../errors/usage.ts';
import { entryOf } from '../formats/records/entry-folder.ts';
import type { RootMode } from '../formats/records/policy-floor.ts';
import { compileEmbedded } from '../scripts/compile.ts';
import { readAnchorFolder } from '../trust/anchor-folder.ts';
import { anchorId } from '../trust/anchors.ts';
import { defaultPolicy } from '../trust/policy.ts';
import { bootUrl, checkedMac } from './boot-target.ts';

export interface BootOptions {
  /** The entry script: `http://HOST:PORT/boot.ipxe`, `tftp://HOST/autoexec.ipxe`. */
  readonly url: string;
  /** What the loader was built with. Absent: a stock iPXE, which cannot verify. */
  readonly anchors?: string;
  /** Default `52:54:00:12:34:56`. */
  readonly mac?: string;
  /** Its own IPv4 address, which the host that emulates it has; default: whichever the host takes. */
  readonly address?: string;
  readonly platform?: 'pcbios' | 'efi';
  /** What the machine runs on, as `uname -m` says it; default: whose entry the address is, else x86_64. */
  readonly arch?: string;
  /** `ram`, the default: the root image is downloaded. `verity`: only the blocks that are read, each verified. */
  readonly mode?: RootMode;
  /** The machine's clock, milliseconds since 1970. */
  readonly now: number;
  /** Of whom early userspace asks the time, where its overlay's policy names somebody; the host's name → milliseconds. */
  readonly askTime?: AskTime;
  readonly answers?: IpxeAnswers;
  /** Takes a sample kernel that is no real one. */
  readonly anyKernel?: boolean;
  readonly onEvent?: (event: BootEvent) => void;
}

const DEFAULT_ARCH = 'x86_64';

/** Boots one emulated machine and resolves with its verdict; a refusal is a verdict too. */
export async function boot(options: BootOptions): Promise<BootVerdict> {
  const url = bootUrl(options.url);
  const anchors = options.anchors === undefined ? undefined : await readAnchorFolder(options.anchors);
  const entry = entryOf(url.pathname)?.arch;
  const arch = options.arch ?? entry ?? DEFAULT_ARCH;
  const embedded = anchors && embeddedScript(url, anchors, entry);
  const platform = options.platform ?? (hasBios(arch) ? 'pcbios' : 'efi');
  if (platform === 'pcbios' && !hasBios(arch))
    throw new UsageError(`There is no BIOS for machines of ${arch}; leave the platform out, or say efi.`);
  const machine: IpxeMachine = {
    mac: checkedMac(options.mac ?? '52:54:00:12:34:56'),
    buildarch: buildarchOf(arch),
    platform,
    manufacturer: 'Bootseal',
    product: 'emulated machine',
    dhcp: { ip: options.address ?? '10.0.2.15', 'next-server': url.hostname, filename: options.url },
  };
  return bootMachine({
    url: options.url,
    anchors,
    machine,
    transport: byScheme(options.address),
    policy: defaultPolicy(options.now),
    now: options.now,
    ...(options.askTime ? { askTime: options.askTime } : {}),
    ...(options.answers ? { answers: options.answers } : {}),
    ...(options.mode ? { mode: options.mode } : {}),
    ...(options.anyKernel ? { anyKernel: true } : {}),
    ...(embedded ? { embedded } : {}),
    ...(options.onEvent ? { onEvent: options.onEvent } : {}),
  });
}

export interface BootImageOptions {
  /** A unified kernel image: `http://HOST:PORT/uki.efi`. */
  readonly url: string;
  /** An `anchors/` folder: its `db.crt` and `dbx.esl` are what is enrolled in the firmware. */
  readonly anchors: string;
  /** What the machine runs on, as `uname -m` says it; default: whose entry the address is, else x86_64. */
  readonly arch?: string;
  /** `ram`, the default, or `verity`, where no overlay decides it. */
  readonly mode?: RootMode;
  /** Early userspace's clock, milliseconds since 1970. */
  readonly now: number;
  readonly askTime?: AskTime;
  readonly onEvent?: (event: BootEvent) => void;
}

/**
 * Boots one emulated machine, whose firmware enforces Secure Boot, from a unified kernel image; a refusal is a
 * verdict. Throws a `Refusal` (`absent`) where the anchors hold no `db.crt`.
 */
export async function bootImage(options: BootImageOptions): Promise<MachineVerdict> {
  const { href, pathname } = bootUrl(options.url);
  const { secureBoot } = await readAnchorFolder(options.anchors);
  if (!secureBoot) {
    throw new UsageError(
      `${options.anchors} holds no db.crt; firmware enforces Secure Boot only with a certificate in db.`,
    );
  }
  return bootUefi({
    ...options,
    url: href,
    anchors: secureBoot,
    arch: options.arch ?? entryOf(pathname)?.arch ?? DEFAULT_ARCH,
    transport: byScheme(),
    policy: defaultPolicy(options.now),
  });
}

/** A loader built with anchors holds `embedded.ipxe`, as rendered for this server and its entry of that architecture. */
function embeddedScript(
  url: URL,
  anchors: Awaited<ReturnType<typeof readAnchorFolder>>,
  arch: string | undefined,
): Uint8Array {
  const [ca] = anchors.ca;
  if (!ca || !anchors.bootSigner) {
    throw new UsageError(
      'The anchors hold no boot.crt; without it a loader cannot know whose boot.ipxe to take.',
    );
  }
  const base = `${url.protocol}//${url.host}`;
  const script = compileEmbedded({
    base,
    anchorId: anchorId(ca),
    bootSigner: anchors.bootSigner,
    ...(arch === undefined ? {} : { arch }),
  });
  return Buffer.from(script, 'latin1');
}

function byScheme(localAddress?: string): Transport {
  const http = httpTransport({
    ...{ connectTimeoutMs: 10_000, stallTimeoutMs: 30_000 },
    ...(localAddress === undefined ? {} : { localAddress }),
  });
  const tftp = tftpTransport({ timeoutMs: 1000, retries: 5, maxBytes: 256 * 1024 * 1024 });
  return { fetch: (url, options) => (url.startsWith('tftp:') ? tftp : http).fetch(url, options) };
}
