import { X509Certificate } from 'node:crypto';
import { open, stat } from 'node:fs/promises';
import { cannotRead, isAbsent } from '../errors/io.ts';
import { UsageError } from '../errors/usage.ts';
import { isoSeconds } from '../formats/records/lines.ts';
import type { Log } from '../serve/event-log.ts';
import { demandPair, type TlsPair } from '../serve/http/tls-door.ts';
import type { DatedCertificate } from '../trust/endings.ts';

/** Where the certificate of HTTPS and its key lie: paths. */
export interface TlsPaths {
  readonly certificate: string;
  readonly key: string;
}

const NOT_USED = 'the new certificate of HTTPS is not used, and the old one stays';
/** Bytes; a chain of a dozen certificates has a few thousand. */
const MAX_PEM = 256 * 1024;
/** Milliseconds before its end from which on a certificate is warned of. */
const SOON_MS = 14 * 86_400_000;

/**
 * The certificate and key of HTTPS, followed as others renew them. A new pair counts when it is whole: the two files are
 * written one after the other, and for a moment do not belong together. Until then, and where it never does, the old one
 * stays.
 */
export class TlsFiles {
  readonly #paths: TlsPaths;
  readonly #clock: () => number;
  readonly #log: Log;
  #mark = '';
  #pair: TlsPair;
  #fault: string | undefined;
  #told: string | undefined;

  private constructor(paths: TlsPaths, clock: () => number, log: Log, mark: string, pair: TlsPair) {
    this.#paths = paths;
    this.#clock = clock;
    this.#log = log;
    this.#mark = mark;
    this.#pair = pair;
  }

  /**
   * Reads both.
   *
   * @param clock milliseconds since 1970.
   * @throws UsageError for files that are not there, are no pair, or a key that others may read; IoError.
   */
  static async open(paths: TlsPaths, clock: () => number, log: Log): Promise<TlsFiles> {
    const mark = await markOf(paths);
    return new TlsFiles(paths, clock, log, mark, await readPair(paths));
  }

  get pair(): TlsPair {
    return this.#pair;
  }

  /** What clients are shown first; it may be by any authority, and of any kind that TLS knows. */
  get shown(): DatedCertificate {
    const {
      subject = '',
      subjectAltName = '',
      validFrom,
      validTo,
      raw,
    } = new X509Certificate(this.#pair.certificate);
    const name = /^CN=(.+)$/m.exec(subject)?.[1] ?? subjectAltName.split(', ')[0]?.replace(/^[^:]*:/, '');
    return {
      commonName: name ?? '',
      notBefore: Date.parse(validFrom),
      notAfter: Date.parse(validTo),
      raw,
    };
  }

  /** What an operator should know, one sentence each. */
  get warnings(): readonly string[] {
    const ends = new X509Certificate(this.#pair.certificate).validTo;
    const left = Date.parse(ends) - this.#clock();
    const end = isoSeconds(Date.parse(ends));
    return [
      // Why is in the log: it names files, and everybody sees this.
      ...(this.#told === undefined ? [] : [`${NOT_USED}; the log says why`]),
      ...(left <= 0 ? [`the certificate of HTTPS ended on ${end}`] : []),
      ...(left > 0 && left <= SOON_MS ? [`the certificate of HTTPS ends on ${end}`] : []),
    ];
  }

  /** Looks whether the files were changed. @param use is given a new pair. */
  async look(use: (pair: TlsPair) => void): Promise<void> {
    const { certificate } = this.#paths;
    try {
      const mark = await markOf(this.#paths);
      if (mark !== this.#mark) {
        const pair = await readPair(this.#paths);
        // Between two writes the first look may have seen a file that is no more: then the next one reads again.
        if (mark !== (await markOf(this.#paths))) return;
        use(pair);
        this.#mark = mark;
        this.#pair = pair;
        this.#log.info(
          { certificate, ends: new X509Certificate(pair.certificate).validTo },
          'HTTPS has a new certificate',
        );
      }
      this.#fault = undefined;
      this.#told = undefined;
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      // Seen twice, a second apart: nobody is in the middle of writing it.
      if (message === this.#fault && message !== this.#told) {
        this.#told = message;
        this.#log.error({ certificate, reason: message }, NOT_USED);
      }
      this.#fault = message;
    }
  }
}

async function readPair({ certificate, key }: TlsPaths): Promise<TlsPair> {
  const pair = { certificate: await readPem(certificate, false), key: await readPem(key, true) };
  try {
    new X509Certificate(pair.certificate);
  } catch {
    throw new UsageError(`${certificate} holds no certificate in PEM.`);
  }
  if (/ENCRYPTED/.test(Buffer.from(pair.key).toString('latin1')))
    throw new UsageError(
      `${key} has a passphrase, and nobody is there to give it when a server starts; store it without.`,
    );
  try {
    demandPair(pair);
  } catch {
    throw new UsageError(
      `${certificate} and ${key} are no pair: the key is another one's, or no key in PEM.`,
    );
  }
  return pair;
}

/** One descriptor for both, so that the file whose mode was looked at is the one that is read. */
async function readPem(path: string, secret: boolean): Promise<Buffer> {
  try {
    const handle = await open(path, 'r');
    try {
      const { uid, mode, size } = await handle.stat();
      if (secret) demandSecret(path, uid, mode);
      if (size > MAX_PEM)
        throw new UsageError(`${path} has ${size} bytes; no certificate or key is that long.`);
      return await handle.readFile();
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof UsageError) throw error;
    if (isAbsent(error)) throw new UsageError(`${path} does not exist.`);
    throw cannotRead(path, error);
  }
}

/** 0600, or readable for a group where it is root's: as certbot, Debian's ssl-cert and systemd's credentials leave it. */
function demandSecret(path: string, uid: number, mode: number): void {
  const others = mode & 0o037;
  const group = mode & 0o040;
  if (others === 0 && (group === 0 || uid === 0)) return;
  const shown = (mode & 0o777).toString(8).padStart(4, '0');
  throw new UsageError(
    `${path} is readable for others (mode ${shown}), and is a private key; run "chmod 600 ${path}".`,
  );
}

/** What is another text whenever one of the files is another or was changed; links are followed, as certbot makes them. */
async function markOf({ certificate, key }: TlsPaths): Promise<string> {
  const marks: string[] = [];
  for (const path of [certificate, key]) {
    const found = await stat(path, { bigint: true }).catch((error: unknown) => {
      if (isAbsent(error)) throw new UsageError(`${path} does not exist.`);
      throw cannotRead(path, error);
    });
    marks.push([found.dev, found.ino, found.size, found.mtimeNs, found.ctimeNs].join(' '));
  }
  return marks.join('\n');
}
