/** A file of a release, read in parts over a network. Nothing that it gives is trusted. */
export interface BlockSource {
  /** Relative to the release: `arch/x86_64/airootfs.sfs`. */
  readonly path: string;
  /** Bytes, from the manifest. */
  readonly size: number;
  /** Bytes that arrived so far, wanted or not. */
  readonly fetched: number;
  /** How often the server was asked. */
  readonly requests: number;
  /** Exactly so many bytes from there, or a `Refusal`. */
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** What a file system is mounted from: nothing leaves it that was not verified. */
export interface BlockDevice {
  /** Bytes. */
  readonly size: number;
  /** Rejects with a `Refusal`, and from then on always. */
  read(offset: number, length: number): Promise<Uint8Array>;
}
