import assert from 'node:assert/strict';
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Refusal, RefusalCode } from '../../src/errors/refusal.ts';
import { encodeCheckpoint, encodeCheckpointFile } from '../../src/formats/records/checkpoint.ts';
import { decodeLogEntry, encodeLogEntry } from '../../src/formats/records/log-entry.ts';
import { TransparencyLog } from '../../src/store/log.ts';
import { auditLog } from '../../src/store/log-audit.ts';
import { defaultPolicy } from '../../src/trust/policy.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { refused } from '../trust/judge.ts';
import { makeLogKey, newState, record } from './logs.ts';

const folder = await temporaryFolder();
const key = await makeLogKey(join(folder, 'key'));
const stranger = await makeLogKey(join(folder, 'stranger'));
const policy = defaultPolicy(NOW);
const file = (state: string, name: string) => join(state, 'log', name);
const seals = new Map([['boot.ipxe', Buffer.from('#!ipxe\n')]]);

/** Nine entries; what an auditor kept when there were five. */
const good = await newState(folder);
await record(good, 5, key, { seals });
const kept = join(folder, 'kept');
await cp(file(good, 'checkpoint'), kept);
const older = await newState(folder);
await cp(good, older, { recursive: true });
await record(good, 4, key, { seals }, 5);

async function parts(state: string): Promise<string[]> {
  const text = await readFile(file(state, 'entries'), 'latin1');
  return text.split(/(?<=\n\n)/);
}

const rewrite = (state: string, entries: readonly string[]) =>
  writeFile(file(state, 'entries'), entries.join(''), 'latin1');

/** As somebody would who knows the formats and has no key: all that follows from the entries is made anew. */
async function rederive(state: string): Promise<void> {
  const numbered = (await parts(state)).map((text, index) => {
    const entry = decodeLogEntry(Buffer.from(text.slice(0, -1)));
    return `${Buffer.from(encodeLogEntry({ ...entry, index }))}\n`;
  });
  await rewrite(state, numbered);
  for (const name of ['offsets', 'hashes', 'checkpoint']) await rm(file(state, name));
  await (await TransparencyLog.open(state)).close();
  await cp(file(good, 'checkpoint'), file(state, 'checkpoint'));
}

interface Tampering {
  readonly what: string;
  readonly change: (state: string) => Promise<unknown>;
  readonly code: RefusalCode;
  readonly index: number;
  readonly message?: RegExp;
  readonly since?: boolean;
}

const swap = (entries: string[]) => {
  const [a = '', b = ''] = entries.slice(3, 5);
  return entries.toSpliced(3, 2, b, a);
};
const changed = (entry: string) => entry.replace(/^release .*$/m, 'release arch/6666.66.66');
const flip = async (path: string, at: number) => {
  const bytes = await readFile(path);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  await writeFile(path, bytes);
};

