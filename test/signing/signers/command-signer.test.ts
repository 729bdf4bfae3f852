import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Refusal, type RefusalCode } from '../../../src/errors/refusal.ts';
import { commandSigner } from '../../../src/signing/signers/command-signer.ts';
import { demandSignature, keySigner } from '../../../src/signing/signers/digest-signer.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { digestOf, opensslVerifies, writeKey } from '../../fixtures/signing-keys.ts';
import { refused } from '../../trust/judge.ts';

const folder = await temporaryFolder();
const rsa = writeKey(folder, 'codesign', 'rsa');
const ec = writeKey(folder, 'boot', 'ec');
writeKey(folder, 'other', 'rsa');
const DIGEST = digestOf('sha256');

let scripts = 0;
function script(body: string, mode = 0o755): string {
  const path = join(folder, `script-${++scripts}`);
  writeFileSync(path, `#!/bin/sh\n${body}\n`, { mode });
  return path;
}

function fifo(name: string): string {
  const path = join(folder, name);
  assert.equal(spawnSync('mkfifo', [path]).status, 0);
  return path;
}

/** What a service's command line would be: it finds the key by BOOTSEAL_KEY. */
const KMS = script(
  `exec openssl pkeyutl -sign -inkey "${folder}/$BOOTSEAL_KEY.pem" -pkeyopt "digest:$BOOTSEAL_HASH"`,
);
const signerOf = (...argv: [string, ...string[]]) => commandSigner(rsa.publicKey, { key: 'codesign', argv });

for (const hash of ['sha256', 'sha512'] as const) {
  it(`a program signs ${hash} with RSA, byte for byte as the key at hand does`, async () => {
    const signature = await demandSignature(signerOf(KMS), hash, digestOf(hash));
    assert.ok(opensslVerifies(folder, rsa, hash, signature));
    const own = await keySigner(rsa.privateKey, 'x').sign(hash, digestOf(hash));
    assert.ok(Buffer.from(signature).equals(own));
  });

  it(`a program signs ${hash} with P-256, and openssl takes it`, async () => {
    const signer = commandSigner(ec.publicKey, { key: 'boot', argv: [KMS] });
    const signature = await demandSignature(signer, hash, digestOf(hash));
    assert.ok(opensslVerifies(folder, ec, hash, signature));
    assert.ok(!opensslVerifies(folder, rsa, hash, signature));
  });
}

it('a program may open its input by name', async () => {
  const named = `exec openssl pkeyutl -sign -inkey ${rsa.path} -pkeyopt digest:sha256 -in /dev/stdin`;
  const signature = await demandSignature(signerOf(script(named)), 'sha256', DIGEST);
  assert.ok(opensslVerifies(folder, rsa, 'sha256', signature));
});

it('nothing is left of the input', async (test) => {
  const before = process.env.TMPDIR;
  process.env.TMPDIR = join(folder, 'tmp');
  mkdirSync(process.env.TMPDIR);
  test.after(() => {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
  });
  const list = script(`ls -A "$TMPDIR" >&2; exit 9`);
  await assert.rejects(
    signerOf(list).sign('sha256', DIGEST),
    refused('unreachable', /status 9 and gave no signature\.$/),
  );
  assert.deepEqual(readdirSync(join(folder, 'tmp')), []);
});

it('a program that never reads its input is judged by its answer alone', async () => {
  const signature = await keySigner(rsa.privateKey, 'x').sign('sha256', DIGEST);
  writeFileSync(join(folder, 'answer'), signature);
  const signer = signerOf(script(`exec 0<&-; exec cat ${folder}/answer`));
  assert.deepEqual(Buffer.from(await demandSignature(signer, 'sha256', DIGEST)), Buffer.from(signature));
});

