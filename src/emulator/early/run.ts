import { Refusal } from '../../errors/refusal.ts';
import { lastValue, splitCommandLine } from '../../formats/script/cmdline.ts';
import { runArchiso } from './archiso.ts';
import type { EarlyOptions, EarlyVerdict } from './contract.ts';
import { runOverlay } from './overlay.ts';
import { OVERLAY_INIT } from './parameters.ts';
import { refused } from './userspace.ts';

/**
 * What the kernel starts: `/init`, or what `rdinit=` names, the last one where there are several
 * (kernel-parameters: rdinit). Of all programs that somebody could name there only the overlay's init verifies.
 */
export async function runEarly(options: EarlyOptions): Promise<EarlyVerdict> {
  const init = lastValue(splitCommandLine(options.cmdline), 'rdinit');
  if (init === undefined || init === '/init') return runArchiso(options);
  if (init === OVERLAY_INIT) return runOverlay(options);
  const word = `rdinit=${init}`;
  const error = new Refusal('wrong-command-line', `The command line says ${word}, which verifies nothing.`, {
    word,
  });
  return refused(error, options, { mode: options.mode ?? 'ram', path: '', stage: 'manifest' });
}
