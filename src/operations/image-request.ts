import { createPublicKey } from 'node:crypto';
import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { openRegular } from '../files/measure.ts';
import { isThere } from '../files/read-if-there.ts';
import { readImage } from '../files/read-image.ts';
import { reading } from '../files/reading.ts';
import type { ImageRequest } from '../formats/records/image-request.ts';
import { MAX_BUNDLE } from '../formats/records/request-bundle.ts';
import { writeOutput } from '../release/write-output.ts';
import { imageDigest } from '../signing/authenticode.ts';
import { readCertificateFile } from '../signing/keys/key-folder.ts';
import { type AskPassphrase, accessOf } from '../signing/keys/passphrase.ts';
import { asked } from '../signing/keys/sealing-keys.ts';
import { readDbSigner, readPcrPublicKey, readPcrSigner } from '../signing/keys/secure-boot-signers.ts';
import { demandSuitable } from '../signing/keys/suitable-certificate.ts';
import {
  answerImageRequest,
  attachImageAnswers,
  demandImageOf,
  isAboutImage,
  openImageRequest,
  requestAuthenticode,
  requestPcrSignatures,
} from '../signing/requests/image-request.ts';
import { SigningJournal } from '../signing/requests/signing-journal.ts';
import type { DigestSigner } from '../signing/signers/digest-signer.ts';

export interface ImageRequestOptions {
  /** An EFI image, as `bootseal uki --unsigned` makes it. */
  readonly image: string;
  /** Whose signature it shall get: a folder with a `db.crt`, that certificate itself, or whoever `.pcrpkey` names. */
  readonly by: { readonly anchors: string } | { readonly certificate: string } | 'pcr';
  readonly out: string;
  /** Milliseconds since 1970. */
  readonly now: number;
}

export interface ImageRequested {
  readonly request: ImageRequest;
  /** Bytes. */
  readonly size: number;
}

/** Writes down what must be signed so that an image is. No private key is needed, and the image is not changed. */
export async function requestImageSignature(options: ImageRequestOptions): Promise<ImageRequested> {
  const { image, by, out, now } = options;
  const bytes = await readImage(image);
  const bundle =
    by === 'pcr'
      ? requestPcrSignatures(image, bytes)
      : requestAuthenticode(image, bytes, await dbOf(by, now));
  const { request } = openImageRequest(out, bundle);
  await writeOutput(out, bundle);
  return { request, size: bundle.length };
}

async function dbOf(by: Exclude<ImageRequestOptions['by'], 'pcr'>, now: number) {
  if ('certificate' in by) return readCertificateFile(by.certificate);
  const inner = join(by.anchors, 'anchors', 'db.crt');
  const path = (await isThere(inner)) ? inner : join(by.anchors, 'db.crt');
  const certificate = await readCertificateFile(path);
  demandSuitable(path, certificate, now, 'digitalSignature');
  return certificate;
}

/** Whether a file is a request about an image. Throws a `Refusal` for what cannot be read at all. */
export async function isImageRequestFile(path: string): Promise<boolean> {
  return isAboutImage(await readBundleFile(path));
}

export interface SignImageRequestOptions {
  readonly request: string;
  /** `init --secure-boot` folders, whole or in part. */
  readonly keys: readonly string[];
  /** A program that signs, and its arguments. */
  readonly signerCommand?: readonly string[];
  readonly out: string;
  /** The image itself, whose content whoever signs is shown. A request's own word on it proves nothing. */
  readonly image?: string;
  /** Signs without it, and says so in the journal. */
  readonly blind?: boolean;
  /** A folder that keeps what was signed. */
  readonly journal?: string;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Aborts where nobody waits any more: a signer that is being asked is ended. */
  readonly ended?: AbortSignal;
  /** Who knows the passphrases of keys that have one. */
  readonly passphrase?: AskPassphrase;
  /** Sees what is about to be signed; throws to refuse it. */
  readonly onRequest?: (request: ImageRequest) => void;
}

