import { Refusal } from '../errors/refusal.ts';
import { macFolder } from '../formats/records/armed-folder.ts';
import { HttpAnswer } from '../serve/http/http-answer.ts';
import { toldOf } from '../serve/http/http-status.ts';
import type { Page, PageAnswer, PageRequest } from '../serve/http/http-types.ts';
import { readForm } from './access/request-fields.ts';

/** Finds a page of the API by its path; undefined: there is none. */
export type FindApi = (path: string) => Page | undefined;

/** What came of a form. */
export type FormOutcome =
  | { readonly kind: 'done' }
  /** Somebody with a key has to do it, by this command. */
  | { readonly kind: 'waits'; readonly command: string; readonly why: string | undefined }
  | { readonly kind: 'refused'; readonly status: number; readonly why: string };

/** Bytes of a form. */
export const MAX_FORM = 4096;

/** Where a machine is armed (POST) and disarmed (DELETE), as JSON. */
export function armPath(mac: string): string {
  return `/api/v1/machines/${macFolder(mac)}/arm`;
}

/**
 * What the form of a machine's page asks for, asked of the API for whoever sent it: there is one place where machines are
 * armed. Its session and its word (`csrf`) were looked at already; the API looks at the session again.
 */
export async function armByForm(request: PageRequest, mac: string, api: FindApi): Promise<FormOutcome> {
  const form = readForm(request);
  if (form instanceof Refusal) return refused(form);
  const path = armPath(mac);
  const page = api(path);
  if (page === undefined) return refused(new Refusal('absent', 'This server arms no machines.'));
  const asked = { ...request, path, query: new URLSearchParams(), signal: request.signal };
  try {
    if (form.get('act') === 'disarm')
      return outcomeOf(await page.handle({ ...asked, method: 'DELETE', body: new Uint8Array() }));
    if (form.get('act') !== 'arm' || form.get('sure') !== '1')
      return refused(
        new Refusal(
          'malformed',
          'Say that you are sure: what a machine boots once may destroy what is on its disks.',
        ),
      );
    const wanted = {
      release: form.get('release') ?? '',
      afterwards: form.get('afterwards') ?? 'local',
    };
    const headers = { ...request.headers, 'content-type': 'application/json' };
    const body = Buffer.from(JSON.stringify(wanted));
    return outcomeOf(await page.handle({ ...asked, method: 'POST', headers, body }));
  } catch (error) {
    if (error instanceof Refusal || error instanceof HttpAnswer) return refused(error);
    throw error;
  }
}

function outcomeOf(answer: PageAnswer | Refusal): FormOutcome {
  if (answer instanceof Refusal) return refused(answer);
  const { status, body } = answer;
  if (status !== 202 || typeof body !== 'string') return { kind: 'done' };
  const { command, why } = JSON.parse(body) as { command: string; why?: string };
  return { kind: 'waits', command, why };
}

function refused(error: Refusal | HttpAnswer): FormOutcome {
  const { status, message } = toldOf(error);
  return { kind: 'refused', status, why: message };
}
