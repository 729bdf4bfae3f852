import { Malformed } from '../../errors/malformed.ts';
import { parseIpxeScript } from './ipxe-script.ts';

/** An iPXE script that starts nothing, and belongs to a release all the same: that of a release which starts by GRUB. */

/** The setting in which such a script names its manifest: it has no command line on which it could. */
export const REFUSAL_SETTING = 'bootseal-manifest';

/** Nothing else: what is not named here may fetch, start or ask. */
const COMMANDS = new Set(['imgfree', 'set', 'echo', 'sleep', 'reboot', 'poweroff', 'exit']);

/**
 * The manifest that such a script names.
 *
 * @returns lower-case hex; undefined where a script does anything but say why it ends, or names no manifest, or several.
 */
export function manifestOfRefusal(bytes: Uint8Array): string | undefined {
  const commands = readCommands(bytes);
  if (commands === undefined) return undefined;
  if (commands.some(([command]) => command !== undefined && !COMMANDS.has(command))) return undefined;
  const named = commands.filter(([command, setting]) => command === 'set' && setting === REFUSAL_SETTING);
  const [[, , value = '', ...more] = [], ...others] = named;
  return others.length === 0 && more.length === 0 && /^[0-9a-f]{64}$/.test(value) ? value : undefined;
}

function readCommands(bytes: Uint8Array): readonly (readonly string[])[] | undefined {
  try {
    return parseIpxeScript(bytes).lines.flatMap(({ commands }) => commands.map(({ words }) => words));
  } catch (error) {
    if (error instanceof Malformed) return undefined;
    throw error;
  }
}
