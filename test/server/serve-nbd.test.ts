import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { cp, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { publish } from '../../src/publish/publish.ts';
import { type ServeOptions, type Serving, serve } from '../../src/server/serve.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';

/** Root images as block devices, judged by qemu-img, nbdinfo and nbdcopy. */

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const anchors = join(keys, 'anchors');
const tree = await sampleTree(join(folder, 'tree'), keys);
await sealFixture(tree, keys, { release: 'arch/2026.11.01' });
const RELEASE = 'arch/2026.11.01';

async function started(t: TestContext, request: Partial<ServeOptions>): Promise<Serving> {
  const listening = { httpPort: 0, tftpPort: false, nbdPort: 0 } as const;
  const serving = await serve({ anchors, clock: () => NOW, ...listening, ...request });
  t.after(() => serving.close(0));
  return serving;
}

function nbd({ nbd: address }: Serving, name: string): string {
  return `nbd://127.0.0.1:${address?.port}/${name}`;
}

/** Runs beside the server, which is in this very process. */
async function run(command: string, ...args: string[]): Promise<{ code: number | null; out: string }> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (out += String(data)));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, out };
}

describe('a server’s block devices', () => {
  it('are the root image and its hash tree of the release, byte for byte', async (t) => {
    const serving = await started(t, { tree });
    for (const [name, file] of [
      [`${RELEASE}/airootfs`, ROOTFS],
      [`${RELEASE}/airootfs.verity`, `${ROOTFS}.verity`],
      ['airootfs', ROOTFS],
      ['', ROOTFS],
    ] as const) {
      const compared = await run(
        'qemu-img',
        'compare',
        '-f',
        'raw',
        '-F',
        'raw',
        nbd(serving, name),
        join(tree, file),
      );
      assert.deepEqual([compared.code, compared.out.trim()], [0, 'Images are identical.'], name);
    }
    const listed = await run('nbdinfo', '--list', '--json', nbd(serving, ''));
    const { exports } = JSON.parse(listed.out) as {
      exports: { 'export-name': string; is_read_only: boolean }[];
    };
    assert.deepEqual(
      exports.map((one) => [one['export-name'], one.is_read_only]),
      [
        [`${RELEASE}/airootfs`, true],
        [`${RELEASE}/airootfs.verity`, true],
      ],
    );
  });

  it('are what veritysetup verifies with the root hash that stands beside the image', async (t) => {
    const serving = await started(t, { tree });
    const copies = ['airootfs', 'airootfs.verity'].map((name) => join(folder, `copy-${name}`));
    for (const copy of copies) {
      const name = copy.slice(copy.indexOf('copy-') + 5);
      const { code, out } = await run('nbdcopy', nbd(serving, `${RELEASE}/${name}`), copy);
      assert.equal(code, 0, out);
    }
    const root = await readFile(join(tree, `${ROOTFS}.roothash`), 'latin1');
    assert.equal(spawnSync('veritysetup', ['verify', ...copies, root]).status, 0);
  });

  it('do not send a block that is not the sealed one, and shut with a reason', async (t) => {
    const errors: object[] = [];
    const log = { info: () => {}, warn: () => {}, error: (facts: object) => errors.push(facts) };
    const copy = join(folder, 'changed');
    await cp(tree, copy, { recursive: true, preserveTimestamps: true });
    const serving = await started(t, { tree: copy, log });
    const before = await run('qemu-img', 'info', nbd(serving, 'airootfs'));
    assert.equal(before.code, 0, before.out);
    const image = await open(join(copy, ROOTFS), 'r+');
    await image.write(Buffer.from('x'), 0, 1, 5000);
    await image.close();
    const { code } = await run('nbdcopy', nbd(serving, 'airootfs'), 'null:');
    assert.notEqual(code, 0);
    assert.ok(
      errors.some((facts) => JSON.stringify(facts).includes('drifted')),
      JSON.stringify(errors),
    );
    const again = await run('nbdinfo', nbd(serving, 'airootfs'));
    assert.notEqual(again.code, 0);
  });

  it('are read again now and then, without a client', async (t) => {
    const copy = join(folder, 'rotten');
    await cp(tree, copy, { recursive: true, preserveTimestamps: true });
    const said = new EventEmitter();
    const log = {
      info: (_: object, message: string) => said.emit(message),
      warn: () => {},
      error: (facts: object, message: string) => said.emit(message, facts),
    };
    const round = 'scrub: everything that is served was read again';
    const done = once(said, round);
    const serving = await started(t, { tree: copy, log, configuration: { scrub_hours: 1e-6 } });
    await done;
    const refused = once(said, 'not served any more');
    const image = await open(join(copy, ROOTFS), 'r+');
    await image.write(Buffer.from('x'), 0, 1, 5000);
    await image.close();
    const [{ path, code }] = (await refused) as [{ path: string; code: string }];
    assert.deepEqual([path, code], [join(copy, ROOTFS), 'drifted']);
    await once(said, round);
    const metrics = await (await fetch(`${serving.url}/metrics`)).text();
    assert.match(metrics, /^bootseal_refusals_total\{server="scrub",code="drifted"\} 1$/m);
    assert.match(metrics, /^bootseal_scrub_read_bytes_total [1-9]/m);
    assert.match(metrics, new RegExp(`^bootseal_scrub_ended_timestamp_seconds ${NOW / 1000}$`, 'm'));
  });

  it('follow the channels of a state', async (t) => {
    const state = join(folder, 'state');
    const common = { channel: 'stable', state, anchors, now: NOW, rsaBits: 2048 };
    const { refusal } = await publish({ ...common, tree });
    assert.equal(refusal?.message, undefined);
    const serving = await started(t, { state });
    const { code, out } = await run('nbdinfo', '--size', nbd(serving, `${RELEASE}/airootfs`));
    const size = execFileSync('stat', ['-c', '%s', join(tree, ROOTFS)], { encoding: 'utf8' });
    assert.deepEqual([code, out], [0, size]);
  });

  it('are left out where nobody wants them', async (t) => {
    const serving = await started(t, { tree, nbdPort: false });
    assert.equal(serving.nbd, undefined);
  });
});
