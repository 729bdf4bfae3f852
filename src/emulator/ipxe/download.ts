import { Refusal } from '../../errors/refusal.ts';
import { GAVE_UP_PATH } from '../../formats/net/gave-up.ts';
import { downloadFailure, ENETUNREACH, ENOTSUP, type Failure } from './failure.ts';
import { type Image, probe } from './images.ts';
import type { State } from './state.ts';
import { formatUri, nameOfUri, parseUri, portableUrl, redactedUri, resolveUri, type Uri } from './uri.ts';

const GIB = 2 ** 30;

/** As Debian 12's calls itself; servers tell by it who follows redirects. */
const USER_AGENT = 'iPXE/1.21.1+';

/** `imgacquire`: an image of that very name, else a download of that URI. Source: iPXE `src/usr/imgmgmt.c`. */
export async function acquire(
  state: State,
  nameOrUri: string,
  quiet: boolean,
): Promise<Image | { failure: Failure }> {
  return state.images.find(nameOrUri) ?? download(state, parseUri(nameOrUri), quiet);
}

/** Downloads and registers. What arrives is untrusted, whatever it is. */
export async function download(
  state: State,
  uri: Uri,
  quiet: boolean,
): Promise<Image | { failure: Failure }> {
  const resolved = resolveUri(state.cwuri, uri);
  const schemes = state.options.machine.platform === 'efi' ? ['http', 'https', 'tftp'] : ['http', 'tftp'];
  const post = resolved.params !== undefined && state.params.delete(resolved.params);
  if (!schemes.includes(resolved.scheme ?? '') || resolved.host === undefined || post) {
    state.print(`Could not start download: ${ENOTSUP.text}\n`);
    return { failure: ENOTSUP };
  }
  if (!quiet) state.print(`${redactedUri(uri)}...`);
  const done = (failure: Failure | undefined): void => {
    if (!quiet) state.print(failure === undefined ? ' ok\n' : ` ${failure.text}\n`);
  };
  if (!state.open || !state.configured) {
    done(ENETUNREACH);
    return { failure: ENETUNREACH };
  }

  const url = portableUrl(resolved);
  state.event({ kind: 'fetch', url });
  try {
    const { bytes, finalUrl } = await collect(state, url);
    // A redirect changes where an image came from, and with it what its relative URLs mean; its name was
    // given by the first URI.
    const image = createImage(
      state,
      bytes,
      finalUrl === url ? resolved : parseUri(finalUrl),
      nameOfUri(resolved),
    );
    state.images.register(image);
    state.event({
      kind: 'fetched',
      url: formatUri(image.uri ?? resolved),
      name: image.name,
      size: bytes.length,
    });
    done(undefined);
    return image;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const known = downloadFailure(error);
    // A script that says why it ends ends for that, whether or not somebody heard it.
    const failure = new URL(url).pathname === GAVE_UP_PATH ? { ...known, refusal: undefined } : known;
    state.note(failure);
    state.event({ kind: 'fetch-failed', url, refusal: error });
    done(failure);
    return { failure };
  }
}

/** An image that is not yet registered. */
export function createImage(
  state: State,
  bytes: Uint8Array,
  uri: Uri | undefined,
  name: string | undefined,
): Image {
  const { machine, features } = state.options;
  return {
    name: name ?? state.images.nextName(),
    uri,
    bytes,
    type: probe(bytes, machine.platform, features.anyKernel === true),
    cmdline: undefined,
    trusted: false,
    signer: undefined,
    autofree: false,
    hidden: false,
    replacement: undefined,
  };
}

async function collect(state: State, url: string): Promise<{ bytes: Uint8Array; finalUrl: string }> {
  const { transport, signal, maxImageBytes = GIB, maxMemoryBytes = 2 * GIB } = state.options;
  const limit = Math.min(maxImageBytes, maxMemoryBytes - state.images.totalBytes());
  const tooLarge = (size: number): Refusal =>
    new Refusal('too-large', `${url} is larger than iPXE's memory allows`, { url, size, limit });
  const fetched = await transport.fetch(url, {
    userAgent: USER_AGENT,
    ...(signal === undefined ? {} : { signal }),
  });
  if (fetched.size !== undefined && fetched.size > limit) throw tooLarge(fetched.size);
  const pieces: Uint8Array[] = [];
  let size = 0;
  // The announced size is a claim: the bytes are counted as they come.
  for await (const piece of fetched.body) {
    size += piece.length;
    if (size > limit) throw tooLarge(size);
    pieces.push(Uint8Array.from(piece));
  }
  if (fetched.size !== undefined && fetched.size !== size) {
    throw new Refusal('unreachable', `${url} ended early`, { url, expected: fetched.size, size });
  }
  return { bytes: new Uint8Array(Buffer.concat(pieces)), finalUrl: fetched.url };
}