/**
 * Answers a request about an image where the key is: firmware starts whatever the db key signed, words and all, so
 * nobody signs an image unseen unless told to.
 *
 * @throws a `Refusal`, a `UsageError` or an `IoError`.
 */
export async function signImageRequest(options: SignImageRequestOptions): Promise<ImageRequest> {
  const { image, blind = false, now } = options;
  const opened = openImageRequest(options.request, await readBundleFile(options.request));
  const { request, signatory } = opened;
  const unseen = signatory.key === 'db' && image === undefined;
  if (unseen && !blind) {
    throw new UsageError(
      `${options.request} asks for the db key, and firmware starts whatever that signed: give the image with --image FILE, or sign unseen with --blind.`,
    );
  }
  if (unseen && options.journal === undefined)
    throw new UsageError('--blind goes with --journal DIR, which keeps what was signed unseen.');
  if (image !== undefined) demandImageOf(opened, image, await readImage(image));
  const journal = options.journal === undefined ? undefined : await SigningJournal.open(options.journal);
  options.onRequest?.(request);
  const signer = await answeringKey(opened, options);
  await journal?.note(
    {
      act: 'sign-image',
      image: request.imageDigest,
      ...(unseen ? { blind: true } : {}),
      keys: [signatory.key],
      signatures: request.questions.length,
    },
    now,
  );
  await writeOutput(options.out, await answerImageRequest(opened, signer));
  return request;
}

async function answeringKey(
  { signatory }: ReturnType<typeof openImageRequest>,
  { keys, signerCommand, now, ...options }: SignImageRequestOptions,
): Promise<DigestSigner> {
  const publicKey = signatory.key === 'db' ? signatory.certificate.key.object : signatory.publicKey;
  const access = accessOf(options);
  if (signerCommand) return asked(signerCommand, signatory.key, publicKey, access);
  for (const folder of keys) {
    if (signatory.key === 'db') {
      if (!(await isThere(join(folder, 'anchors', 'db.crt')))) continue;
      const { certificate, signer } = await readDbSigner({ keys: folder }, now, access);
      if (Buffer.compare(certificate.raw, signatory.certificate.raw) === 0) return signer;
    } else {
      const pem = await readPcrPublicKey(folder);
      if (!pem || !createPublicKey(Buffer.from(pem)).equals(publicKey)) continue;
      const signer = await readPcrSigner(folder, access);
      if (signer) return signer;
    }
  }
  throw new UsageError(`None of the keys here is the ${signatory.key} key that is asked for.`);
}

export interface AttachImageOptions {
  /** The image that the request was made of; it is replaced by the signed one. */
  readonly image: string;
  readonly responses: readonly string[];
}

export interface ImageAttached {
  readonly outcome: 'written' | 'kept';
  /** Bytes. */
  readonly size: number;
  /** Authenticode digest, SHA-256, lower-case hex. */
  readonly digest: string;
}

/** Puts the signatures that were made elsewhere into an image. Throws a `Refusal` or an `IoError`. */
export async function attachImage({ image, responses }: AttachImageOptions): Promise<ImageAttached> {
  const answers = [];
  for (const name of responses) answers.push({ name, bytes: await readBundleFile(name) });
  const bytes = await readImage(image);
  const signed = attachImageAnswers(image, bytes, answers);
  const same = Buffer.compare(signed, bytes) === 0;
  if (!same) await writeOutput(image, signed);
  const digest = Buffer.from(imageDigest(signed)).toString('hex');
  return { outcome: same ? 'kept' : 'written', size: signed.length, digest };
}

async function readBundleFile(path: string): Promise<Uint8Array> {
  const { handle, identity } = await openRegular(path);
  return reading(path, handle, async () => {
    if (identity.size > BigInt(MAX_BUNDLE)) {
      throw new Refusal(
        'too-large',
        `${path} has ${identity.size} bytes; no request has more than ${MAX_BUNDLE}.`,
        {
          path,
        },
      );
    }
    return handle.readFile();
  });
}
