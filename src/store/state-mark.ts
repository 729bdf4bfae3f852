import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { cannotRead, isAbsent } from '../errors/io.ts';
import { namesIfThere } from '../files/read-if-there.ts';
import { channelNames } from './channels.ts';
import type { S3Backend } from './s3/backend.ts';
import { bucketOf } from './s3/buckets.ts';
import { STATE_POLICY } from './state-policy.ts';

/**
 * What is another text whenever a channel moved, a release was withdrawn, or the policy or the keys that readers are told of are others: for who
 * follows a state and asks every second. A poll, since the kernel's watch on a folder says nothing on a file system of
 * the network, and loses its folder when that is replaced.
 *
 * Of a bucket it costs four requests and one for each channel, whatever the state holds: two lists and two records, and
 * every channel's `current`. Asked every five seconds with three channels that is 120,000 requests a day.
 *
 * @throws IoError
 */
export async function stateMark(state: string): Promise<string> {
  const bucket = bucketOf(state);
  if (bucket) return bucketMark(bucket);
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

async function bucketMark(bucket: S3Backend): Promise<string> {
  const [channels, withdrawn] = await Promise.all([
    bucket.list('channels'),
    bucket.versionsBelow('withdrawn'),
  ]);
  const keys = [STATE_POLICY, 'anchors/snapshot.crt'];
  for (const name of channels) if (name.endsWith('/')) keys.push(`channels/${name}current`);
  const records = await Promise.all(keys.map((key) => bucket.get(key)));
  const marks = keys.map((key, index) => `${key} ${records[index]?.version ?? 'absent'}`);
  for (const [key, version] of withdrawn) marks.push(`${key} ${version}`);
  return marks.join('\n');
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
