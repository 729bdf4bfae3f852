import { Refusal } from '../errors/refusal.ts';
import { bytesContent, streamContent } from '../files/measure.ts';
import { decodeDetachedOpenpgp } from '../formats/openpgp/openpgp-signature.ts';
import { RECORD, SEAL } from '../formats/records/seal-names.ts';
import { type GrubBoot, grubBoot, grubVariables } from '../formats/script/grub-boot.ts';
import { type GrubEntry, type GrubLead, grubLead } from '../formats/script/grub-menu.ts';
import { openpgpCheck } from '../trust/openpgp-check.ts';
import { verify } from '../trust/verify.ts';
import type { EarlyVerdict } from './early/contract.ts';
import { EarlyKeys } from './early/keys.ts';
import { enforceManifest, readPolicyFloor } from './early/manifest.ts';
import { archisoParameters } from './early/parameters.ts';
import { releaseFolder } from './early/rootless.ts';
import { runEarly } from './early/run.ts';
import { readInitramfs } from './initramfs.ts';
import type { InitramfsTree } from './initramfs-tree.ts';
import type { Offer } from './offer.ts';
import type { Transport } from './transport.ts';

/** GRUB as a client: what its configuration opens, and nothing that another loader found out. */

export const GRUB_WARNINGS = [
  'knows no expiry and no file names: any payload fits in the place of another, and every grub.cfg ever signed runs',
] as const;

const MAX_SEAL = 64 * 1024;
const MAX_CONFIG = 1024 * 1024;
const MAX_INITRD = 1024 ** 3;
const MAX_FILE = 4 * 1024 ** 3;

/** Menus that open menus: more is nothing that a person asked for. */
const MAX_CONFIGS = 4;

/** What becomes of a GRUB: it boots a release, or a verified configuration has it end, for the machine's own disk. */
export type GrubEnd = { readonly kind: 'boot'; readonly boot: GrubBoot } | { readonly kind: 'own-disk' };

/**
 * GRUB verifies every file it opens: its configuration, and those that a menu opens, by the script keys, then the kernel,
 * module and initrds that the last one names, by the payload keys where it had the loader switch to them.
 */
export async function followGrub(offer: Offer): Promise<GrubEnd> {
  let name: string = RECORD.grubCfg;
  for (let opened = 0; opened < MAX_CONFIGS; opened += 1) {
    const config = await openConfig(offer, name);
    const lead = grubLead(config);
    if (!lead) return { kind: 'boot', boot: await load(offer, name, config) };
    demandMachine(offer, name, lead.machines);
    const { opens, exits } =
      lead.kind === 'exit' ? { opens: undefined, exits: true } : pick(offer, name, lead);
    if (opens !== undefined) name = opens.slice(1);
    else if (exits) return { kind: 'own-disk' };
    else throw new Refusal('no-verdict', `An entry of ${name} starts nothing.`, {});
  }
  throw new Refusal('no-verdict', `Menus open menus, ${MAX_CONFIGS} of them.`, {});
}

/** What it boots. A refusal where that is the machine's own disk, which is no release. */
export async function runGrub(offer: Offer): Promise<GrubBoot> {
  const end = await followGrub(offer);
  if (end.kind === 'boot') return end.boot;
  throw new Refusal('no-verdict', `${RECORD.grubCfg} starts the machine's own disk, and no release.`, {});
}

async function openConfig(offer: Offer, name: string): Promise<Uint8Array> {
  const url = `${offer.base}/${name}`;
  const check = await grubCheck(offer, 'script', url, name);
  const config = await collect(offer.transport, url, name, MAX_CONFIG);
  await verify(name, bytesContent(config), [check]);
  return config;
}

/** The entry that a person, or the time, chooses. */
function pick({ choice }: Offer, name: string, menu: Extract<GrubLead, { kind: 'menu' }>): GrubEntry {
  const { entries } = menu;
  if (choice === undefined && !menu.timed)
    throw new Refusal('no-verdict', `The menu of ${name} waits for ever, and nobody chooses.`, {});
  const chosen =
    choice === undefined
      ? (entries.find(({ id }) => id === menu.default) ?? entries[0])
      : entries.find(({ id, label }) => id === choice || label === choice);
  if (chosen) return chosen;
  throw new Refusal('absent', `The menu of ${name} has no entry ${JSON.stringify(choice)}.`, {});
}

function demandMachine(offer: Offer, name: string, machines: readonly string[] | undefined): void {
  const mac = grubVariables(offer.base, offer.mac).get('net_default_mac') ?? '';
  if (machines && !machines.includes(mac))
    throw new Refusal('wrong-machine', `${name} is for other machines than ${mac}.`, { mac });
}

