import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cp, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { verify } from '../../src/conformance/verify.ts';
import { attach } from '../../src/operations/request.ts';
import { readOpenpgpSecrets } from '../../src/signing/keys/openpgp-keys.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { sealFixture } from '../fixtures/release.ts';
import { makeRequest, WHOLE_TREE_SEALS, wholeTree } from '../fixtures/signing-request.ts';
import { changed, look, openssl, opensslTakes, stockToolTakes } from '../signing/judges.ts';
import { refused } from '../trust/judge.ts';

/** docs/offline-signing.md, as it stands there, is what signs: cpio, openssl, gpg and gpg-agent, and nothing of ours. */
const page = readFileSync(new URL('../../../docs/offline-signing.md', import.meta.url), 'utf8');

function recipe(name: string): string {
  const [, text] = new RegExp(`^\`\`\`sh ${name}\n(.*?)^\`\`\`$`, 'ms').exec(page) ?? [];
  if (text === undefined) throw new Error(`docs/offline-signing.md has no recipe ${name}`);
  return text;
}

const folder = await temporaryFolder();
let names = 0;
const fresh = (name: string) => join(folder, `${name}-${names++}`);

interface Case {
  readonly kind: 'rsa' | 'p256';
  readonly openpgp: 'gpg-agent' | 'pem';
  readonly keys: string;
  readonly bare: string;
  readonly request: string;
  /** Where the recipes are run. */
  readonly place: string;
}

async function prepare(kind: 'rsa' | 'p256', openpgp: 'gpg-agent' | 'pem', now = NOW): Promise<Case> {
  const keys = await makeKeys(fresh('keys'), { kind, now });
  const bare = await wholeTree(fresh('bare'));
  const place = fresh('place');
  await mkdir(place);
  const request = await makeRequest(bare, keys, join(place, 'request.cpio'), { now });
  return { kind, openpgp, keys, bare, request, place };
}

/** Records and scripts, signed as the files that they are. */
const TEXTS = ['records', 'scripts', 'gpg'] as const;

/** Runs recipes one after the other, as a person would in one shell. */
function run({ keys, place }: Case, recipes: readonly string[], change = (text: string) => text): void {
  const path = join(keys, 'private', 'openpgp.asc');
  const script = ['set -eu', ...recipes.map(recipe).map(change)].join('\n');
  const env = { ...process.env, KEYS: keys, PEM: `${path}.pem`, TMPDIR: folder };
  execFileSync('sh', ['-c', script], { cwd: place, env, stdio: 'pipe', timeout: 120_000 });
}

async function writePem({ keys }: Case): Promise<void> {
  const path = join(keys, 'private', 'openpgp.asc');
  const [{ privateKey } = {}] = readOpenpgpSecrets(await readFile(path), path);
  assert.ok(privateKey);
  writeFileSync(`${path}.pem`, privateKey.export({ format: 'pem', type: 'pkcs8' }), { mode: 0o600 });
}

const cases = await Promise.all([
  prepare('rsa', 'gpg-agent'),
  prepare('rsa', 'pem'),
  prepare('p256', 'gpg-agent'),
]);

