import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  appendFile,
  copyFile,
  cp,
  type FileHandle,
  open,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { IoError } from '../../src/errors/io.ts';
import { Refusal } from '../../src/errors/refusal.ts';
import { encodePem } from '../../src/formats/asn1/armor.ts';
import { decodeCheckpointFile } from '../../src/formats/records/checkpoint.ts';
import { recordAct } from '../../src/store/log.ts';
import { auditLog } from '../../src/store/log-audit.ts';
import { scanEntries } from '../../src/store/log-folder-files.ts';
import { readLogEntries } from '../../src/store/log-proof.ts';
import { defaultPolicy } from '../../src/trust/policy.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { refused } from '../trust/judge.ts';
import { actOf, makeLogKey, newState, record } from './logs.ts';

const folder = await temporaryFolder();
const key = await makeLogKey(join(folder, 'key'));
const policy = defaultPolicy(NOW);
const audit = (state: string, since?: string) => auditLog(state, key.certificates, policy, since);
const file = (state: string, name: string) => join(state, 'log', name);

async function entriesOf(state: string) {
  const found: { act: string; time: number; clock?: number | undefined; message?: string | undefined }[] = [];
  await readLogEntries(state, ({ entry: { act, time, clock, refusal } }) => {
    found.push({ act, time, clock, message: refusal?.message });
  });
  return found;
}

async function copyOf(state: string): Promise<string> {
  const copy = await newState(folder);
  await cp(join(state, 'log'), join(copy, 'log'), { recursive: true });
  return copy;
}

/** A file whose reads are answered by somebody, who may ask the file itself. */
function readAs(
  handle: FileHandle,
  answer: (read: () => Promise<{ bytesRead: number }>) => Promise<{ bytesRead: number }>,
): FileHandle {
  return new Proxy(handle, {
    get: (target, name) => {
      const own = Reflect.get(target, name, target);
      if (name !== 'read') return typeof own === 'function' ? own.bind(target) : own;
      return (...args: unknown[]) => answer(() => own.apply(target, args));
    },
  });
}

