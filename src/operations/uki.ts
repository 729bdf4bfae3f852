import { createHash } from 'node:crypto';
import { join } from 'node:path';
import {
  ARM64_SINCE,
  composeUki,
  demandRoom,
  kernelVersion,
  ukiCommandLine,
  ukiOsRelease,
} from '../build/uki.ts';
import { readRecord } from '../conformance/tree-transport.ts';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { lstatBeneath, openBeneath } from '../files/beneath.ts';
import { isThere } from '../files/read-if-there.ts';
import { readImage, readOpenedImage } from '../files/read-image.ts';
import { readWhole } from '../files/reading.ts';
import { calledOf } from '../formats/asn1/certificate-name.ts';
import { decodePe } from '../formats/efi/pe.ts';
import { decodeManifest, type Manifest, type ManifestFile } from '../formats/records/manifest.ts';
import { RECORD, UKI } from '../formats/records/seal-names.ts';
import { writeOutput } from '../release/write-output.ts';
import { imageDigest } from '../signing/authenticode.ts';
import { type AskPassphrase, accessOf } from '../signing/keys/passphrase.ts';
import { readDbSigner, type SecureBootKey } from '../signing/keys/secure-boot-signers.ts';
import { signImage, signPcrValues } from '../signing/requests/image-request.ts';
import type { DigestSigner } from '../signing/signers/digest-signer.ts';
import { decodeOr } from '../trust/check.ts';
import { initrdFiles } from '../trust/uki-check.ts';

export interface UkiOptions {
  /** A sealed tree. */
  readonly tree: string;
  /** Default: `uki.efi` at the top of the tree, where `serve` finds it. */
  readonly out?: string;
  /** Whose key signs it; undefined: nobody's yet. */
  readonly signer?: SecureBootKey;
  /** systemd-stub; default: the one that is installed. */
  readonly stub?: string;
  /** A file in the place of the os-release that the release's name makes. */
  readonly osrel?: string;
  /** `http://HOST:PORT`: where early userspace fetches the rest of the release. */
  readonly url?: string;
  /** PEM, into `.pcrpkey`: who will sign for what a TPM measures. */
  readonly pcrPublicKey?: Uint8Array;
  /** Its private half, where it is at hand. */
  readonly pcrSigner?: DigestSigner;
  /** Milliseconds since 1970: what the certificate is judged at. */
  readonly now: number;
  /** Aborts where nobody waits any more: a signer that is being asked is ended. */
  readonly ended?: AbortSignal;
  /** Who knows the passphrases of keys that have one. */
  readonly passphrase?: AskPassphrase;
}

export interface UkiResult {
  readonly out: string;
  /** Bytes. */
  readonly size: number;
  readonly release: string;
  /** `uname -m` of the machines that it is for. */
  readonly arch: string;
  readonly stub: string;
  readonly cmdline: string;
  readonly kernelVersion: string | undefined;
  readonly sections: readonly { readonly name: string; readonly size: number }[];
  /** Authenticode digest, SHA-256, lower-case hex: what dbx would name. */
  readonly digest: string;
  /** Common name of who signed. */
  readonly signer: string | undefined;
}

const STUBS: Readonly<Record<string, string>> = {
  x86_64: 'linuxx64.efi.stub',
  aarch64: 'linuxaa64.efi.stub',
};
const STUB_FOLDER = '/usr/lib/systemd/boot/efi';

/** Makes the whole boot of a sealed tree one image. Throws a `Refusal` or an `IoError`; no output is left then. */
export async function uki(options: UkiOptions): Promise<UkiResult> {
  const { tree, now, url } = options;
  const bytes = await readRecord(tree, RECORD.manifest);
  const manifest = decodeOr(RECORD.manifest, () => decodeManifest(bytes));
  const manifestSha256 = createHash('sha256').update(bytes).digest('hex');
  if (manifest.files.some(({ path }) => path === UKI)) {
    throw new Refusal('malformed', `The release has a file named ${UKI}; give that file another name.`, {
      path: UKI,
    });
  }
  const out = options.out ?? join(tree, UKI);
  const access = accessOf(options);
  const signer = options.signer && (await readDbSigner(options.signer, now, access));
  const stubPath = options.stub ?? (await installedStub(manifest.arch));
  const cmdline = ukiCommandLine(manifest, manifestSha256, url);
  const { kernel, initrds } = await readPayload(tree, manifest);
  const unsigned = composeUki({
    stub: await readImage(stubPath),
    osrel: options.osrel === undefined ? ukiOsRelease(manifest) : await readOsRelease(options.osrel),
    cmdline,
    kernel,
    initrds,
    pcrPublicKey: options.pcrPublicKey,
  });
  const measured = options.pcrSigner ? await signPcrValues(out, unsigned, options.pcrSigner) : unsigned;
  const image = signer ? await signImage(out, measured, signer) : measured;
  await writeOutput(out, image);
  return {
    out,
    size: image.length,
    release: manifest.release,
    arch: manifest.arch,
    stub: stubPath,
    cmdline,
    kernelVersion: kernelVersion(kernel),
    sections: decodePe(image).sections.map(({ name, virtualSize: size }) => ({ name, size })),
    digest: Buffer.from(imageDigest(image)).toString('hex'),
    signer: signer && calledOf(signer.certificate),
  };
}

async function installedStub(arch: string): Promise<string> {
  const path = join(STUB_FOLDER, STUBS[arch] ?? `linux${arch}.efi.stub`);
  if (await isThere(path)) return path;
  const hint =
    arch === 'aarch64' && process.arch !== 'arm64'
      ? `it is in a package of that architecture, so unpack systemd-boot-efi:arm64 of systemd ${ARM64_SINCE} or later ("dpkg-deb -x", docs/arm64.md) and name its ${STUBS[arch]} with --stub`
      : 'install it, or name a stub with --stub';
  throw new UsageError(`There is no ${path} (Debian: systemd-boot-efi); ${hint}.`);
}

/** Kernel and initrds, each the one that the manifest lists. Sizes are looked at before anything is read. */
async function readPayload(
  tree: string,
  manifest: Manifest,
): Promise<{ kernel: Uint8Array; initrds: readonly Uint8Array[] }> {
  const kernel = manifest.files.find(({ role }) => role === 'kernel');
  const initrds = initrdFiles(manifest);
  if (!kernel) {
    throw new Refusal('absent', `The manifest of ${manifest.release} lists no kernel.`, {
      release: manifest.release,
    });
  }
  let bytes = 0;
  for (const { path } of [kernel, ...initrds]) bytes += (await lstatBeneath(tree, path))?.size ?? 0;
  demandRoom(bytes);
  const read = async ({ path, size, sha256, role }: ManifestFile): Promise<Uint8Array> => {
    const bytes = await readOpenedImage(await openBeneath(tree, path), join(tree, path));
    if (bytes.length === size && createHash('sha256').update(bytes).digest('hex') === sha256) return bytes;
    throw new Refusal(
      'drifted',
      `The ${role} ${path} is not the one that the manifest lists; seal the tree anew.`,
      {
        path,
      },
    );
  };
  const pieces: Uint8Array[] = [];
  for (const file of initrds) pieces.push(await read(file));
  return { kernel: await read(kernel), initrds: pieces };
}

async function readOsRelease(path: string): Promise<string> {
  const text = (await readWhole(path)).toString();
  // Whoever reads it looks for lines; os-release(5).
  if (text.length > 0 && text.length <= 65_536 && !text.includes('\0')) return text;
  throw new UsageError(`${path} is no os-release: text of 1 to 65536 bytes.`);
}
