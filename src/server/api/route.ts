import type { z } from 'zod';
import type { Page } from '../../serve/http/http-types.ts';
import type { Scope } from '../../store/token-scopes.ts';
import type { Caller } from '../access/access.ts';

/** What every address of the API begins with. */
export const API = '/api/v1';

/** Bytes of a request's body. */
export const MAX_BODY = 16 * 1024;

export type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

/** An answer by its status; what is thrown is answered by the edge. */
export interface Answered {
  readonly status: number;
  readonly value: object;
}

/** One thing that can be asked of the API: of this both its page and its description are made. */
export interface Route {
  readonly method: Method;
  /** Below `/api/v1`: `/machines/{mac}/arm`. A segment in braces is a parameter. */
  readonly path: string;
  /** One line. */
  readonly summary: string;
  /** More of it, where one line does not say it. */
  readonly description?: string;
  /** `read`: as the configuration says; `open`: everybody, machines above all. */
  readonly scope: Scope | 'open';
  readonly parameters: z.ZodObject;
  readonly query: z.ZodObject;
  /** Undefined: it has none. */
  readonly body: z.ZodType | undefined;
  /** The media type that its body may have beside JSON. */
  readonly bodyAlso?: string;
  /** By status; those that every route has are left out. */
  readonly answers: Readonly<Record<number, z.ZodType>>;
  /** Answers that are no JSON, by status: of which media type; undefined: without a body. */
  readonly others?: Readonly<Record<number, string | undefined>>;
  /** Undefined: the page is another room's, and only described here. */
  readonly handle: ((asked: Asked) => Promise<Answered>) | undefined;
}

/** What was asked, as the schemas have read it. */
export interface Asked {
  readonly parameters: unknown;
  readonly query: unknown;
  readonly body: unknown;
  readonly caller: Caller;
}

/** What a route is written down as: its handler is given what its schemas make of a request. */
export interface RouteWords<
  P extends z.ZodObject,
  Q extends z.ZodObject,
  B extends z.ZodType,
  A extends Readonly<Record<number, z.ZodType>>,
> {
  readonly method: Method;
  readonly path: string;
  readonly summary: string;
  readonly description?: string;
  readonly scope: Scope | 'open';
  readonly parameters?: P;
  readonly query?: Q;
  readonly body?: B;
  readonly answers: A;
  handle?(asked: {
    readonly parameters: z.output<P>;
    readonly query: z.output<Q>;
    readonly body: z.output<B>;
    readonly caller: Caller;
  }): Promise<Answers<A>> | Answers<A>;
}

/** One of the statuses that a route says, with what goes with it: `{ 200: … }`. */
export type Answers<A extends Readonly<Record<number, z.ZodType>>> = {
  [S in keyof A & number]: { readonly [K in S]: z.input<A[S]> };
}[keyof A & number];

/** Pages of the API, by path. */
export type ApiPages = readonly (readonly [string, Page])[];
