import { createHash } from 'node:crypto';
import { IoError } from '../../../src/errors/io.ts';
import { Refusal } from '../../../src/errors/refusal.ts';
import type { PromisedFile } from '../../../src/release/promised-file.ts';
import type { OpenResource } from '../../../src/release/site.ts';
import type { CacheEvents } from '../../../src/serve/cache/content-cache.ts';
import type { ContentSource } from '../../../src/serve/cache/source.ts';

export function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Promised by its digest. @param seal what a seal has against it, once it is here. */
export function promised(path: string, bytes: Uint8Array, seal?: () => Refusal | undefined): PromisedFile {
  const sha256 = digest(bytes);
  const name = path.slice(path.lastIndexOf('/') + 1);
  return {
    ...{ path, name, size: bytes.length, sha256 },
    async judge(arrived) {
      const { size, answers } = await arrived.measure([{ kind: 'digest', hash: 'sha256' }]);
      const found = Buffer.from(answers[0] as Uint8Array).toString('hex');
      if (found !== sha256 || size !== bytes.length)
        throw new Refusal('bad-signature', `${name} is not what was promised.`, {});
      const refusal = seal?.();
      if (refusal) throw refusal;
    },
  };
}

/** A store in memory that may be away, wait at a position, or give other bytes than it was given. */
export class TestSource implements ContentSource {
  readonly objects = new Map<string, Uint8Array>();
  /** Digests, each time one was opened. */
  readonly opened: string[] = [];
  /** `first-last` of each read. */
  readonly reads: string[] = [];
  away = false;
  /** Awaited before each read. */
  gate: (position: number) => Promise<void> = async () => {};

  put(bytes: Uint8Array): string {
    const sha256 = digest(bytes);
    this.objects.set(sha256, bytes);
    return sha256;
  }

  async open(sha256: string) {
    this.#demand();
    this.opened.push(sha256);
    const bytes = this.objects.get(sha256);
    if (!bytes) return undefined;
    return {
      size: bytes.length,
      read: async (buffer: Uint8Array, position: number) => {
        this.#demand();
        await this.gate(position);
        this.#demand();
        const piece = bytes.subarray(position, position + buffer.length);
        this.reads.push(`${position}-${position + piece.length - 1}`);
        buffer.set(piece);
        return piece.length;
      },
      close: async () => {},
    };
  }

  #demand(): void {
    if (this.away) throw new IoError('The engine is away.', 's3://test', 'ECONNREFUSED');
  }
}

/** What a cache says, in words. */
export function heard(): CacheEvents & { readonly said: string[] } {
  const said: string[] = [];
  return {
    said,
    refused: ({ path }, { code }) => said.push(`refused ${path}: ${code}`),
    restored: ({ path }) => said.push(`restored ${path}`),
    fetched: (bytes) => said.push(`fetched ${bytes}`),
    asked: (hit) => said.push(hit ? 'hit' : 'miss'),
    lost: ({ path }) => said.push(`lost ${path}`),
  };
}

/** All bytes, as a response takes them: the last piece only after `check`. */
export async function whole(open: OpenResource, size: number, piece = 65_536): Promise<Buffer> {
  try {
    const bytes = Buffer.alloc(size);
    for (let at = 0; at < size; ) {
      const count = await open.read(bytes.subarray(at, at + piece), at);
      if (count === 0) throw new Error('it ended early');
      at += count;
    }
    await open.check();
    return bytes;
  } finally {
    await open.close();
  }
}

/** A promise, and what settles it. */
export function gate(): { readonly passed: Promise<void>; open(): void } {
  let open = () => {};
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { passed, open: () => open() };
}
