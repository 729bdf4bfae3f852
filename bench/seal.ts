/**
 * Sealing one large root image, beside the tools that Arch runs one after another: quote the ratios, not the
 * seconds.
 *
 *     node dist/bench/seal.js [MEGABYTES]
 *
 * Needs sha512sum, openssl and gpg. Everything lies in one temporary folder.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { seal } from '../src/operations/seal.ts';
import { makeKeys } from '../test/fixtures/keys.ts';
import { sampleTree } from '../test/fixtures/release.ts';

const run = promisify(execFile);
const ROUNDS = 3;
const folder = await mkdtemp(join(tmpdir(), 'bootseal-bench-'));
try {
  await main(Number(process.argv[2] ?? 900));
} finally {
  await rm(folder, { recursive: true, force: true });
}

async function main(megabytes: number): Promise<void> {
  const keys = await makeKeys(join(folder, 'keys'), { now: Date.now() });
  const tree = await sampleTree(join(folder, 'tree'), keys);
  const image = join(tree, 'arch/x86_64/airootfs.sfs');
  const handle = await open(image, 'w');
  for (let written = 0; written < megabytes; written += 1) await handle.write(randomBytes(1_000_000));
  await handle.close();
  const home = join(folder, 'gnupg');
  await mkdir(home, { mode: 0o700 });
  const gpg = ['--homedir', home, '--batch', '--yes', '--pinentry-mode', 'loopback', '--passphrase', ''];
  await run('gpg', [...gpg, '--quick-generate-key', 'bench', 'rsa4096', 'sign', 'never']);
  const cms = ['cms', '-sign', '-binary', '-noattr', '-outform', 'DER', '-out', join(folder, 'cms')];
  const signer = [
    '-signer',
    join(keys, 'anchors/codesign.crt'),
    '-inkey',
    join(keys, 'private/codesign.key'),
  ];

  const rows: [string, () => Promise<unknown>][] = [
    ['sha512sum', () => run('sha512sum', [image])],
    ['openssl cms -sign', () => run('openssl', [...cms, '-in', image, ...signer])],
    ['gpg --detach-sign', () => run('gpg', [...gpg, '-o', join(folder, 'sig'), '--detach-sign', image])],
    [
      'bootseal seal, every seal',
      async () => {
        // A new release each time: nothing of an earlier round can be kept.
        const release = `arch/2026.11.${10 + Math.floor(Math.random() * 10)}-${Date.now()}`;
        await seal({ tree, keys, release, serial: Date.now(), now: Date.now() });
      },
    ],
  ];
  const best = new Map<string, number>();
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [name, work] of rows) {
      const start = performance.now();
      await work();
      const seconds = (performance.now() - start) / 1000;
      best.set(name, Math.min(best.get(name) ?? Number.POSITIVE_INFINITY, seconds));
    }
  }
  const one = best.get('sha512sum') ?? 1;
  console.log(`${megabytes} MB, best of ${ROUNDS}; 1.00 is one sha512sum (${one.toFixed(2)} s here)`);
  for (const [name] of rows) console.log(`  ${name.padEnd(28)} ${((best.get(name) ?? 0) / one).toFixed(2)}`);
}
