import { UsageError } from '../../errors/usage.ts';
import type { ImageRequest } from '../../formats/records/image-request.ts';
import { attachImage, requestImageSignature, signImageRequest } from '../../operations/image-request.ts';
import type { AskPassphrase } from '../../signing/keys/passphrase.ts';
import type { Context } from '../context.ts';
import { EXIT } from '../exit.ts';
import { interruptible } from '../interrupt.ts';
import { octets, type Terminal } from '../terminal.ts';

/** What `request`, `sign-request` and `attach` do where they are given an EFI image and not a tree. */

export interface ImageRequestWords {
  readonly anchors?: string;
  readonly certificate?: readonly string[];
  readonly pcr?: boolean;
  readonly out: string;
}

export async function requestImage(
  { terminal, now }: Context,
  { anchors, certificate, pcr, out }: ImageRequestWords,
  image: string,
): Promise<number> {
  const [path, ...more] = certificate ?? [];
  const ways = [anchors, path, pcr].filter((way) => way !== undefined);
  if (ways.length !== 1 || more.length > 0) {
    throw new UsageError(
      'Say whose signature the image shall get: --anchors DIR, --certificate FILE, or --pcr.',
    );
  }
  const by = anchors !== undefined ? { anchors } : path !== undefined ? { certificate: path } : 'pcr';
  const { request, size } = await requestImageSignature({ image, by, out, now });
  terminal.json({ out, octets: size, ...request });
  show(terminal, request);
  const count = request.questions.length === 1 ? '1 signature' : `${request.questions.length} signatures`;
  terminal.print();
  terminal.print(
    `${out}: ${count} to make, ${octets(size)}; carry it to the keys: bootseal sign-request ${out} --keys DIR --out RESPONSE`,
    'good',
  );
  return EXIT.ok;
}

export interface SignImageWords {
  readonly keys: readonly string[];
  readonly signerCommand?: readonly string[];
  readonly image?: string;
  readonly blind?: boolean;
  readonly journal?: string;
  readonly passphrase?: AskPassphrase;
  readonly out: string;
}

export async function signImageWords(
  { terminal, now }: Context,
  { keys, signerCommand, image, blind, journal, passphrase, out }: SignImageWords,
  path: string,
): Promise<number> {
  const request = await interruptible((_, ended) =>
    signImageRequest({
      request: path,
      keys,
      ...(signerCommand ? { signerCommand } : {}),
      ...(image === undefined ? {} : { image }),
      ...(blind ? { blind } : {}),
      ...(passphrase ? { passphrase } : {}),
      ...(journal === undefined ? {} : { journal }),
      out,
      now,
      ended,
      onRequest: (opened) => {
        show(terminal, opened, image !== undefined);
        terminal.print();
      },
    }),
  );
  terminal.json({ out, ...request });
  terminal.print(`${out}: ${request.questions.length} of ${request.questions.length} signatures.`, 'good');
  return EXIT.ok;
}

export async function attachImageWords(
  { terminal }: Context,
  image: string,
  responses: readonly string[],
): Promise<number> {
  const attached = await attachImage({ image, responses });
  terminal.json({ image, ...attached });
  terminal.print(
    attached.outcome === 'kept'
      ? `${image} holds these signatures already.`
      : `${image}: ${octets(attached.size)}, image digest ${attached.digest}.`,
    'good',
  );
  return EXIT.ok;
}

/** What whoever signs should look at. The digest alone is what is signed. */
function show(
  terminal: Terminal,
  { title, cmdline, size, imageDigest, questions }: ImageRequest,
  seen = false,
): void {
  terminal.print(`An EFI image of ${octets(size)} that calls itself ${title}`);
  terminal.print(seen ? `command line: ${cmdline}` : `command line, as the request says: ${cmdline}`);
  terminal.print(`image digest: ${imageDigest}`);
  terminal.print();
  terminal.table(
    ['key', 'which', 'over'],
    questions.map(({ key, keySha256, pcr }) => [
      { text: key },
      { text: `sha256 ${keySha256}`, style: 'dim' },
      { text: pcr ? `PCR 11 = ${pcr.value} (${pcr.phase})` : 'the image' },
    ]),
  );
}