const TAMPERINGS: readonly Tampering[] = [
  {
    what: 'an entry that was changed',
    change: async (state) =>
      rewrite(
        state,
        (await parts(state)).map((text, at) => (at === 3 ? changed(text) : text)),
      ),
    code: 'drifted',
    index: 3,
    message: /Entry 3 of the log is not the one that was recorded/,
  },
  {
    what: 'an entry that was removed',
    change: async (state) => rewrite(state, (await parts(state)).toSpliced(3, 1)),
    code: 'drifted',
    index: 3,
    message: /Entry 4 stands where entry 3/,
  },
  {
    what: 'two entries that were swapped',
    change: async (state) => rewrite(state, swap(await parts(state))),
    code: 'drifted',
    index: 3,
  },
  {
    what: 'two entries that were swapped and numbered anew',
    change: async (state) => {
      const texts = swap(await parts(state));
      await rewrite(
        state,
        texts.map((text, at) => text.replace(/^index .*$/m, `index ${at}`)),
      );
    },
    code: 'drifted',
    index: 3,
  },
  {
    what: 'an entry that was put into the middle',
    change: async (state) => {
      const texts = await parts(state);
      await rewrite(state, texts.toSpliced(3, 0, texts[2]?.replace(/^index .*$/m, 'index 3') ?? ''));
    },
    code: 'drifted',
    index: 3,
  },
  {
    what: 'an entry that was put at the end',
    change: async (state) => {
      const texts = await parts(state);
      await rewrite(state, [...texts, texts[8]?.replace(/^index .*$/m, 'index 9') ?? '']);
    },
    code: 'no-verdict',
    index: 9,
    message: /Entry 9 and those after it wait for a signature/,
  },
  {
    what: 'an entry that is not canonical',
    change: async (state) =>
      rewrite(
        state,
        (await parts(state)).map((text, at) => (at === 3 ? text.replace('act ', 'act  ') : text)),
      ),
    code: 'malformed',
    index: 3,
    message: /^Entry 3 of the log is malformed/,
  },
  {
    what: 'a time that goes back',
    change: async (state) => {
      const texts = await parts(state);
      await rewrite(
        state,
        texts.map((text, at) => (at === 3 ? text.replace(/^time .*$/m, 'time 2020-01-01T00:00:00Z') : text)),
      );
      await rm(file(state, 'offsets'));
    },
    code: 'drifted',
    index: 3,
    message: /Entry 3 of the log is earlier than the one before it/,
  },
  {
    what: 'entries taken from the end',
    change: async (state) => rewrite(state, (await parts(state)).slice(0, 7)),
    code: 'drifted',
    index: 7,
    message: /Entry 7 of the log was taken away: 9 were recorded/,
  },
  {
    what: 'entries taken from the end, with their records',
    change: async (state) => {
      await rewrite(state, (await parts(state)).slice(0, 7));
      await rederive(state);
    },
    code: 'rolled-back',
    index: 7,
    message: /checkpoint is over 9 entries, and the log has 7/,
  },
  {
    what: 'an entry that was changed, with every record of it',
    change: async (state) => {
      await rewrite(
        state,
        (await parts(state)).map((text, at) => (at === 3 ? changed(text) : text)),
      );
      await rederive(state);
    },
    code: 'drifted',
    index: 0,
    message: /Among entries 0 to 8/,
  },
  {
    what: 'the same, of which the kept checkpoint says that it is among the first five',
    change: async (state) => {
      await rewrite(
        state,
        (await parts(state)).map((text, at) => (at === 3 ? changed(text) : text)),
      );
      await rederive(state);
    },
    code: 'drifted',
    index: 0,
    since: true,
    message: /Among entries 0 to 4/,
  },
  {
    what: 'the same later, of which it says that it is among the others',
    change: async (state) => {
      await rewrite(
        state,
        (await parts(state)).map((text, at) => (at === 6 ? changed(text) : text)),
      );
      await rederive(state);
    },
    code: 'drifted',
    index: 5,
    since: true,
    message: /Among entries 5 to 8/,
  },
  {
    what: 'a stored hash that was changed',
    change: (state) => flip(file(state, 'hashes'), 32 * 4),
    code: 'drifted',
    index: 3,
  },
  {
    what: 'an offset that was changed',
    change: (state) => flip(file(state, 'offsets'), 8 * 3 + 7),
    code: 'drifted',
    index: 3,
  },
];

async function copyOf(from: string): Promise<string> {
  const state = await newState(folder);
  await cp(from, state, { recursive: true });
  return state;
}

const audit = (state: string, since?: string, certificates = key.certificates) =>
  auditLog(state, certificates, policy, since);

