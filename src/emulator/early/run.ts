import { Refusal } from '../../errors/refusal.ts';
import { lastValue, splitCommandLine } from '../../formats/script/cmdline.ts';
import { runArchiso } from './archiso.ts';
import type { EarlyOptions, EarlyVerdict } from './contract.ts';
import { runOverlay } from './overlay.ts';
import { OVERLAY_INIT } from './parameters.ts';
import { asksForRoot, runRootless } from './rootless.ts';
import { refused } from './userspace.ts';

/**
 * What the kernel starts: `/init`, or what `rdinit=` names, the last one where there are several
 * (kernel-parameters: rdinit). Of all programs that somebody could name there only the overlay's init verifies.
 */
export async function runEarly(options: EarlyOptions): Promise<EarlyVerdict> {
  const init = lastValue(splitCommandLine(options.cmdline), 'rdinit');
  if (init === undefined || init === '/init') {
    const asks = await asksForRoot(options);
    if (Array.isArray(asks)) return runRootless(options, asks);
    // Without the word there is nothing that archiso could fetch, and no better reason than this one.
    const words = splitCommandLine(options.cmdline);
    if (asks instanceof Refusal && lastValue(words, 'archiso_http_srv') === undefined)
      return refused(asks, options, { mode: options.mode ?? 'ram', path: '', stage: 'manifest' });
    return runArchiso(options);
  }
  if (init === OVERLAY_INIT) return runOverlay(options);
  const word = `rdinit=${init}`;
  const error = new Refusal('wrong-command-line', `The command line says ${word}, which verifies nothing.`, {
    word,
  });
  return refused(error, options, { mode: options.mode ?? 'ram', path: '', stage: 'manifest' });
}
