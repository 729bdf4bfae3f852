import { createHash } from 'node:crypto';
import { Refusal } from '../../errors/refusal.ts';
import { decodeManifest, MAX_MANIFEST, type Manifest } from '../../formats/records/manifest.ts';
import { RECORD } from '../../formats/records/seal-names.ts';
import { lastValue, splitCommandLine } from '../../formats/script/cmdline.ts';
import { unverifiedThings, type VerifiedThing } from '../../release/who-verifies.ts';
import { decodeOr } from '../../trust/check.ts';
import type { EarlyOptions, EarlyVerdict } from './contract.ts';
import { EarlyKeys } from './keys.ts';
import { namedManifest, readPolicyFloor } from './manifest.ts';
import { refused, Userspace } from './userspace.ts';

/**
 * Releases whose root image, if they have one, is the system's own to get: an installer, a tool, another system than
 * archiso. What the loader verified is all that is known of them here, and what the system gets later is told apart by
 * who verifies it there.
 */

/** What tells which release a kernel was started for. */
export type StartedFor = Pick<EarlyOptions, 'cmdline' | 'transport' | 'files'>;

/**
 * Whether a machine that was started so asks for a root image. What its initramfs holds decides that in life; here the
 * manifest tells, whose digest stands on the command line. `archisobasedir` is archiso's own word, and archiso always
 * asks for one.
 *
 * @returns what nobody verifies where it does not ask; a `Refusal` where the manifest that the command line names cannot
 *   be had.
 */
export async function asksForRoot({
  cmdline,
  transport,
  files,
}: StartedFor): Promise<true | readonly VerifiedThing[] | Refusal> {
  const named = namedManifest(cmdline);
  if (named === undefined || files === undefined) return true;
  // archiso's hooks have a default for the first, and run wherever the second leads.
  const words = splitCommandLine(cmdline);
  if (['archisobasedir', 'archiso_http_srv'].some((key) => lastValue(words, key) !== undefined)) return true;
  try {
    const manifest = await manifestAt(files, named, transport);
    return manifest.layout === 'archiso' ? true : unverifiedThings(manifest);
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}

async function manifestAt(
  files: string,
  sha256: string,
  transport: StartedFor['transport'],
): Promise<Manifest> {
  const path = RECORD.manifest;
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of (await transport.fetch(files + path)).body) {
    size += piece.length;
    if (size > MAX_MANIFEST)
      throw new Refusal('too-large', `${path} is longer than ${MAX_MANIFEST} bytes, and may not be.`, {
        path,
      });
    pieces.push(piece);
  }
  const bytes = Buffer.concat(pieces);
  if (createHash('sha256').update(bytes).digest('hex') === sha256)
    return decodeOr(path, () => decodeManifest(bytes));
  throw new Refusal('mixed-releases', `${path} is not the one that the command line names.`, { path });
}

/** Early userspace that wants no root image. It holds itself against its manifest only where its policy floor says so. */
export async function runRootless(
  options: EarlyOptions,
  unverified: readonly VerifiedThing[],
): Promise<EarlyVerdict> {
  const mode = options.mode ?? 'ram';
  const nothing = { mode, path: '', verified: undefined, refusal: undefined } as const;
  const none = { ...nothing, rootless: true as const, unverified };
  try {
    const floor = readPolicyFloor(options.initramfs);
    if (!floor.require.includes('manifest')) return { ...none, findings: [] };
    const early = new Userspace(options, EarlyKeys.ofArchiso(options.initramfs), 'curl/7.88.1');
    const enforced = await early.manifest(floor);
    if (!enforced) return { ...none, findings: [] };
    const { manifest, signer } = enforced;
    const evidence = { check: 'manifest', signer, signed: true } as const;
    return { ...none, findings: [{ check: 'manifest', verified: true, evidence }], manifest };
  } catch (error) {
    return { ...refused(error, options, { mode, path: '', stage: 'manifest' }), rootless: true };
  }
}

/** The folder of a release, by the address that a loader fetched a file of it from; undefined where none shows. */
export function releaseFolder(url: string | undefined): string | undefined {
  return /^[a-z]+:\/\/[^/]+(?:\/armed\/[^/]+\/[^/]+)?\/releases\/[^/]+\/[^/]+\//.exec(url ?? '')?.[0];
}
