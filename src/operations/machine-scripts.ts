import { createHash } from 'node:crypto';
import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { FolderTree } from '../files/folder-tree.ts';
import { bytesContent } from '../files/measure.ts';
import { readWhole } from '../files/reading.ts';
import { decodeManifest } from '../formats/records/manifest.ts';
import { decodeBundle, encodeBundle } from '../formats/records/request-bundle.ts';
import { type BatchScript, scriptFile } from '../formats/records/script-batch.ts';
import {
  decodeScriptsRequest,
  encodeScriptsRequest,
  isScriptsRequest,
  type RequestedManifest,
  type ScriptsRequest,
} from '../formats/records/scripts-request.ts';
import { RECORD, SEAL } from '../formats/records/seal-names.ts';
import { type BatchFacts, batchLines, type CompiledScript, compileBatch } from '../machines/compile-batch.ts';
import { decodeRules, encodeRules } from '../machines/machine-record.ts';
import { batchFacts, type NamedRelease, toVerify } from '../publish/machine-batch.ts';
import { writeOutput } from '../release/write-output.ts';
import { sealedAddress } from '../scripts/sealed-address.ts';
import { accessOf, type KeyAccess } from '../signing/keys/passphrase.ts';
import { readScriptKeys, type ScriptKeys, sealScript } from '../signing/keys/script-keys.ts';
import { decodeOrRefuse } from '../signing/requests/open-request.ts';
import { MAX_RECORD } from '../store/backend.ts';
import { readChannel } from '../store/channels.ts';
import { recordsOf } from '../store/folder-backend.ts';
import { keepSealed } from '../store/script-batches.ts';
import { shelfOf } from '../store/shelf-of.ts';
import { demandState, openExistingState } from '../store/state.ts';
import { policyFor } from '../store/state-policy.ts';
import { readAnchorFolder } from '../trust/anchor-folder.ts';
import { cmsCheck, leafRules } from '../trust/cms-check.ts';
import { verifyMachineScript } from '../trust/machine-script-check.ts';
import { defaultPolicy } from '../trust/policy.ts';
import { type AnchorFolders, readTrustRoots } from '../trust/trust-roots.ts';
import { Verifier } from '../trust/verifier.ts';
import { verify } from '../trust/verify.ts';

/**
 * The scripts of machines, signed where the keys are. What travels are facts: rules, and the manifests of releases with
 * their seals. Whoever signs verifies these, compiles the scripts once more, and signs what he compiled himself.
 */

const RULES = 'records/machines.json';
/** What of a release travels, by its name there. */
const CARRIED = [RECORD.manifest, RECORD.manifest + SEAL.cms, RECORD.bootIpxe, RECORD.grubCfg] as const;

export interface RequestScriptsOptions {
  readonly state: string;
  readonly channel: string;
  /** A sealed tree that the channel is about to move to; undefined: what it names now. */
  readonly tree?: string | undefined;
  readonly anchors: AnchorFolders;
  readonly out: string;
  /** Milliseconds since 1970. */
  readonly now: number;
}

export interface RequestedScripts {
  readonly request: ScriptsRequest;
  readonly scripts: readonly CompiledScript[];
  /** Bytes. */
  readonly size: number;
}

/** Writes down what machines of a channel get, to be carried to where the keys are. No private key is needed. */
export async function requestScripts(options: RequestScriptsOptions): Promise<RequestedScripts> {
  const { state, channel, tree, out, now } = options;
  await demandState(state);
  const roots = await readTrustRoots(options.anchors);
  const policy = await policyFor(state);
  const named = await namedReleases(options);
  if (tree !== undefined) {
    const moved = await new Verifier(roots, policy, () => now).verifyRecords(new FolderTree(tree));
    if (moved.refusal || !moved.manifest)
      throw moved.refusal ?? new Refusal('no-verdict', `Nothing vouches for ${tree}.`, { path: tree });
    const { release, arch } = moved.manifest;
    const { manifestSha256, records } = moved;
    const other = named.findIndex((one) => one.arch === arch);
    named.splice(other < 0 ? named.length : other, other < 0 ? 0 : 1, {
      arch,
      release,
      manifestSha256,
      records,
    });
  }
  if (named.length === 0)
    throw new UsageError(
      `There is no channel ${channel} in ${state}; give the tree that it shall name with --tree.`,
    );
  const facts = await batchFacts({ state, channel, roots, policy, now }, named);
  if (!facts)
    throw new UsageError(`Nothing is written about machines in ${state}/machines: there is nothing to sign.`);
  const scripts = compileBatch(facts);
  const rules = encodeRules(facts.rules);
  const own = facts.releases.map(({ manifest, manifestSha256 }) => ({
    sha256: manifestSha256,
    release: manifest.release,
  }));
  const kept = [...facts.pinned.values()]
    .map(({ manifest, manifestSha256 }) => ({ sha256: manifestSha256, release: manifest.release }))
    .filter(({ sha256 }) => !own.some((one) => one.sha256 === sha256));
  const request: ScriptsRequest = {
    channel,
    channels: facts.channels,
    manifests: own,
    kept,
    since: Math.floor(now / 1000) * 1000,
    rules: sha256Of(rules),
    scripts: batchLines(scripts),
  };
  const files = new Map<string, Uint8Array>([
    ['index', encodeScriptsRequest(request)],
    [RULES, rules],
  ]);
  for (const one of [...own, ...kept])
    for (const name of CARRIED) {
      const records = named.find(({ manifestSha256 }) => manifestSha256 === one.sha256)?.records;
      const bytes = records?.get(name) ?? (await carried(state, one.release, name, records !== undefined));
      if (bytes) files.set(carriedName(one, name), bytes);
    }
  const bundle = encodeBundle(files);
  await writeOutput(out, bundle);
  return { request, scripts, size: bundle.length };
}

