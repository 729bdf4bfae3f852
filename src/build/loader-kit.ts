import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { UsageError } from '../errors/usage.ts';
import { explain } from '../files/atomic-file.ts';
import { encodePem } from '../formats/asn1/armor.ts';
import { writeOutput } from '../release/write-output.ts';
import { compileEmbedded, DEFAULT_BASE } from '../scripts/compile.ts';
import { readAnchorFolder } from '../trust/anchor-folder.ts';
import { anchorId } from '../trust/anchors.ts';

export interface EmbeddedScriptOptions {
  readonly anchors: string;
  /** Where the loader fetches; default `http://${next-server}:8080`. */
  readonly url?: string;
  /** A time server, for machines whose clock is lost. */
  readonly ntp?: string;
  /** Whose machines the loader is for, as `uname -m` says it there; undefined: it asks at the top, as those of x86. */
  readonly arch?: string;
}

/** `embedded.ipxe`, for a site to build into its own iPXE. */
export async function embeddedScript(options: EmbeddedScriptOptions): Promise<string> {
  return (await embeddedParts(options)).script;
}

export interface LoaderKit {
  /** Paths, in the order in which they were written. */
  readonly files: readonly string[];
  /** Lower-case hex, of the certificate's DER: what the built loader trusts, and nothing else. */
  readonly fingerprint: string;
  /** CN that the loader demands of `boot.ipxe`. */
  readonly bootSigner: string;
}

/**
 * Writes what a site builds into its own iPXE: the script, the CA it trusts (PEM and DER), and which of iPXE's build
 * variables and options each is for.
 *
 * @param out the folder; made where it does not exist.
 * @throws Refusal where the anchors cannot be read; UsageError without boot.crt; IoError.
 */
export async function writeLoaderKit({
  out,
  ...options
}: EmbeddedScriptOptions & { readonly out: string }): Promise<LoaderKit> {
  const { script, der, bootSigner } = await embeddedParts(options);
  const fingerprint = createHash('sha256').update(der).digest('hex');
  // iPXE's Makefile looks at the names of certificates: another one under the same name would not be built in.
  const ca = `ca-${fingerprint.slice(0, 16)}`;
  await mkdir(out, { recursive: true }).catch((error: unknown) => {
    throw explain(error, out);
  });
  const contents: readonly (readonly [name: string, content: string | Uint8Array])[] = [
    ['embedded.ipxe', script],
    [`${ca}.crt`, encodePem('CERTIFICATE', der)],
    [`${ca}.der`, der],
    ['README', readme(ca, fingerprint, bootSigner, options)],
  ];
  const files: string[] = [];
  for (const [name, content] of contents) {
    const file = join(out, name);
    await writeOutput(file, Buffer.from(content));
    files.push(file);
  }
  return { files, fingerprint, bootSigner };
}

async function embeddedParts(options: EmbeddedScriptOptions) {
  const anchors = await readAnchorFolder(options.anchors);
  const [ca] = anchors.ca;
  if (!ca || !anchors.bootSigner) {
    throw new UsageError(
      `${options.anchors} holds no boot.crt; without it a loader cannot know whose boot.ipxe to take.`,
    );
  }
  const script = compileEmbedded({
    base: options.url ?? DEFAULT_BASE,
    anchorId: anchorId(ca),
    bootSigner: anchors.bootSigner,
    ...(options.ntp === undefined ? {} : { ntp: options.ntp }),
    ...(options.arch === undefined ? {} : { arch: options.arch }),
  });
  return { script, der: ca.raw, bootSigner: anchors.bootSigner };
}

/** Names and meanings are those of iPXE's `src/Makefile.housekeeping` and `src/config/general.h`, as of 2026-08. */
function readme(
  ca: string,
  fingerprint: string,
  bootSigner: string,
  { ntp }: { readonly ntp?: string },
): string {
  const clock = ntp
    ? `  NTP_CMD           needed: the script asks ${ntp} for the time (builds for BIOS leave it out by default)\n`
    : '';
  return `What this site builds into its own iPXE, so that it starts nothing that the site did not sign.

Variables of iPXE's build (src/Makefile.housekeeping):
  EMBED=embedded.ipxe   the script that runs at every start
  TRUST=${ca}.crt   the only root that imgverify accepts from then on
  CERT=${ca}.crt    the same certificate, built in; may be left out, since each seal brings it

Options, as #define in src/config/local/general.h:
  IMAGE_TRUST_CMD   needed: imgtrust and imgverify, which are off by default
${clock}  REBOOT_CMD, POWEROFF_CMD   for machines that shall not stay at the end of a refused boot

${ca}.der is the same certificate for tools that want DER.
Whenever the certificate changes, its file must have another name: behind TRUST= iPXE's Makefile sees names alone.

What the result does:
  It trusts the CA with the SHA-256 fingerprint
    ${fingerprint}
  and takes no boot.ipxe but one that ${bootSigner} signed under it. DHCP decides where that is fetched from.
  It tells DHCP the user class "bootseal" (option 77), by which a server knows it from the iPXE of a network card.
  It says on the screen which trust level it has: "ROM or flash with imgverify", or "network loader with imgverify"
  where it was itself fetched over a network; then whoever holds that network can replace it.
"bootseal loaders DIR" shows of a built loader whether it verifies and whom it trusts.
`;
}
