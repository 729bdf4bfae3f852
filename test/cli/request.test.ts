import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { INITRD, KERNEL, ROOTFS, sampleTree } from '../fixtures/release.ts';
import { SigningDevice } from '../fixtures/signing-device.ts';
import { Bundle, someKeys } from '../fixtures/signing-request.ts';
import { start } from './command.ts';
import { runHere as run } from './here.ts';
import { cliSite } from './site.ts';

const { folder, keys, anchors } = await cliSite();
let names = 0;
const fresh = (name: string) => join(folder, `${name}-${names++}`);
const bare = () => sampleTree(fresh('bare'), keys);
const below = async (place: string) => (await readdir(place, { recursive: true })).sort();

const tree = await bare();
const request = join(folder, 'request.cpio');
const response = join(folder, 'response.cpio');
const asked = await run(['request', tree, '--anchors', anchors, '--out', request]);
const answered = await run(['sign-request', request, '--keys', keys, '--out', response]);
const before = await below(tree);
const attached = await run(['attach', tree, response]);
const { signatures, texts } = (await Bundle.read(request)).index;
const questions = [...signatures, ...texts];
const count = questions.length;

describe('request, sign-request, attach', () => {
  it('say what boots, with which words, and who is asked', () => {
    for (const { code, out } of [asked, answered]) {
      assert.equal(code, 0);
      const [first = '', words = '', free = '', , head = '', ...rows] = out.split('\n');
      assert.match(
        first,
        /^arch\/2026\.11\.01 \(archiso\), serial 2026110100, issued \S+Z, best before \S+Z$/,
      );
      assert.match(words, /^command line: archisobasedir=arch .*verify=y/);
      assert.match(free, /^loaders may add: ip=\(dhcp\)/);
      const column = head.indexOf('file');
      assert.deepEqual(
        rows.slice(0, 3).map((row) => row.slice(column).split(' ')[0]),
        [KERNEL, INITRD, ROOTFS],
      );
      assert.match(out, /\nleaf +\d+ +to be issued for arch\/2026\.11\.01, rsa 3072, until \S+Z\n/);
      assert.match(out, /\ncodesign +\d+ +sha256 [0-9a-f]{64}\n/);
      assert.match(out, /\nopenpgp +\d+ +[0-9a-f]{40}\n/);
      assert.match(out, /\nboot +1 +sha256 [0-9a-f]{64}\n/);
    }
  });

  it('say what was written, and what comes next', () => {
    assert.ok(
      asked.out.endsWith(
        `; carry it to the keys: bootseal sign-request ${request} --keys DIR --out RESPONSE\n`,
      ),
    );
    assert.match(asked.out, new RegExp(`request\\.cpio: ${count} signatures to make, [0-9]+ kB;`));
    assert.ok(answered.out.endsWith(`${response}: ${count} of ${count} signatures for arch/2026.11.01.\n`));
    assert.match(
      attached.out,
      /^arch\/2026\.11\.01 \(archiso\), serial .*\ncommand line: .*\nloaders may add: .*\n\narch\/2026\.11\.01, serial 2026110100: \d+ files written, 0 kept; best before \S+Z\.\n$/,
    );
    assert.deepEqual([asked.err, answered.err, attached.err], ['reading\n', 'signing\n', 'checking\n']);
  });

  it('leave a tree that verifies, and nothing unfinished anywhere', async () => {
    const { code, out } = await run(['verify', tree, '--anchors', anchors]);
    assert.deepEqual([code, out.includes('VERIFIED: arch/2026.11.01')], [0, true]);
    assert.equal(
      (await below(tree)).length - before.length,
      Number(/(\d+) files written/.exec(attached.out)?.[1]),
    );
    assert.deepEqual(
      (await below(folder)).filter((name) => name.includes('.tmp')),
      [],
    );
  });

  it('of a sealed tree: no signature is missing', async () => {
    const out = fresh('request');
    const { code, out: said } = await run(['request', tree, '--anchors', anchors, '--out', out]);
    assert.equal(code, 0);
    assert.ok(
      said.endsWith(`${out}: no signature is missing; bootseal attach ${tree} ${out} writes what else is.\n`),
    );
    assert.doesNotMatch(said, /signatures +which/);
    const again = await run(['attach', tree, out]);
    assert.match(again.out, /: 0 files written, \d+ kept;/);
  });

  it('say one object each with --json, and nothing with --quiet', async () => {
    const site = await bare();
    const [out, back] = [fresh('request'), fresh('response')];
    const lines: readonly (readonly string[])[] = [
      ['request', site, '--anchors', keys, '--out', out],
      ['sign-request', out, '--keys', keys, '--out', back],
      ['attach', site, back],
    ];
    const said: Record<string, unknown>[] = [];
    for (const line of lines) {
      const { code, out: text } = await run([...line, '--json']);
      assert.equal(code, 0, line[0]);
      said.push(JSON.parse(text) as Record<string, unknown>);
    }
    const [made = {}, signed = {}, done = {}] = said;
    assert.deepEqual(
      [made.release, made.out, made.octets],
      ['arch/2026.11.01', out, (await readFile(out)).length],
    );
    const asked = (made.signatures as typeof signatures).map(({ path, suffix }) => path + suffix);
    assert.deepEqual(
      asked,
      signatures.map(({ path, suffix }) => path + suffix),
    );
    assert.deepEqual(made.texts, texts);
    assert.deepEqual([signed.out, signed.left, (signed.answered as unknown[]).length], [back, [], count]);
    assert.deepEqual([done.serial, typeof done.manifestSha256], [2026110100, 'string']);
    const files = done.files as { path: string; outcome: string }[];
    assert.ok(files.every(({ path }) => existsSync(join(site, path))));
    for (const line of lines)
      assert.deepEqual(await run([...line, '--quiet']), { code: 0, out: '', err: '' });
  });

  it('say what is left for others, and that a shell may be had', async () => {
    const part = await someKeys(fresh('keys'), keys, ['codesign', 'openpgp']);
    const { out } = await run(['sign-request', request, '--keys', part, '--out', fresh('response')]);
    const left = questions.filter(({ key }) => !/^(codesign|openpgp)$/.test(key)).length;
    assert.match(
      out,
      new RegExp(
        `: ${count - left} of ${count} signatures for arch/2026\\.11\\.01\\.\n${left} signatures are left for others to make, with these keys: leaf, manifest, boot, openpgp-script, openpgp-manifest\\.\n$`,
      ),
    );
    assert.doesNotMatch(out, /shell/);

    const bundle = await Bundle.read(request);
    const withShell = (manifest: string) => manifest.replace(/^file kernel/m, 'shell yes\nfile kernel');
    const lie = await bundle.remake(withShell).write(fresh('shell'));
    const told = await run(['sign-request', lie, '--keys', part, '--out', fresh('response')]);
    assert.match(told.out, /\nearly userspace may offer a SHELL\n/);
  });

  it('say what changed since the last release that was signed, where that is kept', async () => {
    const journal = fresh('journal');
    const words = ['sign-request', request, '--keys', keys, '--journal', journal, '--out', fresh('response')];
    assert.match((await run(words)).out, /\nNothing of this name was signed here before\.\n/);
    const again = await run(words);
    assert.match(
      again.out,
      /\nSince arch\/2026\.11\.01:\n {2}serial 2026110100, which is not above 2026110100\n/,
    );
    const { since } = JSON.parse((await run([...words, '--json'])).out) as { since: unknown };
    assert.deepEqual(since, {
      release: 'arch/2026.11.01',
      changes: ['serial 2026110100, which is not above 2026110100'],
    });
    assert.match(answered.out, /is not known: --journal DIR keeps what was signed\.\n/);
  });

  for (const name of ['request', 'sign-request', 'attach']) {
    it(`${name} --help ends with an example`, async () => {
      const { code, out } = await run([name, '--help']);
      assert.equal(code, 0);
      assert.match(out, new RegExp(`\nExample:\n  bootseal ${name} [^\n]+\n+$`));
      assert.match(out, /--json[\s\S]*--quiet/);
    });
  }
});

