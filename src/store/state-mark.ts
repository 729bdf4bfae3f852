import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { cannotRead, isAbsent } from '../errors/io.ts';
import { namesIfThere } from '../files/read-if-there.ts';
import { channelNames } from './channels.ts';
import { STATE_POLICY } from './state-policy.ts';

/**
 * What is another text whenever a channel moved, a release was withdrawn, or the policy or the keys that readers are told of are others: for who
 * follows a state and asks every second. A poll, since the kernel's watch on a folder says nothing on a file system of
 * the network, and loses its folder when that is replaced.
 *
 * @throws IoError
 */
export async function stateMark(state: string): Promise<string> {
  const channels = await channelNames(state);
  const withdrawn: string[] = [];
  for (const name of await namesIfThere(join(state, 'withdrawn')))
    for (const file of await namesIfThere(join(state, 'withdrawn', name)))
      withdrawn.push(join('withdrawn', name, file));
  const paths = [
    STATE_POLICY,
    join('anchors', 'snapshot.crt'),
    ...channels.map((name) => join('channels', name, 'current')),
    ...withdrawn,
  ];
  const marks = await Promise.all(paths.map((path) => markOf(join(state, path))));
  return paths.map((path, index) => `${path} ${marks[index]}`).join('\n');
}

async function markOf(path: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await lstat(path, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
  } catch (error) {
    if (isAbsent(error)) return 'absent';
    throw cannotRead(path, error);
  }
}
