import { realpath } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { cannotRead, isAbsent } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { openRegular } from '../files/measure.ts';
import { isThere } from '../files/read-if-there.ts';
import { reading } from '../files/reading.ts';
import type { Manifest } from '../formats/records/manifest.ts';
import { MAX_BUNDLE } from '../formats/records/request-bundle.ts';
import type { SigningRequest } from '../formats/records/signing-request.ts';
import { type Layout, recogniseTree } from '../release/layout.ts';
import { writeOutput } from '../release/write-output.ts';
import type { MakeKeyPair } from '../signing/keys/key-pair.ts';
import { readLoaderSignatories, readNamedSignatories, readSignatories } from '../signing/keys/public-half.ts';
import { answeringCommand, readAnsweringKeys } from '../signing/keys/sealing-keys.ts';
import { answerRequest } from '../signing/requests/answer-request.ts';
import { attachAnswers } from '../signing/requests/attach.ts';
import { encodeRequest, openRequest } from '../signing/requests/request.ts';
import { type SealTermsRequest, sealTerms } from '../signing/seal-terms.ts';
import type { Signatories } from '../signing/signatories.ts';
import { draftTree, type OtherCa } from '../signing/tree-draft.ts';
import { type SealedFile, writeSeals } from '../signing/write-seals.ts';
import { anchorId } from '../trust/anchors.ts';
import { demandTerms } from './demand-terms.ts';
import { logSeal } from './log-seal.ts';

/** Sealing in two passes, with the keys elsewhere: `request` here, `sign-request` there, `attach` here. */

export interface SigningRequestOptions extends SealTermsRequest {
  /** A folder of anchors, or the files one by one. */
  readonly signatories:
    | { readonly anchors: string }
    | { readonly certificates: readonly string[]; readonly openpgpKey: string };
  /** Folders of anchors of other CAs whose loaders shall start this release too. */
  readonly alsoAnchors?: readonly string[];
  /** Where the request is written. */
  readonly out: string;
}

export interface RequestMade {
  readonly layout: Layout;
  readonly request: SigningRequest;
  readonly manifest: Manifest;
  /** Bytes. */
  readonly size: number;
}

/** Writes what must be signed so that a tree is sealed. Needs no private key. Throws a `Refusal` or an `IoError`. */
export async function requestSignatures(options: SigningRequestOptions): Promise<RequestMade> {
  const { tree, now, out } = options;
  await demandOutside(tree, out);
  const layout = await recogniseTree(tree, options);
  const wanted = demandTerms(layout, options);
  const signatories = await signatoriesOf(options);
  const others = await otherCas(signatories, options.alsoAnchors ?? [], now);
  const terms = await sealTerms(
    layout,
    wanted,
    others.map(({ id }) => id),
  );
  const draft = await draftTree(tree, layout, signatories, { ...terms, others });
  const bytes = await encodeRequest(tree, draft, signatories, others);
  const { request, manifest } = openRequest(out, bytes);
  // A hash tree is payload: it goes into the tree now, and what is signed is its digest in the manifest.
  const made = draft.files.filter(({ kind }) => kind === 'made');
  await writeSeals(tree, made, new Map(), draft.measured);
  await writeOutput(out, bytes);
  return { layout, request, manifest, size: bytes.length };
}

/** In the tree a request would stand among what is served, or in the place of a kernel. */
async function demandOutside(tree: string, out: string): Promise<void> {
  const folder = await realpath(dirname(out)).catch((error: unknown) => {
    // A folder that is not there is told of when it is written to.
    if (isAbsent(error)) return undefined;
    throw cannotRead(dirname(out), error);
  });
  if (folder === undefined) return;
  const way = relative(await reading(tree, undefined, () => realpath(tree)), folder);
  if (way === '..' || way.startsWith('../')) return;
  throw new UsageError(`${out} is in the tree that it is about; write the request elsewhere.`);
}

async function signatoriesOf({ signatories, now }: SigningRequestOptions): Promise<Signatories> {
  return 'anchors' in signatories
    ? readSignatories(await anchorsIn(signatories.anchors), now)
    : readNamedSignatories(signatories.certificates, signatories.openpgpKey, now);
}

