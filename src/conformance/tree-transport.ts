import { join } from 'node:path';
import type { Transport } from '../emulator/transport.ts';
import { Refusal } from '../errors/refusal.ts';
import { openBeneath, readBeneathIfThere } from '../files/beneath.ts';
import { statIfThere } from '../files/read-if-there.ts';
import { readInto, reading } from '../files/reading.ts';
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
        body: content(tree, name, first, method === 'HEAD' ? 0 : size),
      };
    },
  };
}

async function* content(tree: string, name: string, first: number, size: number): AsyncIterable<Uint8Array> {
  if (size <= 0) return;
  const { handle } = await openBeneath(tree, name);
  try {
    for (let at = 0; at < size; ) {
      const piece = Buffer.allocUnsafe(Math.min(PIECE, size - at));
      const read = await reading(join(tree, name), undefined, () => readInto(handle, piece, first + at));
      if (read < piece.length)
        throw new Refusal('drifted', `${name} became shorter while it was being read.`, { path: name });
      yield piece;
      at += read;
    }
  } finally {
    await handle.close().catch(() => {});
  }
}

/** A small record of a tree, unverified. Throws `absent`, `too-large`. */
export async function readRecord(tree: string, name: string): Promise<Uint8Array> {
  const bytes = await readBeneathIfThere(tree, name, MAX_MANIFEST);
  if (bytes) return bytes;
  throw new Refusal('absent', `${tree} has no ${name}: it is not sealed.`, { path: name });
}
