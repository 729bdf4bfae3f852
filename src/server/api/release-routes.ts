import { createHash } from 'node:crypto';
import { z } from 'zod';
import { Malformed } from '../../errors/malformed.ts';
import { Refusal } from '../../errors/refusal.ts';
import { decodeManifest, type Manifest } from '../../formats/records/manifest.ts';
import { namesRelease } from '../../formats/records/snapshot.ts';
import { fileResource } from '../../release/file-resource.ts';
import { isPromised } from '../../release/promised-file.ts';
import { whoVerifies } from '../../release/who-verifies.ts';
import { quarantinedReleases, readQuarantined, storedReleases } from '../../store/quarantine.ts';
import { readStoredManifest } from '../../store/stored-manifest.ts';
import { withdrawnReason } from '../../store/withdrawals.ts';
import type { ServableRelease } from '../../trust/verified-release.ts';
import type { HeldRelease } from '../held-release.ts';
import { type ApiDesk, route } from './api-desk.ts';
import type { Route } from './route.ts';
import { COUNT, iso, LIMIT, REFUSED, RELEASE, RELEASE_PART, SHA256, TIME } from './schemas.ts';

const WITHDRAWN = z.strictObject({
  time: TIME,
  reason: z.string(),
  /** Machines that run it lost their root, too. */
  now: z.boolean(),
});
const QUARANTINED = z.strictObject({
  code: z.string(),
  message: z.string(),
  origin: z.string(),
  /** What takes it back, for a shell. */
  command: z.string(),
  /** True: it is in service all the same. */
  held: z.boolean(),
});
/** `offered`: machines start it; `refused`: it is held, and no machine starts it; `stored`: no channel names it. */
const STANDING = z.enum(['offered', 'refused', 'stored', 'withdrawn', 'quarantined']);

const LISTED = z.strictObject({
  release: RELEASE,
  standing: STANDING,
  /** That name it now. */
  channels: z.array(z.string()),
  refusal: REFUSED.optional(),
});

const MANIFEST = z.strictObject({
  sha256: SHA256,
  serial: COUNT,
  issued: TIME,
  bestBefore: TIME,
  arch: z.string(),
  layout: z.string(),
  cmdline: z.array(z.string()),
  moduleCmdline: z.array(z.string()).optional(),
  free: z.array(z.strictObject({ name: z.string(), type: z.string() })),
  shell: z.boolean(),
  files: z.array(
    z.strictObject({
      role: z.string(),
      path: z.string(),
      size: COUNT,
      sha256: SHA256,
      sha512: z.string(),
    }),
  ),
  rootHash: SHA256.optional(),
});

const SHOWN = LISTED.extend({
  /** Whether this server has verified it: of any other release the manifest is what lies in the state. */
  verified: z.boolean(),
  /** False: its anchors came with it, and nobody vouches for them. */
  anchored: z.boolean().optional(),
  manifest: MANIFEST.optional(),
  /** Records, scripts and seals beside its files, as they were verified. */
  seals: z.array(z.strictObject({ path: z.string(), size: COUNT, sha256: SHA256 })).optional(),
  /** Who checks what on a machine that boots it. */
  whoVerifies: z
    .array(z.strictObject({ name: z.string(), what: z.string(), by: z.string(), how: z.string() }))
    .optional(),
  /** Files that are not what was verified, and are not served. */
  drifted: z.array(z.strictObject({ path: z.string(), code: z.string(), message: z.string() })).optional(),
  withdrawn: WITHDRAWN.optional(),
  quarantine: QUARANTINED.optional(),
});

const AFTER = RELEASE.optional().meta({ description: 'Only those behind it: the last of the page before.' });

/** Releases, and those in quarantine. */
export function releaseRoutes(desk: ApiDesk): readonly Route[] {
  return [
    route({
      method: 'GET',
      path: '/releases',
      summary: 'The releases of the state, by name.',
      scope: 'read',
      query: z.strictObject({ limit: LIMIT, after: AFTER }),
      answers: { 200: z.strictObject({ releases: z.array(LISTED), next: RELEASE.optional() }) },
      async handle({ query: { limit, after = '' } }) {
        const all = (await releaseIds(desk)).filter((id) => id > after);
        const releases = [];
        for (const id of all.slice(0, limit)) releases.push(listed(desk, await found(desk, id)));
        return { 200: { releases, ...nextOf(all, limit) } };
      },
    }),
    route({
      method: 'GET',
      path: '/releases/{name}/{version}',
      summary:
        'One release: what its manifest says, its seals, who verifies what, and whether it is offered.',
      scope: 'read',
      parameters: z.strictObject({ name: RELEASE_PART, version: RELEASE_PART }),
      answers: { 200: SHOWN },
      async handle({ parameters: { name, version } }) {
        const id = `${name}/${version}`;
        const all = await releaseIds(desk);
        if (!all.includes(id))
          throw new Refusal('absent', `There is no release ${id} here.`, { release: id });
        return { 200: await shown(desk, await found(desk, id)) };
      },
    }),
    route({
      method: 'GET',
      path: '/quarantine',
      summary: 'What was put aside, why, and what takes it back.',
      scope: 'read',
      query: z.strictObject({ limit: LIMIT, after: AFTER }),
      answers: {
        200: z.strictObject({
          quarantine: z.array(QUARANTINED.extend({ release: RELEASE })),
          next: RELEASE.optional(),
        }),
      },
      async handle({ query: { limit, after = '' } }) {
        const { state } = desk;
        const all =
          state === undefined ? [] : (await quarantinedReleases(state)).filter((id) => id > after).sort();
        const quarantine = [];
        for (const release of all.slice(0, limit)) {
          const one = state === undefined ? undefined : await quarantineOf(state, release);
          if (one) quarantine.push({ release, ...one });
        }
        return { 200: { quarantine, ...nextOf(all, limit) } };
      },
    }),
  ];
}

