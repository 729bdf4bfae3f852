import { decodeBootId } from '../boots/receipt.ts';
import { Refusal } from '../errors/refusal.ts';
import { claimedMac } from '../formats/net/machine-claims.ts';
import { macFolder } from '../formats/records/armed-folder.ts';
import type { Page, PageAnswer, PageRequest } from '../serve/http/http-types.ts';
import { ArmedBoots } from '../store/armed-boots.ts';
import { recordsOf } from '../store/folder-backend.ts';
import { readAssets } from '../web/assets.ts';
import { renderBoot } from '../web/boot-page.ts';
import { renderBoots } from '../web/boots-page.ts';
import { renderChannels } from '../web/channels-page.ts';
import type { Viewer } from '../web/facts.ts';
import { renderForm } from '../web/form-page.ts';
import { type Frame, PAGE_POLICY, UI } from '../web/frame.ts';
import { renderHome } from '../web/home-page.ts';
import { renderKeys } from '../web/keys-page.ts';
import { renderMachine, renderMachines } from '../web/machines-page.ts';
import { renderNotFound } from '../web/not-found-page.ts';
import { renderQuarantine } from '../web/quarantine-page.ts';
import { renderRelease, renderReleases } from '../web/releases-page.ts';
import type { Access, Caller } from './access/access.ts';
import { guarded, type Handle, readable } from './access/guarded.ts';
import { SIGN_IN } from './access/session-pages.ts';
import type { EventHub } from './event-hub.ts';
import { armByForm, armPath, type FindApi, MAX_FORM } from './web-arm.ts';
import { bootFacts, bootRow, DAY, KNOWN_OUTCOMES, outcomeCounts } from './web-boots.ts';
import type { HomeSources } from './web-home.ts';
import type { LivePages } from './web-live.ts';
import { machineFacts, machinesFacts } from './web-machines.ts';
import { quarantineFacts } from './web-quarantine.ts';
import { askedBoots } from './web-query.ts';
import { channelRows, releaseFacts, releaseRows } from './web-releases.ts';

export interface WebPagesOptions {
  readonly sources: HomeSources;
  readonly live: LivePages;
  readonly hub: EventHub;
  /** Undefined: a tree is served. */
  readonly state: string | undefined;
  /** Who may read, and who may change something. */
  readonly access: Access;
  readonly api: FindApi;
}

/** Boots of one page. */
const PAGE = 50;

