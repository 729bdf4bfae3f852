import assert from 'node:assert/strict';
import { appendFile, cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { printable } from '../../src/cli/printable.ts';
import { CertificateMaker } from '../fixtures/certificates.ts';
import { KERNEL } from '../fixtures/release.ts';
import { serving } from './command.ts';
import { runHere as run } from './here.ts';
import { cliSite } from './site.ts';

const { folder, keys, tree, anchors } = await cliSite();
const LAST = 'Nothing of this was verified: bootseal verify … does that.';
/** Anything a terminal obeys, but the line ends. */
const OBEYED = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]/;

/** The lines of an inspection, whose last says that it is no more than that. */
function linesOf(out: string): string[] {
  const lines = out.split('\n');
  assert.equal(lines.pop(), '');
  assert.equal(lines.at(-1), LAST);
  assert.doesNotMatch(lines.slice(0, -1).join('\n'), /verified/i);
  return lines;
}

describe('inspect', () => {
  it('of a release shows its manifest, a row a seal, a row a script, and claims nothing', async () => {
    const { code, out, err } = await run(['inspect', tree]);
    assert.deepEqual([code, err], [0, '']);
    const lines = linesOf(out);
    assert.equal(lines[0], `${tree}: sealed release`);
    const text = lines.join('\n');
    for (const expected of [
      /^release +arch\/2026\.11\.01$/m,
      /^serial +2026110100$/m,
      /^command line +archisobasedir=arch checksum=y verify=y cms_verify=y$/m,
      /^free words +ip dhcp, BOOTIF mac, archiso_http_srv url$/m,
      /^kernel +262144 +[0-9a-f]{64} +arch\/boot\/x86_64\/vmlinuz-linux$/m,
      /^root hash +salt +data blocks +path\n[0-9a-f]{64} +- /m,
      /^fs-verity digest +path\n[0-9a-f]{64} /m,
      /^boot\.ipxe\.sig +CMS +boot\.lab +sha256 +RSA 2048 +– +certificate valid \S+Z to \S+Z$/m,
      /^grub\.cfg\.sig +OpenPGP +[0-9a-f]{40} +sha512 +RSA +\S+Z +–$/m,
      /^boot\.ipxe +[0-9a-f]{64} +arch\/2026\.11\.01$/m,
    ])
      assert.match(text, expected);
    const heads = lines.filter((line) => /^(role|seal|script) /.test(line));
    assert.equal(heads.length, 3);
  });

  it('with --json gives one object that says that nothing was verified', async () => {
    const { code, out, err } = await run(['inspect', tree, '--json']);
    assert.deepEqual([code, err], [0, '']);
    const { kind, facts, seals, scripts, verified } = JSON.parse(out);
    assert.deepEqual([kind, verified, facts.release], ['release', false, 'arch/2026.11.01']);
    assert.deepEqual([seals.length, scripts.length], [23, 2]);
    assert.match(facts.files[0].sha512, /^[0-9a-f]{128}$/);
    const file = await run(['inspect', join(tree, `${KERNEL}.sig`), '--json']);
    assert.deepEqual([file.code, JSON.parse(file.out).kind], [0, 'openpgp-signature']);
  });

  it('of a file ends with the same line', async () => {
    for (const name of ['boot.ipxe.sig', 'release.manifest', 'grub.cfg', `${KERNEL}.sig`]) {
      const { code, out, err } = await run(['inspect', join(tree, name)]);
      assert.deepEqual([code, err], [0, ''], name);
      linesOf(out);
    }
  });

  it('of a file tables and sections line up', async () => {
    const { out } = await run(['inspect', join(anchors, 'ca.crt')]);
    assert.match(out, /\n\ncertificate:\nsubject {17}CN=netboot CA lab\n/);
    assert.match(out, /\ncertificate authority {3}yes\n/);
  });

  it('of a served release shows what the server has', async (t) => {
    const flags = ['--http-port', '0', '--no-tftp', '--no-nbd', '--json', '--anchors', anchors];
    const server = serving(t, ['serve', '--tree', tree, ...flags]);
    const [line] = await server.until('out', /^.*\n/);
    const { url } = JSON.parse(line);
    const address = `${url.replace(/\/$/, '')}/releases/arch/2026.11.01/`;
    const { code, out, err } = await run(['inspect', address]);
    assert.deepEqual([code, err], [0, '']);
    const local = await run(['inspect', tree]);
    assert.deepEqual(linesOf(out).slice(1), linesOf(local.out).slice(1));
  });

  it('a private key is refused, and nothing of it is said', async () => {
    for (const name of ['ca.key', 'openpgp.asc']) {
      const path = join(keys, 'private', name);
      const { code, out, err } = await run(['inspect', path]);
      assert.deepEqual([code, out], [1, ''], name);
      assert.equal(err, `refused [unsafe-keys] ${path} is a private key; nothing of it is shown.\n`);
    }
  });

  it('a seal that cannot be read has its row, and that is a refusal', async () => {
    const spoilt = join(folder, 'spoilt');
    await cp(tree, spoilt, { recursive: true });
    await appendFile(join(spoilt, 'boot.ipxe.sig'), 'x');
    const { code, out, err } = await run(['inspect', spoilt]);
    assert.equal(code, 1);
    assert.match(linesOf(out).join('\n'), /^boot\.ipxe\.sig +malformed +– /m);
    assert.match(err, /^refused \[malformed\] boot\.ipxe\.sig is malformed: [^\n]*\n$/);
    const json = await run(['inspect', spoilt, '--json']);
    assert.equal(json.code, 1);
    const row = JSON.parse(json.out).seals.find(({ path }: { path: string }) => path === 'boot.ipxe.sig');
    assert.equal(row.refusal.code, 'malformed');
  });

  it('unknown bytes are a refusal, a name that is not there a usage error, a dead server a fault', async () => {
    const unknown = await run(['inspect', join(tree, 'arch/version'), '--json']);
    assert.deepEqual([unknown.code, JSON.parse(unknown.out).refusal.code], [1, 'malformed']);
    const nowhere = await run(['inspect', join(folder, 'nowhere')]);
    assert.equal(nowhere.code, 2);
    assert.match(nowhere.err, /no such file or folder/);
    assert.equal((await run(['inspect', 'http://127.0.0.1:1/x/'])).code, 3);
    const silent = await run(['inspect', tree, '--quiet']);
    assert.deepEqual(silent, { code: 0, out: '', err: '' });
  });
});

