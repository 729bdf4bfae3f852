import { Refusal } from '../errors/refusal.ts';
import { demandSameFile, type FileIdentity, identityOf } from './file-identity.ts';
import { bytesContent, type Content, type Measured, measureFile, openRegular } from './measure.ts';
import type { Question } from './measurer.ts';
import { reading } from './reading.ts';

/** Content whose file is known again later. */
export interface Source extends Content {
  readonly identity: FileIdentity | undefined;
}

/** A file of any size, read once for all that is asked. */
export class FileSource implements Source {
  readonly #path: string;
  readonly #onProgress: (octets: number) => void;
  identity: FileIdentity | undefined;

  constructor(path: string, onProgress: (octets: number) => void) {
    this.#path = path;
    this.#onProgress = onProgress;
  }

  async measure(questions: readonly Question[]): Promise<Measured> {
    const measured = await measureFile(this.#path, questions, { onProgress: this.#onProgress });
    this.identity = measured.identity;
    return measured;
  }
}

/** A small record, kept in memory: what is decoded later is what was verified, not what stands there then. */
export class RecordSource implements Source {
  readonly #path: string;
  readonly #name: string;
  bytes: Uint8Array = new Uint8Array();
  identity: FileIdentity | undefined;

  constructor(path: string, name: string) {
    this.#path = path;
    this.#name = name;
  }

  async measure(questions: readonly Question[]): Promise<Measured> {
    const { bytes, identity } = await readSmall(this.#path, this.#name);
    this.bytes = bytes;
    this.identity = identity;
    return bytesContent(bytes).measure(questions);
  }
}

/** Seals, checksum files, records: at most 1 MiB, read whole from one descriptor. */
export async function readSmall(
  path: string,
  name: string,
): Promise<{ bytes: Uint8Array; identity: FileIdentity }> {
  const { handle, identity } = await openRegular(path).catch((error) => {
    if (error instanceof Refusal && error.code === 'absent') {
      throw new Refusal('absent', `${name} is missing.`, { path: name });
    }
    throw error;
  });
  return reading(path, handle, async () => {
    if (identity.size > 1024n * 1024n) {
      throw new Refusal('too-large', `${name} has ${identity.size} bytes; no seal or record is that long.`, {
        path: name,
      });
    }
    const bytes = await handle.readFile();
    demandSameFile(name, identity, identityOf(await handle.stat({ bigint: true })));
    return { bytes, identity };
  });
}
