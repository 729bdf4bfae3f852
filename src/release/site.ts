import type { Refusal } from '../errors/refusal.ts';
import type { Protocol } from './server-event.ts';

/**
 * What the servers serve. HTTP, TFTP and NBD all ask the same `Site`, so a byte is accounted for once and
 * leaves the same over every protocol.
 */
export interface Site {
  /**
   * Finds what stands at `path`: decoded, absolute, `/`-separated, as in `/releases/arch/2026.11.01/version`.
   * Answers a refusal (`absent`, `unsafe-path`, `drifted`, …) instead of throwing.
   *
   * @param from who asks, where a protocol asks for a client.
   */
  find(path: string, from?: Client): Promise<Resource | Refusal>;
  /**
   * The same at once for what stands below `/releases/`, where it is one thing for whoever asks; undefined says nothing:
   * `find` knows. Absent where nothing can be said at once.
   */
  known?(path: string): Resource | Refusal | undefined;
  /**
   * What `find` would answer to whoever begins a boot with a script, where that is known without waiting for anything;
   * undefined says nothing: `find` knows. Nothing has happened yet: whoever gives it says so by `tell`. Absent where nothing
   * can be said at once.
   */
  begin?(path: string, from: Client): Beginning | undefined;
}

/** The script of a machine, or its seal, before it is given. */
export interface Beginning {
  readonly resource: Resource;
  /** It is given: what `find` would have told and remembered is told and remembered. Called once, or never. */
  tell(): void;
}

/** Who asks for a path: what it says of itself are claims. */
export interface Client {
  /** Its address, as events say it. */
  readonly remote: string;
  /** What an HTTP request's query says; TFTP has none. */
  readonly query?: URLSearchParams;
  /** Over which protocol; HTTP where it is not said. */
  readonly server?: Protocol;
}

/** One thing that may be served: sealed bytes whose size and digest are known before the first read. */
export interface Resource {
  /** Bytes. */
  readonly size: number;
  /** Lower-case hex, the strong ETag over HTTP. */
  readonly sha256: string;
  /** The name that decides the content type: `boot.ipxe`, `vmlinuz-linux`. */
  readonly name: string;
  /** Content type, where the name does not decide it. */
  readonly type?: string;
  /** True for files below `/releases/`: their bytes never change under that name. */
  readonly immutable: boolean;
  /**
   * Where else the same bytes are, for a client that goes there and verifies what it gets; undefined: nowhere. Absent
   * where nobody is sent away.
   */
  readonly elsewhere?: (client: 'ipxe' | 'curl') => Promise<string | undefined>;
  /**
   * All of its bytes, where they are in memory as they were verified, and what they were read from is at this moment what was
   * verified; undefined: `open` reads them, or says why not. Nobody may change them.
   */
  readonly held?: () => Uint8Array | undefined;
  /**
   * Opens it. Rejects with a `Refusal` (`drifted`) where the file is no longer the one that was verified, `unreachable` where
   * its content lies elsewhere and cannot be had.
   *
   * @param use default `parts`.
   */
  open(use?: Use): Promise<OpenResource>;
}

/**
 * What something is opened for: to read any part of it, all of it once from the first byte to the last, or nothing, only to
 * learn whether it could be read. Where its content is still on its way, all of it can be read as it comes, since the last
 * bytes wait for `check`; a part can be trusted only when all of it is there.
 */
export type Use = 'parts' | 'whole' | 'nothing';

/** One open descriptor: everything a response sends comes from here. */
export interface OpenResource {
  /** Fills `buffer` from `position`; resolves with the bytes read, 0 at the end. */
  read(buffer: Uint8Array, position: number): Promise<number>;
  /**
   * Resolves when dev, inode, size, mtime and ctime are still those of the verified file; rejects with a
   * `Refusal` (`drifted`) otherwise. Called before the last bytes of a response leave.
   */
  check(): Promise<void>;
  close(): Promise<void>;
}
