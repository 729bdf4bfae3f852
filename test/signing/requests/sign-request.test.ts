import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, chown, cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { verify } from '../../../src/conformance/verify.ts';
import { encodePem } from '../../../src/formats/asn1/armor.ts';
import { decodeBundle } from '../../../src/formats/records/request-bundle.ts';
import { attach, type SignRequestOptions, signRequest } from '../../../src/operations/request.ts';
import { readKeyFolder } from '../../../src/signing/keys/key-folder.ts';
import { answerRequest } from '../../../src/signing/requests/answer-request.ts';
import { openRequest } from '../../../src/signing/requests/open-request.ts';
import type { SigningEntry } from '../../../src/signing/requests/signing-journal.ts';
import { signersOf } from '../../../src/signing/signatories.ts';
import { failed, misused } from '../../fixtures/failed.ts';
import { NOW } from '../../fixtures/keys.ts';
import { readyKeyPair } from '../../fixtures/ready-keys.ts';
import { KERNEL } from '../../fixtures/release.ts';
import { SigningDevice } from '../../fixtures/signing-device.ts';
import { answer, Bundle, makeRequest, WHOLE_TREE_SEALS, wholeTree } from '../../fixtures/signing-request.ts';
import { refused } from '../../trust/judge.ts';
import { changed, look } from '../judges.ts';
import { copyOf, fresh, keys, request, response, whole } from './attach-site.ts';

const plain = await Bundle.read(request);
const DAY = 86_400_000;
const OF_LEAF = plain.index.signatures.filter(({ key }) => key === 'leaf').length;

async function device(before?: string): Promise<SigningDevice> {
  const place = fresh('device');
  await mkdir(place);
  return new SigningDevice(place, keys, before);
}

const sign = (options: Partial<SignRequestOptions> & { out: string }) =>
  signRequest({ request, keys: [], now: NOW, makeKeyPair: readyKeyPair, ...options });
const answersIn = async (path: string) =>
  [...(await Bundle.read(path)).files.keys()].filter((name) => /(\.sig|SUMS\.gpg)$/.test(name));

