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
import { RECORD } from '../formats/records/seal-names.ts';
import type { SigningRequest } from '../formats/records/signing-request.ts';
import { type Layout, recogniseTree } from '../release/layout.ts';
import { writeOutput } from '../release/write-output.ts';
import type { MakeKeyPair } from '../signing/keys/key-pair.ts';
import { type AskPassphrase, accessOf } from '../signing/keys/passphrase.ts';
import { readLoaderSignatories, readSignatories } from '../signing/keys/public-half.ts';
import { answeringCommand, readAnsweringKeys } from '../signing/keys/sealing-keys.ts';
import { answerRequest, standingAnswers } from '../signing/requests/answer-request.ts';
import { attachAnswers } from '../signing/requests/attach.ts';
import { changesSince } from '../signing/requests/changes.ts';
import { openRequest } from '../signing/requests/open-request.ts';
import { encodeRequest } from '../signing/requests/request.ts';
import { textName } from '../signing/requests/request-files.ts';
import { SigningJournal } from '../signing/requests/signing-journal.ts';
import { type SealTermsRequest, sealTerms } from '../signing/seal-terms.ts';
import { rootOf, type Signatories } from '../signing/signatories.ts';
import type { OtherCa } from '../signing/site-plans.ts';
import { draftTree } from '../signing/tree-draft.ts';
import { type SealedFile, writeSeals } from '../signing/write-seals.ts';
import { anchorId } from '../trust/anchors.ts';
import { demandTerms } from './demand-terms.ts';
import { logSeal } from './log-seal.ts';
import { packTree } from './pack-tree.ts';

/** Sealing in two passes, with the keys elsewhere: `request` here, `sign-request` there, `attach` here. */

export interface SigningRequestOptions extends SealTermsRequest {
  /** A folder of anchors: whose seals the tree shall get. */
  readonly anchors: string;
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
  const layout = await recogniseTree(tree, {
    ...options,
    makePack: (...pack) => packTree(...pack, options.onPack),
  });
  const wanted = demandTerms(layout, options);
  const signatories = await readSignatories(await anchorsIn(options.anchors), now);
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

/** The folder of `init`, or its public half. */
async function anchorsIn(folder: string): Promise<string> {
  return (await isThere(join(folder, 'anchors', 'ca.crt'))) ? join(folder, 'anchors') : folder;
}

async function otherCas(own: Signatories, folders: readonly string[], now: number): Promise<OtherCa[]> {
  const others: OtherCa[] = [];
  const taken = new Set([anchorId(rootOf(own))]);
  for (const folder of folders) {
    const signatories = await readLoaderSignatories(await anchorsIn(folder), now);
    const id = anchorId(rootOf(signatories));
    if (taken.has(id)) {
      throw new UsageError(`${folder} has the same CA as the anchors before it; name each CA once.`);
    }
    taken.add(id);
    others.push({ id, signatories });
  }
  return others;
}

export interface SignRequestOptions {
  /** The request's file, with answers in it or without. */
  readonly request: string;
  /** `init` folders, whole or in part. */
  readonly keys: readonly string[];
  /** A program that signs for all keys that the request asks for, and its arguments. */
  readonly signerCommand?: readonly string[];
  readonly out: string;
  /** A folder that keeps what was signed, so that the next request can be held against it. */
  readonly journal?: string;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Aborts where nobody waits any more: a signer that is being asked is ended. */
  readonly ended?: AbortSignal;
  /** Who knows the passphrases of keys that have one. */
  readonly passphrase?: AskPassphrase;
  /** Sees what is about to be signed; throws to refuse it. */
  readonly onRequest?: (seen: RequestSeen) => void;
  readonly onSignature?: (done: number, of: number) => void;
  /** Called when `out` holds so many new signatures, before it holds all. */
  readonly onPart?: (made: number) => void;
  /** Makes the release leaf's key; default: OpenSSL. */
  readonly makeKeyPair?: MakeKeyPair;
}

/** What whoever signs should look at. */
export interface RequestSeen {
  readonly request: SigningRequest;
  readonly manifest: Manifest;
  /** What is other than in the last release of that name; undefined: none is known of. */
  readonly since: { readonly release: string; readonly changes: readonly string[] } | undefined;
}

export interface RequestSigned extends RequestSeen {
  readonly answered: readonly string[];
  readonly left: readonly { readonly path: string; readonly key: string }[];
}

/**
 * Answers a request where the keys are. Records and scripts are parsed and shown, and their digests are computed here.
 * Where it ends before its time, what was signed so far is in `out`, and a request like any other.
 *
 * @throws a `Refusal` or an `IoError`.
 */
export async function signRequest(options: SignRequestOptions): Promise<RequestSigned> {
  const { out, now, signerCommand } = options;
  const opened = openRequest(options.request, await readBundle(options.request));
  const { request, manifest } = opened;
  const journal = options.journal === undefined ? undefined : await SigningJournal.open(options.journal);
  const [name = ''] = manifest.release.split('/');
  const last = await journal?.last(name);
  const since = last && { release: last.release, changes: changesSince(last, manifest) };
  const seen = { request, manifest, since };
  options.onRequest?.(seen);
  const access = accessOf(options);
  const keys = signerCommand
    ? answeringCommand(signerCommand, opened, access)
    : await readAnsweringKeys(options.keys, opened, now, access);
  const byName = [...keys.signers.keys(), ...keys.issuers.keys()];
  const standing = standingAnswers(opened);
  await journal?.note(
    {
      act: 'sign-request',
      release: manifest.release,
      serial: manifest.serial,
      manifest: request.manifestSha256,
      keys: byName,
      signatures: opened.lacking.filter(({ by, path }) => byName.includes(by) && !standing.has(path)).length,
    },
    now,
  );
  const { bundle, answered, left } = await answerRequest(opened, keys, {
    ...(options.onSignature ? { onSignature: options.onSignature } : {}),
    ...(options.makeKeyPair ? { makeKeyPair: options.makeKeyPair } : {}),
    onPart: async (part, made) => {
      await writeOutput(out, part);
      options.onPart?.(made);
    },
  });
  await writeOutput(out, bundle);
  const record = opened.bundle.get(textName(RECORD.manifest));
  if (record) await journal?.remember(name, record);
  return { ...seen, answered, left };
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
