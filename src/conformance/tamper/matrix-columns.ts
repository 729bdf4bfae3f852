import { CLIENTS } from '../client-names.ts';

/** What the matrix asks: every client, the tree as `serve` and `publish` judge it, a reader of a channel. */
export const COLUMNS = [...CLIENTS, 'tree', 'snapshot'] as const;
export type Column = (typeof COLUMNS)[number];
