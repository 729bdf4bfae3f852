import { z } from 'zod';
import { readPackageFile } from '../../files/package-file.ts';
import type { Pages } from '../../serve/http/http-types.ts';
import { type ApiDesk, route } from './api-desk.ts';
import { armRoutes } from './arm-routes.ts';
import { assignmentRoutes } from './assignment-routes.ts';
import { bootRoutes } from './boot-routes.ts';
import { channelRoutes } from './channel-routes.ts';
import { channelWrites } from './channel-writes.ts';
import { DESCRIBED_ROUTES } from './described-routes.ts';
import { logRoutes } from './log-routes.ts';
import { MACHINE_REPORTS } from './machine-reports.ts';
import { machineRoutes } from './machine-routes.ts';
import { openApi } from './openapi.ts';
import { releaseRoutes } from './release-routes.ts';
import { API, type Route } from './route.ts';
import { statusRoutes } from './status-routes.ts';
import { withdrawRoutes } from './withdraw-routes.ts';
import { Writer } from './writer.ts';

const PACKAGE = z.object({ version: z.string() });

/** The table of the API: everything that it can be asked. */
export function apiRoutes(desk: ApiDesk): readonly Route[] {
  const writer = new Writer(desk);
  const { version } = PACKAGE.parse(JSON.parse(readPackageFile('.', 'package.json').toString('utf8')));
  const routes = [
    ...statusRoutes(desk, version),
    ...releaseRoutes(desk),
    ...withdrawRoutes(desk, writer),
    ...channelRoutes(desk),
    ...channelWrites(desk, writer),
    ...machineRoutes(desk),
    ...armRoutes(desk, writer),
    ...assignmentRoutes(desk, writer),
    ...bootRoutes(desk),
    ...logRoutes(desk),
    ...MACHINE_REPORTS,
    ...DESCRIBED_ROUTES,
  ];
  let described: object | undefined;
  const description = route({
    method: 'GET',
    path: '/openapi.json',
    summary: 'This description.',
    scope: 'open',
    answers: { 200: z.looseObject({ openapi: z.string() }) },
    handle() {
      described ??= openApi([...routes, description], version);
      return { 200: described as { openapi: string } };
    },
  });
  return [...routes, description];
}

/**
 * Whoever reads the description shall find there all that can be asked, and nothing else.
 *
 * @param pages of the whole server.
 * @throws RangeError for a page of the API that is not described, and for a description that nobody answers.
 */
export function demandDescribed(pages: Pages, routes: readonly Route[]): void {
  const described = new Set(routes.map(({ method, path }) => `${method} ${API}${path}`));
  const answered = new Set(
    [...pages].flatMap(([path, { methods = ['GET'] }]) => methods.map((method) => `${method} ${path}`)),
  );
  for (const one of answered)
    if (one.includes(` ${API}/`) && !one.endsWith('*') && !described.has(one))
      throw new RangeError(`${one} is not in the description of the API`);
  for (const { method, path, handle } of routes)
    if (handle === undefined && !answered.has(`${method} ${API}${path}`))
      throw new RangeError(`${method} ${API}${path} is described, and nobody answers it`);
}