async function namedReleases({
  state,
  channel,
}: RequestScriptsOptions): Promise<(NamedRelease & { readonly arch: string })[]> {
  const current = await readChannel(state, channel);
  return (current?.snapshot.releases ?? []).map(({ arch, release, manifest }) => ({
    arch,
    release,
    manifestSha256: manifest,
  }));
}

async function carried(
  state: string,
  release: string,
  name: string,
  elsewhere: boolean,
): Promise<Uint8Array | undefined> {
  // A release that starts by GRUB alone has no boot.ipxe of use, and the other way round.
  if (elsewhere) return undefined;
  return shelfOf(state).tree(release).read(name, MAX_RECORD);
}

function carriedName({ sha256 }: RequestedManifest, name: string): string {
  return `records/${sha256}/${name}`;
}

/** Whether a file is such a request. Throws a `Refusal` for what cannot be read at all. */
export async function isScriptsRequestFile(path: string): Promise<boolean> {
  const bytes = await readWhole(path);
  try {
    return isScriptsRequest(decodeBundle(bytes).files.get('index') ?? new Uint8Array());
  } catch (error) {
    if (error instanceof Malformed) return false;
    throw error;
  }
}

export interface SignScriptsOptions extends KeyAccess {
  readonly request: string;
  /** Folders as `init` makes them; a folder may hold the boot key alone, or the script key alone. */
  readonly keys: readonly string[];
  readonly out: string;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Sees what is about to be signed; throws to refuse it. */
  readonly onRequest?: (seen: RequestedScripts) => void;
  readonly onSignature?: (done: number, of: number) => void;
}

export interface SignedScripts extends RequestedScripts {
  readonly signed: number;
  /** For keys that are not here. */
  readonly left: number;
}

/**
 * Signs the scripts of machines where the keys are: after the manifests were verified with this site's own anchors, of
 * texts that were compiled here.
 *
 * @throws Refusal, UsageError, IoError
 */
export async function signScriptsRequest(options: SignScriptsOptions): Promise<SignedScripts> {
  const { request: path, keys, out, now } = options;
  const { files, request } = await openScriptsRequest(path);
  const [first] = keys;
  if (first === undefined) throw new UsageError('Say who signs: --keys DIR.');
  const facts = await factsOf(path, files, request, first, now);
  const scripts = compileBatch(facts);
  demandSame(path, request, scripts);
  const seen = { request, scripts, size: 0 };
  options.onRequest?.(seen);
  const signers: ScriptKeys[] = [];
  for (const folder of keys) signers.push(await readScriptKeys(folder, now, accessOf(options)));
  const answers = new Map(files);
  let signed = 0;
  let left = 0;
  for (const script of uniqueTexts(scripts)) {
    const name = answerName(script);
    if (!answers.has(name)) {
      const seal = await firstSeal(signers, script, now);
      if (seal) answers.set(name, seal);
    }
    if (answers.has(name)) signed += 1;
    else left += 1;
    options.onSignature?.(signed + left, scripts.length);
  }
  await writeOutput(out, encodeBundle(answers));
  return { ...seen, signed, left };
}

async function firstSeal(
  signers: readonly ScriptKeys[],
  { loader, bytes }: CompiledScript,
  now: number,
): Promise<Uint8Array | undefined> {
  for (const keys of signers) {
    const seal = await sealScript(keys, loader, bytes, now);
    if (seal) return seal;
  }
  return undefined;
}

async function openScriptsRequest(path: string) {
  const bytes = await readWhole(path);
  const files = decodeOrRefuse(path, () => decodeBundle(bytes).files);
  const index = files.get('index') ?? new Uint8Array();
  const request = decodeOrRefuse(path, () => decodeScriptsRequest(index));
  return { files, request, index };
}