/** The last of a page, where more come behind it. */
export function nextOf(all: readonly string[], limit: number): { next?: string } {
  const last = all[limit - 1];
  return all.length > limit && last !== undefined ? { next: last } : {};
}

interface Found {
  readonly id: string;
  readonly held: HeldRelease | undefined;
  readonly withdrawn: z.input<typeof WITHDRAWN> | undefined;
  readonly quarantine: z.input<typeof QUARANTINED> | undefined;
}

async function releaseIds({ state, offering }: ApiDesk): Promise<string[]> {
  const held = offering().releases.map(({ release }) => release.release);
  const kept =
    state === undefined ? [] : [...(await storedReleases(state)), ...(await quarantinedReleases(state))];
  return [...new Set([...held, ...kept])].sort();
}

async function found({ state, offering }: ApiDesk, id: string): Promise<Found> {
  const held = offering().releases.find(({ release }) => release.release === id);
  if (state === undefined) return { id, held, withdrawn: undefined, quarantine: undefined };
  const withdrawal = await withdrawnReason(state, id);
  return {
    id,
    held,
    withdrawn: withdrawal && {
      time: iso(withdrawal.time),
      reason: withdrawal.reason,
      now: withdrawal.now,
    },
    quarantine: await quarantineOf(state, id),
  };
}

async function quarantineOf(state: string, id: string): Promise<z.input<typeof QUARANTINED> | undefined> {
  const one = await readQuarantined(state, id);
  if (!one) return undefined;
  const { code, message, origin, command, held } = one;
  return { code, message, origin, command, held };
}

function listed({ offering }: ApiDesk, { id, held, withdrawn, quarantine }: Found): z.input<typeof LISTED> {
  const channels = [...offering().channels].flatMap(([name, { snapshot }]) =>
    namesRelease(snapshot, id) ? [name] : [],
  );
  const refusal = held?.refusal;
  const standing = withdrawn
    ? 'withdrawn'
    : quarantine && !quarantine.held
      ? 'quarantined'
      : held
        ? refusal
          ? 'refused'
          : 'offered'
        : 'stored';
  return {
    release: id,
    standing,
    channels,
    ...(refusal ? { refusal: { code: refusal.code, message: refusal.message } } : {}),
  };
}

async function shown(desk: ApiDesk, one: Found): Promise<z.input<typeof SHOWN>> {
  const { id, held, withdrawn, quarantine } = one;
  const release = held?.release;
  const read = release ?? (await storedManifest(desk.state, id));
  return {
    ...listed(desk, one),
    verified: release !== undefined,
    ...(release ? { anchored: release.anchored } : {}),
    ...(read
      ? {
          manifest: manifestFacts(read),
          whoVerifies: whoVerifies(read.manifest).map((thing) => ({ ...thing })),
        }
      : {}),
    ...(release ? { seals: sealsOf(release), drifted: await driftedOf(release) } : {}),
    ...(withdrawn ? { withdrawn } : {}),
    ...(quarantine ? { quarantine } : {}),
  };
}

/** Of a release that no channel names nobody here verified anything: it is shown as it lies there. */
export async function storedManifest(
  state: string | undefined,
  id: string,
): Promise<{ readonly manifest: Manifest; readonly manifestSha256: string } | undefined> {
  if (state === undefined) return undefined;
  const bytes = await readStoredManifest(state, id);
  if (!bytes) return undefined;
  try {
    const manifestSha256 = createHash('sha256').update(bytes).digest('hex');
    return { manifest: decodeManifest(bytes), manifestSha256 };
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return undefined;
  }
}

function manifestFacts({
  manifest,
  manifestSha256: sha256,
}: Pick<ServableRelease, 'manifest' | 'manifestSha256'>): z.input<typeof MANIFEST> {
  const { serial, issued, bestBefore, arch, layout, cmdline, moduleCmdline, free, shell, files, verity } =
    manifest;
  const [root] = verity;
  return {
    ...{ sha256, serial, issued: iso(issued), bestBefore: iso(bestBefore), arch, layout, shell },
    cmdline: [...cmdline],
    ...(moduleCmdline ? { moduleCmdline: [...moduleCmdline] } : {}),
    free: free.map(({ name, type }) => ({ name, type })),
    files: files.map((file) => ({ ...file })),
    ...(root ? { rootHash: root.rootHash } : {}),
  };
}

function sealsOf({ records }: ServableRelease): NonNullable<z.input<typeof SHOWN>['seals']> {
  return [...records]
    .map(([path, bytes]) => ({
      path,
      size: bytes.length,
      sha256: createHash('sha256').update(bytes).digest('hex'),
    }))
    .sort((one, other) => (one.path < other.path ? -1 : 1));
}

/** Asked as a client would: whether each file can be served at this moment. */
async function driftedOf({ files }: ServableRelease): Promise<NonNullable<z.input<typeof SHOWN>['drifted']>> {
  const drifted = [];
  for (const [path, file] of files) {
    // What is elsewhere is found out when it comes; asking for all of it here would fetch it.
    if (isPromised(file)) continue;
    try {
      await (await fileResource(file).open()).close();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      drifted.push({ path, code: error.code, message: error.message });
    }
  }
  return drifted;
}
