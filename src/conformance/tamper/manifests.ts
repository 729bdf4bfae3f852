import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { bytesContent } from '../../files/measure.ts';
import {
  encodePolicyFloor,
  POLICY_FLOOR_PATH,
  type PolicyFloor,
} from '../../formats/records/policy-floor.ts';
import { RECORD, SEAL } from '../../formats/records/seal-names.ts';
import {
  type Attack,
  type Expectation,
  type Expectations,
  expects,
  misses,
  must,
  type Staged,
} from './attack.ts';
import { sealCms, sealOpenpgp } from './forge.ts';
import { makeRelease, type ReleaseWish } from './releases.ts';
import { appendFile, type TamperSite } from './site.ts';

/** Manifests that say what they must not, sealed by the site's own keys. */

const UNREAD = 'it reads no manifest: only the scripts and files that one was made for';
const NO_MACHINE = 'which machine a release is for shows when a machine has it';
const NO_FLOOR = 'a policy floor lies in an initramfs; only the machine that runs it holds anything to it';

export function manifestAttacks({ manifest, release }: TamperSite): Attack[] {
  const [name = ''] = release.split('/');
  const floor: PolicyFloor = { name, minSerial: manifest.serial, graceDays: 0, require: ['manifest'] };
  const hasInitrd = manifest.files.some(({ role }) => role === 'initrd');
  return [
    {
      name: 'manifest: a line of an unknown kind, signed by every key',
      tuf: 'arbitrary software',
      expect: onlyTheManifest('malformed', must('malformed')),
      stage: (site) => rewritten(site, (text) => `${text}colour blue\n`),
    },
    {
      name: 'manifest: twice the same file, signed by every key',
      tuf: 'arbitrary software',
      expect: onlyTheManifest('malformed', must('malformed')),
      stage: (site) => rewritten(site, (text) => text.replace(/^(file kernel .*\n)/m, '$1$1')),
    },
    {
      name: 'manifest: a shell on its command line, signed by every key',
      tuf: 'key compromise',
      expect: onlyTheManifest('malformed', must('malformed')),
      stage: (site) => rewritten(site, (text) => text.replace(/^(cmdline.*)$/m, '$1 break=premount')),
    },
    {
      name: 'manifest: that of an older release beside the files of this one',
      tuf: 'mix-and-match',
      expect: expects({ manifest: must('mixed-releases'), tree: must('mixed-releases') }),
      async stage(site) {
        const { folder } = await site.older();
        for (const suffix of ['', SEAL.cms, SEAL.openpgp]) {
          await site.copy.take(RECORD.manifest + suffix, join(folder, RECORD.manifest + suffix));
        }
        return {};
      },
    },
    remade(
      'release for another architecture, sealed by us',
      'wrong software',
      onlyTheManifest('wrong-machine', misses(NO_MACHINE)),
      {
        arch: manifest.arch === 'aarch64' ? 'riscv64' : 'aarch64',
      },
    ),
    ...(hasInitrd
      ? [
          remade(
            'serial below the floor of the initramfs, sealed by us',
            'rollback',
            onlyTheManifest('rolled-back', misses(NO_FLOOR)),
            (site) => ({ serial: Math.max(0, manifest.serial - 1), change: withFloor(site, floor) }),
          ),
          remade(
            'release of another name than the floor’s, sealed by us',
            'wrong software',
            onlyTheManifest('mixed-releases', misses(NO_FLOOR)),
            (site) => ({ change: withFloor(site, { ...floor, name: `not-${name}`.slice(0, 60) }) }),
          ),
          withoutName(floor),
        ]
      : []),
  ];
}

/** A script that names no manifest, where the initramfs demands one. */
function withoutName(floor: PolicyFloor): Attack {
  return {
    name: 'no manifest named, where the floor requires one, sealed by us',
    tuf: 'key compromise',
    expect: onlyTheManifest('wrong-command-line', must('mixed-releases')),
    async stage(site) {
      const { folder } = await makeRelease(site, 'remade', {
        change: withFloor(site, floor),
        nameless: true,
      });
      return { tree: folder };
    },
  };
}

function onlyTheManifest(code: Parameters<typeof must>[0], tree: Expectation): Expectations {
  const unread = misses(UNREAD);
  return expects({ ipxe: unread, grub: unread, archiso: unread, manifest: must(code), tree });
}

function remade(
  name: string,
  tuf: Attack['tuf'],
  expect: Expectations,
  wish: ReleaseWish | ((site: TamperSite) => ReleaseWish),
): Attack {
  return {
    name,
    tuf,
    expect,
    async stage(site) {
      const { folder } = await makeRelease(site, 'remade', typeof wish === 'function' ? wish(site) : wish);
      return { tree: folder };
    },
  };
}

function withFloor({ manifest }: TamperSite, floor: PolicyFloor) {
  const last = manifest.files.findLast(({ role }) => role === 'initrd' || role === 'overlay');
  return (folder: string) =>
    appendFile(join(folder, last?.path ?? ''), POLICY_FLOOR_PATH, encodePolicyFloor(floor));
}

/** A manifest of other words, and scripts that name it: everything that a site's keys can sign, they signed. */
async function rewritten(site: TamperSite, change: (text: string) => string): Promise<Staged> {
  const { copy, keys, now } = site;
  const before = await copy.read(RECORD.manifest);
  const bytes = Buffer.from(change(before.toString('latin1')), 'latin1');
  const digest = (of: Uint8Array) => createHash('sha256').update(of).digest('hex');
  const content = bytesContent(bytes);
  await copy.write(RECORD.manifest, bytes);
  await copy.write(RECORD.manifest + SEAL.cms, await sealCms(content, keys.manifest));
  await copy.write(RECORD.manifest + SEAL.openpgp, await sealOpenpgp(content, keys.openpgp.manifest, now));
  const renamed = async (name: string) =>
    (await copy.read(name)).toString('latin1').replaceAll(digest(before), digest(bytes));
  await site.signBoot(await renamed(RECORD.bootIpxe));
  await site.signGrub(await renamed(RECORD.grubCfg));
  return {};
}
