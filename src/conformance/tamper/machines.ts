import { bytesContent } from '../../files/measure.ts';
import { RECORD, SCRIPT_SEAL } from '../../formats/records/seal-names.ts';
import { compileBootScript } from '../../scripts/compile.ts';
import { compileGrubConfig } from '../../scripts/grub-config.ts';
import type { MachineIdentity } from '../../scripts/machine-set.ts';
import { sealedAddress } from '../../scripts/sealed-address.ts';
import { manifestNamedIn } from '../../trust/script-lines.ts';
import { type Attack, expects, misses, must } from './attack.ts';
import { sealCms } from './forge.ts';
import type { TamperSite } from './site.ts';

/** Scripts that were signed for one machine, or for one day: given to another, or on another. */

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** The machine that a script was signed for. */
const OTHER = { macs: ['52:54:00:00:00:0a'], uuid: '0a000000-0000-4000-8000-00000000000a' };
/** The one that clients are, see `grubVariables` and `runClients`. */
const THIS = { macs: ['52:54:00:12:34:56'] };

const NOT_WHOSE = 'it asks whether a script is well signed and starts this release, and not for whom it is';

export function machineAttacks(site: TamperSite): Attack[] {
  const grub: Attack[] = [
    {
      name: 'grub.cfg: that of machine A on machine B',
      tuf: 'mix-and-match',
      expect: expects({
        grub: must('wrong-machine'),
        manifest: must('wrong-machine'),
        tree: misses(NOT_WHOSE),
      }),
      async stage(at) {
        await at.signGrub(await grubFor(at, [OTHER]));
        return {};
      },
    },
    {
      name: 'grub.cfg: that of machine A, made to name machine B',
      tuf: 'mix-and-match',
      expect: expects({
        grub: must('bad-signature'),
        manifest: must('bad-signature'),
        tree: must('bad-signature'),
      }),
      async stage(at) {
        await at.signGrub(await grubFor(at, [OTHER]));
        const text = (await at.copy.read(RECORD.grubCfg)).toString('latin1');
        await at.copy.write(
          RECORD.grubCfg,
          Buffer.from(text.replaceAll(OTHER.macs[0] ?? '', THIS.macs[0] ?? '')),
        );
        return {};
      },
    },
  ];
  // The boot.ipxe of a release that GRUB starts is for no machine.
  return site.startsByGrub ? grub : [...ipxeAttacks(), ...grub];
}

function ipxeAttacks(): Attack[] {
  const refusedBy = (
    name: string,
    code: 'wrong-machine' | 'bad-signature',
    stage: Attack['stage'],
  ): Attack => ({
    name,
    tuf: 'mix-and-match',
    expect: expects({
      ipxe: must(code),
      manifest: must(code),
      tree: code === 'wrong-machine' ? misses(NOT_WHOSE) : must(code),
    }),
    stage,
  });
  return [
    refusedBy('boot.ipxe: that of machine A on machine B', 'wrong-machine', async (at) => {
      await at.signBoot(await bootFor(at, [OTHER]));
      return {};
    }),
    refusedBy('boot.ipxe: that of machine A, made to name machine B', 'bad-signature', async (at) => {
      await at.signBoot(await bootFor(at, [OTHER]));
      const text = (await at.copy.read(RECORD.bootIpxe)).toString('latin1');
      await at.copy.write(
        RECORD.bootIpxe,
        Buffer.from(text.replaceAll(OTHER.macs[0] ?? '', THIS.macs[0] ?? '')),
      );
      return {};
    }),
    refusedBy('boot.ipxe: that of machine B beside the seal of machine A’s', 'bad-signature', async (at) => {
      await at.signBoot(await bootFor(at, [OTHER]));
      await at.copy.write(RECORD.bootIpxe, Buffer.from(await bootFor(at, [THIS]), 'latin1'));
      return {};
    }),
    {
      name: 'boot.ipxe: armed for this machine yesterday',
      tuf: 'freeze',
      expect: expects({ ipxe: must('expired'), manifest: must('expired'), tree: must('expired') }),
      stage: (at) => armed(at, -DAY),
    },
    {
      name: 'boot.ipxe: armed for this machine, and ended an hour ago',
      tuf: 'freeze',
      expect: expects({
        ipxe: misses(
          'iPXE takes a certificate for 12.5 hours after its end, for clocks in local time',
          'expired',
        ),
        manifest: misses('a loader before it took the script', 'expired'),
        tree: misses('it judges for that iPXE', 'expired'),
      }),
      stage: (at) => armed(at, -HOUR),
    },
  ];
}

/** By a leaf that ended so many milliseconds from now. */
async function armed(at: TamperSite, ended: number) {
  const { commonName } = at.keys.boot.certificate;
  const leaf = await at.leaf(commonName, at.keys.ca, ended - DAY, ended);
  const bytes = Buffer.from(await bootFor(at, [THIS]), 'latin1');
  await at.copy.write(RECORD.bootIpxe, bytes);
  await at.copy.write(
    RECORD.bootIpxe + SCRIPT_SEAL,
    await sealCms(bytesContent(bytes), leaf, at.chain(leaf)),
  );
  return {};
}

async function bootFor(at: TamperSite, machines: readonly MachineIdentity[]): Promise<string> {
  const { manifestSha256, address } = await factsOf(at);
  return compileBootScript({ manifest: at.manifest, manifestSha256, machines, server: address.script });
}

async function grubFor(at: TamperSite, machines: readonly MachineIdentity[]): Promise<string> {
  const { manifestSha256, address } = await factsOf(at);
  return compileGrubConfig({ manifest: at.manifest, manifestSha256, machines, server: address.grub });
}

async function factsOf({ copy }: TamperSite) {
  const [boot, grub] = [await copy.read(RECORD.bootIpxe), await copy.read(RECORD.grubCfg)];
  return {
    manifestSha256: manifestNamedIn(RECORD.grubCfg, grub) ?? '',
    address: sealedAddress(boot, grub),
  };
}