const refusals: readonly [string, readonly [string, ...string[]], RefusalCode, RegExp][] = [
  ['signs with another key', [script(`BOOTSEAL_KEY=other exec ${KMS}`)], 'bad-signature', /another key/],
  [
    'signs another digest',
    [script(`head -c 32 /dev/zero | ${KMS}`)],
    'bad-signature',
    /not a signature by its key/,
  ],
  [
    'answers with a few bytes',
    [script('printf hello')],
    'malformed',
    /5 bytes, and .* has 256; that is text/,
  ],
  ['answers in base64', [script(`${KMS} | base64`)], 'malformed', /raw bytes are wanted/],
  ['adds a newline', [script(`${KMS}; echo`)], 'malformed', /257 bytes/],
  ['answers with nothing', [script('cat >/dev/null')], 'malformed', /ended well, but gave no signature/],
  ['answers without end', ['yes'], 'malformed', /more than 4096 bytes/],
  [
    'fails',
    [script('echo quota exceeded >&2; exit 3')],
    'unreachable',
    /status 3 .*; it said: quota exceeded\.$/,
  ],
  ['signs and fails', [script(`${KMS}; exit 1`)], 'unreachable', /status 1/],
  ['kills itself', [script('kill -9 $$')], 'unreachable', /was ended by SIGKILL/],
  [
    'does not exist',
    [join(folder, 'nowhere')],
    'unreachable',
    /there is no program ".*\/nowhere"; install it/,
  ],
  ['is not on PATH', ['bootseal-no-such-program'], 'unreachable', /there is no program/],
  ['may not be executed', [script('exit 0', 0o644)], 'unreachable', /may not be executed; run "chmod \+x"/],
  ['is a folder', [folder], 'unreachable', /may not be executed/],
];
for (const [what, argv, code, fact] of refusals) {
  it(`a program that ${what} is refused as ${code}`, async () => {
    await assert.rejects(demandSignature(signerOf(...argv), 'sha256', DIGEST), refused(code, fact));
  });
}

it('ECDSA answers that are no DER are malformed', async () => {
  for (const body of [`${KMS} | head -c 40`, `${KMS}; printf x`, 'head -c 64 /dev/zero']) {
    const signer = commandSigner(ec.publicKey, { key: 'boot', argv: [script(body)] });
    await assert.rejects(
      demandSignature(signer, 'sha256', DIGEST),
      refused('malformed', /ECDSA signature in DER/),
    );
  }
});

