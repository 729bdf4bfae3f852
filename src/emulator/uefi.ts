import { Refusal } from '../errors/refusal.ts';
import { decodePe, peSection } from '../formats/efi/pe.ts';
import { MAX_PE } from '../formats/efi/pe-write.ts';
import { ukiTitle } from '../formats/efi/uki.ts';
import type { RootMode } from '../formats/records/policy-floor.ts';
import { isReleaseId } from '../formats/records/safe-path.ts';
import { decodeOr } from '../trust/check.ts';
import type { Policy } from '../trust/policy.ts';
import { type SecureBootAnchors, verifySecureBoot } from '../trust/secure-boot-check.ts';
import type { Finding } from '../trust/verify.ts';
import type { AskTime, EarlyVerdict } from './early/contract.ts';
import { EarlyKeys } from './early/keys.ts';
import { releaseFolder } from './early/rootless.ts';
import { runEarly } from './early/run.ts';
import { readInitramfs } from './initramfs.ts';
import type { BootEvent, BootRow, MachineVerdict } from './machine-verdict.ts';
import type { Transport } from './transport.ts';

export interface UefiOptions {
  /** A unified kernel image, `http:` or `tftp:`. */
  readonly url: string;
  /** What is enrolled in the firmware. Never used after it. */
  readonly anchors: SecureBootAnchors;
  /** `uname -m`. */
  readonly arch: string;
  readonly transport: Transport;
  readonly policy: Policy;
  /** Early userspace's clock, milliseconds since 1970; firmware looks at none. */
  readonly now: number;
  /** Of whom early userspace asks the time, where its policy floor names somebody. */
  readonly askTime?: AskTime;
  readonly mode?: RootMode;
  readonly onEvent?: (event: BootEvent) => void;
}

/**
 * Boots one emulated machine whose firmware enforces Secure Boot from a unified kernel image: firmware verifies that
 * one file, the stub in it starts the kernel with the command line and the initrds in it and with nothing else, and
 * early userspace goes on. Resolves with a verdict; a refusal is one.
 */
export async function bootUefi(options: UefiOptions): Promise<MachineVerdict> {
  const { url, anchors, transport, onEvent } = options;
  const name = url.slice(url.lastIndexOf('/') + 1);
  const stopped = (refusal: Refusal, findings: readonly Finding[]) =>
    stoppedVerdict(name, refusal, findings, options.mode);
  let bytes: Uint8Array;
  try {
    onEvent?.({ stage: 'loader', kind: 'fetch', url });
    bytes = await whole(transport, url, name);
  } catch (error) {
    if (error instanceof Refusal) return stopped(error, []);
    throw error;
  }
  // Its signature is inside.
  const said = (refusal: Refusal | undefined, signer: string | undefined) =>
    onEvent?.({
      stage: 'loader',
      kind: 'verification',
      image: name,
      url,
      signatureUrl: url,
      refusal,
      signer,
    });
  // 1. The firmware: one signature, or none of this is started.
  let image: Finding;
  try {
    const { by } = verifySecureBoot(name, bytes, anchors);
    image = { check: 'uefi', verified: true, evidence: { check: 'uefi', signer: by, signed: true } };
    said(undefined, by);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    said(error, undefined);
    return stopped(error, [{ check: 'uefi', verified: false, refusal: error }]);
  }
  return startImage({ name, url, bytes, image }, options);
}

/** What is known of an image that firmware has taken. */
export interface TakenImage {
  readonly name: string;
  readonly url: string;
  readonly bytes: Uint8Array;
  /** By whose signature. */
  readonly image: Finding;
}

/** What comes of an image that firmware has taken, whoever had it started: its stub, then early userspace. */
export async function startImage(
  { name, url, bytes, image }: TakenImage,
  options: UkiOptions,
): Promise<MachineVerdict> {
  try {
    const { early, cmdline } = await runUki(name, url, bytes, options);
    const { rootless = false, unverified = [] } = early;
    return {
      ...BASE,
      mode: early.mode,
      rows: [
        { artifact: name, role: 'image', findings: [image] },
        ...(rootless
          ? []
          : [{ artifact: early.path || 'root image', role: 'rootfs' as const, findings: early.findings }]),
      ],
      rootless,
      unverified,
      refusal: early.refusal,
      verified: rootless
        ? early.refusal === undefined && unverified.length === 0
        : early.verified !== undefined,
      bound: early.findings.some(({ check, verified }) => check === 'manifest' && verified),
      manifest: early.manifest,
      cmdline,
      ...(early.verity ? { verity: early.verity } : {}),
    };
  } catch (error) {
    if (error instanceof Refusal) return stoppedVerdict(name, error, [image], options.mode);
    throw error;
  }
}

const BASE = { loader: 'secure-boot', manifest: undefined, cmdline: undefined } as const;

function stoppedVerdict(
  name: string,
  refusal: Refusal,
  findings: readonly Finding[],
  mode: RootMode = 'ram',
): MachineVerdict {
  const rows: BootRow[] = findings.length > 0 ? [{ artifact: name, role: 'image', findings }] : [];
  return {
    ...BASE,
    mode,
    rows,
    rootless: false,
    unverified: [],
    refusal,
    verified: false,
    bound: false,
  };
}

/** What starts an image needs to know for what comes after it. */
export type UkiOptions = Pick<
  UefiOptions,
  'arch' | 'transport' | 'policy' | 'now' | 'askTime' | 'mode' | 'onEvent'
>;

/**
 * What an image does that firmware has taken: the stub in it, which under Secure Boot takes no other command line than its
 * own, and early userspace, which knows nothing of what came before. Throws a `Refusal` for what is no such image.
 */
async function runUki(
  name: string,
  url: string,
  bytes: Uint8Array,
  { transport, policy, now, arch, onEvent, askTime, mode }: UkiOptions,
): Promise<{ readonly early: EarlyVerdict; readonly cmdline: string }> {
  const section = sectionsOf(name, bytes);
  const cmdline = Buffer.from(section('.cmdline')).toString('latin1');
  const initrd = peSection(bytes, decodePe(bytes), '.initrd');
  const initramfs = await readInitramfs(initrd ? [initrd] : [], {
    ...EarlyKeys.reading,
    names: [`${name} .initrd`],
  });
  const early = await runEarly({
    initramfs,
    cmdline,
    arch,
    transport,
    files: releaseFolder(url) ?? folderByTitle(url, bytes),
    policy,
    now,
    ...(askTime ? { askTime } : {}),
    ...(mode ? { mode } : {}),
    onEvent: (event) => onEvent?.({ stage: 'early', ...event }),
  });
  return { early, cmdline };
}

/** An image at the top of a server says itself which release it is. */
function folderByTitle(url: string, bytes: Uint8Array): string {
  const title = ukiTitle(bytes, decodePe(bytes));
  return new URL(isReleaseId(title) ? `/releases/${title}/` : '.', url).href;
}

function sectionsOf(name: string, bytes: Uint8Array): (section: string) => Uint8Array {
  const image = decodeOr(name, () => decodePe(bytes));
  return (section) => {
    const found = decodeOr(name, () => peSection(bytes, image, section));
    if (found) return found;
    throw new Refusal('malformed', `${name} has no section ${section}, so it is no unified kernel image.`, {
      name: section,
    });
  };
}

async function whole(transport: Transport, url: string, name: string): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of (await transport.fetch(url)).body) {
    size += piece.length;
    if (size > MAX_PE)
      throw new Refusal('too-large', `${name} is longer than the 2 GiB that firmware loads.`, { name });
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
