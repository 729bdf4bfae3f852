import { EarlyKeys } from '../emulator/early/keys.ts';
import { readPolicyFloor } from '../emulator/early/manifest.ts';
import { startsOverlay } from '../emulator/early/parameters.ts';
import { readInitramfs } from '../emulator/initramfs.ts';
import type { InitramfsTree } from '../emulator/initramfs-tree.ts';
import type { Transport } from '../emulator/transport.ts';
import { Refusal } from '../errors/refusal.ts';
import type { Manifest } from '../formats/records/manifest.ts';
import { REQUIRED_CHECKS, type RequiredCheck } from '../formats/records/policy-floor.ts';
import { lastValue } from '../formats/script/cmdline.ts';
import type { Anchors } from '../trust/anchors.ts';
import { fingerprint } from '../trust/chain.ts';
import type { PublishRules } from '../trust/policy-file.ts';

/** What the gate asks of the early userspace that a release starts: archiso's, or that of its overlay. */

export interface EarlyUserspace {
  readonly initramfs: InitramfsTree;
  readonly keys: EarlyKeys;
  /** Whether the kernel starts the overlay's init. */
  readonly overlay: boolean;
}

/** Reads the initrds of a release when it is first asked, and once. */
export function earlyUserspaceOf(
  manifest: Manifest,
  transport: Transport,
  url: (path: string) => string,
): () => Promise<EarlyUserspace> {
  let read: Promise<EarlyUserspace> | undefined;
  return () => {
    read ??= readEarlyUserspace(manifest, transport, url);
    return read;
  };
}

async function readEarlyUserspace(
  manifest: Manifest,
  transport: Transport,
  url: (path: string) => string,
): Promise<EarlyUserspace> {
  const of = (role: string) => manifest.files.filter((file) => file.role === role);
  // The kernel unpacks them in this order, and what comes later replaces what came before.
  const initrds = [...of('initrd'), ...of('overlay')];
  const parts: Uint8Array[] = [];
  for (const { path } of initrds) {
    const pieces: Uint8Array[] = [];
    for await (const piece of (await transport.fetch(url(path))).body) pieces.push(piece);
    parts.push(Buffer.concat(pieces));
  }
  const names = initrds.map(({ path }) => path);
  const initramfs = await readInitramfs(parts, { keep: EarlyKeys.keep, names });
  const cmdline = manifest.cmdline.join(' ');
  return { initramfs, keys: EarlyKeys.of(initramfs, cmdline), overlay: startsOverlay(cmdline) };
}

/** That the keys which early userspace holds are those whose seals stand beside the root image. */
export function keysInside(manifest: Manifest, anchors: Anchors, { keys, overlay }: EarlyUserspace): string {
  if (!manifest.files.some(({ role }) => role === 'rootfs')) return 'no root image, so none is needed';
  const where = overlay ? 'overlay' : 'initramfs';
  const held = new Set(keys.codesign().map(fingerprint));
  const codesign = anchors.codesign.find((certificate) => held.has(fingerprint(certificate)));
  if (!codesign) {
    throw new Refusal(
      'untrusted-signer',
      `The ${where} holds another codesign.crt than the one whose seals stand beside the root image.`,
      { path: 'codesign.crt' },
    );
  }
  // An overlay without gpg looks at CMS seals alone, and what it must look at is the next question.
  if (overlay && !keys.hasOpenpgp) return `${codesign.commonName}, in the overlay`;
  const ring = new Set(keys.openpgp().map(({ primary }) => primary.fingerprint));
  const openpgp = anchors.openpgp.find(({ primary }) => ring.has(primary.fingerprint));
  if (!openpgp) {
    throw new Refusal(
      'untrusted-signer',
      `The keyring in the ${where} holds no OpenPGP key of the anchors.`,
      {
        path: overlay ? 'pubring.gpg' : '/gpg',
      },
    );
  }
  const both = `${codesign.commonName} and OpenPGP ${openpgp.primary.fingerprint.slice(-16)}`;
  return overlay ? `${both}, in the overlay` : both;
}

const ASKED_BY = { checksum: 'checksum', openpgp: 'verify', cms: 'cms_verify' } as const;

/** What an overlay checks whatever it is told: its manifest by CMS, and by digests all that this one lists. */
const OF_EVERY_OVERLAY: readonly RequiredCheck[] = ['manifest', 'checksum', 'cms'];

/** That early userspace makes every check which the policy asks for. */
export function whatIsChecked(manifest: Manifest, rules: PublishRules, early: EarlyUserspace): string {
  if (!manifest.files.some(({ role }) => role === 'rootfs')) return 'no root image to check';
  return early.overlay ? checkedByOverlay(rules, early) : askedFor(manifest, rules);
}

function askedFor(manifest: Manifest, { require = REQUIRED_CHECKS }: PublishRules): string {
  for (const check of require) {
    if (check === 'manifest') continue;
    const word = ASKED_BY[check];
    if (lastValue(manifest.cmdline, word) === 'y') continue;
    throw new Refusal(
      'wrong-command-line',
      `The command line of ${manifest.release} does not ask for ${check} (${word}=y), which the policy requires.`,
      { check, word },
    );
  }
  return `asks for ${require.filter((check) => check !== 'manifest').join(', ')}; names its manifest`;
}

function checkedByOverlay(
  { require = OF_EVERY_OVERLAY }: PublishRules,
  { initramfs, keys }: EarlyUserspace,
): string {
  const { mode = 'verity' } = readPolicyFloor(initramfs);
  const made = new Set<RequiredCheck>([
    ...OF_EVERY_OVERLAY,
    ...(keys.hasOpenpgp ? ['openpgp' as const] : []),
  ]);
  const missing = require.find((check) => !made.has(check));
  if (missing !== undefined) {
    throw new Refusal(
      'absent',
      `The overlay cannot check ${missing}, which the policy requires; build it with "bootseal overlay --require ${missing}".`,
      { check: missing },
    );
  }
  return `starts the overlay, mode ${mode}: manifest by ${keys.hasOpenpgp ? 'CMS and OpenPGP' : 'CMS'}, the root image by its digests`;
}
