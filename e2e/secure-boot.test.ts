import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { run } from '../lab/command.ts';
import { expectAbsent, expectMilestones } from '../lab/console.ts';
import { createLan, LAN_ADDRESS, type Lan } from '../lab/lan.ts';
import { addOverlay, consoleOf } from '../lab/overlay.ts';
import { bootQemu, refusedLog } from '../lab/qemu.ts';
import { type LabRelease, labRelease } from '../lab/release.ts';
import { REAL_ROOT_LINE } from '../lab/rootfs.ts';
import { enrol } from '../lab/secure-boot.ts';
import { copySite, startProduct, startStatic } from '../lab/servers.ts';
import { encodeHashList } from '../src/formats/efi/efi-signature-list.ts';
import { decodePe } from '../src/formats/efi/pe.ts';
import { init, uki, verifyUefi } from '../src/index.ts';
import { ukiDnsmasqLines } from '../src/operations/dnsmasq.ts';
import { compileAutoexec } from '../src/scripts/compile.ts';
import { imageDigest } from '../src/signing/authenticode.ts';
import { signVariable } from '../src/signing/keys/secure-boot-keys.ts';
import { decodeCertificates } from '../src/trust/anchors.ts';

/**
 * The whole boot in one file: OVMF with Secure Boot enforced and our own keys in it, which the firmware itself took
 * from the files of `init --secure-boot`; by PXE and by HTTP Boot, up to a root under dm-verity.
 */
const URL = `http://${LAN_ADDRESS}:8080`;
const UKI = 'uki.efi';
const TO_THE_ROOT = [
  'Linux version',
  'bootseal: started',
  'bootseal: manifest verified, arch/2026.11.01',
  'bootseal: dm-verity over NBD, root hash',
  'bootseal: root mounted',
  REAL_ROOT_LINE,
];
/** The firmware's own words, about what PXE fetched. */
const REFUSED = /BdsDxe: failed to load Boot\d+ "UEFI PXEv4 \(MAC:\w+\)" from [^:]*: Access Denied/;
/** The image is not run: neither the stub nor anything in it says a word. */
const NOTHING_RAN = ['Linux version', 'EFI stub', 'bootseal:'];

/** Firmware of the same build without any key: it starts whatever it is given. */
const NOT_ENFORCING = '/usr/share/OVMF/OVMF_VARS_4M.fd';
const stock = join(process.env.BOOTSEAL_IPXE ?? '', 'ipxe-stock.efi');
const stockIpxe = process.env.BOOTSEAL_IPXE !== undefined && existsSync(stock) ? stock : undefined;
const unset = 'BOOTSEAL_IPXE names no folder with an ipxe-stock.efi: docs/testing.md says how to make one';

