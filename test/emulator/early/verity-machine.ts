import { createHash } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AskTime, EarlyVerdict } from '../../../src/emulator/early/contract.ts';
import { EarlyKeys } from '../../../src/emulator/early/keys.ts';
import { runEarly } from '../../../src/emulator/early/run.ts';
import { readInitramfs } from '../../../src/emulator/initramfs.ts';
import type { Fetched, Transport } from '../../../src/emulator/transport.ts';
import { Refusal } from '../../../src/errors/refusal.ts';
import { decodeManifest } from '../../../src/formats/records/manifest.ts';
import { defaultPolicy } from '../../../src/trust/policy.ts';
import { NOW } from '../../fixtures/keys.ts';
import { ROOTFS, sealFixture, writeTree } from '../../fixtures/release.ts';
import { REPORT_NONCE } from '../../fixtures/report-vectors.ts';

export const SERVER = 'http://10.0.0.1:8080/releases/arch/2026.11.01/';
const REPORTS = 'http://10.0.0.1:8080/api/v1/boots';
export type Files = Readonly<Record<string, Uint8Array>>;

/** A sealed release around a root image: every file of it. */
export async function sealedAround(
  tree: string,
  keys: string,
  image: Uint8Array,
  version = '2026.11.01',
  more: Readonly<Record<string, Uint8Array>> = {},
): Promise<Files> {
  await writeTree(tree, {
    'arch/version': `${version}\n`,
    'arch/boot/x86_64/vmlinuz-linux': `kernel ${version}\0`,
    'arch/boot/x86_64/initramfs-linux.img': `initramfs ${version}\0`,
  });
  await writeTree(tree, { [ROOTFS]: image, ...more });
  await sealFixture(tree, keys);
  return readTree(tree);
}

export async function readTree(tree: string): Promise<Files> {
  const entries = await readdir(tree, { recursive: true, withFileTypes: true });
  const files: Record<string, Uint8Array> = {};
  for (const entry of entries) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) files[path.slice(tree.length + 1)] = await readFile(path);
  }
  return files;
}

/** Writes files where a tool can read them. */
export async function onDisk(folder: string, name: string, bytes: Uint8Array): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}

export interface Setting {
  readonly files: Files;
  readonly initrds: readonly Uint8Array[];
  readonly mode?: 'ram' | 'verity';
  readonly now?: number;
  readonly askTime?: AskTime;
  /** Without it the command line is what the manifest's release sends. */
  readonly cmdline?: string;
  /** Of its card; without one it reports nothing. */
  readonly mac?: string;
  /** What the server does to an answer for a part. */
  readonly part?: (answer: Fetched, path: string) => Fetched;
}

export interface Ran extends EarlyVerdict {
  /** What was asked of the server, in order: `0-4095 path` where a range was. */
  readonly asked: readonly string[];
  readonly console: readonly string[];
  /** What it posted. */
  readonly reported: readonly string[];
}

/** Early userspace, in mode `verity` where nothing else is said, with an initramfs and a server in memory. */
export async function earlyVerity(setting: Setting): Promise<Ran> {
  const { files, initrds, now = NOW, part = (answer) => answer } = setting;
  const asked: string[] = [];
  const console: string[] = [];
  const reported: string[] = [];
  const transport: Transport = {
    async fetch(url, { range, body } = {}) {
      if (url.startsWith(REPORTS)) {
        if (body !== undefined) reported.push(body);
        const answer = Buffer.from(
          body === undefined ? `{"nonce":"${REPORT_NONCE}"}\n` : '{"answer":"noted"}\n',
        );
        return { url, size: answer.length, partial: false, body: pieces(answer) };
      }
      const path = url.slice(SERVER.length);
      asked.push(range ? `${range.first}-${range.last} ${path}` : path);
      // As servers do that know no query.
      const bytes = files[path.replace(/\?.*/, '')];
      if (!bytes) throw new Refusal('absent', `${url} does not exist.`, { url });
      if (!range) return { url, size: bytes.length, partial: false, body: pieces(bytes) };
      const sent = bytes.subarray(range.first, range.last + 1);
      const said = { first: range.first, last: range.first + sent.length - 1, size: bytes.length };
      return part({ url, size: sent.length, partial: true, part: said, body: pieces(sent) }, path);
    },
  };
  const verdict = await runEarly({
    initramfs: await readInitramfs(initrds, EarlyKeys.reading),
    cmdline: setting.cmdline ?? commandLine(files),
    arch: 'x86_64',
    ...(setting.mac === undefined ? {} : { mac: setting.mac }),
    transport,
    policy: defaultPolicy(now),
    now,
    ...(setting.askTime ? { askTime: setting.askTime } : {}),
    mode: setting.mode ?? 'verity',
    onEvent: (event) => event.kind === 'console' && console.push(event.text),
  });
  return { ...verdict, asked, console, reported };
}

/** As the boot script of a release has it. */
export function commandLine(files: Files): string {
  const manifest = files['release.manifest'] as Uint8Array;
  const digest = createHash('sha256').update(manifest).digest('hex');
  const { cmdline } = decodeManifest(manifest);
  return `${cmdline.join(' ')} archiso_http_srv=${SERVER} bootseal.manifest=${digest}`;
}

/** In pieces that fit nothing. */
export async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000);
}

/** Bytes that were asked for of one path, as `[first, last]`. */
export function ranges({ asked }: Ran, path: string): [number, number][] {
  return asked.flatMap((each) => {
    const [, first, last, of] = /^(\d+)-(\d+) (.*)$/.exec(each) ?? [];
    return of === path ? [[Number(first), Number(last)] as [number, number]] : [];
  });
}
