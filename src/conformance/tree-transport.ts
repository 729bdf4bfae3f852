import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Transport } from '../emulator/transport.ts';
import { Refusal } from '../errors/refusal.ts';
import { unreadable } from '../errors/unreadable.ts';
import { statIfThere } from '../files/read-if-there.ts';
import { MAX_MANIFEST } from '../formats/records/manifest.ts';
import { isSafePath } from '../formats/records/safe-path.ts';

/** Scripts that stand at the top of a site and in its release. */
const ENTRIES = /^\/(boot\.ipxe|grub\.cfg)(\.sig)?$/;

/** Bytes of one piece. */
const PIECE = 1024 * 1024;

/**
 * A tree as a plain web server would offer it, whatever is in it: nothing is verified or pinned on the way.
 * For judging what a client makes of a tree that our own server would refuse to serve.
 *
 * @param release whose files stand below `/releases/RELEASE/`.
 */
export function treeTransport(tree: string, release: string): Transport {
  const inside = `/releases/${release}/`;
  return {
    async fetch(text, { method, range } = {}) {
      const { pathname } = new URL(text);
      const path = decodeURIComponent(pathname);
      const name = ENTRIES.test(path)
        ? path.slice(1)
        : path.startsWith(inside)
          ? path.slice(inside.length)
          : '';
      const absent = new Refusal('absent', `${path} is not there.`, { path });
      if (!isSafePath(name)) throw absent;
      const facts = await statIfThere(join(tree, name));
      if (!facts?.isFile()) throw absent;
      const last = range ? Math.min(range.last, facts.size - 1) : facts.size - 1;
      const first = range?.first ?? 0;
      const size = last - first + 1;
      return {
        url: text,
        size,
        partial: range !== undefined,
        ...(range ? { part: { first, last, size: facts.size } } : {}),
        body:
          method === 'HEAD' || size <= 0
            ? empty()
            : createReadStream(join(tree, name), { start: first, end: last, highWaterMark: PIECE }),
      };
    },
  };
}

async function* empty(): AsyncIterable<Uint8Array> {}

/** A small record of a tree, unverified. Throws `absent`, `too-large`. */
export async function readRecord(tree: string, name: string): Promise<Uint8Array> {
  const facts = await statIfThere(join(tree, name));
  if (!facts?.isFile())
    throw new Refusal('absent', `${tree} has no ${name}: it is not sealed.`, { path: name });
  if (facts.size > MAX_MANIFEST)
    throw new Refusal('too-large', `${name} has ${facts.size} bytes.`, { path: name });
  return readFile(join(tree, name)).catch((error: unknown) => {
    throw unreadable(join(tree, name), error);
  });
}
