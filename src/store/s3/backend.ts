import { IoError } from '../../errors/io.ts';
import { Refusal } from '../../errors/refusal.ts';
import {
  demandKey,
  isKeySegment,
  MAX_RECORD,
  type StoreBackend,
  type StoredContent,
  type StoredFacts,
  type StoredFile,
  type StoredRecord,
  type Version,
} from '../backend.ts';
import { etagOf, openedObject } from './answer.ts';
import { fillFrom } from './body.ts';
import { Engine, type EngineOptions } from './engine.ts';
import { absentIfNoKey, EngineFault, NotS3 } from './fault.ts';
import { eachPage } from './listing.ts';
import { type BucketPlace, objectAt, subjectOf } from './location.ts';
import { isRemovedByList, isRemovedMark, REMOVED_SIZE, removedMark } from './removed.ts';
import { BucketWriter } from './writer.ts';

/** Bytes. What every engine takes in one PUT, and copies in one. */
const MAX_CONTENT = 5 * 1024 ** 3;
/** Bytes that a record may take its time for: most are shorter, and one that is longer must come faster. */
const RECORD = 16 * 1024 * 1024;

interface Head {
  readonly size: number;
  readonly etag: string;
  readonly modified: number;
}

/**
 * A state in a bucket. Every write is one PUT, never in parts: conditions are not kept when parts are joined. What several
 * may write at once is written on a condition (`putIfAbsent`, `compareAndSwap`); whether the engine keeps conditions is
 * tried before the first such write, since nothing else holds two writers apart. A version is the ETag, bare.
 *
 * Where the answer to a conditional write was lost, the key is read, and the write was ours if it bears our mark. Somebody
 * may have replaced it in between: then `compareAndSwap` answers false although it had moved. Keys that are only ever put
 * if absent know no such doubt.
 *
 * A record that is swapped for nothing leaves a mark that reads as absent (removed.ts). `remove` is a plain DELETE: it is
 * for keys that are written once and that nobody writes now.
 */
export class S3Backend implements StoreBackend {
  readonly #place: BucketPlace;
  readonly #engine: Engine;
  readonly #writer: BucketWriter;

  constructor(place: BucketPlace, options: EngineOptions = {}) {
    this.#place = place;
    this.#engine = new Engine(place, options);
    this.#writer = new BucketWriter(place, this.#engine);
  }

  /** Finds out, once, whether the engine keeps conditions. @throws UsageError for one that does not; IoError. */
  async demandConditions(): Promise<void> {
    await this.#writer.etagForm();
  }

