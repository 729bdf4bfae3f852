import assert from 'node:assert/strict';
import { chmod, chown, copyFile, mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { run } from '../../lab/command.ts';
import { UsageError } from '../../src/errors/usage.ts';
import type { TlsPair } from '../../src/serve/http/tls-door.ts';
import { TlsFiles } from '../../src/server/tls-files.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { readTlsPair, tlsPair } from '../fixtures/tls-pair.ts';

const DAY = 86_400_000;
const folder = await temporaryFolder();
const old = await tlsPair(folder, 'old', 30);
const next = await tlsPair(folder, 'next', 60);

/** A place with files of its own, which a test may change. */
async function place(name: string) {
  await mkdir(join(folder, name));
  const paths = { certificate: join(folder, name, 'fullchain.pem'), key: join(folder, name, 'privkey.pem') };
  await copyFile(old.certificate, paths.certificate);
  await copyFile(old.key, paths.key);
  await chmod(paths.key, 0o600);
  const said: string[] = [];
  const say = (_facts: object, message: string) => void said.push(message);
  const clock = { now: Date.now() };
  const files = await TlsFiles.open(paths, () => clock.now, { info: say, warn: say, error: say });
  const used: TlsPair[] = [];
  const look = () => files.look((pair) => void used.push(pair));
  return { paths, files, said, used, look, clock };
}

describe('the key of HTTPS', () => {
  const open = (paths: { certificate: string; key: string }) =>
    TlsFiles.open(paths, Date.now, { info() {}, warn() {}, error() {} });

  for (const mode of [0o600, 0o400, 0o640, 0o440])
    it(`may have mode ${mode.toString(8)}, where it is root's`, async () => {
      await chmod(old.key, mode);
      const mine = process.getuid?.() === 0 || (mode & 0o040) === 0;
      if (mine) await open(old);
      else await assert.rejects(open(old), UsageError);
      await chmod(old.key, 0o600);
    });

  for (const mode of [0o644, 0o604, 0o660, 0o620, 0o666, 0o601])
    it(`may not have mode ${mode.toString(8)}`, async () => {
      await chmod(old.key, mode);
      await assert.rejects(open(old), (error: unknown) => {
        assert.ok(error instanceof UsageError);
        assert.match(error.message, new RegExp(`mode 0${mode.toString(8)}.*chmod 600`));
        return true;
      });
      await chmod(old.key, 0o600);
    });

  it('is its owner’s alone where that is not root', async () => {
    if (process.getuid?.() === 0) await chown(old.key, 65_534, 65_534);
    await chmod(old.key, 0o640);
    await assert.rejects(open(old), UsageError);
    await chmod(old.key, 0o600);
    await open(old);
    if (process.getuid?.() === 0) await chown(old.key, 0, 0);
  });

  it('and its certificate are files that belong together, and are said to be none otherwise', async () => {
    const at = (name: string) => join(folder, name);
    await run('openssl', ['pkey', '-in', old.key, '-aes256', '-passout', 'pass:x', '-out', at('locked.key')]);
    await writeFile(at('text.key'), 'no key\n', { mode: 0o600 });
    await writeFile(at('text.crt'), 'no certificate\n');
    for (const [paths, why] of [
      [{ ...old, key: next.key }, /are no pair/],
      [{ ...old, key: at('text.key') }, /are no pair/],
      [{ ...old, key: at('locked.key') }, /has a passphrase/],
      [{ ...old, key: at('none.key') }, /none\.key does not exist\./],
      [{ ...old, certificate: at('text.crt') }, /holds no certificate/],
      [{ ...old, certificate: at('none.crt') }, /none\.crt does not exist\./],
    ] as const)
      await assert.rejects(open(paths), (error: unknown) => {
        assert.ok(error instanceof UsageError);
        assert.match(error.message, why);
        assert.ok(error.message.endsWith('.') && !error.message.includes('PRIVATE'));
        return true;
      });
  });
});

describe('a certificate that is renewed', () => {
  it('counts once both files are there, and not before', async () => {
    const { paths, files, said, used, look } = await place('renewed');
    await look();
    assert.deepEqual([used, said], [[], []]);
    await copyFile(next.certificate, paths.certificate);
    await look();
    assert.deepEqual([used.length, said, files.warnings], [0, [], []], 'in the middle of writing');
    await copyFile(next.key, paths.key);
    await look();
    assert.deepEqual(said, ['HTTPS has a new certificate']);
    assert.deepEqual(used, [await readTlsPair(next)]);
    assert.deepEqual(files.pair, await readTlsPair(next));
    await look();
    assert.equal(used.length, 1);
  });

  it('may be a link that is changed, as certbot leaves it', async () => {
    const { paths, used, look } = await place('linked');
    for (const [path, target] of [
      [paths.certificate, next.certificate],
      [paths.key, next.key],
    ] as const) {
      await symlink(target, `${path}.new`);
      await rename(`${path}.new`, path);
    }
    await look();
    assert.deepEqual(used, [await readTlsPair(next)]);
  });

  it('that is broken is said once and does not count, until it is whole', async () => {
    const { paths, files, said, used, look } = await place('broken');
    const pair = files.pair;
    const message = 'the new certificate of HTTPS is not used, and the old one stays';
    const breaks: readonly (() => Promise<unknown>)[] = [
      () => copyFile(next.key, paths.key),
      () => writeFile(paths.certificate, ''),
      () => rm(paths.key),
      async () => {
        await copyFile(old.key, paths.key);
        await chmod(paths.key, 0o644);
      },
    ];
    for (const [at, change] of breaks.entries()) {
      await change();
      for (let times = 0; times < 4; times += 1) await look();
      assert.deepEqual(said, Array(at + 1).fill(message));
      assert.match(
        files.warnings.join(),
        /^the new certificate of HTTPS is not used, and the old one stays; the log says why$/,
      );
      assert.deepEqual([used.length, files.pair], [0, pair]);
    }
    await rm(paths.key);
    await copyFile(next.key, paths.key);
    await chmod(paths.key, 0o600);
    await copyFile(next.certificate, paths.certificate);
    await look();
    assert.deepEqual([used.length, files.warnings], [1, []]);
    assert.deepEqual(await readFile(paths.key), Buffer.from(files.pair.key));
  });

  it('is asked for two weeks before the old one ends', async () => {
    const { files, clock } = await place('ends');
    assert.deepEqual(files.warnings, []);
    clock.now += 17 * DAY;
    assert.match(files.warnings.join(), /^the certificate of HTTPS ends on 20/);
    clock.now += 14 * DAY;
    assert.match(files.warnings.join(), /^the certificate of HTTPS ended on 20/);
  });
});