describe('the log', () => {
  it('keeps every act in its order, under a checkpoint over all of them', async () => {
    const state = await newState(folder);
    const entries = await record(state, 5, key);
    assert.deepEqual(
      entries.map(({ index, release }) => [index, release]),
      [0, 1, 2, 3, 4].map((index) => [index, `arch/2026.11.${index}`]),
    );
    const { size, checkpoint, torn } = await audit(state);
    assert.deepEqual([size, checkpoint.time, torn], [5, NOW + 4000, 0]);
    assert.deepEqual((await readdir(join(state, 'log'))).sort(), [
      'checkpoint',
      'entries',
      'hashes',
      'name',
      'offsets',
      'seals',
    ]);
  });

  it('is read to its end where an entry comes while it is read, and is no shorter on a disk that gives nothing', async () => {
    const state = await newState(folder);
    await record(state, 2);
    const entries = await open(file(state, 'entries'));
    try {
      const found: number[] = [];
      let come: (() => Promise<unknown>) | undefined = () => record(state, 1, undefined, {}, 2);
      const growing = readAs(entries, async (read) => {
        const answer = await read();
        if (answer.bytesRead > 0 || found.length < 2) return answer;
        await come?.();
        come = undefined;
        return answer;
      });
      const end = await scanEntries(growing, 0, 0, ({ index }) => void found.push(index));
      assert.deepEqual([found, end], [[0, 1, 2], (await entries.stat()).size]);
      const nothing = readAs(entries, async () => ({ bytesRead: 0 }));
      await assert.rejects(
        scanEntries(nothing, 0, 0, () => {}),
        (error) =>
          error instanceof IoError &&
          error.message === `The log's entries have ${end} bytes, and 0 were read.`,
      );
    } finally {
      await entries.close();
    }
  });

  it('openssl takes the seal of a checkpoint out of its very file', async () => {
    const state = await newState(folder);
    await record(state, 2, key);
    const path = file(state, 'checkpoint');
    const { bytes } = decodeCheckpointFile(await readFile(path));
    const content = join(folder, 'content');
    const crt = join(folder, 'log.crt');
    await writeFile(content, bytes);
    await writeFile(crt, encodePem('CERTIFICATE', key.key.certificate.raw));
    const verify = (of: string) =>
      promisify(execFile)(
        'openssl',
        `cms -verify -binary -noattr -nointern -inform PEM -purpose any -in ${path} -content ${of} -certfile ${crt} -CAfile ${crt} -attime ${NOW / 1000} -out /dev/null`.split(
          ' ',
        ),
      );
    await verify(content);
    await appendFile(content, '\n');
    await assert.rejects(verify(content), /digest|signature/i);
  });

  it('takes entries before there is a key; the first checkpoint is over all of them', async () => {
    const state = await newState(folder);
    await record(state, 3);
    await assert.rejects(audit(state), refused('no-verdict', /3 entries and no checkpoint yet/));
    await record(state, 1, key, {}, 3);
    assert.equal((await audit(state)).size, 4);
    await record(state, 1, undefined, {}, 4);
    await assert.rejects(audit(state), refused('no-verdict', /Entry 4 and those after it/));
  });

  it('does not go back in time with a clock that was set back, and says what that clock said', async () => {
    const state = await newState(folder);
    await recordAct(state, actOf(0, { time: NOW + 500 }), key.sign);
    await recordAct(state, actOf(1, { time: NOW - 3_600_000 }), key.sign);
    await recordAct(state, actOf(2, { time: NOW + 2000 }), key.sign);
    assert.deepEqual(
      (await entriesOf(state)).map(({ time, clock }) => [time, clock]),
      [
        [NOW, undefined],
        [NOW, NOW - 3_600_000],
        [NOW + 2000, undefined],
      ],
    );
    await audit(state);
  });

  it('takes any refusal, however its message is written', async () => {
    const state = await newState(folder);
    for (const message of ['The release’s “ü”\nline 2', '', 'x'.repeat(5000)])
      await recordAct(state, actOf(0, { act: 'refuse', refusal: new Refusal('absent', message) }));
    const [first, second, third] = await entriesOf(state);
    assert.equal(first?.message, "The release's \\u201c\\u00fc\\u201d\\u000aline 2");
    assert.equal(second?.message, '-');
    assert.match(third?.message ?? '', /^x{997}\.\.\.$/);
  });

  it('each has a name of its own, so one key may sign several', async () => {
    const [one, two] = [await newState(folder), await newState(folder)];
    await record(one, 2, key);
    await record(two, 2, key);
    await copyFile(file(one, 'checkpoint'), file(two, 'checkpoint'));
    await assert.rejects(audit(two), refused('mixed-releases', /Its checkpoint is of log/));
    await assert.rejects(record(two, 1, key, {}, 2), refused('drifted'));
  });

  it('a list of seals that is longer than a list may be is left out, and the act is logged', async () => {
    const state = await newState(folder);
    const seals = new Map(
      Array.from({ length: 800 }, (_, index) => [`file-${index}.sig`, Buffer.from('x')] as const),
    );
    const [entry] = await record(state, 1, key, { seals });
    assert.equal(entry?.seals, undefined);
    const [second] = await record(state, 1, key, { seals: new Map([...seals].slice(0, 9)) }, 1);
    assert.match(second?.seals ?? '', /^[0-9a-f]{64}$/);
    await audit(state);
  });

  it('what an act says wrongly is refused, and nothing is added', async () => {
    const state = await newState(folder);
    await record(state, 1, key);
    const wrong = actOf(1, { release: 'no release' });
    await assert.rejects(recordAct(state, wrong, key.sign), refused('malformed'));
    assert.equal((await audit(state)).size, 1);
  });
});