/** Verifies what travelled, with the anchors of whoever signs: nothing else of it is believed. */
async function factsOf(
  path: string,
  files: ReadonlyMap<string, Uint8Array>,
  request: ScriptsRequest,
  keys: string,
  now: number,
): Promise<BatchFacts> {
  const anchors = await readAnchorFolder(keys);
  const { bootSigner } = anchors;
  if (bootSigner === undefined) throw new UsageError(`${keys} holds no boot.crt.`);
  const rules = demandFile(path, files, RULES, request.rules);
  const releaseOf = async (one: RequestedManifest) => {
    const name = carriedName(one, RECORD.manifest);
    const bytes = demandFile(path, files, name, one.sha256);
    const seal = files.get(name + SEAL.cms);
    if (!seal) throw new Refusal('absent', `${path} holds no ${name}${SEAL.cms}.`, { path: name });
    const check = cmsCheck(name, seal, leafRules(anchors.manifest, anchors.ca), defaultPolicy(now), now);
    await verify(name, bytesContent(bytes), [check]);
    const manifest = decodeOrRefuse(path, () => decodeManifest(bytes));
    if (manifest.release !== one.release)
      throw new Refusal('mixed-releases', `${path} brings ${manifest.release} as ${one.release}.`, {});
    // Where bytes come from is nobody's secret and nobody's proof.
    const address = sealedAddress(
      files.get(carriedName(one, RECORD.bootIpxe)),
      files.get(carriedName(one, RECORD.grubCfg)),
    );
    return { manifest, manifestSha256: one.sha256, address };
  };
  const releases = [];
  for (const one of request.manifests) releases.push(await releaseOf(one));
  const pinned = new Map(releases.map((one) => [one.manifest.release, one]));
  for (const one of request.kept) pinned.set(one.release, await releaseOf(one));
  return {
    channel: request.channel,
    channels: request.channels,
    rules: decodeOrRefuse(path, () => decodeRules(rules)),
    releases,
    pinned,
    bootSigner,
  };
}

function demandFile(
  path: string,
  files: ReadonlyMap<string, Uint8Array>,
  name: string,
  sha256: string,
): Uint8Array {
  const bytes = files.get(name);
  if (!bytes)
    throw new Refusal('absent', `${path} holds no ${name}, so it is no whole request.`, { path: name });
  if (sha256Of(bytes) === sha256) return bytes;
  throw new Refusal('malformed', `${name} in ${path} is not what its index names.`, { path: name });
}

/** A script that came out otherwise is of another version of Bootseal, or of other facts: nobody would find its seal. */
function demandSame(path: string, request: ScriptsRequest, scripts: readonly CompiledScript[]): void {
  const wanted = new Set(request.scripts.map(({ sha256 }) => sha256));
  const odd = scripts.find(({ sha256 }) => !wanted.has(sha256));
  if (odd === undefined && wanted.size === new Set(scripts.map(({ sha256 }) => sha256)).size) return;
  throw new Refusal(
    'mixed-releases',
    `${path} asks for other scripts than are made here of its facts; use one version of Bootseal on both sides, and make the request again.`,
    {},
  );
}

export interface AttachScriptsOptions {
  readonly state: string;
  readonly responses: readonly string[];
  readonly anchors: AnchorFolders;
  /** Milliseconds since 1970. */
  readonly now: number;
}

export interface AttachedScripts {
  readonly channel: string;
  /** Scripts that have a seal by now. */
  readonly attached: number;
}

/**
 * Takes seals that were made elsewhere into a state. They count when the channel moves next, or with `machines apply`.
 *
 * @throws Refusal for a seal that no loader would take; nothing is kept then.
 */
export async function attachScripts(options: AttachScriptsOptions): Promise<AttachedScripts> {
  const { responses, anchors, now } = options;
  const roots = await readTrustRoots(anchors);
  const opened = [];
  for (const path of responses) opened.push({ path, ...(await openScriptsRequest(path)) });
  const [first] = opened;
  if (!first) throw new UsageError('Name at least one answer.');
  const other = opened.find(({ index }) => Buffer.compare(index, first.index) !== 0);
  if (other)
    throw new Refusal('mixed-releases', `${other.path} answers another request than ${first.path}.`, {});
  const [folder] = typeof anchors === 'string' ? [anchors] : anchors;
  const facts = await factsOf(first.path, first.files, first.request, folder ?? '', now);
  const scripts = compileBatch(facts);
  demandSame(first.path, first.request, scripts);
  const policy = await policyFor(options.state);
  const sealed: { script: CompiledScript; seal: Uint8Array }[] = [];
  for (const script of uniqueTexts(scripts)) {
    const seal = opened.map(({ files }) => files.get(answerName(script))).find((one) => one !== undefined);
    if (!seal) continue;
    await verifyMachineScript(toVerify(facts, script, seal), roots.own, policy.at(now, now), now);
    sealed.push({ script, seal });
  }
  if (sealed.length === 0)
    throw new Refusal('absent', `${first.path} holds no answer: sign it with "bootseal sign-request".`, {});
  const state = await openExistingState(options.state);
  try {
    const records = recordsOf(state.folder);
    for (const { script, seal } of sealed)
      await keepSealed(records, script.loader, script.sha256, { bytes: script.bytes, seal });
  } finally {
    await state.release();
  }
  return { channel: first.request.channel, attached: sealed.length };
}

function answerName(script: BatchScript): string {
  return scriptFile(script) + SEAL.openpgp;
}

function uniqueTexts(scripts: readonly CompiledScript[]): readonly CompiledScript[] {
  return [...new Map(scripts.map((one) => [answerName(one), one])).values()];
}

function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