describe('words that cannot be meant are exit 2, and nothing is written', () => {
  const out = fresh('never');
  const lines: readonly (readonly [string, readonly string[], RegExp])[] = [
    ['nobody’s seals', ['request', tree, '--out', out], /--anchors DIR, the public half of an "init" folder/],
    [
      'a certificate for a tree',
      ['request', tree, '--anchors', anchors, '--certificate', join(anchors, 'ca.crt'), '--out', out],
      /--certificate goes with an image/,
    ],
    [
      'PCR values of a tree',
      ['request', tree, '--anchors', anchors, '--pcr', '--out', out],
      /--pcr goes with/,
    ],
    [
      'an image for a request about a tree',
      ['sign-request', request, '--keys', keys, '--image', response, '--out', out],
      /--image and --blind go with a request about an image/,
    ],
    ['signing a tree unseen', ['sign-request', request, '--keys', keys, '--blind', '--out', out], /--blind/],
    [
      'a certificate that is not there',
      ['request', tree, '--certificate', fresh('none'), '--out', out],
      /no such file/,
    ],
    [
      'anchors that are not there',
      ['request', tree, '--anchors', fresh('none'), '--out', out],
      /no such folder/,
    ],
    [
      'a tree that is not there',
      ['request', fresh('none'), '--anchors', anchors, '--out', out],
      /no such folder/,
    ],
    ['a request without a place to go', ['request', tree, '--anchors', anchors], /--out/],
    [
      'a request that is not there',
      ['sign-request', fresh('none'), '--keys', keys, '--out', out],
      /no such file/,
    ],
    ['a request that is a folder', ['sign-request', folder, '--keys', keys, '--out', out], /no such file/],
    ['an answer by nobody', ['sign-request', request, '--out', out], /--keys/],
    ['an answer without a place to go', ['sign-request', request, '--keys', keys], /--out/],
    ['a tree without answers', ['attach', tree], /response/],
    ['answers to a tree that is not there', ['attach', fresh('none'), response], /no such folder/],
  ];
  for (const [what, words, fact] of lines) {
    it(what, async () => {
      const { code, out: said, err } = await run(words);
      assert.deepEqual([code, said], [2, '']);
      assert.match(err, fact);
      assert.ok(!existsSync(out));
    });
  }
});

