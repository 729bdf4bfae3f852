import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { unreadable } from '../errors/unreadable.ts';
import { measureFile } from '../files/measure.ts';
import { readWhole } from '../files/reading.ts';
import { isSafeSegment } from '../formats/records/safe-path.ts';
import { fileResource } from '../release/file-resource.ts';
import type { Resource } from '../release/site.ts';
import type { Anchors } from '../trust/anchors.ts';
import { type LoaderReport, lookIntoLoader } from '../trust/loader-check.ts';

/** A loader that is offered, and what it was pinned to when the server started. */
export interface OfferedLoader {
  readonly name: string;
  readonly size: number;
  /** Lower-case hex. */
  readonly sha256: string;
  /** Whether the operator's configuration demands this very digest. */
  readonly demanded: boolean;
  /** Undefined where it is too large to be looked into. */
  readonly report: LoaderReport | undefined;
  readonly resource: Resource;
}

export interface LoaderFilesOptions {
  /** `[loaders]` of the configuration: the digest that each must have; others are pinned to what they are. */
  readonly pins?: Readonly<Record<string, string>>;
  /** Whose machines they are for; none: nothing is compared. */
  readonly sites?: readonly Anchors[];
}

/** Bytes. An image with a whole system inside is a release's, which has a manifest of its own. */
const LOOKED_INTO = 64 * 1024 * 1024;

/**
 * The loaders of a folder by name, each pinned to the digest it has now. A loader is what begins the trust, so no seal can
 * vouch for it to a machine that fetches it by plain TFTP; what changes here later is not served.
 *
 * @throws Refusal: `drifted` for a loader that is not what the configuration says, `absent` for one that is not there;
 *   IoError.
 */
export async function readLoaders(
  directory: string,
  { pins = {}, sites = [] }: LoaderFilesOptions = {},
): Promise<Map<string, OfferedLoader>> {
  const entries = await readdir(directory, { withFileTypes: true }).catch((error: unknown) => {
    throw unreadable(directory, error, `The folder of loaders ${directory}`);
  });
  const loaders = new Map<string, OfferedLoader>();
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (!entry.isFile() || entry.name.startsWith('.') || !isSafeSegment(entry.name)) continue;
    loaders.set(entry.name, await readLoader(join(directory, entry.name), entry.name, pins, sites));
  }
  const missing = Object.keys(pins).find((name) => !loaders.has(name));
  if (missing !== undefined) {
    throw new Refusal('absent', `The configuration names the loader ${missing}, and ${directory} has none.`, {
      path: missing,
    });
  }
  return loaders;
}

async function readLoader(
  path: string,
  name: string,
  pins: Readonly<Record<string, string>>,
  sites: readonly Anchors[],
): Promise<OfferedLoader> {
  const { size, answers, identity } = await measureFile(path, [{ kind: 'digest', hash: 'sha256' }]);
  const sha256 = Buffer.from(answers[0] as Uint8Array).toString('hex');
  const wanted = Object.hasOwn(pins, name) ? pins[name] : undefined;
  if (wanted !== undefined && wanted !== sha256) {
    throw new Refusal(
      'drifted',
      `The loader ${name} has the SHA-256 ${sha256}, and the configuration says ${wanted}.`,
      { path: name, sha256, wanted },
    );
  }
  const resource = fileResource({ path, name, size, sha256, identity });
  const report = size > LOOKED_INTO ? undefined : lookIntoLoader(name, await readWhole(path), sites);
  return {
    name,
    size,
    sha256,
    demanded: wanted !== undefined,
    report,
    resource: { ...resource, immutable: false },
  };
}
