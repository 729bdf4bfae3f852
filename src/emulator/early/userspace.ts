import { Refusal } from '../../errors/refusal.ts';
import { type Content, streamContent } from '../../files/measure.ts';
import type { PolicyFloor, RootMode } from '../../formats/records/policy-floor.ts';
import { isOfType, lastValue, splitCommandLine } from '../../formats/script/cmdline.ts';
import { type Check, lost } from '../../trust/check.ts';
import { manifestCheck } from '../../trust/plain-checks.ts';
import { type Examined, examine, type Finding } from '../../trust/verify.ts';
import type { EarlyOptions, EarlyVerdict } from './contract.ts';
import type { EarlyKeys } from './keys.ts';
import { type EnforcedManifest, enforceManifest } from './manifest.ts';
import { RangeSource } from './range-source.ts';
import { mountVerity } from './verity.ts';

const SIDECAR_LIMIT = 1024 * 1024;

/** Asks a server for the file itself, and not for where else it is. */
const DIRECT = '?direct';

/** The server of a release, and what every kind of early userspace does with what comes from it. */
export class Userspace {
  readonly keys: EarlyKeys;
  /** `archiso_http_srv`; ends in a slash. */
  readonly server: string;
  /** The clock, milliseconds since 1970; an overlay sets it. */
  now: number;
  readonly #options: EarlyOptions;
  readonly #userAgent: string;

  /**
   * @param userAgent what fetches calls itself: by that a server knows who follows redirects.
   * @throws Refusal where the command line names no server, or none that it could. */
  constructor(options: EarlyOptions, keys: EarlyKeys, userAgent: string) {
    const server = lastValue(splitCommandLine(options.cmdline), 'archiso_http_srv');
    if (server === undefined) {
      throw new Refusal('absent', 'The kernel command line names no archiso_http_srv.', {});
    }
    if (!isOfType(server, 'url')) {
      throw new Refusal('malformed', `archiso_http_srv=${server} is no address that ends in a slash.`, {
        server,
      });
    }
    this.server = server;
    this.keys = keys;
    this.#userAgent = userAgent;
    this.now = options.now;
    this.#options = options;
  }

  /** Fetches and enforces the manifest where something asks for it. @param claim what a time server says. */
  async manifest(floor: PolicyFloor, claim?: number): Promise<EnforcedManifest | undefined> {
    const { cmdline, arch, policy } = this.#options;
    const { keys, now } = this;
    const fetch = (name: string, limit: number) => this.small(name, limit);
    const enforced = await enforceManifest({ cmdline, arch, floor, keys, policy, now, claim, fetch });
    if (enforced) {
      this.print(`Manifest is OK: ${enforced.manifest.release}.`);
      const { daysLeft } = enforced;
      if (daysLeft !== undefined)
        this.print(
          daysLeft >= 0
            ? `WARNING: this release is best before ${daysLeft} days from now.`
            : 'WARNING: this release is past its best-before, and boots within the grace of the policy.',
        );
    }
    return enforced;
  }

  /** Mode `verity`: no more of the root image than is read. */
  async verity(enforced: EnforcedManifest | undefined, floor: PolicyFloor): Promise<EarlyVerdict> {
    const { policy, transport } = this.#options;
    const { now } = this;
    const { path, findings, verified, refusal, report } = await mountVerity({
      enforced,
      required: floor.require,
      keys: this.keys,
      policy,
      now,
      fetch: (name, limit) => this.small(name, limit),
      open: (name, size) =>
        new RangeSource({
          transport,
          url: this.server + name,
          path: name,
          size,
          onFetch: (url, range) => this.#options.onEvent?.({ kind: 'fetch', url, range }),
        }),
    });
    if (refusal) this.print(`ERROR: ${refusal.message}`);
    else if (report) this.print(`Root hash is OK, dm-verity over ${path}: ${report.rootHash}`);
    return {
      mode: 'verity',
      path,
      findings,
      verified,
      refusal,
      ...(enforced ? { manifest: enforced.manifest } : {}),
      ...(report ? { verity: report } : {}),
    };
  }

  /**
   * Mode `ram`: the whole root image, once, held against all of these checks.
   *
   * @param again one that is refused is fetched once more, from the server itself: it may have sent this machine to a mirror.
   */
  async ram(
    path: string,
    checks: readonly Check[],
    enforced: EnforcedManifest | undefined,
    again = false,
  ): Promise<EarlyVerdict> {
    const listed = enforced ? [listedCheck(path, enforced)] : [];
    const all = [...listed, ...checks];
    const size = enforced?.rootfs?.size;
    let examined: Examined | Refusal = await this.#examine(this.#image(path, size), all);
    const why = again ? refusalOf(examined) : undefined;
    if (why) {
      this.print(`${why.message} It is fetched once more, from the server itself.`);
      examined = await this.#examine(this.#image(path, size, DIRECT), all);
    }
    if (examined instanceof Refusal) throw examined;
    const { findings, verified } = examined;
    for (const finding of findings) this.#say(finding);
    const refused = findings.find((finding) => !finding.verified);
    const refusal =
      refused && !refused.verified
        ? refused.refusal
        : verified
          ? undefined
          : new Refusal(
              'no-verdict',
              `The command line asks for no check that has a key behind it, so nothing vouches for ${path}.`,
              {
                path,
              },
            );
    return {
      mode: 'ram',
      path,
      findings,
      verified,
      refusal,
      ...(enforced ? { manifest: enforced.manifest } : {}),
    };
  }

