import { spawnSync } from 'node:child_process';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { ROOTFS } from '../fixtures/release.ts';

/** The stock tools that judge what Bootseal seals, and what a tree looked like. */

export interface Judged {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function run(command: string, args: readonly string[], cwd?: string): Judged {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', cwd });
  if (error) throw error;
  return { status, stdout, stderr };
}

export function openssl(...args: readonly string[]): Judged {
  return run('openssl', args);
}

/** Whether `openssl cms` takes a seal at `at` (milliseconds since 1970). */
export function opensslTakes(content: string, seal: string, flags: readonly string[], at: number): boolean {
  const { status, stderr } = openssl(
    ...['cms', '-verify', '-binary', '-inform', 'DER', '-purpose', 'any', '-attime', String(at / 1000)],
    ...['-in', seal, '-content', content, '-out', '/dev/null', ...flags],
  );
  return status === 0 && stderr.includes('Verification successful');
}

/** Whether gpgv takes a seal at `at`. Its exit status is also 0 for revoked keys: GOODSIG alone counts. */
export function gpgvTakes(content: string, seal: string, keyring: string, at: number): boolean {
  const when = new Date(at).toISOString().replace('T', ' ').slice(0, 19);
  const { status, stdout } = run('env', [
    ...['TZ=UTC', 'faketime', when, 'gpgv', '--status-fd', '1', '--keyring', keyring, seal, content],
  ]);
  return status === 0 && /^\[GNUPG:\] GOODSIG /m.test(stdout);
}

/** Asks the stock tool for whichever kind of seal `seal` is; both paths are relative to the tree. */
export function stockToolTakes(tree: string, keys: string, seal: string, at: number): boolean {
  const anchor = (name: string) => join(keys, 'anchors', name);
  const whole = join(tree, seal);
  const ca = ['-CAfile', anchor('ca.crt')];
  if (seal.endsWith('.sha512')) return run('sha512sum', ['-c', basename(seal)], dirname(whole)).status === 0;
  if (seal === 'boot.ipxe.sig') return opensslTakes(join(tree, 'boot.ipxe'), whole, ca, at);
  if (seal.endsWith('.ipxe.sig')) return opensslTakes(join(tree, seal.slice(0, -9)), whole, ca, at);
  if (seal.endsWith('.cms.sig')) {
    const isRecord = /(^release\.manifest|\.roothash)\.cms\.sig$/.test(seal);
    const own = isRecord ? 'manifest.crt' : 'codesign.crt';
    const flags = ['-nointern', '-certfile', anchor(own), ...ca];
    return opensslTakes(join(tree, seal.slice(0, -8)), whole, flags, at);
  }
  if (seal.endsWith('SHA256SUMS.gpg')) {
    const sums = basename(seal).slice(0, -4);
    if (run('sha256sum', ['--strict', '-c', sums], dirname(whole)).status !== 0) return false;
    return gpgvTakes(join(dirname(whole), sums), whole, anchor('manifest.gpg'), at);
  }
  const keyring = { 'grub.cfg.sig': 'script.gpg', 'release.manifest.sig': 'manifest.gpg' }[seal];
  return gpgvTakes(join(tree, seal.slice(0, -4)), whole, anchor(keyring ?? 'pubring.gpg'), at);
}

/** What is compared when nothing may have changed. */
export interface Seen {
  readonly bytes: Buffer;
  readonly mtimeNs: bigint;
  readonly ino: bigint;
}

/** Every file of a tree; of a link, where it leads. */
export function look(tree: string): Map<string, Seen> {
  const files = readdirSync(tree, { recursive: true, encoding: 'utf8' })
    .filter((name) => !lstatSync(join(tree, name)).isDirectory())
    .sort();
  return new Map(
    files.map((name) => {
      const path = join(tree, name);
      const stat = lstatSync(path, { bigint: true });
      const bytes = stat.isSymbolicLink() ? Buffer.from(readlinkSync(path)) : readFileSync(path);
      return [name, { bytes, mtimeNs: stat.mtimeNs, ino: stat.ino }];
    }),
  );
}

/** Names of files whose bytes differ between two looks, or that only one of them holds. */
export function changed(before: ReadonlyMap<string, Seen>, after: ReadonlyMap<string, Seen>): string[] {
  const names = new Set([...before.keys(), ...after.keys()]);
  return [...names]
    .filter((name) => {
      const [a, b] = [before.get(name), after.get(name)];
      return !a || !b || !a.bytes.equals(b.bytes);
    })
    .sort();
}

/** DESIGN §4: what stands beside each artifact, and at the top of the tree. */
export function sealNames(artifacts: readonly string[]): string[] {
  return [
    ...artifacts.flatMap((path) => [`${path}.ipxe.sig`, `${path}.cms.sig`, `${path}.sig`]),
    ...(artifacts.includes(ROOTFS) ? [ROOTFS.replace('.sfs', '.sha512')] : []),
    ...['boot.ipxe.sig', 'grub.cfg.sig', 'release.manifest.cms.sig', 'release.manifest.sig'],
    ...sumsNames(artifacts).map((name) => `${name}.gpg`),
  ].sort();
}

/** The lists of sums: at the top, and in each folder that holds payload. */
export function sumsNames(artifacts: readonly string[]): string[] {
  const folders = artifacts.map((path) => dirname(path)).filter((at) => at !== '.');
  return ['SHA256SUMS', ...new Set(folders.map((at) => `${at}/SHA256SUMS`))];
}
