import { realpath } from 'node:fs/promises';
import { UsageError } from '../errors/usage.ts';
import { statIfThere } from '../files/read-if-there.ts';
import type { Facts, InspectedKind, ScriptRow, SealRow } from './inspect/facts.ts';
import { readInspected } from './inspect/read.ts';
import { recognise } from './inspect/recognise.ts';
import { folderSource, inspectRelease } from './inspect/release.ts';
import { remoteSource } from './inspect/remote.ts';

export { type Fact, type Facts, type InspectedKind, KINDS, type SealRow } from './inspect/facts.ts';

export interface InspectOptions {
  /** A folder that holds a sealed release, its `http:` address on a server or mirror, or any one file. */
  readonly target: string;
}

/** What something says of itself. Nothing of it was verified. */
export interface Inspection {
  readonly target: string;
  readonly kind: InspectedKind;
  readonly facts: Facts;
  /** Of a release: one row a signature, checksum or tree. */
  readonly seals?: readonly SealRow[];
  /** Of a release. */
  readonly scripts?: readonly ScriptRow[];
}

/**
 * Reads what a release or a file says, with no anchor at hand, and judges none of it.
 *
 * @throws Refusal `malformed` for what is damaged or unknown, `unsafe-keys` for a private key, `absent`,
 *   `unsafe-path`, `too-large`, `unreachable`.
 */
export async function inspect({ target }: InspectOptions): Promise<Inspection> {
  if (/^https?:\/\//.test(target))
    return { target, kind: 'release', ...(await inspectRelease(remoteSource(target))) };
  const facts = await statIfThere(target);
  if (!facts) throw new UsageError(`There is no ${target}; name a release's folder or address, or a file.`);
  if (facts.isDirectory())
    return { target, kind: 'release', ...(await inspectRelease(folderSource(target))) };
  // Whom the operator named is followed; nobody else is.
  const { kind, facts: said } = recognise(target, await readInspected(await realpath(target)));
  return { target, kind, facts: said };
}
