import { Refusal } from '../../errors/refusal.ts';
import { cmsCheck, leafRules } from '../../trust/cms-check.ts';
import type { EarlyOptions, EarlyVerdict } from './contract.ts';
import { EarlyKeys } from './keys.ts';
import { readPolicyFloor } from './manifest.ts';
import { OVERLAY_INIT } from './parameters.ts';
import { refused, Userspace } from './userspace.ts';

/**
 * The overlay's own init (`early-userspace/init`), which uses nothing of the initramfs that it rides on: its own
 * anchors, its own policy floor, and the root image that the manifest lists. No word of the command line asks for a
 * check here, and none can leave one out. Blocks come by HTTP, where the real one reads them over NBD.
 */
export async function runOverlay(options: EarlyOptions): Promise<EarlyVerdict> {
  const { initramfs, policy, now } = options;
  let mode: 'ram' | 'verity' = 'verity';
  let path = '';
  let stage: 'manifest' | 'image' = 'manifest';
  try {
    if (initramfs.stat(OVERLAY_INIT)?.kind !== 'file') {
      throw new Refusal(
        'absent',
        `The command line starts ${OVERLAY_INIT}, and no initrd holds it: the overlay was not loaded.`,
        { path: OVERLAY_INIT },
      );
    }
    const floor = readPolicyFloor(initramfs);
    mode = floor.mode ?? mode;
    const early = new Userspace(options, EarlyKeys.ofOverlay(initramfs));
    // A kind of seal that must be looked at, and nothing here that could.
    if (floor.require.includes('openpgp')) early.keys.manifestKeyring();
    // 1. The manifest, which it never does without.
    const enforced = await early.manifest({ ...floor, require: ['manifest', ...floor.require] });
    stage = 'image';
    const { manifest, rootfs } = enforced ?? {};
    if (!rootfs) {
      throw new Refusal('absent', `${manifest?.release} lists no root image.`, {
        release: manifest?.release ?? '',
      });
    }
    path = rootfs.path;
    // 2. The root image that it lists.
    if (mode === 'verity') return await early.verity(enforced, floor);
    const seal = `${path}.cms.sig`;
    const { keys } = early;
    const cms = (bytes: Uint8Array) =>
      cmsCheck(seal, bytes, leafRules(keys.codesign(), keys.ca()), policy, now);
    const checks = floor.require.includes('cms') ? [await early.sidecar('cms', seal, cms)] : [];
    return await early.ram(path, checks, enforced);
  } catch (error) {
    return refused(error, options, { mode, path, stage });
  }
}