async function load(offer: Offer, config: string, bytes: Uint8Array): Promise<GrubBoot> {
  const boot = grubBoot(bytes, grubVariables(offer.base, offer.mac));
  if (!boot) throw new Refusal('no-verdict', `${config} boots nothing that can be told beforehand.`, {});
  demandMachine(offer, config, boot.machines);
  for (const path of [boot.kernel, ...(boot.module ? [boot.module.path] : []), ...boot.initrds]) {
    const name = path.replace(/^\/(releases\/[^/]+\/[^/]+\/)?/, '');
    const file = offer.base + path;
    const check = await grubCheck(offer, boot.switched ? 'payload' : 'script', file, name);
    const { body } = await offer.transport.fetch(file);
    await verify(name, streamContent(body, name, MAX_FILE), [check]);
  }
  return boot;
}

/** What GRUB starts, and what is in its initrds. */
export interface GrubStart {
  readonly boot: GrubBoot;
  readonly initramfs: InitramfsTree;
}

export async function startByGrub(offer: Offer): Promise<GrubStart> {
  const boot = await runGrub(offer);
  const urls = boot.initrds.map((path) => offer.base + path);
  return { boot, initramfs: await fetchInitramfs(offer.transport, urls) };
}

/** What early userspace makes of what GRUB started, the root image included. */
export async function runGrubEarly(offer: Offer, { boot, initramfs }: GrubStart): Promise<EarlyVerdict> {
  const { transport, base, policy, now, arch = 'x86_64', onEvent } = offer;
  return runEarly({
    initramfs,
    cmdline: boot.cmdline,
    arch,
    transport,
    files: releaseFolder(base + boot.kernel),
    policy,
    now,
    onEvent: (event) => onEvent?.({ stage: 'early', ...event }),
  });
}

/** Throws unless early userspace, started by GRUB, would hold GRUB's own command line against its manifest. */
export async function demandGrubBound(offer: Offer, start?: GrubStart): Promise<void> {
  const { transport, base, policy, now, arch = 'x86_64' } = offer;
  const { boot, initramfs } = start ?? (await startByGrub(offer));
  const server = archisoParameters(boot.cmdline, arch).httpServer ?? `${base}/`;
  const enforced = await enforceManifest({
    cmdline: boot.cmdline,
    arch,
    floor: readPolicyFloor(initramfs),
    keys: EarlyKeys.of(initramfs, boot.cmdline),
    policy,
    now,
    fetch: (name, limit) => named(server, base, () => collect(transport, server + name, name, limit)),
  });
  if (enforced) return;
  throw new Refusal('no-verdict', 'No manifest binds what GRUB boots to one release.', {});
}

/** Says who names an address that is not the one that was asked: a sealed script knows its server beforehand. */
async function named<T>(server: string, base: string, fetch: () => Promise<T>): Promise<T> {
  try {
    return await fetch();
  } catch (error) {
    const { origin } = new URL(server);
    if (!(error instanceof Refusal) || origin === new URL(base).origin) throw error;
    const why = `The sealed ${RECORD.grubCfg} names ${origin}, and this server is ${base}`;
    throw new Refusal(
      error.code,
      `${why}: ${error.message} Serve at that address, or seal with --url ${base}.`,
      { ...error.facts, sealed: origin },
      { cause: error },
    );
  }
}

/** Fetches initrds, unverified, and reads what early userspace looks for in them. */
export async function fetchInitramfs(transport: Transport, urls: readonly string[]): Promise<InitramfsTree> {
  const names = urls.map((url) => url.slice(url.lastIndexOf('/') + 1));
  const parts: Uint8Array[] = [];
  for (const [index, url] of urls.entries()) {
    parts.push(await collect(transport, url, names[index] ?? url, MAX_INITRD));
  }
  return readInitramfs(parts, { ...EarlyKeys.reading, names });
}

/** Its image holds two keys, and one of them at a time: see docs/loaders.md. */
async function grubCheck(
  { anchors, policy, now, transport }: Offer,
  purpose: 'script' | 'payload',
  url: string,
  name: string,
) {
  const seal = name + SEAL.openpgp;
  const bytes = await collect(transport, url + SEAL.openpgp, seal, MAX_SEAL);
  return openpgpCheck(seal, bytes, anchors.openpgp[purpose], policy, signedAt(bytes) ?? now, 'grub');
}

/** GRUB has no clock to judge by: to it every signature is of today. */
function signedAt(seal: Uint8Array): number | undefined {
  try {
    return decodeDetachedOpenpgp(seal)[0]?.created;
  } catch {
    // What cannot be read is refused by the check, by name.
    return undefined;
  }
}

async function collect(transport: Transport, url: string, name: string, limit: number): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of (await transport.fetch(url)).body) {
    size += piece.length;
    if (size > limit)
      throw new Refusal('too-large', `${name} is longer than ${limit} bytes, and may not be.`, {
        path: name,
      });
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
