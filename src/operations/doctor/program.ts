import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { isAbsent } from '../../errors/io.ts';
import { readPackageFile } from '../../files/package-file.ts';
import { clientsWithin, descriptorLimit } from '../../server/descriptors.ts';
import { type Finding, Findings } from './finding.ts';

/** Programs of others that Bootseal runs: for what, and the package that Debian has them in. */
const TOOLS: readonly (readonly [program: string, packageName: string, needs: string])[] = [
  ['flock', 'util-linux', 'everything that writes to a state (publish, channel, withdraw, resign, serve)'],
  ['grub-mkimage', 'grub-common', '"loaders grub"'],
  ['unsquashfs', 'squashfs-tools', '"overlay" where modules come out of a squashfs image'],
  ['fsck.erofs', 'erofs-utils', '"overlay" where modules come out of an erofs image'],
  ['perl', 'perl-base', '"keyholder"'],
  ['getent', 'libc-bin', '"keyholder --allow-user" and "--keyholder-user" by name'],
  ['gpgconf', 'gpgconf', 'signing by gpg-agent'],
  ['gpg-connect-agent', 'gpg', 'signing by gpg-agent'],
  ['openssl', 'openssl', 'signing by PKCS #11'],
];

/** Descriptors. Below the first nobody is served for long, below the second fewer machines than there may be. */
const FEW = { fault: 256, warning: 4096 } as const;

export interface ProgramFacts {
  /** `20.19.0` */
  readonly node: string;
  /** The least that will do: `20.19`. */
  readonly wanted: string;
  /** Undefined: no bound, or none that is known. */
  readonly descriptors: number | undefined;
  /** Programs of `TOOLS` that are not found. */
  readonly missing: ReadonlySet<string>;
}

export function judgeProgram({ node, wanted, descriptors, missing }: ProgramFacts): readonly Finding[] {
  const findings = new Findings('program');
  if (isOlder(node, wanted))
    findings.fault(
      'old-node',
      `Node.js ${node}, and ${wanted} is needed`,
      `Install Node.js ${wanted} or newer.`,
    );
  else findings.ok(`Node.js ${node}`);
  const { http, nbd } = clientsWithin(descriptors);
  const clients = `${http.maxConnections} clients of HTTP and ${nbd.maxConnections} of NBD at once`;
  const raise =
    'Raise the limit of open files where the server is started: "ulimit -n 65536", or LimitNOFILE=65536 in its unit.';
  const limit = descriptors === undefined ? 'no limit of open files is known' : `${descriptors} open files`;
  if (descriptors !== undefined && descriptors < FEW.fault)
    findings.fault('few-descriptors', `${limit} are allowed here: ${clients}`, raise);
  else if (descriptors !== undefined && descriptors < FEW.warning)
    findings.warning('few-descriptors', `${limit} are allowed here: ${clients}`, raise);
  else findings.ok(`${limit}: ${clients}`);
  const absent = TOOLS.filter(([program]) => missing.has(program));
  if (absent.length === 0)
    findings.ok(`${TOOLS.length} programs of others that some commands need are installed`);
  else
    findings.warning(
      'no-tool',
      `not installed: ${absent.map(([program, , needs]) => `${program}, needed for ${needs}`).join('; ')}`,
      `Install what is used on this machine (Debian: ${[...new Set(absent.map(([, name]) => name))].join(', ')}).`,
    );
  return findings.all;
}

/** @param path as in PATH. */
export async function programFacts(path: string): Promise<ProgramFacts> {
  const { engines } = JSON.parse(readPackageFile('.', 'package.json').toString('utf8')) as {
    readonly engines: { readonly node: string };
  };
  const missing = new Set<string>();
  // Administrators' programs, too, which users have no PATH to.
  const folders = [...path.split(':').filter((folder) => folder.startsWith('/')), '/usr/sbin', '/sbin'];
  for (const [program] of TOOLS) if (!(await isInstalled(program, folders))) missing.add(program);
  return {
    node: process.versions.node,
    wanted: engines.node.replace(/^>=/, ''),
    descriptors: descriptorLimit(),
    missing,
  };
}

async function isInstalled(program: string, folders: readonly string[]): Promise<boolean> {
  for (const folder of folders) {
    try {
      await access(join(folder, program), constants.X_OK);
      return true;
    } catch (error) {
      // One that may not be run is as good as none.
      if (!isAbsent(error)) continue;
    }
  }
  return false;
}

function isOlder(version: string, than: string): boolean {
  const parts = (text: string) => text.split('.').map(Number);
  const [have, want] = [parts(version), parts(than)];
  for (const [index, wanted] of want.entries()) {
    const own = have[index] ?? 0;
    if (own !== wanted) return own < wanted;
  }
  return false;
}
