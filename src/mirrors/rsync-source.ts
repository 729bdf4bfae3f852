import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { IoError } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { makeFolders } from '../files/make-folders.ts';
import { FolderSource } from './folder-source.ts';
import { demandShort, LEAST_RATE, type MirrorFile, type MirrorSource } from './mirror-source.ts';
import { snapshotInState } from './state-layout.ts';

const run = promisify(execFile);

export interface RsyncOptions {
  /** A folder of this machine that survives the pull: what rsync was at is gone on with there. */
  readonly staging: string;
  /** Bytes a second. */
  readonly limitRate?: number | undefined;
  /** Milliseconds without a byte after which a mirror is too slow. */
  readonly stallMs: number;
}

/**
 * A state of somebody else on an rsync daemon, by the rsync program: one call for each file, by its name, into a folder of
 * our own, no longer than it may be (the kernel ends rsync there, whatever the other side says), and nothing that is no
 * regular file. What has arrived is read as from a folder.
 */
export class RsyncSource implements MirrorSource {
  readonly name: string;
  readonly origin: string;
  readonly #folder: string;
  readonly #options: RsyncOptions;
  readonly #arrived: FolderSource;
  /** Small files that arrived for this pull. */
  #small: string | undefined;

  /**
   * @param address `rsync://HOST[:PORT]/MODULE/PATH`, or `HOST::MODULE/PATH`.
   * @throws UsageError for what is neither.
   */
  constructor(address: string, options: RsyncOptions) {
    this.origin = rsyncUrl(address);
    this.name = this.origin;
    this.#folder = join(
      options.staging,
      `rsync-${createHash('sha256').update(this.origin).digest('hex').slice(0, 16)}`,
    );
    this.#options = options;
    this.#arrived = new FolderSource(this.#folder, this.name, this.origin);
  }

  snapshot(channel: string): Promise<{ readonly bytes: Uint8Array; readonly seal: Uint8Array }> {
    return snapshotInState(channel, (key, limit) => this.read(key, limit));
  }

  async read(key: string, limit: number): Promise<Uint8Array> {
    await makeFolders(this.#folder, 0o700);
    this.#small ??= await mkdtemp(join(this.#folder, 'small-'));
    await this.#fetch(key, this.#small, limit, false);
    return new FolderSource(this.#small, this.name, this.origin).read(key, limit);
  }

  async open(key: string, first: number, size: number, signal?: AbortSignal): Promise<MirrorFile> {
    await this.#fetch(key, this.#folder, size, true, signal);
    return this.#arrived.open(key, first, size);
  }

  /** By the line that rsync lists it in; nothing of it is fetched. */
  async size(key: string, limit: number): Promise<number> {
    const where = `${this.origin}${key}`;
    const listed = await this.#run(key, 0, [
      'rsync',
      '--list-only',
      '--no-h',
      ...this.#patience,
      '--',
      where,
    ]);
    const [, octets] = /^-[^\n ]{9,10} +([0-9]{1,15}) [^\n]*\n$/.exec(listed) ?? [];
    if (octets === undefined) throw new Refusal('absent', `${where} is no file.`, { url: where });
    return demandShort(where, Number(octets), limit);
  }

  async close(): Promise<void> {
    if (this.#small !== undefined) await rm(this.#small, { recursive: true, force: true });
  }

  async #fetch(key: string, into: string, limit: number, keep: boolean, signal?: AbortSignal): Promise<void> {
    const to = join(into, key);
    await makeFolders(dirname(to), 0o700);
    const { limitRate } = this.#options;
    await this.#run(
      key,
      limit,
      [
        // A file of no bytes is a file; the limit is a signal where it is reached.
        ...['prlimit', `--fsize=${Math.max(limit, 1)}`, '--', 'rsync'],
        ...['--times', '--chmod=F600', `--max-size=${limit}`, ...this.#patience],
        ...(keep ? ['--partial', '--inplace'] : []),
        ...(limitRate === undefined ? [] : [`--bwlimit=${Math.max(1, Math.floor(limitRate / 1024))}`]),
        ...['--', `${this.origin}${key}`, to],
      ],
      signal,
    );
  }

  get #patience(): readonly string[] {
    const seconds = Math.max(1, Math.ceil(this.#options.stallMs / 1000));
    return [`--timeout=${seconds}`, `--contimeout=${seconds}`];
  }

  /** @param octets that it may bring. @returns what it printed. */
  async #run(
    key: string,
    octets: number,
    [file = '', ...words]: readonly string[],
    signal?: AbortSignal,
  ): Promise<string> {
    try {
      const env = { PATH: process.env.PATH, LC_ALL: 'C' };
      // To rsync's own clock a byte now and then is enough.
      const { limitRate = LEAST_RATE, stallMs } = this.#options;
      const waited = 2 * Math.max(1000, stallMs) + (octets / Math.min(LEAST_RATE, limitRate)) * 1000;
      const timeout = Math.min(Math.ceil(waited), 2 ** 31 - 1);
      const options = { env, maxBuffer: 64 * 1024, timeout, ...(signal ? { signal } : {}) };
      const { stdout } = await run(file, words, options);
      return stdout;
    } catch (error) {
      signal?.throwIfAborted();
      throw this.#fault(key, error);
    }
  }

  #fault(key: string, error: unknown): Error {
    const {
      code,
      killed,
      stderr = '',
    } = error as {
      code?: string | number | null;
      killed?: boolean;
      stderr?: string;
    };
    const where = `${this.origin}${key}`;
    if (killed === true && typeof code !== 'string')
      return new Refusal('unreachable', `${where} sends too slowly.`, { url: where, slow: true });
    if (code === 'ENOENT')
      return new IoError('rsync, or prlimit of util-linux, is not installed.', 'rsync', 'ENOENT');
    if (/No such file or directory|skipping non-regular file/.test(stderr))
      return new Refusal('absent', `${where} does not exist.`, { url: where });
    const said = stderr
      .split('\n')
      .filter((line) => line !== '')[0]
      ?.replace(/[^ -~]/g, '?')
      .slice(0, 200);
    return new Refusal(
      'unreachable',
      `${where} cannot be fetched${said === undefined ? '' : `: ${said.replace(/\.$/, '')}`}.`,
      { url: where },
      { cause: error },
    );
  }
}

/** `rsync://HOST/MODULE/PATH/`; HOST::MODULE means the same. @throws UsageError */
export function rsyncUrl(address: string): string {
  const [, host, path] = /^([A-Za-z0-9.-]+)::([!-~]+)$/.exec(address) ?? [];
  const url = host === undefined ? address : `rsync://${host}/${path}`;
  if (!/^rsync:\/\/[A-Za-z0-9.[\]:-]+\/[A-Za-z0-9._+@:,=~/-]+$/.test(url) || /(^|\/)\.\.?(\/|$)/.test(url))
    throw new UsageError(
      `${JSON.stringify(address)} is no address of an rsync daemon; write rsync://HOST/MODULE/ or HOST::MODULE.`,
    );
  return url.endsWith('/') ? url : `${url}/`;
}
