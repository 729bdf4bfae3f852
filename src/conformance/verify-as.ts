import type { Transport } from '../emulator/transport.ts';
import { httpTransport } from '../emulator/transports/http.ts';
import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { entryFolder, entryOf } from '../formats/records/entry-folder.ts';
import { decodeManifest, MAX_MANIFEST } from '../formats/records/manifest.ts';
import { RECORD } from '../formats/records/seal-names.ts';
import { decodeOr } from '../trust/check.ts';
import { readPolicyFileOr } from '../trust/given-policy.ts';
import { readTrustRoots } from '../trust/trust-roots.ts';
import { CLIENTS, type ClientName } from './client-names.ts';
import { type ClientVerdict, runClients } from './clients.ts';
import { isUrl } from './is-url.ts';
import { readRecord, treeTransport } from './tree-transport.ts';
import type { VerifyOptions } from './verify.ts';

/** The conformance lab: what each client, by its own rules of acceptance, makes of a release. */
export interface VerifyAsOptions
  extends Omit<VerifyOptions, 'tree' | 'anchors' | 'onProgress' | 'proof' | 'logCertificates'> {
  /** An `anchors/` folder, or the `init` folder around it. */
  readonly anchors: string;
  /**
   * A tree; a server (`http://HOST[:PORT]/`), whose entry script decides which release it is, or its entry for the
   * machines of one architecture (`http://HOST[:PORT]/entries/aarch64/`); or the folder of one release on any mirror
   * (`http://HOST/…/arch/2026.11.01/`).
   */
  readonly target: string;
  /** Default: all. */
  readonly as?: readonly ClientName[];
}

/** One verdict a client, in the order of `CLIENTS`. Throws a `Refusal` where there is nothing to judge. */
export async function verifyAs(options: VerifyAsOptions): Promise<ClientVerdict[]> {
  const { target, now, at = now, as = CLIENTS } = options;
  const { own: anchors } = await readTrustRoots(options.anchors);
  const file = await readPolicyFileOr(options.policy);
  const place = isUrl(target) ? await remote(new URL(target)) : await local(target);
  return runClients({ ...place, anchors, policy: file.at(at, now), now: at }, as);
}

interface Place {
  readonly transport: Transport;
  readonly base: string;
  /** Of the machines that it is for, where that is known beforehand. */
  readonly arch?: string;
}

async function local(tree: string): Promise<Place> {
  const bytes = await readRecord(tree, RECORD.manifest);
  const { release, arch } = decodeOr(RECORD.manifest, () => decodeManifest(bytes));
  return { transport: treeTransport(tree, release), base: BASE, arch };
}

async function remote(url: URL): Promise<Place> {
  if (url.protocol !== 'http:') {
    throw new UsageError(`${url.href} is no http: address, which is what boot loaders speak.`);
  }
  const http = httpTransport({ connectTimeoutMs: 10_000, stallTimeoutMs: 30_000 });
  if (url.pathname === '/') return { transport: http, base: url.origin };
  const path = url.pathname.endsWith('/') ? url.pathname : `${url.pathname}/`;
  const arch = entryOf(`${path}${RECORD.bootIpxe}`)?.arch;
  if (arch !== undefined) return { transport: atEntry(http, arch), base: url.origin, arch };
  // A folder on a mirror: its own scripts and files stand where a server would have them, whatever host they name.
  const folder = url.href.endsWith('/') ? url.href : `${url.href}/`;
  const transport: Transport = {
    fetch: (text, options) => {
      const { pathname } = new URL(text);
      const path = pathname.replace(/^\/(releases\/[^/]+\/[^/]+\/)?/, '');
      return http.fetch(folder + path, options);
    },
  };
  const machines = await archOfManifest(http, folder);
  return { transport, base: BASE, ...(machines === undefined ? {} : { arch: machines }) };
}

/** An address that is nobody's (RFC 5737). */
const BASE = 'http://192.0.2.1:8080';

/** The scripts of an entry, where each client looks for those of the top; files of releases stand where they do. */
function atEntry(http: Transport, arch: string): Transport {
  return {
    fetch: (text, options) => {
      const url = new URL(text);
      if (!url.pathname.startsWith('/releases/')) url.pathname = `/${entryFolder(arch)}${url.pathname}`;
      return http.fetch(url.href, options);
    },
  };
}

/** For which machines a release says that it is; undefined where it says nothing, which each client then refuses. */
async function archOfManifest(http: Transport, folder: string): Promise<string | undefined> {
  try {
    const pieces: Uint8Array[] = [];
    let size = 0;
    for await (const piece of (await http.fetch(folder + RECORD.manifest)).body) {
      size += piece.length;
      if (size > MAX_MANIFEST) return undefined;
      pieces.push(piece);
    }
    return decodeManifest(Buffer.concat(pieces)).arch;
  } catch (error) {
    if (error instanceof Refusal || error instanceof Malformed) return undefined;
    throw error;
  }
}
