import assert from 'node:assert/strict';
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { verify } from '../../src/conformance/verify.ts';
import { attach } from '../../src/operations/request.ts';
import { readOpenpgpSecrets } from '../../src/signing/keys/openpgp-keys.ts';
import { isOpenpgpKey } from '../../src/signing/seal-keys.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { importForGpgsm } from '../fixtures/gpg-agent.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { GnupgHome } from '../fixtures/openpgp.ts';
import { sealFixture } from '../fixtures/release.ts';
import { signdServer } from '../fixtures/signd-server.ts';
import { answer, Bundle, makeRequest, WHOLE_TREE_SEALS, wholeTree } from '../fixtures/signing-request.ts';
import { makeToken, PIN, SOFTHSM } from '../fixtures/softhsm.ts';
import { changed, look, stockToolTakes } from '../signing/judges.ts';

/** The keys of a site in a token, at a signing server, and in GnuPG's agent: what comes of it is what files make. */
const OPENPGP = ['openpgp', 'openpgp-script', 'openpgp-manifest'] as const;
const SIGNING_KEYS = ['ca', 'codesign', 'manifest', 'boot', ...OPENPGP] as const;

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
let trees = 0;
const fresh = () => wholeTree(join(folder, `tree-${trees++}`));

const secretOf = (name: string) => join(keys, 'private', `${name}.asc`);
for (const name of OPENPGP) {
  const [{ privateKey } = {}] = readOpenpgpSecrets(await readFile(secretOf(name)), secretOf(name));
  assert.ok(privateKey);
  const pem = privateKey.export({ format: 'pem', type: 'pkcs8' });
  await writeFile(join(folder, `${name}.pem`), pem, { mode: 0o600 });
}
const files = SIGNING_KEYS.map((name, at) => ({
  name,
  path: isOpenpgpKey(name) ? join(folder, `${name}.pem`) : join(keys, 'private', `${name}.key`),
  label: name,
  id: `0${at + 1}`,
}));
makeToken(folder, 'site', files);
const server = await signdServer({
  keys: Object.fromEntries(files.map(({ name, path }) => [`${name}@site`, { path, kind: 'rsa' as const }])),
});

/** An `init` folder without a private key, whose `signers.toml` says who signs. */
async function elsewhere(name: string, table: (key: string) => string): Promise<string> {
  const to = join(folder, name);
  await mkdir(join(to, 'private'), { recursive: true, mode: 0o700 });
  await cp(join(keys, 'anchors'), join(to, 'anchors'), { recursive: true });
  await writeFile(join(to, 'private', 'site.pin'), `${PIN}\n`, { mode: 0o600 });
  const tables = SIGNING_KEYS.map((key) => `[${key}]\n${table(key)}\n`);
  await writeFile(join(to, 'signers.toml'), tables.join('\n'), { mode: 0o600 });
  assert.deepEqual(await readdir(join(to, 'private')), ['site.pin']);
  return to;
}

const token = (key: string) =>
  `pkcs11 = "pkcs11:token=site;object=${key}"\npin_file = "private/site.pin"\nmodule = "${SOFTHSM}"`;
const signd = (framing: string) => (key: string) =>
  `signd = "127.0.0.1:${server.port}"\nuser = "${key}@site"\nframing = "${framing}"`;

const home = new GnupgHome(folder);
after(() => home.close());
for (const { name, path } of files) {
  if (isOpenpgpKey(name)) home.run(['--import'], NOW, await readFile(secretOf(name)));
  else importForGpgsm(home.path, { key: path, certificate: join(keys, 'anchors', `${name}.crt`) });
}
const agent = () => `gpg_agent = true\ngnupghome = "${home.path}"`;

const places = [
  { what: 'a SoftHSM token', site: await elsewhere('token', token) },
  { what: 'a signing server', site: await elsewhere('signd', signd('new')) },
  { what: 'a signing server of the old protocol', site: await elsewhere('old', signd('old')) },
  { what: "GnuPG's agent", site: await elsewhere('agent', agent) },
];
// One request for all: the same bytes are asked of everybody.
const requested = await fresh();
const request = await makeRequest(requested, keys, join(folder, 'request'));

/** The tree that key files make, with the release leaf of another. */
async function byFiles(leafOf: string): Promise<string> {
  const tree = await fresh();
  for (const name of look(leafOf).keys())
    if (/^arch\/.*\.ipxe\.sig$/.test(name)) await cp(join(leafOf, name), join(tree, name));
  await sealFixture(tree, keys);
  return tree;
}

for (const { what, site } of places) {
  describe(`with all keys in ${what}`, () => {
    it('seal makes what it makes with files, byte for byte', async () => {
      const tree = await fresh();
      await sealFixture(tree, site);
      assert.deepEqual(changed(look(await byFiles(tree)), look(tree)), []);
      for (const seal of WHOLE_TREE_SEALS.filter((name) => name.endsWith('.sig')))
        assert.ok(stockToolTakes(tree, keys, seal, NOW), seal);
      assert.equal((await verify({ tree, anchors: keys, now: NOW })).refusal?.message, undefined);
    });

    it('sign-request answers what files answer, and attach makes the same tree', async () => {
      const response = join(site, 'response');
      const { left } = await answer(request, [site], response);
      assert.deepEqual(left, []);
      const tree = join(folder, `attached-${trees++}`);
      await cp(requested, tree, { recursive: true });
      await attach({ tree, responses: [response] });
      assert.deepEqual(changed(look(await byFiles(tree)), look(tree)), []);
      assert.equal((await verify({ tree, anchors: keys, now: NOW })).refusal?.message, undefined);
    });
  });
}

it('a key in a token, one at a server and one in a file answer one request together', async () => {
  const mixed = await elsewhere('mixed', (key) =>
    key === 'codesign' || key === 'ca' ? token(key) : signd('new')(key),
  );
  for (const name of OPENPGP) await cp(secretOf(name), join(mixed, 'private', `${name}.asc`));
  const toml = await readFile(join(mixed, 'signers.toml'), 'utf8');
  await writeFile(join(mixed, 'signers.toml'), toml.slice(0, toml.indexOf('[openpgp]')));
  const [response, files] = [join(folder, 'mixed.cpio'), join(folder, 'files.cpio')];
  assert.deepEqual((await answer(request, [mixed], response)).left, []);
  await answer(request, [keys], files);
  const [one, other] = [await Bundle.read(response), await Bundle.read(files)];
  const differ = [...one.files].filter(([name, bytes]) => Buffer.compare(bytes, other.file(name)) !== 0);
  assert.deepEqual(
    differ.map(([name]) => name).filter((name) => !/leaf/.test(name)),
    [],
  );
  const asked = server.requests.map((octets) => octets.toString('latin1'));
  assert.ok(asked.some((text) => text.includes('boot@site')) && one.files.size === other.files.size);
});
