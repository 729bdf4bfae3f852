import { type BootVerdict, bootMachine, buildarchOf, hasBios } from '../emulator/boot.ts';
import { runArchiso } from '../emulator/early/archiso.ts';
import type { EarlyVerdict } from '../emulator/early/contract.ts';
import { EarlyKeys } from '../emulator/early/keys.ts';
import { startsOverlay } from '../emulator/early/parameters.ts';
import {
  demandGrubBound,
  fetchInitramfs,
  GRUB_WARNINGS,
  runGrub,
  runGrubEarly,
  startByGrub,
} from '../emulator/grub.ts';
import { readInitramfs } from '../emulator/initramfs.ts';
import type { InitramfsTree } from '../emulator/initramfs-tree.ts';
import type { Offer } from '../emulator/offer.ts';
import { Refusal, type RefusalFacts } from '../errors/refusal.ts';
import { RECORD } from '../formats/records/seal-names.ts';
import { manifestOfRefusal } from '../formats/script/ipxe-refusal.ts';
import type { VerifiedThing } from '../release/who-verifies.ts';
import { compileEmbedded } from '../scripts/compile.ts';
import { anchorId } from '../trust/anchors.ts';
import { CLIENTS, type ClientName } from './client-names.ts';

export interface ClientVerdict {
  readonly client: ClientName;
  /** False: this release starts nothing that is this client, so it judged nothing. */
  readonly asked: boolean;
  /** Undefined: verified, where it was asked. */
  readonly refusal: Refusal | undefined;
  /** What this client lets pass by its nature, and a person should know. */
  readonly warnings: readonly string[];
  /** What the system that it starts takes, and nobody on the machine verifies. */
  readonly unverified?: readonly VerifiedThing[];
}

const ARCHISO_WARNINGS = [
  'takes any certificate of the CA for CMS (-purpose any)',
  'takes an OpenPGP message with content of its own for a seal, and never looks at the image (gpg --verify with one file): refused here all the same',
  'opens a shell where a check fails, and mounts the image when that shell ends',
  'asks for no check that the command line does not ask for, and nothing holds the command line to anything',
] as const;

const OVERLAY_INSTEAD: Answer = {
  asked: false,
  warnings: ['judges nothing: this release starts the init of its overlay, which is the client "manifest"'],
};
const NO_ARCHISO: Answer = {
  asked: false,
  warnings: ['judges nothing: this release is no system of archiso’s'],
};
const NO_BIOS: Answer = {
  asked: false,
  warnings: ['judges nothing: this release is for machines that have no BIOS, and "ipxe-efi" is asked'],
};
const NO_MANIFEST_KEY: Answer = {
  asked: false,
  warnings: [
    'judges nothing: the initramfs holds no /bootseal/manifest.crt, so nobody on the machine verifies the command line',
  ],
};
const NOBODY_BINDS: Answer = {
  asked: false,
  warnings: [
    'judges nothing: this release starts no early userspace that is known here, so nobody on the machine holds its command line against the manifest',
  ],
};

/** Of whoever does not say for which machines a release is. */
const DEFAULT_ARCH = 'x86_64';

const BY_GRUB: Answer = {
  asked: false,
  warnings: [
    'judges nothing: this release starts by GRUB, which alone gives a hypervisor and its Linux a sealed command line each',
  ],
};

type Answer = Pick<ClientVerdict, 'asked' | 'warnings' | 'unverified'>;

function yes(warnings: readonly string[] = []): Answer {
  return { asked: true, warnings };
}

/** Runs each client once. What one learns another may use, so they share one emulated boot per firmware. */
export async function runClients(
  offer: Offer,
  names: readonly ClientName[] = CLIENTS,
): Promise<ClientVerdict[]> {
  const efi = new Boot(offer, 'efi');
  const bios = hasBios(offer.arch ?? DEFAULT_ARCH) ? new Boot(offer, 'pcbios') : efi;
  const verdicts: ClientVerdict[] = [];
  for (const client of names) {
    verdicts.push({ client, ...(await judged(() => run(client, offer, bios, efi))) });
  }
  return verdicts;
}