/** The pages for people: `/`, what lies below `/ui`, style and script. Each is made of what is true when it is asked for. */
export function webPages(options: WebPagesOptions): readonly (readonly [string, Page])[] {
  const { sources, live, hub, state, access, api } = options;
  const { boots, offering, drift, nameOf, clock } = sources;
  const { paths, assets } = readAssets();
  const frameOf = (caller: Caller): Frame => {
    hub.touch();
    // Whoever reads this page is told by events what is other than here.
    return { assets: paths, now: clock(), event: hub.last, viewer: viewerOf(caller, state !== undefined) };
  };
  const made =
    (make: (request: PageRequest, frame: Frame) => Promise<string | NotHere>): Handle =>
    async (request, caller) => {
      const frame = frameOf(caller);
      const text = await make(request, frame);
      return text instanceof NotHere ? answer(404, renderNotFound(frame, text.what)) : answer(200, text);
    };
  const page = (make: (request: PageRequest, frame: Frame) => Promise<string | NotHere>): Page =>
    leadingToSignIn(readable(access, made(make)));
  const releaseOf = (id: string) =>
    [...offering().releases, ...offering().former].find(({ release }) => release.release === id);
  return [
    [
      '/',
      page(async (_request, frame) => {
        const facts = await live.look();
        // Not before: what was told meanwhile is in it.
        return renderHome({ ...frame, now: facts.now, event: hub.last }, facts);
      }),
    ],
    [
      `${UI}/boots`,
      page(async ({ query: params }, frame) => {
        const { query, before, asked, wrong } = askedBoots(params, frame.now);
        const found = await boots.find(query, PAGE + 1, before);
        const shown = found.slice(0, PAGE);
        const counts = boots.count(query);
        const last = found.length > PAGE ? shown.at(-1)?.boot : undefined;
        return renderBoots(frame, {
          now: frame.now,
          boots: shown.map((receipt) => bootRow(receipt, nameOf)),
          total: counts.total,
          outcomes: outcomeCounts(counts),
          query: asked,
          wrong,
          ...(last === undefined
            ? {}
            : { older: new URLSearchParams({ ...asked, before: last }).toString() }),
          known: KNOWN_OUTCOMES,
        });
      }),
    ],
    [
      `${UI}/boots/*`,
      page(async ({ path }, frame) => {
        const id = path.slice(`${UI}/boots/`.length);
        const receipt = decodeBootId(id) ? await boots.get(id) : undefined;
        if (!receipt) return new NotHere('There is no such boot on record here; it may be too old.');
        return renderBoot(frame, bootFacts(receipt, nameOf, frame.now));
      }),
    ],
    [
      `${UI}/releases`,
      page(async (_request, frame) => renderReleases(frame, releaseRows(offering(), drift))),
    ],
    [
      `${UI}/releases/*`,
      page(async ({ path }, frame) => {
        const held = releaseOf(path.slice(`${UI}/releases/`.length));
        if (!held) return new NotHere('This server offers no such release.');
        const since = frame.now - DAY;
        const counts = boots.count({ release: held.release.release, since });
        return renderRelease(frame, releaseFacts(held, offering(), drift, { counts, since }));
      }),
    ],
    [
      `${UI}/channels`,
      page(async (_request, frame) =>
        renderChannels(frame, channelRows(offering(), drift, frame.now), state !== undefined),
      ),
    ],
    [
      `${UI}/machines`,
      page(async ({ query }, frame) =>
        renderMachines(frame, await machinesFacts(offering(), boots, query.get('q') ?? '', frame.now)),
      ),
    ],
    [
      `${UI}/machines/*`,
      leadingToSignIn(
        guarded(access, {
          maxBodyBytes: MAX_FORM,
          GET: made(async ({ path }, frame) => {
            const mac = claimedMac(path.slice(`${UI}/machines/`.length));
            const armed =
              mac === undefined || state === undefined
                ? undefined
                : await new ArmedBoots(recordsOf(state)).newest(mac);
            const facts = mac && (await machineFacts(offering(), boots, mac, armed, frame.now));
            if (!facts) return new NotHere('Nobody wrote such a machine down, and none was seen here.');
            const { viewer } = frame;
            const mayArm = viewer.mayArm && api(armPath(mac)) !== undefined;
            return renderMachine({ ...frame, viewer: { ...viewer, mayArm } }, facts);
          }),
          POST: {
            scope: 'arm',
            handle: async (request, caller) => {
              const mac = claimedMac(request.path.slice(`${UI}/machines/`.length));
              if (mac === undefined) return new Refusal('malformed', 'That is no address of a card.');
              const back = `${UI}/machines/${macFolder(mac)}`;
              const outcome = await armByForm(request, mac, api);
              // So that loading it again sends nothing again.
              if (outcome.kind === 'done') return { status: 303, headers: { Location: back }, body: '' };
              if (outcome.kind === 'refused')
                return answer(
                  outcome.status,
                  renderForm(frameOf(caller), { title: 'Not done', why: outcome.why, back }),
                );
              const { command, why = 'This server holds no key, and nobody signs for it.' } = outcome;
              const title = 'It waits for a signature';
              return answer(202, renderForm(frameOf(caller), { title, why, command, back }));
            },
          },
        }),
      ),
    ],
    [
      `${UI}/quarantine`,
      page(async (_request, frame) =>
        renderQuarantine(frame, await quarantineFacts(state, drift, frame.now)),
      ),
    ],
    [`${UI}/keys`, page(async (_request, frame) => renderKeys(frame, sources.endings()))],
    [`${UI}/*`, page(async () => new NotHere('There is no such page.'))],
    ...assets.flatMap(({ path, plain, type, bytes }) => [
      // Its path holds its digest: what is there never changes.
      [path, fixed(type, bytes, 'public, max-age=31536000, immutable')] as const,
      [plain, fixed(type, bytes, 'no-cache')] as const,
    ]),
  ];
}

/** Somebody at a browser who has to sign in is led to where that is done. */
function leadingToSignIn(page: Page): Page {
  return {
    ...page,
    async handle(request) {
      const answered = await page.handle(request);
      if (!(answered instanceof Refusal) || answered.code !== 'unauthorized' || answered.facts.shown === true)
        return answered;
      return { status: 303, headers: { Location: SIGN_IN }, body: '' };
    },
  };
}

/** @param tokens there are any: of a tree there are none. */
function viewerOf({ name, scopes, formToken }: Caller, tokens: boolean): Viewer {
  return {
    name,
    ...(formToken === undefined ? {} : { csrf: formToken }),
    ...(tokens ? { signIn: SIGN_IN } : {}),
    mayArm: scopes.includes('arm'),
  };
}

/** What a page would show is not there, one sentence. */
class NotHere {
  readonly what: string;

  constructor(what: string) {
    this.what = what;
  }
}

function answer(status: number, body: string): PageAnswer {
  const headers = {
    'Content-Type': 'text/html; charset=utf-8',
    'Content-Security-Policy': PAGE_POLICY,
    'Referrer-Policy': 'same-origin',
  };
  return { status, headers, body };
}

function fixed(type: string, bytes: Uint8Array, caching: string): Page {
  return {
    handle: () => ({ status: 200, headers: { 'Content-Type': type, 'Cache-Control': caching }, body: bytes }),
  };
}