describe('a certificate under another key’s name', () => {
  const swapped = (one: string, other: string) => {
    const bundle = new Bundle(plain.files);
    const pem = (name: string) => plain.file(`certificates/${name}`);
    if (one.startsWith('openpgp')) {
      const of = (key: string) => plain.index.openpgp.find((line) => line.key === key)?.fingerprint ?? '';
      bundle
        .set(`certificates/${one}.gpg`, pem(`${other}.gpg`))
        .set(`certificates/${other}.gpg`, pem(`${one}.gpg`));
      return bundle.reindex(({ openpgp }) => ({
        openpgp: openpgp.map((line) =>
          line.key === one
            ? { key: one, fingerprint: of(other) }
            : line.key === other
              ? { key: other, fingerprint: of(one) }
              : line,
        ),
      }));
    }
    const of = (key: string) => plain.index.certificates.find((line) => line.key === key)?.sha256 ?? '';
    bundle
      .set(`certificates/${one}.crt`, pem(`${other}.crt`))
      .set(`certificates/${other}.crt`, pem(`${one}.crt`));
    return bundle.reindex(({ certificates }) => ({
      certificates: certificates.map((line) =>
        line.key === one
          ? { key: one, sha256: of(other) }
          : line.key === other
            ? { key: other, sha256: of(one) }
            : line,
      ),
    }));
  };
  const pairs = [
    ['codesign', 'manifest'],
    ['codesign', 'boot'],
    ['manifest', 'boot'],
    ['openpgp', 'openpgp-script'],
    ['openpgp', 'openpgp-manifest'],
    ['openpgp-script', 'openpgp-manifest'],
  ] as const;

  for (const [one, other] of pairs) {
    it(`(${one} and ${other} swapped) has nothing signed by either, by key files, a token or one program`, async () => {
      const path = await swapped(one, other).write(fresh('swapped'));
      const { answered, left } = await answer(path, [keys], fresh('out'));
      assert.deepEqual(new Set(left.map(({ key }) => key)), new Set([one, other]));
      const { lacking } = openRequest(path, await readFile(path));
      for (const { by, path: seal } of lacking)
        if (by === one || by === other) assert.ok(!answered.includes(seal));

      // Keys that signers.toml names go by the anchors beside it.
      const mine = await device();
      const elsewhere = fresh('elsewhere');
      await mkdir(elsewhere, { mode: 0o700 });
      await cp(join(keys, 'anchors'), join(elsewhere, 'anchors'), { recursive: true });
      const names = ['ca', 'codesign', 'manifest', 'boot', 'openpgp', 'openpgp-script', 'openpgp-manifest'];
      const tables = names.map((name) => `[${name}]\ncommand = ${JSON.stringify(mine.command)}\n`);
      await writeFile(join(elsewhere, 'signers.toml'), tables.join(''), { mode: 0o600 });
      await answer(path, [elsewhere], fresh('out'));
      const asked = mine.signed();
      assert.ok(asked.length > 0);
      assert.deepEqual(
        asked.filter((line) => [one, other].includes(line.split(' ')[0] as typeof one)),
        [],
      );

      // A program is asked by the name alone; its first answer, over nothing, shows that it holds another key.
      const out = fresh('out');
      await assert.rejects(
        sign({ request: path, signerCommand: mine.command, out }),
        refused('bad-signature', /may hold another key under that name/),
      );
      assert.deepEqual(mine.signed(), []);
      assert.ok(!existsSync(out));
    });
  }

  it('or one under two names is refused before any key is looked for', async () => {
    const { signatories } = openRequest('r', plain.bytes);
    for (const [one, other] of [...pairs.slice(0, 3), ['ca', 'boot'], ['ca', 'manifest']] as const) {
      const { raw } = signatories[one as 'codesign'];
      const sha256 = plain.index.certificates.find(({ key }) => key === one)?.sha256 ?? '';
      const twice = new Bundle(plain.files)
        .set(`certificates/${other}.crt`, encodePem('CERTIFICATE', raw))
        .reindex(({ certificates }) => ({
          certificates: certificates.map((line) => (line.key === other ? { key: other, sha256 } : line)),
        }));
      const path = await twice.write(fresh('twice'));
      const out = fresh('out');
      await assert.rejects(
        sign({ request: path, keys: [fresh('none')], out }),
        refused('wrong-purpose', /names one key as \S+ and as/),
      );
      assert.ok(!existsSync(out));
    }
    for (const [one, other] of pairs.slice(3)) {
      const fingerprint = plain.index.openpgp.find(({ key }) => key === one)?.fingerprint ?? '';
      const twice = new Bundle(plain.files)
        .set(`certificates/${other}.gpg`, plain.file(`certificates/${one}.gpg`))
        .reindex(({ openpgp }) => ({
          openpgp: openpgp.map((line) => (line.key === other ? { key: other, fingerprint } : line)),
        }));
      assert.throws(
        () => openRequest('r', twice.bytes),
        refused('wrong-purpose', new RegExp(`names one key as ${one} and as ${other}`)),
      );
    }
  });
});

