import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { verify } from '../../src/conformance/verify.ts';
import { UsageError } from '../../src/errors/usage.ts';
import { resignTree } from '../../src/resigning/tree.ts';
import { finishReplacing, replaceRecords } from '../../src/resigning/tree-journal.ts';
import { under } from '../faults/inject.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { sealFixture } from '../fixtures/release.ts';
import { look } from '../signing/judges.ts';
import { smallTree } from '../signing/trees.ts';
import { refused } from '../trust/judge.ts';
import { LATER } from './stores.ts';

const CHILD = fileURLToPath(new URL('resign-tree-child.js', import.meta.url));
const folder = await temporaryFolder();
let names = 0;
const fresh = (name: string) => join(folder, `${name}-${names++}`);

const OLD: Readonly<Record<string, string>> = { one: 'old one', 'a/two': 'old two', three: 'three' };
const NEW = new Map([
  ['one', Buffer.from('new one')],
  ['a/two', Buffer.from('new two')],
  ['a/four', Buffer.from('four')],
]);
const REPLACED = { ...OLD, one: 'new one', 'a/two': 'new two', 'a/four': 'four' };

function plainTree(): string {
  const tree = fresh('tree');
  mkdirSync(join(tree, 'a'), { recursive: true });
  for (const [path, text] of Object.entries(OLD)) writeFileSync(join(tree, path), text);
  return tree;
}
const contents = (tree: string) =>
  Object.fromEntries([...look(tree)].map(([name, { bytes }]) => [name, bytes.toString()]));

const keys = await makeKeys(join(folder, 'keys'), { kind: 'p256' });
const sealed = await smallTree(join(folder, 'sealed'));
await sealFixture(sealed, keys);
const first = plainTree();
const { calls } = await under({ kind: 'none' }, () => replaceRecords(first, NEW, fresh('journals')));
const renames = calls.flatMap(({ op }, at) => (op === 'rename' ? [at] : []));

interface Begun {
  readonly tree: string;
  readonly journals: string;
  /** The journal's folder. */
  readonly journal: string;
}

/** What is left where a run was killed when it had put the first record in place. */
async function begun(): Promise<Begun> {
  const [tree, journals] = [plainTree(), fresh('journals')];
  const second = renames[2] ?? assert.fail('one journal and three records are renamed');
  await under({ kind: 'die', at: second }, () => replaceRecords(tree, NEW, journals));
  const [name, ...more] = readdirSync(journals);
  assert.ok(name !== undefined && more.length === 0);
  assert.equal(contents(tree).one, 'new one');
  assert.equal(contents(tree)['a/two'], 'old two');
  return { tree, journals, journal: join(journals, name) };
}

/** Refused like this, and of tree and journal nothing is another than before. */
async function demandStops({ tree, journals }: Begun, how: (error: unknown) => boolean): Promise<void> {
  const before = [look(tree), look(journals)];
  await assert.rejects(finishReplacing(tree, journals), how);
  assert.deepEqual([look(tree), look(journals)], before);
}

describe('records that take the place of others', () => {
  it('are all there, and there is no journal any more', async () => {
    const [tree, journals] = [plainTree(), fresh('journals')];
    await replaceRecords(tree, NEW, journals);
    assert.deepEqual(contents(tree), REPLACED);
    assert.deepEqual(readdirSync(journals), []);
    assert.equal(statSync(journals).mode & 0o777, 0o700);
  });

  it('are all there after a kill in the middle and another run, and nothing unfinished', async () => {
    const { tree, journals } = await begun();
    await finishReplacing(tree, journals);
    assert.deepEqual(contents(tree), REPLACED);
    assert.deepEqual(readdirSync(journals), []);
    await finishReplacing(tree, journals);
    assert.deepEqual(contents(tree), REPLACED);
  });

  it('are of the tree that the journal is about, and of none that took its name', async () => {
    const { tree, journals } = await begun();
    renameSync(tree, `${tree}-moved`);
    cpSync(plainTree(), tree, { recursive: true });
    await finishReplacing(tree, journals);
    assert.deepEqual(contents(tree), OLD);
    rmSync(tree, { recursive: true });
    renameSync(`${tree}-moved`, tree);
    await finishReplacing(tree, journals);
    assert.deepEqual(contents(tree), REPLACED);
  });

  it('do not take the place of what somebody wrote meanwhile', async () => {
    const site = await begun();
    writeFileSync(join(site.tree, 'a/two'), 'by somebody else');
    await demandStops(site, refused('drifted', /a\/two in .* was changed after .* take/));
  });

  it('are not written through a link that took a folder’s place', async () => {
    const site = await begun();
    const outside = fresh('outside');
    renameSync(join(site.tree, 'a'), outside);
    symlinkSync(outside, join(site.tree, 'a'));
    await demandStops(site, refused('unsafe-path', /symbolic link/));
    // What the kill left unfinished was in there.
    assert.equal(contents(outside).two, 'old two');
    assert.deepEqual(
      Object.keys(contents(outside)).filter((name) => !name.endsWith('.tmp')),
      ['two'],
    );
  });
});

