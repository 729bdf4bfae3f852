import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { expectAbsent, expectMilestones } from '../lab/console.ts';
import { createLan, type Lan } from '../lab/lan.ts';
import { type ProbedSeal, probeSeals, verifyLine } from '../lab/loader-probe.ts';
import { waitForOutput } from '../lab/output.ts';
import { bootQemu, refusedLog } from '../lab/qemu.ts';
import { flip, INITRD, KERNEL, type LabRelease, labRelease, ROOTFS } from '../lab/release.ts';
import { REAL_ROOT_LINE } from '../lab/rootfs.ts';
import { copySite, startProduct, startStatic } from '../lab/servers.ts';
import { asTlsServer } from '../src/conformance/tamper/forge.ts';
import { decodeGaveUp } from '../src/formats/net/gave-up.ts';
import { embeddedScript, init, rotateKeys } from '../src/index.ts';
import { delegateBootLeaves } from '../src/signing/keys/delegate.ts';
import { certifiedKey, readKeyFolder } from '../src/signing/keys/key-folder.ts';
import { leafOrder, mintLeaf } from '../src/signing/keys/release-leaf.ts';
import { sealRecord } from '../src/signing/seal-record.ts';
import {
  type CertifiedSigner,
  certifiedSigner,
  chainOf,
  type SealingKeys,
  signersOf,
} from '../src/signing/signatories.ts';

/**
 * (c) A site's own iPXE with `imgverify`, its CA and embedded.ipxe inside: the whole chain, each link verified
 * by the one before. No package brings such a loader, so `BOOTSEAL_IPXE` names a folder that holds one:
 * `undionly.kpxe`, perhaps `ipxe.efi`, and `keys/`, the `init` folder whose CA it trusts.
 */
const folder = process.env.BOOTSEAL_IPXE;
const LOADERS = { bios: 'undionly.kpxe', efi: 'ipxe.efi' } as const;
const firmwares = (['bios', 'efi'] as const).filter(
  (firmware) => folder !== undefined && existsSync(join(folder, LOADERS[firmware])),
);

/** What the scripts call the images that they verify. */
const SCRIPT = 'boot.ipxe';
const KERNEL_IMAGE = 'vmlinuz-linux';
const INSIDE = 'releases/arch/2026.11.01';
const VERIFIED_BOOT = [
  'Verified: arch/2026.11.01',
  'Linux version',
  'bootseal-early: started',
  'bootseal-early: manifest verified, arch/2026.11.01',
  'bootseal-early: checksum verified',
  'bootseal-early: OpenPGP verified',
  'bootseal-early: CMS verified',
  'bootseal-early: root mounted',
  REAL_ROOT_LINE,
];
const NEXT_STAGE = ['Linux version', 'bootseal-early:'];
const CHANGED = 'these are not the bytes that were signed';
const OTHER_NAME = 'it is signed, but under another name';
const NOT_NOW = "check this machine's clock: a certificate of the seal is not valid now";
const NOT_OURS = "check this machine's clock: the certificate is not valid now, or of another CA";
const NOT_FOR_CODE = 'it is signed, but by a certificate that is not for code';
const DAY = 86_400_000;

/** Whose seal, over which image, with the certificates of which site inside, by which key, and what the screen says. */
type Row = readonly [name: string, image: string, chain: SealingKeys, by: CertifiedSigner, says: string];

/** What is flipped, and what the screen says could not be done. */
const FLIPS = [
  { path: 'boot.ipxe', step: 'verify boot.ipxe', next: ['Verified:', ...NEXT_STAGE] },
  { path: 'boot.ipxe.sig', step: 'verify boot.ipxe', next: ['Verified:', ...NEXT_STAGE] },
  { path: `${INSIDE}/${KERNEL}`, step: 'verify the kernel vmlinuz-linux', next: NEXT_STAGE },
  { path: `${INSIDE}/${KERNEL}.ipxe.sig`, step: 'verify the kernel vmlinuz-linux', next: NEXT_STAGE },
  { path: `${INSIDE}/${INITRD}`, step: 'verify the initrd initramfs-linux.img', next: NEXT_STAGE },
  { path: `${INSIDE}/${INITRD}.ipxe.sig`, step: 'verify the initrd initramfs-linux.img', next: NEXT_STAGE },
];

const unset =
  'BOOTSEAL_IPXE names no folder with a loader that can verify: docs/testing.md says how to make one';