it('anchors that are none are a mistake of whoever named them: exit 2', async () => {
  const empty = fresh('empty');
  await mkdir(empty);
  const { code, err } = await run(['request', tree, '--anchors', empty, '--out', fresh('never')]);
  assert.equal(code, 2);
  assert.match(err, /ca\.crt does not exist\. "bootseal init" makes it/);
});

describe('a refusal is exit 1 and one sentence, and nothing is written', () => {
  const out = fresh('never');
  const cases: readonly (readonly [string, () => Promise<readonly string[]>, RegExp])[] = [
    [
      'a request that is none',
      async () => {
        const junk = fresh('junk');
        await writeFile(junk, 'x'.repeat(200));
        return ['sign-request', junk, '--keys', keys, '--out', out];
      },
      /\[malformed\] \S*junk-\d+ cannot be read: newc cpio/,
    ],
    [
      'keys that others may read',
      async () => {
        const open = await someKeys(fresh('keys'), keys, ['boot']);
        await chmod(join(open, 'private', 'boot.key'), 0o644);
        return ['sign-request', request, '--keys', open, '--out', out];
      },
      /\[unsafe-keys\] .*boot\.key/,
    ],
    [
      'answers that are not there',
      async () => ['attach', tree, fresh('none')],
      /\[absent\] \S*none-\d+ does not exist/,
    ],
    [
      'answers that are missing',
      async () => ['attach', tree, request],
      /\[absent\] Answers are missing: .* and \d+ more; nothing was attached/,
    ],
    [
      'answers to another tree',
      async () => {
        const other = await bare();
        await writeFile(join(other, KERNEL), 'another\0');
        return ['attach', other, response];
      },
      /\[drifted\] .*vmlinuz-linux/,
    ],
  ];
  for (const [what, make, fact] of cases) {
    it(what, async () => {
      const words = await make();
      const files = await below(folder);
      const { code, err } = await run(words);
      assert.equal(code, 1);
      const [refusal = '', ...more] = err
        .split('\n')
        .filter((line) => !/^(reading|signing|checking)$/.test(line));
      assert.match(refusal, /^refused /);
      assert.match(refusal, fact);
      assert.deepEqual(more, ['']);
      assert.deepEqual(await below(folder), files);
      const json = await run([...words, '--json']);
      const { refusal: told } = JSON.parse(json.out) as { refusal: { code: string; message: string } };
      assert.equal(refusal, `refused [${told.code}] ${told.message}`);
    });
  }

  it('and a place that cannot be written is exit 3', async () => {
    const nowhere = join(fresh('none'), 'out');
    for (const words of [
      ['request', tree, '--anchors', anchors, '--out', nowhere],
      ['sign-request', request, '--keys', keys, '--out', nowhere],
    ]) {
      const { code, err } = await run(words);
      assert.equal(code, 3);
      assert.match(
        err,
        /Cannot write \S+: its folder does not exist \(ENOENT\); nothing of it was left behind\.\n$/,
      );
    }
  });

  it('and an interrupted request leaves nothing', async () => {
    const site = await bare();
    // Sparse: long to read, nothing to store.
    await truncate(join(site, ROOTFS), 64 * 1024 ** 3);
    const files = await below(folder);
    const running = start(['request', site, '--anchors', anchors, '--out', out]);
    await running.until('err', /reading/);
    running.signal('SIGINT');
    const { code, err } = await running.ended;
    assert.equal(code, 130);
    assert.match(err, /Interrupted by SIGINT: nothing was written\.\n$/);
    assert.deepEqual(await below(folder), files);
  });
});

