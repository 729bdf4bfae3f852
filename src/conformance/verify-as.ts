import type { Transport } from '../emulator/transport.ts';
import { httpTransport } from '../emulator/transports/http.ts';
import { UsageError } from '../errors/usage.ts';
import { decodeManifest } from '../formats/records/manifest.ts';
import { RECORD } from '../formats/records/seal-names.ts';
import { decodeOr } from '../trust/check.ts';
import { readPolicyFileOr } from '../trust/policy-file.ts';
import { readTrustRoots } from '../trust/trust-roots.ts';
import { CLIENTS, type ClientName, type ClientVerdict, runClients } from './clients.ts';
import { readRecord, treeTransport } from './tree-transport.ts';
import type { VerifyOptions } from './verify.ts';

/** The conformance lab: what each client, by its own rules of acceptance, makes of a release. */
export interface VerifyAsOptions
  extends Omit<VerifyOptions, 'tree' | 'anchors' | 'onProgress' | 'proof' | 'logCertificates'> {
  /** An `anchors/` folder, or the `init` folder around it. */
  readonly anchors: string;
  /**
   * A tree; a server (`http://HOST[:PORT]/`), whose entry script decides which release it is; or the folder of
   * one release on any mirror (`http://HOST/…/arch/2026.11.01/`).
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
  const place = isUrl(target) ? remote(new URL(target)) : await local(target);
  return runClients({ ...place, anchors, policy: file.at(at, now), now: at }, as);
}

export function isUrl(target: string): boolean {
  return /^https?:\/\//.test(target);
}

/** Splits `--as` at its commas. Throws a `Refusal` (`malformed`) for a client that there is not. */
export function clientNames(text: string): ClientName[] {
  return text.split(',').map((word) => {
    const name = CLIENTS.find((candidate) => candidate === word);
    if (name !== undefined) return name;
    throw new UsageError(`There is no client ${JSON.stringify(word)}; there are ${CLIENTS.join(', ')}.`);
  });
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
  return { transport: treeTransport(tree, release), base: 'http://192.0.2.1:8080', arch };
}

function remote(url: URL): Place {
  if (url.protocol !== 'http:') {
    throw new UsageError(`${url.href} is no http: address, which is what boot loaders speak.`);
  }
  const http = httpTransport({ connectTimeoutMs: 10_000, stallTimeoutMs: 30_000 });
  if (url.pathname === '/') return { transport: http, base: url.origin };
  // A folder on a mirror: its own scripts and files stand where a server would have them, whatever host they name.
  const folder = url.href.endsWith('/') ? url.href : `${url.href}/`;
  const transport: Transport = {
    fetch: (text, options) => {
      const { pathname } = new URL(text);
      const path = pathname.replace(/^\/(releases\/[^/]+\/[^/]+\/)?/, '');
      return http.fetch(folder + path, options);
    },
  };
  return { transport, base: 'http://192.0.2.1:8080' };
}