async function run(client: ClientName, offer: Offer, bios: Boot, efi: Boot): Promise<Answer> {
  switch (client) {
    case 'ipxe':
      if (bios === efi) return NO_BIOS;
      return (await bios.leavesItToGrub()) ? BY_GRUB : demandLoader(await bios.verdict());
    case 'ipxe-efi':
      return (await efi.leavesItToGrub()) ? BY_GRUB : demandLoader(await efi.verdict());
    case 'manifest':
      return demandManifest(offer, [bios, efi]);
    case 'archiso':
      return runArchisoAsItIs(offer, bios);
    case 'grub':
      await runGrub(offer);
      return yes(GRUB_WARNINGS);
  }
}

async function judged(work: () => Promise<Answer>): Promise<Omit<ClientVerdict, 'client'>> {
  try {
    return { refusal: undefined, ...(await work()) };
  } catch (error) {
    if (error instanceof Refusal) return { asked: true, refusal: error, warnings: [] };
    throw error;
  }
}

/** One emulated boot, done when it is first asked for. */
class Boot {
  readonly #offer: Offer;
  readonly #platform: 'pcbios' | 'efi';
  #verdict: Promise<BootVerdict> | undefined;

  constructor(offer: Offer, platform: 'pcbios' | 'efi') {
    this.#offer = offer;
    this.#platform = platform;
  }

  verdict(): Promise<BootVerdict> {
    this.#verdict ??= emulatedBoot(this.#offer, this.#platform);
    return this.#verdict;
  }

  /** Whether the loader ran a script that it verified, and which says that iPXE cannot start this release. */
  async leavesItToGrub(): Promise<boolean> {
    const { ipxe, rows } = await this.verdict();
    const script = rows.find(({ role }) => role === 'script')?.findings ?? [];
    if (ipxe.outcome.kind === 'boot' || script.length === 0 || !script.every(({ verified }) => verified))
      return false;
    const pieces: Uint8Array[] = [];
    const { body } = await this.#offer.transport.fetch(`${this.#offer.base}/${RECORD.bootIpxe}`);
    for await (const piece of body) pieces.push(piece);
    return manifestOfRefusal(Buffer.concat(pieces)) !== undefined;
  }
}

async function emulatedBoot(offer: Offer, platform: 'pcbios' | 'efi'): Promise<BootVerdict> {
  const { anchors, transport, base, policy, now, arch = DEFAULT_ARCH } = offer;
  const [ca] = anchors.ca;
  if (!ca || !anchors.bootSigner) {
    throw new Refusal(
      'absent',
      'The anchors hold no boot.crt; without it a loader cannot know whose boot.ipxe to take.',
      {},
    );
  }
  const script = compileEmbedded({ base, anchorId: anchorId(ca), bootSigner: anchors.bootSigner });
  return bootMachine({
    url: `${base}/${RECORD.bootIpxe}`,
    anchors,
    embedded: Buffer.from(script, 'latin1'),
    machine: {
      mac: '52:54:00:12:34:56',
      buildarch: buildarchOf(arch),
      platform,
      dhcp: { ip: '192.0.2.15', 'next-server': new URL(base).hostname },
    },
    transport,
    policy,
    now,
    anyKernel: true,
    ...(offer.onEvent ? { onEvent: offer.onEvent } : {}),
  });
}

function demandLoader(verdict: BootVerdict): Answer {
  for (const { findings } of verdict.rows.filter(({ role }) => role !== 'rootfs')) {
    for (const finding of findings) if (!finding.verified) throw finding.refusal;
  }
  demandAllVerified(verdict);
  const { unverified } = verdict;
  return { asked: true, warnings: unverified.map(byNobody), unverified };
}

function byNobody({ what }: VerifiedThing): string {
  return `starts a system that takes what NOBODY on the machine verifies: ${what}`;
}

/** Throws unless the loader started something, and had verified all of it. */
function demandAllVerified(verdict: BootVerdict): void {
  const { outcome } = verdict.ipxe;
  if (outcome.kind !== 'boot') throw verdict.refusal ?? noVerdict('The loader ended without booting.');
  const unverified = [outcome.kernel, ...outcome.initrds].find((image) => !image.verified);
  if (unverified) {
    // The machine runs by now: told apart from a loader that stopped.
    throw noVerdict(`The loader started ${unverified.name} without verifying it.`, {
      started: unverified.name,
    });
  }
}

