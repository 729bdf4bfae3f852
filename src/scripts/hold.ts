import { UsageError } from '../errors/usage.ts';
import { baseOf, entryBase, fragment, linted, type ScriptServer, serverSettings } from './compile.ts';
import { gaveUp } from './gave-up.ts';
import { lintedGrub } from './grub-config.ts';
import { GRUB_MAC, GRUB_PLAIN, lines } from './grub-server.ts';
import { identityQuery } from './identity-query.ts';
import { type Fragment, joinFragments, readTemplate, renderTemplate } from './template.ts';

/** The scripts of a machine that is not known here: it says who it is, starts nothing, and asks again. */

export interface HoldOptions {
  /** Seconds from one question to the next, 5 to 3600; 30 by default. */
  readonly seconds?: number;
}

export interface IpxeHoldOptions extends HoldOptions {
  readonly server: ScriptServer;
  /** CN of the leaf that signs what is asked for: `boot.SITE`. */
  readonly signer: string;
  /** Whose machines it is for (`uname -m`), where they look at an entry of their own. */
  readonly arch?: string;
}

const DEFAULT_SECONDS = 30;
/** Seconds after which the machine restarts instead of asking once more. */
const RESTART = 900;
/** The same in questions: a loader that leaks a little with each is not asked for ever. */
const MOST_QUESTIONS = 60;

/** `boot.ipxe` of such a machine. Throws a `UsageError` for other seconds, a `Refusal` (`unsafe-script`) for an unfit value. */
export function compileHold(options: IpxeHoldOptions): string {
  const seconds = demandSeconds(options.seconds);
  const rounds = Math.max(2, Math.min(MOST_QUESTIONS, Math.ceil(RESTART / seconds)));
  const text = renderTemplate('hold.ipxe', readTemplate('hold.ipxe'), {
    'server-settings': serverSettings(options.server),
    base: { kind: 'base', text: entryBase(baseOf(options.server), options.arch) },
    identity: identityQuery(),
    signer: { kind: 'signer', text: options.signer },
    seconds: { kind: 'hex', text: String(seconds) },
    rounds: { kind: 'hex', text: String(rounds) },
    reason: fragment('reason.ipxe', {}),
    'gave-up': gaveUp(baseOf(options.server)),
  });
  return linted('hold.ipxe', text, [options.signer]);
}

/** What GRUB reads out of SMBIOS, by structure and offset (DMTF DSP0134, 7.2, 7.4), as iPXE's settings of these names. */
const FACTS = [
  ['uuid', 'smbios --type 1 --get-uuid 8'],
  ['serial', 'smbios --type 1 --get-string 7'],
  ['asset', 'smbios --type 3 --get-string 8'],
  ['manufacturer', 'smbios --type 1 --get-string 4'],
  ['product', 'smbios --type 1 --get-string 5'],
] as const;

/** A terminal obeys what it is sent, so only plain text is printed. */
function factLines([name, command]: (typeof FACTS)[number]): Fragment {
  return lines(
    `set bootseal_${name}=
${command} --set bootseal_${name}
if regexp '${GRUB_PLAIN}' "$bootseal_${name}"; then
  echo "  ${name.padEnd(12)}  $bootseal_${name}"
fi
`,
    {},
  );
}

/** `grub.cfg` of such a machine: it restarts to ask again. Throws a `UsageError` for other seconds. */
export function compileGrubHold(options: HoldOptions = {}): string {
  const text = renderTemplate('hold.cfg', readTemplate('hold.cfg'), {
    seconds: { kind: 'hex', text: String(demandSeconds(options.seconds)) },
    facts: joinFragments(FACTS.map(factLines)),
    mac: lines(`${GRUB_MAC}\n`, {}),
  });
  return lintedGrub('hold.cfg', text, 'hold');
}

function demandSeconds(seconds = DEFAULT_SECONDS): number {
  if (Number.isInteger(seconds) && seconds >= 5 && seconds <= 3600) return seconds;
  throw new UsageError(`A machine that is held asks again every 5 to 3600 seconds, not every ${seconds}.`);
}