describe('a signer that dies', () => {
  /** The leaf's certificate, and every seal but those that its key makes, which is no device's. */
  const ASKED = 1 + WHOLE_TREE_SEALS.length - OF_LEAF;

  for (const lived of [1, 2, 5, ASKED - 1]) {
    it(`after ${lived} signatures leaves a response that holds them, and the next run asks for the rest`, async () => {
      const mine = await device();
      const out = fresh('out');
      mine.live(lived);
      await assert.rejects(sign({ signerCommand: mine.command, out }), refused('unreachable'));
      const first = mine.signed();
      assert.equal(first.length, lived);
      assert.equal((await answersIn(out)).length, OF_LEAF + lived - 1);

      mine.live(1000);
      const done: number[] = [];
      const { left, answered } = await sign({
        request: out,
        signerCommand: mine.command,
        out,
        onSignature: (count) => done.push(count),
      });
      assert.deepEqual([left.length, answered.length], [0, WHOLE_TREE_SEALS.length]);
      assert.deepEqual(done.at(-1), WHOLE_TREE_SEALS.length);
      const second = mine.signed();
      assert.equal(second.length, ASKED - lived);
      assert.deepEqual(
        second.filter((line) => first.includes(line)),
        [],
      );

      const tree = await copyOf();
      await attach({ tree, responses: [out] });
      assert.equal((await verify({ tree, anchors: keys, now: NOW })).refusal?.message, undefined);
      // Once more, nobody is asked.
      const before = await readFile(out);
      await sign({ request: out, signerCommand: mine.command, out });
      assert.deepEqual([mine.signed(), await readFile(out)], [[], before]);
    });
  }

  it('at the first leaves nothing', async () => {
    const mine = await device();
    const out = fresh('out');
    mine.live(0);
    await assert.rejects(sign({ signerCommand: mine.command, out }), refused('unreachable'));
    assert.ok(!existsSync(out));
  });

  it('is asked again for an answer that does not hold, and for all of a leaf of which one does not', async () => {
    const mine = await device();
    const [cms, leaf] = ['digests/0002.codesign.sig', 'digests/0001.leaf.sig'];
    const spoilt = new Bundle(whole.files)
      .set(cms, Buffer.alloc(256, 1))
      .set('records/release.manifest.sig', 'x')
      .set(leaf, Buffer.alloc(256, 1));
    const path = await spoilt.write(fresh('spoilt'));
    const out = fresh('out');
    await sign({ request: path, signerCommand: mine.command, out });
    assert.deepEqual(
      mine
        .signed()
        .map((line) => line.split(' ')[0])
        .sort(),
      ['ca', 'codesign', 'openpgp-manifest'],
    );
    const [before, after] = [whole, await Bundle.read(out)];
    const differ = [...after.files].filter(([name, bytes]) => Buffer.compare(bytes, before.file(name)) !== 0);
    assert.deepEqual(
      differ.map(([name]) => name).filter((name) => !/leaf/.test(name)),
      [],
    );
    assert.ok(differ.some(([name]) => name === 'certificates/leaf.crt'));
    const tree = await copyOf();
    await attach({ tree, responses: [out] });
    assert.equal((await verify({ tree, anchors: keys, now: NOW })).refusal?.message, undefined);
  });

  it('and a stranger’s leaf in the request is not kept', async () => {
    const path = await new Bundle(whole.files)
      .set('certificates/leaf.crt', whole.file('certificates/boot.crt'))
      .write(fresh('stranger'));
    const out = fresh('out');
    await answer(path, [keys], out);
    const tree = await copyOf();
    await attach({ tree, responses: [out] });
    assert.ok(look(tree).has(`${KERNEL}.ipxe.sig`));
  });
});

it('a long batch is written down every 250 signatures, and each of them is in it', async () => {
  const opened = openRequest('r', plain.bytes);
  const [one] = opened.lacking.filter(({ by }) => by === 'codesign');
  assert.ok(one);
  const lacking = Array.from({ length: 600 }, (_, at) => ({
    ...one,
    path: `k${at}.cms.sig`,
    answer: `digests/${String(at + 1).padStart(4, '0')}.codesign.sig`,
    seal: { form: 'cms', hash: 'sha256', digest: createHash('sha256').update(String(at)).digest() } as const,
  }));
  const signer = signersOf(await readKeyFolder(keys, NOW)).codesign.signer;
  const parts: [number, number][] = [];
  const long = { ...opened, lacking, request: { ...opened.request, leaves: [] } };
  const { answered } = await answerRequest(
    long,
    { signers: new Map([['codesign', signer]]), issuers: new Map() },
    {
      onPart: async (part, made) => {
        const names = [...decodeBundle(part).files.keys()];
        parts.push([made, names.filter((name) => name.endsWith('.codesign.sig')).length]);
      },
    },
  );
  assert.equal(answered.length, 600);
  assert.deepEqual(parts, [
    [250, 250],
    [500, 500],
  ]);
});

