import { z } from 'zod';
import { REFUSAL_CODES } from '../../errors/refusal.ts';
import { API, MAX_BODY, type Route } from './route.ts';

/** A JSON value. */
type Json = Readonly<Record<string, unknown>>;

/** What is told where there is no answer: a refusal has a code, and what HTTP itself says a status. */
const ERROR = z.union([
  z.strictObject({ code: z.enum(REFUSAL_CODES), message: z.string() }),
  z.strictObject({ status: z.int(), message: z.string() }),
]);

const ERRORS: Readonly<Record<number, string>> = {
  400: 'Not understood.',
  401: 'It needs a token.',
  403: 'The token may not do this, or came in the clear.',
  404: 'There is no such thing.',
  405: 'Not by this method.',
  409: 'What is there stands against it: the message says what.',
  410: 'What is asked for has ended, or was withdrawn.',
  413: `A body has at most ${MAX_BODY} bytes.`,
  415: 'A body is JSON.',
  421: 'The server is not used under that name.',
  429: 'Too many tokens that are none.',
  503: 'It could not be done now.',
};

/** Which of them every route has, and which those that change something. */
const OF_READS = [400, 401, 403, 404, 405, 421, 429, 503];
const OF_WRITES = [...OF_READS, 409, 410, 413, 415];

const TOKEN = 'token';

/**
 * The description of the API, of the very schemas that requests are read by: OpenAPI 3.1, whose schemas are JSON Schema's.
 *
 * @param version of this Bootseal.
 */
export function openApi(routes: readonly Route[], version: string): Json {
  const paths: Record<string, Record<string, Json>> = {};
  for (const route of routes) {
    const path = `${API}${route.path}`;
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(route) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Bootseal',
      version,
      description:
        'What machines boot, what became of their boots, and who gets what. docs/api.md shows its use.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/' }],
    paths,
    components: {
      schemas: { Error: schemaOf(ERROR, 'output') },
      securitySchemes: {
        [TOKEN]: { type: 'http', scheme: 'bearer', description: '"bootseal token add" makes one.' },
      },
    },
  };
}

function operation({
  method,
  path,
  summary,
  description,
  scope,
  parameters,
  query,
  body,
  bodyAlso,
  answers,
  others = {},
}: Route): Json {
  const errors = method === 'GET' ? OF_READS : OF_WRITES;
  const said = new Set([...Object.keys(answers), ...Object.keys(others)].map(Number));
  return {
    operationId: operationId(method, path),
    summary,
    ...(description === undefined ? {} : { description }),
    ...securityOf(scope),
    parameters: [...fields(parameters, 'path'), ...fields(query, 'query')],
    ...(body ? { requestBody: { content: bodyOf(schemaOf(body, 'input'), bodyAlso) } } : {}),
    responses: {
      ...Object.fromEntries(
        [...said].map((status) => [
          status,
          {
            description: DONE[status] ?? ERRORS[status] ?? '',
            ...contentOf(answers[status], others[status]),
          },
        ]),
      ),
      ...Object.fromEntries(
        errors
          .filter((status) => !said.has(status))
          .map((status) => [
            status,
            { description: ERRORS[status] ?? '', content: json({ $ref: '#/components/schemas/Error' }) },
          ]),
      ),
    },
  };
}

const DONE: Readonly<Record<number, string>> = {
  200: 'What was asked for.',
  202: 'It waits for a signature: nothing of it counts yet.',
  204: 'Done; there is nothing to say.',
  303: 'Done, for a form: on to another page.',
};

/** `GET /machines/{mac}/arm` → `getMachinesMacArm` */
function operationId(method: string, path: string): string {
  const words = path.split(/[^A-Za-z]+/).filter(Boolean);
  return method.toLowerCase() + words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('');
}

/** Reading needs a token where the configuration says so. */
function securityOf(scope: Route['scope']): Json {
  if (scope === 'open') return { security: [] };
  if (scope === 'read') return { security: [{ [TOKEN]: ['read'] }, {}] };
  return { security: [{ [TOKEN]: [scope] }] };
}

function fields(schema: z.ZodObject, place: 'path' | 'query'): Json[] {
  const { properties = {}, required = [] } = schemaOf(schema, 'input') as {
    properties?: Readonly<Record<string, Json>>;
    required?: readonly string[];
  };
  return Object.entries(properties).map(([name, { description, ...rest }]) => ({
    name,
    in: place,
    required: place === 'path' || required.includes(name),
    ...(description === undefined ? {} : { description }),
    schema: rest,
  }));
}

function bodyOf(schema: Json, also: string | undefined): Json {
  return { ...json(schema), ...(also === undefined ? {} : { [also]: { schema } }) };
}

/** What an answer holds: JSON, something else, either, or nothing. */
function contentOf(schema: z.ZodType | undefined, other: string | undefined): Json {
  const content = {
    ...(schema ? json(schemaOf(schema, 'output')) : {}),
    ...(other === undefined ? {} : { [other]: { schema: { type: 'string' } } }),
  };
  return Object.keys(content).length === 0 ? {} : { content };
}

function json(schema: Json): Json {
  return { 'application/json': { schema } };
}

function schemaOf(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, reused: 'inline' });
  return rest;
}
