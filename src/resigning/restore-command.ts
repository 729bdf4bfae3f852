import { join } from 'node:path';
import type { Refusal } from '../errors/refusal.ts';
import { type Manifest, PLAIN_LAYOUT } from '../formats/records/manifest.ts';
import { shellLine } from '../formats/script/shell-line.ts';
import { serialOf } from '../release/serial.ts';

/** What a person types, in a shell, to take a release back that is in quarantine. */

export interface RestoreFacts {
  readonly state: string;
  /** The `init` folder that was given. */
  readonly keys: string;
  readonly release: string;
  /** Where its files are, or are about to be; undefined: on no machine, but in a bucket. */
  readonly folder: string | undefined;
  /** Undefined where its manifest could not be read. */
  readonly manifest: Manifest | undefined;
  readonly refusal: Refusal;
  /** Its own seals still hold: what is missing is somebody to sign. */
  readonly sound: boolean;
}

export function restoreCommand({
  state,
  keys,
  release,
  folder,
  manifest,
  refusal,
  sound,
}: RestoreFacts): string {
  if (sound) {
    // A key that is elsewhere: the folder that has it. One that ended, or was struck off: that of its successor.
    const wanted = refusal.code === 'unreachable' ? keys : `FOLDER-WITH-${wantedKey(refusal)}`;
    return words('bootseal', 'resign', '--state', state, '--only', release, '--keys', wanted);
  }
  if (!manifest && folder === undefined)
    return words('bootseal', 'resign', '--state', state, '--restore', release, '--keys', keys);
  if (!manifest) return words('bootseal', 'verify', folder ?? release, '--anchors', join(keys, 'anchors'));
  // Its seals hold no more: it is sealed as if it were new, from a copy, and passes every gate again.
  const copy = folder === undefined ? 'ITS-TREE' : release.replace('/', '-');
  const good = refusal.code === 'expired' || refusal.code === 'revoked' ? 'NEW-KEYS' : keys;
  return [
    ...(folder === undefined ? [] : [words('cp', '-r', folder, copy)]),
    words('bootseal', 'seal', copy, '--keys', good, ...layoutWords(release, manifest)),
    words('bootseal', 'publish', copy, '--state', state, '--anchors', good, '--channel', 'CHANNEL'),
  ].join(' && ');
}

function wantedKey({ facts: { kind, from } }: Refusal): string {
  return typeof kind === 'string' && typeof from === 'string' ? `${kind}-${from.slice(0, 16)}` : 'ITS-KEYS';
}

function layoutWords(release: string, { files, cmdline, moduleCmdline, layout, serial }: Manifest): string[] {
  const paths = (role: string) => files.filter((file) => file.role === role).map(({ path }) => path);
  const arch = /^[^/]+\/boot\/[^/]+\/vmlinuz-[^/]+$/.test(paths('kernel')[0] ?? '');
  const named = [
    ...paths('kernel').flatMap((path) => ['--kernel', path]),
    ...paths('module').flatMap((path) => ['--module', path]),
    ...(paths('initrd').length > 0 ? ['--initrd', ...paths('initrd')] : []),
    ...paths('rootfs').flatMap((path) => ['--rootfs', path]),
  ];
  return [
    '--release',
    release,
    ...(arch ? [] : named),
    '--cmdline',
    cmdline.join(' '),
    ...(moduleCmdline ? ['--module-cmdline', moduleCmdline.join(' ')] : []),
    ...(layout === (arch ? 'archiso' : PLAIN_LAYOUT) ? [] : ['--layout', layout]),
    ...(serialOf(release) === serial ? [] : ['--serial', String(serial)]),
  ];
}

/** Words that a shell reads as they are meant. */
function words(...list: readonly string[]): string {
  return shellLine(list);
}
