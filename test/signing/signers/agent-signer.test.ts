import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { RefusalCode } from '../../../src/errors/refusal.ts';
import { decodeOpenpgpKey } from '../../../src/formats/openpgp/openpgp-key.ts';
import { decodePackets } from '../../../src/formats/openpgp/openpgp-packet.ts';
import { type AgentSignerOptions, agentSigner } from '../../../src/signing/signers/agent-signer.ts';
import { demandSignature, keySigner } from '../../../src/signing/signers/digest-signer.ts';
import { misused } from '../../fixtures/failed.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import {
  dataAndOk,
  type FakeAgentOptions,
  fakeAgent,
  importForGpgsm,
  presetPassphrase,
} from '../../fixtures/gpg-agent.ts';
import { GnupgHome } from '../../fixtures/openpgp.ts';
import { digestOf, opensslVerifies, writeKey } from '../../fixtures/signing-keys.ts';
import { refused } from '../../trust/judge.ts';

const folder = await temporaryFolder();
const rsa = writeKey(folder, 'rsa', 'rsa');
const other = writeKey(folder, 'other', 'rsa');
const DIGEST = digestOf('sha256');
const HASHES = ['sha256', 'sha512'] as const;

const homes: GnupgHome[] = [];
function newHome(): GnupgHome {
  const home = new GnupgHome(folder);
  homes.push(home);
  return home;
}
after(() => {
  for (const home of homes) home.close();
});

/** Key packets of a home, primary first. */
function publicKeys(home: GnupgHome): { readonly object: KeyObject; readonly keygrip: string }[] {
  const listed = home.run(['--with-colons', '--with-keygrip', '-k']).toString();
  const grips = [...listed.matchAll(/^grp:+([0-9A-F]{40}):/gm)].map(([, grip = '']) => grip);
  return decodePackets(home.run(['--export']), 1000)
    .filter(({ tag }) => tag === 6 || tag === 14)
    .map(({ body }, index) => ({
      object: decodeOpenpgpKey(body).object ?? curveKey(body),
      keygrip: grips[index] ?? '',
    }));
}

/** A P-256 key of OpenPGP, which Bootseal's own decoder has no use for: the point behind curve and length. */
function curveKey(body: Uint8Array): KeyObject {
  const point = Buffer.from(body.subarray(6 + 1 + (body[6] ?? 0) + 2));
  const [x, y] = [point.subarray(1, 33), point.subarray(33)].map((half) => half.toString('base64url'));
  return createPublicKey({ format: 'jwk', key: { kty: 'EC', crv: 'P-256', x: x ?? '', y: y ?? '' } });
}

async function judged(publicKey: KeyObject, options: Partial<AgentSignerOptions>): Promise<Uint8Array[]> {
  const signer = agentSigner(publicKey, { key: 'openpgp', ...options });
  const signatures: Uint8Array[] = [];
  for (const hash of HASHES) {
    const signature = await demandSignature(signer, hash, digestOf(hash));
    assert.ok(opensslVerifies(folder, { ...rsa, publicKey }, hash, signature), hash);
    signatures.push(signature);
  }
  return signatures;
}

