import { PassThrough } from 'node:stream';
import { Refusal } from '../../errors/refusal.ts';
import { isSafePath } from '../../formats/records/safe-path.ts';
import type { Transport } from '../transport.ts';

export interface TftpTransportOptions {
  /** Milliseconds until a packet is sent again. */
  readonly timeoutMs: number;
  readonly retries: number;
  /** Bytes of one file; more is the refusal `too-large`. TFTP carries loaders and scripts. */
  readonly maxBytes: number;
}

/**
 * The TFTP client of the emulated boot ROM: node-tftp, an implementation that shares nothing with our server.
 * It reads one file from its start; it knows neither ranges nor HEAD.
 */
export function tftpTransport(options: TftpTransportOptions): Transport {
  return {
    async fetch(text, { method = 'GET', range, signal } = {}) {
      const url = new URL(text);
      const path = url.pathname.slice(1);
      if (url.protocol !== 'tftp:' || !isSafePath(path)) {
        throw new Refusal('unsafe-path', `${text} is no tftp: address of a file.`, { url: text });
      }
      if (method !== 'GET' || range)
        throw new Refusal('unreachable', `TFTP sends whole files only (${text}).`, { url: text });
      signal?.throwIfAborted();
      return { url: text, size: undefined, partial: false, body: read(url, path, options, signal) };
    },
  };
}

async function* read(
  url: URL,
  path: string,
  options: TftpTransportOptions,
  signal: AbortSignal | undefined,
): AsyncIterable<Uint8Array> {
  // Most machines begin over HTTP.
  const { createClient } = await import('node-tftp');
  const client = createClient({
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: Number(url.port || 69),
    timeout: options.timeoutMs,
    retries: options.retries,
    windowSize: 1,
  });
  const source = client.createGetStream(path);
  const stream = new PassThrough();
  let size = 0;
  // Its streams say "close" before their data has ended and before their error: no helper of Node's may watch
  // them, which would take that for a transfer cut short.
  source.on('data', (piece: Uint8Array) => {
    size += piece.length;
    if (size <= options.maxBytes) stream.write(piece);
    else {
      const limit = options.maxBytes;
      stream.destroy(new Refusal('too-large', `${url.href} is longer than ${limit} bytes.`, { limit }));
    }
  });
  source.on('end', () => stream.end());
  source.on('error', (error) => stream.destroy(error));
  source.on('abort', () => stream.destroy(signal?.reason));
  const onAbort = () => source.abort();
  signal?.addEventListener('abort', onAbort, { once: true });
  let over = false;
  try {
    for await (const piece of stream as AsyncIterable<Uint8Array>) yield piece;
    over = true;
  } catch (error) {
    over = !(error instanceof Refusal);
    signal?.throwIfAborted();
    throw error instanceof Refusal ? error : translate(error as Error, url.href);
  } finally {
    signal?.removeEventListener('abort', onAbort);
    // It goes on reading into memory otherwise: there is no backpressure in this protocol.
    if (!over) source.abort();
  }
}

function translate(error: Error & { code?: string }, url: string): Refusal {
  if (error.code === 'ENOENT' || /not found/i.test(error.message)) {
    return new Refusal('absent', `${url} does not exist on the server.`, { url });
  }
  return new Refusal(
    'unreachable',
    `${url} could not be fetched: ${error.message.replace(/\.$/, '')}.`,
    { url },
    { cause: error },
  );
}
