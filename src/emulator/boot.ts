import { Refusal } from '../errors/refusal.ts';
import { bytesContent } from '../files/measure.ts';
import { claimedMac } from '../formats/net/machine-claims.ts';
import type { RootMode } from '../formats/records/policy-floor.ts';
import { OTHER_MACHINES } from '../scripts/machine-set.ts';
import type { Anchors } from '../trust/anchors.ts';
import { cmsCheck, imgverifyRules } from '../trust/cms-check.ts';
import type { Policy } from '../trust/policy.ts';
import { type SecureBootAnchors, verifySecureBoot } from '../trust/secure-boot-check.ts';
import { type Finding, verify } from '../trust/verify.ts';
import type { AskTime, EarlyVerdict } from './early/contract.ts';
import { EarlyKeys } from './early/keys.ts';
import { releaseFolder } from './early/rootless.ts';
import { runEarly } from './early/run.ts';
import { readInitramfs } from './initramfs.ts';
import type { IpxeAnswers, IpxeMachine, IpxeOutcome, IpxeRun } from './ipxe/contract.ts';
import { runIpxe } from './ipxe/run.ts';
import type { BootEvent, BootRow, MachineVerdict } from './machine-verdict.ts';
import type { Transport } from './transport.ts';
import { startImage } from './uefi.ts';

/** What one emulated machine is, and where it boots from. */
export interface BootMachineOptions {
  /** The entry script, `http:` or `tftp:`; its host is what DHCP would name as next-server. */
  readonly url: string;
  /** What the loader was built with; undefined: a stock iPXE, which cannot verify. Never used after it. */
  readonly anchors: Anchors | undefined;
  readonly machine: IpxeMachine;
  readonly transport: Transport;
  readonly policy: Policy;
  /** The machine's clock, milliseconds since 1970. */
  readonly now: number;
  /** Of whom early userspace asks the time, where its policy floor names somebody. */
  readonly askTime?: AskTime;
  readonly answers?: IpxeAnswers;
  /** How early userspace gets at the root image, where no overlay decides it. Default `ram`: all of it is downloaded. */
  readonly mode?: RootMode;
  /** Takes sample kernels that are no real ones. */
  readonly anyKernel?: boolean;
  /** The script built into the loader, without which a loader with anchors would run whatever DHCP names. */
  readonly embedded?: Uint8Array;
  /** What is enrolled in firmware that enforces Secure Boot (`machine.secureBoot`): every image goes through it. */
  readonly firmware?: SecureBootAnchors;
  readonly onEvent?: (event: BootEvent) => void;
}

export interface BootVerdict extends MachineVerdict {
  readonly ipxe: IpxeRun;
}

/**
 * Boots one emulated machine: loader, then early userspace, each trusting only what it was given itself.
 * Resolves with a verdict; a refusal is one.
 */
export async function bootMachine(options: BootMachineOptions): Promise<BootVerdict> {
  // imgtrust binds what a script starts, never the first script: that one must be the loader's own.
  if (options.anchors && !options.embedded)
    throw new TypeError('a loader with anchors has a script built in');
  const evidence = new Map<string, Finding>();
  const taken = new TakenByFirmware();
  const ipxe = await runIpxe({
    transport: options.transport,
    machine: options.machine,
    features: { imgtrust: options.anchors !== undefined, ...(options.anyKernel ? { anyKernel: true } : {}) },
    ...(options.embedded ? { script: { embedded: true, bytes: options.embedded } } : {}),
    now: new Date(options.now),
    ...(options.answers ? { answers: options.answers } : {}),
    verify: async (image, signature, signer, at) => {
      // A script's text is one character per byte; names in certificates are UTF-8.
      const name = signer === undefined ? undefined : Buffer.from(signer, 'latin1').toString('utf8');
      const rules = imgverifyRules(options.anchors?.ca ?? [], name);
      const check = cmsCheck('the seal', signature, rules, options.policy, at.getTime());
      await verify('the image', bytesContent(image), [check]);
    },
    ...(options.firmware ? { firmware: taken.by(options.firmware) } : {}),
    onEvent: (event) => {
      if (event.kind === 'verification') evidence.set(event.image, findingOf(event.refusal, event.signer));
      options.onEvent?.({ stage: 'loader', ...event });
    },
  });
  const loader = options.anchors ? 'verifying' : 'stock';
  const mode = options.mode ?? 'ram';
  const { outcome } = ipxe;
  if (outcome.kind !== 'boot') {
    const ownDisk = outcome.kind === 'own-disk' && outcome.verified && loader === 'verifying';
    const refusal =
      outcome.refusal ??
      (outcome.kind === 'own-disk' ? unasked(outcome.reason) : undefined) ??
      otherMachine(ipxe.console, options.machine.mac) ??
      new Refusal('no-verdict', `The loader ended without booting: ${outcome.reason}.`, {
        outcome: outcome.kind,
      });
    return {
      loader,
      mode,
      rows: loaderRows(ipxe, evidence, loader),
      rootless: false,
      unverified: [],
      refusal: ownDisk ? undefined : refusal,
      ...(ownDisk ? { ownDisk } : {}),
      verified: false,
      bound: false,
      manifest: undefined,
      cmdline: undefined,
      ipxe,
    };
  }
  const { kernel } = outcome;
  const image = taken.finding(kernel.bytes);
  if (image && kernel.url !== undefined) {
    const arch = unameOf(options.machine.buildarch);
    const { name, url, bytes } = kernel;
    return { ...(await startImage({ name, url, bytes, image }, { ...options, arch })), ipxe };
  }
  const started = await early(outcome, options);
  const { rootless = false, unverified = [] } = started;
  const rows = loaderRows(ipxe, evidence, loader);
  const root: BootRow = {
    artifact: started.path || 'root image',
    role: 'rootfs',
    findings: started.findings,
  };
  const loaded = [outcome.kernel, ...outcome.initrds];
  return {
    loader,
    mode: started.mode,
    rows: rootless ? rows : [...rows, root],
    rootless,
    unverified,
    refusal: started.refusal,
    verified:
      (rootless
        ? started.refusal === undefined && unverified.length === 0
        : started.verified !== undefined) &&
      loader === 'verifying' &&
      loaded.every((image) => image.verified),
    bound: started.findings.some(({ check, verified }) => check === 'manifest' && verified),
    manifest: started.manifest,
    cmdline: outcome.cmdline,
    ...(started.verity ? { verity: started.verity } : {}),
    ipxe,
  };
}