for (const one of cases) {
  const { kind, openpgp, keys, bare, place } = one;
  describe(`a request answered with cpio, openssl and ${openpgp}, ${kind}`, () => {
    it('is attached, and every stock tool takes what comes of it', async () => {
      if (openpgp === 'pem') await writePem(one);
      run(one, ['open', ...TEXTS, 'openssl', 'leaf', openpgp, 'close']);
      const { files } = await attach({ tree: bare, responses: [join(place, 'response.cpio')] });
      assert.deepEqual(
        files
          .flatMap(({ path, outcome }) =>
            outcome === 'written' && WHOLE_TREE_SEALS.includes(path) ? [path] : [],
          )
          .sort(),
        WHOLE_TREE_SEALS,
      );
      for (const seal of WHOLE_TREE_SEALS.filter((name) => name.endsWith('.sig')))
        assert.ok(stockToolTakes(bare, keys, seal, NOW), seal);
      const roothash = join(bare, 'arch/x86_64/airootfs.sfs.roothash');
      const anchor = (name: string) => join(keys, 'anchors', name);
      const flags = ['-nointern', '-certfile', anchor('manifest.crt'), '-CAfile', anchor('ca.crt')];
      assert.ok(opensslTakes(roothash, `${roothash}.cms.sig`, flags, NOW));
      const { refusal } = await verify({ tree: bare, anchors: keys, now: NOW });
      assert.equal(refusal?.message, undefined);
    });

    it('gives the bytes of sealing with the keys at hand, where signatures have one form', async () => {
      const online = await wholeTree(fresh('online'));
      for (const name of look(bare).keys()) {
        if (/^arch\/.*\.ipxe\.sig$/.test(name)) await cp(join(bare, name), join(online, name));
      }
      await sealFixture(online, keys);
      const byCms = WHOLE_TREE_SEALS.filter((name) => /\.cms\.sig$|^boot\.ipxe\.sig$/.test(name));
      // openssl's ECDSA takes a random number; RSA does not, and gpg was told the time.
      assert.deepEqual(changed(look(bare), look(online)), kind === 'rsa' ? [] : byCms);
    });

    it('is kept as it is by sealing it with the keys at hand', async () => {
      const before = look(bare);
      await sealFixture(bare, keys);
      assert.deepEqual(changed(before, look(bare)), []);
    });

    it('leaves no key behind, and a leaf as it was ordered', () => {
      const said = openssl(
        'x509',
        '-in',
        join(place, 'request', 'certificates', 'leaf.crt'),
        '-noout',
        '-subject',
        '-dates',
      ).stdout;
      assert.match(said, /CN = arch\/2026\.11\.01\n/);
      assert.match(said, /notBefore=Oct 31 00:00:00 2026 GMT\nnotAfter=May 10 00:00:00 2027 GMT\n/);
      const left = execFileSync('find', [place, '-name', '*.key'], { encoding: 'utf8' });
      assert.equal(left, '');
    });
  });
}

describe('gpg that is not told the time', () => {
  it('signs at the time it is, and everything verifies from then on', async () => {
    const before = Math.floor(Date.now() / 1000) * 1000;
    const one = await prepare('rsa', 'gpg-agent', before);
    const untold = (text: string) => text.replace('--faked-system-time "$issued!" ', '');
    assert.notEqual(untold(recipe('gpg')), recipe('gpg'));
    run(one, ['open', ...TEXTS, 'openssl', 'leaf', 'gpg-agent', 'close'], untold);
    await attach({ tree: one.bare, responses: [join(one.place, 'response.cpio')] });
    const now = Date.now();
    for (const seal of WHOLE_TREE_SEALS.filter((name) => name.endsWith('.sig')))
      assert.ok(stockToolTakes(one.bare, one.keys, seal, Math.ceil(now / 1000) * 1000), seal);
    const { refusal } = await verify({ tree: one.bare, anchors: one.keys, now });
    assert.equal(refusal?.message, undefined);
    const sealed = look(one.bare);
    await sealFixture(one.bare, one.keys, { now });
    assert.deepEqual(changed(sealed, look(one.bare)), []);
  });
});