it('what a failing program says is shown harmless and short', async () => {
  const words = `printf 'first%02000d' 0 >&2; printf '\\033[2J\\nlast\\302\\233 \\342\\200\\256\\n' >&2; exit 1`;
  const error = await signerOf(script(words))
    .sign('sha256', DIGEST)
    .catch((reason) => reason);
  assert.ok(error instanceof Refusal);
  assert.match(error.message, /it said: … 0+\\x1b\[2J \/ last\\x9b \\u202e\.$/);
  assert.doesNotMatch(error.message, /first|[\x00-\x1f\x7f-\x9f\u202e]/);
  assert.ok(error.message.length < 1200);
});

it('no shell looks at the arguments', async () => {
  const mark = join(folder, 'mark');
  const signer = signerOf(script('printf %s "$1" >&2; exit 1'), `$(touch ${mark}); \`touch ${mark}\``);
  await assert.rejects(signer.sign('sha256', DIGEST), (error: Error) => error.message.includes('$(touch'));
  assert.ok(!existsSync(mark));
  assert.doesNotMatch(signer.name, /touch/);
});

it('a program has a session of its own, so it asks nothing on our terminal', async () => {
  const signer = signerOf(script('[ "$(cut -d" " -f6 /proc/$$/stat)" = $$ ] && exit 7'));
  await assert.rejects(signer.sign('sha256', DIGEST), refused('unreachable', /status 7/));
});

/** A time limit that ends when the test says so. */
function limit(seconds = 60) {
  const controller = new AbortController();
  const asked: number[] = [];
  const after = (milliseconds: number) => {
    asked.push(milliseconds);
    return controller.signal;
  };
  return { controller, asked, timeLimit: { seconds, after } };
}

it('a late program is stopped with all that it started', async () => {
  const held = fifo('late');
  // The grandchild holds the fifo and our pipes; its end is the end of the fifo.
  const body = `(echo ready; exec tail -f /dev/null) >${held} & tail -f /dev/null`;
  const { controller, asked, timeLimit } = limit(5);
  const signer = commandSigner(rsa.publicKey, { key: 'codesign', argv: [script(body)], timeLimit });
  const signing = signer.sign('sha256', DIGEST);
  const rejected = assert.rejects(
    signing,
    refused('unreachable', /gave no signature within 5 s: it was stopped/),
  );
  const stream = createReadStream(held);
  const ended = once(stream, 'end');
  await once(stream, 'data');
  controller.abort();
  await rejected;
  stream.resume();
  await ended;
  assert.deepEqual(asked, [5000]);
});

it('a program that nobody waits for any more is stopped with all that it started, and the caller’s reason is thrown', async () => {
  const held = fifo('abandoned');
  const body = `(echo ready; exec tail -f /dev/null) >${held} & tail -f /dev/null`;
  const controller = new AbortController();
  const timeLimit = { seconds: 60, after: () => new AbortController().signal, ended: controller.signal };
  const signer = commandSigner(rsa.publicKey, { key: 'codesign', argv: [script(body)], timeLimit });
  const rejected = assert.rejects(signer.sign('sha256', DIGEST), /^Error: the operator went away$/);
  const stream = createReadStream(held);
  const ended = once(stream, 'end');
  await once(stream, 'data');
  controller.abort(new Error('the operator went away'));
  await rejected;
  stream.resume();
  await ended;
  // Nor is anybody asked afterwards.
  await assert.rejects(signer.sign('sha256', DIGEST), /the operator went away/);
});

it('a program that leaves a child on its output is late, and the child is stopped', async () => {
  const [held, told] = [fifo('left'), fifo('told')];
  const body = `${KMS}; (echo ready; exec tail -f /dev/null) 3>${held} >&3 & echo $$ >${told}`;
  // The child's standard error is our pipe.
  const { controller, timeLimit } = limit();
  const signer = commandSigner(rsa.publicKey, { key: 'codesign', argv: [script(body)], timeLimit });
  const rejected = assert.rejects(
    signer.sign('sha256', DIGEST),
    refused('unreachable', /within 60 s: it ended with status 0, but a process that it left behind/),
  );
  const stream = createReadStream(held);
  const ended = once(stream, 'end');
  const [[pid]] = await Promise.all([once(createReadStream(told), 'data'), once(stream, 'data')]);
  while (isThere(Number(String(pid)))) await setImmediate();
  controller.abort();
  await rejected;
  stream.resume();
  await ended;
});

it('a failing program that leaves a child on its output is not waited for', async () => {
  const { timeLimit } = limit();
  const body = 'tail -f /dev/null & echo gone >&2; exit 4';
  const signer = commandSigner(rsa.publicKey, { key: 'codesign', argv: [script(body)], timeLimit });
  await assert.rejects(signer.sign('sha256', DIGEST), refused('unreachable', /status 4 .*gone/));
});

it('a limit that has passed already ends the attempt', async () => {
  const { controller, timeLimit } = limit();
  controller.abort();
  const signer = commandSigner(rsa.publicKey, { key: 'codesign', argv: ['cat', '/dev/zero'], timeLimit });
  await assert.rejects(signer.sign('sha256', DIGEST), refused('unreachable', /within 60 s/));
});

it('keys and hashes that no signer elsewhere is asked for are refused before anybody is', async () => {
  const ed = writeKey(folder, 'ed', 'ed25519');
  const argv: [string] = [join(folder, 'nowhere')];
  assert.throws(
    () => commandSigner(ed.publicKey, { key: 'boot', argv }),
    refused('unsafe-keys', /neither RSA nor/),
  );
  await assert.rejects(signerOf(...argv).sign('sha1', DIGEST), refused('weak-algorithm'));
});

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
