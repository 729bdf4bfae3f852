import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { FolderWatch } from '../../src/operations/sentinel/folder-watch.ts';
import {
  type Fault,
  type Finding,
  type SentinelOptions,
  scrubStore,
  startSentinel,
} from '../../src/operations/sentinel.ts';
import { renewChannel } from '../../src/publish/channel.ts';
import { publish } from '../../src/publish/publish.ts';
import { resignStore } from '../../src/resigning/store.ts';
import { recordAct } from '../../src/store/log.ts';
import { readLogEntries } from '../../src/store/log-proof.ts';
import { readQuarantined } from '../../src/store/quarantine.ts';
import { objectPath } from '../../src/store/release-store.ts';
import { openState } from '../../src/store/state.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { KERNEL, ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';
import { addReleases, LATER } from '../resigning/stores.ts';
import { copyOf, sha256 } from '../store/states.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const anchors = join(keys, 'anchors');

async function sealed(version: string): Promise<string> {
  const tree = await sampleTree(join(folder, `tree-${version}`), keys);
  writeFileSync(join(tree, 'arch/version'), `${version}\n`);
  writeFileSync(join(tree, ROOTFS), Buffer.alloc(100_000, version));
  await sealFixture(tree, keys);
  return tree;
}

const ship = (tree: string, state: string) =>
  publish({ tree, channel: 'stable', state, anchors, now: NOW, snapshotKey: keys });
const ORIGINAL = join(folder, 'original');
await ship(await sealed('2026.11.01'), ORIGINAL);
await ship(await sealed('2026.11.02'), ORIGINAL);
const [OLD, NEW] = ['arch/2026.11.01', 'arch/2026.11.02'];
const SHARED = sha256(readFileSync(join(folder, 'tree-2026.11.02', KERNEL)));
const ROOT = sha256(readFileSync(join(folder, 'tree-2026.11.02', ROOTFS)));

let copies = 0;
const fresh = () => copyOf(ORIGINAL, join(folder, `state-${++copies}`));
const inRelease = (state: string, path: string, release = NEW) => join(state, 'releases', release, path);

/** Writes into a file as a fault would, its times as they were. */
function flip(path: string, at = 50_000): void {
  const { atime, mtime, mode } = statSync(path);
  chmodSync(path, 0o644);
  const bytes = readFileSync(path);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(path, bytes);
  chmodSync(path, mode);
  utimesSync(path, atime, mtime);
}

interface Watched {
  readonly findings: Finding[];
  readonly faults: Fault[];
  readonly notes: string[];
  /** Resolves when there are so many findings. */
  until(count: number): Promise<readonly Finding[]>;
  end(): Promise<void>;
}

async function watching(
  t: TestContext,
  state: string,
  more: Partial<SentinelOptions> = {},
): Promise<Watched> {
  const ending = new AbortController();
  const findings: Finding[] = [];
  const faults: Fault[] = [];
  const notes: string[] = [];
  const waiting = new Set<() => void>();
  const sentinel = await startSentinel({
    state,
    clock: () => NOW,
    signal: ending.signal,
    snapshotKey: keys,
    onFinding: (finding) => {
      findings.push(finding);
      for (const look of waiting) look();
    },
    onFault: (fault) => void faults.push(fault),
    onNote: (note) => void notes.push(note),
    ...more,
  });
  const end = async () => {
    ending.abort();
    await sentinel.ended;
  };
  t.after(end);
  await sentinel.ready;
  return {
    findings,
    faults,
    notes,
    end,
    until: (count) =>
      new Promise((resolve) => {
        const look = () => {
          if (findings.length < count) return;
          waiting.delete(look);
          resolve(findings);
        };
        waiting.add(look);
        look();
      }),
  };
}

async function once(state: string, now = NOW) {
  const findings: Finding[] = [];
  const faults: Fault[] = [];
  const round = await scrubStore({
    state,
    clock: () => now,
    snapshotKey: keys,
    onFinding: (finding) => void findings.push(finding),
    onFault: (fault) => void faults.push(fault),
  });
  return { round, findings, faults };
}

