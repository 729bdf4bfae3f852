import { Refusal } from '../../errors/refusal.ts';
import type { RequiredCheck } from '../../formats/records/policy-floor.ts';
import type { Check } from '../../trust/check.ts';
import { archisoRules, cmsCheck } from '../../trust/cms-check.ts';
import { NO_FLOOR } from '../../trust/freshness.ts';
import { openpgpCheck } from '../../trust/openpgp-check.ts';
import { checksumCheck } from '../../trust/plain-checks.ts';
import { archisoCmsCheck, archisoOpenpgpCheck } from './archiso-seals.ts';
import type { EarlyOptions, EarlyVerdict } from './contract.ts';
import { EarlyKeys } from './keys.ts';
import { readPolicyFloor } from './manifest.ts';
import { type ArchisoParameters, archisoParameters } from './parameters.ts';
import { refused, Userspace } from './userspace.ts';

export interface ArchisoOptions extends EarlyOptions {
  /** False: archiso as it is, which knows no manifest and no policy floor. */
  readonly enforceManifest?: boolean;
}

/**
 * archiso's early userspace on the HTTP path (`archiso_pxe_http`), from the manifest to the verdict. Three
 * things differ from the original. It first enforces the manifest that the command line names, as the overlay's
 * verifier does. It halts on a refusal, where archiso opens a shell and, when that ends,
 * mounts the image anyway. And it fetches the seals before the image, so that the image can be hashed
 * while it arrives and is never held.
 */
export async function runArchiso(options: ArchisoOptions): Promise<EarlyVerdict> {
  const mode = options.mode ?? 'ram';
  let path = '';
  let stage: 'manifest' | 'image' = 'manifest';
  try {
    const parameters = archisoParameters(options.cmdline, options.arch);
    const early = new Userspace(options, EarlyKeys.ofArchiso(options.initramfs), 'curl/7.88.1');
    const enforces = options.enforceManifest !== false;
    const floor = enforces ? readPolicyFloor(options.initramfs) : NO_FLOOR;
    // 1. The manifest, and this machine's command line held against it.
    const enforced = enforces ? await early.manifest(floor) : undefined;
    stage = 'image';
    if (mode === 'verity') return await early.verity(enforced, floor);
    // 2. Which image is there.
    const directory = `${parameters.basedir}/${parameters.arch}`;
    path = await probe(early, directory);
    // 3. The seals that the command line or the policy floor asks for. 4. The image, once.
    const checks = await checksAskedFor(early, options, { directory, path, parameters }, floor.require);
    return await early.ram(path, checks, enforced);
  } catch (error) {
    return refused(error, options, { mode, path, stage });
  }
}

/** `curl -r 0-0` of the squashfs image, then of the EROFS one. */
async function probe(early: Userspace, directory: string): Promise<string> {
  for (const name of ['airootfs.sfs', 'airootfs.erofs']) {
    const path = `${directory}/${name}`;
    try {
      const { body } = await early.fetch(path, { range: { first: 0, last: 0 } });
      // A server that ignores Range sends the whole image here; one piece tells enough.
      for await (const _ of body) break;
      return path;
    } catch (error) {
      if (!(error instanceof Refusal && error.code === 'absent')) throw error;
    }
  }
  throw new Refusal('absent', `There is no root image in ${early.server}${directory}/.`, { directory });
}

async function checksAskedFor(
  early: Userspace,
  { policy, now, enforceManifest }: ArchisoOptions,
  image: {
    readonly directory: string;
    readonly path: string;
    readonly parameters: ArchisoParameters;
  },
  floor: readonly RequiredCheck[],
): Promise<Check[]> {
  const { directory, path, parameters } = image;
  const { keys } = early;
  // Beside our manifest our own rules go on; alone, its tools take what they take.
  const asItIs = enforceManifest === false;
  const checks: Check[] = [];
  if (parameters.checksum || floor.includes('checksum')) {
    const name = `${directory}/airootfs.sha512`;
    const file = path.slice(path.lastIndexOf('/') + 1);
    checks.push(await early.sidecar('checksum', name, (bytes) => checksumCheck(name, bytes, file)));
  }
  if (parameters.verify || floor.includes('openpgp')) {
    const name = `${path}.sig`;
    const judge = asItIs ? archisoOpenpgpCheck : openpgpCheck;
    const check = (bytes: Uint8Array) => judge(name, bytes, keys.openpgp(), policy, now);
    checks.push(await early.sidecar('openpgp', name, check));
  }
  if (parameters.cmsVerify || floor.includes('cms')) {
    const name = `${path}.cms.sig`;
    const check = (bytes: Uint8Array) => {
      const [signers, roots] = [keys.codesign(), keys.ca()];
      return asItIs
        ? archisoCmsCheck(name, bytes, { signers, roots }, policy, now)
        : cmsCheck(name, bytes, archisoRules(signers, roots), policy, now);
    };
    checks.push(await early.sidecar('cms', name, check));
  }
  return checks;
}