function unasked(reason: string): Refusal {
  return new Refusal(
    'no-verdict',
    `The machine starts from its own disk, and nobody verified what told it to: ${reason}.`,
    {},
  );
}

/** What our own script says when it is for others; the verdict is a refusal whoever wrote that text. */
function otherMachine(console: string, mac: string): Refusal | undefined {
  return console.includes(OTHER_MACHINES)
    ? new Refusal('wrong-machine', `The script is for other machines than ${mac}.`, { mac })
    : undefined;
}

/** What firmware found of the images that a loader had it start. */
class TakenByFirmware {
  readonly #findings = new Map<Uint8Array, Finding>();

  /** As an emulated iPXE asks it. */
  by(anchors: SecureBootAnchors): (name: string, bytes: Uint8Array) => void {
    return (name, bytes) => {
      const { by } = verifySecureBoot(name, bytes, anchors);
      const evidence = { check: 'uefi', signer: by, signed: true } as const;
      this.#findings.set(bytes, { check: 'uefi', verified: true, evidence });
    };
  }

  finding(bytes: Uint8Array): Finding | undefined {
    return this.#findings.get(bytes);
  }
}

/** What an iPXE for these machines (`uname -m`) calls itself, as `${buildarch}`. */
export function buildarchOf(arch: string): string {
  return arch === 'aarch64' ? 'arm64' : arch;
}

/** Whether there are machines of this architecture (`uname -m`) that begin with a BIOS: elsewhere it is all UEFI. */
export function hasBios(arch: string): boolean {
  return /^(x86_64|i[3-6]86)$/.test(arch);
}

/** Linux and iPXE have different names for one architecture. */
function unameOf(buildarch: string): string {
  return buildarch === 'arm64' ? 'aarch64' : buildarch;
}

async function early(
  { kernel, initrds, cmdline }: Extract<IpxeOutcome, { kind: 'boot' }>,
  options: BootMachineOptions,
): Promise<EarlyVerdict> {
  try {
    return await runEarly({
      initramfs: await readInitramfs(
        initrds.map(({ bytes }) => bytes),
        { ...EarlyKeys.reading, names: initrds.map(({ name }) => name) },
      ),
      cmdline,
      arch: unameOf(options.machine.buildarch),
      mac: claimedMac(options.machine.mac),
      transport: options.transport,
      files: releaseFolder(kernel.url),
      policy: options.policy,
      now: options.now,
      ...(options.askTime ? { askTime: options.askTime } : {}),
      ...(options.mode ? { mode: options.mode } : {}),
      onEvent: (event) => options.onEvent?.({ stage: 'early', ...event }),
    });
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return { mode: options.mode ?? 'ram', path: '', findings: [], verified: undefined, refusal: error };
  }
}

function findingOf(refusal: Refusal | undefined, signer: string | undefined): Finding {
  return refusal
    ? { check: 'cms', verified: false, refusal }
    : { check: 'cms', verified: true, evidence: { check: 'cms', signer: signer ?? '', signed: true } };
}

/** Script, kernel and initrds as the loader saw them. */
function loaderRows(ipxe: IpxeRun, evidence: ReadonlyMap<string, Finding>, loader: string): BootRow[] {
  const rows: BootRow[] = [];
  const row = (artifact: string, role: BootRow['role']) => {
    const finding = evidence.get(artifact);
    const note = loader === 'stock' ? 'not caught by this loader' : 'not verified';
    rows.push(finding ? { artifact, role, findings: [finding] } : { artifact, role, findings: [], note });
  };
  const { outcome } = ipxe;
  const booted =
    outcome.kind === 'boot' ? [outcome.kernel.name, ...outcome.initrds.map(({ name }) => name)] : [];
  // Scripts are those that were verified and are not handed to the kernel.
  for (const name of evidence.keys())
    if (!booted.includes(name) && name.endsWith('.ipxe')) row(name, 'script');
  if (outcome.kind === 'boot') {
    row(outcome.kernel.name, 'kernel');
    for (const initrd of outcome.initrds) row(initrd.name, 'initrd');
  } else {
    for (const name of evidence.keys())
      if (!name.endsWith('.ipxe'))
        row(name, rows.some(({ role }) => role === 'kernel') ? 'initrd' : 'kernel');
  }
  return rows;
}