describe('a journal', () => {
  const entries = async (journal: string): Promise<(SigningEntry & { time: string })[]> =>
    (await readFile(join(journal, 'journal.jsonl'), 'utf8'))
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line));
  it('has an entry before anything is signed', async () => {
    const journal = fresh('journal');
    const mine = await device(`grep -q '"signatures":${WHOLE_TREE_SEALS.length}' ${journal}/journal.jsonl`);
    await sign({ signerCommand: mine.command, out: fresh('out'), journal });
    assert.ok(mine.signed().length > 0);
    const all = await entries(journal);
    assert.deepEqual(all, [
      {
        time: '2026-11-01T00:00:00Z',
        act: 'sign-request',
        release: 'arch/2026.11.01',
        serial: 2026110100,
        manifest: plain.index.manifestSha256,
        keys: ['codesign', 'manifest', 'boot', 'openpgp', 'openpgp-script', 'openpgp-manifest', 'leaf'],
        signatures: WHOLE_TREE_SEALS.length,
      },
    ]);
    assert.deepEqual(
      await readFile(join(journal, 'arch.manifest')),
      Buffer.from(plain.file('records/release.manifest')),
    );
  });

  it('is not kept where others write: they could put the next manifest in the place of the last', async () => {
    const [journal, out] = [fresh('journal'), fresh('out')];
    await mkdir(journal);
    await chmod(journal, 0o777);
    const options = { keys: [keys], out, journal };
    await assert.rejects(sign(options), refused('unsafe-keys', /Others may write in \S+journal/));
    await chmod(journal, 0o700);
    if (process.getuid?.() === 0) {
      await chown(journal, 65_534, 65_534);
      await assert.rejects(sign(options), refused('unsafe-keys', /another user's/));
      await chown(journal, 0, 0);
    }
    assert.ok(!existsSync(out));
  });

  for (const name of ['journal.jsonl', 'arch.manifest']) {
    it(`is not waited for where ${name} is a FIFO`, async () => {
      const [journal, out] = [fresh('journal'), fresh('out')];
      await mkdir(journal, { mode: 0o700 });
      execFileSync('mkfifo', [join(journal, name)]);
      await assert.rejects(sign({ keys: [keys], out, journal }), (error: Error) =>
        error.message.includes(name),
      );
      assert.ok(!existsSync(out));
    });
  }

  it('tells of a signing that failed, and of how many were left for the next; the release is remembered then', async () => {
    const [journal, out] = [fresh('journal'), fresh('out')];
    const mine = await device();
    mine.live(4);
    await assert.rejects(sign({ signerCommand: mine.command, out, journal }), refused('unreachable'));
    assert.deepEqual(await readdir(journal), ['journal.jsonl']);
    mine.live(100);
    await sign({ request: out, signerCommand: mine.command, out, journal });
    // The first of the four was the leaf's certificate.
    const made = OF_LEAF + 3;
    assert.deepEqual(
      (await entries(journal)).map(({ signatures }) => signatures),
      [WHOLE_TREE_SEALS.length, WHOLE_TREE_SEALS.length - made],
    );
    assert.deepEqual((await readdir(journal)).sort(), ['arch.manifest', 'journal.jsonl']);
  });

  it('shows what changed since the last release of the name, and nothing of another’s', async () => {
    const journal = fresh('journal');
    const first = await sign({ keys: [keys], out: fresh('out'), journal });
    assert.equal(first.since, undefined);
    const tree = await wholeTree(fresh('next'), 'one', '2026.12.01');
    await writeFile(join(tree, KERNEL), 'kernel two\0');
    const next = await makeRequest(tree, keys, fresh('request'));
    let seen: readonly string[] | undefined;
    const second = await sign({
      request: next,
      keys: [keys],
      out: fresh('out'),
      journal,
      onRequest: ({ since }) => {
        assert.equal(since?.release, 'arch/2026.11.01');
        seen = since?.changes;
      },
    });
    assert.deepEqual(seen, [`another kernel: ${KERNEL}`]);
    assert.equal(second.since?.release, 'arch/2026.11.01');
    // Back to the one before: its serial gives it away.
    const back = await sign({ keys: [keys], out: fresh('out'), journal });
    assert.equal(back.since?.release, 'arch/2026.12.01');
    assert.deepEqual(back.since?.changes, [
      'serial 2026110100, which is not above 2026120100',
      `another kernel: ${KERNEL}`,
    ]);
  });

  it('shows words that came and went, a shell, and files that are new', async () => {
    const journal = fresh('journal');
    await sign({ keys: [keys], out: fresh('out'), journal });
    const path = await new Bundle(plain.files)
      .remake((text) => text.replace(/^file kernel/m, 'shell yes\nfile kernel'))
      .write(fresh('shell'));
    const { since } = await sign({ request: path, keys: [keys], out: fresh('out'), journal });
    assert.deepEqual(since?.changes, [
      'a shell is allowed',
      'serial 2026110100, which is not above 2026110100',
    ]);
  });

  it('is refused where it cannot be written or read, and then nothing is signed', async () => {
    const mine = await device();
    const out = fresh('out');
    const broken = fresh('journal');
    await mkdir(broken);
    await writeFile(join(broken, 'arch.manifest'), 'x\n');
    await assert.rejects(
      sign({ signerCommand: mine.command, out, journal: broken }),
      misused(/arch\.manifest is not a manifest .*; put it aside to go on/),
    );
    const file = fresh('file');
    await writeFile(file, '');
    await assert.rejects(
      sign({ signerCommand: mine.command, out, journal: join(file, 'x') }),
      failed('ENOTDIR'),
    );
    const folder = fresh('journal');
    await mkdir(join(folder, 'journal.jsonl'), { recursive: true });
    await assert.rejects(sign({ signerCommand: mine.command, out, journal: folder }), failed('EISDIR'));
    assert.deepEqual(mine.signed(), []);
    assert.ok(!existsSync(out));
  });

  it('goes on behind a line that a crash cut short', async () => {
    const journal = fresh('journal');
    await mkdir(journal);
    await writeFile(join(journal, 'journal.jsonl'), '{"time":"2026');
    await sign({ keys: [keys], out: fresh('out'), journal });
    const [cut, line, end] = (await readFile(join(journal, 'journal.jsonl'), 'utf8')).split('\n');
    assert.deepEqual([cut, JSON.parse(line ?? '').act, end], ['{"time":"2026', 'sign-request', '']);
  });

  it('grows at its end alone, and is not for others to read', async () => {
    const journal = fresh('journal');
    for (let run = 0; run < 2; run++)
      await sign({ keys: [keys], out: fresh('out'), journal, now: NOW + run * DAY });
    assert.deepEqual(
      (await entries(journal)).map(({ time }) => time),
      ['2026-11-01T00:00:00Z', '2026-11-02T00:00:00Z'],
    );
    const modes = execFileSync('sh', ['-c', 'stat -c %a . *'], { cwd: journal, encoding: 'utf8' });
    assert.equal(modes, '700\n600\n600\n');
  });
});

it('nothing of these tests is so for another reason: files and a program answer alike', async () => {
  const mine = await device();
  const out = fresh('out');
  await sign({ signerCommand: mine.command, out });
  const [one, other] = [fresh('tree'), fresh('tree')];
  for (const [tree, path] of [
    [one, out],
    [other, response],
  ] as const) {
    await cp(await copyOf(), tree, { recursive: true });
    await attach({ tree, responses: [path] });
  }
  assert.deepEqual(
    changed(look(one), look(other)).filter((name) => !/^arch\/.*\.ipxe\.sig$/.test(name)),
    [],
  );
});
