import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { chmod, cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { RefusalCode } from '../../src/errors/refusal.ts';
import { encodeTarHeader } from '../../src/formats/archive/ustar.ts';
import { encodeBundleIndex } from '../../src/formats/records/bundle-index.ts';
import { exportBundle } from '../../src/mirrors/export.ts';
import { type ImportOptions, importBundle } from '../../src/mirrors/import.ts';
import { applyMachines, renewChannel } from '../../src/publish/channel.ts';
import { publish } from '../../src/publish/publish.ts';
import { withdrawRelease } from '../../src/publish/withdraw.ts';
import { resignStore } from '../../src/resigning/store.ts';
import { readScriptKeys } from '../../src/signing/keys/script-keys.ts';
import { readChannel } from '../../src/store/channels.ts';
import { readLogEntries } from '../../src/store/log-proof.ts';
import { storedReleases } from '../../src/store/quarantine.ts';
import { objectPath } from '../../src/store/release-store.ts';
import { misused } from '../fixtures/failed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';
import { copyOf } from '../store/states.ts';
import { refused } from '../trust/judge.ts';
import { bundleOf, bytesOf, inPieces, type Member, partsOf, sha256, tarOf } from './bundles.ts';

const DAY = 86_400_000;
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const anchors = join(keys, 'anchors');
const snapshotKey = keys;

async function release(version: string): Promise<string> {
  const tree = await sampleTree(join(folder, `tree-${version}`), keys);
  await writeFile(join(tree, 'arch/version'), `${version}\n`);
  await writeFile(join(tree, ROOTFS), Buffer.alloc(100_000, version));
  await sealFixture(tree, keys);
  return tree;
}

const UPSTREAM = join(folder, 'upstream');
const ship = (tree: string, state = UPSTREAM) =>
  publish({ tree, channel: 'stable', state, anchors, snapshotKey, now: NOW });
await ship(await release('2026.11.01'));
const OLD = await bytesOf((await exportBundle({ state: UPSTREAM, what: 'stable', now: NOW })).pieces());
await ship(await release('2026.11.02'));
const BUNDLE = await bytesOf((await exportBundle({ state: UPSTREAM, what: 'stable', now: NOW })).pieces());
const ROOTFS_SHA = sha256(readFileSync(join(folder, 'tree-2026.11.02', ROOTFS)));

let states = 0;
const newState = () => join(folder, `state-${++states}`);
const take = (bundle: Uint8Array, state = newState(), more: Partial<ImportOptions> = {}) =>
  importBundle({ bundle: inPieces(bundle), state, anchors, now: NOW, ...more });

/** Everything in a state but its log, which says of each attempt that it was refused. */
const seen = (state: string): string[] =>
  existsSync(state)
    ? readdirSync(state, { recursive: true, encoding: 'utf8' })
        .filter((name) => !/^(log|private|lock)/.test(name))
        .sort()
    : [];

/** Refused, and nothing is left of it, in a state that took in another bundle before. */
async function refusedWhole(bundle: Uint8Array, code: RefusalCode, fact = /./): Promise<void> {
  const state = copyOf(await taken(), newState());
  const before = seen(state);
  await assert.rejects(take(bundle, state), refused(code, fact));
  assert.deepEqual(seen(state), before);
  assert.deepEqual(unfinished(state), []);
}

const unfinished = (state: string) => readdirSync(state).filter((name) => name.startsWith('.'));

let first: Promise<string> | undefined;
/** A state that took in the older bundle. */
function taken(): Promise<string> {
  first ??= (async () => {
    const state = newState();
    await take(OLD, state);
    return state;
  })();
  return first;
}

describe('export', () => {
  it('makes equal bytes of equal states, as long as it says', async () => {
    const again = await exportBundle({ state: UPSTREAM, what: 'stable', now: NOW + DAY });
    assert.equal(again.size, BUNDLE.length);
    assert.equal(sha256(await bytesOf(again.pieces())), sha256(BUNDLE));
    const copy = copyOf(UPSTREAM, newState());
    const copied = await exportBundle({ state: copy, what: 'stable', now: NOW });
    assert.equal(sha256(await bytesOf(copied.pieces())), sha256(BUNDLE));
  });

  it('tar lists and unpacks it, and sha256sum agrees with the index', () => {
    const path = join(folder, 'a.bundle');
    writeFileSync(path, BUNDLE);
    const listed = execFileSync('tar', ['tf', path], { encoding: 'utf8' }).trim().split('\n');
    const { index } = partsOf(BUNDLE);
    assert.deepEqual(listed, ['bootseal-bundle', ...index.members.map(({ name }) => name)]);
    const out = join(folder, 'unpacked');
    execFileSync('mkdir', [out]);
    execFileSync('tar', ['xf', path, '-C', out]);
    const sums = index.members.map(({ name, sha256: digest }) => `${digest}  ${name}\n`).join('');
    execFileSync('sha256sum', ['--check', '--strict', '--quiet'], { cwd: out, input: sums });
    assert.ok(listed.includes(`objects/${ROOTFS_SHA}`));
  });

  it('refuses what has drifted, and the pieces end before they are whole', async () => {
    for (const change of ['content', 'size', 'gone']) {
      const state = copyOf(UPSTREAM, newState());
      const object = objectPath(state, ROOTFS_SHA);
      await chmod(object, 0o644);
      const bytes = readFileSync(object);
      bytes[70_000] = 0;
      if (change === 'gone') rmSync(object);
      else writeFileSync(object, change === 'size' ? bytes.subarray(1) : bytes);
      await assert.rejects(async () => {
        const { pieces, size } = await exportBundle({ state, what: 'stable', now: NOW });
        let octets = 0;
        try {
          for await (const piece of pieces()) octets += piece.length;
        } finally {
          assert.ok(octets < size);
        }
      }, refused('drifted'));
    }
  });

  it('refuses a record that was changed among the objects', async () => {
    const state = copyOf(UPSTREAM, newState());
    const manifest = readFileSync(join(state, 'releases/arch/2026.11.02/release.manifest'));
    const object = objectPath(state, sha256(manifest));
    await chmod(object, 0o644);
    writeFileSync(object, Buffer.concat([manifest, Buffer.from('x')]));
    await assert.rejects(
      exportBundle({ state, what: 'stable', now: NOW }),
      refused('drifted', /release\.manifest/),
    );
  });

  it('carries nothing that would be refused on arrival', async () => {
    await assert.rejects(
      exportBundle({ state: UPSTREAM, what: 'stable', now: NOW + 8 * DAY }),
      refused('stale', /expired/),
    );
    const state = copyOf(UPSTREAM, newState());
    await withdrawRelease({
      state,
      release: 'arch/2026.11.02',
      reason: 'It is bad.',
      now: NOW,
      cutRunning: false,
      snapshotKey,
    });
    await assert.rejects(exportBundle({ state, what: 'stable', now: NOW }), refused('withdrawn'));
    for (const what of ['testing', 'arch/2026.11.09', '../x'])
      await assert.rejects(exportBundle({ state: UPSTREAM, what, now: NOW }), misused(/./), what);
  });
});

describe('import', () => {
  it('is the channel there, and its releases, byte for byte', async () => {
    const state = newState();
    const result = await take(BUNDLE, state);
    assert.deepEqual(
      [result.channel, result.moved, result.refusal, result.rows.map(({ outcome }) => outcome)],
      ['stable', true, undefined, ['stored']],
    );
    assert.deepEqual(await storedReleases(state), ['arch/2026.11.02']);
    execFileSync('diff', ['-r', `${UPSTREAM}/releases/arch/2026.11.02`, `${state}/releases/arch/2026.11.02`]);
    const [there, here] = [await readChannel(UPSTREAM, 'stable'), await readChannel(state, 'stable')];
    assert.deepEqual(here, there);
    assert.equal(result.logged.get('arch/2026.11.02')?.time, NOW);
    assert.deepEqual(unfinished(state), []);
    // Once more changes nothing.
    const again = await take(BUNDLE, state);
    assert.deepEqual([again.moved, again.rows.map(({ outcome }) => outcome)], [false, ['kept']]);
  });

  it('of the next bundle moves the channel on, and what came in goes out again', async () => {
    const state = copyOf(await taken(), newState());
    const result = await take(BUNDLE, state);
    assert.equal(result.moved, true);
    assert.deepEqual(await storedReleases(state), ['arch/2026.11.01', 'arch/2026.11.02']);
    const onward = await bytesOf((await exportBundle({ state, what: 'stable', now: NOW })).pieces());
    const third = newState();
    const far = await take(onward, third);
    assert.deepEqual([far.refusal, far.logged.size], [undefined, 1]);
    execFileSync('diff', ['-r', `${UPSTREAM}/releases/arch/2026.11.02`, `${third}/releases/arch/2026.11.02`]);
  });

  it('takes a release alone, also into a state with a channel of its own', async () => {
    const alone = await exportBundle({ state: UPSTREAM, what: 'arch/2026.11.01', now: NOW });
    const bytes = await bytesOf(alone.pieces());
    const own = newState();
    await publish({
      tree: join(folder, 'tree-2026.11.02'),
      channel: 'own',
      state: own,
      anchors,
      now: NOW,
      rsaBits: 2048,
    });
    for (const state of [newState(), own]) {
      const { channel, snapshot, rows } = await take(bytes, state);
      assert.deepEqual([channel, snapshot, rows.length], [undefined, undefined, 1]);
      assert.ok((await storedReleases(state)).includes('arch/2026.11.01'));
    }
    await assert.rejects(take(BUNDLE, own), misused(/moves its channels by a key of its own/));
  });

  it('goes no step back', async () => {
    const state = copyOf(await taken(), newState());
    await take(BUNDLE, state);
    await assert.rejects(take(OLD, state), refused('rolled-back', /2 was seen before/));
    assert.equal((await readChannel(state, 'stable'))?.snapshot.counter, 2);
    const acts: (string | undefined)[] = [];
    await readLogEntries(state, ({ entry }) => void acts.push(entry.refusal?.code));
    assert.equal(acts.at(-1), 'rolled-back');
    await assert.rejects(take(BUNDLE, newState(), { now: NOW + 8 * DAY }), refused('stale'));
  });

  it('of a release alone does not undo that it was signed anew, nor what a channel names', async () => {
    const alone = (state: string, now: number) =>
      exportBundle({ state, what: 'arch/2026.11.02', now }).then(({ pieces }) => bytesOf(pieces()));
    const old = await alone(UPSTREAM, NOW);
    const state = copyOf(UPSTREAM, newState());
    const now = NOW + 2 * DAY;
    const manifest = () => readFileSync(join(state, 'releases/arch/2026.11.02/release.manifest'), 'utf8');
    const before = manifest();
    await resignStore({ state, keys, now, snapshotKey, rsaBits: 2048 });
    const after = manifest();
    assert.notEqual(after, before);
    await assert.rejects(take(old, state, { now }), refused('rolled-back', /was signed anew/));
    assert.equal(manifest(), after);
    // Newer records, too, are for the channel that names the release to bring.
    const named = copyOf(UPSTREAM, newState());
    await assert.rejects(
      take(await alone(state, now), named, { now }),
      refused('mixed-releases', /stable names/),
    );
    assert.equal(readFileSync(join(named, 'releases/arch/2026.11.02/release.manifest'), 'utf8'), before);
  });

  it('by other anchors is refused before anything is written', async () => {
    const stranger = await makeKeys(join(folder, 'stranger'), { site: 'other' });
    const state = newState();
    await assert.rejects(
      take(BUNDLE, state, {
        anchors: join(stranger, 'anchors'),
        snapshotCertificate: join(anchors, 'snapshot.crt'),
      }),
      refused('untrusted-signer'),
    );
    await assert.rejects(
      take(BUNDLE, state, { anchors: join(stranger, 'anchors') }),
      refused('untrusted-signer'),
    );
    assert.deepEqual(seen(state), []);
  });

  it('of a file takes a regular one alone', async () => {
    const path = join(folder, 'b.bundle');
    writeFileSync(path, BUNDLE);
    const state = newState();
    assert.equal((await importBundle({ bundle: path, state, anchors, now: NOW })).moved, true);
    const fifo = join(folder, 'fifo');
    execFileSync('mkfifo', [fifo]);
    for (const [bundle, code] of [
      [fifo, 'unsafe-path'],
      ['/dev/zero', 'unsafe-path'],
      [folder, 'unsafe-path'],
      [join(folder, 'none'), 'absent'],
    ] as const)
      await assert.rejects(
        importBundle({ bundle, state: newState(), anchors, now: NOW }),
        refused(code),
        bundle,
      );
  });
});

const { index, members } = partsOf(BUNDLE);
const changed = (name: string, change: (bytes: Buffer) => Uint8Array): Member[] =>
  members.map((member) =>
    member.name === name ? { name, bytes: change(Buffer.from(member.bytes)) } : member,
  );
const flip = (at: number) => (bytes: Buffer) => {
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  return bytes;
};
const indexBytes = encodeBundleIndex(index);
const named = (fits: RegExp) => members.find(({ name }) => fits.test(name)) as Member;
const recordOf = (path: string) => index.releases[0]?.records.get(path) ?? '';

describe('a bundle that somebody changed', () => {
  it('is put together as it was', () => {
    assert.equal(sha256(bundleOf(index, members)), sha256(BUNDLE));
  });

  it('is refused where it is cut, wherever that is', async () => {
    const ends = new Set([
      0,
      1,
      511,
      512,
      700,
      512 + indexBytes.length,
      BUNDLE.length - 1,
      BUNDLE.length - 512,
      BUNDLE.length - 1024,
    ]);
    // Behind each header, and in the middle of each content.
    let at = 0;
    for (const { size } of [{ size: indexBytes.length }, ...index.members]) {
      ends.add(at + 512).add(at + 512 + (size >> 1));
      at += 512 + size + ((512 - (size % 512)) % 512);
    }
    const state = copyOf(await taken(), newState());
    const before = seen(state);
    for (const end of ends)
      await assert.rejects(
        take(BUNDLE.subarray(0, end), state),
        refused('malformed', /ends in the middle/),
        `${end}`,
      );
    assert.deepEqual(seen(state), before);
    assert.deepEqual(unfinished(state), []);
  });

  it('is refused with anything behind its end', async () => {
    for (const more of [Buffer.alloc(1), Buffer.alloc(512), Buffer.from('x'), BUNDLE])
      await refusedWhole(Buffer.concat([BUNDLE, more]), 'malformed', /goes on after its end/);
    const longer = tarOf([
      { name: 'bootseal-bundle', bytes: indexBytes },
      ...members,
      { name: 'more', bytes: Buffer.from('x') },
    ]);
    await refusedWhole(longer, 'malformed', /goes on after all that its index names/);
  });

  it('is refused with one byte changed in each member, whether its index knows or not', async () => {
    const state = copyOf(await taken(), newState());
    const before = seen(state);
    let at = 512 + indexBytes.length + ((512 - (indexBytes.length % 512)) % 512);
    for (const { name, size } of index.members) {
      const bytes = Buffer.from(BUNDLE);
      flip(at + 512 + (size >> 1))(bytes);
      await assert.rejects(take(bytes, state), refused('bad-signature', /changed on its way/), name);
      at += 512 + size + ((512 - (size % 512)) % 512);
    }
    for (const path of [
      'channel/snapshot',
      'channel/snapshot.cms.sig',
      named(/log-proof/).name,
      named(/provenance/).name,
    ])
      await assert.rejects(
        take(bundleOf(index, changed(path, flip(40))), state),
        (error: Error) => error.name === 'Refusal',
        path,
      );
    assert.deepEqual(seen(state), before);
  });

  it('is refused where a record or the payload is another that its index knows of', async () => {
    const swap = (from: string, bytes: Uint8Array, kind: string): Buffer => {
      const to = sha256(bytes);
      const swapped = members.map((member) =>
        member.name === `${kind}/${from}` ? { name: `${kind}/${to}`, bytes } : member,
      );
      const order = [...swapped].sort(
        (a, b) => orderOf(a.name) - orderOf(b.name) || (a.name < b.name ? -1 : 1),
      );
      const records = new Map(
        [...(index.releases[0]?.records ?? [])].map(([path, digest]) => [
          path,
          digest === from ? to : digest,
        ]),
      );
      return bundleOf({ ...index, releases: [{ release: 'arch/2026.11.02', records }] }, order);
    };
    const orderOf = (name: string) =>
      ['channel', 'releases', 'scripts', 'records', 'objects'].indexOf(name.split('/')[0] ?? '');
    for (const path of ['release.manifest', 'boot.ipxe', 'grub.cfg', 'release.manifest.sig']) {
      const from = recordOf(path);
      const bytes = Buffer.from(named(new RegExp(from)).bytes);
      await assert.rejects(
        take(swap(from, flip(bytes.length - 3)(bytes), 'records')),
        (error: Error) => error.name === 'Refusal',
        path,
      );
    }
    // A seal of the payload is judged with it, after everything was read.
    const sealOf = recordOf(`${ROOTFS}.sig`);
    const bytes = Buffer.from(named(new RegExp(sealOf)).bytes);
    const state = newState();
    const result = await take(swap(sealOf, flip(100)(bytes), 'records'), state).catch(
      (error: Error) => error,
    );
    assert.ok(result instanceof Error || result.refusal !== undefined);
    assert.deepEqual(await storedReleases(state), []);
    const payload = Buffer.from(named(new RegExp(ROOTFS_SHA)).bytes);
    await refusedWhole(swap(ROOTFS_SHA, flip(5)(payload), 'objects'), 'mixed-releases', /belongs to none/);
  });

  it('is refused where something is missing, or more is there than was listed', async () => {
    const without = (fits: RegExp) =>
      bundleOf(
        index,
        members.filter(({ name }) => !fits.test(name)),
      );
    await refusedWhole(without(/^channel\/snapshot$/), 'absent');
    await refusedWhole(without(new RegExp(recordOf('boot.ipxe'))), 'absent');
    await refusedWhole(without(new RegExp(ROOTFS_SHA)), 'absent');
    const extra = Buffer.from('something');
    const more = [...members, { name: `objects/${sha256(extra)}`, bytes: extra }].sort((a, b) =>
      a.name.startsWith('objects/') && b.name.startsWith('objects/') ? (a.name < b.name ? -1 : 1) : 0,
    );
    await refusedWhole(bundleOf(index, more), 'mixed-releases', /belongs to none/);
    // Without its proof it is what a mirror has.
    const { logged, refusal } = await take(without(/log-proof$|provenance/));
    assert.deepEqual([logged.size, refusal], [0, undefined]);
  });

  it('is refused by what it says of sizes, before anything is read', async () => {
    for (const [size, code] of [
      [10_000_000_000_000, 'too-large'],
      [100_001, 'too-large'],
      [99_999, 'too-large'],
    ] as const) {
      const lying = {
        ...index,
        members: index.members.map((member) => (member.sha256 === ROOTFS_SHA ? { ...member, size } : member)),
      };
      const bytes = encodeBundleIndex(lying);
      const head = tarOf([
        { name: 'bootseal-bundle', bytes },
        ...members.filter(({ name }) => !name.startsWith('objects/')),
      ]);
      // Nothing behind the records is ever asked for.
      await refusedWhole(
        head.subarray(0, head.length - 1024),
        code,
        /the manifest that lists it says 100000/,
      );
    }
  });

  it('is refused as an archive of another kind, another order, or of tricks', async () => {
    const [head, ...rest] = [{ name: 'bootseal-bundle', bytes: indexBytes }, ...members] as [
      Member,
      ...Member[],
    ];
    await refusedWhole(tarOf(rest), 'malformed', /begins with/);
    await refusedWhole(tarOf([head, ...rest.toReversed()]), 'malformed', /where its index has/);
    await refusedWhole(
      tarOf([head, { name: '../../etc/cron.d/x', bytes: Buffer.from('x') }, ...rest]),
      'malformed',
      /where its index has/,
    );
    await refusedWhole(
      tarOf([head, ...rest.flatMap((member) => [member, member])]),
      'malformed',
      /where its index has/,
    );
    for (const garbage of [
      Buffer.alloc(0),
      Buffer.from('<html>'),
      Buffer.alloc(100_000, 'x'),
      Buffer.alloc(4096),
    ])
      await refusedWhole(garbage, 'malformed');
    for (const type of ['1', '2', '3', '5', '6', 'S']) {
      const link = Buffer.from(encodeTarHeader({ path: rest[0]?.name ?? '', size: 0 }));
      link.write(type, 156, 'latin1');
      const bytes = Buffer.concat([tarOf([head]).subarray(0, -1024), link, Buffer.alloc(1024)]);
      await refusedWhole(bytes, 'malformed', /where a file belongs/);
    }
    for (const format of ['gnu', 'pax', 'ustar', 'v7']) {
      const bytes = execFileSync('tar', ['cf', '-', `--format=${format}`, '-C', anchors, '.']);
      await refusedWhole(bytes, 'malformed');
    }
  });

  it('is refused as somebody else’s release under this name', async () => {
    // Sealed by the very keys, of the same name and another content.
    const tree = join(folder, 'tree-other');
    await cp(join(folder, 'tree-2026.11.02'), tree, { recursive: true });
    await writeFile(join(tree, ROOTFS), Buffer.alloc(100_000, 'other'));
    await sealFixture(tree, keys, { now: NOW + 1000 });
    const elsewhere = newState();
    await publish({ tree, channel: 'stable', state: elsewhere, anchors, snapshotKey, now: NOW + 2000 });
    await renewChannel({ channel: 'stable', state: elsewhere, snapshotKey, now: NOW + 3000 });
    await renewChannel({ channel: 'stable', state: elsewhere, snapshotKey, now: NOW + 4000 });
    const { pieces } = await exportBundle({ state: elsewhere, what: 'stable', now: NOW + 4000 });
    const state = newState();
    await take(BUNDLE, state);
    const before = seen(state);
    await assert.rejects(
      take(await bytesOf(pieces()), state, { now: NOW + 4000 }),
      refused('mixed-releases'),
    );
    assert.equal((await readChannel(state, 'stable'))?.snapshot.counter, 2);
    assert.deepEqual(seen(state), before);
  });
});

describe('a channel with scripts for machines', () => {
  it('is carried with all of them, and they are judged on arrival', async () => {
    const state = copyOf(UPSTREAM, newState());
    mkdirSync(join(state, 'machines'));
    writeFileSync(
      join(state, 'machines/all.toml'),
      '[[machine]]\nname = "b"\nmac = "52:54:00:00:00:02"\ngets = { boot = "local" }\n\n[[machine]]\nname = "c"\nmac = "52:54:00:00:00:03"\ngets = { release = "arch/2026.11.01" }\n',
    );
    const scriptKeys = await readScriptKeys(keys, NOW);
    await applyMachines({ state, channel: 'stable', anchors, snapshotKey, scriptKeys, now: NOW });
    const bundle = await bytesOf((await exportBundle({ state, what: 'stable', now: NOW })).pieces());
    const to = newState();
    const { refusal, snapshot } = await take(bundle, to);
    assert.equal(refusal, undefined);
    assert.ok(snapshot?.scripts);
    // One machine is told to boot a release that the channel does not name.
    assert.deepEqual(await storedReleases(to), ['arch/2026.11.01', 'arch/2026.11.02']);
    const scripts = (folder: string) => readdirSync(join(folder, 'scripts')).sort();
    assert.ok(scripts(to).length > 4);
    assert.deepEqual(scripts(to), scripts(state));
    execFileSync('diff', ['-r', join(state, 'scripts'), join(to, 'scripts')]);
    // A script, its seal, the batch: each is missed, and each is judged.
    const { index: whole, members: all } = partsOf(bundle);
    const kinds = new Map(
      all
        .filter(({ name }) => name.startsWith('scripts/'))
        .map((one) => [one.name.replace(/^.{72}/, ''), one]),
    );
    assert.equal(kinds.size, 6);
    for (const { name, bytes } of kinds.values()) {
      const empty = newState();
      const less = bundleOf(
        whole,
        all.filter((member) => member.name !== name),
      );
      await assert.rejects(take(less, empty), refused('absent'), name);
      if (!name.endsWith('.sig')) continue;
      const other = Buffer.from(bytes);
      other[other.length - 3] = (other[other.length - 3] ?? 0) ^ 1;
      const bad = bundleOf(
        whole,
        all.map((member) => (member.name === name ? { name, bytes: other } : member)),
      );
      await assert.rejects(
        async () => {
          const result = await take(bad, empty);
          if (result.refusal) throw result.refusal;
        },
        (error: Error) => error.name === 'Refusal',
        name,
      );
      assert.equal(await readChannel(empty, 'stable'), undefined);
    }
  });
});
