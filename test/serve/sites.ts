import { createHash } from 'node:crypto';
import { open as openFile } from 'node:fs/promises';
import { Refusal } from '../../src/errors/refusal.ts';
import type { OpenResource, Resource, Site } from '../../src/release/site.ts';

/** What a test site was asked to do. */
export interface SiteTrace {
  /** Paths given to `find`, in order. */
  readonly found: string[];
  opened: number;
  closed: number;
  /** Bytes read. */
  read: number;
  /** How often a content was given at once. */
  held: number;
}

export interface TestSite extends Site {
  readonly trace: SiteTrace;
  /** Ends when every descriptor that was opened is closed again. */
  allClosed(): Promise<void>;
}

/** One file of a test site. */
export interface TestFile {
  readonly data: Uint8Array;
  readonly type?: string;
  readonly immutable?: boolean;
  /** Rejects with `drifted` from `check`, as when the file was replaced after it was opened. */
  readonly drifts?: boolean;
  /** `open` itself is refused. */
  readonly refuses?: boolean;
}

export const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');

const drifted = (): Refusal => new Refusal('drifted', 'The file changed after it was verified.');

type TestFiles = Readonly<Record<string, Uint8Array | string | TestFile>>;

/** A site in memory, by path, whose files are opened and read. */
export function memorySite(files: TestFiles): TestSite {
  return siteOf(partsOf(files), false);
}

/** The same, whose files are held: whoever wants one whole gets it at once, unless it has drifted. */
export function heldSite(files: TestFiles): TestSite {
  return siteOf(partsOf(files), true);
}

/** The two ways to an answer. What holds on one has to hold on the other. */
export const WAYS = [
  ['of what is read', memorySite],
  ['of what is held', heldSite],
] as const;

function partsOf(files: TestFiles): Map<string, ResourceParts> {
  const resources = new Map<string, ResourceParts>();
  for (const [path, given] of Object.entries(files)) {
    const file =
      typeof given === 'string'
        ? { data: Buffer.from(given) }
        : given instanceof Uint8Array
          ? { data: given }
          : given;
    const { data } = file as TestFile;
    resources.set(path, {
      ...(file as TestFile),
      content: data,
      size: data.length,
      sha256: sha256(data),
      open: async () => ({
        read: async (buffer, position) => {
          const piece = data.subarray(position, position + buffer.length);
          buffer.set(piece);
          return piece.length;
        },
        close: async () => {},
      }),
    });
  }
  return resources;
}

/** A site of one file on disk, `size` bytes of it, under `path`; `digest` as given, since benches do not hash. */
export function diskSite(
  files: readonly { path: string; file: string; size: number; digest: string }[],
): TestSite {
  return siteOf(
    new Map(
      files.map(({ path, file, size, digest }) => [
        path,
        {
          size,
          sha256: digest,
          immutable: true,
          open: async () => {
            const handle = await openFile(file, 'r');
            return {
              read: async (buffer: Uint8Array, position: number) =>
                (await handle.read(buffer, 0, buffer.length, position)).bytesRead,
              close: () => handle.close(),
            };
          },
        },
      ]),
    ),
    false,
  );
}

interface ResourceParts {
  /** Of what may be held. */
  readonly content?: Uint8Array;
  readonly size: number;
  readonly sha256: string;
  readonly type?: string;
  readonly immutable?: boolean;
  readonly drifts?: boolean;
  readonly refuses?: boolean;
  open(): Promise<Omit<OpenResource, 'check'>>;
}

function siteOf(resources: ReadonlyMap<string, ResourceParts>, isHeld: boolean): TestSite {
  const trace: SiteTrace = { found: [], opened: 0, closed: 0, read: 0, held: 0 };
  let waiting: (() => void)[] = [];
  const resourceOf = (path: string, parts: ResourceParts): Resource => {
    const held = (): Uint8Array | undefined => {
      if (parts.drifts || parts.refuses) return undefined;
      trace.held += 1;
      return parts.content;
    };
    return {
      size: parts.size,
      sha256: parts.sha256,
      name: path.slice(path.lastIndexOf('/') + 1),
      ...(parts.type === undefined ? {} : { type: parts.type }),
      ...(isHeld ? { held } : {}),
      immutable: parts.immutable ?? path.startsWith('/releases/'),
      async open() {
        if (parts.refuses) throw drifted();
        const inner = await parts.open();
        trace.opened += 1;
        return {
          async read(buffer, position) {
            const bytes = await inner.read(buffer, position);
            trace.read += bytes;
            return bytes;
          },
          async check() {
            if (parts.drifts) throw drifted();
          },
          async close() {
            await inner.close();
            trace.closed += 1;
            if (trace.opened !== trace.closed) return;
            for (const resolve of waiting) resolve();
            waiting = [];
          },
        };
      },
    };
  };
  const all = new Map([...resources].map(([path, parts]) => [path, resourceOf(path, parts)]));
  return {
    trace,
    allClosed: () =>
      trace.opened === trace.closed ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve)),
    async find(path) {
      trace.found.push(path);
      return all.get(path) ?? new Refusal('absent', `There is no ${path} here.`, { secret: '/var/lib' });
    },
    ...(isHeld ? { known: (path: string) => all.get(path) } : {}),
  };
}
