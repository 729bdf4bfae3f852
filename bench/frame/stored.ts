import { spawnSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bootseal, type SealedSite } from './product.ts';

/** States with much in them: what a benchmark asks a server about. */

const CHANNEL = 'stable';

/** Publishes a sealed site's release as the channel `stable` of a state, a folder or a bucket. */
export async function publishSite(
  { tree, keys, anchors }: SealedSite,
  state: string,
  channel = CHANNEL,
): Promise<string> {
  const where = ['--channel', channel, '--state', state, '--anchors', anchors];
  await bootseal('publish', tree, ...where, '--snapshot-key', keys, '--quiet');
  return state;
}

/** Makes what is written about machines count. */
export function applyMachines({ keys, anchors }: SealedSite, state: string) {
  const who = ['--script-keys', keys, '--snapshot-key', keys, '--quiet'];
  return bootseal('machines', 'apply', '--state', state, '--anchors', anchors, ...who);
}

/** The address of the card of machine number so and so. */
export function macOf(at: number): string {
  const hex = at.toString(16).padStart(8, '0');
  return `52:54:${hex.slice(0, 2)}:${hex.slice(2, 4)}:${hex.slice(4, 6)}:${hex.slice(6, 8)}`;
}

/** What an operator writes down of so many machines in so many groups. With no groups each machine has words of its own. */
export function machinesText(machines: number, groups: number): string {
  const known = Array.from({ length: machines }, (_, at) => {
    const gets = `gets = { channel = "${CHANNEL}", words = ["archiso_http_srv=http://10.0.0.1/${at}/"] }`;
    const more = groups > 0 ? `labels = "g${at % groups}"` : gets;
    return `[[machine]]\nname = "m${at}"\nmac = "${macOf(at)}"\n${more}\n`;
  });
  const sets = Array.from(
    { length: groups },
    (_, at) => `[[group]]\nname = "g${at}"\nlabels = "g${at}"\ngets = { channel = "${CHANNEL}" }\n`,
  );
  return [...known, ...sets].join('\n');
}

export async function writeMachines(state: string, machines: number, groups: number): Promise<void> {
  await mkdir(join(state, 'machines'), { recursive: true });
  await writeFile(join(state, 'machines', 'all.toml'), machinesText(machines, groups));
}

/** A copy; links inside it stay links. */
export function copyState(state: string, to: string): string {
  copy('-a', state, to);
  return to;
}

/** As if so many releases had been published: links to the files of one that was. No channel names them. */
export function addReleases(state: string, { release }: SealedSite, count: number): void {
  const place = join(state, 'releases');
  for (let at = 0; at < count; at += 1) copy('-al', join(place, release), join(place, 'arch', `2025.${at}`));
}

function copy(how: string, from: string, to: string): void {
  const { status, stderr } = spawnSync('cp', [how, from, to], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
}
