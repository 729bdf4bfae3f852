import { isIP } from 'node:net';

/**
 * Whether a request's Host is one under which this server may be used by people: an IP address, `localhost`, or a name
 * that the operator gave. A page of somebody else's, whose name its owner lets point here (DNS rebinding), is of the same
 * origin as this server to a browser, and has another name.
 *
 * @param host the field: `10.0.0.1:8080`, `[fd00::1]`, `netboot.example.net`.
 * @param names in small letters, without a port.
 */
export function isOwnHost(host: string | undefined, names: readonly string[]): boolean {
  const [, literal, name] = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]+))(?::[0-9]*)?$/.exec(host ?? '') ?? [];
  if (literal !== undefined) return isIP(literal) === 6;
  if (name === undefined) return false;
  const small = name.toLowerCase();
  return isIP(small) === 4 || small === 'localhost' || names.includes(small);
}
