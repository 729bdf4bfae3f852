import { Refusal } from '../../errors/refusal.ts';
import { HttpAnswer } from './http-answer.ts';
import { type Exchange, Gone } from './http-exchange.ts';
import { PAGE_FIELDS, type Page, type PageAnswer, type Pages } from './http-types.ts';

/** The page for a path: the exact one, else that of the longest pattern `PREFIX/*`. */
export function findPage(pages: Pages, path: string): Page | undefined {
  const exact = pages.get(path);
  if (exact !== undefined) return exact;
  for (let slash = path.lastIndexOf('/'); slash !== -1; slash = path.lastIndexOf('/', slash - 1)) {
    const page = pages.get(`${path.slice(0, slash)}/*`);
    if (page !== undefined) return page;
    if (slash === 0) break;
  }
  return undefined;
}

/**
 * Asks a page and writes its answer.
 *
 * @throws HttpAnswer 405 for a method the page does not know, 413 for a body beyond its bound; whatever
 *   the page throws; Gone.
 */
export async function answerPage(exchange: Exchange, page: Page): Promise<void> {
  const { method, path, query, req, res } = exchange;
  const { remote } = exchange.asking;
  for (const [name, value] of Object.entries(PAGE_FIELDS)) res.setHeader(name, value);
  const methods = allowed(page);
  if (!methods.includes(method)) {
    throw new HttpAnswer(405, `This page answers ${methods.join(', ')} only.`, {
      Allow: methods.join(', '),
      Connection: 'close',
    });
  }
  const body = method === 'GET' || method === 'HEAD' ? Buffer.alloc(0) : await readBody(exchange, page);
  const answer = await page.handle({
    method,
    path: path ?? '/',
    query,
    headers: req.headers,
    remote,
    way: exchange.way,
    body,
    get signal() {
      return exchange.signal;
    },
  });
  if (answer instanceof Refusal) throw answer;

  const { headers = {} } = answer;
  if (!isStream(answer.body)) {
    const bytes = Buffer.from(answer.body);
    // RFC 9110 §8.6: an answer that says that it has no content has no length.
    const length = answer.status === 204 ? {} : { 'Content-Length': String(bytes.length) };
    res.writeHead(answer.status, { ...headers, ...length });
    await exchange.end(method === 'HEAD' ? undefined : bytes);
    return;
  }
  res.writeHead(answer.status, headers);
  if (method !== 'HEAD') {
    res.flushHeaders();
    for await (const piece of answer.body) {
      if (piece.length > 0) await exchange.write(Buffer.from(piece));
    }
  }
  await exchange.end();
}

function allowed(page: Page): readonly string[] {
  return (page.methods ?? ['GET']).flatMap((each) => (each === 'GET' ? ['GET', 'HEAD'] : [each]));
}

function isStream(body: PageAnswer['body']): body is AsyncIterable<string | Uint8Array> {
  return typeof body === 'object' && Symbol.asyncIterator in body;
}

/** Reads a request body up to the page's bound, which is held against the announced length first. */
async function readBody({ req, res }: Exchange, page: Page): Promise<Buffer> {
  const most = page.maxBodyBytes ?? 0;
  const tooLarge = new HttpAnswer(413, `A body here has at most ${most} bytes.`, {
    Connection: 'close',
  });
  if (Number(req.headers['content-length'] ?? 0) > most) throw tooLarge;
  if (req.headers.expect !== undefined) res.writeContinue();
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Leaving the loop early must not destroy the request: its socket still has to carry the refusal.
  try {
    for await (const chunk of req.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > most) throw tooLarge;
      chunks.push(chunk);
    }
  } catch (error) {
    // Who leaves in the middle of a body is a client that went, and nothing that an operator could repair.
    throw error === tooLarge ? error : new Gone();
  }
  return Buffer.concat(chunks);
}
