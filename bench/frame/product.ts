import { spawn } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { mkdir, open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { waitForOutput } from '../../lab/output.ts';
import { type RunningServer, running } from '../../lab/servers.ts';
import type { Sample } from './compare.ts';
import { processorTime, timedRun } from './process.ts';

/** The command itself, as a user runs it: `[node, main.js, …]`. */
export const BOOTSEAL: readonly [string, string] = [
  process.execPath,
  fileURLToPath(new URL('../../src/cli/main.js', import.meta.url)),
];

/** `bootseal …` to its end. */
export function bootseal(...words: readonly string[]) {
  return timedRun(BOOTSEAL[0], [BOOTSEAL[1], ...words]);
}

export interface Product extends RunningServer {
  readonly pid: number;
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  readonly tftpPort: number;
  readonly nbdPort: number;
}

/**
 * `bootseal serve …` on free ports of loopback, a process of its own. Resolves when it listens.
 *
 * @param words `--tree …` or `--state …`, and whatever else.
 */
export async function startProduct(words: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Product> {
  const ports = ['--http-port', '0', '--nbd-port', '0', '--tftp-port', '0'];
  const child = spawn(BOOTSEAL[0], [BOOTSEAL[1], 'serve', '--json', ...words, ...ports], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  let said = '';
  const hear = (piece: Buffer) => {
    said = (said + piece.toString('utf8')).slice(-2000);
  };
  child.stderr.on('data', hear);
  const [line] = await waitForOutput(child, 'stdout', /^\{.*\}\n/).catch((error: Error) => {
    throw new Error(`${error.message}${said}`);
  });
  child.stderr.off('data', hear);
  const { url, tftp, nbd } = JSON.parse(line) as Listening;
  return { ...running(child), pid: child.pid ?? 0, url, tftpPort: tftp?.port ?? 0, nbdPort: nbd?.port ?? 0 };
}

/** How long `bootseal serve …` takes from its start until it listens, and of processors; it is stopped then. */
export async function startedIn(words: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Sample> {
  const begun = performance.now();
  const product = await startProduct(words, env);
  const seconds = (performance.now() - begun) / 1000;
  const processor = await processorTime(product.pid);
  await product.stop();
  return { seconds, processor };
}

/** Of the line that `serve --json` prints, what is used here. */
interface Listening {
  readonly url: string;
  readonly tftp: { readonly port: number } | null;
  readonly nbd: { readonly port: number } | null;
}

const MEGABYTE = 1_000_000;

/** What dm-verity and fs-verity count in; an image of an odd size has no hash tree. */
const BLOCK = 4096;

/** Writes a file that no compression helps with, in whole blocks of 4096 bytes. */
export async function fill(path: string, megabytes: number): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const block = Buffer.alloc(MEGABYTE);
  const handle = await open(path, 'w');
  try {
    for (let written = 0; written < megabytes; written += 1) await handle.write(randomFillSync(block));
    await handle.truncate(Math.floor((megabytes * MEGABYTE) / BLOCK) * BLOCK);
  } finally {
    await handle.close();
  }
}

export interface SealedSite {
  readonly keys: string;
  readonly anchors: string;
  readonly tree: string;
  /** Where the root image lies, below the tree. */
  readonly rootfs: string;
  /** `arch/2026.11.01` */
  readonly release: string;
}

const ROOTFS = 'arch/x86_64/airootfs.sfs';
const RELEASE = 'arch/2026.11.01';

/** A sealed release whose root image has so many megabytes, all by the command itself. */
export async function sealedSite(folder: string, megabytes: number): Promise<SealedSite> {
  const { keys, anchors, tree } = await unsealedSite(folder, megabytes);
  await bootseal('seal', tree, '--keys', keys, '--release', RELEASE, '--quiet');
  return { keys, anchors, tree, rootfs: ROOTFS, release: RELEASE };
}

/** The same before it is sealed. */
export async function unsealedSite(folder: string, megabytes: number): Promise<SealedSite> {
  await mkdir(folder, { recursive: true });
  const keys = join(folder, 'keys');
  await bootseal('init', keys, '--quiet');
  const tree = join(folder, 'tree');
  const { writeSample } = await import('../../src/operations/sample.ts');
  await mkdir(tree, { recursive: true });
  await writeSample(tree, keys);
  await fill(join(tree, ROOTFS), megabytes);
  return { keys, anchors: join(keys, 'anchors'), tree, rootfs: ROOTFS, release: RELEASE };
}
