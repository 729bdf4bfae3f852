import { type Attack, type Expectation, expects, misses, must } from './attack.ts';
import type { TamperSite } from './site.ts';

/** The right release, at the wrong time. */

const DAY = 86_400_000;

const NO_CLOCK = 'GRUB has no clock to judge by';
const NO_BEST_BEFORE = 'only the manifest says how long a release is good; certificates live longer';
const OWN_CERTIFICATE = 'archiso asks for the codesign certificate, which outlives many releases';

export function clockAttacks({ manifest, asked, anchors, startsByGrub }: TamperSite): Attack[] {
  const clock = (name: string, tuf: Attack['tuf'], now: number, expectations: Attack['expect']): Attack => ({
    name: `clock: ${name}`,
    tuf,
    expect: expectations,
    stage: async () => ({ now }),
  });
  const early = must('not-yet-valid');
  const late = must('expired');
  const checked = asked.verify || asked.cmsVerify;
  const archiso = (expectation: Expectation) => (checked ? expectation : misses(NO_CLOCK));
  const leafEnd = manifest.bestBefore + 101 * DAY;
  const codesignEnds = Math.min(...anchors.codesign.map(({ notAfter }) => notAfter));
  const ended = codesignEnds < leafEnd;
  return [
    clock(
      '1 January 1970',
      'freeze',
      0,
      expects({
        ipxe: early,
        grub: misses(NO_CLOCK),
        archiso: archiso(early),
        manifest: early,
        tree: early,
      }),
    ),
    clock(
      '1 January 2106',
      'freeze',
      Date.UTC(2106, 0),
      expects({
        ipxe: late,
        grub: misses(NO_CLOCK),
        archiso: asked.cmsVerify ? late : misses(NO_CLOCK),
        manifest: late,
        tree: late,
      }),
    ),
    clock(
      'a day after best-before',
      'freeze',
      manifest.bestBefore + DAY,
      expects({
        ipxe: misses(NO_BEST_BEFORE, 'expired'),
        grub: misses(NO_CLOCK),
        archiso: misses(NO_BEST_BEFORE, 'expired'),
        manifest: must('stale', 'expired'),
        tree: must('stale', 'expired'),
      }),
    ),
    clock(
      'a day after the release’s leaf',
      'freeze',
      leafEnd,
      expects({
        ipxe: late,
        grub: misses(NO_CLOCK),
        archiso: ended ? late : misses(OWN_CERTIFICATE),
        // No release leaf is asked where GRUB starts.
        manifest: startsByGrub ? must(ended ? 'expired' : 'stale') : late,
        tree: must(ended ? 'expired' : 'stale'),
      }),
    ),
  ];
}