describe('after a crash', () => {
  it('a last entry that is torn at any byte is cut, and nothing before it', async () => {
    const whole = await newState(folder);
    await record(whole, 3, key);
    const before = (await stat(file(whole, 'entries'))).size;
    await record(whole, 1, key, {}, 3);
    const after = await readFile(file(whole, 'entries'));
    const old = await copyOf(whole);
    await truncate(file(old, 'entries'), before);
    await truncate(file(old, 'offsets'), 24);
    await rm(file(old, 'checkpoint'));
    for (let length = before; length <= after.length; length += length < after.length - 3 ? 13 : 1) {
      await writeFile(file(old, 'entries'), after.subarray(0, length));
      const state = await copyOf(old);
      const [entry] = await record(state, 1, key, {}, 9);
      assert.equal(entry?.index, length === after.length ? 4 : 3, `cut at ${length} of ${after.length}`);
      assert.equal((await audit(state)).size, (entry?.index ?? 0) + 1);
    }
  });

  it('offsets and hashes that end anywhere, or in zeros, are completed from the entries', async () => {
    const whole = await newState(folder);
    await record(whole, 11, key);
    const { size: offsets } = await stat(file(whole, 'offsets'));
    const { size: hashes } = await stat(file(whole, 'hashes'));
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: offsets }),
        fc.integer({ min: 0, max: hashes }),
        fc.boolean(),
        async (keptOffsets, keptHashes, zeros) => {
          const state = await copyOf(whole);
          await truncate(file(state, 'offsets'), keptOffsets);
          await truncate(file(state, 'hashes'), keptHashes);
          // As a file system may leave the last write of all: longer, and never filled.
          if (zeros && keptOffsets > offsets - 8) await truncate(file(state, 'offsets'), offsets);
          await record(state, 1, key, {}, 11);
          assert.equal((await audit(state)).size, 12);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('what was written to no end is removed', async () => {
    const state = await newState(folder);
    await record(state, 1, key);
    const names = ['.bootseal-0123456789abcdef.tmp', 'seals/.bootseal-0123456789abcdef.tmp'];
    for (const name of names) await writeFile(file(state, name), 'half');
    await record(state, 1, key, {}, 1);
    for (const name of names) await assert.rejects(stat(file(state, name)));
  });
});

describe('a log that is not what it was takes no entry, and gets no new checkpoint', () => {
  for (const [what, change, code, message] of [
    [
      'entries taken from its end',
      async (state: string) => truncate(file(state, 'entries'), 400),
      'drifted',
      /was taken away|shorter than/,
    ],
    [
      'every record taken from its end',
      async (state: string) => {
        const entries = await readFile(file(state, 'entries'), 'latin1');
        await writeFile(file(state, 'entries'), entries.slice(0, entries.indexOf('\n\n') + 2));
        await truncate(file(state, 'offsets'), 8);
        await truncate(file(state, 'hashes'), 32);
      },
      'drifted',
      /is not what its checkpoint of 4 entries says/,
    ],
    [
      'another last entry',
      async (state: string) => {
        const entries = await readFile(file(state, 'entries'), 'latin1');
        await writeFile(file(state, 'entries'), entries.replace('arch/2026.11.3', 'arch/2026.11.7'));
      },
      'drifted',
      /is not what its checkpoint/,
    ],
    ['no name', async (state: string) => rm(file(state, 'name')), 'drifted', /has entries and no name/],
    [
      'entries gone',
      async (state: string) => rm(file(state, 'entries')),
      'drifted',
      /was taken away|shorter than/,
    ],
    [
      'a checkpoint that is none',
      async (state: string) => writeFile(file(state, 'checkpoint'), 'x\n'),
      'malformed',
      /checkpoint/,
    ],
    [
      'rubbish after its end',
      async (state: string) => appendFile(file(state, 'entries'), 'rubbish\n\n'),
      'malformed',
      /Entry 4 of the log is malformed/,
    ],
    [
      'rubbish without an end',
      async (state: string) => appendFile(file(state, 'entries'), 'x'.repeat(200_000)),
      'malformed',
      /Entry 4 of the log is longer than any entry/,
    ],
  ] as const) {
    it(what, async () => {
      const state = await newState(folder);
      await record(state, 4, key);
      await change(state);
      const before = await readFile(file(state, 'checkpoint'));
      await assert.rejects(record(state, 1, key, {}, 4), refused(code, message));
      assert.deepEqual(await readFile(file(state, 'checkpoint')), before);
    });
  }
});
