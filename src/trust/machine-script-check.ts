import { Refusal } from '../errors/refusal.ts';
import { bytesContent } from '../files/measure.ts';
import type { Manifest } from '../formats/records/manifest.ts';
import { RECORD, SEAL } from '../formats/records/seal-names.ts';
import { ipxeKernelLines } from '../formats/script/kernel-lines.ts';
import { lintGrubConfig } from '../scripts/grub-lint.ts';
import { lintScript } from '../scripts/lint.ts';
import type { Anchors } from './anchors.ts';
import { cmsCheck, imgverifyRules } from './cms-check.ts';
import { openpgpCheck } from './openpgp-check.ts';
import type { Policy } from './policy.ts';
import { manifestNamedIn, refusedLine } from './script-lines.ts';
import { verify } from './verify.ts';

/** A script that machines get by name, and that belongs to no release's tree. */
export interface MachineScript {
  readonly loader: 'ipxe' | 'grub';
  readonly bytes: Uint8Array;
  /** CMS for iPXE, OpenPGP for GRUB. */
  readonly seal: Uint8Array;
  /** What it is for: a release, which is verified itself, or one of those that start none. */
  readonly starts:
    | { readonly manifest: Manifest; readonly manifestSha256: string }
    | 'local'
    | 'menu'
    | 'hold';
}

/** The name that such a script is served by, and that its seal is for. */
export const SCRIPT_NAMES = { ipxe: RECORD.bootIpxe, grub: RECORD.grubCfg } as const;

/**
 * Verifies such a script as its loader will, and that it starts what it is for and nothing else: whoever could write into
 * a state could otherwise hand a machine whatever a script key ever signed.
 *
 * @param now milliseconds since 1970.
 * @throws Refusal
 */
export async function verifyMachineScript(
  { loader, bytes, seal, starts }: MachineScript,
  { ca, bootSigner, openpgp }: Anchors,
  policy: Policy,
  now: number,
): Promise<void> {
  const name = SCRIPT_NAMES[loader];
  const what = name + SEAL.openpgp;
  // 1. By the boot leaf, or the script key, and by nobody else.
  const check =
    loader === 'ipxe'
      ? cmsCheck(
          what,
          seal,
          { ...imgverifyRules(ca, bootSigner), complete: true, exactName: true },
          policy,
          now,
        )
      : openpgpCheck(what, seal, openpgp.script, policy, now, 'grub');
  await verify(name, bytesContent(bytes), [check]);
  // 2. It starts nothing that it did not verify.
  const [finding] = loader === 'ipxe' ? lintIpxe(bytes, starts, bootSigner) : lintGrub(bytes, starts);
  if (finding)
    throw new Refusal('unsafe-script', `${name}, line ${finding.line}: ${finding.message}.`, {
      line: finding.line,
      rule: finding.rule,
    });
  // 3. It starts what it is for, with the words that were sealed.
  if (typeof starts === 'string') {
    if (loader === 'ipxe' && ipxeKernelLines(bytes)?.length !== 0)
      throw new Refusal('unsafe-script', `${name} is for no release, and has a line for a kernel.`, {});
    return;
  }
  const { manifest, manifestSha256 } = starts;
  if (manifestNamedIn(name, bytes) !== manifestSha256)
    throw new Refusal('mixed-releases', `${name} names another manifest than that of ${manifest.release}.`, {
      release: manifest.release,
    });
  const line = refusedLine(new Map([[name, bytes]]), manifest, manifestSha256);
  if (line) throw line;
}

function lintIpxe(bytes: Uint8Array, starts: MachineScript['starts'], bootSigner = '') {
  if (typeof starts !== 'string') return lintScript(bytes, { signers: [starts.manifest.release] });
  const permits = { local: ['own-disk'], menu: ['menu', 'own-disk'], hold: [] } as const;
  return lintScript(bytes, { signers: [bootSigner], permits: permits[starts] });
}

function lintGrub(bytes: Uint8Array, starts: MachineScript['starts']) {
  const kinds = { local: 'own-disk', menu: 'menu', hold: 'hold' } as const;
  return lintGrubConfig(bytes, typeof starts === 'string' ? kinds[starts] : 'release');
}