  async get(key: string, most = MAX_RECORD): Promise<StoredRecord | undefined> {
    const subject = subjectOf(this.#place, key);
    const found = await absentIfNoKey(
      this.#engine.ask(
        subject,
        'read',
        async ({ client, sdk, abortSignal }) => {
          const answer = await client.send(new sdk.GetObjectCommand(objectAt(this.#place, key)), {
            abortSignal,
          });
          const { size, etag, body } = openedObject(answer);
          if (size > most) {
            body.destroy();
            throw new Refusal('too-large', `${subject} has ${size} bytes; no record is that long.`, {
              path: subject,
            });
          }
          const bytes = new Uint8Array(size);
          await fillFrom(body, bytes);
          return { bytes, version: etag };
        },
        Math.min(most, RECORD),
      ),
    );
    return found && !isRemovedMark(found.bytes) ? found : undefined;
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    await this.#writer.put(key, bytes, undefined);
  }

  putIfAbsent(key: string, bytes: Uint8Array): Promise<boolean> {
    return this.compareAndSwap(key, undefined, bytes);
  }

  async compareAndSwap(
    key: string,
    before: Version | undefined,
    after: Uint8Array | undefined,
  ): Promise<boolean> {
    const subject = subjectOf(this.#place, key);
    const bytes = after ?? removedMark();
    if (isRemovedMark(bytes) && after) throw new RangeError(`${subject}: these bytes stand for no record`);
    if (before === undefined) {
      if (!after) return (await this.get(key)) === undefined;
      if (await this.#writer.writeIfAbsent(key, bytes)) return true;
      const mark = await this.#removedEtag(key);
      return mark !== undefined && (await this.#writer.writeIfMatch(key, bytes, mark));
    }
    return this.#writer.writeIfMatch(key, bytes, before);
  }

  async putFile(key: string, file: StoredFile): Promise<void> {
    demandKey(key);
    if (file.size > MAX_CONTENT)
      throw new Refusal(
        'too-large',
        `${file.name} has ${file.size} bytes, and a bucket takes ${MAX_CONTENT} in one piece.`,
        { path: file.name, limit: MAX_CONTENT },
      );
    await this.#writer.putFile(key, file);
  }

  async open(key: string): Promise<StoredContent | undefined> {
    const head = await this.#head(key);
    if (!head || (await this.#isRemoved(key, head))) return undefined;
    const { size, etag } = head;
    const subject = subjectOf(this.#place, key);
    return {
      size,
      read: async (buffer, position) => {
        const length = Math.min(buffer.length, size - position);
        if (length <= 0) return 0;
        const ask = this.#readRange(key, etag, size, buffer.subarray(0, length), position);
        if ((await absentIfNoKey(ask)) === undefined)
          throw new IoError(`${subject} was taken away while it was read.`, subject, undefined);
        return length;
      },
      close: async () => {},
    };
  }

  async facts(key: string): Promise<StoredFacts | undefined> {
    const head = await this.#head(key);
    if (!head || (await this.#isRemoved(key, head))) return undefined;
    return { size: head.size, modified: head.modified };
  }

  async copy(from: string, to: string): Promise<boolean> {
    const subject = subjectOf(this.#place, to);
    const head = await this.#head(from);
    if (!head || (await this.#isRemoved(from, head))) return false;
    const place = objectAt(this.#place, from);
    const source = `${place.Bucket}/${place.Key.split('/').map(encodeURIComponent).join('/')}`;
    const done = await absentIfNoKey(
      this.#engine.ask(
        subject,
        'written',
        async ({ client, sdk, abortSignal }) => {
          const command = new sdk.CopyObjectCommand({
            ...objectAt(this.#place, to),
            CopySource: source,
            MetadataDirective: 'COPY',
          });
          const answer = await client.send(command, { abortSignal });
          etagOf(answer.CopyObjectResult?.ETag);
          return true;
        },
        head.size,
      ),
    );
    return done === true;
  }

  remove(key: string): Promise<void> {
    return this.#writer.remove(key);
  }

  async list(prefix: string): Promise<readonly string[]> {
    if (prefix !== '') demandKey(prefix);
    const names = new Set<string>();
    const doubtful: string[] = [];
    await eachPage(this.#engine, this.#place, prefix, '/', ({ keys, prefixes }) => {
      for (const { name, size, etag } of keys) {
        if (!isKeySegment(name)) continue;
        const removed = isRemovedByList(size, etag);
        if (removed === true) continue;
        if (removed === undefined) doubtful.push(name);
        names.add(name);
      }
      for (const name of prefixes) if (name.endsWith('/') && isKeySegment(name.slice(0, -1))) names.add(name);
      return names.size;
    });
    for (const name of doubtful)
      if ((await this.get(prefix === '' ? name : `${prefix}/${name}`)) === undefined) names.delete(name);
    return [...names].sort();
  }

  /**
   * Every key below a prefix, however deep, with its version, sorted by key: one request for a thousand of them.
   *
   * @throws Refusal `too-large` for more than `MAX_NAMES`.
   */
  async versionsBelow(prefix: string): Promise<ReadonlyMap<string, Version>> {
    demandKey(prefix);
    const found: [string, Version][] = [];
    await eachPage(this.#engine, this.#place, prefix, undefined, ({ keys }) => {
      for (const { name, size, etag } of keys)
        if (name.split('/').every(isKeySegment) && isRemovedByList(size, etag) !== true)
          found.push([`${prefix}/${name}`, etagOf(etag)]);
      return found.length;
    });
    return new Map(found.sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /**
   * Gives every key below a prefix to `take`, however deep it lies and however many there are: one page of a list is in
   * memory at once.
   */
  async eachBelow(prefix: string, take: (key: string, facts: StoredFacts) => void): Promise<void> {
    demandKey(prefix);
    await eachPage(this.#engine, this.#place, prefix, undefined, ({ keys }) => {
      for (const { name, size, etag, modified } of keys) {
        if (!name.split('/').every(isKeySegment) || isRemovedByList(size, etag) === true) continue;
        if (size === undefined || modified === undefined || Number.isNaN(modified))
          throw new NotS3('a list without sizes and dates');
        take(`${prefix}/${name}`, { size, modified });
      }
      return 0;
    });
  }

  /**
   * An address at which whoever has it may fetch a key, without credentials.
   *
   * @param seconds for which it is good; no longer than the credentials that it is signed with.
   */
  async presigned(key: string, seconds: number): Promise<string> {
    return this.#engine.ask(subjectOf(this.#place, key), 'pointed at', async ({ client, sdk }) => {
      const { getSignedUrl } = await import('@aws-sdk/s3-request-presigner');
      const command = new sdk.GetObjectCommand(objectAt(this.#place, key));
      return getSignedUrl(client, command, { expiresIn: seconds });
    });
  }

  async #readRange(
    key: string,
    etag: string,
    size: number,
    into: Uint8Array,
    position: number,
  ): Promise<true> {
    const subject = subjectOf(this.#place, key);
    return this.#engine.ask(
      subject,
      'read',
      async ({ client, sdk, abortSignal }) => {
        const last = position + into.length - 1;
        const answer = await client.send(
          new sdk.GetObjectCommand({ ...objectAt(this.#place, key), Range: `bytes=${position}-${last}` }),
          { abortSignal },
        );
        const { size: length, etag: found, body } = openedObject(answer);
        try {
          // Not by `If-Match`: an engine that does not keep it would go unnoticed.
          if (found !== etag)
            throw new IoError(
              `${subject} was replaced while it was read; read it again.`,
              subject,
              undefined,
            );
          const whole = position === 0 && into.length === size && answer.ContentRange === undefined;
          if (!whole && answer.ContentRange !== `bytes ${position}-${last}/${size}`)
            throw new NotS3('another range than it was asked for');
          if (length !== into.length) throw new NotS3('another length than it was asked for');
          await fillFrom(body, into);
        } catch (error) {
          body.destroy();
          throw error;
        }
        return true as const;
      },
      into.length,
    );
  }

  /** Undefined only where the engine says that there is no such key: the answer to HEAD has no room for why it is 404. */
  async #head(key: string): Promise<Head | undefined> {
    const subject = subjectOf(this.#place, key);
    try {
      return await this.#engine.ask(subject, 'looked at', async ({ client, sdk, abortSignal }) => {
        const answer = await client.send(new sdk.HeadObjectCommand(objectAt(this.#place, key)), {
          abortSignal,
        });
        const { ContentLength: size, LastModified: modified } = answer;
        if (size === undefined || !modified || Number.isNaN(modified.getTime()))
          throw new NotS3('no length or no date');
        return { size, etag: etagOf(answer.ETag), modified: modified.getTime() };
      });
    } catch (error) {
      if (!(error instanceof EngineFault && error.status === 404)) throw error;
    }
    return absentIfNoKey(
      this.#engine.ask(subject, 'looked at', async ({ client, sdk, abortSignal }) => {
        const answer = await client.send(new sdk.GetObjectCommand(objectAt(this.#place, key)), {
          abortSignal,
        });
        const { size, etag, body } = openedObject(answer);
        body.destroy();
        return { size, etag, modified: answer.LastModified?.getTime() ?? Date.now() };
      }),
    );
  }

  async #isRemoved(key: string, { size }: Head): Promise<boolean> {
    return size === REMOVED_SIZE && (await this.get(key)) === undefined;
  }

  /** The version of the mark that stands for no record; undefined where a record is. */
  async #removedEtag(key: string): Promise<string | undefined> {
    const head = await this.#head(key);
    if (head?.size !== REMOVED_SIZE) return undefined;
    return (await this.get(key)) === undefined ? head.etag : undefined;
  }
}
