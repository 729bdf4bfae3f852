import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { once } from 'node:events';
import {
  appendFileSync,
  closeSync,
  copyFileSync,
  openSync,
  renameSync,
  truncateSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { chmod, mkdir, symlink, unlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { bytesContent, fileContent, measureFile, streamContent } from '../../src/files/measure.ts';
import type { Answer, Question } from '../../src/files/measurer.ts';
import type { HashName } from '../../src/formats/asn1/oids.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { asNobody } from './nobody.ts';

const folder = await temporaryFolder();
const MIB = 1024 * 1024;
/** Files up to this size are hashed where they are read, longer ones in threads. */
const SLOT = 4 * MIB;

let files = 0;
async function newFile(bytes: Uint8Array): Promise<string> {
  const path = join(folder, `file-${files++}`);
  await writeFile(path, bytes);
  return path;
}

const HASHES: readonly HashName[] = ['md5', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512'];
const DIGESTS: readonly Question[] = HASHES.map((hash) => ({ kind: 'digest', hash }));
const hex = (answer: Answer | undefined) => Buffer.from(answer as Uint8Array).toString('hex');
const hexes = (answers: readonly Answer[]) => answers.map(hex);
const expected = (bytes: Uint8Array) => HASHES.map((hash) => createHash(hash).update(bytes).digest('hex'));

describe('digests of a file', () => {
  // Around the borders between reading here, in threads, and in how many slots.
  for (const size of [0, 1, SLOT - 1, SLOT, SLOT + 1, 2 * SLOT, 6 * SLOT + 17]) {
    it(`of ${size} bytes are node:crypto's`, async () => {
      const bytes = randomBytes(size);
      const measured = await measureFile(await newFile(bytes), DIGESTS);
      assert.equal(measured.size, size);
      assert.equal(measured.identity.size, BigInt(size));
      assert.deepEqual(hexes(measured.answers), expected(bytes));
    });
  }

  it("are sha256sum's and sha512sum's", async () => {
    const path = await newFile(randomBytes(3 * SLOT + 1));
    const { answers } = await measureFile(path, [
      { kind: 'digest', hash: 'sha512' },
      { kind: 'digest', hash: 'sha256' },
    ]);
    for (const [index, tool] of ['sha512sum', 'sha256sum'].entries()) {
      assert.equal(execFileSync(tool, [path], { encoding: 'utf8' }).split(' ')[0], hex(answers[index]));
    }
  });

  it('are the same for many files at once, and for the same threads again', async () => {
    const contents = Array.from({ length: 5 }, (_, n) => randomBytes(SLOT + 1000 * n + 1));
    for (const _round of [1, 2]) {
      const found = await Promise.all(
        contents.map(async (bytes) => hexes((await measureFile(await newFile(bytes), DIGESTS)).answers)),
      );
      assert.deepEqual(found, contents.map(expected));
    }
  });

  it('without a question are none, and the size is told', async () => {
    for (const size of [3, SLOT + 1]) {
      const { answers, size: found } = await measureFile(await newFile(randomBytes(size)), []);
      assert.deepEqual([answers.length, found], [0, size]);
    }
  });
});

describe('any content', () => {
  it('answers the same whole, in pieces and from a file, suffixes included', async () => {
    const pieces = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(pieces, fc.uint8Array({ maxLength: 40 }), async (list, suffix) => {
        const whole = Buffer.concat(list);
        const questions: Question[] = [...DIGESTS, { kind: 'digest', hash: 'sha512', suffix }];
        const wanted = [...expected(whole), createHash('sha512').update(whole).update(suffix).digest('hex')];
        async function* body() {
          yield* list;
        }
        const path = await newFile(whole);
        for (const content of [bytesContent(whole), fileContent(path), streamContent(body(), 'it', 9999)]) {
          const measured = await content.measure(questions);
          assert.equal(measured.size, whole.length);
          assert.deepEqual(hexes(measured.answers), wanted);
        }
        await unlink(path);
      }),
      { numRuns: 40 },
    );
  });

  it('of a stream is cut one byte beyond its limit, and not before', async () => {
    let asked = 0;
    async function* endless(pieces: number) {
      for (; asked < pieces; asked++) yield Buffer.alloc(10);
    }
    assert.equal((await streamContent(endless(5), 'it', 50).measure([])).size, 50);
    asked = 0;
    await assert.rejects(streamContent(endless(1e9), 'The image', 50).measure(DIGESTS), {
      code: 'too-large',
      message: 'The image is longer than the 50 bytes it may have.',
    });
    assert.equal(asked, 5);
  });
});

describe('ECDSA', () => {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const publicKey = pair.publicKey.export({ format: 'pem', type: 'spki' }).toString();

  for (const size of [10, SLOT + 1]) {
    it(`verifies ${size} bytes as they are read, and nonsense is no signature`, async () => {
      const bytes = randomBytes(size);
      const good = sign('sha256', bytes, pair.privateKey);
      const other = sign('sha256', bytes.subarray(1), pair.privateKey);
      const questions = [good, other, Buffer.from('nonsense'), Buffer.alloc(0)].map(
        (signature): Question => ({ kind: 'ecdsa-verify', hash: 'sha256', publicKey, signature }),
      );
      const { answers } = await measureFile(await newFile(bytes), questions);
      assert.deepEqual(answers, [true, false, false, false]);
    });
  }
});

describe('progress', () => {
  for (const size of [5, SLOT, 3 * SLOT + 5]) {
    it(`of ${size} bytes grows and ends with the size, said once`, async () => {
      const seen: number[] = [];
      await measureFile(await newFile(randomBytes(size)), DIGESTS, {
        onProgress: (octets) => seen.push(octets),
      });
      assert.deepEqual(
        seen,
        [...new Set(seen)].sort((a, b) => a - b),
      );
      assert.equal(seen.at(-1), size);
    });
  }
});

/** What is done to a file of six slots after its first slot was read. */
const DRIFTS: Record<string, (path: string) => void> = {
  'that grows': (path) => appendFileSync(path, 'x'),
  'that is cut short': (path) => truncateSync(path, SLOT + 1),
  'of which a byte changes': (path) => {
    const file = openSync(path, 'r+');
    writeSync(file, 'x', 9);
    closeSync(file);
  },
  'whose place another file takes': (path) => {
    copyFileSync(path, `${path}.other`);
    renameSync(`${path}.other`, path);
  },
  'whose date alone changes': (path) => utimesSync(path, 1e9, 1e9),
};

describe('a file that changes while it is read', () => {
  for (const [name, change] of Object.entries(DRIFTS)) {
    it(`${name} has drifted`, async () => {
      const path = await newFile(randomBytes(6 * SLOT));
      let progressed = 0;
      const onProgress = () => {
        if (progressed++ === 0) change(path);
      };
      await assert.rejects(measureFile(path, DIGESTS, { onProgress }), {
        name: 'Refusal',
        code: 'drifted',
        message: /^\S+ changed while it was being (read \(size differs\)|used: [a-z, ]+)\.$/,
      });
    });
  }

  it('ends when the caller says so, or throws, and its threads do not come back', async () => {
    const path = await newFile(randomBytes(3 * SLOT));
    const bytes = randomBytes(6 * SLOT);
    const other = await newFile(bytes);
    for (let round = 0; round < 3; round++) {
      const stop = new AbortController();
      const options = { onProgress: () => stop.abort(), signal: stop.signal };
      await assert.rejects(measureFile(path, DIGESTS, options), { name: 'AbortError' });
      const onProgress = () => {
        throw new Error('the reader of progress');
      };
      await assert.rejects(measureFile(path, DIGESTS, { onProgress }), /the reader of progress/);
      assert.deepEqual(hexes((await measureFile(other, DIGESTS)).answers), expected(bytes));
    }
  });
});

describe('what is no file to read', () => {
  const REFUSED: Record<string, [(path: string) => Promise<unknown>, string, RegExp]> = {
    'a missing file': [async () => {}, 'absent', /does not exist/],
    'a folder': [(path) => mkdir(path), 'unsafe-path', /is not a regular file/],
    'a symbolic link': [(path) => symlink('/etc/hostname', path), 'unsafe-path', /is a symbolic link/],
    // Opened without O_NONBLOCK this would wait for a writer for ever.
    'a FIFO': [async (path) => execFileSync('mkfifo', [path]), 'unsafe-path', /is not a regular file/],
    'a file that may not be read': [
      async (path) => {
        await writeFile(path, 'secret');
        await chmod(path, 0o000);
      },
      'EACCES',
      /cannot be read: permission is denied/,
    ],
  };
  for (const [name, [make, code, says]] of Object.entries(REFUSED)) {
    it(`${name} is refused`, async () => {
      const path = join(folder, `odd-${files++}`);
      await make(path);
      await asNobody(folder, () => assert.rejects(measureFile(path, DIGESTS), { code, message: says }));
    });
  }

  it('a socket is refused', async (t) => {
    const path = join(folder, 'socket');
    const server = createServer().listen(path);
    t.after(() => server.close());
    await once(server, 'listening');
    await assert.rejects(measureFile(path, DIGESTS), { name: 'Refusal' });
  });
});
