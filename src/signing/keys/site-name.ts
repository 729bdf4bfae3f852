import { UsageError } from '../../errors/usage.ts';

/**
 * Throws a `UsageError` for what cannot be part of every certificate's name: a common name has at most
 * 64 characters (RFC 5280, ub-common-name), and `netboot CA ` stands before it.
 */
export function demandSite(site: string): void {
  if (/^[a-z0-9]([a-z0-9.-]{0,51}[a-z0-9])?$/.test(site)) return;
  throw new UsageError(
    `${JSON.stringify(site)} is no site name: write at most 53 small letters, digits, dots and dashes.`,
  );
}
