import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { run, type Said } from './command.ts';
import { runHere } from './here.ts';
import { cliSite } from './site.ts';

/** What is wrong with a call, the words, the exit status, and what the sentence must say. */
type Case = readonly [what: string, words: readonly string[], code: number, says: RegExp];

const site = await cliSite();
await mkdir(join(site.folder, 'empty'));
await mkdir(join(site.folder, 'plain'));
await writeFile(join(site.folder, 'plain', 'bootseal.toml'), 'kernel = \n');
await writeFile(join(site.folder, 'typo.toml'), 'allow_unverified_loader = true\n');
await writeFile(join(site.folder, 'broken.toml'), 'allow_unverified_loaders = \n');
await writeFile(join(site.folder, 'text.toml'), 'allow_unverified_loaders = "yes"\n');

const serve = [
  'serve',
  '--tree',
  'tree',
  '--anchors',
  'keys',
  '--http-port',
  '0',
  '--tftp-port',
  '0',
  '--nbd-port',
  '0',
];

const CASES: readonly Case[] = [
  ['an unknown command', ['frobnicate'], 2, /There is no command "frobnicate"; --help lists/],
  [
    'an unknown flag',
    ['verify', 'tree', '--anchors', 'keys', '--bogus'],
    2,
    /There is no option "--bogus"; /,
  ],
  [
    'an unknown flag of a command below a command',
    ['loaders', 'grub', '--anchors', 'keys', '--bogus'],
    2,
    /There is no option "--bogus"; /,
  ],
  ['a missing word', ['init'], 2, /<dir> must be given; --help/],
  ['a missing flag', ['seal', 'tree'], 2, /--keys <dir> must be given/],
  ['a flag that is nearly one', ['verify', 'tree', '--anchor', 'keys'], 2, /did you mean --anchors\?/],
  ['a command that is nearly one', ['sael'], 2, /There is no command "sael"; did you mean seal\?/],
  ['control characters', ['verify', 'tree', '--\u001b[31mred'], 2, /"--\\u001b\[31mred"/],
  [
    'a word too many',
    ['verify', 'tree', 'tree', '--anchors', 'keys'],
    2,
    /verify takes one word of this kind, and 2 were given/,
  ],
  [
    'a tree that is not there',
    ['verify', 'nowhere', '--anchors', 'keys'],
    2,
    /"nowhere": there is no such folder or image/,
  ],
  [
    'a tree that is a file',
    ['seal', 'typo.toml', '--keys', 'keys'],
    2,
    /"typo.toml": there is no such folder/,
  ],
  ['a tree that holds nothing', ['seal', 'empty', '--keys', 'keys'], 2, /empty is empty/],
  ['keys that are not there', ['seal', 'tree', '--keys', 'nowhere'], 2, /"nowhere": there is no such folder/],
  [
    'keys that are none',
    ['seal', 'tree', '--keys', 'empty'],
    2,
    /empty is no key folder: .*"bootseal init DIR"/,
  ],
  [
    'anchors that are not there',
    ['verify', 'tree', '--anchors', 'nowhere'],
    2,
    /"nowhere": there is no such folder/,
  ],
  ['anchors that are none', ['verify', 'tree', '--anchors', 'empty'], 1, /empty holds no ca\.crt/],
  ['keys that exist already', ['init', 'keys'], 2, /not empty, and keys are never overwritten/],
  [
    'a bad time',
    ['verify', 'tree', '--anchors', 'keys', '--at', 'tomorrow'],
    2,
    /--at cannot be "tomorrow": a time is 2026-11-01/,
  ],
  ['a day that no month has', ['verify', 'tree', '--anchors', 'keys', '--at', '2026-13-01'], 2, /a time is/],
  ['a bad time of issue', ['seal', 'tree', '--keys', 'keys', '--issued', '1.5.2026'], 2, /a time is/],
  [
    'a release that is no name',
    ['seal', 'tree', '--keys', 'keys', '--release', 'x y'],
    2,
    /a release is NAME\/VERSION/,
  ],
  ['a date far ahead', ['seal', 'tree', '--keys', 'keys', '--issued', '9999-01-01'], 2, /24 hours ahead/],
  ['a site that is no name', ['init', 'new', '--site', 'A B'], 2, /no site name/],
  ['one CA twice', ['seal', 'tree', '--keys', 'keys', '--also-keys', 'keys'], 2, /name each CA once/],
  [
    'a tree that is not TOML',
    ['seal', 'plain', '--keys', 'keys'],
    2,
    /bootseal\.toml, line 1: it is not TOML/,
  ],
  ['a bad serial', ['seal', 'tree', '--keys', 'keys', '--serial', '-4x'], 2, /no whole number/],
  ['a bad URL', ['boot', 'nonsense'], 2, /"nonsense" is no http: or tftp: address/],
  ['a URL of another scheme', ['boot', 'ftp://127.0.0.1/x'], 2, /no http: or tftp: address/],
  ['a bad URL to seal for', ['seal', 'tree', '--keys', 'keys', '--url', 'x y'], 2, /no address of a server/],
  ['a bad URL for GRUB', ['loaders', 'grub', '--anchors', 'keys', '--url', 'ftp://a'], 2, /no address/],
  ['a bad MAC address', ['boot', 'http://127.0.0.1/x', '--mac', 'foo'], 2, /no MAC address/],
  ['a port that is no number', [...serve, '--http-port', 'http'], 2, /a port is a number/],
  ['a port that no machine has', [...serve, '--tftp-port', '65536'], 2, /a port is a number/],
  ['a name where an address belongs', [...serve, '--bind', 'localhost'], 2, /that is not an IP address/],
  ['an address of another machine', [...serve, '--bind', '192.0.2.1'], 3, /no such address/],
  ['a tree without seals', ['serve', '--tree', 'empty', '--http-port', '0'], 1, /it is not sealed/],
  ['a configuration that is not there', [...serve, '--config', 'nowhere'], 2, /nowhere does not exist\./],
  [
    'a misspelt safeguard',
    [...serve, '--config', 'typo.toml'],
    2,
    /"allow_unverified_loader" is no key that is known/,
  ],
  [
    'a configuration that is not TOML',
    [...serve, '--config', 'broken.toml'],
    2,
    /broken\.toml, line 1: it is not TOML from column \d+ on\.$/m,
  ],
  [
    'a text where yes or no belongs',
    [...serve, '--config', 'text.toml'],
    2,
    /allow_unverified_loaders: is neither true nor false\./,
  ],
  ['loaders that are not there', [...serve, '--loaders', 'nowhere'], 2, /"nowhere": there is no such folder/],
];