  /** A check by a file beside the image; one that cannot be had is a check that fails. */
  async sidecar(name: Check['name'], path: string, make: (bytes: Uint8Array) => Check): Promise<Check> {
    try {
      return make(await this.small(path));
    } catch (error) {
      if (error instanceof Refusal) return lost(name, error);
      throw error;
    }
  }

  /** A record or a seal, at most `limit` bytes. */
  async small(path: string, limit = SIDECAR_LIMIT): Promise<Uint8Array> {
    const { body } = await this.fetch(path);
    const pieces: Uint8Array[] = [];
    let size = 0;
    for await (const piece of body) {
      size += piece.length;
      if (size > limit) {
        throw new Refusal('too-large', `${path} is longer than ${limit} bytes, and may not be.`, { path });
      }
      pieces.push(piece);
    }
    return Buffer.concat(pieces);
  }

  fetch(path: string, options?: { range: { first: number; last: number } }) {
    const url = this.server + path;
    this.#options.onEvent?.({ kind: 'fetch', url });
    return this.#options.transport.fetch(url, { ...options, userAgent: this.#userAgent });
  }

  print(text: string): void {
    this.#options.onEvent?.({ kind: 'console', text });
  }

  /** What an image is judged as, or why it did not come. */
  async #examine(image: Content, checks: readonly Check[]): Promise<Examined | Refusal> {
    try {
      return await examine(image, checks);
    } catch (error) {
      if (error instanceof Refusal) return error;
      throw error;
    }
  }

  /** @param listed bytes, by the manifest: a longer image is cut off there. @param query behind its path. */
  #image(path: string, listed: number | undefined, query = ''): Content {
    const limit = listed ?? this.#options.maxRootBytes ?? 64 * 1024 ** 3;
    const fetching = this.fetch(path + query);
    // Awaited by measure(); until then a rejection must not count as unhandled.
    fetching.catch(() => {});
    return {
      measure: async (questions) => {
        const { body, size } = await fetching;
        // Before the first byte is hashed: what says that it has another length is another file.
        if (listed !== undefined && size !== undefined && size !== listed) {
          throw new Refusal('bad-signature', `${path} has ${size} bytes, and the manifest says ${listed}.`, {
            path,
            size,
            wanted: listed,
          });
        }
        const url = this.server + path;
        return streamContent(this.#watched(body, url, size), path, limit).measure(questions);
      },
    };
  }

  /** What archiso prints for a check. */
  #say(finding: Finding): void {
    const good = finding.check === 'checksum' ? 'Checksum is OK' : 'Signature is OK';
    if (!finding.verified) this.print(`ERROR: ${finding.refusal.message}`);
    else if (finding.check !== 'manifest') this.print(`${good}, continue booting.`);
  }

  async *#watched(
    body: AsyncIterable<Uint8Array>,
    url: string,
    size: number | undefined,
  ): AsyncIterable<Uint8Array> {
    let octets = 0;
    for await (const piece of body) {
      octets += piece.length;
      this.#options.onEvent?.({ kind: 'progress', url, octets, size });
      yield piece;
    }
  }
}

function refusalOf(examined: Examined | Refusal): Refusal | undefined {
  if (examined instanceof Refusal) return examined;
  const refused = examined.findings.find(({ verified }) => !verified);
  return refused && !refused.verified ? refused.refusal : undefined;
}

/** What a stage answers that came no further: a refusal is a verdict, and anything else a fault. */
export function refused(
  error: unknown,
  options: EarlyOptions,
  at: { mode: RootMode; path: string; stage: 'manifest' | 'image' },
): EarlyVerdict {
  if (!(error instanceof Refusal)) throw error;
  const { mode, path, stage } = at;
  options.onEvent?.({ kind: 'console', text: `ERROR: ${error.message}` });
  const findings: Finding[] =
    stage === 'manifest' ? [{ check: 'manifest', verified: false, refusal: error }] : [];
  return { mode, path, findings, verified: undefined, refusal: error };
}

/** What the manifest says of the root image at `path`. */
function listedCheck(path: string, { manifest, rootfs, signer }: EnforcedManifest): Check {
  if (rootfs?.path === path) return manifestCheck(rootfs, signer);
  return lost(
    'manifest',
    new Refusal('mixed-releases', `${manifest.release} lists no root image ${path}.`, { path }),
  );
}
