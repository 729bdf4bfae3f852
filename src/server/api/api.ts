import { z } from 'zod';
import { readPackageFile } from '../../files/package-file.ts';
import type { Access } from '../access/access.ts';
import { type ApiDesk, route } from './api-desk.ts';
import { apiPages } from './api-pages.ts';
import { armRoutes } from './arm-routes.ts';
import { assignmentRoutes } from './assignment-routes.ts';
import { bootRoutes } from './boot-routes.ts';
import { channelRoutes } from './channel-routes.ts';
import { channelWrites } from './channel-writes.ts';
import { logRoutes } from './log-routes.ts';
import { MACHINE_REPORTS } from './machine-reports.ts';
import { machineRoutes } from './machine-routes.ts';
import { openApi } from './openapi.ts';
import { releaseRoutes } from './release-routes.ts';
import type { ApiPages, Route } from './route.ts';
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

/** The pages of the API, by path. */
export function operatorsApi(desk: ApiDesk, access: Access): ApiPages {
  return apiPages(apiRoutes(desk), { access, state: desk.state });
}
