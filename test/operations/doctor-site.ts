import assert from 'node:assert/strict';
import { chmod, cp, lstat, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execute } from '../../lab/command.ts';
import { LAN_ADDRESS, type Lan } from '../../lab/lan.ts';
import { type DoctorOptions, examine as examineAll } from '../../src/operations/doctor.ts';
import { publish } from '../../src/publish/publish.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { sampleTree, sealFixture } from '../fixtures/release.ts';

/** One site for all tests of a file: nobody changes it, and each that plants a fault has a copy. */
export const NOW = Date.now();
export const RELEASE = 'arch/2026.11.01';
const folder = await temporaryFolder();
// Other accounts look at it, too.
await chmod(folder, 0o755);
export const keys = await makeKeys(join(folder, 'keys'), { now: NOW });
export const tree = await sampleTree(join(folder, 'tree'), keys);
await sealFixture(tree, keys, { now: NOW });
const whole = join(folder, 'whole');
await mkdir(whole);
// A server has the anchors, and no key.
await cp(join(keys, 'anchors'), join(whole, 'anchors'), { recursive: true });
const { refusal } = await publish({
  ...{ tree, anchors: join(whole, 'anchors'), state: join(whole, 'state'), channel: 'stable', now: NOW },
});
if (refusal) throw refusal;

/** A copy of the site. */
export interface DoctorSite {
  /** With all below it. */
  readonly folder: string;
  readonly state: string;
  readonly anchors: string;
}

let count = 0;
export async function copySite(): Promise<DoctorSite> {
  count += 1;
  const copy = join(folder, `site-${count}`);
  // With owners and modes; a copy by Node would lose those of folders.
  const { status, stderr } = await execute('cp', ['-a', whole, copy]);
  assert.equal(status, 0, stderr);
  return siteIn(copy);
}

export function siteIn(place: string): DoctorSite {
  return { folder: place, state: join(place, 'state'), anchors: join(place, 'anchors') };
}

export function scratch(name: string): string {
  count += 1;
  return join(folder, `${name}-${count}`);
}

/** What `bootseal doctor --json` says. */
export interface Examined {
  readonly status: number | undefined;
  readonly faults: number;
  readonly warnings: number;
  readonly findings: readonly {
    readonly check: string;
    readonly state: string;
    readonly code: string | null;
    readonly found: string;
    readonly advice: string | null;
    readonly couldNotLook: boolean;
  }[];
}

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
/** Programs that it may find, whatever this machine has: those it runs are the real ones, and the clock is kept right. */
const programs = join(folder, 'bin');
await mkdir(programs);
for (const name of ['flock', 'ip', 'perl', 'getent']) {
  const { stdout } = await execute('sh', ['-c', `command -v ${name}`]);
  await symlink(stdout.trim(), join(programs, name));
}
for (const name of ['grub-mkimage', 'unsquashfs', 'fsck.erofs', 'gpgconf', 'gpg-connect-agent', 'openssl'])
  await symlink('/bin/true', join(programs, name));
await writeFile(join(programs, 'timedatectl'), '#!/bin/sh\necho yes\n');
await chmod(join(programs, 'timedatectl'), 0o755);

/**
 * Runs `bootseal doctor` inside a LAN, and proves that nothing of the site was changed by it.
 *
 * @param words beside those of a server that stands there as it should.
 */
export async function examine(
  lan: Lan,
  site: DoctorSite,
  words: readonly string[] = ['--bind', LAN_ADDRESS],
  before: readonly string[] = [],
): Promise<Examined> {
  const was = await listed(site.folder);
  const { status, stdout, stderr } = await lan.execute('env', [
    `PATH=${programs}`,
    ...before,
    process.execPath,
    ...[MAIN, 'doctor', '--json', '--state', site.state, '--anchors', site.anchors],
    ...words,
  ]);
  assert.equal(stdout.trim().split('\n').length, 1, `one object: ${stdout}${stderr}`);
  assert.deepEqual(await listed(site.folder), was, 'nothing is changed');
  return { status, ...JSON.parse(stdout) };
}

/** What depends on the site alone, and not on the machine that the test runs on. */
const OF_SITE: ReadonlySet<string> = new Set([
  ...['configuration', 'permissions', 'disk', 'state', 'machines', 'loaders', 'expiry', 'keyholder'],
]);

/** The same in this process, which is quicker: what it says of the site. */
export async function examineSite(
  site: DoctorSite,
  more: Partial<DoctorOptions> = {},
): Promise<Pick<Examined, 'findings' | 'status'>> {
  const was = await listed(site.folder);
  const findings = await examineAll({
    ...{ state: site.state, anchors: [site.anchors], bind: ['127.0.0.1'], path: programs, probe: false },
    ...{ httpPort: 0, tftpPort: false, nbdPort: false, now: Date.now() },
    ...more,
  });
  assert.deepEqual(await listed(site.folder), was, 'nothing is changed');
  return {
    status: undefined,
    findings: findings
      .filter(({ check }) => OF_SITE.has(check))
      .map((one) => ({
        ...one,
        code: one.code ?? null,
        advice: one.advice ?? null,
        couldNotLook: one.couldNotLook === true,
      })),
  };
}

/** What is wrong, each as `check state code`. */
export function wrong({ findings }: Pick<Examined, 'findings'>): string[] {
  return findings
    .filter(({ state }) => state === 'warning' || state === 'fault')
    .map(({ check, state, code }) => `${check} ${state} ${code}`);
}

/** Nothing else than this is wrong; it is named in words that match, and somebody is told what to do. */
export function only(examined: Pick<Examined, 'findings' | 'status'>, expected: string, named: RegExp): void {
  const shown = JSON.stringify(
    examined.findings.filter(({ state }) => state !== 'ok'),
    null,
    1,
  );
  assert.deepEqual(wrong(examined), [expected], shown);
  const [finding] = examined.findings.filter(({ code }) => code !== null);
  assert.match(finding?.found ?? '', named);
  assert.match(finding?.advice ?? '', /^[A-Z[].*\.$/s, 'a sentence');
  if (examined.status !== undefined) assert.equal(examined.status, expected.includes(' fault ') ? 1 : 0);
}

/** Everything below a folder: kind, mode, owner, size and times, and what small files hold. */
async function listed(place: string): Promise<readonly string[]> {
  const names = await readdir(place, { recursive: true });
  const lines = names.sort().map(async (name) => {
    const path = join(place, name);
    const { mode, uid, size, mtimeMs, ctimeMs } = await lstat(path);
    const bytes = (mode & 0o170000) === 0o100000 && size < 65536 ? await readFile(path, 'base64') : '';
    return [name, mode.toString(8), uid, size, mtimeMs, ctimeMs, bytes].join(' ');
  });
  return Promise.all(lines);
}