describe('a signer that is gone halfway', () => {
  const left = (out: string, made: number) =>
    `${out} holds the ${made} signatures that were made; bootseal sign-request ${out} goes on from there.`;
  /** @param dying what it does instead of a signature when its last was made. */
  const device = async (dying = 'exit 1') => {
    const place = fresh('device');
    await mkdir(place);
    const signer = new SigningDevice(
      place,
      keys,
      `[ "$(cat ${place}/device.lives)" -gt 0 ] || { ${dying}; }`,
    );
    signer.live(4);
    return signer;
  };

  it('leaves what was signed, and says where, and how to go on', async () => {
    const signer = await device();
    const out = fresh('response');
    const words = ['--signer-command', signer.command.join(' '), '--out', out];
    const { code, err } = await run(['sign-request', request, ...words]);
    assert.equal(code, 3);
    // The release leaf's certificate is one of four; its key makes three of its own.
    assert.ok(err.includes(`\n${left(out, 6)}\nrefused [unreachable] `), err);
    signer.live(100);
    const again = await run(['sign-request', out, ...words]);
    assert.equal(again.code, 0, again.err);
    assert.ok(again.out.endsWith(`${out}: ${count} of ${count} signatures for arch/2026.11.01.\n`));
  });

  it('and so it is where Ctrl-C ends the waiting for it', async () => {
    const signer = await device('kill -INT "$PPID"; exec sleep 1000');
    const out = fresh('response');
    const words = ['--signer-command', signer.command.join(' '), '--out', out];
    const { code, err } = await start(['sign-request', request, ...words]).ended;
    assert.equal(code, 130);
    assert.ok(err.endsWith(`\nInterrupted by SIGINT: ${left(out, 6)}\n`), err);
    signer.live(100);
    assert.equal((await run(['sign-request', out, ...words])).code, 0);
    assert.deepEqual(
      (await below(folder)).filter((name) => name.includes('.tmp')),
      [],
    );
  });
});
