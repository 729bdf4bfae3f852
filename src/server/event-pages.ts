import { HttpAnswer } from '../serve/http/http-answer.ts';
import { jsonAnswer } from '../serve/http/http-pages.ts';
import type { Page, PageRequest } from '../serve/http/http-types.ts';
import type { Shares } from '../serve/shares.ts';
import type { Access } from './access/access.ts';
import { readable } from './access/guarded.ts';
import { EVENT_KINDS, type EventHub, type EventKind, type HubEvent } from './event-hub.ts';

export interface EventPagesOptions {
  readonly hub: EventHub;
  readonly shares: Shares;
  /** Who may read. */
  readonly access: Access;
  /** Called before anybody begins to listen, or asks: what they are told begins with how it is now. */
  readonly refresh: () => Promise<void>;
}

/** Milliseconds between two signs of life on a stream that has nothing to tell: proxies and browsers give up later. */
const HEARTBEAT_MS = 15_000;
/** Milliseconds after which a browser that lost its stream comes again. */
const RETRY_MS = 2_000;
/** Seconds after which one that was not let in may try again. */
const RETRY_AFTER = '10';
/** Characters that are written in one go. */
const BATCH = 64 * 1024;

/**
 * What happens, as it happens:
 *
 *     GET /api/v1/events                  text/event-stream (HTML, "server-sent events")
 *         ?of=boot,state                  which kinds; the default. `boot`: a receipt as JSON. `state`: what is offered, as
 *                                         JSON. `page`: pieces of the overview
 *         ?after=ID                       goes on after that event, as Last-Event-ID does
 *         ?poll                           the same, as one JSON answer and at once: {"last":"ID","reset":false,"events":[…]}
 *
 * Where what came after ID is not known any more there is an event `reset`: look anew. 503 with Retry-After where too many
 * listen already.
 */
export function eventPages({
  hub,
  shares,
  refresh,
  access,
}: EventPagesOptions): readonly (readonly [string, Page])[] {
  return [
    [
      '/api/v1/events',
      readable(access, async (request) => {
        const { query, method } = request;
        const kinds = kindsOf(query.get('of') ?? 'boot,state');
        hub.touch();
        if (query.has('poll')) {
          await refresh();
          return jsonAnswer(200, polled(hub, kinds, knownId(request)));
        }
        const headers = {
          'Content-Type': 'text/event-stream; charset=utf-8',
          'Cache-Control': 'no-store',
          // Proxies that gather what they pass on would hold back what is to be seen now.
          'X-Accel-Buffering': 'no',
        };
        if (method === 'HEAD') return { status: 200, headers, body: '' };
        const leave = hub.join(shares.of(request.remote));
        if (leave === undefined)
          throw new HttpAnswer(
            503,
            'As many listen as can be told at once; ask with "poll" instead, or try again later.',
            { 'Retry-After': RETRY_AFTER },
          );
        // Whatever becomes of the answer: this one is over then.
        request.signal.addEventListener('abort', leave, { once: true });
        if (request.signal.aborted) leave();
        return { status: 200, headers, body: stream(hub, kinds, request, refresh) };
      }),
    ],
  ];
}

function kindsOf(text: string): ReadonlySet<EventKind> {
  const names = text.split(',');
  const kinds = EVENT_KINDS.filter((kind) => names.includes(kind));
  if (kinds.length !== names.length)
    throw new HttpAnswer(400, `The kinds of events are ${EVENT_KINDS.join(', ')}, with commas between them.`);
  return new Set(kinds);
}

function knownId({ query, headers }: PageRequest): string | undefined {
  const last = headers['last-event-id'];
  return (typeof last === 'string' && last !== '' ? last : undefined) ?? query.get('after') ?? undefined;
}

function polled(hub: EventHub, kinds: ReadonlySet<EventKind>, id: string | undefined): object {
  const number = id === undefined ? hub.number : hub.numberOf(id);
  const events = number === undefined ? undefined : hub.after(number, kinds);
  return {
    last: hub.last,
    reset: events === undefined,
    events: (events ?? []).map((event) => ({
      id: hub.idOf(event),
      event: event.kind,
      data: JSON.parse(event.data) as unknown,
    })),
  };
}

/** Each piece waits until the client has taken the one before; what it misses meanwhile stays in the hub, or is gone. */
async function* stream(
  hub: EventHub,
  kinds: ReadonlySet<EventKind>,
  request: PageRequest,
  refresh: () => Promise<void>,
): AsyncGenerator<string> {
  const { signal } = request;
  const id = knownId(request);
  const known = id === undefined ? hub.number : hub.numberOf(id);
  await refresh();
  let number = known ?? hub.number;
  yield `retry: ${RETRY_MS}\n\n${known === undefined ? resetText(hub) : ''}`;
  let beaten = performance.now();
  while (!signal.aborted && !hub.ended) {
    const events = hub.after(number, kinds);
    if (events === undefined) {
      // It reads more slowly than things happen.
      number = hub.number;
      yield resetText(hub);
      continue;
    }
    let text = '';
    let taken = 0;
    for (const event of events) {
      if (text.length >= BATCH) break;
      text += eventText(hub, event);
      taken += 1;
    }
    number = taken === events.length ? hub.number : (events[taken - 1]?.number ?? number);
    if (text !== '') {
      yield text;
      beaten = performance.now();
      continue;
    }
    const left = HEARTBEAT_MS - (performance.now() - beaten);
    if (left <= 0) {
      yield ':\n\n';
      beaten = performance.now();
      continue;
    }
    await hub.wait(left, signal);
  }
}

function eventText(hub: EventHub, event: HubEvent): string {
  return `id: ${hub.idOf(event)}\nevent: ${event.kind}\ndata: ${event.data}\n\n`;
}

function resetText(hub: EventHub): string {
  return `id: ${hub.last}\nevent: reset\ndata: {}\n\n`;
}
