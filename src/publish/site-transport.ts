import type { Fetched, FetchOptions, Transport } from '../emulator/transport.ts';
import { Refusal } from '../errors/refusal.ts';
import type { Resource, Site } from '../release/site.ts';

/** Bytes of one piece. */
const PIECE = 1024 * 1024;

/**
 * A network that is no network: whatever host a URL names, the site answers. What an emulated machine then
 * gets is what `serve` would send, path by path, and nothing that only lies beside it on the disk.
 */
export function siteTransport(site: Site): Transport {
  return {
    async fetch(text, options = {}) {
      const url = new URL(text);
      if (options.method === 'POST') throw new Refusal('absent', `Nothing takes a report at ${text}.`, {});
      const found = await site.find(decodeURIComponent(url.pathname));
      if (found instanceof Refusal) throw found;
      return answer(text, found, options);
    },
  };
}

function answer(url: string, resource: Resource, { method, range }: FetchOptions): Fetched {
  const first = range?.first ?? 0;
  const end = Math.min(range ? range.last + 1 : resource.size, resource.size);
  if (range && first >= resource.size) {
    throw new Refusal('absent', `${url} has no byte ${first}.`, { size: resource.size });
  }
  return {
    url,
    size: end - first,
    partial: range !== undefined,
    ...(range ? { part: { first, last: end - 1, size: resource.size } } : {}),
    body: method === 'HEAD' ? nothing() : body(resource, first, end),
  };
}

async function* nothing(): AsyncIterable<Uint8Array> {}

async function* body(resource: Resource, first: number, end: number): AsyncIterable<Uint8Array> {
  const open = await resource.open();
  try {
    for (let at = first; at < end; ) {
      const piece = new Uint8Array(Math.min(PIECE, end - at));
      const count = await open.read(piece, at);
      if (count === 0) throw new Refusal('drifted', `${resource.name} ended early.`, { name: resource.name });
      at += count;
      yield piece.subarray(0, count);
    }
    await open.check();
  } finally {
    await open.close();
  }
}
