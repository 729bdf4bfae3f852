import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** A seal that a loader is asked about. */
export interface ProbedSeal {
  /** What the screen calls it: words without a meaning to iPXE. */
  readonly name: string;
  /** The line of a script of ours that asks, as it stands there: `imgverify --signer …`. */
  readonly line: string;
  readonly seal: Uint8Array;
}

/** The lines of our scripts that put a reason into words. */
const REASON = /^(set bootseal-errno|set bootseal-why|iseq \$\{bootseal-errno\}) /;

/**
 * A boot.ipxe that first has the loader judge many seals over one text, each by the very line that our own scripts
 * judge by, and says `NAME: accepted` or `NAME: ` and our own words for the reason; then it does what `script` does.
 * One boot so asks what would take one each.
 *
 * @param site what a plain web server on port 8080 serves; gets the folder `probe`.
 * @param script a boot.ipxe of ours.
 */
export async function probeSeals(
  site: string,
  script: string,
  subject: Uint8Array,
  seals: readonly ProbedSeal[],
): Promise<string> {
  const folder = join(site, 'probe');
  await mkdir(folder);
  await writeFile(join(folder, 'subject'), subject);
  const reason = script.split('\n').filter((line) => REASON.test(line));
  if (reason.length < 3) throw new Error('boot.ipxe no longer says why it refuses');
  const lines = ['#!ipxe', 'imgfree', 'set bootseal-step fetch what is probed'];
  for (const [at, { name, line, seal }] of seals.entries()) {
    const verify = /^imgverify --signer \S+ (\S+) bootseal\.seal(?= \|\| goto refuse$)/.exec(line);
    if (verify === null) throw new Error(`a loader is not asked by: ${line}`);
    await writeFile(join(folder, `${at}.sig`), seal);
    lines.push(
      `imgfetch --name ${verify[1]} http://\${next-server}:8080/probe/subject || goto refuse`,
      `imgfetch --name bootseal.seal http://\${next-server}:8080/probe/${at}.sig || goto refuse`,
      `${verify[0]} && echo ${name}: accepted && goto probed.${at} ||`,
      ...reason,
      `echo ${name}: \${bootseal-why}`,
      `:probed.${at}`,
      'imgfree',
    );
  }
  return `${lines.join('\n')}\n${script}`;
}

/** The line of a script of ours that verifies an image of this name. */
export function verifyLine(script: string, image: string): string {
  const line = script.split('\n').find((one) => one.startsWith('imgverify ') && one.includes(` ${image} `));
  if (line === undefined) throw new Error(`the script verifies no ${image}`);
  return line;
}
