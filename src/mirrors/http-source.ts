import { Refusal } from '../errors/refusal.ts';
import { SEAL } from '../formats/records/seal-names.ts';
import { MAX_SNAPSHOT } from '../formats/records/snapshot.ts';
import { demandShort, type MirrorFile, type MirrorSource } from './mirror-source.ts';
import { MAX_SEAL, snapshotInState } from './state-layout.ts';
import { type WebAnswer, type WebClient, webUrl } from './web-client.ts';

/** Looks at a channel that moves between two requests. */
const LOOKS = 3;

/** A `bootseal serve`, or any web server over a state's folder. */
export class HttpSource implements MirrorSource {
  readonly name: string;
  readonly origin: string;
  readonly #base: URL;
  readonly #client: WebClient;

  /** @throws Refusal for what is no address of the web. */
  constructor(address: string, client: WebClient) {
    this.#base = webUrl(address.endsWith('/') ? address : `${address}/`);
    this.#base.search = '';
    this.name = this.#base.href;
    this.origin = this.#base.href;
    this.#client = client;
  }

  async snapshot(channel: string): Promise<{ readonly bytes: Uint8Array; readonly seal: Uint8Array }> {
    try {
      return await snapshotInState(channel, (key, limit) => this.read(key, limit));
    } catch (error) {
      if (!(error instanceof Refusal && error.code === 'absent')) throw error;
    }
    // A server that is none of files alone.
    const folder = `channels/${channel}`;
    let bytes = await this.read(folder, MAX_SNAPSHOT);
    for (let looks = 1; ; looks += 1) {
      const seal = await this.read(folder + SEAL.cms, MAX_SEAL);
      const again = await this.read(folder, MAX_SNAPSHOT);
      // A server's channel may have moved in between: then the seal may be of either.
      if (Buffer.compare(bytes, again) === 0 || looks === LOOKS) return { bytes: again, seal };
      bytes = again;
    }
  }

  async read(key: string, limit: number): Promise<Uint8Array> {
    const answer = await this.#client.get(this.#url(key));
    try {
      this.#demandNoPage(answer, key);
      const { url, size } = answer;
      if (size !== undefined && size > limit) throw tooLong(url, size, limit);
      const pieces: Uint8Array[] = [];
      let octets = 0;
      for await (const piece of answer.body) {
        octets += piece.length;
        if (octets > limit) throw tooLong(url, octets, limit);
        pieces.push(piece);
      }
      return Buffer.concat(pieces);
    } finally {
      await answer.body.return(undefined);
    }
  }

  async open(key: string, first: number, size: number, signal?: AbortSignal): Promise<MirrorFile> {
    const answer = await this.#client.get(this.#url(key), {
      ...(first === 0 ? {} : { range: { first } }),
      ...(signal === undefined ? {} : { signal }),
    });
    const { url, total, type, body } = answer;
    if (total !== undefined && total !== size) {
      await body.return(undefined);
      const what = type === 'text/html' ? ': it answers with a web page' : '';
      throw new Refusal('drifted', `${url} has ${total} bytes, and ${size} were signed${what}.`, {
        url,
        size: total,
        signed: size,
      });
    }
    return { first: answer.first, content: bounded(body, url, size - answer.first) };
  }

  async size(key: string, limit: number): Promise<number> {
    const answer = await this.#client.get(this.#url(key), { method: 'HEAD' });
    await answer.body.return(undefined);
    this.#demandNoPage(answer, key);
    const { url, size } = answer;
    if (size === undefined) throw new Refusal('unreachable', `${url} does not say how long it is.`, { url });
    return demandShort(url, size, limit);
  }

  async close(): Promise<void> {
    this.#client.close();
  }

  #url(key: string): string {
    return new URL(key, this.#base).href;
  }

  /** Catch-all sites, captive portals and proxies answer 200 with a page of theirs. */
  #demandNoPage({ url, type }: WebAnswer, key: string): void {
    if (type !== 'text/html') return;
    throw new Refusal('malformed', `${url} answers with a web page in the place of ${key}.`, { url });
  }
}

/** A body that has no end is cut where the file must have ended. */
async function* bounded(
  body: AsyncGenerator<Uint8Array>,
  url: string,
  most: number,
): AsyncGenerator<Uint8Array> {
  let octets = 0;
  for await (const piece of body) {
    octets += piece.length;
    if (octets > most) throw tooLong(url, octets, most);
    yield piece;
  }
}

function tooLong(url: string, size: number, limit: number): Refusal {
  return new Refusal('too-large', `${url} has more than the ${limit} bytes it may have.`, {
    url,
    size,
    limit,
  });
}
