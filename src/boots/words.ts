import type { BootOutcome } from './boot-outcome.ts';
import type { Join, Receipt, Stage } from './receipt.ts';

/** What came of a boot, for people. What a machine says is claimed, and is called so. */
export const OUTCOME_WORDS: Readonly<Record<BootOutcome, string>> = {
  running: 'running',
  verified: 'verified (claimed)',
  served: 'served whole',
  local: 'own disk',
  waiting: 'waits for a person',
  refused: 'REFUSED',
  failed: 'FAILED here',
  stalled: 'STALLED',
  restarted: 'began anew',
  lost: 'not known',
};

/** What a boot that stopped after a stage was last seen to do. */
export const STAGE_WORDS: Readonly<Record<Stage, string>> = {
  dhcp: 'was told over DHCP what to load',
  loader: 'fetched its loader',
  script: 'fetched its script',
  kernel: 'fetched the kernel',
  initrd: 'fetched its initrds',
  userspace: 'ran early userspace',
  root: 'read its root image',
  report: 'reported',
};

/** How it is known that a stage belongs to a boot. */
export const JOIN_WORDS: Readonly<Record<Join, string>> = {
  id: 'by its id',
  mac: 'by its card',
  neighbour: 'by its card, as the network says',
  address: 'guessed by its address',
};

/** What to look at where a boot stopped after a stage, and nobody said why. */
const STALLED_ADVICE: Readonly<Record<Stage, string>> = {
  dhcp: 'It never asked for what it was told to load: look at firewalls for TFTP (69) and HTTP, at Secure Boot, and at another DHCP server that names a file.',
  loader:
    'Its loader never asked for a script: Secure Boot may refuse it, or its network card has no driver in it; try another loader.',
  script:
    'It has its script and asks for no kernel: its screen says why; a loader that trusts another CA, or a clock that is wrong, are the usual reasons.',
  kernel:
    'It has the kernel and asks for no initrd: its loader refused the kernel, or memory is short; its screen says why.',
  initrd:
    'It has kernel and initrds, and early userspace asks for nothing: a kernel panic, or a network card without a driver in the initramfs.',
  userspace:
    'Early userspace runs and opens no root image: look at its console, and at a firewall for NBD (10809).',
  root: 'It reads its root image and reports nothing: a slow network, or an image that does not start.',
  report: 'It reported, and nothing more was heard.',
};

/** Stages in which a loader runs, and nothing of the release. */
const LOADS: ReadonlySet<Stage> = new Set<Stage>(['dhcp', 'loader', 'script', 'kernel', 'initrd']);

/** One sentence of what to do about a boot that did not end well; undefined where there is nothing to do. */
export function adviceOf({
  outcome,
  stage,
  code,
}: Pick<Receipt, 'outcome' | 'stage' | 'code'>): string | undefined {
  if (outcome === 'stalled') return STALLED_ADVICE[stage];
  if (outcome === 'failed')
    return 'Look at the log of the server and at its disk; "bootseal doctor" finds most of it.';
  if (outcome !== 'refused') return undefined;
  switch (code) {
    case 'expired':
    case 'stale':
      return 'Something that it boots has ended: "bootseal keys status" says what; seal and publish again, or correct the clock of the machine.';
    case 'not-yet-valid':
      return 'Correct the clock of the machine, or of the server.';
    case 'withdrawn':
    case 'revoked':
      return 'Publish a release that stands, or move the channel back to one.';
    case 'wrong-machine':
      return 'Write the machine down ("bootseal machines"), or leave it refused.';
    case 'absent':
      return 'What it asks for is not there: publish it, or run "bootseal machines apply".';
    case 'wrong-command-line':
      return 'Its command line holds words that nobody signed: look at what its loader, or its menu, adds.';
    case 'drifted':
      return 'A file is not what was verified: look at the disk, and publish the release again.';
    case 'bad-signature':
    case 'untrusted-signer':
    case 'wrong-purpose':
    case 'mixed-releases':
    case 'rolled-back':
      return 'What it was given is not what was signed for it: "bootseal verify" says whether that is so here; else somebody on its network answers in your place.';
    case 'no-verdict':
      return LOADS.has(stage)
        ? 'Its screen says more; where it could not verify, the usual reasons are a loader that trusts another CA, a wrong clock, or a file that was changed on its way, and where it could not fetch, the log of the server says why.'
        : 'Its console says why, and so do the lines of it that came with the report.';
    default:
      return 'Look at the console of the machine, and at what this boot asked for last.';
  }
}