const told = (findings: readonly Finding[]) => findings.map(({ kind, path }) => `${kind} ${path}`).sort();

describe('a scrub', () => {
  it('of what the state was given finds nothing, and changes nothing', async () => {
    const state = fresh();
    const before = readdirSync(state, { recursive: true, encoding: 'utf8' }).sort();
    const { round, findings, faults } = await once(state);
    assert.deepEqual([findings, faults], [[], []]);
    const objects =
      readdirSync(join(state, 'objects/sha256'), { recursive: true }).length -
      readdirSync(join(state, 'objects/sha256')).length;
    assert.equal(round?.files, objects);
    assert.deepEqual(readdirSync(state, { recursive: true, encoding: 'utf8' }).sort(), before);
  });

  it('finds a byte that was changed in a file whose times are as they were, in every release that has it', async () => {
    const state = fresh();
    flip(objectPath(state, SHARED));
    const { findings } = await once(state);
    const object = `objects/sha256/${SHARED.slice(0, 2)}/${SHARED.slice(2)}`;
    assert.deepEqual(told(findings), [
      `changed ${object}`,
      `changed releases/${OLD}/${KERNEL}`,
      `changed releases/${NEW}/${KERNEL}`,
    ]);
    for (const { movedTo, kind, release } of findings) {
      assert.equal(kind, 'changed');
      const [place = '', reason = ''] = [
        join(state, movedTo ?? ''),
        join(state, movedTo ?? '', '../reason.json'),
      ];
      assert.notEqual(sha256(readFileSync(place)), SHARED);
      const { path, expected, found } = JSON.parse(readFileSync(reason, 'utf8'));
      assert.deepEqual([expected, found], [SHARED, sha256(readFileSync(place))]);
      assert.ok(!existsSync(join(state, path)));
      if (release === undefined) continue;
      const mark = await readQuarantined(state, release);
      assert.deepEqual([mark?.held, mark?.code], [true, 'drifted']);
      // All else is where it was.
      assert.ok(existsSync(inRelease(state, ROOTFS, release)));
    }
    const acts: string[] = [];
    await readLogEntries(state, ({ entry }) => {
      if (entry.act === 'quarantine') acts.push(`${entry.release} ${entry.file?.sha256}`);
    });
    assert.deepEqual(acts.sort(), [`${OLD} ${SHARED}`, `${NEW} ${SHARED}`, `undefined ${SHARED}`]);
    // It stays so: told anew, and not on record twice.
    const again = await once(state);
    assert.deepEqual([...new Set(again.findings.map(({ kind }) => kind))], ['missing']);
    const after: unknown[] = [];
    await readLogEntries(state, ({ entry }) => void after.push(entry.act));
    assert.equal(after.filter((act) => act === 'quarantine').length, 3);
  });

  it('publishing it once more gives it back, and the mark goes', async () => {
    const state = fresh();
    flip(objectPath(state, ROOT));
    unlinkSync(inRelease(state, 'boot.ipxe.sig'));
    assert.equal((await once(state)).findings.length, 3);
    await ship(join(folder, 'tree-2026.11.02'), state);
    const { findings, round } = await once(state);
    assert.deepEqual([findings, round?.restored], [[], [NEW]]);
    assert.equal(await readQuarantined(state, NEW), undefined);
    execFileSync('diff', ['-r', join(ORIGINAL, 'releases'), join(state, 'releases')]);
  });

  for (const [what, spoil] of [
    ['has a byte changed', (path: string) => flip(path, 1)],
    ['is gone', unlinkSync],
  ] as const)
    it(`of a release whose manifest ${what} takes away none of its payload`, async () => {
      const state = fresh();
      const manifest = inRelease(state, 'release.manifest');
      const object = objectPath(state, sha256(readFileSync(manifest)));
      const kind = what === 'is gone' ? 'missing' : 'changed';
      spoil(object);
      if (what === 'is gone') spoil(manifest);
      else
        await assert.rejects(ship(join(folder, 'tree-2026.11.02'), state), {
          code: 'drifted',
          message:
            /its release\.manifest was changed in the store; "bootseal state watch --once" puts that away/,
        });
      for (const round of [1, 2]) {
        assert.deepEqual(
          told((await once(state)).findings),
          [object.slice(state.length + 1), `releases/${NEW}/release.manifest`].map(
            (path) => `${round === 1 ? kind : 'missing'} ${path}`,
          ),
        );
        assert.ok(existsSync(inRelease(state, ROOTFS)));
      }
      assert.equal((await readQuarantined(state, NEW))?.held, true);
      await ship(join(folder, 'tree-2026.11.02'), state);
      assert.deepEqual((await once(state)).round?.restored, [NEW]);
      execFileSync('diff', ['-r', join(ORIGINAL, 'releases'), join(state, 'releases')]);
    });

  it('finds what is missing, what is more, and what is no file', async () => {
    const state = fresh();
    unlinkSync(inRelease(state, 'grub.cfg'));
    writeFileSync(inRelease(state, 'arch/boot/extra'), 'x');
    writeFileSync(inRelease(state, '.hidden'), 'x');
    execFileSync('mkfifo', [inRelease(state, 'fifo')]);
    unlinkSync(inRelease(state, ROOTFS));
    symlinkSync('/dev/zero', inRelease(state, ROOTFS));
    writeFileSync(join(state, 'objects/sha256/note'), 'x');
    const { findings, faults } = await once(state);
    assert.deepEqual(faults, []);
    assert.deepEqual(told(findings), [
      `changed releases/${NEW}/${ROOTFS}`,
      'extra objects/sha256/note',
      `extra releases/${NEW}/.hidden`,
      `extra releases/${NEW}/arch/boot/extra`,
      `extra releases/${NEW}/fifo`,
      `missing releases/${NEW}/grub.cfg`,
    ]);
    assert.ok(!existsSync(inRelease(state, '.hidden')));
    assert.equal(spawnSync('test', ['-L', inRelease(state, ROOTFS)]).status, 1);
    assert.equal(await readQuarantined(state, OLD), undefined);
  });

  it('tells of each file by its own name, though another one begins like it', async () => {
    const state = fresh();
    for (const name of ['boot.ipxe.sig', 'boot.ipxe']) {
      unlinkSync(inRelease(state, name));
      await once(state);
    }
    const logged: (string | undefined)[] = [];
    await readLogEntries(state, ({ entry }) => {
      if (entry.act === 'quarantine') logged.push(entry.file?.path);
    });
    assert.deepEqual(logged, ['boot.ipxe.sig', 'boot.ipxe']);
    assert.match((await readQuarantined(state, NEW))?.message ?? '', / boot\.ipxe of /);
  });

  it('puts away the rest where one file cannot be, and watches the rest where one folder cannot be', async () => {
    const state = fresh();
    for (const name of ['aaa', 'evil']) writeFileSync(inRelease(state, name), name);
    const id = sha256(Buffer.from(`releases/${NEW}/aaa\n${NOW}\n`));
    mkdirSync(join(state, 'quarantine/files', `drift-${id}`, 'content/taken'), { recursive: true });
    const { findings, faults } = await once(state);
    assert.deepEqual(
      [findings.map(({ path }) => path), existsSync(inRelease(state, 'evil'))],
      [[`releases/${NEW}/evil`], false],
    );
    assert.equal(faults[0]?.path, `releases/${NEW}/aaa`);
    // Deeper than any path may be long.
    const deep = inRelease(state, 'deep');
    mkdirSync(deep);
    const here = process.cwd();
    process.chdir(deep);
    for (let depth = 0; depth < 20; depth += 1) {
      mkdirSync('d'.repeat(250));
      process.chdir('d'.repeat(250));
    }
    process.chdir(here);
    const watch = new FolderWatch(state, () => {}, assert.fail);
    try {
      await watch.cover(['releases']);
    } finally {
      watch.end();
      execFileSync('rm', ['-rf', deep]);
    }
  });

  it('finds a log and a channel that were changed, and moves none of them', async () => {
    const state = fresh();
    const entries = join(state, 'log/entries');
    writeFileSync(entries, readFileSync(entries, 'utf8').replace('serial 2026110200', 'serial 2026110201'));
    rmSync(join(state, 'channels/stable/1'), { recursive: true });
    rmSync(join(state, 'releases', NEW), { recursive: true });
    const { findings } = await once(state);
    assert.deepEqual(told(findings), ['changed channels/stable', 'changed log']);
    assert.ok(existsSync(entries));
  });

  it('of a release that was signed anew, withdrawn or half published finds nothing', async () => {
    const state = fresh();
    // As a crash between two steps leaves it: whole, and in no log.
    execFileSync('cp', ['-al', join(state, 'releases', NEW), join(state, 'releases/arch/2026.11.03')]);
    mkdirSync(join(state, 'releases/arch/.bootseal-0123456789abcdef.tmp'));
    await renewChannel({ channel: 'stable', state, now: NOW + 1000, snapshotKey: keys });
    assert.deepEqual((await once(state)).findings, []);
  });
});