describe('Secure Boot, from firmware to a verified root', () => {
  let keys: string;
  let release: LabRelease;
  let lan: Lan;
  /** Firmware that holds our PK, KEK and db. */
  let enrolled: string;

  before(async () => {
    lan = await createLan();
    keys = join(lan.workFolder, 'keys');
    await init(keys, { site: 'lab', kind: 'rsa', now: Date.now(), secureBoot: true });
    const auth = (name: string) => join(keys, 'secure-boot', `${name}.auth`);
    const { variables, log } = await enrol(lan, 'enrolled', ['db', 'KEK', 'PK'].map(auth));
    expectMilestones(log, [/ENROL: db-\S+ taken/, /ENROL: KEK-\S+ taken/, /ENROL: PK-\S+ taken/]);
    enrolled = variables;
    release = await labRelease({ keys, prepare: (tree, folder) => addOverlay(tree, folder, 'verity') });
    await uki({ tree: release.tree, url: URL, signer: { keys }, now: Date.now() });
  });
  after(async () => {
    await lan?.close();
    await release?.remove();
  });

  it('boots by PXE, from our own TFTP server', async () => {
    expectMilestones(await served('pxe'), TO_THE_ROOT);
  });

  it('boots by HTTP Boot, from our own HTTP server', async () => {
    expectMilestones(await served('http'), TO_THE_ROOT);
  });

  /** The product's own server, and the lines for dnsmasq that it prints. */
  async function served(way: 'pxe' | 'http'): Promise<string> {
    const extra = ukiDnsmasqLines(LAN_ADDRESS, UKI, 8080).map((line) => `--${line}`);
    const dhcp = await lan.startDhcp({ extra });
    const server = await startProduct(lan, release, { httpPort: 8080, tftpPort: 69 });
    try {
      return await consoleOf(await firmware(enrolled, way));
    } finally {
      await server.stop();
      await dhcp.stop();
    }
  }

  async function firmware(variables: string, way: 'pxe' | 'http') {
    const own = join(lan.workFolder, `variables-${Math.random()}.fd`);
    await copyFile(variables, own);
    return bootQemu({
      lan,
      firmware: 'efi',
      secureBoot: own,
      memoryMiB: 1536,
      ...(way === 'pxe'
        ? {}
        : {
            extra: ['IPv4', 'IPv6'].flatMap((ip) => [
              '-fw_cfg',
              `name=opt/org.tianocore/${ip}PXESupport,string=no`,
            ]),
          }),
    });
  }

  for (const { what, make } of [
    { what: 'an image that nobody signed', make: () => image('unsigned', {}) },
    {
      what: 'an image that another key signed',
      make: async () => image('other', { keys: await otherKeys() }),
    },
    { what: 'one bit flipped in .cmdline', make: () => flipped('.cmdline') },
    { what: 'one bit flipped in .initrd', make: () => flipped('.initrd') },
    { what: 'one bit flipped in .linux', make: () => flipped('.linux') },
    {
      what: 'bytes appended',
      make: () => changed('appended', (bytes) => Buffer.concat([bytes, Buffer.alloc(512)])),
    },
    {
      what: 'a truncated image',
      make: () => changed('cut', (bytes) => bytes.subarray(0, bytes.length - 512)),
    },
  ]) {
    it(`is refused by firmware, and by us, with ${what}`, async () => {
      const path = await make();
      const db = [join(keys, 'anchors', 'db.crt')];
      assert.ok((await verifyUefi({ target: path, db })).refusal);
      await expectRefused(path, enrolled);
    });
  }

  it('is refused by firmware, and by us, with its digest in dbx', async () => {
    const path = join(release.tree, UKI);
    const digest = Buffer.from(imageDigest(await readFile(path))).toString('hex');
    const list = encodeHashList([digest], '00000000-0000-0000-0000-000000000001');
    const folder = join(lan.workFolder, 'dbx');
    await mkdir(folder);
    await writeFile(join(folder, 'dbx.esl'), list);
    const [certificate] = decodeCertificates('KEK.crt', await readFile(join(keys, 'anchors', 'KEK.crt')));
    assert.ok(certificate);
    const privateKey = createPrivateKey(await readFile(join(keys, 'private', 'KEK.key')));
    const now = Math.floor(Date.now() / 1000) * 1000;
    await writeFile(join(folder, 'dbx.auth'), signVariable('dbx', now, list, { certificate, privateKey }));
    const dbx = [join(folder, 'dbx.esl')];
    const db = [join(keys, 'anchors', 'db.crt')];
    assert.equal((await verifyUefi({ target: path, db, dbx })).refusal?.code, 'revoked');
    // The firmware enforces by now, so what enrols must be signed itself.
    const { variables } = await enrol(lan, 'revoked', [join(folder, 'dbx.auth')], {
      from: enrolled,
      sign: { key: join(keys, 'private', 'db.key'), certificate: join(keys, 'anchors', 'db.crt') },
    });
    await expectRefused(path, variables);
  });

  it('leaves the machine in setup mode again once no-PK.auth is enrolled', async () => {
    const { log } = await enrol(lan, 'given-back', [join(keys, 'secure-boot', 'no-PK.auth')], {
      from: enrolled,
      sign: { key: join(keys, 'private', 'db.key'), certificate: join(keys, 'anchors', 'db.crt') },
    });
    expectMilestones(log, [/ENROL: PK-\S+ taken/]);
  });

  /**
   * An iPXE as distributions sign it: without imgverify, with autoexec.ipxe, and with firmware's variables as settings.
   * Debian's is older than these, so `BOOTSEAL_IPXE` names a folder that holds one: `ipxe-stock.efi`.
   */
  describe('by way of a signed iPXE that cannot verify', {
    skip: stockIpxe === undefined ? unset : false,
  }, () => {
    const LOADER = 'ipxe.efi';
    let loaders: string;
    before(async () => {
      loaders = join(lan.workFolder, 'loaders');
      await mkdir(loaders);
      const [key, certificate] = [join(keys, 'private', 'db.key'), join(keys, 'anchors', 'db.crt')];
      const out = join(loaders, LOADER);
      await run('sbsign', ['--key', key, '--cert', certificate, '--output', out, stockIpxe ?? '']);
    });

    it('starts the release’s image for firmware, and nothing else', async () => {
      const dhcp = await lan.startDhcp({ efi: LOADER, ipxe: LOADER });
      const server = await startProduct(lan, release, { httpPort: 8080, tftpPort: 69, loaders });
      try {
        const log = await consoleOf(await firmware(enrolled, 'pxe'));
        expectMilestones(log, [
          'Secure Boot is on: the firmware verifies uki.efi',
          'Trust level: Secure Boot',
          ...TO_THE_ROOT,
        ]);
        expectAbsent(log, ['UNVERIFIED', 'REFUSED']);
      } finally {
        await server.stop();
        await dhcp.stop();
      }
    });

    it('is told by firmware that the image was changed, and starts nothing', async () => {
      const log = await neighbour(await flipped('.cmdline'), enrolled);
      expectMilestones(log, [
        'Trust level: Secure Boot',
        'REFUSED: could not start uki.efi: the firmware did not take it',
        'Nothing was started',
      ]);
      expectAbsent(log, NOTHING_RAN);
    });

    it('starts nothing under firmware that does not enforce, though the image is good', async () => {
      const log = await neighbour(join(release.tree, UKI), NOT_ENFORCING);
      expectMilestones(log, ['Trust level: stock (unverified)', 'REFUSED: could not verify anything']);
      expectAbsent(log, ['Trust level: Secure Boot', ...NOTHING_RAN]);
    });

    /** The console as far as a refusal, with this image on servers that would serve anything. */
    async function neighbour(image: string, variables: string): Promise<string> {
      const root = join(lan.workFolder, `neighbour-${Math.random()}`);
      await copySite(release, root);
      await copyFile(image, join(root, UKI));
      const server = { kind: 'literal', url: URL } as const;
      const script = compileAutoexec({ allowUnverified: false, bootSigner: 'boot.lab', server, uki: true });
      for (const name of ['autoexec.ipxe', join('tftp', 'autoexec.ipxe')]) {
        await mkdir(join(root, 'tftp'), { recursive: true });
        await writeFile(join(root, name), script, 'latin1');
      }
      await copyFile(join(loaders, LOADER), join(root, 'tftp', LOADER));
      const dhcp = await lan.startDhcp({ efi: LOADER, ipxe: LOADER, tftpRoot: join(root, 'tftp') });
      const http = await startStatic(lan, root, 8080);
      try {
        return await refusedLog(await firmware(variables, 'pxe'));
      } finally {
        await http.stop();
        await dhcp.stop();
      }
    }
  });

  /** Served by a plain TFTP server, since ours does not serve such a thing. */
  async function expectRefused(path: string, variables: string): Promise<void> {
    const root = join(lan.workFolder, 'tftp');
    await rm(root, { recursive: true, force: true });
    await mkdir(root);
    await copyFile(path, join(root, UKI));
    const dhcp = await lan.startDhcp({ efi: UKI, tftpRoot: root });
    try {
      const machine = await firmware(variables, 'pxe');
      await machine.waitFor([REFUSED]).finally(() => machine.kill());
      expectAbsent(machine.log(), NOTHING_RAN);
    } finally {
      await dhcp.stop();
    }
  }

  async function image(name: string, { keys: by }: { keys?: string }): Promise<string> {
    const out = join(lan.workFolder, `${name}.efi`);
    await uki({
      tree: release.tree,
      url: URL,
      out,
      now: Date.now(),
      ...(by ? { signer: { keys: by } } : {}),
    });
    return out;
  }

  async function otherKeys(): Promise<string> {
    const folder = join(lan.workFolder, 'other-keys');
    await init(folder, { site: 'other', kind: 'rsa', rsaBits: 2048, now: Date.now(), secureBoot: true });
    return folder;
  }

  function flipped(name: string): Promise<string> {
    return changed(name.slice(1), (bytes) => {
      const section = decodePe(bytes).sections.find((one) => one.name === name);
      const at = (section?.rawOffset ?? 0) + ((section?.virtualSize ?? 0) >> 1);
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      return bytes;
    });
  }

  async function changed(name: string, change: (bytes: Buffer) => Uint8Array): Promise<string> {
    const path = join(lan.workFolder, `${name}.efi`);
    await writeFile(path, change(await readFile(join(release.tree, UKI))));
    return path;
  }
});
