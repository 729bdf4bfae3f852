import { createHash } from 'node:crypto';
import type { Resource } from './site.ts';

/** Bytes in memory: records, seals and rendered scripts. A script and its seal are always from one snapshot. */
export function bytesResource(name: string, bytes: Uint8Array, immutable: boolean): Resource {
  return {
    size: bytes.length,
    sha256: createHash('sha256').update(bytes).digest('hex'),
    name,
    immutable,
    held: () => bytes,
    async open() {
      return {
        async read(buffer, position) {
          const piece = bytes.subarray(position, position + buffer.length);
          buffer.set(piece);
          return piece.length;
        },
        async check() {},
        async close() {},
      };
    },
  };
}