describe('a watch', () => {
  it('tells of what is changed, missing and more, as soon as the kernel does', async (t) => {
    const state = fresh();
    const watched = await watching(t, state);
    flip(inRelease(state, ROOTFS));
    const changed = await watched.until(2);
    const object = `objects/sha256/${ROOT.slice(0, 2)}/${ROOT.slice(2)}`;
    assert.deepEqual(told(changed), [`changed ${object}`, `changed releases/${NEW}/${ROOTFS}`]);
    writeFileSync(inRelease(state, 'arch/extra'), 'x');
    assert.equal((await watched.until(3)).at(-1)?.path, `releases/${NEW}/arch/extra`);
    unlinkSync(inRelease(state, 'boot.ipxe', OLD));
    assert.deepEqual(told((await watched.until(4)).slice(3)), [`missing releases/${OLD}/boot.ipxe`]);
    // Another file under the same name, as an editor writes it.
    writeFileSync(join(folder, 'other'), 'other');
    renameSync(join(folder, 'other'), inRelease(state, 'grub.cfg', OLD));
    assert.deepEqual(told((await watched.until(5)).slice(4)), [`changed releases/${OLD}/grub.cfg`]);
    // A folder that was replaced is watched where it is now.
    renameSync(inRelease(state, 'arch', OLD), join(folder, 'arch-aside'));
    const gone = readdirSync(join(folder, 'arch-aside'), { recursive: true, withFileTypes: true }).filter(
      (one) => one.isFile(),
    ).length;
    await watched.until(5 + gone);
    renameSync(join(folder, 'arch-aside'), inRelease(state, 'arch', OLD));
    writeFileSync(inRelease(state, 'arch/more', OLD), 'x');
    assert.equal((await watched.until(6 + gone)).at(-1)?.path, `releases/${OLD}/arch/more`);
    await watched.end();
    assert.deepEqual(watched.faults, []);
  });

  it('says nothing of 20 publishings, renewals and what is read meanwhile', async (t) => {
    const state = join(folder, 'busy');
    const tree = join(folder, 'tree-2026.11.02');
    await ship(tree, state);
    const watched = await watching(t, state, { rate: 1_000_000 });
    for (let number = 0; number < 5; number += 1) {
      const version = `2026.12.${String(number + 1).padStart(2, '0')}`;
      const next = await sealed(version);
      for (const channel of ['stable', 'testing', 'third'])
        await publish({ tree: next, channel, state, anchors, now: NOW, snapshotKey: keys });
      await renewChannel({ channel: 'stable', state, now: NOW + number * 1000, snapshotKey: keys });
    }
    // As publishing.md has it.
    execFileSync('rm', ['-r', join(state, 'releases/arch/2026.12.01')]);
    // What is wrong is found after all that as before.
    writeFileSync(inRelease(state, 'extra'), 'x');
    assert.deepEqual(told(await watched.until(1)), [`extra releases/${NEW}/extra`]);
    await watched.end();
    assert.deepEqual([watched.findings.length, watched.faults], [1, []]);
    assert.deepEqual((await once(state)).findings, []);
  });

  it('waits for whoever has the state, and then acts', async (t) => {
    const state = fresh();
    const watched = await watching(t, state);
    const held = await openState(state);
    writeFileSync(inRelease(state, 'extra'), 'x');
    await new Promise((resolve) => setTimeout(resolve, 500));
    assert.deepEqual([watched.findings.length, existsSync(inRelease(state, 'extra'))], [0, true]);
    await held.release();
    await watched.until(1);
    assert.ok(!existsSync(inRelease(state, 'extra')));
  });

  it('stands a storm of changes', async (t) => {
    const state = fresh();
    const watched = await watching(t, state);
    // A folder that is nobody's goes as one; in one of the release's own each file is looked at.
    const many = inRelease(state, 'arch/many');
    mkdirSync(many);
    for (let number = 0; number < 2000; number += 1) writeFileSync(join(many, String(number)), 'x');
    const own = inRelease(state, 'arch/boot');
    for (let number = 0; number < 120; number += 1) writeFileSync(join(own, `x${number}`), 'x');
    await watched.until(121);
    while (existsSync(many)) await watched.until(watched.findings.length + 1);
    assert.deepEqual(readdirSync(own), ['x86_64']);
    const files = new Set(told(watched.findings).filter((one) => one.includes('arch/boot/x')));
    assert.equal(files.size, 120);
    let entries = 0;
    await readLogEntries(state, ({ entry }) => {
      if (entry.act === 'quarantine') entries += 1;
    });
    assert.ok(entries < 60, `${entries} entries`);
  });

  it('goes on where it was: what was read once is not read again in that round', async (t) => {
    const state = fresh();
    const progress = join(state, 'scrub.json');
    const first = await watching(t, state, { rate: 20_000 });
    while (!existsSync(progress)) await new Promise((resolve) => setTimeout(resolve, 20));
    await first.end();
    const { at } = JSON.parse(readFileSync(progress, 'utf8'));
    const objects = readdirSync(join(state, 'objects/sha256'), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.length > 60)
      .sort();
    assert.ok(at < `objects/sha256/${objects.at(-1)}`);
    flip(join(state, 'objects/sha256', objects[0] ?? ''), 1);
    let onDone: (note: string) => void = () => {};
    const done = new Promise<string>((resolve) => {
      onDone = resolve;
    });
    const second = await watching(t, state, { onNote: (note) => onDone(note) });
    assert.match(await done, new RegExp(`^Everything was read: ${objects.length} files, `));
    await second.end();
    assert.deepEqual([second.findings, existsSync(progress)], [[], false]);
    assert.ok((await once(state)).findings.length > 0);
  });
});

it('what was signed anew is what the state was given, before and after, and where that was cut short', async (t) => {
  const state = join(folder, 'resigned');
  await addReleases(state, join(folder, 'resign-trees'), keys, [
    { release: 'lab/2026.11.01', named: true },
    { release: 'plain/2026.11.01' },
  ]);
  const watched = await watching(t, state, { clock: () => LATER });
  assert.deepEqual((await resignStore({ state, keys, now: LATER, rsaBits: 2048 })).stopped, undefined);
  writeFileSync(join(state, 'releases/plain/2026.11.01/extra'), 'x');
  assert.deepEqual(told(await watched.until(1)), ['extra releases/plain/2026.11.01/extra']);
  await watched.end();
  assert.deepEqual((await once(state, LATER)).findings, []);
  // An entry is written before what it tells of is done, and a crash may come between.
  const release = 'lab/2026.11.01';
  const seals = new Map([['release.manifest', Buffer.from('x')]]);
  const held = await openState(state);
  await recordAct(state, { time: LATER, act: 'resign', release, manifest: sha256('x'), seals });
  await held.release();
  assert.deepEqual((await once(state, LATER)).findings, []);
});
