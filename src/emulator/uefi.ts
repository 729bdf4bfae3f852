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
import type { BootEvent, BootRow, MachineVerdict } from './boot.ts';
import type { AskTime } from './early/contract.ts';
import { EarlyKeys } from './early/keys.ts';
import { releaseFolder } from './early/rootless.ts';
import { runEarly } from './early/run.ts';
import { readInitramfs } from './initramfs.ts';
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
  const { url, anchors, transport, policy, now, arch, onEvent } = options;
  const name = url.slice(url.lastIndexOf('/') + 1);
  const base = { loader: 'secure-boot', manifest: undefined, cmdline: undefined } as const;
  const stopped = (refusal: Refusal, findings: readonly Finding[]): MachineVerdict => {
    const rows: BootRow[] = findings.length > 0 ? [{ artifact: name, role: 'image', findings }] : [];
    return {
      ...base,
      mode: options.mode ?? 'ram',
      rows,
      rootless: false,
      unverified: [],
      refusal,
      verified: false,
      bound: false,
    };
  };
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
  // 2. The stub, which under Secure Boot takes no other command line than its own.
  try {
    const section = sectionsOf(name, bytes);
    const cmdline = Buffer.from(section('.cmdline')).toString('latin1');
    const initrd = peSection(bytes, decodePe(bytes), '.initrd');
    const initramfs = await readInitramfs(initrd ? [initrd] : [], {
      ...EarlyKeys.reading,
      names: [`${name} .initrd`],
    });
    // 3. Early userspace, which knows nothing of what came before.
    const early = await runEarly({
      initramfs,
      cmdline,
      arch,
      transport,
      files: releaseFolder(url) ?? folderByTitle(url, bytes),
      policy,
      now,
      ...(options.askTime ? { askTime: options.askTime } : {}),
      ...(options.mode ? { mode: options.mode } : {}),
      onEvent: (event) => onEvent?.({ stage: 'early', ...event }),
    });
    const { rootless = false, unverified = [] } = early;
    return {
      ...base,
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
    if (error instanceof Refusal) return stopped(error, [image]);
    throw error;
  }
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