describe('what stock tools get wrong', () => {
  const [first] = cases;
  assert.ok(first);
  const answers = async (change: string): Promise<readonly string[]> => {
    const place = fresh('place');
    await mkdir(place);
    await cp(first.request, join(place, 'request.cpio'));
    const one = { ...first, place };
    run(one, ['open', ...TEXTS, 'openssl', 'leaf', 'gpg-agent']);
    execFileSync('sh', ['-euc', change], {
      cwd: join(place, 'request'),
      env: { ...process.env, KEYS: first.keys },
      stdio: 'pipe',
    });
    execFileSync('sh', ['-euc', `cd request; ${recipe('close')}`], { cwd: place, stdio: 'pipe' });
    return [join(place, 'response.cpio')];
  };
  const cms = (how: string, key = 'manifest') =>
    `openssl cms -sign -binary ${how} -outform DER -signer certificates/${key}.crt ` +
    `-inkey "$KEYS/private/${key}.key" -in records/release.manifest -out records/release.manifest.cms.sig`;
  const gpg = (how: string, key = 'openpgp-manifest') => `
    export GNUPGHOME=$(mktemp -d)
    gpg --batch --quiet --import "$KEYS/private/${key}.asc"
    gpg --batch --yes ${how} --detach-sign --output records/release.manifest.sig records/release.manifest
    gpgconf --kill all
    rm -rf "$GNUPGHOME"`;
  const wrong: readonly (readonly [string, string, Parameters<typeof refused>[0], RegExp])[] = [
    [
      'a digest that was hashed again',
      'openssl dgst -sha256 -sign "$KEYS/private/codesign.key" -out digests/0002.codesign.sig digests/0002.codesign',
      'bad-signature',
      /vmlinuz-linux\.cms\.sig/,
    ],
    [
      'an OpenPGP packet in the place of its number',
      'printf "\\211\\0\\3abc" > digests/0003.openpgp.sig',
      'bad-signature',
      /vmlinuz-linux\.sig/,
    ],
    [
      'a padding without a hash’s name',
      'openssl pkeyutl -sign -inkey "$KEYS/private/codesign.key" -in digests/0002.codesign -out digests/0002.codesign.sig',
      'bad-signature',
      /vmlinuz-linux\.cms\.sig/,
    ],
    [
      'PSS',
      'openssl pkeyutl -sign -inkey "$KEYS/private/codesign.key" -pkeyopt digest:sha256 -pkeyopt rsa_padding_mode:pss -in digests/0002.codesign -out digests/0002.codesign.sig',
      'bad-signature',
      /vmlinuz-linux\.cms\.sig/,
    ],
    [
      'a certificate with text before it',
      'openssl x509 -in certificates/leaf.crt -text -out certificates/leaf.crt',
      'malformed',
      /leaf\.crt/,
    ],
    [
      'a record with signed attributes',
      cms('-nocerts -md sha256'),
      'bad-signature',
      /answer for release\.manifest\.cms\.sig .* is no seal: .*attributes/,
    ],
    [
      'a record by SHA-512',
      cms('-noattr -nocerts -md sha512'),
      'bad-signature',
      /release\.manifest\.cms\.sig .* uses sha512, and not SHA-256/,
    ],
    [
      'a record that is in its seal',
      cms('-noattr -nocerts -nodetach -md sha256'),
      'bad-signature',
      /release\.manifest\.cms\.sig .* is no seal/,
    ],
    [
      'a record that was signed as text, with other ends of lines',
      cms('-noattr -nocerts -md sha256').replace(' -binary', ''),
      'bad-signature',
      /release\.manifest\.cms\.sig .* is no signature of release\.manifest by manifest/,
    ],
    [
      'a record by the key of payload',
      cms('-noattr -nocerts -md sha256', 'codesign'),
      'bad-signature',
      /release\.manifest\.cms\.sig .* is by another certificate than manifest/,
    ],
    [
      'a signature in armor',
      gpg('--digest-algo SHA512 --armor'),
      'bad-signature',
      /release\.manifest\.sig .* is no seal/,
    ],
    [
      'an OpenPGP signature by SHA-256',
      gpg('--digest-algo SHA256'),
      'bad-signature',
      /release\.manifest\.sig .* uses sha256, and not SHA-512; gpg does with --digest-algo SHA512/,
    ],
    [
      'an OpenPGP signature over text',
      gpg('--digest-algo SHA512 --textmode'),
      'bad-signature',
      /release\.manifest\.sig .* is no signature of a document \(type 1\)/,
    ],
    [
      'an OpenPGP signature by the key of scripts',
      gpg('--digest-algo SHA512', 'openpgp-script'),
      'bad-signature',
      /release\.manifest\.sig .* is by another key than openpgp-manifest/,
    ],
    [
      'a record that is in its OpenPGP signature',
      gpg('--digest-algo SHA512').replace('--detach-sign', '--sign'),
      'bad-signature',
      /release\.manifest\.sig .* is no/,
    ],
    [
      'two records’ seals swapped',
      `mv records/release.manifest.cms.sig x
      mv records/arch/x86_64/airootfs.sfs.roothash.cms.sig records/release.manifest.cms.sig
      mv x records/arch/x86_64/airootfs.sfs.roothash.cms.sig`,
      'bad-signature',
      /answer for \S+ in .* is the one for /,
    ],
    ['an editor’s backup', 'cp index index~', 'malformed', /"index~"/],
    [
      'the leaf’s key beside its certificate',
      'cp "$KEYS/private/ca.key" certificates/leaf.key',
      'malformed',
      /leaf\.key/,
    ],
  ];
  for (const [what, change, code, fact] of wrong) {
    it(`${what} is refused by name`, async () => {
      const tree = await wholeTree(fresh('tree'));
      await cp(
        join(first.bare, 'arch/x86_64/airootfs.sfs.verity'),
        join(tree, 'arch/x86_64/airootfs.sfs.verity'),
      );
      const before = look(tree);
      await assert.rejects(attach({ tree, responses: await answers(change) }), refused(code, fact));
      assert.deepEqual(changed(before, look(tree)), []);
      rmSync(tree, { recursive: true });
    });
  }
});