describe('a journal that is not what it was', () => {
  const edit = ({ journal }: Begun, change: (text: string) => string) =>
    writeFileSync(join(journal, 'journal.json'), change(readFileSync(join(journal, 'journal.json'), 'utf8')));
  const SPOILT: readonly [string, (site: Begun) => void, RegExp][] = [
    [
      'names a path out of the tree',
      (site) => edit(site, (text) => text.replace('a/two', '../two')),
      /damaged/,
    ],
    [
      'is about another tree',
      (site) => edit(site, (text) => text.replace(site.tree, '/srv/tree')),
      /it is about/,
    ],
    ['says more', (site) => edit(site, (text) => text.replace('{', '{"more": 1,')), /damaged/],
    ['is no JSON', (site) => edit(site, (text) => text.slice(2)), /no JSON/],
    [
      'holds another record than it names',
      ({ journal }) => {
        const name = readdirSync(journal).find((one) => one !== 'journal.json') ?? '';
        writeFileSync(join(journal, name), 'something else');
      },
      /not what its name says/,
    ],
  ];
  for (const [what, spoil, says] of SPOILT) {
    it(`since it ${what} puts nothing in place`, async () => {
      const site = await begun();
      spoil(site);
      await demandStops(site, refused('malformed', says));
    });
  }
});

describe('a folder for journals', () => {
  const usage = (says: RegExp) => (error: unknown) => error instanceof UsageError && says.test(error.message);

  it('that others may use is not taken, before and after', async () => {
    const site = await begun();
    chmodSync(site.journals, 0o750);
    await demandStops(site, usage(/mode 0750.*chmod 700/));
    const tree = plainTree();
    await assert.rejects(replaceRecords(tree, NEW, site.journals), usage(/mode 0750/));
    assert.deepEqual(contents(tree), OLD);
  });

  it('that is somebody else’s is not taken', async () => {
    const { tree } = await begun();
    // Everybody's but root's; root gives one away.
    const journals = process.geteuid?.() === 0 ? fresh('journals') : '/root';
    if (process.geteuid?.() === 0) {
      mkdirSync(journals, { mode: 0o700 });
      chownSync(journals, 65534, 65534);
    }
    await assert.rejects(finishReplacing(tree, journals), usage(/belongs to another user/));
  });

  it('that is a link, or no folder, is not taken', async () => {
    const site = await begun();
    const link = fresh('link');
    symlinkSync(site.journals, link);
    await demandStops({ ...site, journals: link }, usage(/no folder/));
  });

  it('in the tree is not taken, by whatever name', async () => {
    const tree = plainTree();
    const link = fresh('link');
    symlinkSync(tree, link);
    for (const journals of [join(tree, 'journals'), join(link, 'journals')])
      await assert.rejects(replaceRecords(tree, NEW, journals), usage(/in the tree/));
    rmSync(join(tree, 'journals'), { recursive: true });
    assert.deepEqual(contents(tree), OLD);
  });
});

describe('a resign of a tree', () => {
  const copyOf = () => {
    const tree = fresh('sealed');
    cpSync(sealed, tree, { recursive: true, preserveTimestamps: true });
    return tree;
  };
  const resign = (tree: string, journals: string) =>
    resignTree({ tree, keys, journals, now: LATER, issued: LATER });
  const faultOf = async (tree: string) =>
    (await verify({ tree, anchors: keys, now: LATER })).refusal?.message;

  it('acts on no journal that it finds in the tree, sealed or not', async () => {
    const host = fresh('host');
    mkdirSync(host);
    writeFileSync(join(host, 'passwd'), 'of the host');
    const plant = (tree: string) => {
      mkdirSync(join(tree, '.bootseal-resign/x'), { recursive: true });
      writeFileSync(join(tree, '.bootseal-resign/x/passwd'), 'by the author of the tree');
      writeFileSync(join(tree, '.bootseal-resign/boot.ipxe'), '#!ipxe\n');
      symlinkSync(host, join(tree, 'x'));
    };
    const [unsealed, tree] = [plainTree(), copyOf()];
    for (const one of [unsealed, tree]) plant(one);
    await assert.rejects(resign(unsealed, fresh('journals')), refused('absent', /not sealed/));
    await resign(tree, fresh('journals'));
    assert.equal(await faultOf(tree), undefined);
    assert.deepEqual(contents(host), { passwd: 'of the host' });
    for (const one of [unsealed, tree])
      assert.deepEqual(readdirSync(join(one, '.bootseal-resign')).sort(), ['boot.ipxe', 'x']);
  });

  it('that is killed goes on with the next run', async () => {
    const child = (tree: string, journals: string, stop?: number) =>
      spawnSync(
        process.execPath,
        [CHILD, tree, keys, journals, String(LATER), ...(stop === undefined ? [] : [String(stop)])],
        { encoding: 'utf8', timeout: 60_000 },
      );
    const whole = child(copyOf(), fresh('journals'));
    assert.equal(whole.status, 0, whole.stderr);
    const { steps } = JSON.parse(whole.stdout) as { steps: string[] };
    const renamed = steps.flatMap((name, at) => (name === 'renamed' ? [at] : []));
    // In the journal, as it appears, between two records, and as it is taken away.
    const stops = [steps.indexOf('half written'), renamed[0], renamed[2], renamed.at(-1)];
    for (const stop of stops) {
      const [tree, journals] = [copyOf(), fresh('journals')];
      assert.equal(child(tree, journals, stop).signal, 'SIGKILL');
      await resign(tree, journals);
      assert.equal(await faultOf(tree), undefined, `killed at step ${stop}`);
      assert.deepEqual(readdirSync(journals), []);
      assert.deepEqual([...look(tree).keys()], [...look(sealed).keys()]);
    }
  });
});