async function demandManifest(offer: Offer, boots: readonly Boot[]): Promise<Answer> {
  for (const boot of new Set(boots)) {
    if (await boot.leavesItToGrub()) return demandManifestByGrub(offer);
    const verdict = await boot.verdict();
    if (verdict.rootless && !verdict.bound && !verdict.refusal) return NOBODY_BINDS;
    if (!verdict.bound && !verdict.refusal && !(await couldBind(verdict))) return NO_MANIFEST_KEY;
    demandBound(verdict);
  }
  await demandGrubBound(offer);
  return yes();
}

/** The same of a release that no iPXE starts. */
async function demandManifestByGrub(offer: Offer): Promise<Answer> {
  const start = await startByGrub(offer);
  const verdict = await runGrubEarly(offer, start);
  const bound = verdict.findings.some(({ check, verified }) => check === 'manifest' && verified);
  if (verdict.rootless && !bound && !verdict.refusal) {
    const { unverified = [] } = verdict;
    return { ...NOBODY_BINDS, warnings: [...NOBODY_BINDS.warnings, ...unverified.map(byNobody)], unverified };
  }
  const { canVerifyManifest } = EarlyKeys.of(start.initramfs, start.boot.cmdline);
  if (!bound && !verdict.refusal && !canVerifyManifest) return NO_MANIFEST_KEY;
  await demandGrubBound(offer, start);
  if (verdict.refusal) throw verdict.refusal;
  if (!bound || (!verdict.rootless && !verdict.verified))
    throw noVerdict('No manifest binds what was booted to one release.');
  return yes();
}

/** Whether what was booted holds a key for records at all. */
async function couldBind(verdict: BootVerdict): Promise<boolean> {
  const { outcome } = verdict.ipxe;
  if (outcome.kind !== 'boot') return true;
  const keys = EarlyKeys.of(await bootedInitramfs(verdict), verdict.cmdline ?? '');
  return keys.canVerifyManifest;
}

function demandBound(verdict: BootVerdict): void {
  if (verdict.refusal) throw verdict.refusal;
  demandAllVerified(verdict);
  if (!verdict.verified || !verdict.bound)
    throw noVerdict('No manifest binds what was booted to one release.');
}

/** What is in the initrds that the loader handed over. Throws where it came to no boot. */
export async function bootedInitramfs(verdict: BootVerdict): Promise<InitramfsTree> {
  const { outcome } = verdict.ipxe;
  if (outcome.kind !== 'boot') throw verdict.refusal ?? noVerdict('The loader ended without booting.');
  return readInitramfs(
    outcome.initrds.map(({ bytes }) => bytes),
    { ...EarlyKeys.reading, names: outcome.initrds.map(({ name }) => name) },
  );
}

async function runArchisoAsItIs(offer: Offer, boot: Boot): Promise<Answer> {
  const { transport, policy, now, handover, arch = DEFAULT_ARCH } = offer;
  if (!handover && (await boot.leavesItToGrub())) return BY_GRUB;
  const cmdline = handover?.cmdline ?? (await boot.verdict()).cmdline ?? '';
  if (startsOverlay(cmdline)) return OVERLAY_INSTEAD;
  if (!handover && (await boot.verdict()).rootless) return NO_ARCHISO;
  const initramfs = handover
    ? await fetchInitramfs(transport, handover.initrds)
    : await bootedInitramfs(await boot.verdict());
  const verdict: EarlyVerdict = await runArchiso({
    initramfs,
    cmdline,
    arch,
    transport,
    policy,
    now,
    enforceManifest: false,
    onEvent: (event) => offer.onEvent?.({ stage: 'early', ...event }),
  });
  if (verdict.refusal) throw verdict.refusal;
  return yes(ARCHISO_WARNINGS);
}

function noVerdict(message: string, facts: RefusalFacts = {}): Refusal {
  return new Refusal('no-verdict', message, facts);
}
