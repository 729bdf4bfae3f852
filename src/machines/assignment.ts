import { z } from 'zod';
import { isChannelName, isReleaseId } from '../formats/records/safe-path.ts';
import { isCommandLineWord } from '../formats/script/cmdline.ts';

/** What becomes of a machine that asks. */
export const BOOTS = ['release', 'local', 'menu', 'hold', 'refuse'] as const;

/** Words that one machine may be given: the kernel cuts what is longer. */
const MOST_WORDS = 32;

/** What a machine gets. As an operator writes it, and as it is signed. */
export const ASSIGNMENT = z
  .strictObject({
    /**
     * A verified release, the default; its own disk; the menu; a script that shows who it is and asks again; or nothing,
     * with a reason.
     */
    boot: z.enum(BOOTS).default('release'),
    /** Whose release it boots; where the state has one channel, that one. */
    channel: z.string().refine(isChannelName, 'is no name of a channel').optional(),
    /** Keeps it at this release of the channel, whatever the channel names. */
    release: z.string().refine(isReleaseId, 'is no NAME/VERSION').optional(),
    /** `NAME=VALUE`: each fills a free parameter of the release's manifest. */
    words: z
      .array(z.string().refine(isCommandLineWord, 'is no word of a kernel command line'))
      .max(MOST_WORDS)
      .default([]),
    /** How early userspace reads the root image, where the manifest frees `bootseal.mode`. */
    mode: z.enum(['ram', 'verity']).optional(),
  })
  .refine(({ boot, channel, release, words, mode }) => {
    const ofRelease = channel ?? release ?? mode ?? words[0];
    return boot === 'release' || ofRelease === undefined;
  }, 'names a channel, a release, words or a mode, and boots no release');

export type Assignment = z.infer<typeof ASSIGNMENT>;

/** What a script starts that boots no release: of one that is refused, as of one that is held, nothing. */
export function startsOf(boot: Exclude<Assignment['boot'], 'release'>): 'local' | 'menu' | 'hold' {
  return boot === 'refuse' ? 'hold' : boot;
}

/** The free parameter that an assignment's mode fills. */
export const MODE_WORD = 'bootseal.mode';

/** All words that it adds to a command line. */
export function assignedWords({ words, mode }: Assignment): readonly string[] {
  return mode === undefined ? words : [...words, `${MODE_WORD}=${mode}`];
}

/** One text for each assignment, and another one for each other. */
export function assignmentKey({ boot, channel, release, words, mode }: Assignment): string {
  return JSON.stringify([boot, channel ?? '', release ?? '', words, mode ?? '']);
}

/** In words: `release arch/2026.11.01 of stable, hostname=lab-1`. */
export function assignmentText(assignment: Assignment): string {
  const { boot, channel, release } = assignment;
  if (boot !== 'release') return BOOT_TEXT[boot];
  const of = channel === undefined ? 'the channel' : channel;
  const what = release === undefined ? `what ${of} names` : `${release}, kept there, of ${of}`;
  return [what, ...assignedWords(assignment)].join(', ');
}

const BOOT_TEXT = {
  local: 'its own disk',
  menu: 'the menu',
  hold: 'a script that shows who it is, for enrolment',
  refuse: 'nothing',
} as const;

/** Whether nothing is added to what the scripts of the channel's release say themselves. */
export function isReleasesOwn(assignment: Assignment): boolean {
  const { boot, release } = assignment;
  return boot === 'release' && release === undefined && assignedWords(assignment).length === 0;
}