describe("GnuPG's agent signs", () => {
  for (const algorithm of ['rsa2048', 'rsa3072', 'nistp256']) {
    it(`with a key of ${algorithm}, by the keygrip that gpg prints`, async () => {
      const home = newHome();
      home.run(['--quick-gen-key', 'A <a@site.example>', algorithm, 'sign', '0']);
      const [{ object, keygrip } = assert.fail()] = publicKeys(home);
      const [one, two] = [
        await judged(object, { home: home.path }),
        await judged(object, { home: home.path, keygrip }),
      ];
      if (algorithm !== 'nistp256') assert.deepEqual(one, two);
      // And where nobody looked the socket up.
      const socket = execFileSync('gpgconf', ['--homedir', home.path, '--list-dirs', 'agent-socket']);
      await judged(object, { socket: socket.toString().trim(), keygrip: keygrip.toLowerCase() });
    });
  }

  it('with a subkey whose primary key is elsewhere', async () => {
    const made = newHome();
    made.run(['--quick-gen-key', 'A <a@site.example>', 'rsa2048', 'cert', '0']);
    const [, fingerprint = ''] =
      /^fpr:+([0-9A-F]{40}):/m.exec(made.run(['--with-colons', '-k']).toString()) ?? [];
    made.run(['--quick-add-key', fingerprint, 'rsa2048', 'sign', '0']);
    const home = newHome();
    home.run(['--import'], undefined, made.run(['--export-secret-subkeys']));
    const [primary = assert.fail(), subkey = assert.fail()] = publicKeys(home);
    await judged(subkey.object, { home: home.path });
    await assert.rejects(
      agentSigner(primary.object, { key: 'openpgp', home: home.path }).sign('sha256', DIGEST),
      refused(
        'unreachable',
        /refuses: No secret key <GPG Agent>; "gpg -K --with-keygrip" shows which keys it has\.$/,
      ),
    );
  });

  it('with a key whose passphrase it was given before, and not without', async () => {
    const home = newHome();
    writeFileSync(
      join(home.path, 'gpg-agent.conf'),
      'allow-preset-passphrase\npinentry-program /bin/false\n',
    );
    home.run(['--passphrase', 'secret', '--quick-gen-key', 'A <a@site.example>', 'rsa2048', 'sign', '0']);
    const [{ object, keygrip } = assert.fail()] = publicKeys(home);
    const agent = (...commands: readonly string[]) =>
      execFileSync('gpg-connect-agent', ['--homedir', home.path, ...commands, '/bye']).toString();
    agent(`CLEAR_PASSPHRASE --mode=normal ${keygrip}`);
    const signer = agentSigner(object, { key: 'openpgp', home: home.path });
    await assert.rejects(
      signer.sign('sha256', DIGEST),
      refused('unreachable', /\(key openpgp, .* refuses: .+\.$/),
    );
    presetPassphrase(home.path, keygrip, 'secret');
    await judged(object, { home: home.path });
  });

  it("with a key of gpgsm's, the same as with its file", async () => {
    const home = newHome();
    const crt = join(folder, 'codesign.crt');
    const make = ['req', '-x509', '-key', rsa.path, '-subj', '/CN=codesign.lab', '-days', '9', '-out', crt];
    execFileSync('openssl', make, { stdio: 'pipe' });
    importForGpgsm(home.path, { key: rsa.path, certificate: crt });
    const { publicKey } = new X509Certificate(readFileSync(crt));
    const signatures = await judged(publicKey, { key: 'codesign', home: home.path });
    const own = keySigner(rsa.privateKey, 'x');
    assert.deepEqual(
      signatures.map((octets) => Buffer.from(octets)),
      [...(await Promise.all(HASHES.map((hash) => own.sign(hash, digestOf(hash)))))].map((octets) =>
        Buffer.from(octets),
      ),
    );
  });

  it('also where it did not run before, and it is left running', async () => {
    const home = newHome();
    home.run(['--quick-gen-key', 'A <a@site.example>', 'rsa2048', 'sign', '0']);
    const [{ object } = assert.fail()] = publicKeys(home);
    home.close();
    await judged(object, { home: home.path });
    const pid = execFileSync('gpg-connect-agent', [
      '--homedir',
      home.path,
      '--no-autostart',
      'GETINFO pid',
      '/bye',
    ]);
    assert.match(pid.toString(), /^D \d+\nOK\n$/);
  });
});

let places = 0;
async function faked(options: Partial<FakeAgentOptions> = {}, more: Partial<AgentSignerOptions> = {}) {
  const socket = join(folder, `S.${++places}`);
  const agent = await fakeAgent(socket, { key: rsa.path, ...options });
  return { socket, agent, signer: agentSigner(rsa.publicKey, { key: 'openpgp', socket, ...more }) };
}

/** Sends this instead of the answer to PKSIGN. */
const instead =
  (bytes: (answer: Buffer) => Uint8Array | string, end = false) =>
  (socket: Socket, command: string, answer: Buffer): void => {
    const octets = command === 'PKSIGN' ? bytes(answer) : answer;
    if (end && command === 'PKSIGN') socket.end(octets);
    else socket.write(octets);
  };

it('an agent is told what is signed, for whoever it asks, and nothing else', async () => {
  const { agent, signer } = await faked();
  await demandSignature(signer, 'sha256', DIGEST);
  const [signing, telling, hash, ...rest] = agent.heard;
  assert.match(signing ?? '', /^SIGKEY [0-9A-F]{40}$/);
  assert.equal(telling, 'SETKEYDESC Bootseal+asks+for+a+signature+with+the+key+openpgp.');
  assert.equal(hash, `SETHASH --hash=sha256 ${DIGEST.toString('hex')}`);
  assert.deepEqual(rest, ['PKSIGN']);
});

it('notes, a window that opens and data in several lines are no hindrance', async () => {
  let data: Buffer = Buffer.alloc(0);
  const send = (socket: Socket, command: string, answer: Buffer): void => {
    if (command === 'PKSIGN') {
      data = answer;
      socket.write('S PROGRESS need_entropy\n# a comment\nINQUIRE PINENTRY_LAUNCHED 77 curses\n');
    } else if (command === 'END') {
      // Not between the characters of an escape.
      const cut = data.indexOf('1:s256:') + 7;
      socket.write(Buffer.concat([data.subarray(0, cut), Buffer.from('\nD '), data.subarray(cut)]));
    } else socket.write(answer);
  };
  const { agent, signer } = await faked({ send });
  assert.equal((await demandSignature(signer, 'sha256', DIGEST)).length, 256);
  assert.ok(agent.heard.includes('END'));
});

it('an agent that wants something of us hears that we have it not', async () => {
  const send = (socket: Socket, command: string, answer: Buffer): void => {
    if (command === 'CAN') socket.write('ERR 67108963 Operation cancelled <GPG Agent>\n');
    else socket.write(command === 'PKSIGN' ? 'INQUIRE PASSPHRASE\n' : answer);
  };
  const { signer } = await faked({ send });
  await assert.rejects(
    signer.sign('sha256', DIGEST),
    refused('unreachable', /refuses: Operation cancelled <GPG Agent>\.$/),
  );
});

const NUMBER = Buffer.alloc(256, 7);
const number =
  (before: string, after = ')))', octets: Uint8Array = NUMBER) =>
  () =>
    dataAndOk(Buffer.concat([Buffer.from(before), octets, Buffer.from(after)]));
const misdeeds: readonly [
  string,
  (socket: Socket, command: string, answer: Buffer) => void,
  RefusalCode,
  RegExp,
][] = [
  [
    'closes without a word',
    (socket) => socket.end(),
    'unreachable',
    /closed the connection without an answer\.$/,
  ],
  ['says no', instead(() => 'ERR 67108922 \x1b[2Jno\n'), 'unreachable', /refuses: \\x1b\[2Jno\.$/],
  ['says no without a word', instead(() => 'ERR 67108922\n'), 'unreachable', /refuses: error 67108922\.$/],
  [
    'refuses at once',
    (socket) => void socket.write('ERR 67109020 Forbidden\n'),
    'unreachable',
    /refuses: Forbidden\.$/,
  ],
  ['says OK and nothing else', instead(() => 'OK\n'), 'malformed', /no "\("/],
  ['speaks HTTP', (socket) => void socket.write('HTTP/1.1 400 Bad Request\r\n'), 'malformed', /no answer/],
  [
    'sends a line without an end',
    (socket) => void socket.write('S'.repeat(1001)),
    'malformed',
    /a line of more than 1000 bytes/,
  ],
  [
    'sends a line that is too long',
    instead(() => `D ${'x'.repeat(999)}\nOK\n`),
    'malformed',
    /a line of more than 1000/,
  ],
  [
    'chatters',
    (socket) => void socket.write(`S ${'x'.repeat(900)}\n`.repeat(100)),
    'malformed',
    /more than 65536 bytes/,
  ],
  [
    'sends too much data',
    instead(() => `${`D ${'x'.repeat(900)}\n`.repeat(9)}OK\n`),
    'malformed',
    /more than 4096 bytes of data/,
  ],
  ['sends data too early', (socket) => void socket.write('D x\n'), 'malformed', /nobody asked for/],
  ['sends a NUL', (socket) => void socket.write('OK\0\n'), 'malformed', /with a NUL/],
  ['breaks an escape', instead(() => 'D (%4\nOK\n'), 'malformed', /an escape without its two digits/],
  [
    'signs with another kind of key',
    instead(number('(7:sig-val(5:ecdsa(1:r256:', ')(1:s1:x)))')),
    'malformed',
    /another kind of key/,
  ],
  [
    'signs with a kind nobody knows',
    instead(number('(7:sig-val(3:dsa(1:s256:')),
    'malformed',
    /another kind of key/,
  ],
  ['sends another list', instead(number('(7:foo-val(3:rsa(1:s256:')), 'malformed', /no list called sig-val/],
  [
    'sends a number past its end',
    instead(number('(7:sig-val(3:rsa(1:s999:')),
    'malformed',
    /runs past the end/,
  ],
  ['sends a number without an end', instead(number('(7:sig-val(3:rsa(1:s99999:')), 'malformed', /no length/],
  [
    'sends bytes behind it',
    instead(number('(7:sig-val(3:rsa(1:s256:', '))))')),
    'malformed',
    /bytes after it/,
  ],
  [
    'sends nought',
    instead(number('(7:sig-val(3:rsa(1:s256:', ')))', Buffer.alloc(256))),
    'malformed',
    /s is zero/,
  ],
  [
    'sends a longer number',
    instead(number('(7:sig-val(3:rsa(1:s257:', ')))', Buffer.alloc(257, 7))),
    'malformed',
    /answered with 257 bytes, and an RSA signature by its key has 256/,
  ],
  [
    'sends another number',
    instead(number('(7:sig-val(3:rsa(1:s256:')),
    'bad-signature',
    /not a signature by its key/,
  ],
];
for (const [what, send, code, fact] of misdeeds) {
  it(`an agent that ${what} is refused as ${code}`, async () => {
    const { signer } = await faked({ send });
    await assert.rejects(demandSignature(signer, 'sha256', DIGEST), refused(code, fact));
  });
}

it('an agent with another key under that keygrip is found out', async () => {
  const { signer } = await faked({ key: other.path });
  await assert.rejects(demandSignature(signer, 'sha256', DIGEST), refused('bad-signature', /another key/));
});

it('an answer that is cut at any byte is none', async () => {
  // Which bytes have to be escaped differs from key to key.
  let whole = 0;
  let cut = Number.POSITIVE_INFINITY;
  const { signer } = await faked({
    send: instead((answer) => {
      whole = answer.length;
      return answer.subarray(0, cut);
    }, true),
  });
  await demandSignature(signer, 'sha256', DIGEST);
  for (cut = 0; cut < whole; cut++) {
    const code = cut === 0 ? 'unreachable' : 'malformed';
    await assert.rejects(
      signer.sign('sha256', DIGEST),
      refused(code, cut === 0 ? /without an answer/ : /ends early/),
    );
  }
});

const stalls: readonly [string, (socket: Socket, command: string, answer: Buffer) => boolean][] = [
  ['greets nobody', () => false],
  [
    'stalls within the data',
    (socket, command, answer) =>
      socket.write(command === 'PKSIGN' ? answer.subarray(0, 99) : answer) && command !== 'PKSIGN',
  ],
  [
    'waits for somebody to type a PIN',
    (socket, command, answer) => command !== 'PKSIGN' && socket.write(answer),
  ],
];
for (const [what, goesOn] of stalls) {
  it(`an agent that ${what} is unreachable when the time is over`, async () => {
    const controller = new AbortController();
    const send = (socket: Socket, command: string, answer: Buffer): void => {
      if (!goesOn(socket, command, answer)) controller.abort();
    };
    const timeLimit = { seconds: 60, after: () => controller.signal };
    const { signer } = await faked({ send }, { timeLimit });
    await assert.rejects(
      signer.sign('sha256', DIGEST),
      refused('unreachable', /gave no whole answer within 60 s\.$/),
    );
  });
}

it('an agent is left when nobody waits for it any more', async () => {
  const controller = new AbortController();
  const send = () => controller.abort(new Error('the operator went away'));
  const timeLimit = { seconds: 60, after: () => new AbortController().signal, ended: controller.signal };
  const { signer } = await faked({ send }, { timeLimit });
  await assert.rejects(signer.sign('sha256', DIGEST), /^Error: the operator went away$/);
});

describe('the place of an agent', () => {
  const signerAt = (options: Partial<AgentSignerOptions>) =>
    agentSigner(rsa.publicKey, { key: 'openpgp', ...options });

  it('may be a file that names a socket', async () => {
    const { socket } = await faked();
    const file = join(folder, 'S.gpg-agent');
    for (const text of [
      `%Assuan%\nsocket=${socket}\n`,
      `%Assuan%\nsocket=\${BOOTSEAL_TEST_FOLDER}/S.${places}\n`,
    ]) {
      process.env.BOOTSEAL_TEST_FOLDER = folder;
      writeFileSync(file, text);
      assert.equal((await demandSignature(signerAt({ socket: file }), 'sha256', DIGEST)).length, 256);
    }
    for (const text of [
      '',
      'socket=/x\n',
      '%Assuan%\nsocket=S.1\n',
      `%Assuan%\nsocket=/${'x'.repeat(600)}\n`,
    ]) {
      writeFileSync(file, text);
      await assert.rejects(
        signerAt({ socket: file }).sign('sha256', DIGEST),
        refused('malformed', /S\.gpg-agent is Assuan: /),
      );
    }
    unlinkSync(file);
  });

  it('that was named is not made, and nobody there is unreachable', async () => {
    const socket = join(folder, 'S.none');
    await assert.rejects(
      signerAt({ socket }).sign('sha256', DIGEST),
      refused('unreachable', /does not listen at \S+S\.none: ENOENT\.$/),
    );
    await assert.rejects(
      signerAt({ socket: `${folder}/${'x'.repeat(200)}` }).sign('sha256', DIGEST),
      refused('unreachable', /cannot be reached|does not listen/),
    );
  });

  it('is not found without GnuPG', async () => {
    const path = process.env.PATH;
    const empty = join(folder, 'empty');
    mkdirSync(empty, { recursive: true });
    process.env.PATH = empty;
    try {
      await assert.rejects(
        signerAt({}).sign('sha256', DIGEST),
        refused('unreachable', /there is no program "gpgconf"/),
      );
    } finally {
      process.env.PATH = path;
    }
  });

  it('that cannot be a home is unreachable, and says what GnuPG says', async () => {
    const home = join(folder, 'no-home');
    copyFileSync(rsa.path, home);
    await assert.rejects(signerAt({ home }).sign('sha256', DIGEST), refused('unreachable', /no-home/));
  });
});

it('a keygrip of another key cannot be meant', () => {
  const keygrip = '0123456789abcdef0123456789ABCDEF01234567';
  assert.throws(
    () => agentSigner(rsa.publicKey, { key: 'openpgp', keygrip }),
    misused(
      /The keygrip 0123\S+ in signers\.toml is not that of the key openpgp in anchors\/, which is [0-9A-F]{40};/,
    ),
  );
});