describe('an iPXE that verifies', { skip: firmwares.length === 0 ? unset : false }, () => {
  let release: LabRelease;
  let loaders: string;
  let lan: Lan;
  let keys: SealingKeys;

  before(async () => {
    const given = folder ?? '';
    release = await labRelease({ keys: join(given, 'keys') });
    keys = await sealingKeys(release.keys);
    loaders = join(release.folder, 'loaders');
    await mkdir(loaders);
    for (const firmware of firmwares) {
      await cp(join(given, LOADERS[firmware]), join(loaders, LOADERS[firmware]));
    }
    lan = await createLan();
  });
  after(async () => {
    await lan?.close();
    await release?.remove();
  });

  for (const firmware of firmwares) {
    it(`${firmware}: boots over our TFTP and HTTP into the real root`, async () => {
      const dhcp = await lan.startDhcp({ [firmware]: LOADERS[firmware], ipxe: LOADERS[firmware] });
      const server = await startProduct(lan, release, { httpPort: 8080, tftpPort: 69, loaders });
      const { log } = await (await bootQemu({ lan, firmware })).ended;
      await server.stop();
      await dhcp.stop();
      expectMilestones(log, VERIFIED_BOOT);
      expectAbsent(log, ['UNVERIFIED', 'REFUSED']);
    });
  }

  for (const { path, step, next } of FLIPS) {
    it(`refuses a flipped byte in ${path}`, async () => {
      // One of them is watched until it restarts.
      // In a CMS seal the signature comes last. iPXE built with CERT= passes over the copies of the
      // CA before it: its own is the one that counts, so a flip there changes nothing that anybody reads.
      const tamper = (site: string) => flip(join(site, path), path.endsWith('.sig') ? -16 : undefined);
      const heard: string[] = [];
      // The loader's own script may be of a day before there was this call; the one that it verified is of today.
      const says = path.startsWith(INSIDE) ? heard : undefined;
      const log = await tamperedBoot(tamper, path === 'boot.ipxe', undefined, says);
      expectMilestones(log, [`could not ${step}`, 'Reason: ', 'Nothing was started']);
      assert.match(log, new RegExp(CHANGED));
      if (says) {
        const [query = ''] = heard;
        const said = decodeGaveUp(new URLSearchParams(query));
        assert.deepEqual(said?.step, step);
        assert.match(said?.mac ?? '', /^52:54:00:77:/);
        // What the screen says, too, and reason.ipxe explains.
        assert.match(said?.errno ?? '', /^0x227e1(3c|8f)$/);
        assert.ok(log.includes(`(error ${said?.errno}).`), said?.errno);
      }
      expectAbsent(log, [...next, REAL_ROOT_LINE]);
    });
  }

  it('early userspace refuses a flipped byte in the root image, which no loader sees', async () => {
    const log = await tamperedBoot((site) => flip(join(site, INSIDE, ROOTFS)), true);
    expectMilestones(log, ['Verified: arch/2026.11.01', 'bootseal-early: REFUSED checksum']);
    expectAbsent(log, ['bootseal-early: root mounted', REAL_ROOT_LINE]);
  });

  it('tells a clock that is wrong from bytes that are', async () => {
    const log = await tamperedBoot(async () => {}, false, new Date(Date.UTC(1996, 0, 1)));
    expectMilestones(log, ['could not verify boot.ipxe', NOT_OURS]);
    expectAbsent(log, NEXT_STAGE);
  });

  it('refuses a boot.ipxe that the manifest leaf sealed', async () => {
    const log = await tamperedBoot(async (site) => {
      const script = await readFile(join(site, 'boot.ipxe'));
      await writeFile(join(site, 'boot.ipxe.sig'), await sealBy(keys, keys.manifest, script));
    });
    expectMilestones(log, ['could not verify boot.ipxe', OTHER_NAME, 'Nothing was started']);
    expectAbsent(log, ['Verified:', ...NEXT_STAGE]);
  });

  it('tells keys by their purpose, day and site, and takes a leaf that was issued ahead for today', async () => {
    const now = Date.now();
    const early = join(release.folder, 'delegated');
    for (const from of [now, now + 2 * DAY])
      await delegateBootLeaves({ keys: release.keys, out: early, days: 1, from, now, rsaBits: 2048 });
    const delegated = async (at: number) => {
      const folder = join(early, new Date(at).toISOString().slice(0, 10));
      return certifiedSigner('boot', await certifiedKey(folder, 'boot', undefined, 'digitalSignature'));
    };
    const today = await delegated(now);
    const later = await delegated(now + 2 * DAY);
    const past = { notBefore: now - 3 * DAY, notAfter: now - 2 * DAY };
    const ended = await mintLeaf(
      { ...past, commonName: today.certificate.commonName, kind: 'rsa', bits: 2048 },
      keys.ca,
    );
    const stranger = join(release.folder, 'stranger');
    await init(stranger, { site: 'lab', kind: 'rsa', now, rsaBits: 2048 });
    const foreign = await sealingKeys(stranger);
    const successor = join(release.folder, 'successor');
    await rotateKeys({ keys: release.keys, out: successor, only: ['ca'], now, rsaBits: 2048 });
    const next = await sealingKeys(successor);
    // Only a root above both CAs lets a loader take the next one without being built anew.
    const nextSays = keys.above.length > 0 ? 'accepted' : NOT_OURS;
    const releaseLeaf = (of: SealingKeys, id: string) =>
      mintLeaf(leafOrder(of.ca.certificate, { release: id, issued: now, bestBefore: now + DAY }), of.ca);
    const ours = await releaseLeaf(keys, release.release);
    const older = await releaseLeaf(keys, 'arch/2026.10.01');
    const theirs = await releaseLeaf(foreign, release.release);
    const own = await readKeyFolder(release.keys, now);

    const tls = certifiedSigner('tls', asTlsServer(own.boot, own.ca));
    const rows: readonly Row[] = [
      ['script by boot', SCRIPT, keys, keys.boot, 'accepted'],
      ['script by manifest', SCRIPT, keys, keys.manifest, OTHER_NAME],
      ['script by codesign', SCRIPT, keys, keys.codesign, OTHER_NAME],
      ['script by the release leaf', SCRIPT, keys, ours, OTHER_NAME],
      ['script by the CA', SCRIPT, keys, keys.ca, OTHER_NAME],
      ['script by a TLS server', SCRIPT, keys, tls, NOT_FOR_CODE],
      ['script by a leaf for today', SCRIPT, keys, today, 'accepted'],
      ['script by a leaf that ended', SCRIPT, keys, ended, NOT_NOW],
      ['script by a leaf that has not begun', SCRIPT, keys, later, NOT_NOW],
      ['script by the next CA', SCRIPT, next, next.boot, nextSays],
      ['script by another site', SCRIPT, foreign, foreign.boot, NOT_OURS],
      ['kernel by the release leaf', KERNEL_IMAGE, keys, ours, 'accepted'],
      ['kernel by another release', KERNEL_IMAGE, keys, older, OTHER_NAME],
      ['kernel by boot', KERNEL_IMAGE, keys, keys.boot, OTHER_NAME],
      ['kernel by manifest', KERNEL_IMAGE, keys, keys.manifest, OTHER_NAME],
      ['kernel by codesign', KERNEL_IMAGE, keys, keys.codesign, OTHER_NAME],
      ['kernel by another site', KERNEL_IMAGE, foreign, theirs, NOT_OURS],
    ];
    const embedded = await embeddedScript({ anchors: join(release.keys, 'anchors') });

    const log = await tamperedBoot(async (site) => {
      const path = join(site, SCRIPT);
      const script = await readFile(path, 'latin1');
      const subject = await readFile(path);
      const seals: ProbedSeal[] = [];
      for (const [name, image, chain, by] of rows) {
        const line = verifyLine(image === SCRIPT ? embedded : script, image);
        seals.push({ name, line, seal: await sealBy(chain, by, subject) });
      }
      const probe = Buffer.from(await probeSeals(site, script, subject, seals), 'latin1');
      await writeFile(path, probe);
      // That it starts at all shows that the leaf for today is good where it counts.
      await writeFile(`${path}.sig`, await sealBy(keys, today, probe));
      const kernel = join(site, INSIDE, KERNEL);
      await writeFile(`${kernel}.ipxe.sig`, await sealBy(keys, keys.boot, await readFile(kernel)));
    });
    expectMilestones(log, [
      ...rows.map(([name, , , , says]) => `${name}: ${says}`),
      'could not verify the kernel vmlinuz-linux',
      OTHER_NAME,
      'Nothing was started',
    ]);
    expectAbsent(log, NEXT_STAGE);
  });

  /**
   * A boot from a plain web server over a copy of the site that `tamper` changed. @param says what the script said where
   * it gave up: then that is waited for.
   */
  async function tamperedBoot(
    tamper: (site: string) => Promise<void>,
    toTheEnd = false,
    clock?: Date,
    says?: string[],
  ): Promise<string> {
    const site = await mkdtemp(join(release.folder, 'site-'));
    await copySite(release, site);
    await tamper(site);
    const [firmware = 'bios'] = firmwares;
    const loader = LOADERS[firmware];
    const dhcp = await lan.startDhcp({ [firmware]: loader, ipxe: loader, tftpRoot: loaders });
    const server = await startStatic(lan, site, 8080);
    const called = waitForOutput(server.child, 'stdout', /\/api\/v1\/boots\/gave-up\?(\S+)/);
    called.catch(() => {});
    try {
      const machine = await bootQemu({ lan, firmware, ...(clock === undefined ? {} : { clock }) });
      if (says) {
        const call = await Promise.race([called, machine.ended]);
        if ('log' in call) return call.log;
        says.push(call[1] ?? '');
      }
      return toTheEnd ? (await machine.ended).log : await refusedLog(machine);
    } finally {
      await server.stop();
      await dhcp.stop();
    }
  }
});

async function sealingKeys(folder: string): Promise<SealingKeys> {
  return signersOf(await readKeyFolder(folder, Date.now()));
}

/** As the loader wants it: the signer's certificate inside, and those above it. */
function sealBy({ ca, above }: SealingKeys, by: CertifiedSigner, bytes: Uint8Array): Promise<Uint8Array> {
  return sealRecord(bytes, by, [by.certificate.raw, ...chainOf({ ca: ca.certificate, above })]);
}
