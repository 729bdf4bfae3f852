/** How the emulated machine reaches a server. A parameter everywhere: nothing in `client/` opens a socket itself. */
export interface Transport {
  /**
   * Fetches `url` (`http:`, `tftp:`). Rejects with a `Refusal`: `absent` when the server says that there is
   * no such file, `unreachable` when it does not answer or ends early.
   */
  fetch(url: string, options?: FetchOptions): Promise<Fetched>;
}

export interface FetchOptions {
  readonly method?: 'GET' | 'HEAD' | 'POST';
  /** What a POST sends: JSON. */
  readonly body?: string;
  /** First and last byte, inclusive, as in an HTTP Range request. */
  readonly range?: { readonly first: number; readonly last: number };
  /** What the client calls itself over HTTP; absent: nothing. */
  readonly userAgent?: string;
  readonly signal?: AbortSignal;
}

export interface Fetched {
  /** What was asked for, after redirects. */
  readonly url: string;
  /** Bytes, where the server said so. A claim, not a fact. */
  readonly size: number | undefined;
  /** True when the server honoured `range`. */
  readonly partial: boolean;
  /** Which part it says that is, where it said so; `size` is the whole file's. Claims, not facts. */
  readonly part?: { readonly first: number; readonly last: number; readonly size: number | undefined };
  /** Arrives in pieces of any size. Rejects with a `Refusal` (`unreachable`) when the transfer breaks. */
  readonly body: AsyncIterable<Uint8Array>;
}