describe('an audit', () => {
  it('verifies a log that is whole, and that it continues a kept checkpoint', async () => {
    const { size, since } = await audit(good, kept);
    assert.deepEqual([size, since?.size], [9, 5]);
    assert.equal((await audit(good)).since, undefined);
    assert.equal((await audit(good, file(good, 'checkpoint'))).since?.size, 9);
  });

  for (const { what, change, code, index, message = /./, since } of TAMPERINGS) {
    it(`finds ${what}`, async () => {
      const state = await copyOf(good);
      await change(state);
      await assert.rejects(audit(state, since ? kept : undefined), (error) => {
        refused(code, message)(error);
        assert.equal((error as Refusal).facts.index, index);
        return true;
      });
    });
  }

  it('finds a list of seals that was changed, or is gone', async () => {
    const [list = ''] = await readdir(file(good, 'seals'));
    for (const left of [undefined, 'x']) {
      const state = await copyOf(good);
      await rm(join(file(state, 'seals'), list));
      if (left !== undefined) await writeFile(join(file(state, 'seals'), list), left);
      await assert.rejects(audit(state), refused('drifted', /list of seals that entry 0/));
    }
  });

  it('finds a log that was replaced by an older one of its own, with a kept checkpoint alone', async () => {
    const newest = file(good, 'checkpoint');
    assert.equal((await audit(older)).size, 5);
    await assert.rejects(
      audit(older, newest),
      refused('rolled-back', /once had 9 entries and now has 5: entry 5/),
    );
  });

  it('finds a log that its key holder wrote anew, with a kept checkpoint alone', async () => {
    const state = await copyOf(good);
    await rewrite(
      state,
      (await parts(state)).map((text, at) => (at === 3 ? changed(text) : text)),
    );
    await rederive(state);
    await rm(file(state, 'checkpoint'));
    await record(state, 1, key, {}, 9);
    assert.equal((await audit(state)).size, 10);
    await assert.rejects(audit(state, kept), refused('drifted', /Among entries 0 to 4/));
  });

  it('finds another log in its place, with a kept checkpoint alone', async () => {
    const state = await newState(folder);
    await record(state, 9, key);
    assert.equal((await audit(state)).size, 9);
    await assert.rejects(audit(state, kept), refused('mixed-releases', /kept is of log/));
  });

  it('finds a checkpoint that was swapped', async () => {
    const older5 = await copyOf(good);
    await cp(kept, file(older5, 'checkpoint'));
    await assert.rejects(audit(older5), refused('no-verdict', /Entry 5 and those after it/));

    const { checkpoint } = await audit(good);
    const bytes = encodeCheckpoint(checkpoint);
    const theirs = await copyOf(good);
    await writeFile(file(theirs, 'checkpoint'), encodeCheckpointFile(bytes, await stranger.sign(bytes)));
    await assert.rejects(audit(theirs), refused('untrusted-signer'));

    const lying = await copyOf(good);
    const lie = encodeCheckpoint({ ...checkpoint, root: 'f'.repeat(64) });
    await writeFile(file(lying, 'checkpoint'), encodeCheckpointFile(lie, await key.sign(bytes)));
    await assert.rejects(audit(lying), refused('bad-signature'));
  });

  it('counts what waits for a signature, where that is allowed, and nothing else', async () => {
    const allowing = (state: string, since?: string) =>
      auditLog(state, key.certificates, policy, since, true);
    const state = await copyOf(good);
    await record(state, 2, undefined, {}, 9);
    const { size, waiting, checkpoint } = await allowing(state);
    assert.deepEqual([size, waiting, checkpoint.size], [11, 2, 9]);
    assert.equal((await allowing(good)).waiting, 0);
    // An older checkpoint in its place makes signed entries look like waiting ones; who kept the newer one sees it.
    await cp(kept, file(state, 'checkpoint'));
    assert.equal((await allowing(state)).waiting, 6);
    await rewrite(
      state,
      (await parts(state)).map((text, at) => (at === 7 ? text.replace('counter 8', 'counter 7') : text)),
    );
    await rederive(state);
    await cp(kept, file(state, 'checkpoint'));
    assert.equal((await allowing(state)).waiting, 6);
    await assert.rejects(allowing(state, file(good, 'checkpoint')), refused('drifted', /entries 0 to 8/i));
    const none = await newState(folder);
    await record(none, 2);
    await assert.rejects(allowing(none), refused('no-verdict', /no checkpoint yet/));
  });

  it('an entry that is being written is no tampering', async () => {
    const state = await copyOf(good);
    await writeFile(file(state, 'entries'), `${(await parts(state)).join('')}bootseal-log-en`);
    const { size, torn } = await audit(state);
    assert.deepEqual([size, torn], [9, 15]);
  });

  it('there must be a log', async () => {
    await assert.rejects(audit(await newState(folder)), refused('absent', /no log/));
    await assert.rejects(audit(good, join(folder, 'nothing')), refused('absent'));
    await writeFile(join(folder, 'no-checkpoint'), 'bootseal-snapshot 1\n');
    await assert.rejects(audit(good, join(folder, 'no-checkpoint')), refused('malformed'));
  });
});