/** One plain sentence on one line, and nothing that only a programmer reads. */
function assertSentence({ err }: Said, says: RegExp): void {
  assert.match(err, says);
  assert.match(err, /^[^\n]+\n$/);
  // Words of the libraries that read words and files.
  assert.doesNotMatch(err, /error: |invalid|unrecognized|expected|received|too (big|small)|argument/i);
  assert.doesNotMatch(err, /\n\s+at |node:internal|file:\/\/|\.[jt]s:\d|undefined|\[object|\u001b/);
}

describe('a call that cannot be meant', () => {
  for (const [what, words, code, says] of CASES) {
    it(`is one sentence, and one object with --json: ${what}`, async () => {
      const said = await runHere(words, { cwd: site.folder });
      const json = await runHere([...words, '--json'], { cwd: site.folder });
      assertSentence(said, says);
      assert.deepEqual([said.code, said.out], [code, '']);
      assertSentence(json, says);
      const object = JSON.parse(json.out) as { error?: string; refusal?: { message: string } };
      assert.match(object.error ?? object.refusal?.message ?? '', says);
      assert.deepEqual([json.code, json.out.split('\n').length], [code, 2]);
    });
  }

  // A process of its own has the same to say, and ends.
  for (const code of [1, 2, 3]) {
    const [what, words, , says] = CASES.find((one) => one[2] === code) ?? assert.fail();
    it(`ends the process with ${code}: ${what}`, async () => {
      const said = await run(words, { cwd: site.folder });
      assertSentence(said, says);
      assert.deepEqual([said.code, said.out], [code, '']);
    });
  }

  it('is told even where --quiet is asked for', async () => {
    const said = await run(['boot', 'nonsense', '--quiet'], { cwd: site.folder });
    assertSentence(said, /no http: or tftp: address/);
  });

  it('is told where a flag has no value', async () => {
    const said = await runHere(['verify', 'tree', '--anchors'], { cwd: site.folder });
    assertSentence(said, /^--anchors needs a value: --anchors <dir>\.\n$/);
    assert.equal(said.code, 2);
  });

  it('is told where SOURCE_DATE_EPOCH is no time', async () => {
    const setting = { cwd: site.folder, env: { SOURCE_DATE_EPOCH: 'today' } };
    const said = await run(['seal', 'tree', '--keys', 'keys'], setting);
    assertSentence(said, /SOURCE_DATE_EPOCH is "today"/);
    assert.equal(said.code, 2);
  });

  it('is told where another program holds the port', async (t) => {
    const other = createServer().listen(0, '127.0.0.1');
    t.after(() => other.close());
    await once(other, 'listening');
    const { port } = other.address() as { port: number };
    const said = await run([...serve, '--http-port', String(port)], { cwd: site.folder });
    assertSentence(said, new RegExp(`127\\.0\\.0\\.1 port ${port}: another program holds that port`));
    assert.deepEqual([said.code, said.out], [3, '']);
  });
});
