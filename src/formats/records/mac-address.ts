/** The hardware address of an Ethernet card. `52:54:00:12:34:56` is its one spelling here. */

const COLONS = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/;

/** True for the one spelling that is kept: lower case, with colons. */
export function isMac(text: string): boolean {
  return COLONS.test(text);
}

/**
 * The one spelling of what a loader, a person or a kernel writes: `52-54-00-AB-CD-EF`, `52:54:00:ab:cd:ef`. Undefined for
 * anything else.
 */
export function macOf(text: string): string | undefined {
  const spelled = text.toLowerCase();
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$|^[0-9a-f]{2}(-[0-9a-f]{2}){5}$/.test(spelled)) return undefined;
  return spelled.replaceAll('-', ':');
}

/** As iPXE writes it (`hexhyp`), fit for a path: `52-54-00-12-34-56`. */
export function dashed(mac: string): string {
  return mac.replaceAll(':', '-');
}
