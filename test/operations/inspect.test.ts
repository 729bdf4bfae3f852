import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { appendFile, cp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { encodeArmor } from '../../src/formats/asn1/armor.ts';
import { type Facts, inspect, KINDS, type SealRow } from '../../src/operations/inspect.ts';
import { packTree } from '../../src/operations/pack-tree.ts';
import { misused } from '../fixtures/failed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { GnupgHome } from '../fixtures/openpgp.ts';
import { KERNEL, ROOTFS, writeTree } from '../fixtures/release.ts';
import { inTree, staticServer } from '../fixtures/static.ts';
import { refused } from '../trust/judge.ts';
import { otherForms, samples } from './inspected.ts';

const folder = await temporaryFolder();
const made = await samples(folder);
const { keys, tree, files } = made;
const rings = await temporaryFolder();
const home = new GnupgHome(rings);
after(() => home.close());

/** Inspects bytes under a name that says nothing. */
async function of(bytes: Uint8Array): Promise<{ kind: string; facts: Facts }> {
  const target = join(folder, 'x');
  await writeFile(target, bytes);
  const { kind, facts } = await inspect({ target });
  return { kind, facts };
}

const list = (facts: Facts, name: string): Facts[] => [...(facts[name] as readonly Facts[])];
const openssl = (...args: string[]): string => execFileSync('openssl', args, { encoding: 'utf8' });
const iso = (seconds: string | undefined): string =>
  new Date(Number(seconds) * 1000).toISOString().replace('.000', '');

describe('a file of each kind', () => {
  it('is known by its content, whatever it is called', async () => {
    assert.deepEqual(
      Object.keys(KINDS).filter((kind) => kind !== 'release'),
      [...files.keys()],
    );
    for (const [kind, bytes] of files) assert.equal((await of(bytes)).kind, kind);
  });

  it('a digest is known by all of its digits: its first ones may look like DER, or like an archive', async () => {
    for (const start of ['010', '080', '0a0', '070701', '0'.repeat(6)]) {
      const digest = start.padEnd(64, 'e');
      assert.equal((await of(Buffer.from(digest))).kind, 'root-hash', start);
      assert.equal((await of(Buffer.from(`${digest}  vmlinuz\n`))).kind, 'checksums', start);
      assert.equal((await of(Buffer.from(`${digest.padEnd(128, 'e')}  vmlinuz\n`))).kind, 'checksums', start);
    }
  });

  it('an initrd says what is in it, as GNU cpio lists it', async () => {
    const tree = await writeTree(join(folder, 'packed'), {
      'site/preseed.cfg': 'd-i',
      'site/etc/motd': 'hello',
    });
    await packTree(tree, 'site.img', [{ from: 'site' }]);
    const path = join(tree, 'site.img');
    const { kind, facts } = (await inspect({ target: path })) as { kind: string; facts: Facts };
    const listed = execFileSync('cpio', ['-it', '--quiet'], { input: await readFile(path) }).toString();
    const entries = facts.entries as readonly { name: string; size?: number }[];
    assert.equal(kind, 'initrd');
    assert.deepEqual(
      entries.map(({ name }) => name),
      listed.trimEnd().split('\n'),
    );
    assert.deepEqual(
      entries.map(({ size }) => size),
      [undefined, 5, 3],
    );
  });

  it('is known in its other wrappings', async () => {
    const signature = files.get('openpgp-signature') ?? new Uint8Array();
    const armored = Buffer.from(encodeArmor('SIGNATURE', signature));
    const forms = [...(await otherForms(made)), ['openpgp-signature', armored] as const];
    for (const [kind, bytes] of forms) assert.equal((await of(bytes)).kind, kind);
    assert.deepEqual(await of(armored), await of(signature));
  });
});

describe('a certificate', () => {
  for (const name of ['ca', 'codesign', 'boot', 'snapshot']) {
    it(`${name}.crt says what openssl reads in it`, async () => {
      const target = join(keys, 'anchors', `${name}.crt`);
      const [certificate = {}] = list((await inspect({ target })).facts, 'certificates');
      const flags = ['-subject', '-issuer', '-serial', '-fingerprint', '-sha256', '-dateopt', 'iso_8601'];
      const said = openssl('x509', '-noout', '-in', target, ...flags, '-dates', '-nameopt', 'RFC2253');
      const field = (key: string) => new RegExp(`^${key}=(.*)$`, 'im').exec(said)?.[1] ?? '';
      assert.equal(certificate.subject, field('subject'));
      assert.equal(certificate.issuer, field('issuer'));
      assert.equal(certificate.serialNumber, field('serial').toLowerCase());
      assert.equal(certificate.notBefore, field('notBefore').replace(' ', 'T'));
      assert.equal(certificate.notAfter, field('notAfter').replace(' ', 'T'));
      assert.equal(certificate.sha256, field('sha256 Fingerprint').replaceAll(':', '').toLowerCase());
      const text = openssl('x509', '-noout', '-in', target, '-text');
      assert.equal(certificate.key, `RSA ${/Public-Key: \((\d+) bit\)/.exec(text)?.[1]}`);
      assert.equal(certificate.signatureAlgorithm, 'RSA with sha256');
      assert.equal(certificate.certificateAuthority, /CA:TRUE/.test(text));
      const purposes = certificate.extendedKeyUsage as readonly string[] | undefined;
      assert.equal(purposes?.includes('codeSigning') ?? false, /Code Signing/.test(text));
    });
  }
});

describe('a CMS seal', () => {
  it('says what openssl prints of it, and its signer’s name from the certificate inside', async () => {
    const target = join(tree, `${KERNEL}.ipxe.sig`);
    const { facts } = await inspect({ target });
    const [signer = {}] = list(facts, 'signers');
    const printed = openssl('cms', '-cmsout', '-print', '-inform', 'DER', '-in', target);
    const [, infos = ''] = printed.split('signerInfos:');
    const serial = BigInt(/serialNumber: (\d+)/.exec(infos)?.[1] ?? '');
    assert.equal(BigInt(`0x${signer.serialNumber}`), serial);
    assert.equal(signer.issuer, /issuer: (.*)/.exec(infos)?.[1]);
    assert.equal(signer.hash, /algorithm: (sha\d+) /.exec(infos)?.[1]);
    assert.equal(signer.signer, 'arch/2026.11.01');
    assert.equal(signer.key, 'RSA 2048');
    const subjects = [...printed.matchAll(/subject: (.*)/g)].map(([, subject]) =>
      subject?.replace('\\/', '/'),
    );
    assert.deepEqual(
      list(facts, 'certificates').map(({ subject }) => subject),
      subjects,
    );
  });

  it('without certificates names its signer by issuer and serial number', async () => {
    const { facts } = await inspect({ target: join(tree, `${KERNEL}.cms.sig`) });
    const [{ signer, serialNumber, key } = {}] = list(facts, 'signers');
    const serial = openssl('x509', '-noout', '-serial', '-in', join(keys, 'anchors/codesign.crt'));
    assert.equal(serialNumber, serial.trim().replace('serial=', '').toLowerCase());
    assert.equal(signer, `${serialNumber} of CN=netboot CA lab`);
    assert.equal(key, 'RSA');
    assert.deepEqual(facts.certificates, []);
  });
});

describe('OpenPGP', () => {
  it('a signature says what gpg lists in it', async () => {
    const target = join(tree, `${KERNEL}.sig`);
    const [said = {}] = list((await inspect({ target })).facts, 'signatures');
    const packets = home.run(['--list-packets', target]).toString();
    assert.equal(said.issuerKeyId, /keyid ([0-9A-F]{16})/.exec(packets)?.[1]?.toLowerCase());
    assert.equal(said.issuerFingerprint, /issuer fpr v4 ([0-9A-F]{40})/.exec(packets)?.[1]?.toLowerCase());
    assert.equal(said.created, iso(/created (\d+)/.exec(packets)?.[1]));
    assert.deepEqual([said.type, said.hash, said.key], ['binary document', 'sha512', 'RSA']);
    assert.match(packets, /sigclass 0x00\n\tdigest algo 10,/);
    assert.match(packets, /^:signature packet: algo 1,/m);
  });

  it('keys say what gpg shows of them: names, times, subkeys', async () => {
    home.run(['--quick-gen-key', 'Räuber <one@example.test>', 'ed25519', 'sign,cert', '1y']);
    home.run(['--quick-gen-key', 'Two <two@example.test>', 'rsa2048', 'sign,cert', 'never']);
    const [fingerprint = ''] = /(?<=^fpr:+)[0-9A-F]{40}/m.exec(
      home.run(['--with-colons', '--list-keys', 'one@example.test']).toString(),
    ) ?? [''];
    home.run(['--quick-add-key', fingerprint, 'cv25519', 'encr', '6m']);
    home.run(['--quick-add-uid', fingerprint, 'Other <other@example.test>']);
    const ring = home.run(['--export']);
    const shown = home.run(['--with-colons', '--fixed-list-mode', '--list-keys']).toString().split('\n');
    const rows = shown.map((line) => line.split(':'));
    const { facts } = await of(ring);
    const flat = list(facts, 'keys').flatMap((key) => [key, ...list(key, 'subkeys')]);
    const gpgs = rows.filter(([type]) => type === 'pub' || type === 'sub');
    assert.equal(gpgs.length, 3);
    assert.deepEqual(
      flat.map(({ keyId, created, expires }) => [keyId, created, expires]),
      gpgs.map((row) => [row[4]?.toLowerCase(), iso(row[5]), row[6] === '' ? undefined : iso(row[6])]),
    );
    assert.deepEqual(
      flat.map(({ fingerprint: own }) => own),
      rows.filter(([type]) => type === 'fpr').map((row) => row[9]?.toLowerCase()),
    );
    const users = list(facts, 'keys').flatMap(({ userIds }) => userIds as readonly string[]);
    assert.deepEqual(
      users.toSorted(),
      rows
        .filter(([type]) => type === 'uid')
        .map((row) => row[9])
        .toSorted(),
    );
    assert.deepEqual(
      flat.map(({ key }) => key),
      ['EdDSA 256', 'ECDH', 'RSA 2048'],
    );
    const armored = await of(home.run(['--armor', '--export']));
    const [inner = ''] = readdirSync(rings);
    assert.deepEqual(armored.facts, facts);
    assert.deepEqual((await of(readFileSync(join(rings, inner, 'pubring.kbx')))).facts, facts);
  });
});

describe('dm-verity', () => {
  it('a hash device says what veritysetup dumps of it', async () => {
    const target = join(tree, `${ROOTFS}.verity`);
    const { facts } = await inspect({ target });
    const dump = execFileSync('veritysetup', ['dump', target], { encoding: 'utf8' });
    const field = (key: string) => new RegExp(`^${key}:\\s*(\\S+)`, 'm').exec(dump)?.[1];
    assert.equal(facts.uuid, field('UUID'));
    assert.equal(String(facts.hashType), field('Hash type'));
    assert.equal(String(facts.dataBlocks), field('Data blocks'));
    assert.equal(String(facts.blockSize), field('Data block size'));
    assert.equal(facts.hash, field('Hash algorithm'));
    assert.equal(facts.salt, field('Salt'));
  });

  it('a hash device by veritysetup itself, salted, is read too', async () => {
    const [data, target] = [join(folder, 'data'), join(folder, 'device')];
    await writeFile(data, Buffer.alloc(40 * 4096, 'x'));
    execFileSync('veritysetup', ['format', data, target, '--salt', 'beef']);
    const { facts } = await inspect({ target });
    assert.deepEqual([facts.salt, facts.dataBlocks], ['beef', 40]);
  });
});

describe('a boot script', () => {
  it('names its manifest, and iPXE’s the signer that it demands', async () => {
    const manifest = execFileSync('sha256sum', [join(tree, 'release.manifest')])
      .toString('latin1')
      .slice(0, 64);
    for (const [name, signers] of [
      ['boot.ipxe', ['arch/2026.11.01']],
      ['grub.cfg', []],
    ] as const) {
      const { facts } = await inspect({ target: join(tree, name) });
      assert.deepEqual([facts.manifests, facts.signers], [[manifest], signers], name);
    }
    const { facts } = await of(Buffer.from('#!ipxe\nimgverify --signer=A k s\nimgverify -s B k s\n'));
    assert.deepEqual(facts.signers, ['A', 'B']);
  });
});

describe('a request', () => {
  it('says what it asks, and its answer what was answered', async () => {
    const asked = (await of(files.get('signing-request') ?? new Uint8Array())).facts;
    const answered = (await of(files.get('signing-response') ?? new Uint8Array())).facts;
    assert.equal(asked.release, 'arch/2026.11.01');
    assert.deepEqual([asked.answered, answered.answered], [0, asked.asked]);
    const seals = list(answered, 'questions').map(({ seal, answered: yes }) => `${seal} ${yes}`);
    assert.ok(seals.includes(`${KERNEL}.ipxe.sig yes`), seals.join('\n'));
    const texts = (facts: Facts) =>
      list(facts, 'texts').map(({ key, seal, answered: yes }) => `${key} ${seal} ${yes}`);
    for (const text of [
      'manifest release.manifest.cms.sig',
      'openpgp-manifest release.manifest.sig',
      'boot boot.ipxe.sig',
      'openpgp-script grub.cfg.sig',
    ]) {
      assert.ok(texts(asked).includes(`${text} no`), text);
      assert.ok(texts(answered).includes(`${text} yes`), text);
    }
  });
});

/** What a row says, in short. */
const short = ({ path, kind, signer, hash, refusal }: SealRow): string =>
  [path, refusal?.code ?? `${kind} ${hash} ${signer ?? '–'}`].join(' ');

describe('a release', () => {
  const copy = async (name: string): Promise<string> => {
    const target = join(folder, name);
    await cp(tree, target, { recursive: true });
    return target;
  };

  it('says what its manifest says', async () => {
    const { kind, facts } = await inspect({ target: tree });
    assert.equal(kind, 'release');
    assert.deepEqual(
      [facts.release, facts.serial, facts.issued, facts.bestBefore, facts.arch, facts.cmdline],
      [
        'arch/2026.11.01',
        2026110100,
        '2026-11-01T00:00:00Z',
        '2027-01-30T00:00:00Z',
        'x86_64',
        'archisobasedir=arch checksum=y verify=y cms_verify=y',
      ],
    );
    const [verity] = list(facts, 'verity');
    assert.equal(verity?.rootHash, await readFile(join(tree, `${ROOTFS}.roothash`), 'latin1'));
    const digest = execFileSync('fsverity', ['digest', '--compact', join(tree, ROOTFS)], {
      encoding: 'utf8',
    });
    assert.deepEqual(facts.fsverity, [{ fsVerityDigest: digest.trim(), path: ROOTFS }]);
    assert.deepEqual(
      list(facts, 'files').map(({ role }) => role),
      ['kernel', 'initrd', 'rootfs', 'hashtree'],
    );
  });

  it('has a row for every seal, by path', async () => {
    const { seals = [], scripts = [] } = await inspect({ target: tree });
    const rows = seals.map(short);
    assert.equal(rows.length, 23);
    for (const expected of [
      /^arch\/boot\/x86_64\/vmlinuz-linux\.ipxe\.sig CMS sha256 arch\/2026\.11\.01$/,
      /^arch\/boot\/x86_64\/vmlinuz-linux\.cms\.sig CMS sha256 [0-9a-f]+ of CN=netboot CA lab$/,
      /^arch\/boot\/x86_64\/vmlinuz-linux\.sig OpenPGP sha512 [0-9a-f]{40}$/,
      /^arch\/x86_64\/airootfs\.sha512 checksum sha512 –$/,
      /^arch\/x86_64\/airootfs\.sfs\.roothash verity sha256 –$/,
      /^arch\/x86_64\/airootfs\.sfs\.verity verity sha256 –$/,
      /^boot\.ipxe\.sig CMS sha256 boot\.lab$/,
    ])
      assert.ok(
        rows.some((row) => expected.test(row)),
        `${expected}\n${rows.join('\n')}`,
      );
    const openpgp = seals.find(({ path }) => path === 'grub.cfg.sig');
    assert.equal(openpgp?.time, '2026-11-01T00:00:00Z');
    assert.deepEqual(
      scripts.map(({ path, signers }) => [path, signers]),
      [
        ['boot.ipxe', ['arch/2026.11.01']],
        ['grub.cfg', []],
      ],
    );
  });

  it('names a signer by a certificate that lies in the tree', async () => {
    const target = await copy('with-certificate');
    await cp(join(keys, 'anchors/codesign.crt'), join(target, 'codesign.crt'));
    const { seals = [] } = await inspect({ target });
    const row = seals.find(({ path }) => path === `${KERNEL}.cms.sig`);
    const subject = openssl('x509', '-noout', '-subject', '-in', join(target, 'codesign.crt'));
    assert.equal(row?.signer, subject.trim().replace(/^subject=CN ?= ?/, ''));
    assert.match(`${row?.key} ${row?.notBefore}`, /^RSA 2048 2026-10-31T00:00:00Z$/);
  });

  it('has a row also for what is no seal, damaged, or a link', async () => {
    const target = await copy('spoilt');
    await appendFile(join(target, 'boot.ipxe.sig'), 'x');
    await writeFile(join(target, 'grub.cfg.sig'), await readFile(join(keys, 'anchors/ca.crt')));
    await rm(join(target, `${KERNEL}.sig`));
    await symlink(join(keys, 'anchors/ca.crt'), join(target, `${KERNEL}.sig`));
    await cp(join(keys, 'private/ca.key'), join(target, 'key.sig'));
    await writeFile(join(target, 'boot.ipxe'), 'echo no magic\n');
    await writeFile(join(target, 'large.sig'), Buffer.alloc(300_000));
    const { seals = [], scripts = [] } = await inspect({ target });
    const bad = seals.filter(({ refusal }) => refusal).map(short);
    assert.deepEqual(bad, [
      `${KERNEL}.sig unsafe-path`,
      'boot.ipxe.sig malformed',
      'grub.cfg.sig malformed',
      'key.sig unsafe-keys',
      'large.sig too-large',
    ]);
    assert.equal(scripts.find(({ path }) => path === 'boot.ipxe')?.refusal?.code, 'malformed');
  });

  it('without a manifest, or with a malformed one, is refused', async () => {
    const target = await copy('manifest');
    await appendFile(join(target, 'release.manifest'), 'x');
    await assert.rejects(inspect({ target }), refused('malformed', /release\.manifest/));
    await rm(join(target, 'release.manifest'));
    await assert.rejects(inspect({ target }), refused('absent', /is no sealed release/));
  });

  it('on a web server says the same as in its folder', async () => {
    const served = await staticServer(inTree(tree));
    const local = await inspect({ target: tree });
    for (const end of ['', '/']) {
      const target = `${served.url}/releases/arch/2026.11.01${end}`;
      assert.deepEqual({ ...(await inspect({ target })), target: tree }, local);
    }
    // Of images not one byte is asked for.
    assert.ok(!served.asked.some((path) => /(\.sfs|vmlinuz-linux|\.img)$/.test(path)));
    served.instead = (_path, res) => {
      res.writeHead(404).end();
      return true;
    };
    await assert.rejects(inspect({ target: `${served.url}/` }), refused('absent', /is no sealed release/));
    await assert.rejects(inspect({ target: 'https://127.0.0.1/x/' }), misused(/no http: address/));
  });
});