/** The folder of `init`, or its public half. */
async function anchorsIn(folder: string): Promise<string> {
  return (await isThere(join(folder, 'anchors', 'ca.crt'))) ? join(folder, 'anchors') : folder;
}

async function otherCas(own: Signatories, folders: readonly string[], now: number): Promise<OtherCa[]> {
  const others: OtherCa[] = [];
  const taken = new Set([anchorId(own.ca)]);
  for (const folder of folders) {
    const signatories = await readLoaderSignatories(await anchorsIn(folder), now);
    const id = anchorId(signatories.ca);
    if (taken.has(id)) {
      throw new UsageError(`${folder} has the same CA as the anchors before it; name each CA once.`);
    }
    taken.add(id);
    others.push({ id, signatories });
  }
  return others;
}

export interface SignRequestOptions {
  /** The request's file. */
  readonly request: string;
  /** `init` folders, whole or in part. */
  readonly keys: readonly string[];
  /** A program that signs for all keys that the request asks for, and its arguments. */
  readonly signerCommand?: readonly string[];
  readonly out: string;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Aborts where nobody waits any more: a signer that is being asked is ended. */
  readonly ended?: AbortSignal;
  /** Sees what is about to be signed; throws to refuse it. */
  readonly onRequest?: (request: SigningRequest, manifest: Manifest) => void;
  readonly onSignature?: (done: number, of: number) => void;
  /** Makes the release leaf's key; default: OpenSSL. */
  readonly makeKeyPair?: MakeKeyPair;
}

export interface RequestSigned {
  readonly request: SigningRequest;
  readonly manifest: Manifest;
  readonly answered: readonly string[];
  readonly left: readonly { readonly path: string; readonly key: string }[];
}

/** Answers a request where the keys are. Throws a `Refusal` or an `IoError`. */
export async function signRequest(options: SignRequestOptions): Promise<RequestSigned> {
  const opened = openRequest(options.request, await readBundle(options.request));
  options.onRequest?.(opened.request, opened.manifest);
  const waiting = options.ended ? { ended: options.ended } : {};
  const keys = options.signerCommand
    ? answeringCommand(options.signerCommand, opened, waiting)
    : await readAnsweringKeys(options.keys, opened, options.now, waiting);
  const { bundle, answered, left } = await answerRequest(opened, keys, {
    ...(options.onSignature ? { onSignature: options.onSignature } : {}),
    ...(options.makeKeyPair ? { makeKeyPair: options.makeKeyPair } : {}),
  });
  await writeOutput(options.out, bundle);
  return { request: opened.request, manifest: opened.manifest, answered, left };
}

export interface AttachOptions {
  readonly tree: string;
  /** Files with the request and its answers, in any order, whole or in parts. */
  readonly responses: readonly string[];
  /** A STATE folder whose log shall have an entry of this, and the time it gets: milliseconds since 1970. */
  readonly log?: { readonly state: string; readonly now: number };
  readonly onProgress?: (path: string, octets: number, size: number) => void;
}

export interface AttachResult {
  readonly request: SigningRequest;
  readonly manifest: Manifest;
  readonly manifestSha256: string;
  readonly files: readonly SealedFile[];
}

/** Completes a tree with the answers to its request. Throws a `Refusal` or an `IoError`. */
export async function attach({ tree, responses, log, onProgress }: AttachOptions): Promise<AttachResult> {
  const answers = [];
  for (const name of responses) answers.push({ name, bytes: await readBundle(name) });
  const { opened, files } = await attachAnswers(tree, answers, onProgress ? { onProgress } : {});
  const { request, manifest } = opened;
  const { manifestSha256 } = request;
  if (log) await logSeal(log.state, tree, { manifest, manifestSha256, files }, log.now);
  return { request, manifest, manifestSha256, files };
}

async function readBundle(path: string): Promise<Uint8Array> {
  const { handle, identity } = await openRegular(path);
  return reading(path, handle, async () => {
    if (identity.size > BigInt(MAX_BUNDLE)) {
      throw new Refusal(
        'too-large',
        `${path} has ${identity.size} bytes; no request has more than ${MAX_BUNDLE}.`,
        { path },
      );
    }
    // By the descriptor that was looked at: the name may mean a FIFO by now.
    return handle.readFile();
  });
}
