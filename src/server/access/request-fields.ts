import { Refusal } from '../../errors/refusal.ts';
import type { PageRequest } from '../../serve/http/http-types.ts';

/** What the body of a request is said to be, in small letters and without parameters; empty where nothing is said. */
export function mediaTypeOf({ headers }: PageRequest): string {
  const [type = ''] = (headers['content-type'] ?? '').split(';');
  return type.trim().toLowerCase();
}

/**
 * What a request wants, as one value: JSON as it is (any value), a form as an object of strings, without the page's own
 * field `csrf`; an empty object where there is no body. What its fields may be is for a schema to say.
 */
export function readFields(request: PageRequest): unknown | Refusal {
  const { body } = request;
  if (body.length === 0) return {};
  switch (mediaTypeOf(request)) {
    case 'application/json':
      try {
        return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
      } catch {
        return new Refusal('malformed', 'The body of the request is not JSON.');
      }
    case 'application/x-www-form-urlencoded': {
      const form = readForm(request);
      if (form instanceof Refusal) return form;
      return Object.fromEntries([...form].filter(([name]) => name !== 'csrf'));
    }
    default:
      return new Refusal(
        'malformed',
        'The body of a request is application/json; a page sends its forms as browsers do.',
      );
  }
}

/** The fields of a form, none of them twice: two readers could take one of them each. */
export function readForm({ body }: PageRequest): ReadonlyMap<string, string> | Refusal {
  const fields = [...new URLSearchParams(Buffer.from(body).toString('utf8'))];
  const form = new Map(fields);
  return form.size === fields.length
    ? form
    : new Refusal('malformed', 'The form has a field that stands twice.');
}
