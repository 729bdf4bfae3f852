import { bytesContent } from '../../files/measure.ts';
import { RECORD, SEAL } from '../../formats/records/seal-names.ts';
import { GRUB_SWITCH } from '../../formats/script/grub-boot.ts';
import { type Attack, type Expectations, expects, misses, must } from './attack.ts';
import { sealOpenpgp } from './forge.ts';
import type { TamperSite } from './site.ts';

/** What one of GRUB's two keys signed, in the place of what the other must have signed; and scripts that blur the two. */

const unknown = must('untrusted-signer');
const unsafe = must('unsafe-script');
const OBEYS = 'GRUB does what a script says that the script key signed';

export function grubRoleAttacks({ manifest, kernel }: TamperSite): Attack[] {
  const initrd = manifest.files.find(({ role }) => role === 'initrd');
  const places = [{ what: 'kernel', ...kernel }, ...(initrd ? [{ what: 'initrd', ...initrd }] : [])];
  return [
    row('grub.cfg sealed by our own OpenPGP payload key', readByGrub, (site) => sealGrub(site, 'payload')),
    row('grub.cfg sealed by our own OpenPGP manifest key', readByGrub, (site) => sealGrub(site, 'manifest')),
    row('grub.cfg: a text that the payload key signed', readByGrub, async (site) => {
      await site.copy.write(RECORD.grubCfg, Buffer.from('set check_signatures=no\n'));
      await sealGrub(site, 'payload');
    }),
    ...places.map(({ what, path }) =>
      row(`${what} sealed by our own OpenPGP script key`, readByGrub, async (site) => {
        const seal = await sealOpenpgp(site.content(path), site.keys.openpgp.script, site.now);
        await site.copy.write(path + SEAL.openpgp, seal);
      }),
    ),
    ...places.map(({ what, path }) =>
      row(
        `grub.cfg served as the ${what}, with its seal`,
        expects({
          ipxe: must('bad-signature'),
          grub: unknown,
          // It is archiso itself that is replaced.
          ...(what === 'initrd' ? { archiso: misses(NO_KEYS, 'malformed', 'absent') } : {}),
          manifest: must('bad-signature'),
          tree: must('bad-signature'),
        }),
        async ({ copy }) => {
          await copy.write(path, await copy.read(RECORD.grubCfg));
          await copy.write(path + SEAL.openpgp, await copy.read(RECORD.grubCfg + SEAL.openpgp));
        },
      ),
    ),
    script(
      'the switch of keys left out',
      expects({ grub: unknown, manifest: unknown, tree: unsafe }),
      (text) => text.replace(new RegExp(`^${GRUB_SWITCH}$`, 'm'), 'true'),
    ),
    script(
      'a DHCP text on the command line',
      expects({ grub: misses(OBEYS), manifest: must('wrong-command-line'), tree: unsafe }),
      (text) => text.replace(/^(if linux .*| *if module2 .*)(; then)$/m, '$1 "host=$net_default_hostname"$2'),
    ),
    script(
      'a second script from the network',
      expects({ grub: misses(OBEYS), manifest: misses(OBEYS), tree: unsafe }),
      (text) => text.replace(/^if (linux|multiboot2) /m, 'configfile "$bootseal_device/more.cfg"\n$&'),
    ),
  ];
}

const NO_KEYS = 'the initrd is archiso itself: what has no archiso in it checks nothing';
const readByGrub = expects({ grub: unknown, manifest: unknown, tree: unknown });

function row(
  name: string,
  expect: Expectations,
  stage: (site: TamperSite) => Promise<void>,
  tuf: Attack['tuf'] = 'wrong software',
): Attack {
  return {
    name,
    tuf,
    expect,
    async stage(site) {
      await stage(site);
      return {};
    },
  };
}

/** A site's own script, which its own key signed, and which should never have been signed. */
function script(name: string, expect: Expectations, change: (text: string) => string): Attack {
  const stage = async (site: TamperSite) => {
    const text = (await site.copy.read(RECORD.grubCfg)).toString('latin1');
    const changed = change(text);
    if (changed === text) throw new RangeError(`nothing to change in ${RECORD.grubCfg}: ${name}`);
    await site.signGrub(changed);
  };
  return row(`grub.cfg: ${name}, signed by the script key`, expect, stage, 'key compromise');
}

async function sealGrub(site: TamperSite, purpose: 'payload' | 'manifest'): Promise<void> {
  const content = bytesContent(await site.copy.read(RECORD.grubCfg));
  const seal = await sealOpenpgp(content, site.keys.openpgp[purpose], site.now);
  await site.copy.write(RECORD.grubCfg + SEAL.openpgp, seal);
}
