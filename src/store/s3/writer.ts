import { createHash, randomBytes } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import type { PutObjectCommand, PutObjectCommandInput } from '@aws-sdk/client-s3';
import type { StoredFile } from '../backend.ts';
import { etagOf, openedObject } from './answer.ts';
import { type EtagForm, etagInForm, probeConditions } from './conditions.ts';
import { ATTEMPTS, type Engine } from './engine.ts';
import { absentIfNoKey, EngineFault } from './fault.ts';
import { type BucketPlace, objectAt, subjectOf } from './location.ts';
import { type Source, withSource } from './source.ts';

/** Says who wrote an object, so that a writer whose answer was lost knows its own again. */
const WRITER = 'bootseal-write';
/** How often two writers of one key are told to come again (409) before that is a fault. */
const CONFLICTS = 5;

/** What a PUT asks for first. */
type Condition = { readonly absent: true } | { readonly ifMatch: string } | undefined;

/** What is written into a bucket: each time one PUT, on a condition or without. */
export class BucketWriter {
  readonly #place: BucketPlace;
  readonly #engine: Engine;
  #form: Promise<EtagForm> | undefined;

  constructor(place: BucketPlace, engine: Engine) {
    this.#place = place;
    this.#engine = engine;
  }

  /** How the engine wants ETags, which is found out once. @throws UsageError for one that keeps no conditions; IoError. */
  etagForm(): Promise<EtagForm> {
    this.#form ??= this.#probe().catch((error: unknown) => {
      this.#form = undefined;
      throw error;
    });
    return this.#form;
  }

  /** False where the key is taken. */
  async writeIfAbsent(key: string, bytes: Uint8Array): Promise<boolean> {
    await this.etagForm();
    return (await this.put(key, bytes, { absent: true })) !== undefined;
  }

  /** False where the key has another ETag, or none. */
  async writeIfMatch(key: string, bytes: Uint8Array, etag: string): Promise<boolean> {
    if (!/^[\w.+/=:-]{1,256}$/.test(etag)) return false;
    const ifMatch = etagInForm(etag, await this.etagForm());
    return (await this.put(key, bytes, { ifMatch })) !== undefined;
  }

  async remove(key: string): Promise<void> {
    await absentIfNoKey(
      this.#engine.ask(subjectOf(this.#place, key), 'removed', async ({ client, sdk, abortSignal }) => {
        await client.send(new sdk.DeleteObjectCommand(objectAt(this.#place, key)), { abortSignal });
      }),
    );
  }

  /** As `StoreBackend.putFile` says. */
  async putFile(key: string, file: StoredFile): Promise<void> {
    await withSource(file, async (source) => {
      for (let tries = 1; ; tries++) {
        try {
          await this.#send(key, file, source);
          return;
        } catch (error) {
          source.ended();
          // What is read from a file is sent once: the SDK does not repeat it.
          const passing = error instanceof EngineFault && (error.status === undefined || error.status >= 500);
          if (!passing || typeof file.source !== 'string' || tries >= ATTEMPTS) throw error;
          await setTimeout(100 * 2 ** tries);
        }
      }
    });
  }

  /** The new ETag; undefined where the condition did not hold. */
  async put(key: string, bytes: Uint8Array, condition: Condition): Promise<string | undefined> {
    const subject = subjectOf(this.#place, key);
    const writer = randomBytes(16).toString('hex');
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const conditions: Partial<PutObjectCommandInput> =
      condition === undefined
        ? {}
        : 'absent' in condition
          ? { IfNoneMatch: '*' }
          : { IfMatch: condition.ifMatch };
    const input = {
      ...objectAt(this.#place, key),
      Body: bytes,
      ContentLength: bytes.length,
      ContentMD5: createHash('md5').update(bytes).digest('base64'),
      Metadata: { [WRITER]: writer },
      ...conditions,
    };
    for (let conflicts = 1; ; conflicts++) {
      try {
        return await this.#engine.ask(
          subject,
          'written',
          async ({ client, sdk, abortSignal }) => {
            const command = new sdk.PutObjectCommand(input);
            signDigest(command, sha256);
            return etagOf((await client.send(command, { abortSignal })).ETag);
          },
          bytes.length,
        );
      } catch (error) {
        if (!condition || !(error instanceof EngineFault)) throw error;
        if (error.isAmbiguous) {
          // Where nobody can look, nobody knows: that is the fault then, and not that another was first.
          const mine = await this.#writtenBy(key, writer);
          if (mine !== undefined) return mine;
        }
        // For If-Match, an object that is gone is not the one that was expected.
        if (error.isUnmet || (error.isNoKey && 'ifMatch' in condition)) return undefined;
        // Two at once: who comes again meets what the other wrote.
        if (error.status !== 409 || conflicts >= CONFLICTS) throw error;
        await setTimeout(50 * conflicts);
      }
    }
  }

  #probe(): Promise<EtagForm> {
    return probeConditions(
      () => this.#engine.name(),
      (key, bytes, condition) => this.put(key, bytes, condition),
      (key) => this.remove(key),
    );
  }

  async #send(key: string, { size, sha256 }: StoredFile, source: Source): Promise<void> {
    await this.#engine.ask(
      subjectOf(this.#place, key),
      'written',
      async ({ client, sdk, abortSignal }) => {
        const { piece, failed } = source.body();
        const command = new sdk.PutObjectCommand({
          ...objectAt(this.#place, key),
          Body: piece,
          ContentLength: size,
          ContentMD5: source.md5,
        });
        signDigest(command, sha256);
        etagOf((await client.send(command, { abortSignal: AbortSignal.any([abortSignal, failed]) })).ETag);
      },
      size,
    );
  }

  /** The ETag of a key that this writer wrote last. */
  async #writtenBy(key: string, writer: string): Promise<string | undefined> {
    return absentIfNoKey(
      this.#engine.ask(subjectOf(this.#place, key), 'read', async ({ client, sdk, abortSignal }) => {
        const answer = await client.send(new sdk.GetObjectCommand(objectAt(this.#place, key)), {
          abortSignal,
        });
        openedObject(answer).body.destroy();
        return answer.Metadata?.[WRITER] === writer ? etagOf(answer.ETag) : undefined;
      }),
    );
  }
}

/** The digest of what is sent is signed along with the request, and the engine compares it with what arrives. */
function signDigest(command: PutObjectCommand, sha256: string): void {
  command.middlewareStack.add(
    (next) => (args) => {
      (args.request as { headers: Record<string, string> }).headers['x-amz-content-sha256'] = sha256;
      return next(args);
    },
    { step: 'build', name: 'bootsealDigest' },
  );
}
