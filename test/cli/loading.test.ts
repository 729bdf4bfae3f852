import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { sampleTree } from '../fixtures/release.ts';
import { run } from './command.ts';

/**
 * What commands load before they do anything is most of what the short ones cost. It is counted here and not timed: who
 * imports a library where it is not needed makes every call of a command slower.
 */

const folder = await temporaryFolder();
const PRELOAD = new URL('../fixtures/list-loaded.js', import.meta.url).href;

interface Loaded {
  readonly code: number | undefined;
  /** By name, without those that only other packages ask for by themselves. */
  readonly packages: readonly string[];
  /** Below `src`. */
  readonly own: readonly string[];
}

async function loaded(words: readonly string[]): Promise<Loaded> {
  const list = join(folder, words.join(' ').replaceAll('/', '-'));
  const env = { BOOTSEAL_LOADED: list, NODE_OPTIONS: `--import=${PRELOAD}` };
  const { code } = await run(words, { env });
  const urls = (await readFile(list, 'utf8')).split('\n');
  const all = (shape: RegExp) => [...new Set(urls.flatMap((url) => shape.exec(url)?.[1] ?? []))].sort();
  return {
    code,
    packages: all(/.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/),
    own: all(/\/dist\/src\/(.*)\.js$/),
  };
}

describe('what is loaded', () => {
  it('for the version: next to nothing', async () => {
    for (const word of ['--version', '-V']) {
      const { code, packages, own } = await loaded([word]);
      assert.deepEqual([code, packages], [0, []]);
      assert.ok(own.includes('cli/main'), 'the modules were listed');
      assert.ok(own.length < 10, own.join(' '));
    }
  });

  it('for the help of all: no command', async () => {
    const { code, packages, own } = await loaded(['--help']);
    assert.deepEqual([code, packages], [0, ['commander']]);
    assert.deepEqual(
      own.filter((name) => name.startsWith('cli/commands/')),
      [],
    );
  });

  for (const name of ['seal', 'verify', 'serve', 'boot']) {
    it(`for the help of ${name}: its words`, async () => {
      const { code, packages, own } = await loaded([name, '--help']);
      assert.deepEqual([code, packages], [0, ['commander']]);
      assert.deepEqual(
        own.filter((path) => path.startsWith('cli/commands/')),
        [`cli/commands/${name}`],
      );
      assert.ok(own.length < 60, own.join(' '));
    });
  }

  it('for the words of all commands: none of the libraries that they work with', async () => {
    const { code, packages, own } = await loaded(['completion', 'bash']);
    assert.deepEqual([code, packages], [0, ['commander']]);
    assert.ok(own.includes('cli/commands/machines-arm'), 'the commands were loaded');
    assert.ok(own.length < 200, String(own.length));
  });

  it('for work: what that needs', async () => {
    const keys = await makeKeys(join(folder, 'keys'), { now: Date.now() });
    const tree = await sampleTree(join(folder, 'tree'), keys);
    const seal = await loaded(['seal', tree, '--keys', keys]);
    assert.equal(seal.code, 0);
    lacks(seal, ['zod', 'openpgp', 'pino', 'cli-progress', 'xz-decompress', 'express', 'prom-client']);
    assert.deepEqual(rooms(seal).filter(among('server', 'emulator', 'publish', 'machines')), []);
    assert.ok(!seal.own.includes('store/state'), 'nothing was to be logged');
    const verify = await loaded(['verify', tree, '--anchors', join(keys, 'anchors')]);
    assert.equal(verify.code, 0);
    lacks(verify, ['zod', 'openpgp', 'pino', 'cli-progress', 'xz-decompress', 'smol-toml', 'node-forge']);
    assert.deepEqual(rooms(verify).filter(among('signing', 'server', 'emulator', 'publish', 'machines')), []);
    const boot = await loaded(['boot', 'http://127.0.0.1:1/boot.ipxe']);
    assert.equal(boot.code, 3);
    lacks(boot, ['zod', 'openpgp', 'pino', 'cli-progress', 'xz-decompress', 'node-tftp', 'node-forge']);
    const serve = await loaded(['serve', '--tree', tree, '--bind', '192.0.2.1']);
    assert.equal(serve.code, 3);
    assert.ok(serve.packages.includes('express'));
    lacks(serve, ['openpgp', 'cli-progress', 'xz-decompress', 'node-forge', '@aws-sdk/client-s3']);
  });
});

function lacks({ packages }: Loaded, unneeded: readonly string[]): void {
  assert.deepEqual(
    packages.filter((name) => unneeded.includes(name)),
    [],
  );
}

function rooms({ own }: Loaded): readonly string[] {
  return [...new Set(own.map((path) => path.split('/')[0] ?? ''))];
}

function among(...names: readonly string[]): (room: string) => boolean {
  return (room) => names.includes(room);
}
