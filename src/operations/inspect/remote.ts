import type { Transport } from '../../emulator/transport.ts';
import { httpTransport } from '../../emulator/transports/http.ts';
import { Refusal } from '../../errors/refusal.ts';
import { UsageError } from '../../errors/usage.ts';
import { checksumPath, RECORD, SCRIPT_SEAL, SEAL, SUMS, VERITY } from '../../formats/records/seal-names.ts';
import { sumsPaths } from '../../formats/records/sums.ts';
import type { ReleaseSource } from './release.ts';

/** Bytes of a hash device that say everything. */
const HEAD = 4096;

/** A release as a server or a mirror offers it: `http://HOST/releases/arch/2026.11.01/`. Throws `malformed`. */
export function remoteSource(address: string): ReleaseSource {
  if (!address.startsWith('http://')) {
    throw new UsageError(`${address} is no http: address, which is what boot loaders speak.`);
  }
  const transport = httpTransport({ connectTimeoutMs: 10_000, stallTimeoutMs: 30_000 });
  const base = address.endsWith('/') ? address : `${address}/`;
  return {
    name: address,
    // A server lists nothing: what may be there follows from the manifest.
    async names({ files }) {
      const rootfs = files.find(({ role }) => role === 'rootfs')?.path;
      const rootHash = rootfs && rootfs + VERITY.rootHash;
      const sealed = [...files.filter(({ role }) => role !== 'hashtree').map(({ path }) => path)];
      return [
        ...[...sealed, RECORD.manifest].flatMap((path) => [path + SEAL.ipxe, path + SEAL.cms]),
        ...[...sealed, RECORD.manifest, RECORD.grubCfg].map((path) => path + SEAL.openpgp),
        RECORD.bootIpxe + SCRIPT_SEAL,
        ...(rootfs && rootHash ? [checksumPath(rootfs), rootHash, rootHash + VERITY.seal] : []),
        ...files.filter(({ role }) => role === 'hashtree').map(({ path }) => path),
        ...sumsPaths({ files }).flatMap((path) => [path, path + SUMS.seal]),
        ...[RECORD.bootIpxe, RECORD.grubCfg],
      ];
    },
    async read(path, limit) {
      try {
        const url = base + path;
        if (!path.endsWith(VERITY.tree)) {
          const bytes = await collect(transport, url, limit);
          return { bytes, size: bytes.length };
        }
        const { size = HEAD } = await transport.fetch(url, { method: 'HEAD' });
        return { bytes: await collect(transport, url, HEAD, { first: 0, last: HEAD - 1 }), size };
      } catch (error) {
        if (error instanceof Refusal && error.code === 'absent') return undefined;
        throw error;
      }
    },
  };
}

/** The bytes of an answer; of one that ignores `range`, as many as were asked for. */
async function collect(
  transport: Transport,
  url: string,
  limit: number,
  range?: { readonly first: number; readonly last: number },
): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of (await transport.fetch(url, range ? { range } : {})).body) {
    pieces.push(piece);
    size += piece.length;
    if (size <= limit) continue;
    if (range) break;
    throw new Refusal('too-large', `${url} is longer than ${limit} bytes.`, { url, limit });
  }
  return Buffer.concat(pieces).subarray(0, limit);
}