describe('a hostile name', () => {
  it('is shown, and takes no line of its own', async () => {
    const maker = new CertificateMaker(folder);
    const { path } = maker.make({ commonName: 'placeholder-name' });
    const [pem = ''] = /-----BEGIN[\s\S]*/.exec(await readFile(path, 'latin1')) ?? [];
    const der = Buffer.from(pem.replace(/-----[^\n]+\n/g, ''), 'base64').toString('latin1');
    const forged = Buffer.from('\x1b[2J\nOK: \u202ekO\x7f.', 'utf8').toString('latin1');
    assert.equal(forged.length, 'placeholder-name'.length);
    const target = join(folder, 'hostile.der');
    await writeFile(target, Buffer.from(der.replaceAll('placeholder-name', forged), 'latin1'));
    const { code, out } = await run(['inspect', target]);
    assert.equal(code, 0);
    assert.doesNotMatch(out, OBEYED);
    assert.match(out, /^subject +CN=\\1B\[2J\\0AOK: \\u202ekO\\7F\.$/m);
  });

  it('of a file in a release is shown too', async () => {
    const hostile = join(folder, 'hostile');
    await cp(tree, hostile, { recursive: true });
    await writeFile(join(hostile, 'x\x1b[2J\n\u202eok.sig'), 'nothing');
    const { code, out, err } = await run(['inspect', hostile]);
    assert.equal(code, 1);
    assert.doesNotMatch(out + err, OBEYED);
    assert.match(out, /^x\\x1b\[2J\\n\\u202eok\.sig +malformed/m);
  });

  it('that turns the direction of writing is shown, as control characters are', () => {
    assert.equal(printable('a\u202eb\u2066c\u2028d'), 'a\\u202eb\\u2066c\\u2028d');
  });
});
