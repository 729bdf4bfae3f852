import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import type { TestContext } from 'node:test';

export interface ReadEvent {
  readonly id: string;
  readonly event: string;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the server says
  readonly data: any;
}

/** A reader of server-sent events, as HTML has it, without a browser. */
export class EventReader {
  readonly response: IncomingMessage;
  readonly #request: ClientRequest;
  readonly #events: ReadEvent[] = [];
  readonly #waiting = new Set<() => void>();
  #text = '';
  retry = '';
  ended = false;

  private constructor(req: ClientRequest, response: IncomingMessage) {
    this.#request = req;
    this.response = response;
    response.setEncoding('utf8');
    response.on('data', (piece: string) => this.#take(piece));
    response.on('error', () => {});
    response.on('close', () => {
      this.ended = true;
      this.#wake();
    });
  }

  static open(
    t: TestContext,
    url: string,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<EventReader> {
    return new Promise((resolve, reject) => {
      const req = request(url, { headers, agent: false }, (response) => {
        const reader = new EventReader(req, response);
        t.after(() => reader.close());
        resolve(reader);
      });
      req.on('error', reject);
      req.end();
    });
  }

  /** The next event that fits; those before it are passed over. */
  async next(fits: (event: ReadEvent) => boolean): Promise<ReadEvent> {
    for (;;) {
      for (let event = this.#events.shift(); event; event = this.#events.shift())
        if (fits(event)) return event;
      if (this.ended) throw new Error('the stream ended');
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  /** Resolves when the server has ended it. */
  async end(): Promise<void> {
    while (!this.ended) await new Promise<void>((resolve) => this.#waiting.add(resolve));
  }

  close(): void {
    this.#request.destroy();
  }

  #take(piece: string): void {
    this.#text += piece;
    for (;;) {
      const at = this.#text.indexOf('\n\n');
      if (at < 0) break;
      const fields = new Map(
        this.#text
          .slice(0, at)
          .split('\n')
          .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]),
      );
      this.#text = this.#text.slice(at + 2);
      this.retry = fields.get('retry') ?? this.retry;
      const [id, event, data] = [fields.get('id'), fields.get('event'), fields.get('data')];
      if (id !== undefined && event !== undefined)
        this.#events.push({ id, event, data: JSON.parse(data ?? 'null') });
    }
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}
